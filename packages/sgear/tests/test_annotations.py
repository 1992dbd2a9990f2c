"""Annotation files, class lists and own tables."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pytest

from behaviorzoo.errors import UserError
from sgear.data.annotations import read_annotations, seconds
from sgear.data.classes import (
    Classes,
    all_pairs,
    pairs_that_occur,
    read_actions,
    read_key_list,
    write_actions,
)
from sgear.data.config import DatasetConfig
from sgear.data.epic import open_epic
from sgear.data.own_table import open_own_table

EPIC_100 = """\
narration_id,participant_id,video_id,start_timestamp,stop_timestamp,verb,verb_class,noun,noun_class
P01_11_0,P01,P01_11,00:00:00.00,00:00:01.89,take,0,plate,2
P01_11_1,P01,P01_11,00:00:01.56,00:00:02.45,put-down,1,board:chopping,1
P02_02_0,P02,P02_02,01:00:00.5,01:00:02,put-down,1,plate,2
"""
EPIC_55 = """\
uid,participant_id,video_id,narration,start_timestamp,stop_timestamp,start_frame,stop_frame,verb,\
verb_class,noun,noun_class,all_nouns,all_noun_classes
7,P01,P01_01,open door,00:00:00.14,00:00:03.37,8,202,open,0,door,1,['door'],[8]
9,P01,P01_01,take door,00:00:04.37,00:00:06.17,262,370,take,1,door,1,['light'],[113]
"""
TEST_SET = """\
narration_id,participant_id,video_id,start_timestamp,stop_timestamp
P01_101_0,P01,P01_101,00:00:02.00,00:00:03.00
"""
RULSTM = """\
0, P01_11, 60, 150, 0, 2, 5
3, P02_02, 300, 330, 1, 1, 4
"""


@pytest.fixture
def lists(tmp_path):
    (tmp_path / "EPIC_100_verb_classes.csv").write_text("id,key\n0,take\n1,put\n")
    (tmp_path / "EPIC_100_noun_classes.csv").write_text("id,key\n0,tap\n1,board\n2,plate\n")
    (tmp_path / "EPIC_verb_classes.csv").write_text("verb_id,class_key\n0,open\n1,take\n")
    (tmp_path / "EPIC_noun_classes.csv").write_text("noun_id,class_key\n0,tap\n1,door\n")
    (tmp_path / "actions.csv").write_text(
        "id,verb,noun,action\n0,0,2,take plate\n1,1,1,put board\n"
    )
    (tmp_path / "actions55.csv").write_text("id,action,verb,noun\n0, open_door,0,1\n")
    return tmp_path


def write(folder, text, name="annotations.csv"):
    path = folder / name
    path.write_bytes(gzip.compress(text.encode())) if name.endswith("gz") else path.write_text(text)
    return str(path)


# -- annotations ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_epic_100(tmp_path, name):
    table = read_annotations([write(tmp_path, EPIC_100, name)])
    assert table["uid"].tolist() == [1, 2, 3]
    assert table["start"].tolist() == [0.0, 1.56, 3600.5]
    assert table["end"].tolist() == [1.89, 2.45, 3602.0]
    assert table["noun"].tolist() == ["plate", "chopping board", "plate"]
    assert table["verb"].tolist() == ["take", "put down", "put down"]
    assert table["narration_id"].tolist() == ["P01_11_0", "P01_11_1", "P02_02_0"]


def test_numbers_are_given_over_all_files(tmp_path):
    paths = [write(tmp_path, EPIC_100, "a.csv"), write(tmp_path, EPIC_100, "b.csv")]
    assert read_annotations(paths)["uid"].tolist() == [1, 2, 3, 4, 5, 6]


def test_epic_55_has_numbers_of_its_own(tmp_path):
    assert read_annotations([write(tmp_path, EPIC_55)])["uid"].tolist() == [7, 9]


def test_lists_of_rulstm(tmp_path):
    table = read_annotations([write(tmp_path, RULSTM)])
    assert table["uid"].tolist() == [0, 3]
    assert table["start"].tolist() == [2.0, 10.0]
    assert table["end"].tolist() == [5.0, 11.0]
    assert table["participant_id"].tolist() == ["P01", "P02"]
    assert table["verb_class"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("00:00:00.01", 0.01), ("10:20:30.123456", 37230.123456), ("1:02", 62.0), ("7.25", 7.25)],
)
def test_times(text, wanted):
    assert seconds(pd.Series([text, "0"]), "x").tolist() == [wanted, 0.0]


@pytest.mark.parametrize("text", ["soon", "1:2:3:4", "", "12:xx:01", "inf"])
def test_a_time_that_is_none_is_named(text, tmp_path):
    table = EPIC_100.replace("01:00:00.5", text)
    with pytest.raises(UserError, match=r"annotations\.csv: row 3: .* is no time"):
        read_annotations([write(tmp_path, table)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "2 columns without a header"),
        ("video_id,verb\nP01,open\n", "no start_timestamp and stop_timestamp"),
        ("", "is empty"),
        (EPIC_100.replace("00:00:02.45", "00:00:00.01"), "row 2 ends before it starts"),
        (EPIC_100.splitlines()[0] + "\n", "no annotated action"),
    ],
)
def test_other_files_are_refused(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read_annotations([write(tmp_path, text)])


# -- classes --------------------------------------------------------------------------------------


def test_epic_100_with_its_actions(tmp_path, lists):
    config = DatasetConfig(
        annotation_path=[write(tmp_path, EPIC_100)],
        annotation_dir=str(lists),
        action_labels_fpath=str(lists / "actions.csv"),
    )
    actions = open_epic(config)
    assert actions.table["action_class"].tolist() == [0, 1, -1]
    assert actions.table["video_path"].tolist() == ["P01/P01_11.MP4"] * 2 + ["P02/P02_02.MP4"]
    assert actions.classes.counts == {"action": 2, "verb": 2, "noun": 3}
    assert actions.primary_metric == "final_acc/action/AR5"
    assert actions.notes == [
        "1 of 3 actions have a (verb, noun) pair that is no action class: label -1"
    ]
    mappings = actions.classes.mappings()
    assert mappings["verb", "action"].tolist() == [[1, 0], [0, 1]]
    assert mappings["noun", "action"].tolist() == [[0, 0, 1], [0, 1, 0]]


def test_epic_55_keeps_the_blank_in_its_names(tmp_path, lists):
    config = DatasetConfig(
        version=0.1,
        annotation_path=[write(tmp_path, EPIC_55)],
        annotation_dir=str(lists),
        action_labels_fpath=str(lists / "actions55.csv"),
    )
    actions = open_epic(config)
    assert actions.table["action_class"].tolist() == [0, -1]
    assert actions.classes.names["action"] == {" open_door": 0}
    assert actions.primary_metric == "final_acc/action/top1"


def test_the_test_set_has_no_labels(tmp_path, lists):
    config = DatasetConfig(
        annotation_path=[write(tmp_path, TEST_SET)],
        annotation_dir=str(lists),
        action_labels_fpath=str(lists / "actions.csv"),
    )
    actions = open_epic(config)
    labels = actions.table[["verb_class", "noun_class", "action_class"]]
    assert labels.to_numpy().tolist() == [[-1, -1, -1]]
    assert actions.notes == []


def test_without_a_list_every_verb_goes_with_every_noun(tmp_path, lists):
    config = DatasetConfig(annotation_path=[write(tmp_path, EPIC_100)], annotation_dir=str(lists))
    actions = open_epic(config)
    assert actions.classes.counts["action"] == 6
    assert actions.classes.names["action"]["put:board"] == 1 * 3 + 1
    assert actions.table["action_class"].tolist() == [2, 4, 5]


def test_pairs_of_annotations_as_classes(tmp_path, lists):
    path = write(tmp_path, EPIC_100)
    config = DatasetConfig(annotation_path=[path], annotation_dir=str(lists), actions_from=[path])
    actions = open_epic(config)
    assert actions.classes.pairs == {(0, 2): 0, (1, 1): 1, (1, 2): 2}
    assert list(actions.classes.names["action"]) == ["take plate", "put board", "put plate"]
    assert actions.table["action_class"].tolist() == [0, 1, 2]
    write_actions(tmp_path / "made.csv", actions.classes)
    names, pairs = read_actions(tmp_path / "made.csv")
    assert (names, pairs) == (actions.classes.names["action"], actions.classes.pairs)


def test_egtea(tmp_path):
    """Blanks behind the commas are part of names only; verbs and nouns have no names."""
    (tmp_path / "actions.csv").write_text("0, 0_2, Inspect/Read_recipe\n1, 1_1, Open_door\n")
    config = DatasetConfig(
        kind="egtea",
        annotation_path=[write(tmp_path, RULSTM.replace("P01_11", "OP01-R01-Pasta"))],
        action_labels_fpath=str(tmp_path / "actions.csv"),
    )
    actions = open_epic(config)
    assert actions.table["action_class"].tolist() == [0, 1]
    assert actions.table["video_path"].tolist() == ["OP01-R01-Pasta.mp4", "P02_02.mp4"]
    assert actions.classes.names == {"action": {" Inspect/Read_recipe": 0, " Open_door": 1}}
    assert actions.classes.counts == {"action": 2, "verb": 2, "noun": 3}
    assert actions.classes.mappings()["noun", "action"].shape == (2, 3)


def test_only_some_videos(tmp_path, lists):
    (tmp_path / "training_videos.csv").write_text("P02_02\nP77_01\n")
    config = DatasetConfig(
        annotation_path=[write(tmp_path, EPIC_100)],
        annotation_dir=str(lists),
        only_keep_videos=str(tmp_path / "training_videos.csv"),
    )
    # uids are given before
    assert open_epic(config).table["uid"].tolist() == [3]
    (tmp_path / "training_videos.csv").write_text("P77_01\n")
    with pytest.raises(UserError, match="none of the 2 annotated videos"):
        open_epic(config)


def test_the_second_list_of_nouns_is_taken_if_the_first_is_not_there(lists, tmp_path):
    nouns = lists / "EPIC_100_noun_classes.csv"
    nouns.rename(lists / "EPIC_100_noun_classes_v2.csv")
    config = DatasetConfig(annotation_path=[write(tmp_path, EPIC_100)], annotation_dir=str(lists))
    assert open_epic(config).classes.counts["noun"] == 3


def test_duplicate_names_of_actions_keep_their_numbers(tmp_path):
    (tmp_path / "actions.csv").write_text("id,verb,noun,action\n0,0,0,cut\n1,1,1,cut\n2,1,0,mix\n")
    names, pairs = read_actions(tmp_path / "actions.csv")
    assert names == {"cut": 1, "mix": 2}
    assert pairs == {(0, 0): 0, (1, 1): 1, (1, 0): 2}
    assert Classes({"action": names}, pairs).counts["action"] == 3


@pytest.mark.parametrize("text", ["id,verb,noun,action\n0,x,1,cut\n", "just words\n", "1,2\n"])
def test_other_lists_of_actions_are_refused(tmp_path, text):
    (tmp_path / "actions.csv").write_text(text)
    with pytest.raises(UserError, match=r"actions\.csv: expected"):
        read_actions(tmp_path / "actions.csv")


def test_classes_of_another_data_set_are_noticed(tmp_path, lists):
    (tmp_path / "actions.csv").write_text("id,verb,noun,action\n0,0,77,take x\n")
    config = DatasetConfig(
        annotation_path=[write(tmp_path, EPIC_100)],
        annotation_dir=str(lists),
        action_labels_fpath=str(tmp_path / "actions.csv"),
    )
    with pytest.raises(UserError, match=r"action \(0, 77\) of 2 verbs and 3 nouns"):
        open_epic(config)


def test_a_list_without_keys_is_refused(tmp_path):
    (tmp_path / "verbs.csv").write_text("id,name\n0,take\n")
    with pytest.raises(UserError, match="no column 'key' or 'class_key'; its columns are id, name"):
        read_key_list(tmp_path / "verbs.csv", "verb")


def test_all_pairs_number_verbs_first():
    classes = all_pairs(["a", "b"], ["x", "y", "z"])
    assert classes.names["action"]["b:x"] == classes.pairs[1, 0] == 3
    assert classes.mappings()["verb", "action"].sum(0).tolist() == [3, 3]


def test_pairs_without_label_are_no_class():
    table = pd.DataFrame({"verb_class": [0, -1, 1], "noun_class": [1, 0, -1]})
    assert pairs_that_occur([table], {"a": 0, "b": 1}, {"x": 0, "y": 1}).pairs == {(0, 1): 0}


# -- own tables -----------------------------------------------------------------------------------


def own(tmp_path, text, **keys) -> DatasetConfig:
    path = write(tmp_path, text, keys.pop("name", "own.csv"))
    return DatasetConfig(kind="table", annotation_path=[path], **keys)


def test_own_labels(tmp_path):
    text = "video,start,stop,label\nmon/a.mp4,00:01:02.5,70,open\nb.mp4,1,2.5,close\n"
    actions = open_own_table(own(tmp_path, text))
    assert actions.table["video_path"].tolist() == ["mon/a.mp4", "b.mp4"]
    assert actions.table["video_id"].tolist() == ["a", "b"]
    assert actions.table["start"].tolist() == [62.5, 1.0]
    assert actions.classes.names == {"action": {"close": 0, "open": 1}}
    assert actions.table["action_class"].tolist() == [1, 0]
    assert actions.classes.mappings() == {}


def test_blanks_around_own_names_say_nothing(tmp_path):
    text = "video , start,stop,label\n a.mp4 ,1,2,cut \na.mp4,3,4, cut\na.mp4,5,6,\n"
    actions = open_own_table(own(tmp_path, text))
    assert actions.classes.names == {"action": {"cut": 0}}
    assert actions.table["action_class"].tolist() == [0, 0, -1]
    assert actions.notes == ["1 of 3 actions have an unknown action (nothing): label -1"]
    pairs = open_own_table(own(tmp_path, "video,start,stop,verb,noun\na.mp4,1,2,wait,\n"))
    assert list(pairs.classes.names["action"]) == ["wait"]


def test_own_videos_of_the_same_name_are_told_apart(tmp_path):
    text = "video,start,stop,label\na/m.mp4,1,2,x\nb/m.mp4,1,2,y\nb/n.mp4,1,2,y\n"
    table = open_own_table(own(tmp_path, text)).table
    assert table["video_id"].tolist() == ["a_m", "b_m", "n"]


def test_own_verbs_and_nouns(tmp_path):
    text = "video,start,stop,verb,noun\na.mp4,1,2,take,cup\na.mp4,3,4,put,cup\na.mp4,5,6,take,pan\n"
    actions = open_own_table(own(tmp_path, text))
    assert actions.classes.counts == {"action": 3, "verb": 2, "noun": 2}
    assert actions.table["verb_class"].tolist() == [1, 0, 1]
    mappings = actions.classes.mappings()
    names = actions.classes.names
    assert mappings["verb", "action"][names["action"]["take pan"], names["verb"]["take"]] == 1


def test_evaluation_takes_the_classes_of_training(tmp_path):
    train = open_own_table(own(tmp_path, "video,start,stop,label\na.mp4,1,2,b\na.mp4,3,4,a\n"))
    text = "video,start,stop,label\nc.mp4,1,2,b\nc.mp4,3,4,new\n"
    evaluation = open_own_table(own(tmp_path, text, name="eval.csv"), train.classes)
    assert evaluation.table["action_class"].tolist() == [1, -1]
    assert evaluation.notes == ["1 of 2 actions have an unknown action (new): label -1"]


def test_classes_of_a_list_keep_its_order(tmp_path):
    (tmp_path / "classes.csv").write_text("label\nz\ny\na\n")
    text = "video,start,stop,label\na.mp4,1,2,a\na.mp4,3,4,z\n"
    config = own(tmp_path, text, action_labels_fpath=str(tmp_path / "classes.csv"))
    actions = open_own_table(config)
    assert actions.classes.counts == {"action": 3}
    assert actions.table["action_class"].tolist() == [2, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,start,label\na,1,x\n", "no column stop"),
        ("video,start,stop\na,1,2\n", r"no column label \(or verb and noun\)"),
        ("video,start,stop,label\na,2,1,x\n", "row 1 stops before it starts"),
        ("video,start,stop,label\na,2,late,x\n", "row 1: 'late' is no time"),
        ("video,start,stop,label\n", "no annotated action"),
    ],
)
def test_own_tables_that_say_too_little(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        open_own_table(own(tmp_path, text))


def test_numbers_of_actions_are_whole(tmp_path, lists):
    table = read_annotations([write(tmp_path, EPIC_100)])
    assert table["verb_class"].dtype == np.int64
