"""The data side against what the original computes, case by case."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bams.data import DataConfig, build_training_data
from bams.data.keypoints import keypoint_features
from bams.data.mabe22 import read_clips, single_animals
from bams.data.mouse import mouse_features
from bams.data.quantise import fit_scaling
from bams.data.simulator import prepare_quadrupeds
from behaviorzoo.mabe import load_dictionary, save_dictionary

KINDS: dict[str, Callable[[dict[str, Any], Any, Any, Path], None]] = {}


def kind(check):
    KINDS[check.__name__] = check
    return check


def write_mabe(folder: Path, name: str, inputs: Mapping[str, np.ndarray]) -> None:
    for split in ("train", "test"):
        clips = {
            f"{split}_{number}": {"keypoints": keypoints}
            for number, keypoints in enumerate(inputs[f"{split}_keypoints"])
        }
        save_dictionary(folder / name.format(split=split), {"sequences": clips})


def close(actual, expected, rtol: float = 1e-9, atol: float = 1e-9) -> None:
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)


def same_bins(actual: np.ndarray, expected: np.ndarray, targets, edges, within: float) -> None:
    """Equal, except where an action lies within a small distance of an edge."""
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    away = np.stack(
        [np.abs(targets[..., m, None] - e).min(-1) > within for m, e in enumerate(edges)], -1
    )
    assert away.mean() > 0.5
    np.testing.assert_array_equal(actual[away], expected[away])


def first_access(bins: np.ndarray, ignored: np.ndarray, window: int) -> tuple[Any, Any]:
    """Mass of the original's histogram and its weights, frame by frame: (L,), (L,)."""
    length = len(ignored)
    mass = [min(window, length - 1 - t) / window for t in range(length)]
    weights = [
        sum(not ignored[t + i] for i in range(1, window + 1) if t + i < length) / window
        for t in range(length)
    ]
    return np.array(mass), np.array(weights)


@kind
def bams_mouse_pipeline(case: dict[str, Any], inputs, expected, tmp_path: Path) -> None:
    write_mabe(tmp_path, "mouse_triplet_{split}.npy", inputs)
    cfg = case["config"]
    config = DataConfig(dataset="mice", path=str(tmp_path))
    clips = read_clips(config)
    rows = np.concatenate([single_animals(clip.keypoints) for clip in clips])
    np.testing.assert_array_equal(rows, expected["keypoints_rows"])
    assert rows.dtype == expected["keypoints_rows"].dtype
    features = mouse_features(rows, "upstream")
    close(features.inputs, expected["input_feats"])
    close(features.targets, expected["target_feats"])
    np.testing.assert_array_equal(features.ignored, expected["ignore_frames"])

    data = build_training_data(config, "upstream", cfg["hoa_bins"], allow_nan=True)
    check_rows(data, [clip.is_train for clip in clips], expected)
    close(data.inputs.numpy(), expected["norm_input"], **case["tolerance"]["norm_input"])
    edges = data.scaling.edges
    same_bins(data.bins.numpy(), expected["quantized"], features.targets, edges, 1e-6)
    for place, item in enumerate(cfg["items"]):
        one = data.batch(np.array([item]))
        bins, ignored = one.bins[0].numpy(), one.ignored[0].numpy()
        mass, weights = first_access(bins, ignored, cfg["hoa_window"])
        histogram = mass[:, None, None] * (bins[..., None] == np.arange(cfg["hoa_bins"]))
        close(histogram, expected["item_hist"][place], 1e-6, 1e-7)
        close(weights, expected["item_weights"][place], 1e-6, 1e-7)


