from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix as sklearn_confusion
from sklearn.metrics import f1_score
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from bams.readout_fitting import default_start, fit_classes, fit_values
from bams.readouts import read_classes, read_values, standardise, to_directions, weighted_f1
from behaviorzoo.errors import UserError

N, M, D = 90, 40, 6


def data(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scale = rng.uniform(0.5, 3, D)
    return tuple((rng.normal(size=(n, D)) * scale + 1).astype(np.float32) for n in (N, M))


def labels(x: np.ndarray, n_classes: int, seed: int) -> np.ndarray:
    """Classes that the features tell, with some noise."""
    rng = np.random.default_rng(seed)
    return (x @ rng.normal(size=(D, n_classes)) + rng.normal(size=n_classes)).argmax(axis=1)


def layer(start: tuple[np.ndarray, np.ndarray]) -> nn.Linear:
    made = nn.Linear(start[0].shape[1], start[0].shape[0])
    with torch.no_grad():
        made.weight.copy_(torch.from_numpy(start[0]))
        made.bias.copy_(torch.from_numpy(start[1]))
    return made


def slow_classifier(
    x: np.ndarray, codes: np.ndarray, start: tuple[np.ndarray, np.ndarray], steps: int
) -> nn.Linear:
    """One tag, every row by itself, PyTorch's own loss and gradient."""
    linear = layer(start)
    optimizer = torch.optim.AdamW(linear.parameters(), lr=1e-2, weight_decay=1e-3)
    kept = codes >= 0
    weights = torch.tensor([1 / (codes == code).sum() for code in codes[kept]])
    for _ in range(steps):
        optimizer.zero_grad()
        outputs = linear(torch.from_numpy(x[kept]))
        losses = cross_entropy(outputs, torch.from_numpy(codes[kept]), reduction="none")
        ((weights * losses).sum() / weights.sum()).backward()
        optimizer.step()
    return linear


def slow_regressor(
    x: np.ndarray, values: np.ndarray, start: tuple[np.ndarray, np.ndarray], steps: int
) -> nn.Linear:
    linear = layer(start).double()
    optimizer = torch.optim.AdamW(linear.parameters(), lr=1e-2, weight_decay=1e-3)
    kept = ~np.isnan(values)
    for _ in range(steps):
        optimizer.zero_grad()
        outputs = linear(torch.from_numpy(x[kept]).double())
        mse_loss(outputs, torch.from_numpy(values[kept, None])).backward()
        optimizer.step()
    return linear


def test_all_tags_at_once_are_trained_as_each_alone() -> None:
    x, _ = data()
    codes = {"a": labels(x, 3, 1), "b": labels(x, 2, 2), "c": labels(x, 4, 3), "d": labels(x, 3, 4)}
    codes["a"][::7] = -1  # unlabelled rows of one tag are rows of the others
    codes["c"] = np.where(codes["c"] == 1, 3, codes["c"])  # a class that never occurs
    start = default_start(D, {"a": 3, "b": 2, "c": 4, "d": 3}, seed=5)
    x = to_directions(x, x.mean(axis=0))
    found = fit_classes(x, codes, start, lr=1e-2, weight_decay=1e-3, steps=60)
    for tag in codes:
        expected = slow_classifier(x, codes[tag], start[tag], steps=60)
        np.testing.assert_allclose(found[tag].weight, expected.weight.detach(), atol=2e-5)
        np.testing.assert_allclose(found[tag].bias, expected.bias.detach(), atol=2e-5)


def test_more_rows_than_a_piece_are_one_batch() -> None:
    rng = np.random.default_rng(0)
    x = to_directions(rng.normal(size=(2500, D)).astype(np.float32), np.zeros(D))
    codes = {"a": labels(x, 3, 1)}
    start = default_start(D, {"a": 3}, seed=5)
    found = fit_classes(x, codes, start, lr=1e-2, weight_decay=1e-3, steps=5)["a"]
    expected = slow_classifier(x, codes["a"], start["a"], steps=5)
    np.testing.assert_allclose(found.weight, expected.weight.detach(), atol=1e-5)


def test_regressors_from_products_are_those_from_rows() -> None:
    x, _ = data()
    rng = np.random.default_rng(1)
    values = {name: x @ rng.normal(size=D) + 4 for name in "abc"}
    values["b"][3:20] = np.nan
    start = default_start(D, dict.fromkeys("abc", 1), seed=2)
    x = standardise(x, x.mean(axis=0), x.std(axis=0))
    found = fit_values(x, values, start, lr=1e-2, weight_decay=1e-3, steps=50)
    assert list(found) == ["a", "b", "c"]
    for tag in values:
        expected = slow_regressor(x, values[tag], start[tag], steps=50)
        np.testing.assert_allclose(found[tag].weight, expected.weight.detach(), rtol=1e-4)
        np.testing.assert_allclose(found[tag].bias, expected.bias.detach(), rtol=1e-4)


def test_default_start_is_what_linear_layers_draw() -> None:
    torch.manual_seed(3)
    expected = [nn.Linear(D, 4), nn.Linear(D, 1)]
    found = default_start(D, {"a": 4, "b": 1}, seed=3)
    for linear, (weight, bias) in zip(expected, found.values(), strict=True):
        np.testing.assert_array_equal(weight, linear.weight.detach())
        np.testing.assert_array_equal(bias, linear.bias.detach())


def test_scores_are_those_of_scikit_learn() -> None:
    train, test = data()
    codes, truth = labels(train, 4, 1), labels(test, 4, 1)
    truth[:6] = -1
    found = read_classes((train, {"a": codes}), (test, {"a": truth}), {"a": 4})["a"]
    predicted = found.readout(to_directions(test, train.mean(axis=0))).argmax(axis=1)
    kept = truth >= 0
    assert found.f1 == pytest.approx(f1_score(truth[kept], predicted[kept], average="weighted"))
    expected = sklearn_confusion(truth[kept], predicted[kept], normalize="true")
    np.testing.assert_allclose(found.confusion, expected)
    assert found.f1 > 0.5


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30))
def test_weighted_f1_of_any_confusion(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = map(np.array, zip(*pairs, strict=True))
    counts = np.zeros((5, 5), np.int64)
    np.add.at(counts, (truth, predicted), 1)
    expected = f1_score(truth, predicted, average="weighted", zero_division=0)
    assert weighted_f1(counts) == pytest.approx(expected)


def test_values_without_labels_are_left_out() -> None:
    train, test = data()
    slopes = np.arange(D)
    numbers, truth = train @ slopes, test @ slopes
    truth[5:] = np.nan
    found = read_values((train, {"a": numbers}), (test, {"a": truth}), lr=1e-1)["a"]
    scaled = standardise(test, train.mean(axis=0), train.std(axis=0))
    error = np.square(found.readout(scaled)[:5, 0] - truth[:5]).mean()
    assert found.mse == pytest.approx(error, rel=1e-5)
    none = read_values((train, {"a": numbers}), (test, {"a": np.full(M, np.nan)}))["a"]
    assert np.isnan(none.mse)


def test_features_without_spread_are_zero_and_nan_upstream() -> None:
    x = np.ones((4, 3), np.float32)
    x[:, 1] = [1, 2, 3, 4]
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    assert np.isfinite(standardise(x, mean, deviation)).all()
    upstream = standardise(x, mean, deviation, "upstream")
    assert np.isnan(upstream[:, [0, 2]]).all()
    assert np.isfinite(upstream[:, 1]).all()
    alike = np.ones((4, 3), np.float32)
    np.testing.assert_array_equal(to_directions(alike, alike[0]), 0)
    assert np.isnan(to_directions(alike, alike[0], "upstream")).all()


def test_a_constant_feature_spoils_no_readout() -> None:
    train, test = data()
    train[:, 2] = test[:, 2] = 0.1  # its mean is no float32
    numbers = train[:, 0].astype(np.float64)
    for compat, finite in (("paper", True), ("upstream", False)):
        found = read_values((train, {"a": numbers}), (test, {"a": test[:, 0]}), compat=compat)["a"]
        assert np.isfinite(found.mse) == finite
        assert np.isfinite(found.readout.weight).all() == finite


def test_a_class_that_training_lacks_is_no_obstacle() -> None:
    train, test = data()
    codes, truth = labels(train, 2, 1) * 2, labels(test, 3, 1)
    found = read_classes((train, {"a": codes}), (test, {"a": truth}), {"a": 3})["a"]
    assert np.isfinite(found.f1)
    assert found.counts.sum() == M
    one = read_classes((train, {"a": np.ones(N, int)}), (test, {"a": truth}), {"a": 3})["a"]
    assert one.counts[:, 1].sum() == M


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.full(N, -1), "genotype: no training row has a label"),
        (np.full(N, 5), "genotype: label 5 is beyond the 3 classes"),
    ],
    ids=["none", "beyond"],
)
def test_labels_that_cannot_train_are_named(codes: np.ndarray, message: str) -> None:
    train, test = data()
    with pytest.raises(UserError, match=message):
        read_classes((train, {"genotype": codes}), (test, {"genotype": codes[:M]}), {"genotype": 3})


def test_values_that_cannot_train_are_named() -> None:
    train, test = data()
    nothing = {"age": np.full(N, np.nan)}
    with pytest.raises(UserError, match="age: no training row has a value"):
        read_values((train, nothing), (test, {"age": np.zeros(M)}))
