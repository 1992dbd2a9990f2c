"""The authors' evaluators, number by number (hieras_run) and mistake by mistake (hieras_errors)."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from behaviorzoo.errors import UserError
from hieras_eval.benchmarks import Benchmark, load_benchmark
from hieras_eval.fitting import fit
from hieras_eval.label_files import LabelFile, open_labels
from hieras_eval.protocol import Evaluation, evaluate
from hieras_eval.row_sets import inner_splits
from hieras_eval.submissions import open_submission
from hieras_eval.truth import Truth, read_truth

ROOT = Path(__file__).resolve().parents[3]
GOLDENS = Path(os.environ.get("BEHAVIORZOO_GOLDENS", ROOT.parent / "shared" / "goldens"))
KINDS = ("hieras_run", "hieras_errors")
F1_EACH, F1_MEAN, MSE = 2e-3, 2e-4, 1e-4


def folders() -> list[Path]:
    if not GOLDENS.is_dir():
        return []
    return sorted([*GOLDENS.glob("hieras_*"), *GOLDENS.glob("mabe_*")])


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def cases(kind: str) -> list[Any]:
    found = [f for f in folders() if read_json(f / "case.json")["kind"] == kind]
    absent = pytest.mark.skip(reason="no folder 'goldens': set $BEHAVIORZOO_GOLDENS")
    return [pytest.param(f, id=f.name) for f in found] or [pytest.param(None, marks=absent)]


@pytest.mark.parametrize("folder", folders(), ids=lambda folder: folder.name)
def test_every_case_is_of_a_known_kind(folder):
    assert read_json(folder / "case.json")["kind"] in KINDS


@dataclass
class Case:
    """Files of a case, as the authors' tools write them."""

    task: str
    embeddings: Any
    clips: dict[str, Any]
    labels: np.ndarray
    labels_meta: dict[str, Any]
    split: dict[str, list[str]]
    tasks: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Case:
        inputs = np.load(folder / "inputs.npz")
        clips = read_json(folder / "frame_number_map.json")
        return cls(
            task=read_json(folder / "case.json")["task"],
            embeddings=inputs["embeddings"],
            clips={clip: tuple(rows) for clip, rows in clips.items()},
            labels=inputs["label_array"],
            labels_meta=read_json(folder / "labels_meta.json"),
            split=read_json(folder / "split.json"),
            tasks=read_json(folder / "task_info.json"),
        )

    def write(self, folder: Path) -> None:
        (folder / "metadata").mkdir()
        for name, content in {
            "frame_number_map": {clip: list(rows) for clip, rows in self.clips.items()},
            "split": self.split,
            "task_info": self.tasks,
        }.items():
            (folder / "metadata" / f"{name}.json").write_text(json.dumps(content))
        save(folder / "labels.npy", self.label_dictionary())
        save(folder / "test_submission_0.npy", self.submission())

    def label_dictionary(self) -> dict[str, Any]:
        return {**self.labels_meta, "label_array": self.labels, "frame_number_map": self.clips}

    def submission(self) -> Any:
        return {"frame_number_map": self.clips, "embeddings": self.embeddings}


def save(path: Path, content: Any) -> None:
    """As the authors' tools do."""
    np.save(path, content, allow_pickle=True)  # type: ignore[arg-type]


def loaded(folder: Path, case: Case, **options: Any) -> tuple[Benchmark, LabelFile]:
    labels = open_labels(folder / "labels.npy")
    metadata = folder / "metadata"
    return load_benchmark(case.task, metadata=metadata, labels=labels, **options), labels


# -- hieras_run ------------------------------------------------------------------------------------


@dataclass
class Run:
    folder: Path
    case: dict[str, Any]
    truth: Truth
    embeddings: np.ndarray
    evaluation: Evaluation


