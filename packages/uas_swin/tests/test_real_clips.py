"""Real videos through the whole way: list, decoding, clips, crops, labels."""

from __future__ import annotations

import numpy as np
import pytest

from behaviorzoo.errors import UserError
from behaviorzoo.video import read_frames
from uas_swin.data import pixels
from uas_swin.data.dataset import UasVideoDataset
from uas_swin.data.prepare.chimpbehave import CLASSES as CHIMP_CLASSES

GIFS = ("climbing_down", "running", "sitting", "standing", "walking")
MOUSE = (
    *("body_groom", "face_groom", "head_groom", "inactive", "investigate", "itch", "locomote"),
    *("orient_L", "orient_R", "rear_minus", "rear_plus"),
)
THIRDS = ("0:450", "450:900", "900:1350")


def pipeline(clip_len, interval, side, n_clips=1, reader="pyav"):
    sampling = {"clip_len": clip_len, "frame_interval": interval, "num_clips": n_clips}
    return [
        {"type": "UasOpenVideo", "reader": reader},
        {"type": "UasSampleFrames", "test_mode": True, **sampling},
        {"type": "UasDecode"},
        {"type": "UasResize", "scale": (-1, side)},
        {"type": "UasThreeCrop", "crop_size": side},
        {"type": "UasFormatShape"},
    ]


def listed(tmp_path, lines):
    path = tmp_path / "list.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def test_chimpanzees_have_their_true_classes(real_data_dir, tmp_path):
    """24-frame GIFs: clips of 32 frames begin anew, at interval 2 as in the authors' test."""
    path = listed(tmp_path, [f"{name}.gif {name}" for name in GIFS])
    folder = real_data_dir / "chimpbehave" / "gifs"
    data = UasVideoDataset(path, pipeline(32, 2, 48), {"video": str(folder)}, classes=CHIMP_CLASSES)
    assert data.class_counts() == [1, 1, 1, 0, 0, 1, 1]
    middles = []
    for index, name in enumerate(GIFS):
        sample = data[index]
        assert CHIMP_CLASSES[sample["label"]] == name
        assert sample["imgs"].shape == (3, 3, 32, 48, 48)
        frames = read_frames(folder / f"{name}.gif", np.arange(0, 64, 2) % 24)
        expected = pixels.resize(frames, 48, 48).transpose(3, 0, 1, 2)
        for crop in sample["imgs"]:  # square pictures: all three crops are the same
            np.testing.assert_array_equal(crop, expected)
        middles.append(sample["imgs"][2])
    for a in range(len(GIFS)):
        for b in range(a):
            assert np.abs(middles[a].astype(int) - middles[b]).mean() > 5


def test_thirty_three_mice_in_eleven_files(real_data_dir, tmp_path):
    """Each file shows three examples side by side; a region makes each a sample of its own."""
    lines = [f"{name}_hstacked.mp4#{third} {name}" for name in MOUSE for third in THIRDS]
    folder = real_data_dir / "bsoid_mouse_clips"
    steps = pipeline(8, 2, 36)
    data = UasVideoDataset(listed(tmp_path, lines), steps, {"video": str(folder)}, classes=MOUSE)
    assert len(data) == 33
    assert data.class_counts() == [3] * 11
    first: dict[str, np.ndarray] = {}
    for index, line in enumerate(lines):
        sample = data[index]
        assert sample["video_id"] == line.split()[0]
        assert MOUSE[sample["label"]] == line.split()[1]
        assert sample["original_shape"] == (360, 450)
        assert sample["imgs"].shape == (3, 3, 8, 36, 36)
        first[line] = sample["imgs"]
        frame = read_frames(sample["filename"], sample["frame_inds"][:1])
        column = int(line.split("#")[1].split(":")[0])
        part = np.ascontiguousarray(frame[:, :, column : column + 450])
        small = pixels.resize(part, 45, 36)[0].transpose(2, 0, 1)
        np.testing.assert_array_equal(sample["imgs"][0, :, 0], small[:, :, :36])
        np.testing.assert_array_equal(sample["imgs"][1, :, 0], small[:, :, 8:44])
        np.testing.assert_array_equal(sample["imgs"][2, :, 0], small[:, :, 4:40])
    assert len({views.tobytes() for views in first.values()}) == 33


def test_samples_of_decord_one_of_them_broken(real_data_dir, tmp_path, monkeypatch):
    names = ("flipping_a_pancake.mkv", "corrupted.mp4", "unordered.mov", "video_0.mov")
    names = (*names, "video_90.mov")
    path = listed(tmp_path, [f"{name} 0" for name in names])
    folder = {"video": str(real_data_dir / "decord_samples")}
    data = UasVideoDataset(path, pipeline(32, 2, 32, n_clips=4), folder)
    shapes = [data[index]["original_shape"] for index in (0, 2, 3, 4)]
    assert shapes == [(240, 426), (50, 50), (320, 568), (568, 320)]
    with pytest.raises(UserError, match=r"list\.txt, line 2: .*corrupted\.mp4.*cannot be decoded"):
        data[1]
    told: list[str] = []
    monkeypatch.setattr("uas_swin.data.dataset.print_log", lambda text, **_: told.append(text))
    skipped = UasVideoDataset(path, pipeline(32, 2, 32), folder, bad_videos="skip")
    assert len(skipped) == 4
    assert "1 of 5 videos are left out" in told[0]
    assert "line 2: " in told[0]


def test_readers_give_the_same_samples(real_data_dir, tmp_path):
    pytest.importorskip("decord")
    lines = ["decord_samples/flipping_a_pancake.mkv 0", "hiera_samples/dog.mp4 1"]
    lines += ["mmaction2_samples/demo.mp4 2", "decord_samples/video_90.mov 3"]
    path, folder = listed(tmp_path, lines), {"video": str(real_data_dir)}
    samples = {
        reader: UasVideoDataset(path, pipeline(16, 4, 32, 2, reader), folder)
        for reader in ("pyav", "decord", "opencv")
    }
    for index in range(len(lines)):
        expected = samples["pyav"][index]["imgs"]
        for reader in ("decord", "opencv"):
            np.testing.assert_array_equal(samples[reader][index]["imgs"], expected, lines[index])
