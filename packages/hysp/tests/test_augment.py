"""Augmentations: each against a plain loop, and what must hold for any batch."""

from __future__ import annotations

import dataclasses
import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from behaviorzoo.errors import UserError
from hysp.augment import (
    NTU_MIRROR,
    AugmentConfig,
    Drawn,
    apply,
    draw_strong,
    draw_weak,
    replay,
    views,
)
from hysp.augment.applying import blur_matrices

CONFIG = AugmentConfig()


def batch(seed: int, n: int = 6, frames: int = 14, coordinates: int = 3) -> torch.Tensor:
    """Two persons; the second of every other sample is absent."""
    x = torch.from_numpy(np.random.default_rng(seed).normal(size=(n, coordinates, frames, 25, 2)))
    x[::2, ..., 1] = 0
    return x


def same(a: torch.Tensor, b: torch.Tensor) -> None:
    # Not torch's own assertion: its first call imports for seconds.
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def plain_view(x: np.ndarray, drawn: Drawn, row: int, compat: str) -> np.ndarray:
    """One sample (C, T, V, M), change by change in the published order."""

    def value(name: str):
        tensor = getattr(drawn, name)
        return None if tensor is None else tensor[row].numpy()

    C, T = x.shape[:2]
    x = x.copy()
    if drawn.start is not None:
        P = T // 6
        front, behind = x[:, :P][:, ::-1], x[:, T - P :][:, ::-1]
        start = int(value("start"))
        x = np.concatenate([front, x, behind], axis=1)[:, start : start + T]
    if drawn.shear is not None:
        a1, a2, a3, b1, b2, b3 = value("shear")
        R = np.array([[1, a1, b1], [a2, 1, b2], [a3, b3, 1]])[:C, :C]
        x = np.einsum("ij,jtvm->itvm", R, x)
    if drawn.flipped is not None and value("flipped"):
        x = x[:, :, list(NTU_MIRROR)].copy()
        if compat == "paper":
            x[0] = -x[0]
    if drawn.degrees is not None:
        ax, ay, az = np.deg2rad(value("degrees"))
        Rx = [[1, 0, 0], [0, math.cos(ax), math.sin(ax)], [0, -math.sin(ax), math.cos(ax)]]
        Ry = [[math.cos(ay), 0, -math.sin(ay)], [0, 1, 0], [math.sin(ay), 0, math.cos(ay)]]
        Rz = [[math.cos(az), math.sin(az), 0], [-math.sin(az), math.cos(az), 0], [0, 0, 1]]
        R = (np.array(Rz) @ np.array(Ry) @ np.array(Rx))[:C, :C]
        x = np.einsum("ij,jtvm->itvm", R, x)
    if drawn.noisy is not None and value("noisy"):
        number = int(drawn.noisy[:row].sum())
        there = (x != 0).any(axis=(0, 2), keepdims=True) if compat == "paper" else 1
        x = x + drawn.noise[number].numpy() * there
    if drawn.blurred is not None and value("blurred"):
        old, sigma = x, float(value("sigma"))
        x = np.zeros_like(old)
        for t in range(T):
            weights = {
                u: math.exp(-((u - t) ** 2) / (2 * sigma**2))
                for u in range(max(t - 7, 0), min(t + 8, T))
            }
            total = sum(weights.values()) if compat == "paper" else 1
            x[:, t] = sum(weight / total * old[:, u] for u, weight in weights.items())
    if drawn.masked is not None and value("masked"):
        x[int(value("axis"))] = 0
    if drawn.reversed is not None and value("reversed"):
        x = x[:, ::-1]
    return x


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    frames=st.integers(1, 31),
    coordinates=st.sampled_from([2, 3]),
    compat=st.sampled_from(["paper", "upstream"]),
)
def test_views_equal_a_plain_loop(seed, frames, coordinates, compat):
    x = batch(seed, 6, frames, coordinates)
    seeds = torch.arange(6) + 100 * seed
    for draw in (draw_strong, draw_weak):
        drawn = draw(seeds, x.shape, CONFIG)
        out = apply(x, drawn, CONFIG, compat=compat).numpy()
        for row in range(6):
            expected = plain_view(x[row].numpy(), drawn, row, compat)
            np.testing.assert_allclose(out[row], expected, atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**40), compat=st.sampled_from(["paper", "upstream"]))
