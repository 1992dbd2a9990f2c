"""Losses, accuracies, mixup and the step, against slow code and their definitions."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from behaviorzoo.errors import UserError
from sgear.accuracy import batch_accuracy
from sgear.losses import AnticipationLoss, Targets, balanced_weights
from sgear.mixup import Mixup, blend, labels_of_clips
from sgear.step import refuse_nan, run_step, total_loss, unwrapped

N, B, T, D = 12, 4, 3, 5
WEIGHTS = {
    "cls_action": 1.0,
    "past_cls_action": 0.5,
    "feat": 0.0,
    "target_distance": 2.0,
    "global_simContrast": 4.0,
    "past_target_global_simContrast": 0.0,
}


def outputs(types=("action",), n=N) -> dict[str, Tensor]:
    torch.manual_seed(0)
    found = {
        "similarities": torch.rand(B, N) * 2 - 1,
        "similarities_past": torch.rand(B, T, N) * 2 - 1,
        "future_z": torch.randn(B, D),
    }
    for name in types:
        found[f"logits/{name}"] = torch.randn(B, n)
        found[f"past_logits/{name}"] = torch.randn(B, T, n)
    return found


def similarities() -> Tensor:
    return torch.rand(N, N, generator=torch.Generator().manual_seed(1)) * 2 - 1


PROTOTYPES = torch.randn(N, D, generator=torch.Generator().manual_seed(2))


def slow_cross_entropy(scores: Tensor, label: int) -> float:
    if label == -1:
        return 0.0
    total = sum(math.exp(float(s)) for s in scores)
    return math.log(total) - float(scores[label])


def slow_l1(s: Tensor, r: Tensor) -> float:
    s_norm, r_norm = float(s.abs().sum()), float(r.abs().sum())
    return sum(abs(float(a) / s_norm - float(b) / r_norm) for a, b in zip(s, r, strict=True))


@pytest.mark.parametrize("compat", ["upstream", "corrected"])
def test_losses(compat):
    labels = torch.tensor([3, -1, 0, 11])
    past = torch.tensor([[[1], [-1], [4]], [[-1], [-1], [-1]], [[0], [2], [2]], [[9], [9], [1]]])
    out, names = outputs(), similarities()
    criterion = AnticipationLoss(names, compat=compat)
    losses, _ = criterion(out, Targets({"action": labels}, {"action": past}), PROTOTYPES)
    assert set(losses) == set(WEIGHTS) - {"feat"}
    for b, y in enumerate(labels.tolist()):
        counted = y >= 0 or compat == "upstream"
        found = {name: value.view(B, -1)[b] for name, value in losses.items()}
        expected = slow_cross_entropy(out["logits/action"][b], y)
        assert found["cls_action"].item() == pytest.approx(expected, abs=1e-5)
        row = names[abs(y)]  # a missing label, -1, has the similarities of class 1
        expected = slow_l1(out["similarities"][b], row) * counted
        assert found["global_simContrast"].item() == pytest.approx(expected, abs=1e-5)
        z, v = out["future_z"][b], PROTOTYPES[y]  # of -1 the last prototype
        expected = (2 - 2 * float(torch.cosine_similarity(z, v, dim=0))) * counted
        assert found["target_distance"].item() == pytest.approx(expected, abs=1e-5)
        for t, y_past in enumerate(past[b, :, 0].tolist()):
            expected = slow_cross_entropy(out["past_logits/action"][b, t], y_past)
            assert found["past_cls_action"][t].item() == pytest.approx(expected, abs=1e-5)
            expected = 0.0
            if y_past >= 0:
                expected = slow_l1(out["similarities_past"][b, t], names[y_past])
            value = found["past_target_global_simContrast"][t].item()
            assert value == pytest.approx(expected, abs=1e-5)


def test_the_most_frequent_label_of_a_clip_counts():
    past = torch.tensor([[[2, 2, 5], [-1, -1, 3], [7, 4, 4]]])
    assert labels_of_clips(past).tolist() == [[2, -1, 4]]
    assert labels_of_clips(torch.tensor([[[5, 3]]])).tolist() == [[3]]  # the smaller of equals
    assert torch.equal(labels_of_clips(past[..., 0]), past[..., 0])


def test_regulariser_takes_the_prototype_of_the_last_type():
    out = outputs(("action", "verb"))
    y = {"action": torch.tensor([1, 2, 3, 4]), "verb": torch.tensor([5, 6, 7, 8])}
    for compat, name in (("upstream", "verb"), ("corrected", "action")):
        found, _ = AnticipationLoss(similarities(), compat=compat)(out, Targets(y, {}), PROTOTYPES)
        expected = 2 - 2 * torch.cosine_similarity(out["future_z"], PROTOTYPES[y[name]])
        torch.testing.assert_close(found["target_distance"], expected)
        row = similarities()[1]
        expected = slow_l1(out["similarities"][0], row)
        assert found["global_simContrast"][0].item() == pytest.approx(expected, abs=1e-5)
        assert "past_target_global_simContrast" not in found


def test_prototypes_get_no_gradient_from_the_regulariser():
    prototypes = PROTOTYPES.clone().requires_grad_()
    out = outputs()
    out["future_z"].requires_grad_()
    y = Targets({"action": torch.tensor([0, 1, 2, 3])}, {})
    AnticipationLoss(None)(out, y, prototypes)[0]["target_distance"].sum().backward()
    assert prototypes.grad is None
    assert out["future_z"].grad is not None


def test_without_similarities_of_names():
    y = Targets({"action": torch.zeros(B, dtype=torch.long)}, {})
    losses, _ = AnticipationLoss(None)(outputs(), y, PROTOTYPES)
    assert set(losses) == {"cls_action", "target_distance"}


def test_weights_of_classes():
    weights = balanced_weights({0: 1, 2: 3, -1: 100}, 4)
    torch.testing.assert_close(weights, torch.tensor([4.0, 0.0, 4 / 3, 0.0]))
    scores, y = torch.randn(B, 4), torch.tensor([0, 2, -1, 2])
    out = {**outputs(), "logits/action": scores}
    criterion = AnticipationLoss(None, {"action": weights})
    found = criterion(out, Targets({"action": y}, {}), PROTOTYPES)[0]["cls_action"]
    expected = [
        slow_cross_entropy(s, c) * weights[c] for s, c in zip(scores, y.tolist(), strict=True)
    ]
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_what_does_not_fit_is_refused():
    y = {"action": torch.zeros(B, dtype=torch.long)}
    with pytest.raises(UserError, match="no scores of 'verb'"):
        AnticipationLoss(None)(outputs(), Targets({"verb": y["action"]}, {}), PROTOTYPES)
    with pytest.raises(UserError, match="similarities of 3 action names for 12 visual prototypes"):
        AnticipationLoss(torch.rand(3, 3))(outputs(), Targets(y, {}), PROTOTYPES)
    with pytest.raises(UserError, match=r"expected \(N, N\)"):
        AnticipationLoss(torch.rand(3, 4))
    past = {"action": torch.zeros(B, T + 1, 1, dtype=torch.long)}
    with pytest.raises(UserError, match=r"past labels \(4, 4\).* predictions \(4, 3\)"):
        AnticipationLoss(None)(outputs(), Targets(y, past), PROTOTYPES)


# -- accuracy -------------------------------------------------------------------------------------


@given(st.integers(1, 8), st.integers(1, 9), st.integers(0, 2**31 - 1))
@settings(max_examples=40, deadline=None)
def test_accuracy(n, classes, seed):
    rng = np.random.default_rng(seed)
    scores = rng.permutation(n * classes).reshape(n, classes).astype(np.float32)
    labels = rng.integers(-1, classes, n)
    for k, found in zip(
        (1, 5), batch_accuracy(torch.tensor(scores), torch.tensor(labels)), strict=True
    ):
        ranks = [sum(s > row[y] for s in row) for row, y in zip(scores, labels, strict=True)]
        hits = [y >= 0 and rank < k for rank, y in zip(ranks, labels, strict=True)]
        assert found.item() == pytest.approx(100 * np.mean(hits))


def test_accuracy_of_a_mixed_batch_adds_both_classes():
    scores = torch.tensor([[0.4, 0.1, 0.45, 0.05]])
    shares = torch.tensor([[0.7, 0.25, 0.0, 0.05]])
    assert [a.item() for a in batch_accuracy(scores, shares)] == [100, 100]  # 0.4 + 0.1 > 0.45
    shares = torch.tensor([[0.7, 0.0, 0.05, 0.25]])
    scores[0, 2] = 0.46
    found = batch_accuracy(scores, shares, (1, 2))
    assert [a.item() for a in found] == [0, 100]  # 0.4 + 0.05 < 0.46
    assert scores[0, 3] == pytest.approx(0.05)  # what was given stays as it is
    assert batch_accuracy(torch.ones(2, 1), torch.ones(2, 1))[0] == 100


# -- mixup ----------------------------------------------------------------------------------------


@given(st.integers(2, 5), st.floats(0, 1), st.floats(0, 0.9))
@settings(max_examples=30, deadline=None)
def test_mixup(batch, lam, smoothing):
    x, y = torch.randn(batch, 2, 3), torch.randint(0, 6, (batch,))
    past = torch.randint(-1, 6, (batch, 3, 1))
    for compat in ("upstream", "corrected"):
        mixup = Mixup({"action": 6}, 0.8, smoothing, compat)
        mixed = mixup(x, {"action": y}, {"action": past}, lam=lam)
        for b in range(batch):
            other = batch - 1 - b
            torch.testing.assert_close(mixed.video[b], lam * x[b] + (1 - lam) * x[other])
            for c in range(6):
                expected = sum(
                    share * ((1 - smoothing) * (y[i] == c).item() + smoothing / 6)
                    for share, i in ((lam, b), (1 - lam, other))
                )
                assert mixed.target["action"][b, c].item() == pytest.approx(expected, abs=1e-5)
        sums = mixed.past_target["action"].sum(-1)
        known = blend((past[..., 0] >= 0).float(), lam)
        torch.testing.assert_close(sums, torch.ones_like(sums) if compat == "upstream" else known)


def test_share_of_a_mixed_batch_follows_the_seed():
    mixup = Mixup({"action": 3}, alpha=0.8)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append([mixup.draw() for _ in range(300)])
    assert draws[0] == draws[1] != draws[2]
    assert np.mean(draws[0]) == pytest.approx(0.5, abs=0.1)
    assert np.var(draws[0]) == pytest.approx(0.25 / 2.6, abs=0.03)  # of Beta(0.8, 0.8)


def test_losses_of_a_mixed_batch():
    mixup = Mixup({"action": N})
    y, past = torch.tensor([1, 2, 3, 4]), torch.zeros(B, T, 1, dtype=torch.long)
    out, lam = outputs(), 0.3
    mixed = mixup(torch.zeros(B, 1), {"action": y}, {"action": past}, lam=lam)
    criterion = AnticipationLoss(similarities())
    plain = Targets({"action": y}, {"action": past})
    reverse = Targets({"action": y.flip(0)}, {"action": past})
    found, accuracies = criterion(out, Targets(plain.target, plain.past, mixed), PROTOTYPES)
    both = [criterion(out, targets, PROTOTYPES)[0] for targets in (plain, reverse)]
    for name in ("cls_action", "past_cls_action", "global_simContrast", "target_distance"):
        expected = lam * both[0][name] + (1 - lam) * both[1][name]
        torch.testing.assert_close(found[name], expected)
    assert set(accuracies) == {"acc1/action", "acc5/action"}


def test_mixup_refuses_what_cannot_be():
    for options, message in (
        ({"alpha": 0.0}, "mixup_alpha = 0.0 must be positive"),
        ({"label_smoothing": 1.0}, "label_smoothing = 1.0"),
    ):
        with pytest.raises(UserError, match=message):
            Mixup({"action": 3}, **options)
    with pytest.raises(UserError, match="at least 2 items"):
        Mixup({"action": 3})(torch.zeros(1, 2), {"action": torch.zeros(1).long()})


# -- the step -------------------------------------------------------------------------------------


class Network(torch.nn.Module):
    """Gives fixed outputs; remembers what it saw."""

    def __init__(self, clips: int = T):
        super().__init__()
        self.vis_prototypes = torch.nn.Parameter(PROTOTYPES.clone())
        self.clips, self.seen = clips, None

    def forward(self, video, target_shape=None):
        self.seen = SimpleNamespace(video=video, shape=target_shape)
        return outputs(), {"feat": torch.ones(B, self.clips - 1, D, requires_grad=True)}


def batch(**more):
    y = {"action": torch.tensor([1, 2, 3, -1])}
    past = {"action": torch.full((B, T, 1), 2)}
    return {"video": {"mod_0": torch.zeros(B, 2)}, "target": y, "past_target": past, **more}


def test_step_weighs_the_means():
    step = run_step(Network(), AnticipationLoss(similarities()), batch(), {**WEIGHTS, "feat": 3})
    means = {name: value.mean().item() for name, value in step.losses.items()}
    expected = sum({**WEIGHTS, "feat": 3}[name] * mean for name, mean in means.items())
    assert step.loss.item() == pytest.approx(expected, rel=1e-5)
    assert {n: v.item() for n, v in step.means.items()} == pytest.approx(means)
    assert not any(value.requires_grad for value in step.means.values())
    assert step.losses["feat"].shape == (B, T - 1, D)


def test_losses_of_weight_zero_get_no_gradient():
    step = run_step(Network(), AnticipationLoss(similarities()), batch(), WEIGHTS)
    assert not step.loss.requires_grad  # only `feat` has a graph here


def test_one_clip_has_no_next_feature_and_no_nan():
    weights = {**WEIGHTS, "feat": 1.0}
    step = run_step(Network(clips=1), AnticipationLoss(similarities()), batch(), weights)
    assert step.means["feat"] == 0
    assert torch.isfinite(step.loss)


def test_step_mixes_the_batch():
    network = Network()
    video = torch.arange(8.0).view(B, 2)
    torch.manual_seed(0)
    mixup = Mixup({"action": N}, 0.8)
    given_batch = batch(video=video, target={"action": torch.tensor([1, 2, 3, 4])})
    run_step(network, AnticipationLoss(similarities()), given_batch, WEIGHTS, mixup)
    torch.manual_seed(0)
    torch.testing.assert_close(network.seen.video, blend(video, mixup.draw()))
    assert network.seen.shape == (B,)


def test_loss_without_a_weight_is_named():
    with pytest.raises(UserError, match=r"no weight of the loss 'b'; add \+train.*loss_wts\.b=0"):
        total_loss({"a": torch.ones(()), "b": torch.ones(())}, {"a": 1})
    with pytest.raises(UserError, match="no loss has a positive weight"):
        total_loss({"a": torch.ones(())}, {"a": 0})


def test_nan_is_named():
    step = run_step(Network(), AnticipationLoss(similarities()), batch(), WEIGHTS)
    refuse_nan(step, "epoch 1")
    step.means["cls_action"] = torch.tensor(math.nan)
    broken = SimpleNamespace(loss=torch.tensor(math.nan), means=step.means)
    with pytest.raises(
        UserError, match=r"epoch 1, batch 3: the loss is not a number \(cls_action\)"
    ):
        refuse_nan(broken, "epoch 1, batch 3")


def test_unwrapped_network():
    network = Network()
    wrapper = torch.nn.Module()
    wrapper.module = network
    assert unwrapped(wrapper) is network
    assert unwrapped(network) is network
    assert unwrapped(torch.nn.DataParallel(network)) is network