@pytest.fixture(scope="module", params=cases("hieras_run"))
def run(request, tmp_path_factory) -> Run:
    folder, work = request.param, tmp_path_factory.mktemp("run")
    described, case = read_json(folder / "case.json"), Case.read(folder)
    case.write(work)
    flags = described["flags"]
    benchmark, labels = loaded(
        work,
        case,
        filter=bool(flags.get("filter", False)),
        training_size=round(100 * (1 - described["inner_test_size"])),
    )
    assert benchmark.inner_test_size == described["inner_test_size"]
    assert list(benchmark.seeds) == described["seeds"]
    benchmark = replace(
        benchmark,
        penalties=tuple(described["alphas"]),
        reported_penalty=described["reported_alpha"],
    )
    truth = read_truth(benchmark, labels)
    submission = open_submission(work / "test_submission_0.npy")
    threshold = float(flags.get("threshold", 0.5))
    evaluation = evaluate(truth, submission, threshold=threshold)
    return Run(folder, described, truth, case.embeddings, evaluation)


def test_inner_splits(run):
    wanted = read_json(run.folder / "expected_inner_splits.json")
    splits = inner_splits(run.truth.benchmark)
    assert {str(seed) for seed in splits} == set(wanted)
    for seed, split in splits.items():
        assert list(split.fit) == wanted[str(seed)]["train"]
        assert list(split.set_aside) == wanted[str(seed)]["held_out"]


def test_rows_of_the_tests(run):
    expected = np.load(run.folder / "expected.npz")
    for part in ("public", "private"):
        mask = np.zeros(run.truth.n_frames, dtype=bool)
        for rows in run.truth.sets:
            if getattr(rows, part):
                for start, stop in rows.ranges:
                    mask[start:stop] = True
        np.testing.assert_array_equal(mask, expected[f"row_mask_{part}"])


def test_models_and_predictions(run):
    expected = np.load(run.folder / "expected.npz")
    models, truth = fit(run.embeddings, run.truth), run.truth
    order = run.case["files"]["expected.npz"].get("unique task order")
    if order:
        assert [task.name for task in truth.tasks] == order
    note = run.case.get("note") or ""
    tolerance = 5e-3 if "ill" in note else 2e-4
    wanted, intercept = expected["coef"], expected["intercept"]
    constant = ~wanted.any(axis=-1)  # one class only
    largest = np.abs(wanted).max(axis=-1)
    assert not models.coef[constant].any()
    assert (np.abs(models.coef - wanted).max(axis=-1) <= tolerance * largest)[~constant].all()
    allowed = tolerance * np.maximum(largest, np.abs(intercept))
    assert (np.abs(models.intercept - intercept) <= allowed)[~constant].all()

    classes = np.array([task.kind == "class" for task in truth.tasks])[:, None]
    a = truth.benchmark.reported
    for part in ("public", "private"):
        x = run.embeddings[expected[f"row_mask_{part}"]].astype(np.float64)
        decision = models.coef[a] @ x.T + models.intercept[a][..., None]  # (S, K, n)
        predicted = expected[f"pred_{part}_alpha1"]
        differs = np.where(classes, (decision > 0) != (predicted > 0), False)
        assert not differs[np.abs(decision) >= 1e-4].any()
        off = np.where(classes, 0.0, np.abs(decision - predicted))
        assert (off <= MSE * np.maximum(np.abs(predicted), 1.0)).all()


def assert_table(got: pd.DataFrame, path: Path) -> None:
    wanted = pd.read_csv(path)
    assert list(got.columns) == list(wanted.columns)
    classes = (wanted["Metric"] == "f1_score").to_numpy()
    for column in wanted:
        g, w = got[column], wanted[column]
        if "Score" not in column:
            assert g.tolist() == w.tolist()
            continue
        assert g.dtype.kind in "if"
        difference = np.abs(g - w).to_numpy()
        assert (difference[classes] <= F1_EACH).all(), column
        assert (difference[~classes] <= MSE * np.abs(w[~classes])).all(), column
        for which in (classes, ~classes):
            if which.any():
                assert abs(g[which].mean() - w[which].mean()) <= F1_MEAN, column


