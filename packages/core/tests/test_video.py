"""Reading videos: the right frames from every kind of file, and no more work than needed."""

from __future__ import annotations

import gc
import importlib.util
import multiprocessing
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("av")

from behaviorzoo.errors import UserError
from behaviorzoo.video import VideoError, VideoReader, read_frames, read_span, video_info
from behaviorzoo.video import decoding as decoding_module
from behaviorzoo.video import reader as reader_module
from behaviorzoo.video.info import frame_index
from behaviorzoo.video.opening import default_threads

spec = importlib.util.spec_from_file_location(
    "video_files", Path(__file__).with_name("video_files.py")
)
assert spec is not None
assert spec.loader is not None
video_files = importlib.util.module_from_spec(spec)
spec.loader.exec_module(video_files)
pictures, encode, decode_all = video_files.pictures, video_files.encode, video_files.decode_all

# name -> encoder, its options, suffix, pixel format, B-frames set by us
KINDS = {
    "h264-mp4": ("libx264", {}, "mp4", "yuv420p", 2),
    "h264-mkv": ("libx264", {}, "mkv", "yuv420p", 2),
    "h264-flv": ("libx264", {}, "flv", "yuv420p", 2),
    "h264-avi": ("libx264", {}, "avi", "yuv420p", 2),
    "h264-ts": ("libx264", {}, "ts", "yuv420p", 2),
    "h264-raw": ("libx264", {}, "h264", "yuv420p", 2),
    "open-groups-mp4": ("libx264", {"x264-params": "open-gop=1:bframes=3"}, "mp4", "yuv420p", None),
    "open-groups-ts": ("libx264", {"x264-params": "open-gop=1:bframes=3"}, "ts", "yuv420p", None),
    "refresh-mp4": (
        "libx264",
        {"x264-params": "intra-refresh=1:keyint=20:bframes=0"},
        "mp4",
        "yuv420p",
        None,
    ),
    "hevc-mp4": ("libx265", {"x265-params": "log-level=none"}, "mp4", "yuv420p", None),
    "mpeg4-mp4": ("mpeg4", {}, "mp4", "yuv420p", 2),
    "mpeg4-avi": ("mpeg4", {}, "avi", "yuv420p", 2),
    "mpeg1-mpg": ("mpeg1video", {}, "mpg", "yuv420p", 2),
    "mpeg2-ts": ("mpeg2video", {}, "ts", "yuv420p", 2),
    "mjpeg-avi": ("mjpeg", {}, "avi", "yuvj420p", None),
    "raw-avi": ("rawvideo", {}, "avi", "yuv420p", None),
    "ffv1-mkv": ("ffv1", {}, "mkv", "yuv420p", None),
    "vp8-webm": ("libvpx", {"auto-alt-ref": "1", "lag-in-frames": "16"}, "webm", "yuv420p", None),
    "vp9-webm": ("libvpx-vp9", {"lag-in-frames": "16"}, "webm", "yuv420p", None),
    "gif": ("gif", {}, "gif", "rgb8", None),
}


def make(folder: Path, kind: str, frames: np.ndarray, times: np.ndarray | None = None) -> Path:
    codec, options, suffix, pixels, between = KINDS[kind]
    unit = video_files.Fraction(1, 100 if suffix == "gif" else 50)
    return encode(
        folder / f"{kind}.{suffix}",
        frames,
        codec,
        options=options,
        pixels=pixels,
        between=between,
        times=times,
        unit=unit,
    )


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> tuple[Path, np.ndarray]:
    """A file of 60 frames in groups of 12 with B-frames, and what a full decode gives."""
    path = encode(tmp_path_factory.mktemp("clip") / "clip.mp4", pictures())
    return path, decode_all(path)[0]


# ---- the right frames ----


@pytest.mark.parametrize("kind", KINDS)
def test_any_access_gives_the_frames_of_a_full_decode(tmp_path, kind):
    path = make(tmp_path, kind, pictures(50))
    truth, _ = decode_all(path)
    info = video_info(path)
    assert info.n_frames == len(truth) == 50
    assert (info.width, info.height, info.rotation) == (64, 48, 0)
    assert info.fps == pytest.approx(25)
    np.testing.assert_allclose(np.diff(info.times), 0.04, atol=1.1e-3)
    rng = np.random.default_rng(0)
    with VideoReader(path) as video:
        for first in range(0, 50, 7):
            np.testing.assert_array_equal(video.frames([first])[0], truth[first])
        for _ in range(5):
            wanted = rng.integers(0, 50, 6)
            np.testing.assert_array_equal(video.frames(wanted), truth[wanted])
        streamed = np.concatenate([frames for _, frames in video.stream(16)])
    np.testing.assert_array_equal(streamed, truth)


