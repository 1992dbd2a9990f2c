"""Downloads against a small server on this machine: resuming, checking, clear errors."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest

from behaviorzoo import resumable
from behaviorzoo.downloads import Registry, RemoteFile, download
from behaviorzoo.errors import UserError

CONTENT = np.random.default_rng(0).bytes(300_000)
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """What the test server does, and what it was asked."""

    url: str = ""
    content: bytes = CONTENT
    etag: str | None = '"v1"'
    ranges: bool = True
    fail_after: int | None = None  # drop the connection after so many bytes of an answer
    failures_left: int = 0
    answers_left: int | None = None  # then it answers 503, overloaded
    status: dict[str, int] = field(default_factory=dict)
    listing: object = None
    asked: list[tuple[str, str | None]] = field(default_factory=list)


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_GET(self):
            wanted = self.headers.get("Range")
            server.asked.append((self.path, wanted))
            if self.path in server.status:
                self.send_error(server.status[self.path])
                return
            if self.path == "/record":
                body = json.dumps(server.listing).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                return
            self._file(wanted)

        def _file(self, wanted: str | None):
            if server.answers_left is not None:
                server.answers_left -= 1
                if server.answers_left < 0:
                    self.send_error(503)
                    return
            start, content = 0, server.content
            same = self.headers.get("If-Range") == server.etag
            if wanted and server.ranges and same:
                start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            if server.etag:
                self.send_header("ETag", server.etag)
            self.end_headers()
            body = content[start:]
            if server.fail_after is not None and server.failures_left > 0:
                server.failures_left -= 1
                body = body[: server.fail_after]
            self.wfile.write(body)

    return Handler


@pytest.fixture
def server():
    state = Server()
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
    state.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(
        target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    )
    thread.start()
    yield state
    http.shutdown()
    http.server_close()
    thread.join(timeout=5)
    assert not thread.is_alive()


def remote(server: Server, **changes) -> RemoteFile:
    return replace(RemoteFile("sub/x.bin", server.url + "/x.bin", "bytes"), **changes)


def fetch(file: RemoteFile, folder, **options):
    said: list[str] = []
    options = {"progress": False, "timeout": 5, "attempts": 2, "pause": 0.01} | options
    path = download(file, folder, say=said.append, **options)
    return path, " ".join(said)


def names_in(folder) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_a_file_arrives_under_its_name_with_a_note_of_what_was_seen(server, tmp_path):
    path, said = fetch(remote(server), tmp_path)
    assert path == tmp_path / "sub" / "x.bin"
    assert path.read_bytes() == CONTENT
    assert names_in(tmp_path) == {"x.bin", "x.bin.sha256.json"}
    note = json.loads((tmp_path / "sub" / "x.bin.sha256.json").read_text())
    assert "sha256:" + note["sha256"] == SHA256
    assert (note["bytes"], note["hash_of_publisher"]) == (len(CONTENT), None)
    assert "publisher states no hash" in said
    assert note["sha256"] in said


@pytest.mark.parametrize("checksum", [MD5, SHA256])
def test_a_stated_hash_is_checked(server, tmp_path, checksum):
    path, said = fetch(remote(server, hash=checksum, size=len(CONTENT)), tmp_path)
    assert path.read_bytes() == CONTENT
    assert f"hash checked ({checksum})" in said


def test_a_wrong_hash_leaves_nothing_under_the_final_name(server, tmp_path):
    with pytest.raises(UserError, match=r"x\.bin.*does not have the hash"):
        fetch(remote(server, hash="md5:" + "0" * 32), tmp_path)
    assert names_in(tmp_path) == set()


def test_a_part_is_continued_where_it_ended(server, tmp_path):
    server.fail_after, server.failures_left, server.answers_left = 100_000, 1, 1
    with pytest.raises(UserError, match=r"503.*the 100,000 bytes that are here are kept"):
        fetch(remote(server), tmp_path)
    assert names_in(tmp_path) == {"x.bin.part", "x.bin.part.json"}

    server.answers_left, server.asked = None, []
    path, _ = fetch(remote(server, hash=MD5), tmp_path)
    assert server.asked == [("/x.bin", "bytes=100000-")]
    assert path.read_bytes() == CONTENT
    assert names_in(tmp_path) == {"x.bin", "x.bin.sha256.json"}


def test_a_lost_connection_is_taken_up_again_by_itself(server, tmp_path):
    server.fail_after, server.failures_left = 70_000, 3
    path, _ = fetch(remote(server, hash=SHA256), tmp_path, attempts=1)
    assert path.read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == [
        None,
        "bytes=70000-",
        "bytes=140000-",
        "bytes=210000-",
    ]


def _interrupted(server: Server, folder) -> None:
    server.fail_after, server.failures_left, server.answers_left = 100_000, 1, 1
    with pytest.raises(UserError):
        fetch(remote(server), folder)
    server.answers_left, server.asked = None, []


@pytest.mark.parametrize("etag", ['"v2"', 'W/"v1"', None])
def test_halves_of_two_versions_are_never_joined(server, tmp_path, etag):
    """The server's file changed in between, or nothing tells whether it did."""
    if etag is None or etag.startswith("W/"):
        server.etag = etag
    _interrupted(server, tmp_path)
    server.etag, server.content = etag, CONTENT[::-1]
    path, _ = fetch(remote(server), tmp_path)
    assert path.read_bytes() == CONTENT[::-1]


