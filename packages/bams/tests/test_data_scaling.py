"""Scale of the inputs, bins of the actions."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bams.data.quantise import (
    MISSING_BIN,
    Scaling,
    action_limits,
    bin_edges,
    fit_scaling,
    largest_inputs,
    percentile,
    quantise,
)
from behaviorzoo.errors import UserError


@given(
    hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(-5, 5) | st.just(np.nan)),
    st.integers(2, 255),
)
def test_bins_equal_counting_edges(values, n_bins):
    edges = bin_edges(-2.0, 3.0, n_bins)
    expected = [n_bins - 1 if np.isnan(v) else sum(e <= v for e in edges) for v in values]
    assert quantise(values, edges).tolist() == expected
    assert edges.dtype == np.float32


@given(
    hnp.arrays(np.float32, st.integers(1, 60), elements=st.floats(-9, 9, width=32)),
    st.floats(0, 100),
    st.booleans(),
)
def test_percentile_equals_numpys(values, share, double):
    values = values.astype(np.float64) if double else values
    expected = np.percentile(values.astype(np.float64), share)
    np.testing.assert_allclose(percentile(values, share), expected, rtol=1e-9, atol=1e-9)


def test_limits_are_percentiles_of_the_larger_values():
    values = np.concatenate([np.linspace(-0.1, 0.1, 999), np.linspace(1, 5, 101), [np.nan] * 3])
    expected = np.percentile(np.linspace(1, 5, 101), [0.5, 99.5])
    np.testing.assert_allclose(action_limits(values, "upstream", "x"), expected)


def test_without_a_jump_paper_takes_all_values_and_upstream_says_why_not():
    values = np.array([0.0, 0.05, -0.1, np.nan])  # 0.1 itself is no jump
    expected = np.percentile([0.0, 0.05, -0.1], [0.5, 99.5])
    np.testing.assert_allclose(action_limits(values, "paper", "x"), expected)
    with pytest.raises(UserError, match=r"x: no value exceeds 0\.1.*compat=paper"):
        action_limits(values, "upstream", "x")


def test_an_action_that_is_never_seen_is_refused():
    with pytest.raises(UserError, match="x: it is never observed"):
        action_limits(np.full(4, np.nan), "paper", "x")


@pytest.mark.parametrize("constant", [0.0, 0.0625, 2.0])
def test_constant_actions_give_finite_bins(constant):
    scaling = fit_scaling(np.ones((5, 1)), np.full((5, 1), constant), 8)
    bins = scaling.bins(np.array([[constant - 1], [constant], [constant + 1]]))
    assert bins.ravel().tolist() == [0, 7, 7]
    assert np.isfinite(scaling.target_scale).all()


def test_inputs_are_divided_by_their_largest_size():
    inputs = np.array([[1.0, -4.0, 0.0, np.nan], [2.0, 2.0, 0.0, -8.0]])
    np.testing.assert_array_equal(largest_inputs(inputs), [2, 4, 0, 8])
    targets = np.array([[1.0], [2.0]])
    paper = fit_scaling(inputs, targets, 4, "paper", input_names="abcd")
    scaled = paper.scale_inputs(inputs.astype(np.float32))
    np.testing.assert_array_equal(scaled, [[0.5, -1, 0, np.nan], [1, 0.5, 0, -1]])
    assert paper.empty_inputs == ["c"]
    upstream = fit_scaling(inputs, targets, 4, "upstream")
    assert np.isnan(upstream.scale_inputs(inputs.astype(np.float32))[:, 2]).all()


def test_scaling_happens_in_place_and_in_any_shape():
    inputs = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    scaling = fit_scaling(inputs.reshape(-1, 4).copy(), np.ones((6, 1)), 4)
    expected = inputs / scaling.input_scale
    assert scaling.scale_inputs(inputs) is inputs
    np.testing.assert_array_equal(inputs, expected)


def test_large_data_are_scaled_and_binned_like_small():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(70_000, 2)).astype(np.float32)
    targets = rng.normal(size=(70_000, 2))
    scaling = fit_scaling(inputs, targets, 8)
    bins, at = scaling.bins(targets), [0, 65_535, 65_536, 69_999]
    np.testing.assert_array_equal(bins[at], scaling.bins(targets[at]))
    np.testing.assert_array_equal(largest_inputs(inputs), np.abs(inputs).max(0))
    np.testing.assert_array_equal(
        scaling.scale_inputs(inputs.copy())[at], scaling.scale_inputs(inputs[at].copy())
    )


def test_missing_actions_get_a_mark_or_the_last_bin():
    targets = np.array([[1.0], [np.nan], [3.0]])
    marked = fit_scaling(np.ones((3, 1)), targets, 8, marks_missing=True)
    assert marked.bins(targets).ravel().tolist() == [0, MISSING_BIN, 7]
    plain = fit_scaling(np.ones((3, 1)), targets, 8)
    assert plain.bins(targets).ravel().tolist() == [0, 7, 7]


@pytest.mark.parametrize("n_bins", [0, 1, 256])
def test_bins_must_fit_a_byte(n_bins):
    with pytest.raises(UserError, match=f"hoa_bins = {n_bins} must lie between 2 and 255"):
        fit_scaling(np.ones((3, 1)), np.ones((3, 1)), n_bins)


def test_scaling_survives_json_exactly():
    rng = np.random.default_rng(1)
    scaling = fit_scaling(
        rng.normal(size=(50, 3)), rng.normal(size=(50, 2)), 32, "upstream", marks_missing=True
    )
    again = Scaling.from_dict(json.loads(json.dumps(scaling.to_dict())))
    for name in ("input_scale", "edges", "target_scale"):
        np.testing.assert_array_equal(getattr(again, name), getattr(scaling, name))
        assert getattr(again, name).dtype == getattr(scaling, name).dtype
    assert again.to_dict() == scaling.to_dict()
    assert again.n_bins == 32


def test_a_damaged_record_is_named():
    with pytest.raises(UserError, match=r"record of its training data is damaged.*edges"):
        Scaling.from_dict({"input_scale": [1.0]})