def test_a_gradual_refresh_is_no_place_to_start(tmp_path):
    """Cameras that never send a whole picture mark where a refresh begins as if one could start."""
    frames = video_files.make_clip("circle", "star", 90, 64, 1)
    path = make(tmp_path, "refresh-mp4", frames)
    truth, _ = decode_all(path)
    assert len(frame_index(path).key_packets) > 2
    for number in range(0, 90, 4):
        np.testing.assert_array_equal(read_frames(path, [number])[0], truth[number])


@pytest.mark.parametrize("kind", ["h264-mp4", "h264-mkv", "h264-ts", "mpeg4-mp4", "gif"])
def test_varying_rates_keep_their_times(tmp_path, kind):
    times = np.cumsum(np.random.default_rng(1).integers(2, 9, 40))
    path = make(tmp_path, kind, pictures(40), times - times[0])
    truth, seconds = decode_all(path)
    info = video_info(path)
    measured = np.array(seconds, float)
    if kind == "h264-ts":  # the clock of a transport stream starts anywhere
        measured -= measured[0]
    np.testing.assert_allclose(info.times, measured, atol=1e-9)
    assert info.fps == pytest.approx(39 / (measured[-1] - measured[0]), rel=0.011)
    np.testing.assert_array_equal(read_frames(path, [31, 3, 17]), truth[[31, 3, 17]])
    start, end = measured[9] + 0.001, measured[20]
    frames, shown = read_span(path, start, end)
    inside = (measured >= start - 0.01) & (measured <= end)
    assert len(frames) <= inside.sum()
    np.testing.assert_array_equal(frames[-1], truth[20])
    assert shown[-1] == pytest.approx(end)


@pytest.mark.parametrize("kind", ["h264-mp4", "h264-mkv", "h264-avi", "mpeg4-avi", "gif"])
def test_a_video_of_one_frame(tmp_path, kind):
    path = make(tmp_path, kind, pictures(1))
    info = video_info(path)
    assert info.n_frames == 1
    assert info.duration > 0
    assert read_frames(path, [0, 0]).shape == (2, 48, 64, 3)
    assert [start for start, _ in VideoReader(path).stream(8)] == [0]
    assert len(read_span(path)[0]) == 1


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(indices=st.lists(st.integers(0, 59), max_size=9), threads=st.sampled_from([0, 1]))
def test_frames_come_in_the_order_asked_for(clip, indices, threads):
    path, truth = clip
    frames = read_frames(path, indices, threads=threads)
    assert frames.dtype == np.uint8
    np.testing.assert_array_equal(frames, truth[indices])


def test_no_frames_asked_for_is_an_empty_array_of_their_size(clip):
    assert read_frames(clip[0], []).shape == (0, 48, 64, 3)
    assert read_frames(clip[0], [], short_side=24).shape == (0, 24, 32, 3)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(start=st.floats(-1, 3), length=st.floats(0, 1.5))
def test_a_span_is_what_lies_between_its_ends(clip, start, length):
    path, truth = clip
    frames, times = read_span(path, start, start + length)
    # Both ends widened to whole units of the container, here 1/12800 s.
    unit = 1 / 12800
    low, high = np.floor(start / unit), np.ceil((start + length) / unit)
    expected = [i for i in range(60) if low <= i * 512 <= high]
    np.testing.assert_allclose(times, np.array(expected) / 25, atol=1e-9)
    np.testing.assert_array_equal(frames, truth[expected])


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(window=st.integers(1, 70), stride=st.integers(1, 40))
def test_windows_cover_the_video(clip, window, stride):
    path, truth = clip
    expected, start = [], 0
    while start < 60 and (start == 0 or start - stride + window < 60):
        expected.append((start, truth[start : start + window]))
        start += stride
    found = list(VideoReader(path).stream(window, stride))
    assert [start for start, _ in found] == [start for start, _ in expected]
    for (_, one), (_, other) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


# Display matrices (16.16 fixed point): what is shown for stored pixels.
ONE = 1 << 16
TURNS = {
    "upright": ([ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30], 0, lambda x: x),
    "right": ([0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30], 90, lambda x: np.rot90(x, -1, (1, 2))),
    "half": ([-ONE, 0, 0, 0, -ONE, 0, 0, 0, 1 << 30], 180, lambda x: np.rot90(x, 2, (1, 2))),
    "left": ([0, -ONE, 0, ONE, 0, 0, 0, 0, 1 << 30], 270, lambda x: np.rot90(x, 1, (1, 2))),
    "mirrored": ([-ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30], 0, lambda x: x[:, :, ::-1]),
    "upside-down": ([ONE, 0, 0, 0, -ONE, 0, 0, 0, 1 << 30], 0, lambda x: x[:, ::-1]),
}


