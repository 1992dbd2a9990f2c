"""``--task custom``: the protocol on embeddings and labels of one's own."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.metrics import f1_score

from behaviorzoo.cli import main as zoo
from behaviorzoo.embeddings import open_embeddings, save_embeddings
from behaviorzoo.labels import dense_labels, read_labels
from behaviorzoo.probes import ProbeSettings, probe
from behaviorzoo.probes.protocol import plan_probe
from hieras_eval import custom, tables
from hieras_eval.cli import main

LENGTHS = {"day_1": 120, "day_2": 90, "day_3": 150, "day_4": 100, "day_5": 130, "day_6": 110}
FIRST = 155  # frames of a source need not start at 0
SEEDS = (41, 42, 43)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two levels of six recordings; frame labels, labels of recordings, and a number."""
    folder = tmp_path_factory.mktemp("custom")
    rng = np.random.default_rng(0)
    rows, arrays = [], {}
    for index, (name, n) in enumerate(LENGTHS.items()):
        acts = np.repeat(rng.integers(0, 3, n // 5 + 1), 5)[:n]
        for start in range(0, n, 5):
            label = ("rest", "walk", "groom")[acts[start]]
            if start != 10:  # a gap without a label
                rows.append((name, "act", FIRST + start, FIRST + min(start + 5, n), label))
            speed = f"{acts[start] / 4 + 0.25 * (start % 2)}"
            rows.append((name, "speed", FIRST + start, FIRST + min(start + 5, n), speed))
        rows.append((name, "sex", "", "", "f" if index % 2 else "m"))
        fine = rng.normal(size=(n, 4)) + 2.0 * np.eye(4)[acts]
        coarse = rng.normal(size=(n, 3)) + 1.5 * (index % 2)
        arrays[name] = (
            FIRST,
            {"fine": fine.astype(np.float32), "coarse": coarse.astype(np.float32)},
        )
    save_embeddings(folder / "e.nc", arrays)
    table = pd.DataFrame(rows, columns=["recording", "task", "start", "stop", "label"])
    table.to_csv(folder / "labels.csv", index=False)
    return folder


def words(files: Path, out: Path, *more: str) -> list[str]:
    data = ["--embeddings", str(files / "e.nc"), "--labels", str(files / "labels.csv")]
    return ["run", "--task", "custom", *data, "--output-dir", str(out), *more]


@pytest.fixture(scope="module")
def results(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results") / "probe"
    assert main(words(files, out, "--folds", "3", "--regression", "speed")) == 0
    return out


def test_all_files_are_there(results: Path) -> None:
    levels = ("fine", "coarse", "combined")
    assert sorted(path.name for path in results.iterdir()) == sorted(
        [
            "custom-levels.png",
            "custom-results.json",
            "custom-scores.csv",
            "predictions.csv",
            "probe.json",
            "scores.csv",
            *(f"custom-round-1--submission_{level}.csv" for level in levels),
        ]
    )
    tidy = tables.read_tidy(results / "custom-scores.csv")
    # Levels in the order of the file, groups from the shortest bouts to whole recordings.
    assert tidy["level"].unique().tolist() == list(levels)
    assert tidy["group"].unique().tolist() == ["act", "speed", "sex"]


def slow_scores(files: Path, level: str, task: str, label: str, alpha: float) -> dict[str, float]:
    """F1 of one class with scikit-learn, recording by recording."""
    labels = read_labels(files / "labels.csv")
    with open_embeddings(files / "e.nc") as file:
        names = file.recordings
        plan = plan_probe([custom.FrameMatrix("", [file])], labels, ProbeSettings(folds=3))
        parts = file.levels if level == "combined" else [level]
        x = {n: np.concatenate([file.read(part, n) for part in parts], axis=1) for n in names}
    truth = {}
    for name, n in LENGTHS.items():
        codes, classes = dense_labels(labels, name, task, FIRST, n)
        truth[name] = np.where(codes < 0, -1, codes == classes.index(label))
    predicted: dict[str, list[np.ndarray]] = {"any": [], "majority": []}
    single: list[list[np.ndarray]] = [[] for _ in SEEDS]
    wanted = []
    for train, test in plan.split.rounds:
        training = [n for n in names if any(n in plan.split.cells[c] for c in train)]
        tested = [n for n in names if any(n in plan.split.cells[c] for c in test)]
        votes = []
        for s, seed in enumerate(SEEDS):
            order = np.random.RandomState(seed).permutation(len(training))
            fit = [training[i] for i in order[math.ceil(0.25 * len(training)) :]]
            rows = np.concatenate([x[n] for n in fit]).astype(float)
            y = np.concatenate([truth[n] for n in fit])
            model = RidgeClassifier(alpha=alpha, class_weight="balanced")
            model.fit(rows[y >= 0], y[y >= 0])
            votes.append(model.predict(np.concatenate([x[n] for n in tested]).astype(float)))
            single[s].append(votes[-1])
        predicted["any"].append(np.max(votes, axis=0))
        predicted["majority"].append((np.mean(votes, axis=0) > 0.5).astype(int))
        wanted.append(np.concatenate([truth[n] for n in tested]))
    y = np.concatenate(wanted)

    def score(parts: list[np.ndarray]) -> float:
        return float(f1_score(y[y >= 0], np.concatenate(parts)[y >= 0]))

    seeds = {str(seed): score(parts) for seed, parts in zip(SEEDS, single, strict=True)}
    return {vote: score(parts) for vote, parts in predicted.items()} | seeds


@pytest.mark.parametrize(
    ("level", "task", "label", "alpha"),
    [("fine", "act", "walk", 1.0), ("combined", "act", "rest", 0.1), ("coarse", "sex", "f", 5.0)],
)
def test_scores_equal_a_slow_loop_over_scikit_learn(
    files: Path, results: Path, level: str, task: str, label: str, alpha: float
) -> None:
    tidy = tables.read_tidy(results / "custom-scores.csv")
    rows = tidy[
        (tidy["level"] == level)
        & (tidy["task"] == f"{task}:{label}")
        & (tidy["penalty"] == alpha)
        & (tidy["pooled"] == "no")
        & (tidy["part"] == "private")
    ]
    wanted = slow_scores(files, level, task, label, alpha)
    for vote in ("any", "majority"):
        assert rows.loc[rows["vote"] == vote, "value"].item() == pytest.approx(wanted[vote])
    if alpha == 1.0:
        for seed in map(str, SEEDS):
            assert rows.loc[rows["seed"] == seed, "value"].item() == pytest.approx(wanted[seed])


def test_regression_equals_the_mean_of_ridge_regressions(files: Path, results: Path) -> None:
    labels = read_labels(files / "labels.csv")
    with open_embeddings(files / "e.nc") as file:
        plan = plan_probe([custom.FrameMatrix("", [file])], labels, ProbeSettings(folds=3))
        x = {name: file.read("fine", name).astype(float) for name in file.recordings}
    truth = {}
    for name, n in LENGTHS.items():
        codes, classes = dense_labels(labels, name, "speed", FIRST, n)
        truth[name] = np.array([*map(float, classes)])[codes]
    errors = []
    for train, test in plan.split.rounds:
        training = [n for n in x if any(n in plan.split.cells[c] for c in train)]
        for name in (n for c in test for n in plan.split.cells[c]):
            outputs = []
            for seed in SEEDS:
                order = np.random.RandomState(seed).permutation(len(training))
                fit = [training[i] for i in order[math.ceil(0.25 * len(training)) :]]
                model = Ridge(alpha=1.0).fit(
                    np.concatenate([x[n] for n in fit]), np.concatenate([truth[n] for n in fit])
                )
                outputs.append(model.predict(x[name]))
            errors.append((np.mean(outputs, axis=0) - truth[name]) ** 2)
    authors = tables.read_authors(results / "custom-round-1--submission_fine.csv")
    row = authors[authors["Task ID"] == "speed"]
    assert row["Metric"].item() == "mean_mse"
    assert row["Private Score"].item() == pytest.approx(np.concatenate(errors).mean())


def test_labels_of_whole_recordings_are_pooled(results: Path) -> None:
    authors = tables.read_authors(results / "custom-round-1--submission_coarse.csv")
    authors = authors.set_index("Task ID")
    assert bool(authors.loc["sex:f", "Sequence Level Task"])
    assert 0 <= authors.loc["sex:f", "Pooled Score"] <= 1
    assert authors.loc["act:walk", "Pooled Score"] == -1


def test_the_majority_votes_by_default_and_any_seed_where_asked(
    files: Path, results: Path, tmp_path: Path
) -> None:
    options = ["--folds", "3", "--regression", "speed", "--compat", "upstream"]
    assert main(words(files, tmp_path, *options)) == 0
    tidy = tables.read_tidy(results / "custom-scores.csv")
    chosen = (tidy["part"] == "private") & (tidy["pooled"] == "no") & (tidy["penalty"] == 1.0)
    for folder, vote in ((results, "majority"), (tmp_path, "any")):
        authors = tables.read_authors(folder / "custom-round-1--submission_fine.csv")
        rows = tidy[chosen & (tidy["vote"] == vote) & (tidy["level"] == "fine")]
        own = authors.set_index("Task ID").loc[rows["task"], "Private Score"]
        assert own.tolist() == rows["value"].tolist()


def test_the_probe_folder_is_the_one_of_the_core(files: Path, results: Path) -> None:
    labels = read_labels(files / "labels.csv")
    settings = ProbeSettings(tasks=("act", "speed", "sex"), regression=("speed",), folds=3)
    wanted = probe([files / "e.nc"], labels, settings)
    found = pd.read_csv(results / "scores.csv")
    assert found["value"].to_numpy() == pytest.approx(wanted.scores["value"].to_numpy())
    assert json.loads((results / "probe.json").read_text())["test"] == wanted.details["test"]


def test_the_report_of_the_core_shows_the_ethograms(
    files: Path, results: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    data = ["--labels", str(files / "labels.csv"), "--probe", str(results)]
    assert zoo(["report", *data, "--out", str(page)]) == 0
    text = page.read_text()
    assert "Labels against predictions" in text
    assert "Ethogram of task act" in text


def test_our_report_shows_the_tasks_as_groups(results: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert main(["report", str(results), "--out", str(page)]) == 0
    text = page.read_text()
    for part in ("act:walk", "fine", "coarse", "majority", "combined"):
        assert part in text
    assert "private" not in text


def test_two_runs_give_the_same_bytes(files: Path, results: Path, tmp_path: Path) -> None:
    assert main(words(files, tmp_path, "--folds", "3", "--regression", "speed")) == 0
    for path in results.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_the_same_settings_are_not_evaluated_again(
    files: Path, results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hieras_eval.custom_run._evaluate", None)
    argv = words(files, results, "--folds", "3", "--regression", "speed")
    assert main(argv) == 0
    assert "evaluated before" in capsys.readouterr().err
    assert main(words(files, results, "--folds", "2", "--regression", "speed")) == 2
    assert "folds (3, now 2)" in capsys.readouterr().err


def test_the_files_of_another_probe_are_not_replaced(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scores.csv").write_text("of behaviorzoo probe\n")
    assert main(words(files, tmp_path)) == 2
    assert "scores.csv" in capsys.readouterr().err
    assert (tmp_path / "scores.csv").read_text() == "of behaviorzoo probe\n"


def test_every_recording_is_read_once(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from behaviorzoo.probes.inputs import Features

    read: list[str] = []
    original = Features.read

    def counting(self: Features, recording: str, step: int = 1) -> np.ndarray:
        read.append(recording)
        return original(self, recording, step)

    monkeypatch.setattr(Features, "read", counting)
    assert main(words(files, tmp_path)) == 0
    assert sorted(read) == sorted(LENGTHS)


def test_little_memory_changes_nothing(
    files: Path, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Features in a temporary file, and the rounds fitted one after the other.
    monkeypatch.setattr(custom, "_ROOM", 1)
    assert main(words(files, tmp_path, "--folds", "3", "--regression", "speed")) == 0
    name = "custom-round-1--submission_combined.csv"
    few, many = (tables.read_authors(folder / name) for folder in (tmp_path, results))
    pd.testing.assert_frame_equal(few, many, rtol=1e-9)


def test_named_test_recordings_and_levels(files: Path, tmp_path: Path) -> None:
    options = ["--test", "day_2", "day_4", "--levels", "fine", "--tasks", "act"]
    assert main(words(files, tmp_path, *options)) == 0
    tidy = tables.read_tidy(tmp_path / "custom-scores.csv")
    assert tidy["level"].unique().tolist() == ["fine"]
    assert tidy["task"].unique().tolist() == ["act:groom", "act:rest", "act:walk"]
    labels = read_labels(files / "labels.csv")
    n = sum(
        int((dense_labels(labels, name, "act", FIRST, LENGTHS[name])[0] >= 0).sum())
        for name in ("day_2", "day_4")
    )
    private = tidy[(tidy["part"] == "private") & (tidy["pooled"] == "no")]
    assert private["n_frames"].unique().tolist() == [n]
    details = json.loads((tmp_path / "probe.json").read_text())
    assert details["test"] == [["day_2", "day_4"]]


def test_a_class_of_one_recording_is_degenerate_and_said_to_be(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(files / "labels.csv", dtype=str, keep_default_na=False)
    chosen = (table["recording"] == "day_3") & (table["task"] == "act")
    table.loc[table.index[chosen][:3], "label"] = "bite"
    path = tmp_path / "labels.csv"
    table.to_csv(path, index=False)
    out = tmp_path / "out"
    data = ["--embeddings", str(files / "e.nc"), "--labels", str(path), "--tasks", "act"]
    assert main(["run", "--task", "custom", *data, "--output-dir", str(out)]) == 0
    text = capsys.readouterr().out
    assert "'act:bite' is degenerate" in text
    assert "no positive in training" in text
    assert "'act:walk'" not in text
    authors = tables.read_authors(out / "custom-round-1--submission_fine.csv")
    assert authors.set_index("Task ID").loc["act:bite", "Private Score"] == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--test", "day_9"], "day_9"),
        (["--folds", "9"], "9 folds"),
        (["--levels", "fines"], "did you mean 'fine'"),
        (["--tasks", "acts"], "did you mean 'act'"),
        (["--baseline", "hand"], "--recordings"),
        (["--submission", "a.npy"], "--submission"),
        (["--training-size", "5"], "too few"),
        (["--test", "day_1", "--folds", "2"], "not allowed with"),
    ],
)
def test_mistakes_get_one_line(
    files: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    said: str,
) -> None:
    assert main(words(files, tmp_path / "out", *more)) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_hand_features_stand_beside_the_levels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    assert zoo(["synth", "--out", str(data), "--recordings", "4", "--frames", "400"]) == 0
    features = str(tmp_path / "e.nc")
    recordings = str(data / "recordings")
    assert zoo(["features", recordings, "--out", features, "--windows", "5"]) == 0
    argv = ["run", "--task", "custom", "--embeddings", features]
    argv += ["--labels", str(data / "labels.csv"), "--tasks", "activity", "--folds", "2"]
    argv += ["--output-dir", str(tmp_path / "probe")]
    assert main([*argv, "--baseline", "hand", "--recordings", recordings]) == 0
    assert "hand features" in capsys.readouterr().out
    tidy = tables.read_tidy(tmp_path / "probe" / "custom-scores.csv")
    assert tidy["level"].unique().tolist() == ["hand", "hand features"]
    scores = pd.read_csv(tmp_path / "probe" / "scores.csv")
    assert "hand features" in set(scores["baseline"])
    page = tmp_path / "page.html"
    assert main(["report", str(tmp_path / "probe"), "--out", str(page)]) == 0
    assert "baseline: hand features" in page.read_text()
    lost = [*argv[:-2], "--output-dir", str(tmp_path / "other"), "--baseline", "hand"]
    assert main([*lost, "--recordings", f"{recordings}/synthetic_000.nc"]) == 2
    assert "synthetic_001" in capsys.readouterr().err
