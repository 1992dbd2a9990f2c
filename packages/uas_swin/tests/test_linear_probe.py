"""Heads on cached features against torch, step by step; neighbours; folds; views."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from behaviorzoo.errors import UserError
from uas_swin.feature_store import Views
from uas_swin.linear_probe import ProbeSettings, Problem, _Fit, fit_heads, nearest_neighbours
from uas_swin.probe_folds import folds_of
from uas_swin.schedule import learning_rate


def problem(n: int, views: int, n_classes: int, seed: int) -> tuple[np.ndarray, Problem]:
    rng = np.random.default_rng(n * 100 + seed)
    features = rng.standard_normal((n * views, 6)).astype(np.float32)
    rows = [np.arange(i * views, (i + 1) * views) for i in range(n)]
    return features, Problem(rows, rng.integers(0, n_classes, n), seed)


def by_torch(features, problem, n_classes, how: ProbeSettings, lr: float):
    """Iteration by iteration, as the training loop has it; order and dropout are taken over."""
    fit = _Fit(features, [problem], n_classes, replace(how, lrs=(lr,)))
    rows, labels = (part[0] for part in fit._course())
    weight = torch.tensor(fit.heads[0, :, :-1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(n_classes, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.AdamW([weight, bias], lr=lr, weight_decay=how.weight_decay)
    n, at, iteration = len(problem.rows), 0, 0
    sizes = [min(how.batch_size, n - s) for s in range(0, n, how.batch_size)] * how.epochs
    per_epoch = ceil(n / how.batch_size)
    while len(sizes) - iteration >= how.accumulate:
        group = sizes[iteration : iteration + how.accumulate]
        kept = torch.tensor(fit._kept(0, sum(group)), dtype=torch.float64).expand(sum(group), -1)
        done = 0
        for size in group:
            taken = slice(at, at + size)
            x = torch.tensor(features[rows[taken]], dtype=torch.float64)
            logits = (x * kept[done : done + size]) @ weight.T + bias
            loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels[taken]))
            (loss / how.accumulate).backward()
            rate = learning_rate(
                iteration, lr, per_epoch, how.epochs, how.warmup_epochs, how.warmup_ratio
            )
            at, done, iteration = at + size, done + size, iteration + 1
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
    return weight.detach().numpy(), bias.detach().numpy()


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(2, 9),
    views=st.integers(1, 3),
    batch=st.integers(1, 4),
    accumulate=st.integers(1, 4),
    epochs=st.integers(1, 4),
    dropout=st.sampled_from([0.0, 0.3, 0.5]),
)
def test_heads_are_those_of_torch(n, views, batch, accumulate, epochs, dropout):
    features, one = problem(n, views, 3, 1)
    how = ProbeSettings((0.1, 0.01), (1,), epochs, batch, accumulate, dropout=dropout)
    heads = fit_heads(features, [one], 3, how)
    for place, lr in enumerate(how.lrs):
        weight, bias = by_torch(features, one, 3, how, lr)
        np.testing.assert_allclose(heads.weight[0, place], weight, atol=2e-5)
        np.testing.assert_allclose(heads.bias[0, place], bias, atol=2e-5)


def test_heads_do_not_depend_on_what_is_trained_beside_them():
    features, first = problem(7, 2, 3, 1)
    problems = [first, replace(first, seed=2), replace(first, labels=first.labels[::-1].copy())]
    how = ProbeSettings((0.1, 0.01, 1e-3), epochs=3, batch_size=2, accumulate=2)
    together = fit_heads(features, problems, 3, how)
    for p, own in enumerate(problems):
        for i, lr in enumerate(how.lrs):
            alone = fit_heads(features, [own], 3, replace(how, lrs=(lr,)))
            np.testing.assert_allclose(together.weight[p, i], alone.weight[0, 0], atol=1e-6)
    assert not np.allclose(together.weight[0], together.weight[1])


def test_probabilities_are_means_over_views():
    features, one = problem(5, 3, 4, 0)
    heads = fit_heads(features, [one], 4, ProbeSettings((0.1,), epochs=2, accumulate=1))
    rows = [np.array([0, 4, 2]), np.array([7]), np.array([1, 1])]
    found = heads.probabilities(features, rows, 0)
    for sample, own in enumerate(rows):
        logits = features[own] @ heads.weight[0, 0].T + heads.bias[0, 0]
        expected = torch.softmax(torch.tensor(logits), -1).mean(0)
        np.testing.assert_allclose(found[0, sample], expected, rtol=1e-5)


def test_published_start():
    """Normal weights of deviation 0.01; the same for every rate, another one for every seed."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((4, 500)).astype(np.float32)
    one = Problem([np.array([i]) for i in range(4)], np.array([0, 1, 2, 3]), 0)
    fit = _Fit(features, [one, replace(one, seed=1)], 4, ProbeSettings((0.1, 0.2)))
    start = fit.heads.reshape(2, 2, 4, 501)
    assert np.array_equal(start[:, 0], start[:, 1])
    assert not np.allclose(start[0], start[1])
    assert start[..., :-1].std() == pytest.approx(0.01, rel=0.05)
    assert not start[..., -1].any()