def test_result_table(run):
    assert_table(run.evaluation.authors, run.folder / "expected_results.csv")


def test_table_before_averaging(run):
    path = run.folder / "expected_results_raw.csv"
    assert path.exists() == (run.evaluation.unaveraged is not None)
    if run.evaluation.unaveraged is not None:
        assert_table(run.evaluation.unaveraged, path)


# -- hieras_errors ---------------------------------------------------------------------------------


def edit_map(edit: Callable[[dict[str, Any], str], None]) -> Callable[[Case], dict[str, Any]]:
    """The clip at position 3 of the submitted map is edited; the benchmark's map stays."""

    def submission(case: Case) -> dict[str, Any]:
        clips = dict(case.clips)
        edit(clips, list(clips)[3])
        return {"frame_number_map": clips, "embeddings": case.embeddings}

    return submission


def with_embeddings(change: Callable[[np.ndarray], Any]) -> Callable[[Case], dict[str, Any]]:
    return lambda case: {
        "frame_number_map": case.clips,
        "embeddings": change(case.embeddings.copy()),
    }


def put(where: Any, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(x: np.ndarray) -> np.ndarray:
        x[where] = value
        return x

    return change


def wide(x: np.ndarray, width: int) -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=(len(x), width))
    return (np.resize(x.T, (width, len(x))).T + noise).astype(np.float32)


SUBMISSIONS: dict[str, Callable[[Case], Any]] = {
    "float64": with_embeddings(lambda x: x.astype(np.float64)),
    "float16": with_embeddings(lambda x: x.astype(np.float16)),
    "int32": with_embeddings(lambda x: x.astype(np.int32)),
    "big_endian_float32": with_embeddings(lambda x: x.astype(">f4")),
    "nan": with_embeddings(put((7, 3), np.nan)),
    "inf": with_embeddings(put((-1, 0), np.inf)),
    "one_dim": with_embeddings(lambda x: x[:, 0]),
    "three_dim": with_embeddings(lambda x: x[..., None]),
    "list_embeddings": with_embeddings(lambda x: x.tolist()),
    "no_embeddings_key": lambda case: {"frame_number_map": case.clips},
    "no_map_key": lambda case: {"embeddings": case.embeddings},
    "map_missing_clip": edit_map(lambda clips, clip: clips.pop(clip)),
    "map_extra_clip": edit_map(lambda clips, _: clips.update(EXTRA_CLIP=(0, 5))),
    "map_wrong_range": edit_map(
        lambda clips, clip: clips.update({clip: (clips[clip][0], clips[clip][1] + 1)})
    ),
    "map_lists": edit_map(
        lambda clips, _: clips.update({clip: list(rows) for clip, rows in clips.items()})
    ),
    "map_numpy_ints": edit_map(
        lambda clips, _: clips.update({c: tuple(map(np.int64, rows)) for c, rows in clips.items()})
    ),
    "short": with_embeddings(lambda x: x[:-5]),
    "long": with_embeddings(lambda x: np.concatenate([x, x[:5]])),
    "empty": with_embeddings(lambda x: x[:0]),
    "zero_width": with_embeddings(lambda x: x[:, :0]),
    "plain_array": lambda case: case.embeddings,
}


def rows_of(case: Case, *parts: str) -> np.ndarray:
    mask = np.zeros(case.labels.shape[1], dtype=bool)
    for part in parts:
        for clip in case.split[part]:
            mask[slice(*case.clips[clip])] = True
    return mask


def edit_labels(value: float, rows: Callable[[Case], Any]) -> Callable[[Case, str], None]:
    def edit(case: Case, task: str) -> None:
        case.labels[case.labels_meta["vocabulary"].index(task), rows(case)] = value

    return edit


def drop_from_vocabulary(case: Case, task: str) -> None:
    row = case.labels_meta["vocabulary"].index(task)
    case.labels = np.delete(case.labels, row, axis=0)
    case.labels_meta = {k: v[:row] + v[row + 1 :] for k, v in case.labels_meta.items()}


