"""Optimisers and schedules of the recipes, step by step."""

from __future__ import annotations

import math

import pytest
import torch

from behaviorzoo.errors import UserError
from hysp.hyperbolic import MoebiusLinear, exp_map
from hysp.optim import OPTIMIZERS, OptimConfig, build_optimizer, build_scheduler, rate_factor


def run(name, steps=3, lr=0.1, decay=0.01):
    """Weights after a few steps down 0.5 * sum(scale * p^2)."""
    p = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64))
    scale = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)
    optimizer = build_optimizer(name, [p], lr, decay)
    for _ in range(steps):
        optimizer.zero_grad()
        (0.5 * scale * p.square()).sum().backward()
        optimizer.step()
    return p.detach()


def momentum_by_hand(first_velocity, steps=3, lr=0.1, decay=0.01, scaled=False):
    p = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    scale = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)
    velocity = None
    for _ in range(steps):
        raw = scale * p
        g = raw + decay * p
        if scaled:
            g = g * 0.001 * p.norm() / (raw.norm() + decay * p.norm() + 1e-8)
        velocity = first_velocity(raw, g) if velocity is None else 0.9 * velocity + g
        p = p - lr * velocity
    return p


def test_sgd_starts_its_momentum_at_the_decayed_gradient():
    torch.testing.assert_close(run("SGD"), momentum_by_hand(lambda raw, g: g))


def test_riemannian_sgd_counts_its_first_gradient_1_9_times():
    expected = momentum_by_hand(lambda raw, g: 0.9 * raw + g)
    torch.testing.assert_close(run("RiemannianSGD"), expected)


def test_lars_scales_each_parameter_by_its_size():
    expected = momentum_by_hand(lambda raw, g: g, scaled=True)
    torch.testing.assert_close(run("LARS"), expected)


def test_lars_moves_parameters_that_start_at_zero():
    p = torch.nn.Parameter(torch.zeros(2))
    optimizer = build_optimizer("LARS", [p], 0.5)
    p.sum().backward()
    optimizer.step()
    torch.testing.assert_close(p.detach(), torch.full((2,), -0.5))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimiser_goes_downhill(name):
    before, after = torch.tensor([1.0, -2.0, 3.0]).double(), run(name, steps=5)
    assert after.norm() < before.norm()


def test_adamw_keeps_its_own_decay():
    assert build_optimizer("AdamW", [torch.nn.Parameter(torch.ones(1))], 0.1, 0.5).defaults[
        "weight_decay"
    ] == pytest.approx(0.01)


@pytest.mark.parametrize("name", ["RiemannianSGD", "RiemannianAdam"])
def test_bias_of_the_moebius_head_stays_on_the_ball(name):
    torch.manual_seed(0)
    head = MoebiusLinear(4, 3)
    optimizer = build_optimizer(name, head.parameters(), 5.0)
    x = exp_map(torch.randn(8, 4))
    for _ in range(20):
        optimizer.zero_grad()
        (-head(x)[:, 0]).sum().backward()
        optimizer.step()
    assert head.bias.norm() < 1
    assert head(x)[:, 0].mean() > 0.5


def rates(config, final=None, epochs=None):
    return [config.lr * rate_factor(e, config, final) for e in range(epochs or config.epochs)]


def test_step_schedule():
    found = rates(OptimConfig(lr=0.2, epochs=10, milestones=(3, 6)))
    assert found == pytest.approx([0.2] * 3 + [0.02] * 3 + [0.002] * 4)


def test_cosine_warms_up_and_ends_at_its_minimum():
    config = OptimConfig(lr=0.4, epochs=30, scheduler="cosine", warmup_epochs=10, lr_min=0.01)
    found = rates(config, epochs=31)
    assert found[0] == pytest.approx(0.04)
    assert found[5] == pytest.approx(0.22)
    assert found[10] == pytest.approx(0.4)
    assert found[20] == pytest.approx((0.4 + 0.01) / 2)
    assert found[30] == pytest.approx(0.01)


def test_cosine_with_a_curriculum_waits_for_its_end():
    config = OptimConfig(lr=0.4, epochs=30, scheduler="cosine")
    found = rates(config, final=10, epochs=31)
    assert found[:11] == [0.4] * 11
    assert found[20] == pytest.approx(0.4 * (0.1 + 0.9 / 2))
    assert found[30] == pytest.approx(0.04)


def test_scheduler_turns_once_per_epoch():
    config = OptimConfig(lr=0.2, epochs=5, milestones=(2,))
    optimizer = build_optimizer("SGD", [torch.nn.Parameter(torch.ones(1))], config.lr)
    scheduler, seen = build_scheduler(optimizer, config), []
    for _ in range(config.epochs):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert seen == pytest.approx(rates(config))
    assert math.isclose(seen[2], 0.02)


@pytest.mark.parametrize("name", ["lr", "weight_decay", "lr_min"])
def test_what_is_no_number_is_told(name):
    with pytest.raises(UserError, match=f"{name} = nan must"):
        OptimConfig(**{name: math.nan})


def test_mistakes_are_named_together():
    with pytest.raises(
        UserError, match=r"optimizer: unknown 'sgd'; choose one of: Adam.*SGD; lr = 0 must"
    ):
        OptimConfig(optimizer="sgd", lr=0)
    with pytest.raises(UserError, match="unknown 'Lars'; choose one of: Adam, AdamW, LARS"):
        build_optimizer("Lars", [torch.nn.Parameter(torch.ones(1))], 0.1)