def test_a_server_without_ranges_sends_all_again(server, tmp_path):
    _interrupted(server, tmp_path)
    server.ranges = False
    path, _ = fetch(remote(server, hash=MD5), tmp_path)
    assert path.read_bytes() == CONTENT


def test_a_part_of_another_address_is_not_continued(server, tmp_path):
    _interrupted(server, tmp_path)
    fetch(remote(server, url=server.url + "/mirror.bin", hash=MD5), tmp_path)
    assert server.asked == [("/mirror.bin", None)]


def test_a_part_that_is_already_complete_is_taken(server, tmp_path):
    _interrupted(server, tmp_path)
    (tmp_path / "sub" / "x.bin.part").write_bytes(CONTENT)
    path, _ = fetch(remote(server, hash=MD5), tmp_path)
    assert path.read_bytes() == CONTENT


def test_a_part_that_is_too_long_is_fetched_again(server, tmp_path):
    _interrupted(server, tmp_path)
    (tmp_path / "sub" / "x.bin.part").write_bytes(CONTENT + b"more")
    path, _ = fetch(remote(server, hash=MD5), tmp_path)
    assert path.read_bytes() == CONTENT


def test_another_size_than_the_published_one(server, tmp_path):
    with pytest.raises(UserError, match=r"offers 300,000 bytes, but.*published has 299,999"):
        fetch(remote(server, size=299_999), tmp_path)
    assert not (tmp_path / "sub" / "x.bin").exists()


def test_a_file_that_is_gone(server, tmp_path):
    server.status = {"/x.bin": 404}
    with pytest.raises(UserError, match=r"/x\.bin: the server answers 404"):
        fetch(remote(server), tmp_path)
    assert len(server.asked) == 1  # asking again would not help
    assert names_in(tmp_path) == set()


def test_offline_is_said_and_given_up(tmp_path):
    file = RemoteFile("x.bin", "http://127.0.0.1:9/x.bin", "nothing listens there")
    with pytest.raises(UserError, match=r"cannot download.*check the connection"):
        fetch(file, tmp_path)


