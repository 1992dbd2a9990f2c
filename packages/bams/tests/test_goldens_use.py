"""Readouts, labels and submissions against the original: its inputs in, its numbers out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bams.annotations import from_arrays
from bams.checkpoints import build_model
from bams.data import DataConfig, build_training_data, open_sequences
from bams.embed import embed
from bams.encoding import compute_representations
from bams.evaluate import evaluate_labels
from bams.label_scores import OriginalReadout
from bams.readouts import read_classes, read_values, standardise, to_directions
from behaviorzoo.mabe import load_submission, save_dictionary

Arrays = dict[str, np.ndarray]


def close(found: Any, expected: np.ndarray, tolerance: dict[str, float]) -> None:
    limits = {key: tolerance.get(key, 0.0) for key in ("rtol", "atol")}
    np.testing.assert_allclose(np.asarray(found), expected, **limits)


def check_readout(
    case: dict[str, Any], inputs: Arrays, expected: Arrays, folder: Path, tmp: Path
) -> None:
    tolerance = case["tolerance"]
    for name, settings in case["config"]["cases"].items():
        train, test = (inputs[f"{name}_x_{part}"] for part in ("train", "test"))
        labels = [
            inputs[f"{name}_y_{part}"].reshape(len(x))
            for part, x in (("train", train), ("test", test))
        ]
        start = {name: (inputs[f"{name}_w0"], inputs[f"{name}_b0"])}
        options: dict[str, Any] = {
            "lr": settings["lr"],
            "weight_decay": settings["wd"],
            "start": start,
            "compat": "upstream",
        }
        sides = ((train, {name: labels[0]}), (test, {name: labels[1]}))
        mean = train.mean(axis=0, dtype=np.float64)
        if settings["kind"] == "class":
            result = read_classes(*sides, {name: settings["C"]}, **options)[name]
            close(result.f1, expected[f"{name}_f1"], tolerance["f1"])
            close(result.confusion, expected[f"{name}_cm"], tolerance["cm"])
            normalised = to_directions(train, mean, "upstream")
        else:
            result = read_values(*sides, **options)[name]
            close(result.mse, expected[f"{name}_mse"], tolerance["mse"])
            deviation = train.std(axis=0, dtype=np.float64)
            normalised = standardise(train, mean, deviation, "upstream")
        close(result.readout.weight, expected[f"{name}_w_final"], tolerance["w_final"])
        close(result.readout.bias, expected[f"{name}_b_final"], tolerance["w_final"])
        head = expected[f"{name}_x_train_normalised_head"]
        close(normalised[: len(head)], head, tolerance["x_normalised"])


def check_labels(
    case: dict[str, Any], inputs: Arrays, expected: Arrays, folder: Path, tmp: Path
) -> None:
    config, tolerance = case["config"], case["tolerance"]
    np.save(tmp / "keypoints.npy", inputs["keypoints"])
    data = build_training_data(
        DataConfig(dataset="arrays", path=str(tmp / "keypoints.npy")),
        "upstream",
        config["hoa_bins"],
    )
    model = build_model(next(folder.glob("checkpoint*.pth")))
    found = compute_representations(model, data)
    tags = [*config["classification_tags"], *config["regression_tags"]]
    annotations = from_arrays(
        {tag: inputs[f"ann_{tag}"] for tag in tags}, config, lengths=[data.length] * len(data)
    )
    start = {tag: (inputs[f"w0_{tag}"], inputs[f"b0_{tag}"]) for tag in tags}
    scalars, figures = evaluate_labels(
        model, data, annotations, settings=OriginalReadout(compat="upstream"), start=start
    )
    assert sorted(figures) == sorted(config["figure_tags"])
    wanted = [key for key in expected if key.startswith("scalar:")]
    assert {f"scalar:{name}" for name in scalars} == set(wanted)
    for key, value in expected.items():
        if key in wanted:
            kind = "f1" if "/f1_" in key else "mse"
            close(scalars[key.removeprefix("scalar:")], value, tolerance[kind])
        else:
            close(found[key.removeprefix("emb_")], value, tolerance["emb"])


def check_submission(
    case: dict[str, Any], inputs: Arrays, expected: Arrays, folder: Path, tmp: Path
) -> None:
    for split, letters in (("train", "tr"), ("test", "te")):
        clips = {
            f"{letters}{k}": {"keypoints": clip}
            for k, clip in enumerate(inputs[f"{split}_keypoints"])
        }
        save_dictionary(tmp / f"mouse_triplet_{split}.npy", {"sequences": clips})
    spans = zip(expected["frame_map_start"], expected["frame_map_end"], strict=True)
    places = {f"te{k}": tuple(map(int, span)) for k, span in enumerate(spans)}
    save_dictionary(tmp / "mouse_triplet_frame_number_map.npy", places)
    embed(
        next(folder.glob("checkpoint*.pth")),
        open_sequences(DataConfig(dataset="mice", path=str(tmp)), "upstream"),
        tmp / "mice.nc",
        submission=tmp / "submission.npy",
        frame_map=tmp / "mouse_triplet_frame_number_map.npy",
        compat="upstream",
        device="cpu",
        progress=False,
    )
    ranges, values = load_submission(tmp / "submission.npy")
    assert ranges == places
    assert values.dtype == np.float32
    close(values, expected["embeddings"], case["tolerance"]["embeddings"])


CHECKS: dict[str, Callable[..., None]] = {
    "bams_readout": check_readout,
    "bams_custom_labels": check_labels,
    "bams_mouse_submission": check_submission,
}


def collect() -> list[Any]:
    root = Path(__file__).resolve().parents[3].parent / "shared" / "goldens"
    found = []
    for file in sorted(Path(os.environ.get("BEHAVIORZOO_GOLDENS", root)).glob("bams_*/case.json")):
        case = json.loads(file.read_text())
        if case["kind"] in CHECKS:
            found.append(pytest.param(case, file.parent, id=file.parent.name))
    return found


@pytest.mark.parametrize(("case", "folder"), collect())
def test_golden(case: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    with np.load(folder / "inputs.npz") as inputs, np.load(folder / "expected.npz") as expected:
        CHECKS[case["kind"]](case, dict(inputs), dict(expected), folder, tmp_path)


def test_there_are_cases_of_every_kind(goldens_dir: Path) -> None:
    found = {parameters.values[0]["kind"] for parameters in collect()}
    assert found == set(CHECKS), f"missing under {goldens_dir}: {set(CHECKS) - found}"
