"""The data set of mmengine: samples, bad videos, seeds, loading by workers."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS
from torch.utils.data import DataLoader

from behaviorzoo.errors import UserError
from behaviorzoo.video import VideoError
from behaviorzoo.video.writing import write_video
from uas_swin.data.dataset import UasVideoDataset
from uas_swin.data.seeding import SeedSamples

TRAIN = [
    {"type": "UasOpenVideo"},
    {"type": "UasSampleFrames", "clip_len": 4, "frame_interval": 2},
    {"type": "UasDecode"},
    {"type": "UasResize", "scale": (-1, 20)},
    {"type": "UasRandomResizedCrop"},
    {"type": "UasResize", "scale": (16, 16), "keep_ratio": False},
    {"type": "UasFlip"},
    {"type": "UasFormatShape"},
]
TEST = [
    {"type": "UasOpenVideo"},
    {"type": "UasSampleFrames", "clip_len": 4, "num_clips": 2, "test_mode": True},
    {"type": "UasDecode"},
    {"type": "UasResize", "scale": (-1, 16)},
    {"type": "UasThreeCrop", "crop_size": 16},
    {"type": "UasFormatShape"},
]
PACK = {"type": "mmaction.PackActionInputs"}


def frames(n_frames, seed, size=(32, 64)):
    return np.random.default_rng(seed).integers(0, 256, (n_frames, *size, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three videos, one with blanks in its name, and a list."""
    folder = tmp_path_factory.mktemp("videos")
    for number, name in enumerate(("a.mp4", "the second one.mp4", "c.mp4")):
        write_video(folder / name, frames(3 + 9 * number, number), 25)
    (folder / "list.txt").write_text("a.mp4 0\nthe second one.mp4 1\nc.mp4#32:64 1\n")
    (folder / "classes.txt").write_text("rest\nrun\n")
    return folder


def dataset(folder, pipeline=TEST, name="list.txt", **arguments):
    return UasVideoDataset(str(folder / name), list(pipeline), {"video": str(folder)}, **arguments)


def test_a_sample_has_all_views_of_the_right_frames(folder):
    data = dataset(folder, test_mode=True, classes=str(folder / "classes.txt"))
    assert len(data) == 3
    assert data.metainfo == {"classes": ["rest", "run"], "num_classes": 2}
    sample = data[1]
    assert sample["imgs"].shape == (6, 3, 4, 16, 16)
    assert sample["imgs"].dtype == np.uint8
    assert sample["label"] == 1
    assert sample["video_id"] == "the second one.mp4"
    assert data.class_counts() == [1, 2]


def test_a_short_video_begins_anew(folder):
    pipeline = [*TEST[:1], {**TEST[1], "num_clips": 1}, *TEST[2:]]
    clip = dataset(folder, pipeline)[0]["imgs"]
    np.testing.assert_array_equal(clip[:, :, 3], clip[:, :, 0])  # 3 frames, 4 wanted
    assert (clip[:, :, 1] != clip[:, :, 0]).any()


def test_a_region_is_a_sample_of_its_own(folder):
    pipeline = [*TEST[:2], {"type": "UasDecode", "distinct": False}]
    whole = [{**TEST[0]}, TEST[1], {"type": "UasDecode", "distinct": False}]
    (folder / "whole.txt").write_text("c.mp4 1\n")
    cut, full = dataset(folder, pipeline)[2], dataset(folder, whole, "whole.txt")[0]
    np.testing.assert_array_equal(cut["imgs"], full["imgs"][:, :, 32:])
    assert cut["video_id"] == "c.mp4#32:64"
    (folder / "far.txt").write_text("a.mp4 0\nc.mp4#32:65 1\n")
    with pytest.raises(UserError, match=r"far\.txt, line 2: .*beyond the picture of 64x32"):
        dataset(folder, name="far.txt")[1]


def test_several_labels_become_a_vector(folder):
    (folder / "several.txt").write_text("a.mp4 0 2\nc.mp4 1\n")
    data = dataset(folder, name="several.txt", multi_class=True, num_classes=3)
    assert data[0]["label"].tolist() == [1, 0, 1]
    assert data[0]["label"].dtype == np.float32
    assert data.class_counts() == [1, 1, 1]
    with pytest.raises(UserError, match="needs num_classes or classes"):
        dataset(folder, name="several.txt", multi_class=True)


def test_samples_are_packed_for_mmaction(folder):
    sample = dataset(folder, [*TEST, PACK])[2]
    assert sample["inputs"].shape == (6, 3, 4, 16, 16)
    assert sample["data_samples"].gt_labels.item.tolist() == [1]
    assert sample["data_samples"].video_id == "c.mp4#32:64"


def test_the_steps_of_mmaction_can_follow_our_decoding(folder):
    """Frames in their places (distinct=False) are what its steps expect."""
    steps = [
        {"type": "mmaction.Resize", "scale": (-1, 16)},
        {"type": "mmaction.ThreeCrop", "crop_size": 16},
        {"type": "mmaction.FormatShape", "input_format": "NCTHW"},
    ]
    theirs = dataset(folder, [*TEST[:2], {"type": "UasDecode", "distinct": False}, *steps])
    ours = dataset(folder)
    for index in range(3):
        np.testing.assert_array_equal(theirs[index]["imgs"], ours[index]["imgs"])


