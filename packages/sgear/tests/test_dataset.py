"""Items and batches from annotations to tensors."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch

from behaviorzoo.errors import UserError
from behaviorzoo.synthetic_video_kitchen import write_kitchen
from behaviorzoo.video.writing import write_video
from sgear.data import BrokenClip, build_dataset, collate, concatenate
from sgear.data.config import (
    AnticipationConfig,
    DataConfig,
    DatasetConfig,
    ReaderConfig,
    SubclipConfig,
)
from sgear.data.drawing import RowChoice
from sgear.data.presence import check_presence
from sgear.data.readers import open_reader
from sgear.data.readers.lmdb_features import write_lmdb
from sgear.data.sampling import Draws

TABLE = """\
video,start,stop,verb,noun
a.mp4,2.0,3.0,take,cup
a.mp4,4.0,6.0,put,cup
a.mp4,5.0,9.0,wash,pan
b.mp4,3.0,4.0,take,pan
b.mp4,0.5,1.0,put,cup
gone.mp4,3.0,4.0,take,cup
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Annotations, features and videos of a and b (10 s at 10 frames per second)."""
    root = tmp_path_factory.mktemp("own")
    (root / "own.csv").write_text(TABLE)
    frame = np.arange(1, 301, dtype=np.float32)
    write_lmdb(root / "rgb", {name: np.stack([frame, -frame], 1) for name in ("a", "b")})
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (6, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    clip = np.stack([np.roll(picture, shift, 1) for shift in range(100)])
    for name in ("a", "b"):
        write_video(root / f"{name}.mp4", clip, 10.0)
    return root


def settings(folder, kind="lmdb", **keys) -> DatasetConfig:
    reader = ReaderConfig(kind="lmdb", path=[str(folder / "rgb")])
    base = DatasetConfig(
        kind="table",
        root=[str(folder)],
        annotation_path=[str(folder / "own.csv")],
        label_type=["action", "verb", "noun"],
        sample_strategy="last_clip",
        conv_to_anticipate_fn=AnticipationConfig(1.0, 5.0),
        reader_fn=[reader if kind == "lmdb" else ReaderConfig()],
    )
    return dataclasses.replace(base, **keys)


CLIPS = DataConfig(num_frames=4, frame_rate=1.0, subclips=SubclipConfig(1, 1), load_seg_labels=True)
PICTURES = dataclasses.replace(CLIPS, scale_h=40, scale_w=-1, crop_size=32)


def test_features_of_own_videos(folder):
    dataset = build_dataset(settings(folder), CLIPS, training=True)
    # uid 5 starts at 0.5 s, uid 6 has no features
    assert dataset.table["uid"].tolist() == [1, 2, 3, 4]
    assert dataset.discarded["uid"].tolist() == [5, 6]
    item = dataset[1]
    assert item["video"]["mod_0"].shape == (4, 2, 1, 1, 1)
    # 3 s is frame 90; what would lie before the video repeats the first frame that is kept
    assert item["video"]["mod_0"].flatten().tolist() == [30, -30, 30, -30, 60, -60, 90, -90]
    assert item["video_frame_sec"]["mod_0"][-1].item() == 3.0
    classes = dataset.classes
    assert item["target"] == {
        "action": classes["action"]["put cup"],
        "verb": classes["verb"]["put"],
        "noun": classes["noun"]["cup"],
    }
    # the first action lasts from 2 to 3 s; 90 frames over 3 s, the kept ones at 0.98, 1.99, 3 s
    assert item["past_target"]["verb"].flatten().tolist() == [-1, -1, -1, classes["verb"]["take"]]
    assert (item["idx"], item["uid"], item["start"], item["end"]) == (1, 2, -2.0, 3.0)


def test_what_is_there_is_said_with_counts(folder):
    dataset = build_dataset(settings(folder), CLIPS, training=True)
    (presence,) = dataset.presence
    assert (presence.found, presence.expected, presence.missing) == (2, 3, ["gone.mp4"])
    head, missing = presence.lines()
    assert head.startswith("features: 2 of 3 found in ")
    assert head.endswith("1 of 6 actions are left out")
    assert missing == "missing: gone.mp4"


def test_nothing_found_is_an_error(folder, tmp_path):
    with pytest.raises(UserError, match=r"videos: none of 3 found in .*looked for a\.mp4"):
        build_dataset(settings(folder, "video", root=[str(tmp_path)]), CLIPS, training=True)


def test_names_of_videos_have_an_ending(tmp_path):
    reader = open_reader(ReaderConfig(kind="video"), [str(tmp_path)])
    with pytest.raises(UserError, match=r"looked for v1, \.\.\.\); give names .*, v1\.mp4"):
        check_presence(reader, pd.DataFrame({"video_path": ["v1", "v2"]}))


def test_pictures(folder):
    dataset = build_dataset(settings(folder, "video"), PICTURES, training=False)
    item = dataset[1]
    assert item["video"]["mod_0"].shape == (4, 3, 1, 32, 32)
    assert item["missing_frames"] == 0
    batch = collate([dataset[0], dataset[1]])
    assert batch["video"]["mod_0"].shape == (2, 4, 3, 1, 32, 32)
    assert batch["past_target"]["action"].shape == (2, 4, 1)
    assert batch["target"]["verb"].dtype == torch.int64
    assert (batch["uid"], batch["broken"]) == ([1, 2], [])


def test_several_crops_stand_behind_the_windows(folder):
    data = dataclasses.replace(PICTURES, eval_num_crops=3, eval_flip_crops=True)
    item = build_dataset(settings(folder, "video"), data, training=False)[1]
    assert item["video"]["mod_0"].shape == (4, 6, 3, 1, 32, 32)
    one = build_dataset(settings(folder, "video"), PICTURES, training=False)[1]
    assert torch.equal(item["video"]["mod_0"][:, 1], one["video"]["mod_0"])


@pytest.mark.parametrize(("frames", "stride", "n"), [(4, 4, 1), (2, 2, 2), (2, 1, 3), (1, 2, 2)])
def test_windows(folder, frames, stride, n):
    data = dataclasses.replace(CLIPS, subclips=SubclipConfig(frames, stride))
    item = build_dataset(settings(folder), data, training=True)[2]
    whole = build_dataset(settings(folder), CLIPS, training=True)[2]
    video, flat = item["video"]["mod_0"], whole["video"]["mod_0"][:, :, 0]
    assert video.shape == (n, 2, frames, 1, 1)
    for window in range(n):
        span = slice(window * stride, window * stride + frames)
        assert torch.equal(video[window], flat[span].movedim(0, 1))
        for kind in ("video_frame_sec", "past_target"):
            key = "mod_0" if kind == "video_frame_sec" else "action"
            assert torch.equal(item[kind][key][window], whole[kind][key][span, 0])


def test_tubelets_thin_the_past_labels(folder):
    whole = build_dataset(settings(folder), CLIPS, training=True)[2]
    thin = build_dataset(settings(folder, tubelets=2), CLIPS, training=True)[2]
    assert torch.equal(thin["past_target"]["action"], whole["past_target"]["action"][::2])


def test_future_clips(folder):
    dataset = build_dataset(settings(folder, return_future_clips_too=True), CLIPS, training=True)
    future = dataset[1]["future"]["future_0"]
    # from 4 s (frame 121) on, the last of 5 s
    assert future[-1, 0].item() == 270
    batch = collate([dataset[1], dataset[2]])
    assert batch["future"]["future_0"].shape == (2, 4, 2, 1, 1, 1)


def test_two_modalities(folder):
    readers = [*settings(folder).reader_fn, ReaderConfig()]
    dataset = build_dataset(settings(folder, reader_fn=readers), PICTURES, training=False)
    item = dataset[1]
    assert item["video"]["mod_0"].shape == (4, 2, 1, 1, 1)
    assert item["video"]["mod_1"].shape == (4, 3, 1, 32, 32)
    assert [entry.what for entry in dataset.presence] == ["features", "videos"]


# -- broken clips ---------------------------------------------------------------------------------


def test_broken_clips_are_reported_and_left_out(folder, tmp_path):
    text = TABLE + "a.mp4,90.0,91.0,put,cup\n"
    (tmp_path / "own.csv").write_text(text)
    config = settings(folder, annotation_path=[str(tmp_path / "own.csv")])
    dataset = build_dataset(config, CLIPS, training=True)
    broken = dataset[len(dataset) - 1]
    assert isinstance(broken, BrokenClip)
    assert (broken.idx, broken.uid) == (4, 7)
    assert broken.message.startswith("a: none of the frames")
    batch = collate([dataset[0], broken, dataset[1]])
    assert batch["idx"].tolist() == [0, 1]
    assert batch["broken"] == [broken]
    nothing = collate([broken])
    assert len(nothing["idx"]) == 0
    assert nothing["broken"] == [broken]
    assert "video" not in nothing


# -- randomness -----------------------------------------------------------------------------------


def same(a, b) -> bool:
    return torch.equal(a["video"]["mod_0"], b["video"]["mod_0"])


def test_an_item_is_a_function_of_seed_epoch_and_row(folder):
    config = settings(folder, "video", sample_strategy="random_clip", is_train=True)
    dataset, again = (build_dataset(config, PICTURES, training=True) for _ in range(2))
    first = dataset[2]
    dataset[0], torch.rand(3)
    assert same(dataset[2], first)
    assert same(again[2], first)
    dataset.set_epoch(1)
    assert not same(dataset[2], first)
    dataset.set_epoch(0)
    assert same(dataset[2], first)
    assert not same(build_dataset(config, PICTURES, training=True, seed=1)[2], first)


@pytest.mark.parametrize("kind", ["lmdb", "video"])
def test_workers_load_the_same(folder, kind):
    dataset = build_dataset(settings(folder, kind, is_train=True), PICTURES, training=True)
    dataset.set_epoch(3)

    def batches(workers):
        loader = torch.utils.data.DataLoader(
            dataset, batch_size=2, num_workers=workers, collate_fn=collate
        )
        return list(loader)

    for alone, apart in zip(batches(0), batches(2), strict=True):
        assert same(alone, apart)
        assert torch.equal(alone["idx"], apart["idx"])


def test_without_a_seed_the_global_generator_decides(folder):
    config = settings(folder, "video", is_train=True)
    dataset = build_dataset(config, PICTURES, training=True)
    torch.manual_seed(5)
    first, second = dataset.item(2, None), dataset.item(2, None)
    torch.manual_seed(5)
    assert same(dataset.item(2, None), first)
    assert not same(first, second)


def test_evaluation_is_not_random(folder):
    dataset = build_dataset(settings(folder, "video"), PICTURES, training=False)
    first = dataset[1]
    dataset.set_epoch(9)
    assert same(dataset[1], first)


# -- several sets, balance, repetition ------------------------------------------------------------


def test_sets_behind_each_other(folder):
    parts = [build_dataset(settings(folder), CLIPS, training=True) for _ in range(2)]
    joined = concatenate(parts)
    assert len(joined) == 8
    assert joined.table["uid"].tolist() == [1, 2, 3, 4] * 2
    assert joined[6]["idx"] == 6
    assert joined[6]["uid"] == 3
    assert same(joined[6], parts[1][2])
    assert joined.classes == parts[0].classes
    with pytest.raises(IndexError):
        joined[8]
    assert concatenate(parts[:1]) is parts[0]


def test_sets_of_other_classes_are_refused(folder, tmp_path):
    (tmp_path / "own.csv").write_text("video,start,stop,verb,noun\na.mp4,2,3,take,spoon\n")
    other = settings(folder, annotation_path=[str(tmp_path / "own.csv")])
    parts = [build_dataset(config, CLIPS, training=True) for config in (settings(folder), other)]
    with pytest.raises(UserError, match="data set 2 has other classes"):
        concatenate(parts)
    with pytest.raises(UserError, match="no data set"):
        concatenate([])


def test_balanced_classes_are_drawn_equally_often():
    labels = np.array([0] * 90 + [1] * 9 + [2] + [-1] * 20)
    choice = RowChoice(len(labels), labels=labels)
    assert len(choice) == 120
    drawn = Counter(labels[choice.row(index, Draws(index))] for index in range(120))
    assert set(drawn) == {0, 1, 2}
    assert max(drawn.values()) - min(drawn.values()) <= 1


@pytest.mark.parametrize(("repeat", "n"), [(2.0, 20), (0.5, 5), (1.0, 10)])
def test_repeated_sets(repeat, n):
    choice = RowChoice(10, repeat)
    assert len(choice) == n
    rows = [choice.row(index, Draws(index)) for index in range(n)]
    assert all(0 <= row < 10 for row in rows)
    if repeat >= 1:
        assert sorted(rows) == sorted(list(range(10)) * int(repeat))
    else:  # every index stands for two neighbours
        assert {row // 2 for row in rows} == set(range(5))
        seen = {choice.row(0, Draws(seed)) for seed in range(20)}
        assert seen == {0, 1}


def test_labels_that_the_annotations_lack(folder, tmp_path):
    (tmp_path / "own.csv").write_text("video,start,stop,label\na.mp4,2,3,x\n")
    config = settings(folder, annotation_path=[str(tmp_path / "own.csv")])
    with pytest.raises(UserError, match="label_type=verb, but the annotations have no verb"):
        build_dataset(config, CLIPS, training=True)


# -- the format of EPIC-Kitchens ------------------------------------------------------------------


def test_a_generated_kitchen_by_either_list(tmp_path):
    """Official annotations and RULSTM's lists describe the same clips."""
    kitchen = write_kitchen(tmp_path, 2, participants=2, actions_per_video=5, size=48, seed=1)
    lists = {"official": kitchen.annotations / "EPIC_100_train.csv"}
    lists["rulstm"] = kitchen.rulstm / "training.csv"
    parts = {
        name: build_dataset(
            DatasetConfig(
                root=[str(tmp_path / "elsewhere"), str(kitchen.videos)],
                annotation_path=[str(path)],
                annotation_dir=str(kitchen.annotations),
                action_labels_fpath=str(kitchen.rulstm / "actions.csv"),
                sample_strategy="last_clip",
                conv_to_anticipate_fn=AnticipationConfig(0.5, 3.0),
            ),
            dataclasses.replace(CLIPS, frame_rate=2.0, scale_h=48, scale_w=48, crop_size=40),
            training=False,
        )
        for name, path in lists.items()
    }
    batches = [collate([part[i] for i in range(len(part))]) for part in parts.values()]
    official, rulstm = batches
    assert len(official["idx"]) >= 4
    assert official["broken"] == rulstm["broken"] == []
    assert torch.equal(official["target"]["action"], rulstm["target"]["action"])
    assert (official["target"]["action"] >= 0).all()
    # half a second before an action the one before it may be seen, the action itself not
    past = official["past_target"]["action"][..., 0]
    assert (past[1:] == official["target"]["action"][:-1, None]).any(dim=1).all()
