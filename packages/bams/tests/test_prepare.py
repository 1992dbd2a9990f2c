"""``bams prepare``: what it writes, and what it says when it cannot."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from bams.annotation_files import load_annotations
from bams.data import DataConfig, build_training_data, open_sequences
from bams.prepare import KINDS, prepare
from behaviorzoo.errors import UserError
from behaviorzoo.mabe import load_dictionary, save_dictionary

_HERE = Path(__file__).parent


def _helpers(name: str):
    """Another test file as a module, for the synthetic data it makes."""
    spec = importlib.util.spec_from_file_location(f"bams_{name}", _HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_quadrupeds_and_their_labels(tmp_path):
    simulator = _helpers("test_quadrupeds")
    raw = tmp_path / "raw"
    raw.mkdir()
    for number in (10, 9):  # natural order: 9 before 10
        position = np.stack([simulator.path_of((number + np.arange(40) * 0.5).tolist())] * 2)
        content = simulator.recording(position)
        content["task"] = "anymal_b" if number == 9 else "anymal_c_rough"
        save_dictionary(raw / f"run{number}.npy", content)
    text = prepare("quadrupeds", raw)
    assert "4 trajectories of 2 recordings" in text
    content = load_dictionary(raw / "robot_dataset.npy")
    assert content["robot_type"].tolist() == [0, 0, 1, 1]
    assert content["dof_pos"].shape == (4, 12, 39)
    annotations, utils = load_annotations(raw / "robot_dataset_labels.npz")
    assert annotations["video_name"].tolist()[0] == "anymal_b_0000"
    assert utils["sequence_level_dict"]["terrain_slope"] is False
    # Once more: the result of the first time is no recording.
    assert "of 2 recordings" in prepare("quadrupeds", raw)
    data = build_training_data(DataConfig(dataset="quadrupeds", path=str(raw)))
    assert data.names[2] == "anymal_c_0002"


def test_every_robot_lost(tmp_path):
    simulator = _helpers("test_quadrupeds")
    save_dictionary(
        tmp_path / "a.npy", simulator.recording(np.stack([simulator.path_of([1.0, 9.0, 20.0])]))
    )
    with pytest.raises(UserError, match="every robot fell, was put back or left the terrain"):
        prepare("quadrupeds", tmp_path)


def test_mice_become_a_feature_file(tmp_path):
    _helpers("test_data").write_mice(tmp_path)
    text = prepare("mice", tmp_path, tmp_path / "f.npz")
    assert "67 features and 9 actions of 9 sequences, 32 bins" in text
    config = DataConfig(dataset="mice", path=str(tmp_path))
    direct = build_training_data(config)
    cached = build_training_data(
        DataConfig(dataset="mice", path=str(tmp_path), cache=str(tmp_path / "f.npz"))
    )
    assert torch.equal(cached.inputs, direct.inputs)
    assert cached.fingerprint() == direct.fingerprint()
    assert "made with compat" not in prepare(
        "mice", tmp_path, tmp_path / "f.npz", compat="upstream"
    )


def test_tables_become_one_array(tmp_path):
    (tmp_path / "s10.csv").write_text("x,y\n1,2\n,4\n5,6\n")
    (tmp_path / "s9.csv").write_text("7,8\n9,10\n")
    np.save(tmp_path / "s11.npy", np.ones((1, 2), np.float32))
    text = prepare("arrays", tmp_path)
    assert "3 sequences of up to 3 frames, 2 values each" in text
    with np.load(tmp_path / "keypoints.npz") as file:
        assert file["names"].tolist() == ["s9", "s10", "s11"]
        nan = np.nan
        expected = [
            [[7, 8], [9, 10], [nan, nan]],
            [[1, 2], [nan, 4], [5, 6]],
            [[1, 1], [nan, nan], [nan, nan]],
        ]
        np.testing.assert_array_equal(file["keypoints"], expected)
    config = DataConfig(dataset="arrays", path=str(tmp_path / "keypoints.npz"))
    data = build_training_data(config, n_bins=4)
    assert data.ignored.tolist() == [
        [False, False, True],
        [False, True, False],
        [False, True, True],
    ]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("x,y\n1,apple\n", r"b\.csv: not a table of numbers"),
        ("1,2,3\n", r"b\.csv: 3 values in a frame, .*a\.csv has 2"),
        ("1,inf\n", r"b\.csv: infinite values"),
        ("", r"b\.csv: the sequence is empty"),
    ],
)
def test_wrong_tables_are_named(tmp_path, content, match):
    (tmp_path / "a.csv").write_text("1,2\n3,4\n")
    (tmp_path / "b.csv").write_text(content)
    with pytest.raises(UserError, match=match):
        prepare("arrays", tmp_path)


def authors_cache(folder: Path, **changes) -> Path:
    rng = np.random.default_rng(0)
    data = {
        "input_feats": rng.random((3, 20, 4)),
        "target_feats": rng.random((3, 20, 2)),
        "quantized_target_feats": rng.integers(0, 8, (3, 20, 2)).astype(np.uint8),
        "ignore_frames": rng.random((3, 20)) < 0.2,
        **changes,
    }
    path = folder / "tmp_bins8.pkl"
    path.write_bytes(pickle.dumps({"data": data}))
    return path


def test_the_authors_cache(tmp_path):
    path = authors_cache(tmp_path)
    assert "3 sequences of 20 frames, 8 bins" in prepare("authors-cache", path)
    config = DataConfig(dataset="mice", cache=str(tmp_path / "authors_features.npz"))
    data = build_training_data(config, n_bins=8)
    original = pickle.loads(path.read_bytes())["data"]
    np.testing.assert_array_equal(data.inputs, original["input_feats"].astype(np.float32))
    np.testing.assert_array_equal(data.bins, original["quantized_target_feats"])
    np.testing.assert_array_equal(data.ignored, original["ignore_frames"])
    with pytest.raises(UserError, match="made with hoa_bins = 8, this run has 32"):
        build_training_data(config)


def test_features_without_a_known_scale_learn_it_when_embedding(tmp_path):
    test_data = _helpers("test_data")
    test_data.write_mice(tmp_path)
    prepare("authors-cache", authors_cache(tmp_path), tmp_path / "c.npz")
    unknown = build_training_data(
        DataConfig(cache=str(tmp_path / "c.npz"), dataset="mice"), n_bins=8
    )
    mice = DataConfig(dataset="mice", path=str(tmp_path))
    rows = np.concatenate([s.inputs for s in open_sequences(mice, "paper", unknown.scaling)])
    np.testing.assert_array_equal(rows, build_training_data(mice).inputs)


def test_a_hostile_cache_is_refused(tmp_path):
    class Harm:
        def __reduce__(self):
            return (print, ("harm",))

    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({"data": Harm()}))
    with pytest.raises(UserError, match=r"x\.pkl: refused, it wants builtins\.print"):
        prepare("authors-cache", path)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"input_feats": np.full((3, 20, 4), np.nan)}, "the inputs hold NaN"),
        ({"ignore_frames": np.zeros((3, 19), bool)}, "do not belong together"),
    ],
)
def test_wrong_caches_are_named(tmp_path, changes, match):
    with pytest.raises(UserError, match=match):
        prepare("authors-cache", authors_cache(tmp_path, **changes))


def test_what_cannot_be_prepared(tmp_path):
    with pytest.raises(UserError, match="prepare quadruped: did you mean 'quadrupeds'"):
        prepare("quadruped", tmp_path)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no such file or folder"):
        prepare("mice", tmp_path / "none")
    for what in KINDS:
        with pytest.raises(UserError):
            prepare(what, tmp_path)  # type: ignore[arg-type]
