"""Settings of the data out of mappings, the original's notations included."""

from __future__ import annotations

import pytest

from behaviorzoo.errors import UserError
from sgear.data.config import AnticipationConfig, DataConfig, DatasetConfig, ReaderConfig
from sgear.data.config_reading import data_from_mapping, dataset_from_mapping


def test_defaults_are_the_originals():
    data = data_from_mapping({})
    assert data == DataConfig()
    assert (data.num_frames, data.scale_h, data.scale_w, data.crop_size) == (16, 128, 174, 112)
    assert data.window == (16, 16)
    dataset = dataset_from_mapping({})
    assert dataset == DatasetConfig()
    assert dataset.conv_to_anticipate_fn == AnticipationConfig(1.0, 2.5, "correct", [1.0])


@pytest.mark.parametrize(
    "target",
    ["datasets.reader_fns.EpicRULSTMFeatsReader", ["datasets.reader_fns.EpicRULSTMFeatsReader"]],
)
def test_readers_as_the_original_names_them(target):
    """A text as well as a list: the original walks over the letters of a text."""
    group = {"reader_fn": {"_target_": target, "lmdb_path": "rgb", "read_type": "exact_rulstm"}}
    assert dataset_from_mapping(group).reader_fn == [
        ReaderConfig(kind="lmdb", path=["rgb"], read_type="exact_rulstm")
    ]


def test_a_path_laid_over_an_experiment_of_the_authors_is_the_one_meant():
    reader = {"_target_": "x.EpicRULSTMFeatsReader", "lmdb_path": "rgb"}
    over = {"reader_fn": reader | {"kind": "embeddings", "path": "seen.nc"}}
    assert dataset_from_mapping(over).reader_fn == [ReaderConfig("embeddings", ["seen.nc"])]


def test_several_modalities():
    group = {"reader_fn": [{"kind": "lmdb", "path": ["rgb", "flow"]}, "x.DefaultReader"]}
    assert dataset_from_mapping(group).reader_fn == [
        ReaderConfig(kind="lmdb", path=["rgb", "flow"]),
        ReaderConfig(),
    ]


def test_a_text_stands_for_a_list_of_one():
    group = {"root": "videos", "annotation_path": "a.csv", "label_type": "verb"}
    dataset = dataset_from_mapping(group)
    assert (dataset.root, dataset.annotation_path) == (["videos"], ["a.csv"])
    assert dataset.label_type == ["verb"]


def test_no_conversion():
    assert dataset_from_mapping({"conv_to_anticipate_fn": None}).conv_to_anticipate_fn is None


def test_windows_of_one_frame():
    assert data_from_mapping({"subclips": {"num_frames": 1, "stride": 1}}).window == (1, 1)
    assert data_from_mapping({"subclips": {"num_frames": 4, "stride": None}}).window == (4, 4)


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ({"anotation_path": "x"}, "no key 'anotation_path'; did you mean 'annotation_path'"),
        ({"sample_strategy": "last"}, "sample_strategy=last: did you mean 'last_clip'"),
        ({"label_type": "actions"}, "label_type=actions: did you mean 'action'"),
        ({"reader_fn": {"_target_": "x.EpicReader"}}, "no reader 'EpicReader'"),
        ({"reader_fn": {"kind": "lmdb"}}, "where are the features"),
        ({"conv_to_anticipate_fn": {"tau": 1}}, "conv_to_anticipate_fn: no key 'tau'"),
        ({"conv_to_anticipate_fn": {"drop_style": "full"}}, "drop_style=full"),
        ({"conv_to_anticipate_fn": {"future_clip_ratios": [12]}}, "between -10 and 10"),
        ({"tubelets": 0, "repeat_data_times": 0}, "tubelets=0 .*; repeat_data_times=0"),
    ],
)
def test_mistakes_in_a_data_set(group, message):
    with pytest.raises(UserError, match=rf"^dataset_train.*{message}"):
        dataset_from_mapping(group, "dataset_train")


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ({"num_frame": 3}, "no key 'num_frame'; did you mean 'num_frames'"),
        ({"scale_h": "384 to 425"}, "a number or two, as in '384-425'"),
        ({"eval_num_crops": 5}, "eval_num_crops=5 must be 1 or 3"),
        ({"std": [1, 0, 1]}, "not 0"),
        ({"num_frames": 2, "subclips": {"num_frames": 3, "stride": 1}}, "more than num_frames=2"),
        ({"frame_rate": -1, "flip_p": 2}, "frame_rate=-1 .*; flip_p=2"),
        ({"color_jitter_hue": 0.9, "color_jitter_contrast": -1}, "contrast must not be negative"),
    ],
)
def test_mistakes_in_the_clips(group, message):
    with pytest.raises(UserError, match=message):
        data_from_mapping(group, "data_train")


def test_every_key_has_help():
    import dataclasses

    for schema in (DatasetConfig, DataConfig, ReaderConfig, AnticipationConfig):
        assert all(entry.metadata.get("help") for entry in dataclasses.fields(schema))
