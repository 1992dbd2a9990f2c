"""The data side against what the original computes, case by case."""

from __future__ import annotations

import csv
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sgear.data import BrokenClip, DataConfig, DatasetConfig, build_dataset, collate
from sgear.data.annotations import read_annotations
from sgear.data.config import AnticipationConfig, ReaderConfig, SubclipConfig
from sgear.data.readers.lmdb_features import write_lmdb
from sgear.data.references import reference_rows, window_labels
from sgear.data.salads import open_salads
from sgear.data.sampling import Draws
from sgear.data.transforms import ClipTransform, resize, short_side, to_unit


def cases(kind: str) -> list[Any]:
    """Folders of a kind, found when tests are collected so that each has a name."""
    root = Path(__file__).resolve().parents[3].parent / "shared" / "goldens"
    root = Path(os.environ.get("BEHAVIORZOO_GOLDENS", root))
    folders = [
        file.parent
        for file in sorted(root.glob("sgear_*/case.json"))
        if json.loads(file.read_text())["kind"] == kind
    ]
    absent = pytest.mark.skip(reason=f"no case of {kind}: set $BEHAVIORZOO_GOLDENS")
    return [pytest.param(folder, id=folder.name) for folder in folders] or [
        pytest.param(None, marks=absent, id="none")
    ]


def read_case(folder: Path) -> tuple[dict[str, Any], Any]:
    return json.loads((folder / "case.json").read_text()), np.load(folder / "expected.npz")


# -- anticipation ---------------------------------------------------------------------------------

CLIP_KEYS = {"tau_a", "tau_o", "n", "R", "strategy", "sub", "stride", "drop_style", "tubelets"}
CLIP_KEYS |= {"future_clip_ratios", "read_type", "is_train"}


def stored_features(store: dict[str, Any], last_stop: dict[str, float]) -> dict[str, np.ndarray]:
    """Features by video as the case describes them; NaN where a frame is missing."""
    extra = int(re.search(r"\+(\d+)", store["frames"]).group(1))
    modulus, residues = re.search(r"f mod (\d+) in \{([\d, ]+)\}", store["missing"]).groups()
    missing = {int(text) for text in residues.split(",")}
    gaps = re.findall(r"v=(\d+) also (\d+)<=f<(\d+)", store["missing"])
    assert store["value"].startswith("4 float32: [f/100, sin(f/50), v+1, (f mod 17)/17]")
    features = {}
    for v, video in enumerate(store["videos"]):
        f = np.arange(1, int(30 * last_stop[video]) + extra + 1, dtype=np.float64)
        x = np.stack([f / 100, np.sin(f / 50), np.full(len(f), v + 1.0), (f % 17) / 17], axis=1)
        gone = np.isin(f.astype(int) % int(modulus), sorted(missing))
        for number, first, last in gaps:
            gone |= (int(number) == v) & (int(first) <= f) & (f < int(last))
        x[gone] = np.nan
        features[video] = x.astype(np.float32)
    return features


def write_class_list(path: Path, n: int) -> None:
    with path.open("w", newline="") as handle:
        csv.writer(handle).writerows([("id", "key"), *((i, f"key{i}") for i in range(n))])


@pytest.mark.parametrize("folder", cases("sgear_anticipation_data"))
def test_anticipation(folder, tmp_path):
    case, expected = read_case(folder)
    annotations = read_annotations([folder / "annotations.csv"])
    assert case["feature_store"]["key"] == "<video_id>_frame_%010d.jpg"
    last_stop = annotations.groupby("video_id")["end"].max().to_dict()
    write_lmdb(tmp_path / "features", stored_features(case["feature_store"], last_stop))
    for kind in ("verb", "noun"):
        n = expected[f"map_{kind}_action"].shape[1]
        write_class_list(tmp_path / f"EPIC_100_{kind}_classes.csv", n)
    seen = {"embeddings"}
    for name, config in case["configs"].items():
        assert set(config) <= CLIP_KEYS, f"options that this test does not know: {config}"
        dataset = _dataset(folder, tmp_path, config)
        for kind in ("verb", "noun"):
            np.testing.assert_array_equal(
                dataset.class_mappings[kind, "action"], expected[f"map_{kind}_action"]
            )
            seen.add(f"map_{kind}_action")
        seen |= _check_table(dataset, name, expected)
        torch.manual_seed(case["seed"])
        seen |= _check_items(dataset, name, expected)
    assert seen == set(expected.files)