def test_a_view_depends_on_its_own_sample_and_seed(seed, compat):
    x = batch(1, 5).float()
    seeds = torch.arange(5) * 7919 + seed
    strong, weak = views(x, seeds, CONFIG, compat)
    order = torch.tensor([3, 0, 4])
    other_strong, other_weak = views(x[order], seeds[order], CONFIG, compat)
    same(other_strong, strong[order])
    same(other_weak, weak[order])
    again = views(x, seeds, CONFIG, compat)
    assert torch.equal(again[0], strong)
    assert torch.equal(again[1], weak)


def test_large_batches_pass_in_groups():
    x = batch(3, 300, frames=5).float()
    seeds = torch.arange(300)
    strong, _ = views(x, seeds, CONFIG)
    same(views(x[250:], seeds[250:], CONFIG)[0], strong[250:])
    assert strong.dtype == torch.float32
    empty = views(x[:0], seeds[:0], CONFIG)
    assert empty[0].shape == (0, *x.shape[1:])


def test_views_leave_their_input_alone():
    x = batch(4).float()
    before = x.clone()
    off = AugmentConfig(padding_ratio=-1, shear=-1)
    for config in (CONFIG, off):
        views(x, torch.arange(6), config)
        assert torch.equal(x, before)
    _, weak = views(x, torch.arange(6), off)
    assert torch.equal(weak, x)


def test_absent_persons_stay_absent():
    x = batch(5, 40).float()
    strong, weak = views(x, torch.arange(40), CONFIG)
    assert not strong[::2, ..., 1].any()
    assert not weak[::2, ..., 1].any()
    noisy, _ = views(x, torch.arange(40), CONFIG, "upstream")
    assert noisy[::2, ..., 1].any()


def test_a_mirror_image_is_a_mirror_image():
    """paper: distances between joints stay those of a body; upstream twists it."""
    x = batch(6, 1)
    drawn = Drawn(flipped=torch.tensor([True]))
    distance = torch.cdist(x[0, :, 0, :, 0].T, x[0, :, 0, :, 0].T)
    order = list(NTU_MIRROR)
    mirrored = apply(x, drawn, CONFIG)[0, :, 0, :, 0]
    same(torch.cdist(mirrored.T, mirrored.T), distance[order][:, order])
    same(mirrored[0], -x[0, 0, 0, order, 0])
    twisted = apply(x, drawn, CONFIG, compat="upstream")
    assert torch.equal(twisted, x[:, :, :, order])
    assert torch.equal(apply(twisted, drawn, CONFIG, compat="upstream"), x)


def test_the_blur_keeps_a_person_who_stands_still():
    sigma = torch.tensor([0.1, 2.0], dtype=torch.float64)
    for frames in (3, 50):
        sums = blur_matrices(sigma, frames, 15, normalised=True).sum(-1)
        same(sums, torch.ones_like(sums))
    gain = blur_matrices(sigma, 50, 15, normalised=False).sum(-1)[:, 25]
    assert gain.tolist() == pytest.approx([1.0, 5.01], abs=0.01)


def test_how_often_and_how_much():
    n = 20_000
    drawn = draw_strong(torch.arange(n), torch.Size((n, 3, 50, 1, 1)), CONFIG)
    for name in ("flipped", "noisy", "blurred", "masked", "reversed"):
        assert getattr(drawn, name).double().mean().item() == pytest.approx(0.5, abs=0.02)
    assert torch.bincount(drawn.start, minlength=17).tolist() == pytest.approx(
        [n / 17] * 17, rel=0.2
    )
    assert drawn.shear.abs().max() <= 0.5
    assert drawn.shear.mean().item() == pytest.approx(0, abs=0.01)
    main = drawn.degrees.gather(1, drawn.main_axis[:, None])
    assert main.max().item() == pytest.approx(30, abs=0.1)
    assert main.min() >= 0
    others = drawn.degrees.sum(1) - main[:, 0]
    assert others.max() <= 2
    assert drawn.sigma.min().item() == pytest.approx(0.1, abs=0.01)
    assert drawn.sigma.max().item() == pytest.approx(2, abs=0.01)
    assert torch.bincount(drawn.axis).tolist() == pytest.approx([n / 3] * 3, rel=0.05)
    flags = torch.stack([drawn.flipped, drawn.noisy, drawn.blurred, drawn.masked, drawn.reversed])
    assert (torch.corrcoef(flags.double()) - torch.eye(5)).abs().max() < 0.03
    weak = draw_weak(torch.arange(n), torch.Size((n, 3, 50, 1, 1)), CONFIG)
    assert (weak.start == drawn.start).double().mean() < 0.1


