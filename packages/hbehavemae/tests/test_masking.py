"""Random masks from noise, and their index lists."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from behaviorzoo.errors import UserError
from hbehavemae.model import mask_from_noise
from hbehavemae.model.masking import select, take_units, visible_count


@settings(deadline=None)
@given(
    # Few values, so that ties are common.
    noise=st.lists(st.lists(st.integers(0, 5), min_size=6, max_size=6), min_size=1, max_size=3),
    ratio=st.floats(0.0, 0.99),
)
def test_the_smallest_are_kept_and_ties_rank_by_position(noise, ratio):
    mask = mask_from_noise(torch.tensor(noise) / 7, ratio)
    for row, kept in zip(noise, mask, strict=True):
        order = sorted(range(6), key=lambda unit: (row[unit], unit))
        expected = set(order[: int(6 * (1 - ratio))])
        assert {unit for unit in range(6) if kept[unit]} == expected


def test_the_floating_point_expression_decides_how_many():
    # 50 * (1 - 0.7) is 15.000000000000002 and 10 * (1 - 0.9) is 0.9999999999999998.
    assert mask_from_noise(torch.rand(4, 50), 0.7).sum(1).tolist() == [15] * 4
    assert mask_from_noise(torch.rand(4, 10), 0.9).sum(1).tolist() == [0] * 4


@settings(deadline=None)
@given(seed=st.integers(0, 1000), n_visible=st.integers(1, 6))
def test_selection_lists_both_classes_in_order_and_how_to_put_them_back(seed, n_visible):
    noise = torch.rand(3, 7, generator=torch.Generator().manual_seed(seed))
    mask = noise.argsort(1).argsort(1) < n_visible
    selection = select(mask, n_visible)
    for row in range(3):
        assert selection.visible[row].tolist() == [u for u in range(7) if mask[row, u]]
        assert selection.hidden[row].tolist() == [u for u in range(7) if not mask[row, u]]
    listed = torch.cat([selection.visible, selection.hidden], dim=1)
    assert torch.equal(take_units(listed, selection.restore), torch.arange(7).expand(3, 7))


def test_take_units_takes_rows_of_every_sample():
    x = torch.arange(2 * 3 * 2).reshape(2, 3, 2)
    taken = take_units(x, torch.tensor([[2, 0], [1, 1]]))
    assert taken.tolist() == [[[4, 5], [0, 1]], [[8, 9], [8, 9]]]


def test_uneven_and_empty_masks_are_refused():
    assert visible_count(torch.tensor([[True, False], [False, True]])) == 1
    with pytest.raises(UserError, match="rows keep between 1 and 2 units"):
        visible_count(torch.tensor([[True, False], [True, True]]))
    with pytest.raises(UserError, match="0 of 2 units are visible"):
        visible_count(torch.zeros(2, 2, dtype=torch.bool))
