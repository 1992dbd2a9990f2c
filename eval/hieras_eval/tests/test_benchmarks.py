"""Benchmarks by rule and from metadata folders; metadata from a checkout."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from behaviorzoo.errors import UserError
from behaviorzoo.mabe import save_dictionary
from hieras_eval.benchmarks import Benchmark, Task, load_benchmark
from hieras_eval.label_files import LabelFile
from hieras_eval.preparing import prepare


def label_file(vocabulary, clips=None, n=100, types=None, values=None) -> LabelFile:
    types = types or ["Discrete"] * len(vocabulary)
    values = np.zeros((len(vocabulary), n)) if values is None else values
    return LabelFile(Path("labels.npy"), tuple(vocabulary), tuple(types), values, clips)


# -- rules -----------------------------------------------------------------------------------------


def test_shot7m2_follows_from_rules():
    b = load_benchmark("Shot7M2")
    assert (len(b.clips), len(b.train), len(b.public)) == (2720, 2040, 680)
    assert b.public == b.private
    assert next(iter(b.clips)) == "casual_player_1_episode_320"
    assert b.clips["notplaying_player_1_episode_999"] == (2719 * 1800, 2720 * 1800)
    assert b.train[-1] == "notplaying_player_1_episode_829"
    assert b.public[0] == "casual_player_1_episode_830"
    assert Counter(task.group for task in b.tasks) == {"activity": 4, "action": 12, "moveme": 14}
    assert [task.name for task in b.tasks][14:17] == [
        "action_LTurn",
        "action_Rturn",
        "moveme_Lfoot",
    ]
    assert not any(task.sequence_level for task in b.tasks)
    assert (b.seeds, b.inner_test_size, b.max_width) == ((41, 42, 43), 0.25, 64)
    assert load_benchmark("Shot7M2", training_size="90").inner_test_size == 1 - 90 / 100
    for size in ("0", "100", "many"):
        with pytest.raises(UserError, match="training size"):
            load_benchmark("Shot7M2", training_size=size)


def test_shot7m2_takes_the_rows_of_the_labels():
    clips = {
        name: (start + 7, stop + 7)
        for name, (start, stop) in load_benchmark("Shot7M2").clips.items()
    }
    labels = label_file([task.name for task in load_benchmark("Shot7M2").tasks], clips)
    assert load_benchmark("Shot7M2", labels=labels).clips == clips
    del clips["casual_player_1_episode_333"]
    with pytest.raises(UserError, match="no clip 'casual_player_1_episode_333'"):
        load_benchmark("Shot7M2", labels=labels)


@pytest.mark.parametrize("n", [1159, 7, 10])
def test_hbabel_is_split_as_by_scikit_learn(n):
    names = [str(9 * i) for i in range(n)]
    clips = {name: (5 * i, 5 * i + 4) for i, name in enumerate(names)}
    b = load_benchmark("hBABEL", labels=label_file(["walk_seg", "walk_frame"], clips))
    train, test = train_test_split(names, train_size=0.75, random_state=123)
    assert (list(b.train), list(b.public), list(b.private)) == (train, test, test)
    assert [task.group for task in b.tasks] == ["segment", "frame"]
    if n == 1159:
        assert (len(train), len(test)) == (869, 290)


def test_hbabel_needs_the_clips_of_the_labels():
    with pytest.raises(UserError, match="label file's frame map"):
        load_benchmark("hBABEL")
    with pytest.raises(UserError, match=r"labels\.npy.*frame map"):
        load_benchmark("hBABEL", labels=label_file(["a_seg"]))


@pytest.mark.parametrize("name", ["mabe_mice", "mouse", "mabe_flies", "flies"])
def test_mice_and_flies_need_the_users_files(name):
    with pytest.raises(UserError, match=f"hieras-eval prepare --task {name}"):
        load_benchmark(name)


def test_an_unknown_name():
    with pytest.raises(UserError, match="no benchmark 'shot7m2'; did you mean 'Shot7M2'"):
        load_benchmark("shot7m2")


# -- metadata folders ------------------------------------------------------------------------------

CLIPS = {f"clip {i}": (10 * i, 10 * i + 8) for i in range(8)}
SPLIT = {
    "SubmissionTrain": ["clip 3", "clip 1", "clip 0", "clip 2"],
    "publicTest": ["clip 4", "clip 5"],
    "privateTest": ["clip 7", "clip 6"],
    "UserTrain": ["somewhere else"],
}
TASKS = {
    "seeds": [7, 8],
    "task_id_list": ["lights", "speed"],
    "sequence_level_tasks": ["lights", "Dummy"],
}


def metadata(folder: Path, **files: Any) -> Path:
    folder.mkdir(exist_ok=True)
    whole = {"frame_number_map": CLIPS, "split": SPLIT, "task_info": TASKS, **files}
    for name, content in whole.items():
        if content is not None:
            (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def test_a_metadata_folder(tmp_path):
    labels = label_file(["speed", "lights"], types=["Continious", "Discrete"])
    b = load_benchmark("mabe_mice", metadata=metadata(tmp_path), labels=labels)
    assert b.clips == CLIPS
    assert b.train == tuple(SPLIT["SubmissionTrain"])
    assert b.private == ("clip 7", "clip 6")
    assert b.seeds == (7, 8)
    assert b.tasks == (Task("lights", "class", "sequence", True), Task("speed", "value", "frame"))
    assert (b.inner_test_size, b.max_width) == (0.1, 128)


def test_the_rule_stands_in_for_a_file_that_is_absent(tmp_path):
    b = load_benchmark("flies", metadata=metadata(tmp_path, task_info=None))
    assert b.seeds == (42, 43, 44)
    assert len(b.tasks) == 101
    assert len(b.unique_tasks) == 100
    sequence = [task.name for task in b.tasks if task.sequence_level]
    assert len(sequence) == 44
    assert sequence.count("control") == 2
    bases = Counter(t.name.split("_singletask")[0] for t in b.tasks if "_singletask" in t.name)
    assert bases == {
        "female": 11,
        "perframe_aggression": 10,
        "perframe_chase": 10,
        "perframe_courtship": 6,
        "perframe_highfence2": 8,
        "perframe_wingext": 4,
        "perframe_wingflick": 9,
    }


@pytest.mark.parametrize(
    ("files", "match"),
    [
        (
            {"split": {**SPLIT, "publicTest": ["clip 44", "x"]}},
            "publicTest.*'clip 44' and 1 more.*did you mean 'clip 4'",
        ),
        ({"split": {**SPLIT, "privateTest": []}}, "privateTest names no clips"),
        ({"split": {"SubmissionTrain": []}}, "no key 'publicTest'"),
        ({"split": {**SPLIT, "publicTest": "clip 4"}}, "'publicTest' is a str"),
        ({"frame_number_map": {**CLIPS, "clip 3": [4, 4]}}, r"clip 'clip 3' has the rows \[4, 4\)"),
        ({"frame_number_map": {**CLIPS, "clip 3": "x"}}, "clip 'clip 3' has the frame range 'x'"),
        ({"task_info": {**TASKS, "seeds": ["1"]}}, "'seeds' is"),
        ({"task_info": {**TASKS, "seeds": []}}, "at least one task and one seed"),
        ({"task_info": [1]}, "expected a dict with 'task_id_list'"),
        ({"frame_number_map": None, "split": None}, "hieras-eval prepare"),
        ({"frame_number_map": None, "split": None, "task_info": None}, "holds none of"),
    ],
)
def test_metadata_that_does_not_fit(tmp_path, files, match):
    with pytest.raises(UserError, match=match):
        load_benchmark("mabe_mice", metadata=metadata(tmp_path / "m", **files))


def test_metadata_that_is_no_json_or_not_there(tmp_path):
    folder = metadata(tmp_path / "m")
    (folder / "split.json").write_text("{")
    with pytest.raises(UserError, match=r"split\.json: not a json file"):
        load_benchmark("mabe_mice", metadata=folder)
    with pytest.raises(UserError, match="no such metadata folder"):
        load_benchmark("mabe_mice", metadata=tmp_path / "nowhere")


def test_labels_and_metadata_of_different_releases(tmp_path):
    labels = label_file(["lights", "speed"], {"clip 3": (0, 8)})
    with pytest.raises(
        UserError, match=r"clip 'clip 3' has the rows \[0, 8\] in the labels and \[30, 38\]"
    ):
        load_benchmark("mabe_mice", metadata=metadata(tmp_path), labels=labels)


def test_a_reported_penalty_must_be_one_of_the_penalties():
    with pytest.raises(UserError, match="reported penalty 3"):
        Benchmark(
            "x",
            (Task("t"),),
            {"a": (0, 1)},
            ("a",),
            ("a",),
            ("a",),
            (1,),
            0.5,
            reported_penalty=3.0,
        )


# -- the filter ------------------------------------------------------------------------------------


def test_the_filter_and_its_published_form(tmp_path):
    """60 segment rows: the published rule ignores row 0 and takes rows 60 and 61 for segments."""
    names = [f"{i}_seg" for i in range(60)] + [f"{i}_frame" for i in range(120)]
    values = np.zeros((180, 80))
    for clip, rows in {0: (3, 70), 1: (0, 70), 2: (60, 70), 3: (3, 61), 4: (70,), 5: (3,)}.items():
        values[list(rows), 10 * clip : 10 * clip + 2] = 1
    values[3, 60] = values[70, 60] = 1  # an eighth of the frames is too little
    values[[3, 70], 70:72] = 1
    values[5, 70] = -1
    labels = label_file(names, CLIPS, 80, values=values)
    folder = metadata(tmp_path, task_info=None)
    splits = {
        "upstream": {"clip 0", "clip 2", "clip 7"},
        "corrected": {"clip 0", "clip 1", "clip 3", "clip 7"},
    }
    everything = dict(SPLIT, SubmissionTrain=[*CLIPS], publicTest=[*CLIPS], privateTest=[*CLIPS])
    metadata(tmp_path, task_info=None, split=everything)
    for compat, wanted in splits.items():
        b = load_benchmark("hBABEL", metadata=folder, labels=labels, filter=True, compat=compat)
        assert set(b.train) == set(b.public) == set(b.private) == wanted
        assert b.clips == CLIPS  # submissions hold all of them
    metadata(tmp_path, task_info=None, split={**SPLIT, "publicTest": ["clip 4"]})
    with pytest.raises(UserError, match="leaves 3 of 8 clips and one of the splits without any"):
        load_benchmark("hBABEL", metadata=folder, labels=labels, filter=True)
    with pytest.raises(UserError, match="give the label file"):
        load_benchmark("mabe_mice", metadata=metadata(tmp_path), filter=True)


# -- from a checkout -------------------------------------------------------------------------------


def checkout(folder: Path) -> Path:
    """Files as large as the flies' release, between others."""
    names = [f"fly {i}" for i in range(543)]
    order = np.random.default_rng(0).permutation(names).tolist()
    split = {
        "SubmissionTrain": order[:217],
        "publicTest": order[217:364],
        "privateTest": order[364:],
        "UserTrain": ["other"] * 426,
    }
    clips = {name: (4500 * i, 4500 * (i + 1)) for i, name in enumerate(names)}
    deep = folder / "evaluator" / "metadata"
    deep.mkdir(parents=True)
    (deep / "splits.json").write_text(json.dumps(split))
    save_dictionary(deep / "map.npy", {n: tuple(map(np.int64, rows)) for n, rows in clips.items()})
    (deep / "lengths.json").write_text(json.dumps(dict.fromkeys(names, 4500)))
    (deep / "a_list.json").write_text("[1, 2]")
    (deep / "broken.json").write_text("{")
    np.save(deep / "array.npy", np.zeros(3))
    save_dictionary(deep / "other_map.npy", {"x": (0, 4)})
    (folder / ".git").mkdir()
    return folder


