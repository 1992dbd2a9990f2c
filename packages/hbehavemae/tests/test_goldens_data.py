"""The data side against what the original computes, case by case."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from behaviorzoo.mabe import save_dictionary
from hbehavemae.data import DataConfig, WindowDataset, build_training_data

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
    config = DataConfig(dataset="shot7m2", path=str(train), sliding_window=case["sliding_window"])
    model = network(case["num_frames"], 1, expected["samples"].shape[-1])
    data = build_training_data(config, model)
    same_items(data, data.batch(np.array(case["picked"])), case, expected)
    if "length_of_test_split_with_first_sequence_only" in case:
        held_out = build_training_data(config, model, "test")
        assert len(held_out) == case["length_of_test_split_with_first_sequence_only"]


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
