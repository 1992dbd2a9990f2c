"""Losses of pairs and queues, the curriculum, optimisers, against plain formulas."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, normalize

from behaviorzoo.errors import UserError
from hysp.contrast import euclidean_nce, hyperbolic_nce, mixed_nce, squared_gaps
from hysp.curriculum import hyper_weight
from hysp.ema import update_average
from hysp.hyperbolic import cosine_distance, distance, exp_map
from hysp.losses import pair_loss, pair_metrics


def pair(n=6, d=8, scale=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(2, n, d, generator=generator, dtype=torch.float64)).unbind()


def nce_by_pairs(q, k, queue, temperature, c=1.0):
    """The published loss: every pair of points side by side."""
    everything = torch.cat([k[:, None], queue.T.expand(len(q), -1, -1)], dim=1)
    gaps = distance(exp_map(q, c)[:, None], exp_map(everything, c), c)
    logits = -gaps / temperature
    return (torch.logsumexp(logits, dim=1) - logits[:, 0]).mean()


@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("compat", ["paper", "upstream"])
def test_pair_loss_row_by_row(lam, compat):
    q, k = pair()
    found = pair_loss(q, k, lam, 0.7, compat)
    for i, (a, b) in enumerate(zip(exp_map(q, 0.7), exp_map(k, 0.7), strict=True)):
        cosine = (a @ b / (a.norm() * b.norm())).item()
        assert found.euclidean[i].item() == pytest.approx(2 - 2 * cosine if lam < 1 else 0)
        far = distance(a, b, 0.7, compat).item()
        assert found.hyperbolic[i].item() == pytest.approx(far if lam > 0 else 0)
    mixed = (1 - lam) * found.euclidean + lam * found.hyperbolic
    torch.testing.assert_close(found.mixed(lam), mixed)


def test_loss_of_half_precision_is_computed_in_single():
    q, k = (x.bfloat16() for x in pair())
    assert cosine_distance(q, k).dtype == torch.float32
    assert pair_loss(q, k, 0.5).mixed(0.5).dtype == torch.float64


def test_metrics_row_by_row():
    q, k = pair(scale=0.3)
    found = pair_metrics(q, k)
    x, y = exp_map(q), exp_map(k)
    assert found["mse"].item() == pytest.approx(((q - k) ** 2).mean().item())
    for i in range(len(q)):
        angle = math.degrees(math.acos((x[i] @ y[i] / (x[i].norm() * y[i].norm())).item()))
        assert found["ang_e"][i].item() == pytest.approx(angle)
        assert found["radius_x"][i].item() == pytest.approx(x[i].norm().item())
        assert found["radius_y"][i].item() == pytest.approx(y[i].norm().item())
        assert found["poincare_dist"][i].item() == pytest.approx(distance(x[i], y[i]).item())


def test_angle_of_parallel_vectors_is_a_number():
    q = torch.cat([pair(200)[0], torch.zeros(1, 8, dtype=torch.float64)])
    assert torch.isfinite(pair_metrics(q, 3 * q)["ang_e"]).all()


@pytest.mark.parametrize(("c", "scale"), [(1.0, 0.3), (1.0, 3.0), (0.4, 1.0)])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_gram_identity_equals_all_pairs_to_1e_12(c, scale, temperature):
    q, k = pair(scale=scale)
    queue = scale * torch.randn(8, 40, dtype=torch.float64)
    q.requires_grad_()
    fast = hyperbolic_nce(q, k, queue, temperature, c)
    slow = nce_by_pairs(q, k, queue, temperature, c)
    assert fast.item() == pytest.approx(slow.item(), rel=1e-12, abs=1e-12)
    (a,), (b,) = torch.autograd.grad(fast, q), torch.autograd.grad(slow, q)
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("c", "scale"), [(2.5, 1.0), (0.4, 0.3), (0.4, 3.0), (0.4, 1.0)])
def test_contrast_of_the_public_code_measures_as_in_the_unit_ball(c, scale):
    """Points of a wider ball may lie outside of it: what its formula gives then is NaN."""
    q, k = pair(scale=scale)
    queue = scale * torch.randn(8, 40, dtype=torch.float64)
    x, keys = exp_map(q, c), torch.cat([k[:, None], queue.T.expand(len(q), -1, -1)], dim=1)
    y = exp_map(keys, c)
    rims = (1 - x.square().sum(-1))[:, None] * (1 - y.square().sum(-1))
    gaps = torch.acosh(1 + 2 * (x[:, None] - y).square().sum(-1) / rims + 1e-7)
    expected = cross_entropy(-gaps / 0.07, torch.zeros(len(q), dtype=torch.long))
    found = hyperbolic_nce(q, k, queue, 0.07, c, "upstream")
    torch.testing.assert_close(found, expected, equal_nan=True)
    assert torch.isfinite(hyperbolic_nce(q, k, queue, 0.07, c))


@pytest.mark.parametrize("apart", [0.0, 1e-12, 1e-6, 1e-3])
def test_gram_identity_holds_for_saturated_points_that_nearly_coincide(apart):
    """Where the identity alone would lose all digits: keys of the queue beside the queries."""
    q, k = pair(scale=5.0)
    beside = q + apart * torch.randn(6, 8, dtype=torch.float64)
    queue = torch.cat([beside, pair(20, seed=1)[0]]).T
    fast = hyperbolic_nce(q, k, queue, 0.07)
    slow = nce_by_pairs(q, k, queue, 0.07)
    assert fast.item() == pytest.approx(slow.item(), rel=1e-12)


def test_all_points_fallen_together_are_finite():
    q = torch.full((5, 4), 9.0, dtype=torch.float64, requires_grad=True)
    loss = hyperbolic_nce(q, q.detach(), q.detach()[:1].T.expand(4, 3000).contiguous(), 0.07)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(3001), rel=1e-9)
    assert torch.isfinite(q.grad).all()


@given(st.integers(1, 5), st.integers(1, 7), st.floats(0, 1e-3))
def test_squared_gaps_pair_by_pair(n, m, apart):
    x, _ = pair(n, 3, seed=n)
    y = torch.cat([x[:1] + apart, pair(m, 3, seed=m + 10)[0]])
    x.requires_grad_(), y.requires_grad_()
    expected = (x[:, None] - y[None]).square().sum(-1)
    found = squared_gaps(x, y)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-25)
    weight = torch.arange(1.0, 1 + n * (m + 1), dtype=torch.float64).view(n, m + 1)
    grads = torch.autograd.grad((found * weight).sum(), (x, y))
    for a, b in zip(grads, torch.autograd.grad((expected * weight).sum(), (x, y)), strict=True):
        torch.testing.assert_close(a, b)


def test_euclidean_contrast_key_by_key():
    q, k = (normalize(x, dim=1) for x in pair())
    queue = normalize(torch.randn(8, 11, dtype=torch.float64), dim=0)
    losses = []
    for i in range(len(q)):
        scores = [q[i] @ k[i], *(q[i] @ queue[:, j] for j in range(11))]
        exps = [math.exp(score / 0.07) for score in scores]
        losses.append(-math.log(exps[0] / sum(exps)))
    found = euclidean_nce(q, k, queue, 0.07)
    assert found.item() == pytest.approx(sum(losses) / len(losses))
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue], dim=1) / 0.07
    torch.testing.assert_close(found, cross_entropy(logits, torch.zeros(6, dtype=torch.long)))


def test_mixture_computes_what_has_weight():
    q, k = pair()
    queue = torch.randn(8, 11, dtype=torch.float64)
    euclidean = mixed_nce(q, k, queue, 0.0, 0.07)
    hyperbolic = mixed_nce(q, k, queue, 1.0, 0.07)
    assert euclidean[2] == hyperbolic[1] == 0
    loss, _, _ = mixed_nce(q, k, queue, 0.25, 0.07)
    torch.testing.assert_close(loss, 0.75 * euclidean[1] + 0.25 * hyperbolic[2])


def test_curriculum_is_one_step_early():
    rows = [hyper_weight(epoch, 50, 100) for epoch in range(120)]
    assert rows[49] == 0
    assert rows[50] == 0.019999999552965164
    assert rows[99] == 1
    assert rows[:50] == [0] * 50
    assert rows == sorted(rows)
    assert [hyper_weight(epoch, 50, 100, curriculum=False) for epoch in (0, 70)] == [1, 1]
    assert hyper_weight(0, 0, 50) > 0  # SimSiam's: from the first epoch on


def test_curriculum_without_length_is_refused():
    with pytest.raises(UserError, match="final epoch 5 must come after the initial epoch 5"):
        hyper_weight(3, 5, 5)


def test_average_moves_by_its_share():
    targets, online = [torch.ones(3), torch.zeros(2, 2)], [torch.zeros(3), torch.ones(2, 2)]
    update_average(targets, online, 0.9)
    torch.testing.assert_close(targets, [torch.full((3,), 0.9), torch.full((2, 2), 0.1)])
