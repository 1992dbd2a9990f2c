"""Three libraries, one answer; and what happens to files that are not as they should be."""

from __future__ import annotations

import sys
from fractions import Fraction

import numpy as np
import pytest

from behaviorzoo.errors import UserError
from behaviorzoo.video import VideoError
from behaviorzoo.video.writing import write_video
from uas_swin.data.readers import READERS, open_reader

OTHERS = [name for name in READERS if name != "pyav"]


@pytest.fixture(autouse=True)
def _decord_is_there(request):
    if "decord" in request.node.name:
        pytest.importorskip("decord")


def moving(n_frames=40, height=48, width=64, seed=0):
    """A bright square on noise; its place and the grey level of a corner tell the frame."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 60, (n_frames, height, width, 3), dtype=np.uint8)
    for t, frame in enumerate(frames):
        frame[8:24, t % 40 : t % 40 + 16] = (250, 160, 40)
        frame[32:, :16] = 6 * (t % 40)
    return frames


def read(path, indices, reader):
    video = open_reader(str(path), reader)
    try:
        return video.frames(np.asarray(indices))
    finally:
        video.close()


@pytest.fixture
def clip(tmp_path):
    return write_video(tmp_path / "my clip.mp4", moving(), 25, key_every=12)


@pytest.mark.parametrize("reader", OTHERS)
@pytest.mark.parametrize("indices", [range(40), [0], [39], [5, 6, 17, 30], range(1, 40, 3)])
def test_libraries_agree_on_every_frame(clip, reader, indices):
    np.testing.assert_array_equal(read(clip, indices, reader), read(clip, indices, "pyav"))


@pytest.mark.parametrize("reader", list(READERS))
def test_frames_are_the_ones_asked_for(clip, reader):
    frames = read(clip, [3, 11, 37], reader)
    corner = frames[:, 36:44, 4:12].mean(axis=(1, 2, 3))
    np.testing.assert_allclose(corner, [18, 66, 222], atol=6)


@pytest.mark.parametrize("reader", list(READERS))
def test_a_reader_can_go_back(clip, reader):
    video = open_reader(str(clip), reader)
    assert video.n_frames == 40
    assert video.fps == pytest.approx(25)
    later, first = video.frames([30]), video.frames([2])
    video.close()
    np.testing.assert_array_equal(later, read(clip, [30], "pyav"))
    np.testing.assert_array_equal(first, read(clip, [2], "pyav"))


@pytest.mark.parametrize("reader", list(READERS))
def test_a_variable_frame_rate_changes_no_numbers(tmp_path, reader):
    """Frames are counted, whatever times they are shown at."""
    path = tmp_path / "vfr.mkv"
    write_with_times(path, moving(20), np.cumsum([0] + [1, 1, 4, 2, 9] * 4)[:20])
    video = open_reader(str(path), reader)
    assert video.n_frames == 20
    corner = video.frames(range(20))[:, 36:44, 4:12].mean(axis=(1, 2, 3))
    video.close()
    np.testing.assert_allclose(corner, 6.0 * np.arange(20), atol=6)


@pytest.mark.parametrize("reader", list(READERS))
def test_a_single_frame(tmp_path, reader):
    path = write_video(tmp_path / "short.mp4", moving(1), 25)
    frames = read(path, [0], reader)
    assert frames.shape == (1, 48, 64, 3)
    np.testing.assert_array_equal(frames, read(path, [0], "pyav"))


def write_with_times(path, frames, ticks):
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=100)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 100)
        for image, tick in zip(frames, ticks, strict=True):
            picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            picture.pts, picture.time_base = int(tick), Fraction(1, 100)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def write_sound(path):
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 4096), dtype=np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("reader", list(READERS))
def test_sound_alone_and_no_video_are_named(tmp_path, reader):
    write_sound(tmp_path / "sound.m4a")
    with pytest.raises(VideoError, match=r"sound\.m4a: no video stream"):
        open_reader(str(tmp_path / "sound.m4a"), reader).frames([0])
    (tmp_path / "text.mp4").write_text("this is no video " * 100)
    with pytest.raises(VideoError, match=r"text\.mp4: not a video"):
        open_reader(str(tmp_path / "text.mp4"), reader).frames([0])
    with pytest.raises(VideoError, match=r"none\.mp4: no such video"):
        open_reader(str(tmp_path / "none.mp4"), reader).frames([0])


def test_an_unknown_reader_and_a_missing_library(clip, monkeypatch):
    with pytest.raises(UserError, match="did you mean 'opencv'"):
        open_reader(str(clip), "open-cv")
    monkeypatch.setitem(sys.modules, "decord", None)
    with pytest.raises(UserError, match="needs decord: pip install decord"):
        open_reader(str(clip), "decord")


# --- real files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("reader", OTHERS)
def test_real_clips_are_read_alike(real_data_dir, reader):
    names = {
        "flipping_a_pancake.mkv": [0, 1, 100, 309],
        "unordered.mov": [0, 1, 2, 3],
        "video_0.mov": [0, 2],
        "video_90.mov": [0, 1, 2],
    }
    for name, indices in names.items():
        path = real_data_dir / "decord_samples" / name
        np.testing.assert_array_equal(
            read(path, indices, reader), read(path, indices, "pyav"), err_msg=name
        )
    for path in ("mmaction2_samples/demo.mp4", "hiera_samples/goat.mp4"):
        indices = [0, 7, 64, 149]
        np.testing.assert_array_equal(
            read(real_data_dir / path, indices, reader), read(real_data_dir / path, indices, "pyav")
        )


@pytest.mark.parametrize("reader", list(READERS))
def test_a_rotated_clip_is_upright(real_data_dir, reader):
    folder = real_data_dir / "decord_samples"
    upright, rotated = (read(folder / f"video_{n}.mov", [0], reader) for n in (0, 90))
    assert upright.shape[1:3] == (320, 568)
    assert rotated.shape[1:3] == (568, 320)


@pytest.mark.parametrize("reader", list(READERS))
def test_a_broken_clip_is_named_with_its_frame(real_data_dir, reader):
    """Frames before the break are right; those after it are an error, never another frame."""
    path = real_data_dir / "decord_samples" / "corrupted.mp4"
    if reader != "decord":  # decord fails as soon as a broken packet is in its queue
        np.testing.assert_array_equal(read(path, [0, 20], reader), read(path, [0, 20], "pyav"))
    with pytest.raises(VideoError, match=r"corrupted\.mp4: .*(frame|broken)"):
        read(path, [0, 49], reader)


def test_gifs(real_data_dir):
    path = real_data_dir / "chimpbehave" / "gifs" / "walking.gif"
    frames = read(path, range(24), "pyav")
    assert frames.shape == (24, 640, 640, 3)
    np.testing.assert_array_equal(frames, read(path, range(24), "opencv"))
    pytest.importorskip("decord")
    with pytest.raises(VideoError, match="decord cannot open it; reader='pyav' may read it"):
        read(path, [0], "decord")
