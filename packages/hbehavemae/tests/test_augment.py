"""Augmentations: the exact references, and that the batched versions do the same."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from behaviorzoo.draws import integers, normal, uniform
from hbehavemae.augment import BatchNoise, HumanAugment, MiceAugment, reference, transforms
from hbehavemae.augment.recordings import RecordingAugment, reordered

ARENA = 850.0


def clip(seed: int, frames: int = 12, spread: float = 40.0) -> np.ndarray:
    """Three mice somewhere in the arena, (T, 3, 12, 2) float32."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(200, 650, size=(1, 3, 1, 2))
    return (centre + rng.normal(size=(frames, 3, 12, 2)) * spread).astype(np.float32)


class Fed:
    """A generator that hands out given numbers, in place of ``numpy.random.RandomState``."""

    def __init__(self, *numbers: float):
        self.numbers = list(numbers)

    def random_sample(self) -> float:
        return self.numbers.pop(0)

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self.numbers.pop(0)


# -- draws ------------------------------------------------------------------------------------


def test_uniform_numbers_are_uniform_and_independent():
    x = uniform(torch.arange(2000), stream=3, size=50)
    assert x.dtype == torch.float64
    assert x.min() >= 0
    assert x.max() < 1
    counts = torch.histc(x.float(), 20, 0, 1)
    assert ((counts - 5000).abs() < 5 * math.sqrt(5000)).all()
    flat = torch.corrcoef(
        torch.stack([x[:-1, 0], x[1:, 0], x[:-1, 1], uniform(torch.arange(1999), 4)[:, 0]])
    )
    assert (flat - torch.eye(4)).abs().max() < 0.1


def test_normal_numbers_are_normal():
    x = normal(torch.arange(1000), stream=1, size=101)
    assert x.shape == (1000, 101)
    assert x.isfinite().all()
    assert x.mean().item() == pytest.approx(0, abs=0.01)
    assert x.std().item() == pytest.approx(1, abs=0.01)
    assert (x**4).mean().item() == pytest.approx(3, abs=0.1)


def test_integers_reach_every_value_equally():
    drawn = integers(torch.arange(30_000), stream=2, high=5)
    assert torch.bincount(drawn).tolist() == pytest.approx([6000] * 5, rel=0.05)


@given(seed=st.integers(-(2**63), 2**63 - 1), stream=st.integers(0, 2**31))
def test_any_seed_gives_numbers_in_range(seed, stream):
    x = uniform(torch.tensor([seed]), stream, 4)
    assert ((x >= 0) & (x < 1)).all()
    assert normal(torch.tensor([seed]), stream, 3).isfinite().all()


@given(seeds=st.lists(st.integers(0, 2**40), min_size=2, max_size=9, unique=True))
def test_draws_of_a_seed_do_not_depend_on_the_batch(seeds):
    together = normal(torch.tensor(seeds), 5, 7)
    for row, seed in zip(together, seeds, strict=True):
        assert torch.equal(normal(torch.tensor([seed]), 5, 7)[0], row)


# -- each transform against an obvious implementation -----------------------------------------


def plain_rotation(x: np.ndarray, angle: float, place: tuple[float, float]) -> np.ndarray:
    rotated = np.empty_like(x, dtype=float)
    for index in np.ndindex(x.shape[:-1]):
        dx, dy = x[index].astype(float) - 425
        rotated[index] = (
            math.cos(angle) * dx - math.sin(angle) * dy + 425,
            math.sin(angle) * dx + math.cos(angle) * dy + 425,
        )
    for axis in (0, 1):
        values = rotated[..., axis]
        if values.max() - values.min() >= ARENA:
            return x.astype(float)
    for axis in (0, 1):
        over, under = max((rotated[..., axis] - ARENA).max(), 0), min(rotated[..., axis].min(), 0)
        rotated[..., axis] -= over
        rotated[..., axis] -= under
    for axis in (0, 1):
        low, high = -rotated[..., axis].min(), (ARENA - rotated[..., axis]).min()
        rotated[..., axis] += low + (high - low) * place[axis]
    return rotated


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 50),
    angle=st.floats(-math.pi, math.pi),
    place=st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)),
    spread=st.sampled_from([10.0, 120.0]),
)
def test_rotation_equals_the_plain_loop_single_and_batched(seed, angle, place, spread):
    x = clip(seed, frames=3, spread=spread)
    expected = plain_rotation(x, angle, place)
    batched = transforms.rotate_in_arena(
        torch.from_numpy(x)[None].double(),
        torch.tensor([angle], dtype=torch.float64),
        torch.tensor([place], dtype=torch.float64),
        ARENA,
    )[0]
    np.testing.assert_allclose(batched, expected, atol=1e-9)
    share = (angle + math.pi) / (2 * math.pi)
    single = reference.mice_rotation(x.astype(float), Fed(0.0, share, *place), p=1.0)
    np.testing.assert_allclose(single, expected, atol=1e-6)


