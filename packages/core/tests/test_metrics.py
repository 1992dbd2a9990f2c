"""Scores against scikit-learn and against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from behaviorzoo import metrics

CODES = st.integers(1, 60).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 4), min_size=n, max_size=n),
        st.lists(st.integers(0, 4), min_size=n, max_size=n),
    )
)


@settings(max_examples=60, deadline=None)
@given(CODES)
@pytest.mark.filterwarnings("ignore:.*y_pred contains classes")
def test_scores_equal_scikit_learn(codes):
    truth, predicted = map(np.array, codes)
    labels = range(6)  # class 5 never occurs
    confusion = metrics.confusion_matrix(truth, predicted, 6)
    np.testing.assert_array_equal(
        confusion, reference.confusion_matrix(truth, predicted, labels=labels)
    )
    precision, recall, f1, _ = reference.precision_recall_fscore_support(
        truth, predicted, labels=labels, zero_division=0
    )
    scores = metrics.class_scores(confusion)
    np.testing.assert_allclose(scores.precision, precision, atol=1e-15)
    np.testing.assert_allclose(scores.recall, recall, atol=1e-15)
    np.testing.assert_allclose(scores.f1, f1, atol=1e-15)
    assert metrics.accuracy(confusion) == pytest.approx(reference.accuracy_score(truth, predicted))
    assert metrics.balanced_accuracy(confusion) == pytest.approx(
        reference.balanced_accuracy_score(truth, predicted)
    )
    assert metrics.macro_f1(confusion) == pytest.approx(
        reference.f1_score(truth, predicted, average="macro", zero_division=0)
    )


def test_confusion_counts_by_hand_and_leaves_out_the_unlabelled():
    truth, predicted = [0, 0, 1, -1, 2, 2], [0, 1, 1, 2, 2, 0]
    expected = np.zeros((3, 3), int)
    for row, column in zip(truth, predicted, strict=True):
        if row >= 0:
            expected[row, column] += 1
    got = metrics.confusion_matrix(np.array(truth), np.array(predicted), 3)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("truth", "predicted"), [([0, 1], [0]), ([0, 3], [0, 0]), ([0, 1], [0, 3]), ([0, 1], [0, -1])]
)
def test_confusion_refuses_what_it_would_count_wrongly(truth, predicted):
    with pytest.raises(ValueError, match="must be"):
        metrics.confusion_matrix(np.array(truth), np.array(predicted), 3)


def test_no_frames_score_zero():
    confusion = np.zeros((2, 2), int)
    assert metrics.accuracy(confusion) == 0
    assert metrics.balanced_accuracy(confusion) == 0
    assert metrics.macro_f1(confusion) == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_binary_f1_of_many_tasks_equals_one_by_one(seed):
    rng = np.random.default_rng(seed)
    truth, predicted = rng.random((2, 3, 5, 20)) < rng.random((3, 5, 1)) * 0.3
    got = metrics.binary_f1(truth, predicted)
    assert got.shape == (3, 5)
    for index in np.ndindex(3, 5):
        wanted = reference.f1_score(truth[index], predicted[index], zero_division=0)
        assert got[index] == pytest.approx(wanted)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40))
def test_regression_scores_equal_scikit_learn(seed, n):
    truth, predicted = np.random.default_rng(seed).normal(size=(2, n))
    assert metrics.r2_score(truth, predicted) == pytest.approx(reference.r2_score(truth, predicted))
    assert metrics.mean_squared_error(truth, predicted) == pytest.approx(
        reference.mean_squared_error(truth, predicted)
    )


def test_r2_of_a_constant_truth():
    assert metrics.r2_score(np.ones(3), np.ones(3)) == 1
    assert metrics.r2_score(np.ones(3), np.zeros(3)) == 0


@pytest.mark.parametrize(("guessed", "true"), [(0.3, 0.1), (0.5, 0.5), (1.0, 0.2)])
def test_chance_f1_is_what_random_guesses_reach(guessed, true):
    rng = np.random.default_rng(0)
    truth = rng.random(400_000) < true
    guess = rng.random(400_000) < guessed
    assert metrics.chance_f1(guessed, true) == pytest.approx(
        float(metrics.binary_f1(truth, guess)), abs=4e-3
    )


def test_chance_f1_of_what_is_never_true_or_never_guessed_is_zero():
    np.testing.assert_array_equal(metrics.chance_f1([0.0, 0.0, 0.2], [0.0, 0.3, 0.0]), 0)
