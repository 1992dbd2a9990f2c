"""Figures of scores against slow, obvious ones."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behaviorzoo.errors import UserError
from sgear.ek_metrics import epic100_subsets, find_lists, many_shot_classes
from sgear.evaluate import COLUMNS, evaluate_scores, mean_over_folds, primary_metric
from sgear.evaluation_set import EvaluationSet
from sgear.marginalise import mapping_matrix, softmax, space_scores
from sgear.scores import accuracy_table, rank_true_classes


def slow_accuracy(scores, labels, classes=None):
    """Row by row, sorted, as RULSTM's and the original's helpers."""
    scores, labels = scores[labels >= 0], labels[labels >= 0]
    nan = math.nan
    if not len(labels):
        return [nan] * 4
    classes = set(range(labels.max() + 1)) if classes is None else classes
    order = [np.argsort(row, kind="stable")[::-1] for row in scores]
    rows = [at for at, label in enumerate(labels) if label in classes]
    top = [
        100 * np.mean([labels[at] in order[at][:k] for at in rows]) if rows else nan for k in (1, 5)
    ]
    present = sorted(classes & set(labels.tolist()))
    recalls = [
        100 * np.mean([labels[at] in order[at][:5] for at in rows if labels[at] == code])
        for code in present
    ]
    confusion = np.zeros((scores.shape[1],) * 2)
    for row, label in zip(scores, labels, strict=True):
        confusion[label, np.argmax(row)] += 1
    per_class = np.diag(confusion) / (confusion.sum(axis=1) + 1e-15)
    return [*top, np.mean(recalls) if recalls else nan, 100 * per_class.mean()]


@given(
    st.integers(0, 9999),
    st.integers(0, 25),
    st.integers(1, 9),
    st.booleans(),
    st.one_of(st.none(), st.sets(st.integers(0, 11), min_size=1)),
)
@settings(max_examples=60, deadline=None)
def test_figures_are_the_slow_ones(seed, items, classes, ties, chosen):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(items, classes))
    if ties:
        scores = np.round(scores)
    labels = rng.integers(-1, classes, size=items)
    found = accuracy_table(scores, labels, chosen)
    ours = [found.top1, found.top5, found.recall5, found.top1_class_mean]
    assert ours == pytest.approx(slow_accuracy(scores, labels, chosen), nan_ok=True)
    if chosen is None and found.recall5_per_class:
        assert list(found.recall5_per_class) == list(range(labels.max() + 1))
        shares = [v for v in found.recall5_per_class.values() if not math.isnan(v)]
        assert np.mean(shares) == pytest.approx(found.recall5)


@given(st.integers(0, 999))
@settings(max_examples=15, deadline=None)
def test_order_of_items_and_scale_of_scores_do_not_matter(seed):
    rng = np.random.default_rng(seed)
    scores, labels = rng.normal(size=(30, 8)), rng.permutation(30) % 8
    order = rng.permutation(30)
    assert accuracy_table(scores, labels) == accuracy_table(scores[order], labels[order])
    assert accuracy_table(scores, labels) == accuracy_table(3 * scores + 1, labels)


def test_unlabelled_items_are_dropped_and_counted():
    scores, labels = np.eye(4), np.array([0, -1, 2, -1])
    ranking = rank_true_classes(scores, labels)
    assert ranking.unlabelled == 2
    assert ranking.labels.tolist() == [0, 2]
    assert accuracy_table(scores, labels).top1 == 100


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (np.ones((2, 3)), [0, 3], "label 3, but there are 3 classes"),
        (np.ones((2, 3)), [0], r"scores \(2, 3\) and labels \(1,\)"),
        (np.array([[0.0, 1], [math.nan, 1]]), [0, 0], "item 1 are not numbers"),
        (np.ones((2, 0)), [0, 0], "expected"),
    ],
    ids=["label", "length", "nan", "no classes"],
)
def test_scores_that_cannot_be(scores, labels, message):
    with pytest.raises(UserError, match=message):
        rank_true_classes(scores, np.array(labels))


def test_a_verb_has_the_probability_of_its_actions():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5, 6)).astype(np.float32)
    verbs = np.array([0, 2, 2, 1, 0, -1])
    found = space_scores({"action": logits}, {("verb", "action"): mapping_matrix(verbs, 4)})
    probabilities = softmax(logits)
    expected = [[row[verbs == v].sum() for v in range(4)] for row in probabilities]
    assert list(found) == ["verb", "action"]
    np.testing.assert_allclose(found["verb"], expected)
    np.testing.assert_array_equal(found["action"], logits)
    own = space_scores({"action": logits, "verb": logits[:, :4]},
                       {("verb", "action"): mapping_matrix(verbs, 4)})  # fmt: skip
    np.testing.assert_array_equal(own["verb"], logits[:, :4])
    with pytest.raises(UserError, match="another list"):
        space_scores({"action": logits}, {("verb", "action"): mapping_matrix(verbs[:5])})


def items_with(version, folder=None, n=12):
    """Items whose scores are right for even rows and worst for odd ones."""
    verbs, nouns = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 2])
    action = np.resize(np.arange(4), n)
    table = pd.DataFrame(
        {
            "uid": np.arange(1, n + 1),
            "narration_id": [f"P01_{i}" for i in range(n)],
            "participant_id": [f"P{i % 2:02d}" for i in range(n)],
            "action_class": action,
            "verb_class": verbs[action],
            "noun_class": nouns[action],
        }
    )
    mappings = {
        ("verb", "action"): mapping_matrix(verbs),
        ("noun", "action"): mapping_matrix(nouns),
    }
    return EvaluationSet(table, {"action": {}}, mappings, version, lists=folder)


def some_scores(items, classes=7, seed=3):
    rng = np.random.default_rng(seed)
    return {space: rng.normal(size=(len(items.table), classes)) for space in ("verb", "action")}


def test_tail_and_unseen_by_narration_ids(tmp_path):
    items = items_with(0.2, tmp_path)
    for space in ("verb", "noun", "action"):
        (tmp_path / f"validation_tail_{space}s_ids.csv").write_text("P01_3\nP01_4\nelsewhere\n")
    (tmp_path / "validation_unseen_participants_ids.csv").write_text("P01_0\nP01_7\nP01_8\n")
    scores = some_scores(items)
    found = evaluate_scores(scores, items, heads=("action",)).metrics
    for name, rows in {"tail": [3, 4], "unseen": [0, 7, 8]}.items():
        for space in ("verb", "action"):
            labels = items.table[f"{space}_class"].to_numpy()[rows]
            expected = slow_accuracy(scores[space][rows], labels)[2]
            assert found[f"final_acc/{space}/AR5_{name}"] == pytest.approx(expected)
    assert math.isnan(found["final_acc/verb/AR5_manyshot"])  # no head of its own
    assert found["final_acc/action/AR5_manyshot"] == found["final_acc/action/AR5"]


def test_tail_and_unseen_by_the_lists_of_the_annotations(tmp_path):
    items = items_with(0.2, tmp_path)
    (tmp_path / "EPIC_100_tail_verbs.csv").write_text("verb\n2\n")
    (tmp_path / "EPIC_100_tail_nouns.csv").write_text("noun\n0\n")
    (tmp_path / "EPIC_100_unseen_participant_ids_validation.csv").write_text(
        "participant_id\nP01\n"
    )
    found = epic100_subsets(items.table, tmp_path)
    verb, noun = (items.table[f"{part}_class"].to_numpy() for part in ("verb", "noun"))
    assert found.masks["tail", "verb"].tolist() == (verb == 2).tolist()
    assert found.masks["tail", "action"].tolist() == ((verb == 2) | (noun == 0)).tolist()
    assert found.masks["unseen", "noun"].tolist() == [i % 2 == 1 for i in range(12)]
    assert not found.notes


def test_subsets_of_the_real_validation_set(real_data_dir):
    folder = real_data_dir / "epic100_annotations"
    if not (folder / "EPIC_100_validation.csv").exists():
        pytest.skip("no annotations of EPIC-100")
    table = pd.read_csv(folder / "EPIC_100_validation.csv")
    found = epic100_subsets(table, folder)
    counts = {key: int(mask.sum()) for key, mask in found.masks.items()}
    # 1,065 unseen segments is the published figure.
    assert {counts["unseen", space] for space in ("verb", "noun", "action")} == {1065}
    assert counts["tail", "action"] > max(counts["tail", "verb"], counts["tail", "noun"]) > 1000


def test_lists_that_are_absent_are_said(tmp_path):
    items = items_with(0.2, tmp_path)
    (tmp_path / "validation_tail_verbs_ids.csv").write_text("nobody\n")
    found = evaluate_scores(some_scores(items), items)
    assert "final_acc/verb/AR5_tail" not in found.metrics
    text = " ".join(found.notes)
    assert "no item is listed in validation_tail_verbs_ids.csv" in text
    assert "no validation_unseen_participants_ids.csv" in text
    missing = epic100_subsets(items.table, tmp_path / "nowhere")
    assert "no folder" in missing.notes[0]
    assert find_lists([None, "", tmp_path / "nowhere", tmp_path]) == tmp_path
    assert find_lists([tmp_path / "nowhere"]) is None


def test_many_shot_actions_have_a_many_shot_verb_or_noun(tmp_path):
    (tmp_path / "EPIC_many_shot_verbs.csv").write_text("verb_class,verb\n1,put\n")
    (tmp_path / "EPIC_many_shot_nouns.csv").write_text("noun_class,noun\n0,tap\n")
    items = items_with(0.1, tmp_path)
    shots = many_shot_classes(tmp_path, items.parts("verb"), items.parts("noun"))
    assert shots == {"verb": {1}, "noun": {0}, "action": {0, 2}}
    scores = some_scores(items)
    found = evaluate_scores(scores, items).metrics
    labels = items.table["action_class"].to_numpy()
    expected = slow_accuracy(scores["action"], labels, {0, 2})[2]
    assert found["final_acc/action/AR5_manyshot"] == pytest.approx(expected)
    (tmp_path / "EPIC_many_shot_nouns.csv").write_text("noun,klass\ntap,0\n")
    with pytest.raises(UserError, match=r"many_shot_nouns\.csv: no column 'noun_class'"):
        evaluate_scores(scores, items)


def test_printed_table_and_primary_metric():
    items = items_with(0.2)
    found = evaluate_scores(some_scores(items), items)
    lines = found.table.splitlines()
    assert lines[0].split("  ")[-1].strip() == COLUMNS["AR5_manyshot"]
    assert lines[-1].startswith("action")
    assert f"{found.metrics['final_acc/action/top5']:.1f}" in lines[-1]
    assert found.primary == "final_acc/action/AR5"
    assert primary_metric(-1.0) == primary_metric(0.1) == "final_acc/action/top1"
    items.table["action_class"] = items.table["verb_class"] = -1
    with pytest.raises(UserError, match="no item has a label"):
        evaluate_scores(some_scores(items), items)
    test_set = evaluate_scores(some_scores(items), items, may_lack_labels=True)
    assert (test_set.metrics, test_set.table) == ({}, "no labels, no figures")


def test_folds_are_averaged():
    parts = [items_with(0.0, n=n) for n in (8, 12)]
    found = [evaluate_scores(some_scores(p, seed=n), p) for n, p in enumerate(parts)]
    both = mean_over_folds(found)
    key = "final_acc/action/top1"
    assert both.metrics[key] == pytest.approx(np.mean([f.metrics[key] for f in found]))
    assert both.n_items == 20
    assert "mean over 2 folds" in both.notes
    with pytest.raises(UserError, match="no fold"):
        mean_over_folds([])
