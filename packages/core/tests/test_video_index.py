"""Where the frames are: the tables of a file, its packets and its decoder say the same."""

from __future__ import annotations

import importlib.util
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("av")

from behaviorzoo.video import index as index_module
from behaviorzoo.video import read_frames, video_info
from behaviorzoo.video.decoding import plan
from behaviorzoo.video.index import FrameIndex, build_index
from behaviorzoo.video.mp4_tables import SampleTable, read_sample_table

spec = importlib.util.spec_from_file_location(
    "video_files", Path(__file__).with_name("video_files.py")
)
assert spec is not None
assert spec.loader is not None
video_files = importlib.util.module_from_spec(spec)
spec.loader.exec_module(video_files)
pictures, encode, decode_all = video_files.pictures, video_files.encode, video_files.decode_all

FIELDS = ["times", "packets", "key_packets", "key_frames", "key_times"]


def equal(one: FrameIndex, other: FrameIndex, fields: list[str] = FIELDS) -> None:
    for name in fields:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def change(path: Path, box: bytes, row: int, values: list[int], form: str = ">i") -> None:
    """Overwrite 32-bit numbers of a table, counted after version and flags."""
    data = bytearray(path.read_bytes())
    start = data.index(box) + 8 + 4 * row
    for number, value in enumerate(values):
        struct.pack_into(form, data, start + 4 * number, value)
    path.write_bytes(bytes(data))


# ---- tables against packets against decoding ----


@pytest.mark.parametrize("between", [0, 2])
@pytest.mark.parametrize("suffix", ["mp4", "mov"])
@pytest.mark.parametrize("vary", [False, True])
def test_tables_tell_what_the_packets_tell(tmp_path, between, suffix, vary):
    times = np.cumsum(np.random.default_rng(0).integers(1, 6, 60)) if vary else None
    path = encode(tmp_path / f"clip.{suffix}", pictures(60), between=between, times=times)
    packets = index_module._from_packets(path)
    tables = index_module._from_tables(path)
    assert packets is not None
    assert tables is not None
    equal(tables, packets)
    equal(index_module._from_frames(path), packets, ["times", "packets", "key_packets"])


def test_tables_of_real_files(real_data_dir):
    tried = 0
    for path in sorted(real_data_dir.rglob("*.m[op][4v]")):
        tables = index_module._from_tables(path)
        packets = index_module._from_packets(path)
        assert packets is not None, path.name
        if tables is not None:
            equal(tables, packets)
            tried += 1
    assert tried or not list(real_data_dir.rglob("*.mp4"))


def test_large_files_are_not_read_through(tmp_path, monkeypatch):
    path = encode(tmp_path / "clip.mp4", pictures(40))
    monkeypatch.setattr(index_module, "SMALL_FILE", 0)
    monkeypatch.setattr(
        index_module, "_from_packets", lambda path: pytest.fail("went through the packets")
    )
    assert len(build_index(path)) == 40


@pytest.mark.parametrize("lie", ["later", "more", "fewer"])
def test_tables_that_the_packets_belie_are_not_believed(tmp_path, monkeypatch, lie):
    path = encode(tmp_path / "clip.mp4", pictures(40))
    with video_files.av.open(str(path)) as file:
        true = read_sample_table(path, file.streams.video[0].id)
    assert true is not None
    times, keys = {
        "later": (true.times + 1, true.keys),
        "more": (np.append(true.times, true.times.max() + 512), np.append(true.keys, False)),
        "fewer": (true.times[:-1], true.keys[:-1]),
    }[lie]
    table = SampleTable(times, keys, true.timescale)
    monkeypatch.setattr(index_module, "read_sample_table", lambda path, track: table)
    assert index_module._from_tables(path) is None


def test_an_edit_that_cuts_is_obeyed(tmp_path):
    path = encode(tmp_path / "clip.mp4", pictures(40), between=0)
    whole = decode_all(path)[0]
    # The edit list shows 1 s from 0.4 s on: frames 10 to 34.
    change(path, b"elst", 1, [1000, 10 * 512])
    with video_files.av.open(str(path)) as file:
        assert read_sample_table(path, file.streams.video[0].id) is None
    truth, times = decode_all(path)
    assert len(truth) < 40
    info = video_info(path)
    assert info.n_frames == len(truth)
    np.testing.assert_allclose(info.times, times)
    np.testing.assert_array_equal(truth[0], whole[10])
    np.testing.assert_array_equal(read_frames(path, range(len(truth))), truth)
    for frame in (0, 3, len(truth) - 1):
        np.testing.assert_array_equal(read_frames(path, [frame])[0], truth[frame])


