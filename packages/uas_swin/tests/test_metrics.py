"""Scores against slow implementations that can be read at a glance, and against scikit-learn."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, balanced_accuracy_score

from behaviorzoo.errors import UserError
from uas_swin import metrics
from uas_swin.metrics import evaluate


@st.composite
def predictions(draw, ties=True):
    """Scores (n, C), class ids (n,) and label vectors (n, C)."""
    n, n_classes = draw(st.integers(1, 30)), draw(st.integers(2, 7))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = rng.random((n, n_classes), dtype=np.float32)
    if ties and draw(st.booleans()):
        scores = np.round(scores, 1)
    present = rng.choice(n_classes, size=draw(st.integers(1, n_classes)), replace=False)
    truth = (rng.random((n, n_classes)) < 0.3).astype(np.float32)
    return scores, rng.choice(present, size=n), truth


def slow_average_precision(scores, truth):
    """Threshold by threshold, from the highest score down."""
    total, before, area = sum(truth.tolist()), 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        taken = [t for s, t in zip(scores.tolist(), truth.tolist(), strict=True) if s >= threshold]
        recall = sum(taken) / total if total else math.nan
        area += (recall - before) * sum(taken) / len(taken)
        before = recall
    return area


def slow_mean_class_accuracy(predicted, labels, only_true):
    classes = set(labels.tolist()) | (set() if only_true else set(predicted.tolist()))
    shares = []
    for label in classes:
        own = predicted[labels == label]
        shares.append(np.mean(own == label) if len(own) else 0.0)
    return np.mean(shares)


@settings(max_examples=30, deadline=None)
@given(predictions())
def test_average_precision_is_that_of_the_slow_loop_and_of_scikit_learn(data):
    scores, _, truth = data
    each = metrics.average_precisions(scores, truth)
    for column in range(scores.shape[1]):
        expected = slow_average_precision(scores[:, column], truth[:, column])
        np.testing.assert_allclose(each[column], expected, atol=1e-12, equal_nan=True)
        if truth[:, column].any():
            theirs = average_precision_score(truth[:, column], scores[:, column])
            assert each[column] == pytest.approx(theirs, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(predictions())
def test_the_area_of_the_curve_is_the_average_precision(data):
    scores, _, truth = data
    for column in range(scores.shape[1]):
        if not truth[:, column].any():
            continue
        curve = metrics.precision_recall_curve(scores[:, column], truth[:, column])
        assert (np.diff(curve.recall) <= 0).all()
        assert (np.diff(curve.thresholds) > 0).all()
        assert curve.recall[0] == 1
        area = -(np.diff(curve.recall) * curve.precision[:-1]).sum()
        ours = metrics.average_precisions(scores, truth)[column]
        assert area == pytest.approx(ours, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(predictions(), st.integers(1, 8))
def test_top_k_without_ties_counts_larger_scores(data, k):
    scores, labels, truth = data
    scores = scores + np.arange(scores.size, dtype=np.float64).reshape(scores.shape) * 1e-9
    expected = np.mean([(row > row[c]).sum() < k for row, c in zip(scores, labels, strict=True)])
    for compat in ("upstream", "corrected"):
        assert metrics.top_k_accuracy(scores, labels, k, compat) == pytest.approx(expected)
        any_true = [
            any((row > row[c]).sum() < k for c in np.flatnonzero(t))
            for row, t in zip(scores, truth, strict=True)
        ]
        if compat == "corrected":
            any_true = [a for a, t in zip(any_true, truth, strict=True) if t.any()]
        if any_true:
            ours = metrics.micro_top_k_accuracy(scores, truth, k, compat)
            assert ours == pytest.approx(np.mean(any_true))


@settings(max_examples=30, deadline=None)
@given(predictions(), st.integers(1, 4))
def test_corrected_top_k_takes_the_smallest_ids_of_equal_scores(data, k):
    scores, labels, _ = data
    inside = metrics.in_top_k(scores, k, "corrected")
    for row, taken in zip(scores, inside, strict=True):
        order = sorted(range(len(row)), key=lambda c, row=row: (-row[c], c))
        assert set(np.flatnonzero(taken)) == set(order[:k])
    micro, _ = metrics.micro_macro_accuracy(scores, labels, "corrected")
    assert metrics.top_k_accuracy(scores, labels, 1, "corrected") == micro


@settings(max_examples=30, deadline=None)
@given(predictions())
def test_mean_class_accuracy(data):
    scores, labels, _ = data
    predicted = scores.argmax(1)
    upstream = metrics.mean_class_accuracy(scores, labels)
    corrected = metrics.mean_class_accuracy(scores, labels, "corrected")
    assert upstream == pytest.approx(slow_mean_class_accuracy(predicted, labels, False))
    assert corrected == pytest.approx(slow_mean_class_accuracy(predicted, labels, True))
    assert upstream <= corrected + 1e-12
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *a, **k: None)  # classes only predicted
        assert corrected == pytest.approx(balanced_accuracy_score(labels, predicted))


def test_predicting_a_class_that_never_occurs_lowers_the_original_mean():
    scores = np.array([[0.9, 0.1, 0], [0.1, 0.9, 0], [0, 0.2, 0.8]])
    labels = np.array([0, 1, 1])
    assert metrics.mean_class_accuracy(scores, labels) == pytest.approx((1 + 0.5 + 0) / 3)
    assert metrics.mean_class_accuracy(scores, labels, "corrected") == pytest.approx(0.75)


def test_the_confusion_matrix_has_the_ids_that_occur():
    confusion = metrics.confusion_matrix(np.array([5, 2, 5]), np.array([2, 2, 9]))
    assert confusion.labels.tolist() == [2, 5, 9]
    assert confusion.counts.tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 0]]


@settings(max_examples=30, deadline=None)
@given(predictions())
def test_mmit_is_the_mean_over_samples(data):
    scores, _, truth = data
    each = [slow_average_precision(s, t) for s, t in zip(scores, truth, strict=True)]
    upstream = metrics.mmit_mean_average_precision(scores, truth)
    np.testing.assert_allclose(upstream, np.mean(each), atol=1e-12, equal_nan=True)
    kept = [value for value in each if not math.isnan(value)]
    corrected = metrics.mmit_mean_average_precision(scores, truth, "corrected")
    np.testing.assert_allclose(
        corrected, np.mean(kept) if kept else math.nan, atol=1e-12, equal_nan=True
    )


@settings(max_examples=30, deadline=None)
@given(predictions(), st.integers(1, 3))
def test_macro_top_k_is_the_mean_over_classes_with_samples(data, k):
    scores, labels, _ = data
    truth = np.eye(scores.shape[1])[labels]
    inside = metrics.in_top_k(scores, k, "corrected")
    shares = [inside[labels == label, label].mean() for label in np.unique(labels)]
    assert metrics.macro_top_k_accuracy(scores, truth, k) == pytest.approx(np.mean(shares))


@settings(max_examples=30, deadline=None)
@given(predictions(), st.randoms())
def test_the_order_of_the_samples_does_not_matter(data, random):
    scores, labels, truth = data
    order = list(range(len(labels)))
    random.shuffle(order)
    names = ("top_k_accuracy", "mean_class_accuracy", "micro_macro_accuracy")
    single = evaluate(scores, labels, (*names, "mean_average_precision"), compat="corrected")
    again = evaluate(
        scores[order], labels[order], (*names, "mean_average_precision"), compat="corrected"
    )
    assert single.scores == pytest.approx(again.scores, nan_ok=True)
    several = evaluate(scores, truth, metrics.METRICS[2:4], compat="corrected").scores
    shuffled = evaluate(scores[order], truth[order], metrics.METRICS[2:4], compat="corrected")
    assert several == pytest.approx(shuffled.scores, nan_ok=True)


def test_an_evaluation_has_names_counts_and_a_confusion_matrix(tmp_path):
    scores = np.array([[0.9, 0.1, 0], [0.8, 0.2, 0], [0.1, 0.2, 0.7]])
    result = evaluate(scores, [0, 1, 2], topk=(1, 2), class_names=["sit", "stand up", "walk"])
    assert result.scores == pytest.approx({"top1": 2 / 3, "top2": 1.0, "mean1": 2 / 3})
    assert result.class_counts.tolist() == [1, 1, 1]
    assert result.class_recall.tolist() == [1, 0, 1]
    assert result.confusion is not None
    assert result.confusion.tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 1]]
    assert "stand up        1   0.000" in result.table()
    report, confusion = result.write(tmp_path)
    content = json.loads(report.read_text())
    assert content["classes"] == ["sit", "stand up", "walk"]
    assert content["scores"]["top2"] == 1.0
    rows = list(csv.reader(confusion.read_text().splitlines()))
    assert rows[0] == ["true \\ predicted", "sit", "stand up", "walk", "samples"]
    assert rows[2] == ["stand up", "1", "0", "0", "1"]


def test_a_class_without_samples_has_no_recall(tmp_path):
    result = evaluate(np.eye(3)[[0, 2]], [0, 2])
    assert math.isnan(result.class_recall[1])
    assert json.loads(result.write(tmp_path)[0].read_text())["class_recall"] == [1.0, None, 1.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metrics": ["top_k_acuracy"]}, "did you mean 'top_k_accuracy'"),
        ({"metrics": ["macro_top_k_accuracy"]}, "always fails in the original"),
        ({"metrics": ["mean_average_precision"]}, "needs num_classes"),
        ({"labels": [0, 3]}, "label 3 is out of range"),
        ({"labels": [0, -1]}, "label -1 is out of range"),
        ({"labels": [0]}, "do not fit scores"),
        ({"labels": np.zeros((2, 2))}, "do not fit scores"),
        ({"labels": np.eye(3)[:2]}, "one class per sample.* take mean_average_precision, mmit"),
        ({"scores": np.array([[0, 1, 0], [0, np.nan, 1]])}, "1 of 2 samples are not numbers"),
        ({"class_names": ["a"]}, "1 class names, but the network has 3"),
        ({"compat": "upstraem"}, "did you mean 'upstream'"),
        ({"scores": np.zeros((0, 3)), "labels": []}, "nothing to evaluate"),
    ],
)
def test_what_cannot_be_evaluated_is_said(arguments, message):
    values = {"scores": np.eye(3)[:2], "labels": [0, 1]} | arguments
    with pytest.raises(UserError, match=message):
        evaluate(values.pop("scores"), values.pop("labels"), **values)


def test_corrected_metrics_work_on_single_labels_without_num_classes():
    scores = np.eye(3)[[0, 1, 2, 1]]
    result = evaluate(scores, [0, 1, 2, 2], metrics.METRICS, compat="corrected", topk=(1,))
    assert set(result.scores) == {
        *("top1", "mean1", "mean_average_precision", "mmit_mean_average_precision"),
        *("micro", "macro", "micro_top1", "macro_top1"),
    }
    assert all(math.isfinite(value) for value in result.scores.values())


@pytest.mark.parametrize("fields", [("pred_scores", "gt_labels"), ("pred_score", "gt_label")])
def test_the_evaluator_of_mmengine_gives_the_same(tmp_path, fields):
    from mmengine.registry import METRICS

    import uas_swin.metrics.evaluator  # noqa: F401  (registers it)

    rng = np.random.default_rng(0)
    scores, labels = rng.random((12, 4), dtype=np.float32), rng.integers(0, 4, 12)
    metric = METRICS.build({"type": "UasAccuracy", "topk": (1, 2), "out_dir": str(tmp_path)})
    metric.dataset_meta = {"classes": ["a", "b", "c", "d"], "num_classes": 4}
    for first in range(0, 12, 5):
        batch = [
            {fields[0]: {"item": torch.tensor(s)}, fields[1]: {"item": torch.tensor([c])}}
            for s, c in zip(scores[first : first + 5], labels[first : first + 5], strict=True)
        ]
        if fields[0] == "pred_score":  # mmaction2 1.2 has bare tensors
            batch = [{key: value["item"] for key, value in sample.items()} for sample in batch]
        metric.process(None, batch)
    values = metric.evaluate(12)
    expected = evaluate(scores, labels, topk=(1, 2)).scores
    assert values == pytest.approx({f"acc/{name}": value for name, value in expected.items()})
    assert metric.evaluation.class_names == ["a", "b", "c", "d"]
    assert json.loads((tmp_path / "evaluation.json").read_text())["classes"][0] == "a"


def test_the_evaluator_takes_samples_of_mmaction():
    from mmaction.structures import ActionDataSample

    from uas_swin.metrics.evaluator import UasAccuracy

    metric = UasAccuracy(["mean_average_precision"])
    metric.dataset_meta = {"num_classes": 3}
    for label, scores in (([1.0, 1.0, 0.0], [0.1, 0.9, 0.0]), ([0.0, 0.0, 1.0], [0.2, 0.1, 0.7])):
        sample = ActionDataSample()
        sample.set_gt_labels(torch.tensor(label))
        sample.set_pred_score(torch.tensor(scores))
        metric.process(None, [sample.to_dict()])
    expected = metrics.mean_average_precision(
        np.array([[0.1, 0.9, 0.0], [0.2, 0.1, 0.7]]), np.array([[1, 1, 0], [0, 0, 1]])
    )
    assert metric.evaluate(2) == pytest.approx({"acc/mean_average_precision": expected})
