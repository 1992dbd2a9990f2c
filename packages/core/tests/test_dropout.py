"""Cheap dropout is dropout: its share, its mean, independent places, the seed's alone."""

from __future__ import annotations

import pytest
import torch

from behaviorzoo.dropout import Dropout, keep_mask


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.003])
def test_it_drops_its_share_and_keeps_the_mean(rate):
    torch.manual_seed(0)
    n = 400_001  # not a multiple of the numbers in one draw
    y = Dropout(rate).train()(torch.ones(n))
    dropped = (y == 0).double().mean()
    assert abs(dropped - rate) < 5 * (rate * (1 - rate) / n) ** 0.5
    kept = y[y != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - rate)), rtol=1e-4, atol=0)
    # Every place has its own draw: neighbours are independent.
    both = ((y[:-1] == 0) & (y[1:] == 0)).double().mean()
    assert abs(both - rate**2) < 6 * (rate**2 / n) ** 0.5
    for place in range(4):
        assert abs((y[place::4] == 0).double().mean() - rate) < 6 * (rate * 4 / n) ** 0.5


def test_it_repeats_with_the_seed_and_rests_in_evaluation():
    x = torch.randn(5, 6)
    layer = Dropout(0.4)
    torch.manual_seed(3)
    first = layer(x)
    assert not torch.equal(layer(x), first)
    torch.manual_seed(3)
    assert torch.equal(layer(x), first)
    assert layer.eval()(x) is x
    assert Dropout(0.0).train()(x) is x


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_the_gradient_goes_where_the_values_went(dtype):
    x = torch.ones(50, dtype=dtype, requires_grad=True)
    y = Dropout(0.5)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
    assert keep_mask(x, 0.5).dtype == dtype