def test_too_little_space_is_seen_before_the_bytes_arrive(server, tmp_path, monkeypatch):
    monkeypatch.setattr(resumable.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(UserError, match="300,000 bytes are needed and 1,000 are free"):
        fetch(remote(server), tmp_path)
    assert not (tmp_path / "sub" / "x.bin").exists()


# ------------------------------------------------------------------ files that are there already


def test_a_complete_file_is_not_fetched_again(server, tmp_path):
    fetch(remote(server), tmp_path)
    server.asked = []
    _, said = fetch(remote(server), tmp_path)
    assert (server.asked, "already here" in said) == ([], True)


@pytest.mark.parametrize("known", [{"size": 300_000}, {"hash": MD5}, {}])
def test_another_file_of_that_name_is_neither_taken_nor_replaced(server, tmp_path, known):
    if not known:  # then the note of the first download tells
        fetch(remote(server), tmp_path)
    target = tmp_path / "sub" / "x.bin"
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(b"mine")
    with pytest.raises(UserError, match="not the published file"):
        fetch(remote(server, **known), tmp_path)
    assert target.read_bytes() == b"mine"


# ------------------------------------------------------------------ what the publisher states

LISTINGS = {
    "zenodo": {"files": [{"key": "x.bin", "size": 300_000, "checksum": MD5}]},
    "invenio": {"entries": [{"key": "other", "size": 1}, {"key": "x.bin", "checksum": MD5}]},
    "invenio by name": {"files": {"entries": {"x.bin": {"key": "x.bin", "checksum": MD5}}}},
    "hugging face": [
        {"path": "y.bin", "size": 3},
        {
            "path": "x.bin",
            "size": 130,
            "oid": "0" * 40,
            "lfs": {"oid": SHA256[7:], "size": 300_000},
        },
    ],
}


@pytest.mark.parametrize("publisher", LISTINGS)
def test_checksums_in_the_publishers_list_are_checked(server, tmp_path, publisher):
    server.listing = LISTINGS[publisher]
    _, said = fetch(remote(server, record=server.url + "/record"), tmp_path)
    assert "hash checked" in said

    server.content = CONTENT[::-1]
    with pytest.raises(UserError, match="does not have the hash"):
        fetch(remote(server, record=server.url + "/record", name="again/x.bin"), tmp_path)


@pytest.mark.parametrize(
    "listing",
    [{}, [], 3, {"files": [{"key": "x.bin"}]}, [{"key": "x.bin", "checksum": "md5:tooshort"}]],
)
def test_a_list_without_the_checksum_is_no_checksum(server, tmp_path, listing):
    server.listing = listing
    _, said = fetch(remote(server, record=server.url + "/record"), tmp_path)
    assert "publisher states no hash" in said


def test_a_list_that_cannot_be_read_is_said(server, tmp_path):
    server.status = {"/record": 500}
    path, said = fetch(remote(server, record=server.url + "/record"), tmp_path)
    assert "does not give its checksums" in said
    assert path.read_bytes() == CONTENT


# ------------------------------------------------------------------ the registry

REGISTRY = Registry(
    files=(
        RemoteFile("a/one.npy", "https://x/1", "first", "CC0", "Somebody 2024", about="719 MB"),
        RemoteFile("two.pth", "https://x/2", "second", size=1234, hash=MD5),
        RemoteFile("three.npy", "https://x/3", "third", record="https://x/list"),
    ),
    sets={"both": ("a/one.npy", "two.pth")},
    manual={"far": "1. register\n2. fetch"},
)


def test_names_and_sets_give_each_file_once():
    found = REGISTRY.find(["two.pth", "both"])
    assert [file.name for file in found] == ["two.pth", "a/one.npy"]


def test_unknown_and_manual_names():
    with pytest.raises(
        UserError, match=r"no published file or set 'two\.pt'; did you mean 'two\.pth'"
    ):
        REGISTRY.find(["two.pt"])
    with pytest.raises(UserError, match=r"far cannot be downloaded by a program:\n1. register"):
        REGISTRY.find(["far"])


def test_the_table_says_what_is_known_and_what_is_not():
    table = REGISTRY.table()
    assert "size 719 MB; hash not stated; licence CC0" in table
    assert f"size 1,234 bytes; hash {MD5}; licence not stated" in table
    assert "hash asked of the publisher" in table
    assert "cite: Somebody 2024" in table
    assert "far (by hand)\n    1. register\n    2. fetch" in table