def cut_labels(case: Case, task: str) -> None:
    case.labels = case.labels[:, :-4]


def name_unknown_clip(case: Case, task: str) -> None:
    case.split["publicTest"] = [*case.split["publicTest"][:-1], "NO_SUCH_CLIP"]


def keep_one_training_clip(case: Case, task: str) -> None:
    case.split["SubmissionTrain"] = case.split["SubmissionTrain"][:1]


def every_fifth(case: Case) -> slice:
    return slice(0, None, 5)


def everywhere(case: Case) -> slice:
    return slice(None)


def training(case: Case) -> np.ndarray:
    return rows_of(case, "SubmissionTrain")


def public(case: Case) -> np.ndarray:
    return rows_of(case, "publicTest")


def both_tests(case: Case) -> np.ndarray:
    return rows_of(case, "publicTest", "privateTest")


WIDTHS = ("too_wide", "at_limit")  # so many columns as the description of the change says

FILES: dict[str, Callable[[Case, str], None]] = {
    "ok": lambda case, task: None,
    "short_path": lambda case, task: None,
    "vocab_missing_task": drop_from_vocabulary,
    "multiclass": edit_labels(2, every_fifth),
    "minus_one": edit_labels(-1, every_fifth),
    "fraction": edit_labels(0.5, every_fifth),
    "all_nan_task": edit_labels(np.nan, everywhere),
    "nan_in_train": edit_labels(np.nan, training),
    "nan_in_public": edit_labels(np.nan, public),
    "const_one": edit_labels(1, everywhere),
    "const_zero": edit_labels(0, everywhere),
    "absent_in_train": edit_labels(0, training),
    "absent_in_test": edit_labels(0, both_tests),
    "all_one_in_train": edit_labels(1, training),
    "label_rows_short": cut_labels,
    "split_unknown_clip": name_unknown_clip,
    "one_train_clip": keep_one_training_clip,
}

# What the one line must say. {task}, {clip}, {rows}, {width} are those of the case.
SAYS = {
    "float64": "float64.*float32",
    "float16": "float16.*float32",
    "int32": "int32.*float32",
    "too_wide": "{found}.*{limit}",
    "nan": "1 entr.*row 7 .*{first}",
    "inf": "1 entr.*row {last_row} .*{last}",
    "one_dim": r"\({rows},\).*2-D",
    "three_dim": r"\({rows}, {width}, 1\).*2-D",
    "list_embeddings": "list.*float32 array",
    "no_embeddings_key": "no key 'embeddings'",
    "no_map_key": "no key 'frame_number_map'",
    "map_missing_clip": "1 of the {clips} clips.*'{clip}'",
    "map_wrong_range": r"'{clip}' has the rows \[{start}, {wrong}\].*wants \[{start}, {stop}\]",
    "short": "{short} rows.*{rows} frames",
    "long": "{long} rows.*{rows} frames",
    "empty": r"\(0, {width}\).*no rows",
    "zero_width": r"\({rows}, 0\).*no columns",
    "plain_array": r"holds an array.*submission.*'frame_number_map' and 'embeddings'",
    "vocab_missing_task": "vocabulary.*lacks the task '{task}'",
    "multiclass": r"'{task}'.* 2 \(",
    "minus_one": r"'{task}'.*-1 \(",
    "fraction": r"'{task}'.*0\.5 \(",
    "label_rows_short": r"(?=.*{cut} frames).*\b{rows}\b",
    "split_unknown_clip": "'NO_SUCH_CLIP'.*not in the frame map",
    "one_train_clip": "1 training clips.*too few for the inner split",
}


def variants() -> list[Any]:
    found = [
        pytest.param(folder, variant, id=f"{folder.name}-{variant['variant']}")
        for folder in folders()
        if read_json(folder / "case.json")["kind"] == "hieras_errors"
        for variant in read_json(folder / "case.json")["variants"]
    ]
    absent = pytest.mark.skip(reason="no folder 'goldens': set $BEHAVIORZOO_GOLDENS")
    return found or [pytest.param(None, None, marks=absent)]