def test_rotated_clips_stay_inside_the_arena():
    x = torch.stack([torch.from_numpy(clip(seed, spread=60.0)) for seed in range(40)])
    seeds = torch.arange(40)
    angle = uniform(seeds, 0)[:, 0] * 6
    moved = transforms.rotate_in_arena(x, angle, uniform(seeds, 1, 2), ARENA)
    changed = (moved != x).flatten(1).any(1)
    assert changed.any()
    assert moved[changed].min() >= -0.01
    assert moved[changed].max() <= ARENA + 0.01


def test_missing_points_stay_missing_and_do_not_disturb_the_others():
    x = torch.from_numpy(clip(0))[None].repeat(64, 1, 1, 1, 1)
    hidden = x.clone()
    hidden[:, 3:5, 1, 2] = torch.nan
    augmented = MiceAugment()(hidden, torch.arange(64))
    assert torch.equal(augmented.isnan(), hidden.isnan())
    extreme = x.clone()
    extreme[:, 3:5, 1, 2] = x[:, :1, 1, 3]  # a value that changes no minimum or maximum
    same = MiceAugment()(extreme, torch.arange(64))
    torch.testing.assert_close(augmented[~hidden.isnan()], same[~hidden.isnan()])


def plain_shift(x: np.ndarray, offset_of: float) -> np.ndarray:
    active = [t for t in range(len(x)) if (x[t] != 0).any()] or [0, len(x) - 1]
    span = x[active[0] : active[-1] + 1]
    offset = math.floor(offset_of * (len(x) - len(span) + 1))
    out = np.zeros_like(x)
    out[offset : offset + len(span)] = span
    return out


@settings(max_examples=40, deadline=None)
@given(
    frames=st.integers(1, 9),
    cut=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    place=st.floats(0, 0.999),
)
def test_shift_in_time_equals_the_plain_version(frames, cut, place):
    x = np.random.default_rng(frames).normal(size=(frames, 2, 3))
    x[: cut[0]] = 0
    x[frames - cut[1] if cut[1] <= frames else 0 :] = 0
    moved = transforms.shift_in_time(torch.from_numpy(x)[None], torch.tensor([place]))
    np.testing.assert_array_equal(moved[0], plain_shift(x, place))


def test_drift_equals_the_plain_loop():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(7, 4, 3))
    ends = {"a": (-10.0, 5.0), "s": (0.9, 1.1), "tx": (0.2, -0.1), "ty": (0.0, 0.1)}
    moved = transforms.move(
        torch.from_numpy(x)[None],
        *(torch.tensor([pair], dtype=torch.float64) for pair in ends.values()),
    )[0]
    for t in range(7):
        angle, scale, tx, ty = (np.linspace(*pair, 7)[t] for pair in ends.values())
        angle = math.radians(angle)
        for v in range(4):
            px, py, pz = x[t, v]
            expected = (
                scale * (math.cos(angle) * px - math.sin(angle) * py) + tx,
                scale * (math.sin(angle) * px + math.cos(angle) * py) + ty,
                pz,
            )
            np.testing.assert_allclose(moved[t, v], expected, atol=1e-12)


def test_single_clips_leave_their_input_alone():
    x = np.random.default_rng(0).normal(size=(6, 5, 3))
    before = x.copy()
    rng, python_rng = np.random.RandomState(0), random.Random(0)
    reference.human_move(x, rng, python_rng, p=1.0)
    reference.human_shift(x, rng, python_rng, p=1.0)
    reference.mice(clip(0), rng)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("axis", [0, 1])