def test_metadata_from_a_checkout(tmp_path):
    source = checkout(tmp_path / "checkout")
    out = prepare("flies", source, tmp_path / "flies")
    b = load_benchmark("flies", metadata=out)
    assert (len(b.clips), len(b.train), len(b.public), len(b.private)) == (543, 217, 147, 179)
    assert b.clips["fly 3"] == (13500, 18000)
    assert len(b.tasks) == 101

    tasks = {
        "seeds": [1],
        "task_id_list": [task.name for task in b.tasks][::-1],
        "sequence_level_tasks": ["control"],
    }
    (source / "tasks.json").write_text(json.dumps(tasks))
    again = load_benchmark("flies", metadata=prepare("flies", source, tmp_path / "flies"))
    assert again.seeds == (1,)
    assert again.tasks[-1] == Task("control", "class", "sequence", True)


def test_a_checkout_of_something_else(tmp_path):
    source = checkout(tmp_path / "checkout")
    with pytest.raises(
        UserError, match=r"no split file of MABe22 mouse.*splits\.json \[217, 147, 179\]"
    ):
        prepare("mouse", source, tmp_path / "out")
    deep = source / "evaluator" / "metadata"
    lengths = json.loads((deep / "lengths.json").read_text())
    (deep / "lengths.json").write_text(json.dumps({**lengths, "fly 7": 4499}))
    with pytest.raises(
        UserError, match=r"clip 'fly 7' has 4499 frames.*map\.npy.*\[31500, 36000\)"
    ):
        prepare("flies", source, tmp_path / "out")
    (deep / "map.npy").unlink()
    with pytest.raises(
        UserError, match=r"no frame map of MABe22 flies.*other_map\.npy \(1 clips\)"
    ):
        prepare("flies", source, tmp_path / "out")
    (deep / "splits.json").unlink()
    with pytest.raises(UserError, match="there is no split file at all"):
        prepare("flies", source, tmp_path / "out")
    with pytest.raises(UserError, match="no such folder"):
        prepare("flies", tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_published_file_is_known_by_its_bytes(tmp_path):
    order = [f"m {i}" for i in range(3736)]
    split = {
        "SubmissionTrain": order[:2668],
        "publicTest": order[2668:3201],
        "privateTest": order[3201:],
    }
    (tmp_path / "jax_split.json").write_text(json.dumps(split))
    with pytest.raises(UserError, match=r"jax_split\.json: SHA-256 .*begins with e773fe15f808fd47"):
        prepare("mabe_mice", tmp_path, tmp_path / "out")
