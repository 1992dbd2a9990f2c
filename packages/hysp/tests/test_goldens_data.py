"""The data side against what the originals compute, case by case."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hysp.augment import AugmentConfig, Drawn, apply, replay
from hysp.data import DataConfig, open_data, pkummd
from hysp.data.arrays import read_label_file
from hysp.data.frames50 import central_frames
from hysp.data.persons import persons
from hysp.data.skeleton_files import parse_skeleton
from hysp.data.splits import semi_supervised, semi_supervised_per_class, uncertainty_halves
from hysp.prepare import prepare_ntu, prepare_pkummd

KINDS: dict[str, Callable[[dict[str, Any], Path, Path], None]] = {}


def kind(check):
    KINDS[check.__name__] = check
    return check


def close(actual: Any, expected: np.ndarray, case: dict[str, Any]) -> None:
    tolerance = case["tolerance"]
    actual = np.asarray(actual)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=tolerance["rtol"], atol=tolerance["atol"])


def parts(expected: Any) -> list[tuple[str, str]]:
    """Benchmark and part of every set of arrays in the case."""
    names = {tuple(key.split(".")[:2]) for key in expected.files if not key.startswith("cut.")}
    return sorted(names)


def same_parts(out: Path, expected: Any, case: dict[str, Any]) -> set[str]:
    """Compare the files of the original's layout; gives back the keys that were compared."""
    seen = set()
    for benchmark, part in parts(expected):
        key = f"{benchmark}.{part}"
        names, labels = read_label_file(out / benchmark / f"{part}_label.pkl")
        assert names == expected[f"{key}.names"].tolist()
        np.testing.assert_array_equal(labels, expected[f"{key}.labels"])
        data = np.load(out / benchmark / f"{part}_data.npy", mmap_mode="r")
        assert data.shape == tuple(expected[f"{key}.data_shape"])
        assert data.dtype == np.float32
        head = expected[f"{key}.data_head"]
        close(data[:, :, : head.shape[2]], head, case)
        assert not data[:, :, head.shape[2] :].any()
        for name in ("position", "motion"):
            array = np.load(out / benchmark / f"{part}_{name}.npy")
            assert array.dtype == np.float32
            close(array, expected[f"{key}.{name}50"], case)
        shifted = np.load(out / benchmark / f"{part}_label.npy")
        assert shifted.dtype == np.int64
        np.testing.assert_array_equal(shifted, expected[f"{key}.label50"])
        opened = open_data(DataConfig(path=str(out), benchmark=benchmark), part)
        np.testing.assert_array_equal(opened.x, np.load(out / benchmark / f"{part}_position.npy"))
        np.testing.assert_array_equal(opened.labels, labels)
        suffixes = ("names", "labels", "data_shape", "data_head", "position50", "motion50")
        seen |= {f"{key}.{suffix}" for suffix in (*suffixes, "label50")}
    return seen