def test_mirror_image_is_about_the_middle(axis):
    x = clip(0)
    mirrored = reference.mice_reflection(x, Fed(0.0, 0.9 if axis == 1 else 0.1), p=1.0)
    np.testing.assert_allclose(mirrored[..., axis], 850 - x[..., axis], rtol=1e-6)
    np.testing.assert_array_equal(mirrored[..., 1 - axis], x[..., 1 - axis])


# -- batched: per seed, with the right distribution -------------------------------------------


@pytest.mark.parametrize(
    ("augment", "shape"),
    [
        (BatchNoise(0.5, 2.0), (6, 1, 10)),
        (MiceAugment(), (6, 3, 12, 2)),
        (HumanAugment(), (6, 1, 25, 3)),
        (
            RecordingAugment(
                (1.0, 2.0), 3, rotation=0.5, reflection=0.5, noise=0.5, sigma=0.1, swap=0.5
            ),
            (6, 2, 4, 4),
        ),
    ],
)
def test_a_window_depends_on_its_own_seed_alone(augment, shape):
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(40, *shape)).astype(np.float32))
    before, seeds = x.clone(), torch.arange(7, 47)
    whole = augment(x, seeds)
    assert torch.equal(x, before)
    assert whole.shape == x.shape
    assert whole.dtype == x.dtype
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(augment(x[order], seeds[order]), whole[order])
    torch.testing.assert_close(augment(x[3:4], seeds[3:4]), whole[3:4])
    assert not torch.equal(augment(x, seeds + 1000), whole)


def test_mice_distribution_equals_that_of_the_reference():
    """Means and spreads of 1,500 clips augmented by either; the clip is far from the borders."""
    x = clip(3, frames=2, spread=15.0)
    rng = np.random.RandomState(0)
    single = np.stack([reference.mice(x, rng) for _ in range(1500)])
    batch = torch.from_numpy(x)[None].repeat(1500, 1, 1, 1, 1)
    batched = MiceAugment()(batch, torch.arange(1500)).numpy()
    for statistic in (
        lambda v: v.mean((1, 2, 3, 4)),
        lambda v: v[:, 0, 0, 0, 0],
        lambda v: v[:, 0, 0, 0, 1],
        lambda v: v[:, 0, 1, 3, 0] - v[:, 0, 0, 0, 0],
        lambda v: (v[:, 1] - v[:, 0]).std((1, 2, 3)),
    ):
        one, other = np.sort(statistic(single)), np.sort(statistic(batched))
        # Kolmogorov-Smirnov distance on a grid: unchanged clips make ties, which rounding would
        # break at the values themselves. 0.06 has p of about 0.01 at this size.
        grid = np.linspace(one[0], one[-1], 97)[1:-1] + 0.0137
        distance = np.abs(
            np.searchsorted(one, grid, "right") - np.searchsorted(other, grid, "right")
        ).max()
        assert distance / 1500 < 0.06


def test_human_distribution_equals_that_of_the_reference():
    x = np.random.default_rng(1).normal(size=(10, 25, 3)).astype(np.float32)
    x[:3], x[8:] = 0, 0
    rng, python_rng = np.random.RandomState(0), random.Random(0)
    single = np.stack(
        [
            reference.human_move(reference.human_shift(x, rng, python_rng), rng, python_rng)
            for _ in range(2000)
        ]
    )
    batch = torch.from_numpy(x)[None, :, None].repeat(2000, 1, 1, 1, 1)
    batched = HumanAugment()(batch, torch.arange(2000))[:, :, 0].numpy()

    def first_frame(clips: np.ndarray) -> np.ndarray:
        # The third coordinate is never moved in space, so it shows the shift in time alone.
        return np.bincount((clips[..., 2] != 0).any(-1).argmax(1), minlength=10) / len(clips)

    np.testing.assert_allclose(first_frame(batched), first_frame(single), atol=0.04)
    still = (single[..., 0] == x[..., 0]).all((1, 2)).mean()
    assert (batched[..., 0] == x[..., 0]).all((1, 2)).mean() == pytest.approx(still, abs=0.05)

    def spread_of_unshifted(clips: np.ndarray) -> np.ndarray:
        kept = clips[(clips[..., 2] != 0).any(-1).argmax(1) == 3]
        return (kept[:, 3:8, :, :2] - x[3:8, :, :2]).std(axis=(0, 1, 2))

    np.testing.assert_allclose(spread_of_unshifted(batched), spread_of_unshifted(single), rtol=0.06)