def test_an_empty_edit_delays_the_video(tmp_path):
    path = encode(tmp_path / "clip.mp4", pictures(20), between=0)
    with video_files.av.open(str(path)) as file:
        track = file.streams.video[0].id
    plain = read_sample_table(path, track)
    data = bytearray(path.read_bytes())
    start = data.index(b"elst") - 4
    (size,) = struct.unpack_from(">I", data, start)
    entry = bytes(data[start + 16 : start + size])
    two = struct.pack(">I4sII", size + 12, b"elst", 0, 2)
    two += struct.pack(">IiI", 500, -1, 1 << 16) + entry
    grown = data[:start] + two + data[start + size :]
    for box in (b"edts", b"trak", b"moov"):
        at = grown.index(box) - 4
        struct.pack_into(">I", grown, at, struct.unpack_from(">I", grown, at)[0] + 12)
    path.write_bytes(bytes(grown))
    delayed = read_sample_table(path, track)
    assert plain is not None
    assert delayed is not None
    np.testing.assert_array_equal(delayed.times, plain.times + plain.timescale // 2)
    np.testing.assert_allclose(video_info(path).times, decode_all(path)[1])
    assert video_info(path).times[0] == pytest.approx(0.5)


@given(data=st.binary(max_size=300), cut=st.integers(0, 400))
def test_nonsense_in_the_tables_is_no_table(tmp_path_factory, data, cut):
    folder = tmp_path_factory.mktemp("nonsense")
    path = folder / "clip.mp4"
    movie = struct.pack(">I4s", len(data) + 8, b"moov") + data
    path.write_bytes(movie[:cut])
    assert read_sample_table(path, 1) is None


def test_every_damaged_table_is_refused_or_right(tmp_path):
    path = encode(tmp_path / "clip.mp4", pictures(12), container={"movflags": "faststart"})
    data = path.read_bytes()
    end = data.index(b"mdat")
    rng = np.random.default_rng(0)
    for _ in range(60):
        broken = bytearray(data)
        broken[int(rng.integers(0, end))] = int(rng.integers(256))
        path.write_bytes(bytes(broken))
        read_sample_table(path, 1)  # must not raise


# ---- the plan ----


@st.composite
def indices(draw) -> tuple[FrameIndex, np.ndarray]:
    """A stream of groups with reordered frames, leading pictures among them, and wanted frames."""
    shown: list[int] = []  # time of each packet, in the order of decoding
    keys = []
    for size in draw(st.lists(st.integers(1, 6), min_size=1, max_size=6)):
        group = [len(shown) + i for i in range(size)]
        leading = draw(st.integers(0, size - 1)) if keys else 0
        keys.append(len(shown))
        shown += [group.pop(leading), *draw(st.permutations(group))]
    times = np.array(shown)
    order = np.argsort(times)
    wanted = draw(st.sets(st.integers(0, len(shown) - 1)))
    index = FrameIndex(
        times=times[order],
        packets=order.astype(np.int32),
        key_packets=np.array(keys),
        key_frames=np.argsort(order)[keys],
        key_times=times[keys],
        key_places=None,
        time_base=video_files.Fraction(1, 25),
    )
    return index, np.array(sorted(wanted), np.int64)


@given(case=indices(), join=st.booleans())
def test_a_plan_reaches_every_frame_from_a_key_shown_no_later(case, join):
    index, wanted = case
    runs = plan(index, wanted, join)
    np.testing.assert_array_equal(
        np.concatenate([run.frames for run in runs] or [np.array([], int)]), wanted
    )
    for run in runs:
        first = index.key_packets[run.key]
        assert (index.packets[run.frames] >= first).all()
        assert (index.packets[run.frames] < run.stop).all()
        assert (run.frames >= index.key_frames[run.key]).all() or run.key == 0
    if join:  # no packet is decoded twice
        spans = [(int(index.key_packets[run.key]), run.stop) for run in runs]
        assert all(stop < start for (_, stop), (start, _) in pairwise(spans))