def _dataset(folder: Path, tmp_path: Path, config: dict[str, Any]):
    anticipation = AnticipationConfig(
        tau_a=config["tau_a"],
        tau_o=config["tau_o"],
        drop_style=config.get("drop_style", "correct"),
        future_clip_ratios=list(config.get("future_clip_ratios", [1.0])),
    )
    window = config.get("sub", 1)
    return build_dataset(
        DatasetConfig(
            annotation_path=[str(folder / "annotations.csv")],
            annotation_dir=str(tmp_path),
            action_labels_fpath=str(folder / "actions.csv"),
            sample_strategy=config["strategy"],
            conv_to_anticipate_fn=anticipation,
            reader_fn=[
                ReaderConfig(
                    kind="lmdb",
                    path=[str(tmp_path / "features")],
                    read_type=config.get("read_type", "normal"),
                )
            ],
            tubelets=config.get("tubelets", 1),
            is_train=config.get("is_train", False),
        ),
        DataConfig(
            num_frames=config["n"],
            frame_rate=config["R"],
            subclips=SubclipConfig(window, config.get("stride", window)),
            load_seg_labels=True,
        ),
        training=True,
    )


def _check_table(dataset: Any, name: str, expected: Any) -> set[str]:
    table, seen = dataset.table, set()
    columns = ("uid", "start", "end", "orig_start", "orig_end", "action_class", "narration_id")
    for key in expected.files:
        column = key.removeprefix(f"{name}/")
        if not (key.startswith(f"{name}/") and (column in columns or "future" in column)):
            continue
        seen.add(key)
        if column == "narration_id":
            assert table[column].tolist() == [value.decode() for value in expected[key]]
        elif expected[key].dtype.kind == "i":
            np.testing.assert_array_equal(table[column], expected[key])
        else:
            np.testing.assert_allclose(table[column], expected[key], rtol=0, atol=1e-6)
    assert dataset.discarded["uid"].tolist() == expected[f"{name}/discarded_uid"].tolist()
    return seen | {f"{name}/discarded_uid"}


def _check_items(dataset: Any, name: str, expected: Any) -> set[str]:
    items = [dataset.item(index, None) for index in range(len(dataset))]
    broken = [index for index, item in enumerate(items) if isinstance(item, BrokenClip)]
    assert broken == expected[f"{name}/assertion_items"].tolist()
    batch = collate(items)
    past = batch["past_target"]["action"]
    got = {
        "video": batch["video"]["mod_0"],
        "video_frame_sec": batch["video_frame_sec"]["mod_0"],
        "past_labels": past,
        "target": batch["target"]["action"],
        "past_wts": (past >= 0).long(),
    }
    seen = {f"{name}/assertion_items"}
    for key, value in got.items():
        wanted = expected[f"{name}/{key}"]
        if len(wanted) == len(items):  # rows of broken items hold nothing
            wanted = wanted[[index for index in range(len(items)) if index not in broken]]
        assert tuple(value.shape) == wanted.shape, key
        tolerance = {"rtol": 1e-6, "atol": 1e-6} if wanted.dtype.kind == "f" else {"rtol": 0}
        np.testing.assert_allclose(value.numpy(), wanted, err_msg=key, **tolerance)
        seen.add(f"{name}/{key}")
    return seen | _check_references(dataset, past, batch["target"]["action"], name, expected)


