"""Embedding extraction against the original: raw data and checkpoint in, submissions out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

from behaviorzoo.embeddings import open_embeddings
from behaviorzoo.mabe import load_submission, save_dictionary
from hbehavemae.checkpoints import load_checkpoint
from hbehavemae.data import DataConfig, open_sequences
from hbehavemae.embed import embed

KIND = "hbm_extract"
COMPONENTS = {"shot7m2": 64, "hbabel": 64, "mabe_mice": 128}
Arrays = dict[str, np.ndarray]


def write_shot7m2(case: dict[str, Any], inputs: Arrays, folder: Path) -> DataConfig:
    poses = {name: inputs[name] for name in case["sequence_order"]}
    path = folder / "test_dictionary_poses.npy"
    save_dictionary(path, {"sequences": {"keypoints": poses}})
    return DataConfig(dataset="shot7m2", path=str(path))


def write_mice(case: dict[str, Any], inputs: Arrays, folder: Path) -> DataConfig:
    clips = {name: {"keypoints": inputs[name]} for name in case["sequence_order"]}
    save_dictionary(folder / "mouse_triplet_test.npy", {"sequences": clips})
    fill_holes = case["test_flags"].get("fill_holes", False)
    return DataConfig(dataset="mabe22", path=str(folder), fill_holes=fill_holes)


def write_hbabel(case: dict[str, Any], inputs: Arrays, folder: Path) -> DataConfig:
    aligned = case["test_flags"].get("joints3d_procrustes", True)
    motions = []
    for number, name in enumerate(case["sequence_order"]):
        motion: dict[str, Any] = {"babel_id": name}
        for key, array in inputs.items():
            stem = key.removesuffix(f"_{name}").removesuffix(f"_{number}")
            if key == name or stem != key:
                joints = array.reshape(len(array), -1, 3)
                processed = joints.shape[1] == 25
                motion["joint_positions_processed" if processed else "joint_positions"] = joints
                motion["poses"] = np.zeros((len(array), 3), np.float32)
        motions.append(motion)
    joblib.dump(motions, folder / "val_proc_realigned_procrustes.pth.tar")
    joblib.dump(motions, folder / "val.pth.tar")
    return DataConfig(dataset="hbabel", path=str(folder), joints3d_procrustes=aligned)


WRITERS: dict[str, Callable[[dict[str, Any], Arrays, Path], DataConfig]] = {
    "shot7m2": write_shot7m2,
    "mabe_mice": write_mice,
    "hbabel": write_hbabel,
}


def check(case: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    raw, files = tmp_path / "raw", tmp_path / "submissions"
    raw.mkdir()
    with np.load(folder / "inputs.npz") as inputs:
        data = WRITERS[case["dataset"]](case, dict(inputs), raw)
    checkpoint = next(folder.glob("checkpoint*.pth"))
    flags = case["test_flags"]
    out = embed(
        checkpoint,
        open_sequences(data, load_checkpoint(checkpoint).config),
        tmp_path / "embeddings.nc",
        mode="fast" if flags.get("fast_inference") else "averaging",
        batch_size=flags.get("batch_size"),
        embedsum=flags.get("embedsum", False),
        combine=flags.get("combine_embeddings", False),
        fusion=flags.get("fusion_head", False),
        pca=COMPONENTS[case["dataset"]],
        compat="upstream",
        submissions=files,
        device="cpu",
        progress=False,
    )
    with open_embeddings(out) as found, np.load(folder / "expected.npz") as expected:
        assert found.recordings == case["sequence_order"]
        reduced = found.attrs.get("pca_explained_variance", {})
        for key in expected.files:
            suffix = key.removeprefix("embeddings_")
            level = suffix if suffix == "combined" else f"level_{int(suffix) + 1}"
            spans, values = load_submission(files / f"test_submission_{suffix}.npy")
            frames = {name: list(span) for name, span in spans.items()}
            assert frames == case["frame_number_map"]
            compare(np.asarray(values), expected[key], case["tolerance"], level in reduced)


def compare(
    actual: np.ndarray, expected: np.ndarray, tolerance: dict[str, Any], components: bool
) -> None:
    assert actual.dtype == np.float32
    assert actual.shape == expected.shape
    if components:  # a principal component has no sign
        actual = actual * np.where((actual * expected).sum(0) < 0, -1.0, 1.0)
    scale = expected.std()
    np.testing.assert_allclose(
        actual / scale, expected / scale, rtol=tolerance["rtol"], atol=tolerance["atol"]
    )


def collect() -> list[Any]:
    root = Path(__file__).resolve().parents[3].parent / "shared" / "goldens"
    found = []
    for file in sorted(Path(os.environ.get("BEHAVIORZOO_GOLDENS", root)).glob("hbm_*/case.json")):
        case = json.loads(file.read_text())
        if case["kind"] == KIND:
            found.append(pytest.param(case, file.parent, id=file.parent.name))
    return found


@pytest.mark.parametrize(("case", "folder"), collect())
def test_golden(case: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    check(case, folder, tmp_path)


def test_there_are_cases(goldens_dir: Path) -> None:
    assert collect(), f"no case of {KIND} under {goldens_dir}"
