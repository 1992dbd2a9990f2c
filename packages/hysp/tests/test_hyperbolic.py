"""The Poincare ball: against plain formulas, at its edges, and by its laws."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from behaviorzoo.errors import UserError
from hysp.hyperbolic import (
    MoebiusLinear,
    cosine_distance,
    distance,
    exp_map,
    exp_map_fixed,
    log_map,
    uncertainty,
)
from hysp.losses import pair_loss

COMPATS = ("paper", "upstream")
RIM = 1 - 1e-5
LENGTHS = (0.0, 1e-300, 1e-15, 1e-8, 1.0, 6.0, 6.2, 15.0, 1e3)


def directions(n, d=5, seed=0):
    x = torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return x / x.norm(dim=-1, keepdim=True)


def exp_by_formula(u, c):
    length = math.sqrt(sum(v * v for v in u))
    if length == 0:
        return [0.0] * len(u)
    radius = min(math.tanh(min(math.sqrt(c) * length, 15.0)), RIM) / math.sqrt(c)
    return [radius * v / length for v in u]


def moebius_by_formula(a, b, c):
    ab, aa, bb = (
        sum(p * q for p, q in zip(x, y, strict=True)) for x, y in ((a, b), (a, a), (b, b))
    )
    below = max(1 + 2 * c * ab + c * c * aa * bb, 1e-15)
    return [
        ((1 + 2 * c * ab + c * bb) * p + (1 - c * aa) * q) / below
        for p, q in zip(a, b, strict=True)
    ]


def distance_by_formula(x, y, c, compat):
    if compat == "paper":
        gap = sum((p - q) ** 2 for p, q in zip(x, y, strict=True))
        rim = (1 - c * sum(p * p for p in x)) * (1 - c * sum(q * q for q in y))
        return math.acosh(1 + 2 * c * gap / rim + 1e-7) / math.sqrt(c)
    way = moebius_by_formula([-p for p in x], y, c)
    length = math.sqrt(c * sum(p * p for p in way))
    return 2 / math.sqrt(c) * math.atanh(min(length, 1 - 1e-7))


@pytest.mark.parametrize("c", [0.3, 1.0, 2.5])
def test_maps_and_distances_by_formula(c):
    u = directions(12) * torch.linspace(0, 9, 12, dtype=torch.float64)[:, None]
    mapped = exp_map(u, c)
    expected = [exp_by_formula(row, c) for row in u.tolist()]
    torch.testing.assert_close(mapped, torch.tensor(expected, dtype=torch.float64))
    for compat in COMPATS:
        found = distance(mapped[:, None], mapped[None], c, compat)
        for (i, x), (j, y) in itertools.product(enumerate(mapped.tolist()), repeat=2):
            by_hand = distance_by_formula(x, y, c, compat)
            assert found[i, j].item() == pytest.approx(by_hand, rel=1e-5, abs=1e-6)


def values_and_gradients(u, v, c, compat):
    """Everything that training computes of two vectors, and its derivative by both."""
    u, v = u.clone().requires_grad_(), v.clone().requires_grad_()
    x, y = exp_map(u, c), exp_map(v, c)
    values = [x, log_map(x, c, compat), distance(x, y, c, compat), cosine_distance(x, y)]
    values += [uncertainty(x), *pair_loss(u, v, 0.5, c, compat)]
    total = sum(value.sum() for value in values)
    return [value.detach() for value in values], torch.autograd.grad(total, (u, v))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("c", [0.5, 1.0])
@pytest.mark.parametrize("compat", COMPATS)
def test_finite_at_every_edge(compat, c, dtype):
    """Origin, tiny, saturated and huge vectors: apart, opposite, parallel and equal."""
    one, other = directions(2)
    pairs = [
        (a * one, b * v)
        for a, b in itertools.product(LENGTHS, repeat=2)
        for v in (other, -one, one, one + 1e-12 * other)
    ]
    u, v = (torch.stack(side).to(dtype) for side in zip(*pairs, strict=True))
    values, grads = values_and_gradients(u, v, c, compat)
    for tensor in (*values, *grads):
        assert torch.isfinite(tensor).all()


@pytest.mark.parametrize("compat", COMPATS)
def test_finite_on_and_beyond_the_rim(compat):
    """Points that nothing projected: not valid, but no reason for NaN."""
    x, y = directions(2)
    for a, b in itertools.product((RIM, 1 - 1e-12, 1.0), repeat=2):
        for other in (y, x, -x):
            p, q = (a * x).requires_grad_(), (b * other).requires_grad_()
            value = distance(p, q, compat=compat)
            assert torch.isfinite(value)
            for grad in torch.autograd.grad(value, (p, q)):
                assert torch.isfinite(grad).all()


@pytest.mark.parametrize("c", [0.3, 1.0])
def test_points_without_gradient_map_the_same(c):
    lengths = torch.tensor(LENGTHS, dtype=torch.float64)[:, None]
    for u in (lengths * directions(len(lengths)), (lengths * directions(9)).float()):
        found = exp_map_fixed(u.T.contiguous().T, c)
        torch.testing.assert_close(found, exp_map(u, c), rtol=1e-14, atol=1e-20)


def test_origin_maps_to_itself_with_the_identity_as_derivative():
    zero = torch.zeros(4, dtype=torch.float64)
    assert torch.equal(exp_map(zero), zero)
    torch.testing.assert_close(
        torch.autograd.functional.jacobian(exp_map, zero), torch.eye(4).double()
    )


def test_saturated_points_keep_the_angular_gradient_only():
    u = (8 * directions(1)[0]).requires_grad_()
    mapped = exp_map(u)
    assert mapped.norm().item() == pytest.approx(RIM, rel=1e-12)
    towards = directions(1, seed=1)[0]
    (grad,) = torch.autograd.grad((mapped * towards).sum(), u)
    assert abs((grad * u).sum().item()) < 1e-12
    assert grad.norm() > 1e-3


def test_the_two_distances_differ_where_the_public_code_is_dead():
    angle = math.radians(30)
    u = torch.tensor([9.0, 0.0]).double().requires_grad_()
    v = 9 * torch.tensor([math.cos(angle), math.sin(angle)]).double()
    grads = {}
    for compat in COMPATS:
        value = distance(exp_map(u), exp_map(v), compat=compat)
        grads[compat] = torch.autograd.grad(value, u)[0].norm().item()
    assert grads["upstream"] == 0
    assert grads["paper"] > 0.1


def test_float32_is_computed_in_double():
    u = directions(3).float()
    assert exp_map(u).dtype == torch.float64
    assert torch.equal(exp_map(u), exp_map(u.double()))
    assert distance(u / 2, u / 3).dtype == torch.float64


vectors = st.lists(st.floats(-5, 5), min_size=3, max_size=3)
curvatures = st.floats(0.1, 3)
compats = st.sampled_from(COMPATS)


def point(values, c):
    return exp_map(torch.tensor(values, dtype=torch.float64), c)


@given(vectors, vectors, curvatures, compats)
def test_distance_is_symmetric_and_not_negative(u, v, c, compat):
    x, y = point(u, c), point(v, c)
    there, back = distance(x, y, c, compat).item(), distance(y, x, c, compat).item()
    assert there >= 0
    assert there == pytest.approx(back, rel=1e-6, abs=1e-6)


@given(vectors, vectors, vectors, curvatures, compats)
def test_no_detour_is_shorter(u, v, w, c, compat):
    x, y, z = point(u, c), point(v, c), point(w, c)
    detour = distance(x, y, c, compat) + distance(y, z, c, compat)
    # Saturated points are 1e-5 from the rim: eleven digits of their distance are left.
    assert distance(x, z, c, compat) <= detour + 1e-5


@given(vectors, curvatures)
def test_log_map_inverts_exp_map_inside_the_rim(u, c):
    u = torch.tensor(u, dtype=torch.float64)
    u = u * min(1.0, 5.9 / (math.sqrt(c) * u.norm().item() + 1e-12))
    torch.testing.assert_close(log_map(exp_map(u, c), c), u, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(exp_map(log_map(exp_map(u, c), c), c), exp_map(u, c))


@given(vectors, curvatures)
def test_distance_from_the_origin_is_twice_the_length(u, c):
    u = torch.tensor(u, dtype=torch.float64)
    u = u * min(1.0, 5.9 / (math.sqrt(c) * u.norm().item() + 1e-12))
    origin = torch.zeros_like(u)
    twice = 2 * u.norm().item()
    # 4.5e-4: what is added inside the arcosh of the paper's form shows near 0 only.
    for compat, slack in (("upstream", 1e-6), ("paper", 5e-4 / math.sqrt(c))):
        assert distance(exp_map(u, c), origin, c, compat).item() == pytest.approx(twice, abs=slack)


def test_uncertainty_is_one_at_the_origin_and_falls_outwards():
    found = uncertainty(exp_map(torch.tensor([[0.0, 0], [0.5, 0], [2, 0], [50, 0]])))
    assert found[0] == 1
    assert (found.diff() < 0).all()
    assert found[-1].item() == pytest.approx(1e-5, rel=1e-6)


def test_moebius_classifier_by_formula():
    torch.manual_seed(0)
    head = MoebiusLinear(5, 3)
    head.weight.data.normal_()
    head.weight.data[2] = 0
    head.bias.data.uniform_(-0.3, 0.3)
    x = exp_map(torch.randn(4, 5))
    rows = []
    for point_ in x:
        turned = head.weight.double() @ point_
        radius = math.tanh(
            min((turned.norm() / point_.norm()).item() * math.atanh(point_.norm()), 15)
        )
        turned = turned / turned.norm() * radius
        logits = torch.tensor(moebius_by_formula(turned.tolist(), head.bias.tolist(), 1.0))
        rows.append(logits * min(1.0, RIM / logits.norm().item()))
    torch.testing.assert_close(head(x).detach(), torch.stack(rows).double(), rtol=1e-6, atol=1e-7)
    assert (head(x).norm(dim=-1) < 1).all()


def test_moebius_classifier_starts_small_and_has_the_published_keys():
    torch.manual_seed(0)
    head = MoebiusLinear(1024, 60)
    assert list(head.state_dict()) == ["weight", "bias", "ball.isp_c"]
    assert head.state_dict()["ball.isp_c"].item() == pytest.approx(math.log(math.e - 1), abs=1e-6)
    assert head.weight.std().item() == pytest.approx(0.01 / math.sqrt(2 * 1024 * 60), rel=0.02)
    assert head.bias.norm().item() == pytest.approx(math.sqrt(60) / 400, rel=0.3)
    assert head.bias.manifold is head.ball
    assert not head.ball.isp_c.requires_grad


def test_moebius_classifier_maps_a_zero_product_to_its_bias():
    head = MoebiusLinear(4, 3)
    x = torch.zeros(2, 4, dtype=torch.float64, requires_grad=True)
    logits = head(x)
    torch.testing.assert_close(logits[0], head.bias.double())
    logits.sum().backward()
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(head.weight.grad).all()


def test_unknown_compat_is_refused():
    with pytest.raises(UserError, match="compat: unknown 'up-stream'; did you mean 'upstream'"):
        distance(torch.zeros(2), torch.zeros(2), compat="up-stream")