@pytest.mark.parametrize("turn", TURNS)
def test_pictures_are_upright(tmp_path, turn):
    matrix, degrees, upright = TURNS[turn]
    path = encode(tmp_path / "turned.mov", pictures(12), matrix=matrix)
    truth = upright(decode_all(path)[0])
    info = video_info(path)
    assert info.rotation == degrees
    assert (info.height, info.width) == truth.shape[1:3]
    np.testing.assert_array_equal(read_frames(path, range(12)), truth)


def test_the_short_side_can_be_scaled(clip):
    frames = read_frames(clip[0], [3, 8], short_side=24)
    assert frames.shape == (2, 24, 32, 3)
    near = clip[1][[3, 8]].reshape(2, 24, 2, 32, 2, 3).mean((2, 4))
    assert np.abs(frames - near).mean() < 8


# ---- no more work than needed ----


def decoded_for(monkeypatch, path: Path, indices: list[int], skip: bool = True) -> int:
    """How many frames the decoder gives for a request."""
    count = 0
    original = decoding_module.Decoder._feed

    def counting(self, *arguments):
        nonlocal count
        for frame in original(self, *arguments):
            count += 1
            yield frame

    with monkeypatch.context() as patch:
        patch.setattr(decoding_module.Decoder, "_feed", counting)
        decoder = decoding_module.Decoder(path, threads=1, skip=skip)
        found = [number for number, _ in decoder.frames(np.array(indices))]
    assert found == indices
    return count


def test_only_the_group_of_a_frame_is_decoded(clip, monkeypatch):
    keys = frame_index(clip[0]).key_frames.tolist()
    assert len(keys) >= 5
    assert decoded_for(monkeypatch, clip[0], [keys[-1]]) == 1
    assert decoded_for(monkeypatch, clip[0], [0, 59]) <= 1 + 60 - keys[-1]


@pytest.mark.parametrize("suffix", ["mp4", "ts"])
def test_pictures_that_none_refers_to_are_left_out(tmp_path, monkeypatch, suffix):
    path = encode(
        tmp_path / f"b.{suffix}", pictures(60), group=60, options={"x264-params": "scenecut=0"}
    )
    everything = decoded_for(monkeypatch, path, [58], skip=False)
    assert everything >= 59
    assert decoded_for(monkeypatch, path, [58]) < 0.8 * everything


def test_a_stream_reads_one_window_at_a_time(clip, monkeypatch):
    converted = []
    original = reader_module.to_rgb
    monkeypatch.setattr(
        reader_module, "to_rgb", lambda frame, side: converted.append(1) or original(frame, side)
    )
    stream = VideoReader(clip[0]).stream(8, 4)
    next(stream)
    assert len(converted) == 8
    next(stream)
    assert len(converted) == 12


def test_facts_are_remembered_until_the_file_changes(tmp_path):
    path = encode(tmp_path / "clip.mp4", pictures(12))
    assert video_info(path).n_frames == 12
    encode(path, pictures(20))
    assert video_info(path).n_frames == 20


# ---- processes ----


def _mean(reader: VideoReader, queue) -> None:
    queue.put((float(reader.frames([5, 40]).mean()), default_threads()))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_reader_works_in_child_processes(clip, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    path, truth = clip
    reader = VideoReader(path, threads=2)
    before = reader.frames([59])  # the file is open and its decoder has threads
    context = multiprocessing.get_context(method)
    if method == "fork":
        queue = context.Queue()
        child = context.Process(target=_mean, args=(reader, queue))
        child.start()
        mean, threads = queue.get(timeout=30)
        child.join()
        assert threads == 1
        assert child.exitcode == 0
    else:
        copy = pickle.loads(pickle.dumps(reader))
        assert copy.threads == 2
        mean = float(copy.frames([5, 40]).mean())
    assert mean == pytest.approx(float(truth[[5, 40]].mean()))
    np.testing.assert_array_equal(reader.frames([59]), before)
    assert default_threads() == 0


def test_a_forked_child_may_drop_a_reader_of_its_parent(clip):
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("no fork here")
    readers = [VideoReader(clip[0], threads=2)]
    readers[0].frames([30])
    gc.collect()  # what other tests left behind is none of the child's business

    def drop() -> None:
        readers.clear()
        gc.collect()

    child = multiprocessing.get_context("fork").Process(target=drop)
    child.start()
    child.join(20)
    alive = child.is_alive()
    child.kill()
    assert not alive


def test_a_forgotten_reader_is_closed_at_once(clip):
    gc.collect()
    gc.disable()
    try:
        before = len(os.listdir("/proc/self/task"))
        reader = VideoReader(clip[0], threads=4)
        next(reader.stream(4))
        del reader
        assert len(os.listdir("/proc/self/task")) == before
    except FileNotFoundError:
        pytest.skip("threads are counted on Linux only")
    finally:
        gc.enable()


def test_no_message_of_ffmpeg_waits_for_the_interpreter(clip):
    """Its threads hang whoever frees them, with the interpreter in hand, while they report."""
    import av.logging

    av.logging.set_level(av.logging.ERROR)
    with VideoReader(clip[0]) as reader:
        reader.frames([7])
    assert av.logging.get_level() is None


def test_a_closed_reader_opens_again(clip):
    with VideoReader(clip[0]) as reader:
        first = reader.frames([7])
    reader.close()
    np.testing.assert_array_equal(reader.frames([7]), first)
    assert len(reader) == 60


# ---- what users get wrong ----


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([60], "no frame 60: the video has 60, 0 to 59"),
        ([-1], "no frame -1"),
        ([0.5], "must be whole"),
        ([[1, 2]], "in one dimension"),
    ],
)
def test_wrong_frame_numbers_are_named(clip, indices, message):
    with pytest.raises(UserError, match=message):
        read_frames(clip[0], indices)