@kind
def hysp_data_ntu(case: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    expected = np.load(folder / "expected.npz")
    out = tmp_path / "out"
    prepare_ntu(
        folder / "raw",
        out,
        benchmarks=list(dict.fromkeys(benchmark for benchmark, _ in parts(expected))),
        missing=folder / "missing_skeletons.txt",
        compat="upstream",
        layout="authors",
        workers=1,
        progress=False,
    )
    assert same_parts(out, expected, case) == set(expected.files)


@kind
def hysp_data_pku(case: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    expected = np.load(folder / "expected.npz")
    raw = tmp_path / "raw"
    shutil.copytree(folder, raw, ignore=shutil.ignore_patterns("*.npz", "*.json"))
    out = tmp_path / "out"
    prepare_pkummd(
        raw,
        out,
        missing=folder / "missing_skeletons.txt",
        compat="upstream",
        layout="authors",
        workers=1,
        progress=False,
    )
    seen = same_parts(out, expected, case)
    texts = {}
    for file in sorted((folder / "skeleton").iterdir()):
        frames = pkummd.read_recording(file)
        for action in pkummd.read_actions(folder / "label" / file.name):
            texts[f"{action.name}.skeleton"] = text = pkummd.cut_text(frames, action)
            if action.stop <= len(frames):
                bodies = parse_skeleton(text.encode(), action.name, cut=True, compat="upstream")
                np.testing.assert_array_equal(
                    central_frames(persons(bodies, "upstream")), pkummd.cut(frames, action, "")
                )
    assert sorted(texts) == expected["cut.names"].tolist()
    hashes = [hashlib.sha256(texts[name].encode()).hexdigest() for name in expected["cut.names"]]
    assert hashes == expected["cut.sha256"].tolist()
    for key in expected.files:
        if key.startswith("cut.text."):
            assert texts[key.removeprefix("cut.text.")] == expected[key].item()
            seen.add(key)
    assert seen | {"cut.names", "cut.sha256"} == set(expected.files)


# Parameter by the case's name -> what was drawn.
PARAMETERS: dict[str, Callable[[Drawn], torch.Tensor | None]] = {
    "temporal_crop.start": lambda drawn: drawn.start,
    "shear.a": lambda drawn: drawn.shear[:, :3],
    "shear.b": lambda drawn: drawn.shear[:, 3:],
    "spatial_flip.apply": lambda drawn: drawn.flipped,
    "rotate.main_axis": lambda drawn: drawn.main_axis,
    "rotate.degrees": lambda drawn: drawn.degrees,
    "gaus_noise.apply": lambda drawn: drawn.noisy,
    "gaus_noise.noise": lambda drawn: drawn.noise,
    "gaus_filter.sigma": lambda drawn: drawn.sigma,
    "gaus_filter.apply": lambda drawn: drawn.blurred,
    "axis_mask.apply": lambda drawn: drawn.masked,
    "axis_mask.axis": lambda drawn: drawn.axis,
    "time_flip.apply": lambda drawn: drawn.reversed,
}


@kind
def hysp_augment(case: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    inputs, expected = np.load(folder / "inputs.npz"), np.load(folder / "expected.npz")
    config = AugmentConfig(padding_ratio=case["ratio"], shear=case["shear_amplitude"])
    seen = set()

    def check(key: str, value: Any) -> None:
        close(value, expected[key], case)
        seen.add(key)

    def output(x: np.ndarray, drawn: Drawn) -> np.ndarray:
        batch = torch.from_numpy(x).double()[None]
        return apply(batch, drawn, config, compat="upstream")[0].numpy()

    def parameters(prefix: str, drawn: Drawn, step: str) -> None:
        for name, value in PARAMETERS.items():
            if name.startswith(f"{step}.") and f"{prefix}{name}" in expected.files:
                check(f"{prefix}{name}", value(drawn)[0].numpy())

    for step, draw in replay.STRONG.items():
        x = inputs[case["op_input"]]
        for seed in case["seeds"]:
            drawn = draw(replay.Generators.seeded(seed), x.shape, config)
            check(f"{step}.seed{seed}.output", output(x, drawn))
            for name, value in PARAMETERS.items():
                key = f"{step}.seed{seed}.{name.partition('.')[2]}"
                if name.startswith(f"{step}.") and key in expected.files:
                    check(key, value(drawn)[0].numpy())
    for name in inputs.files:
        for seed in case["composite_seeds"]:
            generators = replay.Generators.seeded(seed)
            for view, steps in (("strong", replay.STRONG), ("weak", replay.WEAK)):
                prefix = f"sample.{name}.seed{seed}.{view}"
                drawn, each = replay.draws(generators, inputs[name].shape, config, steps)
                check(prefix, output(inputs[name], drawn))
                for step, own in each.items():
                    parameters(f"{prefix}_draw.", own, step)
    assert seen == set(expected.files)


TENTH = 0.1


@kind
def hysp_semi_split(case: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    inputs, expected = np.load(folder / "inputs.npz"), np.load(folder / "expected.npz")
    labels, seed, share = inputs["labels"], case["numpy_seed"], case["label_percent"]
    # label_percent is that of the second sampler; the evaluation's own takes a tenth, always.
    drawn = semi_supervised(labels, case.get("fraction", TENTH), seed)
    halves = uncertainty_halves(inputs["uncertainty"])
    actual = {
        "semi.indices": drawn,
        "semi.labels": labels[drawn],
        "semi.class_counts": np.bincount(
            labels[drawn], minlength=len(expected["semi.class_counts"])
        ),
        "feeder_semi.indices": semi_supervised_per_class(labels, share, seed),
        "uncertainty.median": np.float64(halves.median),
        "uncertainty.low": halves.low,
        "uncertainty.high": halves.high,
    }
    for key in expected.files:
        np.testing.assert_array_equal(actual[key], expected[key])


def collect() -> list[Any]:
    root = Path(__file__).resolve().parents[3].parent / "shared" / "goldens"
    found = []
    for file in sorted(Path(os.environ.get("BEHAVIORZOO_GOLDENS", root)).glob("hysp_*/case.json")):
        case = json.loads(file.read_text())
        if case["kind"] in KINDS:
            found.append(pytest.param(case, file.parent, id=file.parent.name))
    return found


@pytest.mark.parametrize(("case", "folder"), collect())
def test_golden(case, folder, tmp_path):
    KINDS[case["kind"]](case, folder, tmp_path)


def test_there_are_cases(goldens_dir):
    assert collect(), f"no case of {sorted(KINDS)} under {goldens_dir}"
