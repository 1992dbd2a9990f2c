"""The authors' cases through the command line: files in, their table and their summary out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from behaviorzoo.mabe import save_dictionary
from hieras_eval import tables
from hieras_eval.cli import main

ROOT = Path(__file__).resolve().parents[3]
GOLDENS = Path(os.environ.get("BEHAVIORZOO_GOLDENS", ROOT.parent / "shared" / "goldens"))
DEFAULT_ALPHAS = [0.1, 0.5, 1.0, 2.0, 5.0]


def cases() -> list[Any]:
    found = [path.parent for path in sorted(GOLDENS.glob("*/expected_results.csv"))]
    skip = pytest.mark.skip(reason="no folder 'goldens': set $BEHAVIORZOO_GOLDENS")
    return [pytest.param(case, id=case.name) for case in found] or [pytest.param(None, marks=skip)]


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def written(case: Path, folder: Path) -> list[str]:
    """Files of the case as a user has them; returns the words of the command line."""
    described, inputs = read(case / "case.json"), np.load(case / "inputs.npz")
    clips = {n: tuple(rows) for n, rows in read(case / "frame_number_map.json").items()}
    meta = folder / "meta"
    meta.mkdir()
    for name in ("frame_number_map.json", "split.json", "task_info.json"):
        (meta / name).write_bytes((case / name).read_bytes())
    content = {"label_array": inputs["label_array"], "frame_number_map": clips}
    save_dictionary(folder / "labels.npy", {**read(case / "labels_meta.json"), **content})
    submission = {"frame_number_map": clips, "embeddings": inputs["embeddings"]}
    save_dictionary(folder / "test_submission_0.npy", submission)
    flags = described["flags"]
    argv = ["run", "--task", described["task"], "--labels", str(folder / "labels.npy")]
    argv += ["--submission", str(folder / "test_submission_0.npy"), "--metadata", str(meta)]
    argv += ["--output-dir", str(folder / "out")]
    argv += ["--training-size", str(round(100 * (1 - described["inner_test_size"])))]
    if "threshold" in flags:
        argv += ["--threshold", str(flags["threshold"])]
    return argv + ["--filter"] * bool(flags.get("filter"))


def flat(summary: dict[str, Any], prefix: str = "") -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in summary.items():
        inner = (
            flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
        )
        found |= inner
    return found


@pytest.mark.parametrize("case", cases())
def test_the_command_line_gives_the_authors_table_and_summary(case: Path, tmp_path: Path) -> None:
    described = read(case / "case.json")
    if described["alphas"] != DEFAULT_ALPHAS:
        pytest.skip("the command line has the published penalties only")
    assert main(written(case, tmp_path)) == 0
    out, task = tmp_path / "out", described["task"]
    found = tables.read_authors(out / f"{task}-round-1--test_submission_0.npy.csv")
    wanted = tables.read_authors(case / "expected_results.csv")
    assert list(found) == list(wanted)
    for column in ("Task ID", "Metric", "Sequence Level Task"):
        assert found[column].tolist() == wanted[column].tolist()
    f1 = (wanted["Metric"] == "f1_score").to_numpy()
    for column in (name for name in wanted if "Score" in str(name)):
        ours, theirs = (table[column].to_numpy(dtype=float) for table in (found, wanted))
        if column == "Pooled Score":
            # One flipped frame may move a clip across the threshold.
            assert ((ours == -1) == (theirs == -1)).all()
            continue
        np.testing.assert_allclose(ours[~f1], theirs[~f1], rtol=1e-4)
        np.testing.assert_allclose(ours[f1], theirs[f1], atol=2e-3)
        assert ours[f1].mean() == pytest.approx(theirs[f1].mean(), abs=2e-4)
    if not (case / "expected_summary.json").exists():
        return
    record = read(out / f"{task}-results.json")
    summary = flat(record["levels"]["0"]["published"])
    printed = flat(read(case / "expected_summary.json"))
    assert set(summary) == set(printed)
    for name, value in printed.items():
        # A mean that lies on the edge of rounding may fall to the other side.
        assert summary[name] == pytest.approx(value, abs=1.1e-3), name
