"""Files that are no good: the right frames of what is left, or one line that says what is wrong."""

from __future__ import annotations

import importlib.util
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")

from behaviorzoo.video import (
    VideoError,
    VideoReader,
    VideoWarning,
    check_video,
    read_frames,
    read_span,
    video_info,
)

spec = importlib.util.spec_from_file_location(
    "video_files", Path(__file__).with_name("video_files.py")
)
assert spec is not None
assert spec.loader is not None
video_files = importlib.util.module_from_spec(spec)
spec.loader.exec_module(video_files)
pictures, encode, decode_all = video_files.pictures, video_files.encode, video_files.decode_all

FIRST = {"movflags": "faststart"}  # the tables come before the pictures


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[bytes, np.ndarray]:
    """The bytes of a file of 80 frames, and the frames."""
    path = tmp_path_factory.mktemp("whole") / "whole.mp4"
    encode(path, pictures(80), group=20, container=FIRST)
    return path.read_bytes(), decode_all(path)[0]


def one_line(error: pytest.ExceptionInfo, path: Path) -> str:
    text = str(error.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert error.value.path == path
    return text


# ---- no video at all ----


def nothing(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("frame,label\n0,walk\n" * 50)


def noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(5000))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (nothing, "empty"),
        (text, "not a video"),
        (noise, "not a video"),
        (video_files.sound, "no video stream, only audio"),
    ],
)
def test_what_is_no_video_is_named(tmp_path, make, message):
    path = tmp_path / "clip.mp4"
    make(path)
    for work in (
        lambda: video_info(path),
        lambda: read_frames(path, [0]),
        lambda: read_span(path),
        lambda: list(VideoReader(path, partial=True).stream(8)),
    ):
        with pytest.raises(VideoError) as error:
            work()
        assert message in one_line(error, path)
    found = check_video(path)
    assert (found.n_frames, found.readable) == (0, 0)
    assert message in str(found.problem)


def test_a_title_that_is_not_utf8_is_no_reason_to_refuse_a_video(tmp_path):
    path = encode(tmp_path / "clip.mp4", pictures(9), title="Moewen")
    data = path.read_bytes()
    assert data.count(b"Moewen") == 1
    path.write_bytes(data.replace(b"Moewen", "Möwen ".encode("latin-1")))
    assert video_info(path).n_frames == 9


# ---- cut off ----


@pytest.mark.parametrize("share", [0.3, 0.55, 0.8, 0.97])
def test_what_is_left_of_a_file_cut_off_can_be_read(tmp_path, whole, share):
    data, truth = whole
    path = tmp_path / "cut.mp4"
    path.write_bytes(data[: int(len(data) * share)])
    assert video_info(path).fps == pytest.approx(25, rel=0.02)
    with pytest.raises(VideoError, match="cut off") as error:
        _ = video_info(path).n_frames
    left = error.value.frame
    assert str(left) in one_line(error, path)
    assert 0 < left < 80
    assert video_info(path, partial=True).n_frames == left
    # What is there can be read without further ado; what is not, cannot.
    np.testing.assert_array_equal(read_frames(path, [left - 1, 0]), truth[[left - 1, 0]])
    np.testing.assert_array_equal(read_span(path, 0.0, 0.1)[0], truth[:3])
    for work in (lambda: read_frames(path, [0, 79]), lambda: read_span(path, 0.1, 3.0)):
        with pytest.raises(VideoError, match="cut off") as error:
            work()
        one_line(error, path)
    windows = []
    with pytest.raises(VideoError, match="cut off"):
        windows += list(VideoReader(path).stream(8))
    with pytest.warns(VideoWarning, match=f"ends before frame {left}"):
        windows = list(VideoReader(path, partial=True).stream(8))
    np.testing.assert_array_equal(np.concatenate([frames for _, frames in windows]), truth[:left])
    with pytest.warns(VideoWarning):
        some = read_frames(path, [79, 2, 1, 2], partial=True)
    np.testing.assert_array_equal(some, truth[[2, 1, 2]])
    with pytest.warns(VideoWarning), pytest.raises(VideoError, match="cut off"):
        read_frames(path, [79], partial=True)
    found = check_video(path)
    assert (found.n_frames, found.readable) == (left, left)
    assert "cut off" in str(found.problem)