def test_noise_is_gaussian_of_the_right_size():
    seeds = torch.arange(64)
    drawn = draw_strong(seeds, torch.Size((64, 3, 20, 25, 2)), CONFIG)
    assert len(drawn.noise) == int(drawn.noisy.sum())
    assert drawn.noise.std().item() == pytest.approx(0.01, rel=0.02)
    assert drawn.noise.mean().item() == pytest.approx(0, abs=2e-4)


def test_probabilities_of_zero_and_one():
    always = AugmentConfig(flip=1, noise=1, blur=1, axis_mask=1, time_flip=1)
    never = AugmentConfig(flip=0, noise=0, blur=0, axis_mask=0, time_flip=0, rotation=0)
    never = dataclasses.replace(never, rotation_others=0, padding_ratio=0, shear=0)
    x = batch(7).float()
    strong, weak = views(x, torch.arange(6), never)
    same(strong, x)
    same(weak, x)
    assert (views(x, torch.arange(6), always)[0] == 0).flatten(2).all(-1).any(-1).all()


def test_two_dimensions_turn_in_the_plane():
    x = batch(8, 4, coordinates=2)
    drawn = draw_strong(torch.arange(4), x.shape, CONFIG)
    assert drawn.main_axis.tolist() == [2, 2, 2, 2]
    turned = apply(x, Drawn(degrees=drawn.degrees), CONFIG)
    same(turned.norm(dim=1), x.norm(dim=1))


def test_other_skeletons_need_their_own_mirror():
    x = torch.randn(2, 2, 10, 12, 1)
    with pytest.raises(UserError, match=r"has 25 entries, the data have 12 joints.*mirror_pairs"):
        views(x, torch.arange(2), CONFIG)
    strong, weak = views(x, torch.arange(2), CONFIG, mirror=range(12))
    assert strong.shape == weak.shape == x.shape
    with pytest.raises(UserError, match="compat: unknown 'upstreams'; did you mean 'upstream'"):
        views(x, torch.arange(2), CONFIG, "upstreams", mirror=range(12))


def test_wrong_numbers_are_told_together():
    with pytest.raises(UserError) as caught:
        AugmentConfig(flip=2, rotation=-1, blur_sigma=(2, 1), blur_taps=4)
    for word in ("augment.flip=2", "augment.rotation=-1", "blur_sigma", "blur_taps=4"):
        assert word in str(caught.value)
    assert all(field.metadata["help"] for field in dataclasses.fields(AugmentConfig))


@pytest.mark.parametrize(
    "name", ["shear", "flip", "rotation", "rotation_others", "noise", "noise_sigma"]
)
def test_what_is_no_number_is_told(name):
    with pytest.raises(UserError, match=f"augment.{name}=nan must"):
        AugmentConfig(**{name: math.nan})


def test_replayed_draws_advance_the_generators_as_the_original_does():
    """Strong view of the original, written out call by call."""
    generators, shape = replay.Generators.seeded(5), (3, 50, 25, 2)
    drawn, each = replay.draws(generators, shape, CONFIG, replay.STRONG)
    py, legacy = random.Random(5), np.random.RandomState(5)
    assert drawn.start.item() == legacy.randint(0, 17)
    assert drawn.shear[0].tolist() == [py.uniform(-0.5, 0.5) for _ in range(6)]
    assert drawn.flipped.item() == (py.random() < 0.5)
    axis = py.randint(0, 2)
    assert drawn.main_axis.item() == axis
    assert drawn.degrees[0].tolist() == [py.uniform(0, 30 if n == axis else 1) for n in range(3)]
    if py.random() < 0.5:
        np.testing.assert_array_equal(drawn.noise[0], legacy.normal(0, 0.01, size=shape))
    assert drawn.sigma.item() == py.uniform(0.1, 2)
    assert drawn.blurred.item() == (legacy.random_sample() < 0.5)
    if py.random() < 0.5:
        assert drawn.axis.item() == py.randint(0, 2)
    assert drawn.reversed.item() == (py.random() < 0.5)
    assert list(each) == list(replay.STRONG)
    assert generators.python.random() == py.random()
    off = AugmentConfig(padding_ratio=0, shear=0)
    assert replay.draws(generators, shape, off, replay.WEAK) == (Drawn(), {})