def test_a_config_builds_it(folder):
    config = {
        "type": "UasVideoDataset",
        "ann_file": "list.txt",
        "data_root": str(folder),
        "data_prefix": {"video": ""},
        "pipeline": TEST,
        "num_classes": 2,
    }
    assert len(DATASETS.build(config)) == 3


# --- bad videos ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    """One good video, one missing, one that is text, one that breaks off."""
    folder = tmp_path_factory.mktemp("bad")
    write_video(folder / "good.mp4", frames(12, 0), 25)
    write_video(folder / "broken.avi", frames(30, 1), 25, key_every=10)
    content = bytearray((folder / "broken.avi").read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    (folder / "broken.avi").write_bytes(content)
    (folder / "text.mp4").write_text("no video at all")
    (folder / "list.txt").write_text("good.mp4 0\nnone.mp4 1\ntext.mp4 0\nbroken.avi 1\n")
    return folder


def test_a_missing_file_is_named_with_its_line(bad):
    with pytest.raises(UserError, match=r"list\.txt, line 2: .*none\.mp4: no such file; mend"):
        dataset(bad)


def test_a_broken_video_is_named_when_it_is_decoded(bad):
    (bad / "some.txt").write_text("good.mp4 0\ntext.mp4 1\n")
    data = dataset(bad, name="some.txt")
    with pytest.raises(VideoError, match=r"some\.txt, line 2: .*text\.mp4: not a video"):
        data[1]


def test_all_bad_videos_are_found_beforehand(bad):
    with pytest.raises(UserError, match=r"line 2.*\(3 of 4 videos are bad\)"):
        dataset(bad, check="decode")


def test_bad_videos_are_left_out_named_and_counted(bad, monkeypatch):
    told: list[str] = []
    monkeypatch.setattr("uas_swin.data.dataset.print_log", lambda text, **_: told.append(text))
    data = dataset(bad, bad_videos="skip")
    assert len(data) == 1
    assert data[0]["video_id"] == "good.mp4"
    assert [entry.line for entry, _ in data.left_out] == [2, 3, 4]
    assert "3 of 4 videos are left out" in told[0]
    for name in ("none.mp4: no such file", "text.mp4: not a video", "broken.avi: "):
        assert name in told[0]


def test_nothing_left_is_an_error(bad):
    (bad / "none.txt").write_text("none.mp4 1\n")
    with pytest.raises(UserError, match=r"none\.txt, line 1"):
        dataset(bad, name="none.txt", bad_videos="skip")


def test_wrong_choices_are_refused(bad):
    with pytest.raises(UserError, match="did you mean 'skip'"):
        dataset(bad, bad_videos="skp")
    with pytest.raises(UserError, match="did you mean 'decode'"):
        dataset(bad, check="decod")


# --- draws --------------------------------------------------------------------------------------


def images(data, indices=(0, 1, 2)):
    return [data[index]["imgs"] for index in indices]


def equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_draws_follow_from_seed_epoch_and_sample(folder):
    data = dataset(folder, TRAIN, seed=3)
    first = images(data)
    assert equal(images(data, (2, 1, 0)), first[::-1])
    data.begin_epoch(1)
    second = images(data)
    assert not equal(first, second)
    data.begin_epoch(0)
    assert equal(images(data), first)
    assert not equal(images(dataset(folder, TRAIN, seed=4)), first)


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_draw_what_a_single_process_draws(folder, persistent):
    data = dataset(folder, TRAIN, seed=0)
    loader = DataLoader(
        data, batch_size=None, num_workers=2, persistent_workers=persistent, shuffle=False
    )
    for epoch in range(2):
        data.begin_epoch(epoch)
        loaded = [torch.as_tensor(sample["imgs"]).numpy() for sample in loader]
        assert equal(loaded, images(data))


def test_without_a_seed_the_generators_of_the_process_decide(folder):
    import random

    data = dataset(folder, TRAIN)
    state = random.getstate()
    random.seed(5)
    first = images(data)
    second = images(data)
    random.seed(5)
    assert equal(images(data), first)
    assert not equal(first, second)
    random.setstate(state)


def test_the_hook_tells_epoch_and_seed(folder):
    class Wrapper:
        def __init__(self, dataset):
            self.dataset = dataset

    class Runner:
        epoch, seed = 7, 11

    data = dataset(folder, TRAIN)
    Runner.train_dataloader = Wrapper(Wrapper(data))
    SeedSamples().before_train_epoch(Runner())
    expected = dataset(folder, TRAIN, seed=11)
    expected.begin_epoch(7)
    assert equal(images(data), images(expected))


def test_random_clips_are_spread_over_the_video(folder):
    """The seeds of samples are no constant: places of clips take all values."""
    data = dataset(folder, [*TRAIN[:2], {"type": "UasDecode"}], seed=0)
    starts = Counter()
    for epoch in range(60):
        data.begin_epoch(epoch)
        starts[int(data[2]["frame_inds"][0])] += 1
    assert sorted(starts) == list(range(21 - 8 + 1))