def _check_references(dataset, past, target, name: str, expected: Any) -> set[str]:
    """Rows of the language tables that belong to the labels of the first item."""
    if f"{name}/item0/target_similarities" not in expected.files:
        return set()
    encodings = torch.from_numpy(expected["embeddings"])
    assert len(encodings) == dataset.num_classes["action"]
    unit = torch.nn.functional.normalize(encodings, dim=1, eps=1e-8)
    similarities = unit @ unit.T
    labels = window_labels(past[0])
    got = {
        "target_similarities": reference_rows(similarities, target[0])[None],
        "past_reference_similarities": reference_rows(similarities, labels)[:, None],
        "past_reference_embedding": reference_rows(encodings, labels),
    }
    for key, value in got.items():
        wanted = expected[f"{name}/item0/{key}"]
        np.testing.assert_allclose(value.numpy(), wanted, rtol=1e-6, atol=1e-6, err_msg=key)
    return {f"{name}/item0/{key}" for key in got}


# -- 50 Salads ------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", cases("sgear_50salads_segments"))
def test_50_salads(folder):
    case, expected = read_case(folder)
    actions = open_salads(
        DatasetConfig(
            kind="salads",
            annotation_path=[str(path) for path in folder.glob("*.bundle")],
            annotation_dir=str(folder / "groundTruth"),
            action_labels_fpath=str(folder / "mapping.txt"),
            annotation_style="frames",
            frame_rate=case["frame_rate"],
        ),
        compat="upstream" if case["dtype"] == "float16" else "corrected",
    )
    table = actions.table
    for key in ("start", "end", "action_class"):
        assert table[key].dtype == expected[key].dtype, key
        np.testing.assert_array_equal(table[key], expected[key], err_msg=key)
    for key, column in (("bundle", "video_bundle_name"), ("video", "video_path")):
        assert table[column].tolist() == [value.decode() for value in expected[key]]
    assert set(expected.files) == {"start", "end", "action_class", "bundle", "video"}


# -- transforms -----------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", cases("sgear_schedule_mixup_transforms"))
def test_transforms(folder):
    case, expected = read_case(folder)
    options = case["transforms"]
    video = torch.from_numpy(np.load(folder / "inputs.npz")["video"])
    common = {"scale_h": options["resize"], "scale_w": -1}
    common |= {"mean": options["mean"], "std": options["std"]}
    resized = resize(to_unit(video), *short_side(video.shape[1:3], options["resize"]))
    training = ClipTransform(DataConfig(**common, crop_size=None, flip_p=1.0), training=True)
    evaluation = ClipTransform(
        DataConfig(
            **common,
            crop_size=options["crop"],
            eval_num_crops=options["ncrops"],
            eval_flip_crops=options["flips"],
        ),
        training=False,
    )
    crops = evaluation(video, Draws(0))
    got = {
        "resized": resized,
        "after_jitter0": training.jitter(resized, Draws(0)),
        "eval_crops": crops if evaluation.n_crops > 1 else crops[None],
        "train_flipped_norm": training(video, Draws(0)),
    }
    # A level may differ where 255 x is a whole number but for rounding.
    edge = np.abs(expected["tf/resized"] * 255 - np.round(expected["tf/resized"] * 255)) < 1e-4
    levels = {
        "after_jitter0": edge / 255.0,
        "train_flipped_norm": (edge / 255.0 / np.reshape(options["std"], (-1, 1, 1, 1)))[..., ::-1],
    }
    for key, value in got.items():
        wanted = expected[f"tf/{key}"]
        assert tuple(value.shape) == wanted.shape
        error = np.abs(value.numpy() - wanted)
        assert (error <= 2e-6 + 1.001 * levels.get(key, 0.0)).all(), f"{key}: {error.max()}"
    assert {f"tf/{key}" for key in got} == {key for key in expected.files if key[:3] == "tf/"}
