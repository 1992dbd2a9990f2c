"""The reconstruction loss against loops over tokens and values."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hbehavemae.losses import masked_error, standardise, standardise_observed, token_errors


def tensors(seed, tokens, values):
    generator = torch.Generator().manual_seed(seed)
    pred, target = torch.randn(2, 2, tokens, values, generator=generator, dtype=torch.float64)
    observed = torch.rand(2, tokens, values, generator=generator) < 0.6
    return pred, target * 3 + 5, observed


def slow_standardise(values):
    mean = sum(values) / len(values)
    spread = sum((v - mean) ** 2 for v in values) / max(len(values) - 1, 1)
    return [(v - mean) / math.sqrt(spread + 1e-6) for v in values]


sizes = {"seed": st.integers(0, 10_000), "tokens": st.integers(1, 4), "values": st.integers(2, 7)}


@settings(deadline=None)
@given(**sizes)
def test_standardise_uses_the_unbiased_variance(seed, tokens, values):
    _, target, _ = tensors(seed, tokens, values)
    expected = [[slow_standardise(token) for token in sample] for sample in target.tolist()]
    torch.testing.assert_close(standardise(target), torch.tensor(expected, dtype=torch.float64))


def test_standardise_a_constant_target():
    assert standardise(torch.full((1, 4), 7.0)).abs().max() == 0


@settings(deadline=None)
@given(**sizes)
def test_errors_are_means_over_values_then_tokens(seed, tokens, values):
    pred, target, _ = tensors(seed, tokens, values)
    errors = token_errors(pred, target)
    for b in range(2):
        for t in range(tokens):
            squares = [(pred[b, t, v] - target[b, t, v]) ** 2 for v in range(values)]
            assert errors[b, t].item() == pytest.approx(float(sum(squares)) / values)


@settings(deadline=None)
@given(**sizes)
def test_only_observed_values_count(seed, tokens, values):
    pred, target, observed = tensors(seed, tokens, values)
    loss, errors = masked_error(pred, target, observed)
    squares = [
        [
            [(p - t) ** 2 for p, t, o in zip(*rows, strict=True) if o]
            for rows in zip(*s, strict=True)
        ]
        for s in zip(pred.tolist(), target.tolist(), observed.tolist(), strict=True)
    ]
    everything = [value for sample in squares for token in sample for value in token]
    assert loss.item() == pytest.approx(sum(everything) / max(len(everything), 1))
    expected = [[sum(t) / max(len(t), 1) for t in sample] for sample in squares]
    torch.testing.assert_close(errors, torch.tensor(expected, dtype=torch.float64))


@settings(deadline=None)
@given(**sizes)
def test_statistics_of_observed_values(seed, tokens, values):
    _, target, observed = tensors(seed, tokens, values)
    found = standardise_observed(target.masked_fill(~observed, 0.0), observed)
    assert (found[~observed] == 0).all()
    for b in range(2):
        for t in range(tokens):
            seen = target[b, t][observed[b, t]].tolist()
            if seen:
                expected = torch.tensor(slow_standardise(seen), dtype=torch.float64)
                torch.testing.assert_close(found[b, t][observed[b, t]], expected)


@settings(deadline=None)
@given(filler=st.floats(-1e6, 1e6), **sizes)
def test_nothing_depends_on_what_stands_at_missing_places(seed, tokens, values, filler):
    pred, target, observed = tensors(seed, tokens, values)
    results = []
    for value in (0.0, filler):
        filled = target.masked_fill(~observed, value)
        guess = pred.clone().requires_grad_()
        loss, errors = masked_error(guess, standardise_observed(filled, observed), observed)
        plain, _ = masked_error(guess, filled, observed)
        (loss + plain).backward()
        assert guess.grad is not None
        results.append((loss.detach(), plain.detach(), errors.detach(), guess.grad))
        assert (guess.grad[~observed] == 0).all()
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


def test_observed_statistics_equal_the_plain_ones_when_nothing_is_missing():
    _, target, _ = tensors(3, 4, 9)
    everything = torch.ones_like(target, dtype=torch.bool)
    torch.testing.assert_close(standardise_observed(target, everything), standardise(target))


def test_nothing_observed_is_zero_with_zero_gradient():
    pred = torch.randn(1, 2, 3, requires_grad=True)
    loss, errors = masked_error(pred, torch.zeros(1, 2, 3), torch.zeros(1, 2, 3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert errors.abs().max() == 0
    assert pred.grad is not None
    assert pred.grad.abs().max() == 0