def test_separable_classes_are_learnt():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 90)
    features = (rng.standard_normal((90, 8)) + 4 * np.eye(8)[labels]).astype(np.float32)
    rows = [np.array([i]) for i in range(90)]
    heads = fit_heads(features, [Problem(rows, labels, 0)], 3, ProbeSettings((0.05,)))
    assert (heads.probabilities(features, rows, 0)[0].argmax(1) == labels).mean() > 0.97


def test_what_cannot_be_probed():
    features, one = problem(4, 1, 3, 0)
    with pytest.raises(UserError, match="out of range; class ids go from 0 to 0"):
        fit_heads(features, [replace(one, labels=np.array([0, 1, 0, 0]))], 1, ProbeSettings())
    features[2, 1] = np.nan
    with pytest.raises(UserError, match="not finite"):
        fit_heads(features, [one], 3, ProbeSettings())
    with pytest.raises(UserError, match="samples"):
        fit_heads(features, [Problem([], np.array([], dtype=np.int64), 0)], 3, ProbeSettings())
    with pytest.raises(UserError, match="dropout 1"):
        ProbeSettings(dropout=1.0)
    with pytest.raises(UserError, match="above 0"):
        ProbeSettings(lrs=(0.0,))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.integers(1, 6), st.integers(1, 15), st.integers(0, 9))
def test_neighbours(n, m, k, seed):
    rng = np.random.default_rng(seed)
    train, test = (rng.standard_normal((s, 5)).astype(np.float32) for s in (n, m))
    labels = rng.integers(0, 3, n)
    found = nearest_neighbours(train, labels, test, k, 3)
    for i in range(m):
        cosines = [a @ test[i] / np.linalg.norm(a) / np.linalg.norm(test[i]) for a in train]
        near = np.argsort(-np.array(cosines))[:k]
        votes = np.bincount(labels[near], minlength=3) / len(near)
        assert np.abs(found[i] - votes).max() < 2e-3
        best = np.flatnonzero(votes == votes.max())
        assert found[i].argmax() in best


def views(names: list[str], labels: list[int]) -> Views:
    rows = [np.array([i]) for i in range(len(names))]
    return Views(np.zeros((len(names), 1), np.float32), rows, np.array(labels), names)


def test_folds_keep_groups_together():
    names = [f"cage{i // 3}_clip{i}.mp4" for i in range(12)]
    some = views(names, [i // 6 for i in range(12)])
    assert [len(f) for f in folds_of(some, None, None, 0)] == [1] * 12
    by_cage = folds_of(some, None, r"cage\d+", 0)
    assert [f.tolist() for f in by_cage] == [[3 * g, 3 * g + 1, 3 * g + 2] for g in range(4)]
    two = folds_of(some, 2, r"(cage\d+)_", 0)
    assert sorted(np.concatenate(two).tolist()) == list(range(12))
    for fold in two:  # one cage of either class
        assert sorted(some.labels[fold].tolist()) == [0, 0, 0, 1, 1, 1]
    with pytest.raises(UserError, match="does not match"):
        folds_of(some, None, "mouse", 0)
    with pytest.raises(UserError, match="no regular expression"):
        folds_of(some, None, "(", 0)
    with pytest.raises(UserError, match="cannot be parted into 5 folds"):
        folds_of(some, 5, r"cage\d+", 0)
