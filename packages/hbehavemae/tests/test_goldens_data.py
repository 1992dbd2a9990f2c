"""The data side against what the original computes, case by case."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import joblib
import numpy as np
import pytest
import torch

from behaviorzoo.mabe import load_dictionary, save_dictionary
from hbehavemae.augment import reference
from hbehavemae.data import DataConfig, WindowDataset, build_training_data, mabe22
from hbehavemae.prepare import hbabel_labels, hbabel_poses
from hbehavemae.prepare.poses import read_motions

KINDS: dict[str, Callable[[dict[str, Any], Path, Path], None]] = {}


def kind(check):
    KINDS[check.__name__] = check
    return check


def network(window: int, individuals: int, features: int):
    return SimpleNamespace(input_size=(window, individuals, features), missing=False)


def close(actual: Any, expected: np.ndarray, case: dict[str, Any]) -> None:
    tolerance = case["tolerance"]
    actual = np.asarray(actual)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=tolerance["rtol"], atol=tolerance["atol"])


def same_items(data: WindowDataset, samples: Any, case: dict[str, Any], expected: Any) -> None:
    assert len(data) == case["length"]
    np.testing.assert_array_equal(data.window_ids, expected["window_ids"])
    close(samples, expected["samples"], case)


@kind
def hbm_data_shot(case: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    inputs, expected = np.load(folder / "inputs.npz"), np.load(folder / "expected.npz")
    names = case["sequence_order"]
    train, test = tmp_path / "train_poses.npy", tmp_path / "test_poses.npy"
    save_dictionary(train, {"sequences": {"keypoints": {name: inputs[name] for name in names}}})
    save_dictionary(test, {"sequences": {"keypoints": {names[0]: inputs[names[0]]}}})
    config = DataConfig(
        dataset="shot7m2",
        path=str(train),
        sliding_window=case["sliding_window"],
        body_parts=case["split_tokenization"],
    )
    model = network(case["num_frames"], 1, expected["samples"].shape[-1])
    data = build_training_data(config, model)
    same_items(data, data.batch(np.array(case["picked"])), case, expected)
    if "length_of_test_split_with_first_sequence_only" in case:
        held_out = build_training_data(config, model, "test")
        assert len(held_out) == case["length_of_test_split_with_first_sequence_only"]


@kind
def hbm_data_mice(case: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    inputs, expected = np.load(folder / "inputs.npz"), np.load(folder / "expected.npz")
    clips = {name: {"keypoints": inputs[name]} for name in case["sequence_order"]}
    save_dictionary(tmp_path / "mouse_triplet_train.npy", {"sequences": clips})
    config = DataConfig(
        dataset="mabe22",
        path=str(tmp_path),
        sliding_window=case["sliding_window"],
        fill_holes=case["fill_holes"],
        centeralign=case["centeralign"],
        sampling_rate=case["sampling_rate"],
        data_augment=case["augment"],
        compat="upstream",
    )
    data = build_training_data(config, network(*expected["samples"].shape[1:]))
    samples = data.batch(np.array(case["picked"]))
    if case["augment"]:
        samples = np.stack([legacy_mice(data, config, index) for index in case["picked"]])
    same_items(data, samples, case, expected)


def legacy_mice(data: WindowDataset, config: DataConfig, index: int) -> np.ndarray:
    """A window augmented with the draws of numpy's legacy generator, seeded as in the case."""
    pixels = data.gather(np.array([index]))[0].numpy()
    augmented = reference.mice(pixels, np.random.RandomState(1000 + index))
    return mabe22.to_input(config)(torch.from_numpy(np.asarray(augmented))).numpy()


