"""``behaviorzoo probe`` end to end, against scikit-learn on the same frames."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as reference
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from behaviorzoo.cli import main
from behaviorzoo.embeddings import save_embeddings
from behaviorzoo.labels import from_dense, read_labels, write_labels
from behaviorzoo.probes import fitting, inputs
from behaviorzoo.recordings import make_recording, save_recording
from behaviorzoo.rolling import rolling_mean_std

NAMES = ("base", "chase", "rest")
WIDTHS = {"level_1": 4, "level_2": 3}
LENGTHS = {"r1": 120, "r2": 90, "r3": 150, "r4": 100, "r5": 80}
TEST = ["r2", "r4"]


class Study:
    """Embeddings in which the labels can be read with some noise, and the label table."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        mixing = {level: rng.normal(size=(3, width)) for level, width in WIDTHS.items()}
        self.first = {name: 100 * i for i, name in enumerate(LENGTHS)}
        self.act, self.pace, self.levels = {}, {}, {}
        for name, n in LENGTHS.items():
            act = np.repeat(rng.integers(0, 3, n // 10 + 1), 10)[:n]
            act[rng.random(n) < 0.05] = -1
            self.act[name] = act
            self.pace[name] = np.round(np.sin(np.arange(n) / 20) + act * 0.5, 3)
            signal = np.stack([act, self.pace[name], rng.normal(size=n)], axis=1)
            self.levels[name] = {
                level: (signal @ mixing[level] + rng.normal(size=(n, width)) + 5).astype(np.float32)
                for level, width in WIDTHS.items()
            }

    def write(self, folder, recordings=tuple(LENGTHS)):
        chosen = {name: (self.first[name], self.levels[name]) for name in recordings}
        return save_embeddings(folder / "e.nc", chosen)

    def labels(self, folder, recordings=tuple(LENGTHS), file="labels.csv"):
        tables = []
        for name in recordings:
            first = self.first[name]
            tables.append(from_dense(self.act[name], name, "act", first, NAMES))
            tables.append(from_dense(self.pace[name].astype(str), name, "pace", first))
        path = folder / file
        write_labels(pd.concat(tables, ignore_index=True), path)
        return path

    def matrix(self, recordings, level, every=1, context=()):
        parts = []
        for name in recordings:
            levels = WIDTHS if level == "combined" else [level]
            blocks = []
            for one in levels:
                values = self.levels[name][one]
                blocks.append(values)
                for window in context:
                    blocks += rolling_mean_std(values, window)
            parts.append(np.concatenate(blocks, axis=1)[::every])
        return np.concatenate(parts).astype(np.float64)

    def target(self, recordings, of="act", every=1):
        return np.concatenate([getattr(self, of)[name][::every] for name in recordings])


@pytest.fixture(scope="module")
def study() -> Study:
    return Study()


def run(study, folder, *options, embeddings=None, labels=None):
    embeddings = embeddings or [study.write(folder)]
    labels = labels or study.labels(folder)
    out = folder / "out"
    if "--tasks" not in options:
        options = (*options, "--tasks", "act")
    words = ["probe", "--embeddings", *embeddings, "--labels", labels, "--out", out, *options]
    code = main([str(word) for word in words])
    if code:
        return code
    scores = pd.read_csv(out / "scores.csv", keep_default_na=False)
    details = json.loads((out / "probe.json").read_text())
    return scores, read_labels(out / "predictions.csv"), details


def value(scores, level, metric, label="", task="act", column="value"):
    rows = scores[
        (scores["level"] == level)
        & (scores["metric"] == metric)
        & (scores["label"] == label)
        & (scores["task"] == task)
    ]
    assert len(rows) == 1
    return rows[column].item()


@pytest.mark.parametrize("context", [(), (5, 21)])
@pytest.mark.parametrize("every", [1, 3])
def test_scores_are_those_of_scikit_learn(study, tmp_path, every, context):
    options = ["--test", *TEST, "--alphas", "7", "--tasks", "act", "--every", every]
    options += ["--context", *context] if context else []
    scores, predictions, details = run(study, tmp_path, *options)
    train = [name for name in LENGTHS if name not in TEST]
    y, truth = study.target(train, every=every), study.target(TEST)
    known = truth >= 0
    for level in ("level_1", "level_2", "combined"):
        x = study.matrix(train, level, every, context)
        new = study.matrix(TEST, level, context=context)
        model = make_pipeline(StandardScaler(), RidgeClassifier(alpha=7, class_weight="balanced"))
        predicted = model.fit(x[y >= 0], y[y >= 0]).predict(new)
        got = (
            ("accuracy", reference.accuracy_score(truth[known], predicted[known])),
            ("macro F1", reference.f1_score(truth[known], predicted[known], average="macro")),
        )
        for metric, wanted in got:
            assert value(scores, level, metric) == pytest.approx(wanted, abs=1e-12)
        each = reference.f1_score(truth[known], predicted[known], average=None)
        binary = []
        for code, name in enumerate(NAMES):
            assert value(scores, level, "F1", name) == pytest.approx(each[code])
            model = make_pipeline(
                StandardScaler(), RidgeClassifier(alpha=7, class_weight="balanced")
            )
            alone = model.fit(x[y >= 0], y[y >= 0] == code).predict(new)
            binary.append(reference.f1_score(truth[known] == code, alone[known]))
            assert value(scores, level, "F1 (one-vs-rest)", name) == pytest.approx(binary[-1])
            assert value(scores, level, "F1", name, column="n_test") == (truth == code).sum()
            assert value(scores, level, "F1", name, column="n_train") == (y == code).sum()
        assert value(scores, level, "mean F1 (one-vs-rest)") == pytest.approx(np.mean(binary))
        # predictions.csv says the same, in the frames of the source
        start = 0
        for name in TEST:
            rows = predictions[(predictions["level"] == level) & (predictions["recording"] == name)]
            frames = np.concatenate(
                [
                    np.full(b - a, label)
                    for a, b, label in zip(rows["start"], rows["stop"], rows["label"], strict=True)
                ]
            )
            assert rows["start"].iloc[0] == study.first[name]
            wanted = np.array(NAMES)[predicted[start : start + LENGTHS[name]]]
            np.testing.assert_array_equal(frames, wanted)
            start += LENGTHS[name]
    assert details["test"] == [TEST]
    assert set(predictions["recording"]) == set(TEST)


def test_logistic_is_scikit_learns(study, tmp_path):
    scores, _, details = run(
        study, tmp_path, "--test", *TEST, "--estimator", "logistic", "--tasks", "act", "--every", 2
    )
    train = [name for name in LENGTHS if name not in TEST]
    y, truth = study.target(train, every=2), study.target(TEST)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(study.matrix(train, "level_1", 2)[y >= 0], y[y >= 0])
    predicted = model.predict(study.matrix(TEST, "level_1"))
    wanted = reference.f1_score(truth[truth >= 0], predicted[truth >= 0], average="macro")
    assert value(scores, "level_1", "macro F1") == pytest.approx(wanted, abs=5e-3)
    assert details["penalties"]["level_1"]["act"][0]["logistic"] == 1.0


def test_regression_is_ridge(study, tmp_path):
    options = ("--test", *TEST, "--alphas", 3, "--tasks", "pace", "--regression", "pace")
    scores, predictions, _ = run(study, tmp_path, *options)
    train = [name for name in LENGTHS if name not in TEST]
    model = make_pipeline(StandardScaler(), Ridge(alpha=3))
    model.fit(study.matrix(train, "level_2"), study.target(train, "pace"))
    predicted, truth = model.predict(study.matrix(TEST, "level_2")), study.target(TEST, "pace")
    wanted = reference.mean_squared_error(truth, predicted)
    assert value(scores, "level_2", "MSE", task="pace") == pytest.approx(wanted)
    assert value(scores, "level_2", "R2", task="pace") == pytest.approx(
        reference.r2_score(truth, predicted)
    )
    guess = np.full(len(truth), study.target(train, "pace").mean())
    assert value(scores, "level_2", "MSE", task="pace", column="baseline_value") == pytest.approx(
        reference.mean_squared_error(truth, guess)
    )
    assert predictions.empty


def test_folds_test_every_recording_and_choose_a_penalty_each(study, tmp_path):
    scores, predictions, details = run(study, tmp_path, "--folds", 3, "--tasks", "act")
    assert sorted(name for fold in details["test"] for name in fold) == sorted(LENGTHS)
    assert all(not set(a) & set(b) for a, b in zip(details["train"], details["test"], strict=True))
    assert set(predictions["recording"]) == set(LENGTHS)
    assert len(details["penalties"]["combined"]["act"]) == 3
    n_test = value(scores, "combined", "accuracy", column="n_test")
    assert n_test == (study.target(LENGTHS) >= 0).sum()
    # the labels are there to be found
    assert value(scores, "combined", "macro F1") > 0.5
    assert value(scores, "combined", "macro F1", column="baseline_value") < 0.4


@pytest.mark.parametrize("every", [1, 2])
def test_penalties_have_the_best_f1_on_left_out_training_recordings(study, tmp_path, every):
    alphas = (1, 30, 1000, 1e5)
    options = ("--test", *TEST, "--tasks", "act", "--every", every, "--alphas", *alphas)
    _, _, details = run(study, tmp_path, *options)
    assert details["settings"]["select"] == "score"
    train = [name for name in LENGTHS if name not in TEST]  # few: each is a fold of its own
    y = study.target(train, every=every)
    group = np.repeat(np.arange(len(train)), [-(-LENGTHS[name] // every) for name in train])
    known = y >= 0

    def left_out(x, target):
        """Predictions (A, n) of every recording by a model of the others."""
        predicted = np.zeros((len(alphas), len(x)), dtype=int)
        for a, alpha in enumerate(alphas):
            for g in range(len(train)):
                fit, new = known & (group != g), group == g
                ridge = RidgeClassifier(alpha=alpha, class_weight="balanced")
                model = make_pipeline(StandardScaler(), ridge).fit(x[fit], target[fit])
                predicted[a, new] = model.predict(x[new])
        return predicted[:, known]

    def best(scores):
        return max(
            a for a, score in zip(alphas, scores, strict=True) if score >= max(scores) - 1e-3
        )

    for level in ("level_1", "level_2", "combined"):
        x = study.matrix(train, level, every)
        (found,) = details["penalties"][level]["act"]
        macro = [reference.f1_score(y[known], p, average="macro") for p in left_out(x, y)]
        assert found["multi-class"] == best(macro)
        for code in range(len(NAMES)):
            binary = left_out(x, (y == code).astype(int))
            f1 = [reference.f1_score(y[known] == code, p == 1) for p in binary]
            assert found["one-vs-rest"][code] == best(f1)
        assert found["chosen by"] == {"one-vs-rest": ["score"] * 3, "multi-class": "score"}


def test_test_recordings_do_not_influence_the_penalties(study, tmp_path):
    other = Study(7)
    for name in LENGTHS:
        if name not in TEST:
            other.act[name], other.levels[name] = study.act[name], study.levels[name]
    penalties = []
    for number, one in enumerate((study, other)):
        folder = tmp_path / str(number)
        folder.mkdir()
        scores, _, details = run(one, folder, "--test", *TEST)
        penalties.append((details["penalties"], value(scores, "combined", "macro F1")))
    assert penalties[0][0] == penalties[1][0]
    assert penalties[0][1] != penalties[1][1]


def test_penalties_by_error_by_score_and_of_a_single_one(study, tmp_path, monkeypatch):
    passes = []

    def counted(*arguments, **options):
        passes.append(options["multi_class"])
        return score_left_out(*arguments, **options)

    score_left_out = fitting.score_left_out
    monkeypatch.setattr(fitting, "score_left_out", counted)

    def chosen(*options, task="act"):
        _, _, details = run(study, tmp_path, "--test", *TEST, *options)
        return details["penalties"]["level_1"][task][0]

    by_error = chosen("--select", "error")
    assert by_error["chosen by"] == {"one-vs-rest": ["error"] * 3, "multi-class": "error"}
    assert chosen("--alphas", 7) == {"one-vs-rest": [7.0] * 3, "multi-class": 7.0}
    pace = ("--tasks", "pace", "--regression", "pace")
    assert chosen(*pace, task="pace") == chosen(*pace, "--select", "error", task="pace")
    assert passes == []
    by_score = chosen()
    assert by_score["one-vs-rest"] != by_error["one-vs-rest"]
    logistic = chosen("--estimator", "logistic")
    assert logistic["one-vs-rest"] == by_score["one-vs-rest"]
    assert "multi-class" not in logistic["chosen by"]
    assert passes == [True, False]


def test_baselines_are_what_guesses_reach(study, tmp_path):
    scores, _, _ = run(study, tmp_path, "--test", *TEST, "--tasks", "act")
    train = study.target([name for name in LENGTHS if name not in TEST])
    truth = study.target(TEST)
    share = np.bincount(train[train >= 0]) / (train >= 0).sum()
    truth = truth[truth >= 0]
    majority = (truth == share.argmax()).mean()
    assert value(scores, "level_1", "accuracy", column="baseline_value") == pytest.approx(majority)
    guesses = np.random.default_rng(0).choice(3, size=(2000, len(truth)), p=share)
    each = [reference.f1_score(truth, g, average=None, labels=range(3)) for g in guesses[:200]]
    for code, name in enumerate(NAMES):
        got = value(scores, "level_1", "F1", name, column="baseline_value")
        assert got == pytest.approx(np.mean(each, axis=0)[code], abs=0.02)


def test_same_input_same_files(study, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for folder in ("a", "b"):
        run(study, tmp_path / folder, "--tasks", "act", "pace", "--regression", "pace")
    for name in ("scores.csv", "predictions.csv", "probe.json"):
        assert (tmp_path / "a/out" / name).read_bytes() == (tmp_path / "b/out" / name).read_bytes()


def test_levels_and_combination(study, tmp_path):
    def levels(*options):
        return set(run(study, tmp_path, "--tasks", "act", *options)[0]["level"])

    assert levels() == {"level_1", "level_2", "combined"}
    assert levels("--levels", "level_2") == {"level_2"}
    assert levels("--levels", "level_2", "--combine") == {"level_2", "combined"}
    assert levels("--levels", "combined") == {"combined"}


def test_levels_that_are_too_wide_are_not_combined_unasked(study, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(inputs, "WIDEST_COMBINED", 6)
    scores, _, details = run(study, tmp_path)
    assert set(scores["level"]) == {"level_1", "level_2"}
    assert "7 features together" in details["notes"][0]
    assert "note: the 2 levels" in capsys.readouterr().out
    separate = {level: value(scores, level, "macro F1") for level in WIDTHS}
    monkeypatch.undo()
    together, _, _ = run(study, tmp_path)
    assert separate == {level: value(together, level, "macro F1") for level in WIDTHS}


def test_parts_of_one_set_are_joined_and_other_sets_compared(study, tmp_path):
    whole, _, _ = run(study, tmp_path, "--tasks", "act", "--test", *TEST)
    parts = []
    for number, names in enumerate((["r1", "r2", "r3"], ["r4", "r5"])):
        (tmp_path / str(number)).mkdir()
        parts.append(study.write(tmp_path / str(number), names))
    joined, _, _ = run(study, tmp_path, "--tasks", "act", "--test", *TEST, embeddings=parts)
    pd.testing.assert_frame_equal(whole, joined)
    other = save_embeddings(
        tmp_path / "other.nc",
        {n: (study.first[n], {"level_1": study.levels[n]["level_1"]}) for n in LENGTHS},
    )
    both, _, _ = run(
        study, tmp_path, "--tasks", "act", "--test", *TEST, embeddings=[tmp_path / "e.nc", other]
    )
    assert set(both["level"]) == {"e/level_1", "e/level_2", "e/combined", "other/level_1"}
    assert value(both, "other/level_1", "macro F1") == value(both, "e/level_1", "macro F1")


def test_background_leaves_a_label_out_of_the_mean(study, tmp_path):
    options = ("--tasks", "act", "--test", *TEST, "--background")
    for words in (["base"], ["act:base"]):
        scores, _, _ = run(study, tmp_path, *options, *words)
        rest = [value(scores, "level_1", "F1 (one-vs-rest)", name) for name in NAMES[1:]]
        assert value(scores, "level_1", "mean F1 (one-vs-rest)") == pytest.approx(np.mean(rest))
    scores, _, _ = run(study, tmp_path, *options, "other:base")
    every = [value(scores, "level_1", "F1 (one-vs-rest)", name) for name in NAMES]
    assert value(scores, "level_1", "mean F1 (one-vs-rest)") == pytest.approx(np.mean(every))


def test_a_class_that_only_tests_scores_zero_and_a_lone_class_is_skipped(study, tmp_path):
    own = Study(3)
    for name in LENGTHS:
        if name not in TEST:
            own.act[name][own.act[name] == 2] = 0
    labels = own.labels(tmp_path)
    table = read_labels(labels)
    lone = table[table["task"] == "act"].assign(task="always", label="yes")
    write_labels(pd.concat([table, lone], ignore_index=True), labels)
    scores, predictions, details = run(
        own, tmp_path, "--test", *TEST, "--tasks", "act", "always", labels=labels
    )
    assert value(scores, "combined", "F1", "rest") == 0
    assert value(scores, "combined", "F1 (one-vs-rest)", "rest") == 0
    assert "rest" not in set(predictions["label"])
    assert details["notes"] == ["task always is not probed: 1 classes occur in the frames"]


def test_recordings_without_partner_are_reported(study, tmp_path, capsys):
    labels = study.labels(tmp_path, ["r1", "r2", "r3"])
    embeddings = study.write(tmp_path, ["r2", "r3", "r4", "r5"])
    scores, _, details = run(
        study, tmp_path, "--tasks", "act", embeddings=[embeddings], labels=labels
    )
    assert details["notes"] == [
        "2 recordings have embeddings but no labels and are left out: r4, r5",
        "1 recordings have labels but no embeddings and are left out: r1",
    ]
    assert "note: 2 recordings" in capsys.readouterr().out
    assert len(scores)


def test_hand_features_stand_as_a_baseline(study, tmp_path, capsys):
    rng = np.random.default_rng(0)
    for name, n in LENGTHS.items():
        position = rng.normal(size=(n, 2, 2, 1)).cumsum(axis=0)
        recording = make_recording(
            position,
            keypoints=["a", "b"],
            individuals=["m"],
            fps=30,
            name=name,
            first_frame=study.first[name],
        )
        save_recording(recording, tmp_path / "poses" / f"{name}.nc")
    options = ("--tasks", "act", "--test", *TEST)
    plain, _, _ = run(study, tmp_path, *options)
    scores, predictions, details = run(
        study, tmp_path, *options, "--baseline", "hand", "--recordings", tmp_path / "poses"
    )
    assert set(scores["baseline"]) == {"chance", "majority", "hand features"}
    assert set(scores["level"]) == set(plain["level"])
    hand = scores[scores["baseline"] == "hand features"]
    assert len(hand) == len(plain)
    assert "hand" in details["penalties"]
    assert set(predictions["level"]) == set(plain["level"])
    assert "hand features" in capsys.readouterr().out
    (tmp_path / "poses" / "r3.nc").unlink()
    code = run(study, tmp_path, *options, "--baseline", "hand", "--recordings", tmp_path / "poses")
    assert code == 2
    assert "'r3' is probed but not among them" in capsys.readouterr().err
    assert run(study, tmp_path, *options, "--baseline", "hand") == 2


def test_the_printed_table_names_levels_metrics_and_guess(study, tmp_path, capsys):
    scores, _, _ = run(study, tmp_path, "--tasks", "act", "--test", *TEST)
    printed = capsys.readouterr().out
    lines = {line.split()[0]: line for line in printed.splitlines() if line}
    assert "macro F1" in lines["act"]
    assert f"{value(scores, 'level_2', 'macro F1'):.3f}" in lines["level_2"]
    assert f"{value(scores, 'level_2', 'accuracy', column='baseline_value'):.3f}" in lines["guess"]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--test", "r22"], "'r22' has no embeddings and labels; did you mean"),
        (["--test", *LENGTHS], "no recording is left to train"),
        (["--folds", "9"], "9 folds of 5 recordings"),
        (["--tasks", "akt"], "no task 'akt'; did you mean 'act'"),
        (["--levels", "level1"], "no level 'level1'; did you mean 'level_1'"),
        (["--regression", "act"], "labels must be numbers"),
        (["--tasks", "pace"], "different numbers as labels; predict them with --regression pace"),
        (["--every", "0"], "--every 0"),
        (["--context", "0"], "--context 0"),
        (["--alphas", "0"], "larger than 0"),
        (["--test-file", "absent.txt"], "absent.txt: no such list"),
        (["--estimator", "forest"], "invalid choice"),
        (["--select", "scor"], "--select scor: penalties are chosen by score or by error; did you"),
    ],
)
def test_mistakes_end_with_one_line_and_code_2(study, tmp_path, capsys, options, match):
    assert run(study, tmp_path, *options) == 2
    error = capsys.readouterr().err
    assert match in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_no_overlap_and_too_few_recordings(study, tmp_path, capsys):
    labels = study.labels(tmp_path, ["r1", "r2"])
    other = study.write(tmp_path, ["r4", "r5"])
    assert run(study, tmp_path, embeddings=[other], labels=labels) == 2
    assert "no recording has both embeddings and labels" in capsys.readouterr().err
    one = study.write(tmp_path, ["r1"])
    assert run(study, tmp_path, embeddings=[one], labels=labels) == 2
    assert "at least 2 are needed" in capsys.readouterr().err


def test_test_recordings_from_a_file(study, tmp_path):
    (tmp_path / "test.txt").write_text("r2\n\n r4 \n")
    _, _, details = run(study, tmp_path, "--test-file", tmp_path / "test.txt", "--tasks", "act")
    assert details["test"] == [TEST]


def test_embeddings_with_missing_values_are_refused(study, tmp_path, capsys):
    values = {n: (study.first[n], dict(study.levels[n])) for n in LENGTHS}
    broken = values["r3"][1]["level_2"].copy()
    broken[4, 0] = np.nan
    values["r3"][1]["level_2"] = broken
    path = save_embeddings(tmp_path / "nan.nc", values, allow_missing=True)
    assert run(study, tmp_path, embeddings=[path]) == 2
    assert "recording 'r3', level_2: values that are not finite" in capsys.readouterr().err


def test_frames_that_disagree_between_files_are_refused(study, tmp_path, capsys):
    path = study.write(tmp_path)
    moved = {n: (study.first[n] + 1, {"other": study.levels[n]["level_1"]}) for n in LENGTHS}
    other = save_embeddings(tmp_path / "moved.nc", moved)
    assert run(study, tmp_path, embeddings=[path, other]) == 2
    assert "frames (first, number) are (1, 120)" in capsys.readouterr().err
    assert run(study, tmp_path, embeddings=[path, path]) == 2
    assert "given twice" in capsys.readouterr().err