def words(case: Case, task: str, change: str) -> dict[str, Any]:
    n_rows, width = case.embeddings.shape
    found, limit = [*re.findall(r"\d+", change), "", ""][:2]
    clip = list(case.clips)[3]
    start, stop = case.clips[clip]

    def holding(row: int) -> str:
        names = [name for name, (a, b) in case.clips.items() if a <= row < b]
        return f"clip '{re.escape(names[0])}'" if names else "in no clip"

    return {
        "task": re.escape(task),
        "clip": re.escape(clip),
        "clips": len(case.clips),
        "start": start,
        "stop": stop,
        "wrong": stop + 1,
        "rows": n_rows,
        "cut": n_rows - 4,
        "short": n_rows - 5,
        "long": n_rows + 5,
        "last_row": n_rows - 1,
        "width": width,
        "first": holding(7),
        "last": holding(n_rows - 1),
        "found": found,
        "limit": limit,
    }


@pytest.mark.parametrize(("folder", "variant"), variants())
def test_mistakes(folder, variant, tmp_path, monkeypatch):
    described, case, name = read_json(folder / "case.json"), Case.read(folder), variant["variant"]
    task, change = described["edited_task"], variant["change"]
    said = words(case, task, change)
    if name in FILES:
        FILES[name](case, task)
    case.write(tmp_path)
    path = tmp_path / "test_submission_0.npy"
    if name in WIDTHS:
        save(path, with_embeddings(lambda x: wide(x, int(said["found"])))(case))
    elif name not in FILES:
        save(path, SUBMISSIONS[name](case))
    if name == "short_path":
        monkeypatch.chdir(tmp_path)
        path = Path(path.name)

    def evaluated() -> Evaluation:
        return evaluate(read_truth(*loaded(tmp_path, case)), open_submission(path))

    if variant["wanted"].startswith("reject"):
        with pytest.raises(UserError, match=SAYS[name].format(**said)) as caught:
            evaluated()
        assert "\n" not in str(caught.value)
        return

    evaluation = evaluated()
    scores = evaluation.authors.set_index("Task ID")["Private Score"]
    notes = " ".join(evaluation.notes)
    if name == "map_extra_clip":
        assert "EXTRA_CLIP" in notes
    if "not available" in variant["wanted"]:
        assert_not_available(evaluation, case, task)
        return
    # What upstream refuses and we accept is the unchanged submission in another form.
    unchanged = next(v for v in described["variants"] if v["variant"] == "ok")
    upstream = pd.Series(variant["upstream"]["scores"] or unchanged["upstream"]["scores"])
    if "flagged" in variant["wanted"]:
        assert f"task {task!r} is degenerate" in notes
        flags = evaluation.tidy.loc[evaluation.tidy["task"] == task, "flag"]
        assert (flags != "").all()
    assert scores.index.tolist() == upstream.index.tolist()
    if "not comparable" in change:
        assert scores.between(0, 1).all()
    else:
        assert (scores - upstream).abs().max() <= F1_EACH


def assert_not_available(evaluation: Evaluation, case: Case, task: str) -> None:
    """NaN where there is nothing to fit or to score, and numbers everywhere else."""
    labelled = ~np.isnan(case.labels[case.labels_meta["vocabulary"].index(task)])
    trained = labelled[training(case)].any()
    table = evaluation.authors.set_index("Task ID")
    scores = table.loc[task]
    assert np.isnan(scores["Public Score"]) != (trained and labelled[public(case)].any())
    assert np.isnan(scores["Private Score"]) != (trained and labelled[both_tests(case)].any())
    assert table.drop(task)[["Public Score", "Private Score"]].notna().all(axis=None)
    assert any(repr(task) in note and "not available" in note for note in evaluation.notes)
