"""Published files: what they are, where they come from, and a download that can be resumed.

``pooch`` checks hashes and lets nothing unchecked take the final name; it always starts a file
over, though, which hurts with gigabytes on a bad line, so it is given a downloader of ours
that keeps the part that arrived and asks the server for the rest (HTTP ranges).

Publishers differ in what they state. Where a repository's record lists sizes and checksums,
they are asked for and checked; where there is none this is said, and the sha256 that was seen
is recorded beside the file, so that the next machine can compare.
"""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.files import atomic_path
from behaviorzoo.resumable import ResumableDownload

UNKNOWN = "not stated"

_HASH_LENGTHS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}


@dataclass(frozen=True)
class RemoteFile:
    """One published file.

    Attributes:
        name: What the user asks for, and the file's path under the output folder.
        url: Where it is.
        what: One line on what it holds.
        licence: Licence as its publisher states it.
        cite: Paper or record to cite.
        about: Approximate size in words, where no exact one is known.
        size: Exact number of bytes, ``None`` if not known.
        hash: ``"md5:..."`` or ``"sha256:..."``, ``None`` if not known.
        record: Address of the publisher's list of files as JSON, asked for size and hash.
        entry: Name of the file in that list; the last part of ``name`` by default.
    """

    name: str
    url: str
    what: str
    licence: str = UNKNOWN
    cite: str = ""
    about: str = UNKNOWN
    size: int | None = None
    hash: str | None = None
    record: str | None = None
    entry: str | None = None


@dataclass(frozen=True)
class Registry:
    """The published files of a method.

    Attributes:
        files: All files.
        sets: Name -> names of the files that belong together.
        manual: Name -> what to do by hand, for data behind a registration.
    """

    files: tuple[RemoteFile, ...]
    sets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    manual: Mapping[str, str] = field(default_factory=dict)

    def find(self, names: Iterable[str]) -> list[RemoteFile]:
        """Files of the given names and sets, each once.

        Raises:
            UserError: An unknown name, or one that has to be fetched by hand (it says how).
        """
        by_name = {file.name: file for file in self.files}
        found: dict[str, RemoteFile] = {}
        for name in names:
            if name in self.manual:
                raise UserError(f"{name} cannot be downloaded by a program:\n{self.manual[name]}")
            wanted = self.sets.get(name, (name,))
            if any(member not in by_name for member in wanted):
                choices = [*by_name, *self.sets, *self.manual]
                raise UserError(f"no published file or set {name!r}; {suggest(name, choices)}")
            found |= {member: by_name[member] for member in wanted}
        return list(found.values())

    def table(self) -> str:
        """Text that lists every file with size, hash, licence and contents."""
        lines = []
        for name, members in self.sets.items():
            lines.append(f"{name} (set of {len(members)})")
            lines += ["    " + member for member in members]
        lines.append("")
        for file in self.files:
            size = f"{file.size:,} bytes" if file.size is not None else file.about
            checksum = file.hash or ("asked of the publisher" if file.record else UNKNOWN)
            lines += [
                file.name,
                f"    {file.what}",
                f"    size {size}; hash {checksum}; licence {file.licence}",
                f"    {file.url}",
            ]
        for name, steps in self.manual.items():
            lines += ["", f"{name} (by hand)", *("    " + line for line in steps.splitlines())]
        cites = dict.fromkeys(file.cite for file in self.files if file.cite)
        lines += ["", *(f"cite: {cite}" for cite in cites)]
        return "\n".join(lines)