# -- recordings -------------------------------------------------------------------------------


def windows(batch: int = 5, dimensions: int = 2, velocities: bool = True) -> torch.Tensor:
    channels = dimensions * (2 if velocities else 1)
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, 4, 3, 6, channels, generator=generator)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("velocities", [False, True])
def test_rotation_keeps_distances_to_the_middle_and_turns_velocities(dimensions, velocities):
    x = windows(5, dimensions, velocities)
    middle = torch.tensor([1.0, -2.0, 0.5][:dimensions])
    augment = RecordingAugment(tuple(middle.tolist()), 6)
    angle = torch.linspace(0, 5, 5)
    turned = augment.rotated(x, angle)
    rotation = torch.eye(dimensions).repeat(5, 1, 1)
    rotation[:, 0, 0], rotation[:, 0, 1] = angle.cos(), -angle.sin()
    rotation[:, 1, 0], rotation[:, 1, 1] = angle.sin(), angle.cos()
    expected = torch.einsum("bde,btike->btikd", rotation, x[..., :dimensions] - middle) + middle
    torch.testing.assert_close(turned[..., :dimensions], expected)
    if velocities:
        expected = torch.einsum("bde,btike->btikd", rotation, x[..., dimensions:])
        torch.testing.assert_close(turned[..., dimensions:], expected)


def test_reflection_swaps_left_and_right_and_is_its_own_inverse():
    x = windows()
    augment = RecordingAugment((1.0, 2.0), 6, mirrored=(0, 2, 1, 3, 4, 5))
    mirrored = augment.reflected(x)
    torch.testing.assert_close(mirrored[..., 1, 0], 2 - x[..., 2, 0])
    torch.testing.assert_close(
        mirrored[..., 1, 1:], x[..., 2, [1, 2, 3]] * torch.tensor([1, -1, 1])
    )
    torch.testing.assert_close(augment.reflected(mirrored), x)


def test_noise_goes_to_positions_of_key_points_only():
    x = windows(200)
    noisy = RecordingAugment((0.0, 0.0), 4, noise=1.0, sigma=0.3)(x, torch.arange(200))
    change = noisy - x
    assert change[..., :4, :2].std().item() == pytest.approx(0.3, rel=0.02)
    assert (change[..., 4:, :] == 0).all()
    assert (change[..., 2:] == 0).all()


def test_order_of_individuals_is_one_per_window_and_uniform():
    x = windows(3000)
    swapped = RecordingAugment((0.0, 0.0), 6, swap=1.0)(x, torch.arange(3000))
    orders = (swapped[:, :, :, None] == x[:, :, None]).all(-1).all(-1)  # (B, T, I new, I old)
    assert (orders == orders[:, :1]).all()
    number = (orders[:, 0].int().argmax(-1) * torch.tensor([9, 3, 1])).sum(-1)
    _, counts = number.unique(return_counts=True)
    assert counts.tolist() == pytest.approx([500] * 6, rel=0.2)


def test_reordered_takes_individuals_from_the_order():
    x = windows(2)
    order = torch.tensor([[2, 0, 1], [1, 0, 2]])
    torch.testing.assert_close(reordered(x, order)[0], x[0][:, [2, 0, 1]])
    torch.testing.assert_close(reordered(x, order)[1], x[1][:, [1, 0, 2]])


def test_recordings_keep_missing_points_missing():
    x = windows(50)
    x[:, 1:3, 0, 2] = torch.nan
    augment = RecordingAugment((0.0, 0.0), 6, rotation=1, reflection=0.5, noise=0.5, sigma=1)
    assert torch.equal(augment(x, torch.arange(50)).isnan(), x.isnan())