@kind
def bams_fly_pipeline(case: dict[str, Any], inputs, expected, tmp_path: Path) -> None:
    write_mabe(tmp_path, "fly_group_{split}.npy", inputs)
    cfg = case["config"]
    config = DataConfig(dataset="flies", path=str(tmp_path))
    clips = read_clips(config)
    data = build_training_data(config, "upstream", cfg["hoa_bins"], allow_nan=True)
    check_rows(data, [clip.is_train for clip in clips], expected)
    np.testing.assert_array_equal(data.ignored.numpy(), expected["ignore_frames"])
    close(data.inputs.numpy(), expected["norm_input"], **case["tolerance"]["norm_input"])
    rows = np.concatenate([single_animals(clip.keypoints) for clip in clips])
    actions = keypoint_features(rows.reshape(*rows.shape[:2], -1)).targets
    edges = data.scaling.edges
    same_bins(data.bins.numpy(), expected["quantized"], actions, edges, 1e-5)
    for place, item in enumerate(cfg["items"]):
        one = data.batch(np.array([item]))
        bins, ignored = one.bins[0].numpy(), one.ignored[0].numpy()
        mass, weights = first_access(bins, ignored, cfg["hoa_window"])
        argmax = np.where(mass[:, None] > 0, bins, 0)
        same_bins(argmax, expected["item_hist_argmax"][place], actions[item], edges, 1e-5)
        close(mass, expected["item_hist_mass"][place])
        close(weights, expected["item_weights"][place], 1e-6, 1e-7)


@kind
def bams_quadruped_prep(case: dict[str, Any], inputs, expected, tmp_path: Path) -> None:
    cfg = case["config"]
    for number, (file, terrain) in enumerate(zip(cfg["files"], cfg["terrain_maps"], strict=True)):
        arrays = {
            name.removeprefix(f"f{number}_"): inputs[name]
            for name in inputs.files
            if name.startswith(f"f{number}_")
        }
        cells = {tuple(map(int, key.split(","))): cell for key, cell in terrain.items()}
        recording = {
            "task": file["task"],
            "command_vel": file["vel"],
            "dof_names": cfg["names"]["dof_names"],
            "terrain_map": cells,
            **arrays,
        }
        save_dictionary(tmp_path / f"{number:04d}.npy", recording)
    out = prepare_quadrupeds(sorted(tmp_path.glob("*.npy")), tmp_path / "out.npy", "upstream")
    content = load_dictionary(out)
    assert content.pop("names") == cfg["names"]
    assert set(content) == set(expected.files)
    for name, array in content.items():
        assert array.dtype == expected[name].dtype, name
        if array.dtype.kind == "f":
            close(array, expected[name], 1e-6, 0)
        else:
            np.testing.assert_array_equal(array, expected[name], name)


@kind
def bams_hoa_target_and_loss(case: dict[str, Any], inputs, expected, tmp_path: Path) -> None:
    """The data half: scale and bins. Histograms and losses are checked with the losses."""
    names = ("input_feats", "target_feats")
    flat = [inputs[name].reshape(-1, inputs[name].shape[-1]) for name in names]
    scaling = fit_scaling(*flat, case["config"]["hoa_bins"], "upstream")
    scaled = scaling.scale_inputs(inputs["input_feats"].astype(np.float32))
    tolerance = {name: case["tolerance"][name] for name in ("rtol", "atol")}
    close(scaled, expected["norm_input"], **tolerance)
    close(inputs["target_feats"] / scaling.target_scale, expected["norm_target"], **tolerance)
    np.testing.assert_array_equal(scaling.bins(inputs["target_feats"]), expected["quantized"])


def check_rows(data, split: list[bool], expected) -> None:
    np.testing.assert_array_equal(split, expected["split_mask"])
    np.testing.assert_array_equal(data.source, expected["batch"])
    np.testing.assert_array_equal(data.is_train, expected["split_mask"][expected["batch"]])


def collect() -> list[Any]:
    root = Path(__file__).resolve().parents[3].parent / "shared" / "goldens"
    found = []
    for file in sorted(Path(os.environ.get("BEHAVIORZOO_GOLDENS", root)).glob("bams_*/case.json")):
        case = json.loads(file.read_text())
        if case["kind"] in KINDS:
            found.append(pytest.param(case, file.parent, id=file.parent.name))
    return found


@pytest.mark.parametrize(("case", "folder"), collect())
def test_golden(case, folder, tmp_path):
    inputs, expected = np.load(folder / "inputs.npz"), np.load(folder / "expected.npz")
    KINDS[case["kind"]](case, inputs, expected, tmp_path)


def test_there_are_cases(goldens_dir):
    assert collect(), f"no case of {sorted(KINDS)} under {goldens_dir}"