@kind
def hbm_data_hbabel(case: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    inputs, expected = np.load(folder / "inputs.npz"), np.load(folder / "expected.npz")
    samples = [
        {
            "babel_id": str(number),
            "poses": np.zeros((length, 3), np.float32),
            "joint_positions": inputs[f"joint_positions_{number}"],
            "joint_positions_processed": inputs[f"joint_positions_processed_{number}"],
        }
        for number, length in enumerate(case["lengths"])
    ]
    joblib.dump(samples, tmp_path / "train_proc_realigned_procrustes.pth.tar")
    config = DataConfig(
        dataset="hbabel",
        path=str(tmp_path),
        sliding_window=case["sliding_window"],
        joints3d_procrustes=case["joints3d_procrustes"],
    )
    data = build_training_data(config, network(case["num_frames"], 1, 75))
    same_items(data, data.batch(np.array(case["picked"])), case, expected)


@kind
def hbm_augment(case: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    inputs, expected = np.load(folder / "inputs.npz"), np.load(folder / "expected.npz")
    size = case["grid"]
    for key in expected.files:
        name, number = key.rsplit("_", 1)
        seed = case["base_seed"] + int(number)
        numpy_rng, python_rng = np.random.RandomState(seed), random.Random(seed)
        calls = {
            "mice_noise": lambda rng, _: reference.gaussian_noise(inputs["mice"], rng, 1),
            "mice_rotation": lambda rng, _: reference.mice_rotation(inputs["mice"], rng, 1, size),
            "mice_reflect": lambda rng, _: reference.mice_reflection(inputs["mice"], rng, 1, size),
            "mice_wide_rotation": lambda rng, _: reference.mice_rotation(
                inputs["mice_wide"], rng, 1, size
            ),
            "human_move": lambda rng, py: reference.human_move(inputs["human"], rng, py, 1),
            "human_shift": lambda rng, py: reference.human_shift(inputs["human"], rng, py, 1),
        }
        actual = calls[name](numpy_rng, python_rng)
        assert actual.dtype == expected[key].dtype
        close(actual, expected[key], case)


@kind
def hbm_prepare_babel_poses(case: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    inputs, expected = np.load(folder / "inputs.npz"), np.load(folder / "expected.npz")
    splits = sorted({key.rsplit("_", 1)[0] for key in inputs.files})
    for split in splits:
        samples = [
            {
                "babel_id": f"{split}_{number}",
                "poses": np.zeros((len(inputs[f"{split}_{number}"]), 3)),
                "joint_positions": inputs[f"{split}_{number}"],
            }
            for number in range(sum(key.startswith(f"{split}_") for key in inputs.files))
        ]
        joblib.dump(samples, tmp_path / f"{split}.pth.tar")
    hbabel_poses(tmp_path, splits=splits)
    checked = set()
    for split in splits:
        aligned = read_motions(tmp_path, split, aligned=True)
        normalised = read_motions(tmp_path, split, aligned=False)
        theirs = joblib.load(tmp_path / f"{split}_proc_realigned_procrustes.pth.tar")
        for motion, ntu, original in zip(aligned, normalised, theirs, strict=True):
            close(motion.joints, expected[motion.name], case)
            np.testing.assert_array_equal(original["joint_positions_processed"], motion.joints)
            checked.add(motion.name)
            if f"ntu_only_{motion.name}" in expected.files:
                close(ntu.joints, expected[f"ntu_only_{motion.name}"], case)
                checked.add(f"ntu_only_{motion.name}")
    assert checked == set(expected.files)


@kind
def hbm_prepare_babel_labels(case: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    mode, expected = case["mode"], np.load(folder / "expected.npz")
    (tmp_path / f"{mode}.json").write_text(json.dumps(case["annotations"]))
    poses = [
        {"babel_id": name, "poses": np.zeros((frames, 3), np.float32)}
        for name, frames in case["poses"]
    ]
    joblib.dump(poses, tmp_path / f"{mode}.pth.tar")
    out = tmp_path / "out"
    hbabel_labels(
        tmp_path,
        out,
        [mode],
        top_frame=case["top_frame"],
        top_sequence=case["top_seq"],
        compat="upstream",
    )
    assert sorted(path.name for path in out.iterdir()) == sorted(case["expected_files"])
    for name, content in case["expected_json"].items():
        assert json.loads((out / name).read_text()) == content
    top = f"top_{case['top_frame']}_{case['top_seq']}"
    table = load_dictionary(out / f"hbabel_val_test_actions_{mode}_{top}_filtered.npy")
    close(table["label_array"], expected["label_array"], case)
    assert table["label_array"].dtype == expected["label_array"].dtype
    assert list(table["vocabulary"]) == case["vocabulary"]
    assert list(table["task_type"]) == case["task_type"]
    frame_map = {name: list(span) for name, span in table["frame_number_map"].items()}
    assert frame_map == case["frame_number_map"]
    separate = load_dictionary(out / f"frame_number_map_{mode}_filtered.npy")
    assert separate == table["frame_number_map"]


def collect() -> list[Any]:
    root = Path(__file__).resolve().parents[3].parent / "shared" / "goldens"
    found = []
    for file in sorted(Path(os.environ.get("BEHAVIORZOO_GOLDENS", root)).glob("hbm_*/case.json")):
        case = json.loads(file.read_text())
        if case["kind"] in KINDS:
            found.append(pytest.param(case, file.parent, id=file.parent.name))
    return found


@pytest.mark.parametrize(("case", "folder"), collect())
def test_golden(case, folder, tmp_path):
    KINDS[case["kind"]](case, folder, tmp_path)


def test_there_are_cases(goldens_dir):
    assert collect(), f"no case of {sorted(KINDS)} under {goldens_dir}"