def download(
    file: RemoteFile,
    folder: str | Path,
    *,
    progress: bool = True,
    say: Callable[[str], None] = print,
    timeout: float = 60.0,
    attempts: int = 5,
    pause: float = 2.0,
) -> Path:
    """Fetch ``file`` into ``folder``, going on where an earlier attempt stopped.

    While it arrives it is called ``NAME.part``; it takes its final name only when size and hash
    are right. ``NAME.sha256.json`` beside it records where it came from and its sha256.

    Args:
        file: What to fetch.
        folder: Output folder; ``file.name`` is the path below it.
        progress: Show a bar.
        say: Takes the messages for the user.
        timeout: Seconds without any data after which the connection counts as lost.
        attempts: How often a lost connection is taken up again.
        pause: Seconds before the first new attempt, twice as long before each further one.

    Returns:
        Path of the complete file.

    Raises:
        UserError: Offline, refused by the server, no space, wrong size, wrong hash.
    """
    import pooch

    target = Path(folder).expanduser() / file.name
    size, checksum = file.size, file.hash
    if file.record and (size is None or checksum is None):
        stated_size, stated_hash = _ask_publisher(file, timeout, say)
        size, checksum = size or stated_size, checksum or stated_hash
    if target.exists():
        _check_existing(target, size, checksum)
        say(f"{target}: already here")
        return target
    fetch: Any = ResumableDownload(target, size, progress, timeout, attempts, pause)
    log, level = pooch.get_logger(), pooch.get_logger().level
    log.setLevel("WARNING")
    try:
        # pooch hashes the temporary file and moves it to the final name only if it is right.
        pooch.retrieve(file.url, checksum, fname=target.name, path=target.parent, downloader=fetch)
    except ValueError as error:
        raise UserError(
            f"{target}: the file that arrived does not have the hash that its publisher states "
            f"({checksum}); it was removed, download it again"
        ) from error
    except OSError as error:
        raise UserError(f"{target}: cannot write ({error.strerror or error})") from error
    finally:
        log.setLevel(level)
    seen = _record(target, file.url, checksum)
    verdict = f"hash checked ({checksum})" if checksum else f"publisher states no hash; {seen}"
    say(f"{target}: {target.stat().st_size:,} bytes, {verdict}")
    return target


def _ask_publisher(
    file: RemoteFile, timeout: float, say: Callable[[str], None]
) -> tuple[int | None, str | None]:
    """Size and hash in the publisher's own list of files; nothing where there is none."""
    assert file.record is not None
    entry = file.entry or file.name.rsplit("/", 1)[-1]
    try:
        request = urllib.request.Request(file.record, headers={"User-Agent": "behaviorzoo"})
        with urllib.request.urlopen(request, timeout=timeout) as response:
            listing = json.load(response)
    except (OSError, ValueError, HTTPException) as error:
        say(f"{entry}: {urlsplit(file.record).netloc} does not give its checksums ({error})")
        return None, None
    for item in _mappings(listing):
        if entry in (item.get("key"), item.get("path"), item.get("filename")):
            lfs = item.get("lfs") or {}
            checksum = f"sha256:{lfs['oid']}" if "oid" in lfs else item.get("checksum")
            size = lfs.get("size", item.get("size", item.get("filesize")))
            return (size if isinstance(size, int) else None), _valid_hash(checksum)
    return None, None


def _mappings(node: Any) -> Iterator[Mapping[str, Any]]:
    """All mappings in a JSON document, whatever the nesting of this publisher's list."""
    children = node.values() if isinstance(node, Mapping) else node
    if isinstance(node, Mapping):
        yield node
    if isinstance(node, Mapping | list):
        for child in children:
            yield from _mappings(child)


def _valid_hash(text: Any) -> str | None:
    kind, _, digest = str(text).lower().partition(":")
    if re.fullmatch(r"[0-9a-f]+", digest) and len(digest) == _HASH_LENGTHS.get(kind):
        return f"{kind}:{digest}"
    return None


def _check_existing(target: Path, size: int | None, checksum: str | None) -> None:
    """A file of that name must be the published one; it is never replaced in silence."""
    import pooch

    if not target.is_file():
        raise UserError(f"{target}: this is a folder, cannot put a file there")
    if checksum is None:
        checksum = _recorded(target)
    wrong = size is not None and target.stat().st_size != size
    if not wrong and checksum is not None:
        kind, _, digest = checksum.partition(":")
        wrong = pooch.file_hash(str(target), alg=kind) != digest
    if wrong:
        raise UserError(
            f"{target}: not the published file (size or hash differs); "
            "move it away or delete it, then download again"
        )


def _note_path(target: Path) -> Path:
    return target.with_name(target.name + ".sha256.json")


def _recorded(target: Path) -> str | None:
    try:
        return f"sha256:{json.loads(_note_path(target).read_text(encoding='utf-8'))['sha256']}"
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _record(target: Path, url: str, checksum: str | None) -> str:
    """Write down what was seen; gives the sentence for the user."""
    import pooch

    digest = pooch.file_hash(str(target), alg="sha256")
    note = {
        "file": target.name,
        "url": url,
        "bytes": target.stat().st_size,
        "sha256": digest,
        "hash_of_publisher": checksum,
        "downloaded": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with atomic_path(_note_path(target)) as temporary:
        temporary.write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
    return f"saw sha256:{digest}, recorded in {_note_path(target).name}"
