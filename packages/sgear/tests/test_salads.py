"""50 Salads and Breakfast from the files as they are published."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from behaviorzoo.errors import UserError
from behaviorzoo.video.writing import write_video
from sgear.data import build_dataset
from sgear.data.config import AnticipationConfig, DataConfig, DatasetConfig
from sgear.data.salads import open_salads, read_mapping, runs


@given(st.lists(st.sampled_from("ab"), max_size=20))
def test_runs_give_the_labels_back(names):
    segments = runs(names)
    assert [n for s in segments for n in [s.name] * (s.last - s.first + 1)] == names
    assert all(a.name != b.name for a, b in pairwise(segments))


@pytest.fixture
def salads(tmp_path):
    """Two recordings, one at 10 and one at 20 frames per second."""
    (tmp_path / "mapping.txt").write_text("0 cut_tomato\n1 add_oil\n2 action_start\n")
    (tmp_path / "splits").mkdir()
    bundle = "#bundle.txt\nrgb-01-1.txt\nrgb-02-1.txt\n"
    (tmp_path / "splits" / "train.split3.bundle").write_text(bundle)
    labels = tmp_path / "groundTruth"
    labels.mkdir()
    for name, fps in (("01-1", 10.0), ("02-1", 20.0)):
        frames = ["action_start"] * 10 + ["cut_tomato"] * 20 + ["add_oil"] * 10
        (labels / f"rgb-{name}.txt").write_text("\n".join(frames) + "\n")
        (labels / f"timestamps-{name}.txt").write_text(
            "".join(f"{1000 + 7 * i} depth{i}.png\n" for i in range(41))
        )
        (labels / f"{name}-activityAnnotation.txt").write_text(
            f"{1000 + 70} {1000 + 140} cut_tomato_prep\n"
            f"{1000 + 70} {1000 + 210} cut_and_mix\n"
            f"{1000 + 140} {1000 + 280} add_oil_core\n"
        )
        write_video(tmp_path / f"rgb-{name}.avi", np.zeros((40, 16, 16, 3), np.uint8), fps)
    return tmp_path


def settings(folder, **keys) -> DatasetConfig:
    keys = {"annotation_dir": str(folder / "groundTruth"), "root": [str(folder)], "fold": 3} | keys
    return DatasetConfig(kind="salads", **keys)


def test_frame_labels_take_the_rate_of_each_video(salads):
    actions = open_salads(settings(salads, annotation_style="frames"), "corrected")
    table = actions.table
    assert table["start"].tolist() == [0, 1, 3, 0, 0.5, 1.5]
    assert table["end"].tolist() == [1, 3, 4, 0.5, 1.5, 2]
    assert table["action_class"].tolist() == [2, 0, 1] * 2
    assert table["video_bundle_name"].tolist() == ["rgb-01-1.txt"] * 3 + ["rgb-02-1.txt"] * 3
    assert actions.classes.counts == {"action": 3}
    assert actions.primary_metric == "final_acc/action/top1"


def test_own_annotation_with_time_stamps(salads):
    table = open_salads(settings(salads), "corrected").table
    assert table["action"].tolist() == ["cut_tomato", "add_oil"] * 2
    assert table["start"].tolist() == [1, 2, 0.5, 1]
    assert table["end"].tolist() == [2, 4, 1, 2]


def test_times_in_half_precision_as_in_the_original(salads):
    for name in ("01-1", "02-1"):
        frames = ["action_start"] * 3003 + ["cut_tomato"] * 20
        (salads / "groundTruth" / f"rgb-{name}.txt").write_text("\n".join(frames))
    config = settings(salads, annotation_style="frames", frame_rate=10.0)
    upstream, corrected = (open_salads(config, c).table for c in ("upstream", "corrected"))
    assert upstream["start"].dtype == np.float16
    assert corrected["start"][1] == 300.3
    assert upstream["start"][1] == 300.25


def test_recordings_without_video_need_a_rate(salads):
    (salads / "rgb-02-1.avi").unlink()
    actions = open_salads(settings(salads))
    assert set(actions.table["video_path"]) == {"rgb-01-1.avi"}
    assert actions.notes[0].startswith("1 recordings are left out: no video in ")
    assert set(open_salads(settings(salads, frame_rate=15.0)).table["video_id"]) == {
        "rgb-01-1",
        "rgb-02-1",
    }
    (salads / "rgb-01-1.avi").unlink()
    with pytest.raises(UserError, match="no segment of its recordings can be timed"):
        open_salads(settings(salads))


def test_an_unknown_class_is_named(salads):
    (salads / "groundTruth" / "rgb-02-1.txt").write_text("cut_tomatoe\n")
    with pytest.raises(UserError, match=r"rgb-02-1\.txt: class 'cut_tomatoe' is not in .*did you"):
        open_salads(settings(salads, annotation_style="frames"))


def test_a_time_stamp_that_is_not_listed_is_named(salads):
    (salads / "groundTruth" / "01-1-activityAnnotation.txt").write_text("1 1070 add_oil_core\n")
    with pytest.raises(UserError, match=r"line 1: 1 is no time in timestamps-01-1\.txt"):
        open_salads(settings(salads))


def test_folds(salads):
    with pytest.raises(UserError, match="fold=9: salads has 1 to 6"):
        open_salads(settings(salads, fold=9))
    with pytest.raises(UserError, match=r"train\.split1\.bundle: no such bundle"):
        open_salads(settings(salads, fold=1))


def test_clips_of_salads(salads):
    dataset = build_dataset(
        settings(
            salads,
            annotation_style="frames",
            sample_strategy="last_clip",
            conv_to_anticipate_fn=AnticipationConfig(0.5, 1.0),
        ),
        DataConfig(num_frames=4, crop_size=None, scale_h=None, load_seg_labels=True),
        training=False,
    )
    # only clips that end behind the first frame
    assert len(dataset) == 3
    assert dataset[0]["video"]["mod_0"].shape == (1, 3, 4, 16, 16)


def test_breakfast(tmp_path):
    (tmp_path / "mapping.txt").write_text("0 SIL\n1 pour_milk\n")
    (tmp_path / "train.split1.bundle").write_text(
        "#\nP03_cam01_P03_cereals.txt\nP03_stereo01_P03_milk.txt\n"
    )
    for name in ("P03/cam01/P03_cereals.avi", "P03/stereo/P03_milk_ch0.avi"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.labels").write_text("1-30 SIL\n31-60 pour_milk\n")
    config = DatasetConfig(kind="breakfast", annotation_dir=str(tmp_path), frame_rate=15.0)
    table = open_salads(config, "corrected").table
    assert sorted(set(table["video_path"])) == [
        "P03/cam01/P03_cereals.avi",
        "P03/stereo/P03_milk_ch0.avi",
    ]
    assert table["start"].tolist() == [0, 2] * 2
    assert table["end"].tolist() == [2, 4] * 2
    with pytest.raises(UserError, match="fold=5: breakfast has 1 to 4"):
        open_salads(DatasetConfig(kind="breakfast", annotation_dir=str(tmp_path), fold=5))


def test_mapping_is_numbered_by_line(tmp_path):
    (tmp_path / "mapping.txt").write_text("7 b\n\n3 a c\n")
    assert read_mapping(tmp_path / "mapping.txt") == {"b": 0, "a c": 1}
