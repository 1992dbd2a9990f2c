"""The order of tokens against loops over coordinates and the authors' own algorithm."""

from __future__ import annotations

from itertools import product
from math import prod

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hbehavemae.model.unroll import grid_to_units, units_to_grid, unroll_index

triple = st.tuples(*[st.integers(1, 3)] * 3)


def natural(grid, batch=1):
    return torch.arange(batch * prod(grid)).reshape(batch, *grid, 1)


def slow_units(x, grid, factors):
    """Unit of every token and its place in every nested group, from its coordinates."""
    out = torch.empty(len(x), prod(grid), *map(prod, factors), 1, dtype=x.dtype)
    for b, *at in product(range(len(x)), *map(range, x.shape[1:4])):
        value, rest, places = x[(b, *at)], at, []
        for factor in factors:
            place = [r % f for r, f in zip(rest, factor, strict=True)]
            places.append((place[0] * factor[1] + place[1]) * factor[2] + place[2])
            rest = [r // f for r, f in zip(rest, factor, strict=True)]
        unit = (rest[0] * grid[1] + rest[1]) * grid[2] + rest[2]
        out[(b, unit, *places)] = value
    return out


@settings(deadline=None)
@given(grid=triple, factors=st.lists(triple, min_size=1, max_size=3), batch=st.integers(1, 2))
def test_grid_to_units_follows_the_coordinates(grid, factors, batch):
    factors = factors[: 1 if prod(map(prod, factors)) > 300 else None]
    size = [g * prod(f[axis] for f in factors) for axis, g in enumerate(grid)]
    x = natural(size, batch)
    units = grid_to_units(x, factors)
    assert torch.equal(units, slow_units(x, grid, factors))
    flat = units.reshape(batch, prod(grid), -1, 1)
    assert torch.equal(units_to_grid(flat, grid, factors), x)


def test_without_pooling_every_token_is_a_unit():
    x = natural((2, 3, 2), batch=2)
    assert torch.equal(grid_to_units(x, []), x.reshape(2, 12, 1))
    assert torch.equal(units_to_grid(x.reshape(2, 12, 1, 1), (2, 3, 2), []), x)


def authors_unroll(tokens, strides):
    """Hiera's loop: at every stride the places in a group move into the leading axis."""
    x = torch.arange(prod(tokens)).reshape(1, *tokens)
    for s in strides:
        m = [n // k for n, k in zip(x.shape[1:], s, strict=True)]
        x = x.reshape(-1, m[0], s[0], m[1], s[1], m[2], s[2])
        x = x.permute(0, 2, 4, 6, 1, 3, 5).reshape(-1, *m)
    return x.flatten()


@settings(deadline=None)
@given(grid=triple, strides=st.lists(triple, min_size=0, max_size=3))
def test_unroll_index_is_the_authors_permutation(grid, strides):
    tokens = [g * prod(s[axis] for s in strides) for axis, g in enumerate(grid)]
    assert torch.equal(unroll_index(tokens, strides), authors_unroll(tokens, strides))