@pytest.mark.parametrize("suffix", ["mkv", "avi", "ts"])
def test_other_containers_cut_off(tmp_path, suffix):
    codec = "mpeg4" if suffix == "avi" else "libx264"
    complete = encode(tmp_path / f"whole.{suffix}", pictures(80), codec, group=20, between=0)
    truth = decode_all(complete)[0]
    path = tmp_path / f"cut.{suffix}"
    data = complete.read_bytes()
    path.write_bytes(data[: len(data) * 8 // 10])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VideoWarning)
        frames = np.concatenate([w for _, w in VideoReader(path, partial=True).stream(8)])
    assert 5 < len(frames) < 80
    np.testing.assert_array_equal(frames, truth[: len(frames)])


def test_a_recording_that_was_never_closed_is_named(tmp_path):
    complete = encode(tmp_path / "whole.mp4", pictures(80))  # its tables come last
    path = tmp_path / "cut.mp4"
    path.write_bytes(complete.read_bytes()[:-3000])
    with pytest.raises(VideoError, match="not a video, or its beginning is broken") as error:
        video_info(path)
    one_line(error, path)


# ---- damaged inside ----


@pytest.fixture
def damaged(tmp_path, whole) -> tuple[Path, np.ndarray]:
    """A file whose third group begins with nonsense."""
    data, truth = whole
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    with video_files.av.open(str(path)) as file:
        packets = [p for p in file.demux(video=0) if p.size]
        keys = [p for p in packets if p.is_keyframe]
        start, size = keys[2].pos, keys[2].size
    broken = bytearray(data)
    broken[start + 5 : start + size] = np.random.default_rng(0).bytes(size - 5)
    path.write_bytes(bytes(broken))
    return path, truth


@pytest.mark.parametrize("threads", [0, 1])
def test_frames_before_and_after_a_damage_are_right(damaged, threads):
    path, truth = damaged
    assert video_info(path).n_frames == 80
    with pytest.raises(VideoError, match="cannot be decoded") as error:
        for _ in VideoReader(path, threads=threads).stream(4):
            pass
    broken = error.value.frame
    assert f"frame {broken} of 80" in one_line(error, path)
    assert 35 <= broken <= 45
    with VideoReader(path, threads=threads) as video:
        np.testing.assert_array_equal(video.frames([broken - 1, 3]), truth[[broken - 1, 3]])
        np.testing.assert_array_equal(video.frames(range(65, 80)), truth[65:80])
    # What refers to the damaged picture is not given out as if nothing were.
    for number in (broken, broken + 3, broken + 16):
        with pytest.raises(VideoError, match=f"frame {number} of 80"):
            read_frames(path, [number], threads=threads)
    video = VideoReader(path, partial=True, threads=threads)
    with pytest.warns(VideoWarning, match=f"ends before frame {broken}"):
        frames = np.concatenate([w for _, w in video.stream(7)])
    assert video.problem is not None
    np.testing.assert_array_equal(frames, truth[:broken])
    with pytest.warns(VideoWarning):
        frames, times = read_span(path, 1.0, 3.0, partial=True, threads=threads)
    np.testing.assert_array_equal(frames, truth[25:broken])
    assert len(times) == len(frames)
    found = check_video(path)
    assert (found.n_frames, found.readable) == (80, broken)


def packets_of(path: Path) -> list[tuple[int, int]]:
    with video_files.av.open(str(path)) as file:
        return [(p.pos, p.size) for p in file.demux(video=0) if p.size]


@pytest.mark.parametrize("number", [25, 45])
def test_pictures_that_the_decoder_made_up_are_not_given(tmp_path, whole, number):
    """Zeros in the midst of a picture raise no error: the decoder fills the gap and says so."""
    data, truth = whole
    path = tmp_path / "gap.mp4"
    path.write_bytes(data)
    place, size = packets_of(path)[number]
    gap = bytearray(data)
    gap[place + size // 3 : place + size] = bytes(size - size // 3)
    path.write_bytes(bytes(gap))
    found = check_video(path)
    assert found.problem is not None
    assert number - 4 <= found.readable <= number + 4
    if found.readable:
        frames = read_frames(path, range(found.readable))
        np.testing.assert_array_equal(frames, truth[: found.readable])


def test_a_file_that_ends_between_two_packets_is_cut_off_too(tmp_path, whole):
    data, truth = whole
    path = tmp_path / "cut.mp4"
    path.write_bytes(data)
    place, size = packets_of(path)[49]
    path.write_bytes(data[: place + size])
    with pytest.raises(VideoError, match="cut off after packet 50 of 80") as error:
        _ = video_info(path).n_frames
    assert 45 <= error.value.frame <= 50
    np.testing.assert_array_equal(
        read_frames(path, [error.value.frame - 1])[0], truth[error.value.frame - 1]
    )


def test_the_real_damaged_file(real_data_dir):
    path = real_data_dir / "decord_samples" / "corrupted.mp4"
    if not path.is_file():
        pytest.skip("no decord_samples/corrupted.mp4")
    info = video_info(path)
    assert (info.n_frames, info.width, info.height) == (50, 1280, 720)
    with pytest.raises(VideoError, match="of 50 cannot be decoded") as error:
        read_frames(path, [10, 49])
    one_line(error, path)
    found = check_video(path)
    assert found.problem is not None
    assert 25 <= found.readable <= 31
    with video_files.av.open(str(path)) as file:
        truth = [
            frame.to_ndarray(format="rgb24")
            for _, frame in zip(range(25), file.decode(video=0), strict=False)
        ]
    np.testing.assert_array_equal(read_frames(path, [24, 0]), np.stack(truth)[[24, 0]])
    with pytest.warns(VideoWarning):
        frames = read_frames(path, range(20, 50), partial=True)
    assert len(frames) == found.readable - 20


def test_a_change_of_size_is_named(tmp_path):
    small = encode(tmp_path / "small.h264", pictures(12))
    large = encode(tmp_path / "large.h264", pictures(12, height=64, width=96))
    path = tmp_path / "both.h264"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    with pytest.raises(VideoError, match="frame 12 has 96x64 pixels, those before have 64x48"):
        list(VideoReader(path).stream(24))


# ---- the error itself ----


def test_an_error_crosses_processes():
    error = VideoError("a.mp4: frame 3", path=Path("a.mp4"), frame=3, reason="frame 3")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.path, copy.frame) == (str(error), error.path, 3)
    # A data loader makes it anew from one string.
    assert VideoError("worker 0: a.mp4").reason == "worker 0: a.mp4"