def test_wrong_windows_and_sizes_are_named(clip):
    with pytest.raises(UserError, match="window is 0"):
        next(VideoReader(clip[0]).stream(0))
    with pytest.raises(UserError, match="short_side is 0"):
        VideoReader(clip[0], short_side=0)


def test_the_import_is_light():
    code = "import sys, behaviorzoo.video; sys.exit('av' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_the_library_the_extra_is_named(clip, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "av" else find(name, *a)
    )
    with pytest.raises(UserError, match=r"behaviorzoo-core\[video\]"):
        VideoReader(clip[0]).frames([0])


# ---- files from the wild ----

ORDINARY = [
    "bsoid_mouse_clips/itch_hstacked.mp4",
    "decord_samples/flipping_a_pancake.mkv",
    "decord_samples/unordered.mov",
    "decord_samples/video_0.mov",
    "hiera_samples/dog.mp4",
    "mmaction2_samples/demo.mp4",
    "sleap_flies/centered_pair_low_quality.mp4",
]


def real(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        pytest.skip(f"no {name}")
    return path


def some_frames(total: int) -> list[int]:
    return sorted({0, total - 1, *np.random.default_rng(0).integers(0, total, 6).tolist()})


@pytest.mark.parametrize("name", [*ORDINARY, "chimpbehave/gifs/walking.gif"])
def test_real_files_give_the_frames_of_a_full_decode(real_data_dir, name):
    path = real(real_data_dir, name)
    info = video_info(path)
    wanted = [i for i in some_frames(info.n_frames) if i < 400]
    frames = dict(zip(wanted, read_frames(path, wanted[::-1])[::-1], strict=True))
    with video_files.av.open(str(path)) as file:
        for number, frame in enumerate(file.decode(video=0)):
            if number in frames:
                np.testing.assert_array_equal(frames[number], frame.to_ndarray(format="rgb24"))
            if number >= wanted[-1]:
                break


@pytest.mark.parametrize("name", ORDINARY)
def test_frames_equal_those_of_decord(real_data_dir, name):
    decord = pytest.importorskip("decord")
    path = real(real_data_dir, name)
    theirs = decord.VideoReader(str(path))
    assert len(theirs) == video_info(path).n_frames
    wanted = [i for i in some_frames(len(theirs)) if i < 400]
    ours = read_frames(path, wanted).astype(int)
    assert np.abs(ours - theirs.get_batch(wanted).asnumpy()).max() <= 1


@pytest.mark.parametrize("name", [*ORDINARY, "decord_samples/video_90.mov"])
def test_frames_equal_those_of_opencv(real_data_dir, name):
    cv2 = pytest.importorskip("cv2", minversion="5.0")
    path = real(real_data_dir, name)
    capture = cv2.VideoCapture(str(path))
    info = video_info(path)
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(info.fps)
    ours = read_frames(path, range(min(info.n_frames, 40)))
    for number, image in enumerate(ours):
        good, theirs = capture.read()
        assert good, number
        np.testing.assert_allclose(image.astype(int), theirs[..., ::-1], atol=1)


def test_a_turned_recording_is_shown_upright(real_data_dir):
    straight = real(real_data_dir, "decord_samples/video_0.mov")
    turned = real(real_data_dir, "decord_samples/video_90.mov")
    info = video_info(turned)
    assert (info.rotation, info.width, info.height) == (90, 320, 568)
    assert video_info(straight).rotation == 0
    truth = np.rot90(decode_all(turned)[0], -1, (1, 2))
    np.testing.assert_array_equal(read_frames(turned, range(3)), truth)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(VideoError, match="no such video"):
        video_info(tmp_path / "none.mp4")
    with pytest.raises(VideoError, match="a folder"):
        VideoReader(tmp_path)
