"""The objective: equal to slow and obvious versions of it, in both modes, and never NaN."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st

from bams.losses import chunks
from bams.losses.config import FAR, NEAR, LossConfig, PairConfig, fitted_start
from bams.losses.draws import Draws, Pairs, draw, draw_pairs
from bams.losses.hoa import (
    cell_weights,
    hoa_targets,
    ignored_after_access,
    mallows_distance,
    valid_fraction,
)
from bams.losses.latent import latent_loss, predict_at
from bams.losses.objective import hoa_loss, objective
from bams.model import BAMS, EncoderConfig, ModelConfig
from bams.model.mlp import MLP, LatentPredictor
from behaviorzoo.errors import UserError

CONFIG = ModelConfig(
    n_inputs=5,
    n_targets=3,
    encoders={
        "short_term": EncoderConfig(channels=(6, 4), dropout=0.0),
        "long_term": EncoderConfig(channels=(6, 3), dilation_base=3, dropout=0.0),
    },
    predictor_hidden=(7, 6),
    hoa_bins=4,
)
LOSS = LossConfig(
    hoa_window=5,
    skip_frames=6,
    pairs={"short_term": PairConfig(10, 3), "long_term": PairConfig(15)},
)
BATCH, LENGTH = 3, 40
NOT_OBSERVED = 255


def make_batch(seed=0, length=LENGTH, missing=0.15, n_targets=3, n_bins=4):
    rng = np.random.default_rng(seed)
    bins = rng.integers(n_bins, size=(BATCH, length, n_targets)).astype(np.uint8)
    bins[rng.random(bins.shape) < missing / 2] = NOT_OBSERVED
    ignored = rng.random((BATCH, length)) < missing
    return SimpleNamespace(
        inputs=torch.from_numpy(rng.normal(size=(BATCH, length, 5))),
        bins=torch.from_numpy(bins),
        ignored=torch.from_numpy(ignored),
    )


def make_model(config=CONFIG, seed=0):
    return BAMS(config, generator=torch.Generator().manual_seed(seed)).double().train()


# -- slow and obvious -------------------------------------------------------------------------


def slow_valid(ignored, window):
    ignored = np.asarray(ignored)
    out = np.zeros(ignored.shape)
    for b, t in np.ndindex(ignored.shape):
        out[b, t] = sum(
            not ignored[b, t + i] for i in range(1, window + 1) if t + i < ignored.shape[1]
        )
    return out / window


def slow_targets(bins, ignored, n_bins, window, compat):
    """Histograms (B, L, M, K) frame by frame."""
    bins, ignored = np.asarray(bins), np.asarray(ignored)
    length = bins.shape[1]
    out = np.zeros((*bins.shape, n_bins))
    for b, t, m in np.ndindex(bins.shape):
        if compat == "upstream":
            out[b, t, m, min(bins[b, t, m], n_bins - 1)] = min(window, length - 1 - t) / window
            continue
        future = [
            s
            for s in range(t + 1, min(t + window, length - 1) + 1)
            if not ignored[b, s] and bins[b, s, m] != NOT_OBSERVED
        ]
        for s in future:
            out[b, t, m, bins[b, s, m]] += 1 / len(future)
    return out


def slow_weights(bins, ignored, config, compat):
    """Weights (B, L, M) cell by cell."""
    bins, ignored = bins.numpy(), ignored.numpy().copy()
    window = config.hoa_window
    if compat == "upstream" and config.upstream_access == "later":
        ignored[:, : max(ignored.shape[1] - window, 0)] = True
    valid = slow_valid(ignored, window)
    length, n_targets = bins.shape[1:]
    out = np.zeros(bins.shape)
    for b, t, m in np.ndindex(out.shape):
        if compat == "upstream":
            at = (t * n_targets + m) % length
            out[b, t, m] = 0 if at < config.skip_frames else 1 - valid[b, at]
        elif t >= config.skip_frames:
            future = range(t + 1, min(t + window, length - 1) + 1)
            seen = [not ignored[b, s] and bins[b, s, m] != NOT_OBSERVED for s in future]
            out[b, t, m] = sum(seen) / window
    return out


def slow_hoa(logits, bins, ignored, n_bins, config, compat, keep=None):
    """The whole loss from (B, L, M, K) in full."""
    target = torch.from_numpy(slow_targets(bins, ignored, n_bins, config.hoa_window, compat))
    weights = torch.from_numpy(slow_weights(bins, ignored, config, compat))
    if keep is not None:
        weights = weights * keep[..., None]
    predicted = logits.view(target.shape).softmax(-1)
    distance = (target.cumsum(-1) - predicted.cumsum(-1)).square().mean(-1)
    return (distance * weights).sum() / weights.sum()


def slow_objective(model, batch, draws, config, compat):
    """All heads on all frames."""
    output = model(batch.inputs)
    hoa = slow_hoa(output.hoa_logits, batch.bins, batch.ignored, 4, config, compat)
    total = config.hoa_weight * hoa
    for name, (anchors, partners) in draws.pairs.items():
        rows = torch.arange(len(anchors))
        predicted = output.latent_predictions[name][rows, anchors]
        target = output.embeddings[name][rows, partners].detach()
        total = total + config.latent_weight * (1 - F.cosine_similarity(predicted, target).mean())
    return total


# -- targets and weights ----------------------------------------------------------------------

SIZES = {
    "length": st.integers(1, 24),
    "window": st.integers(1, 30),
    "missing": st.sampled_from([0.0, 0.3, 1.0]),
    "seed": st.integers(0, 99),
}


@settings(max_examples=40, deadline=None)
@given(compat=st.sampled_from(["paper", "upstream"]), n_bins=st.integers(2, 6), **SIZES)
def test_targets_are_those_counted_one_by_one(compat, n_bins, length, window, missing, seed):
    batch = make_batch(seed, length, missing, n_targets=2, n_bins=n_bins)
    found = hoa_targets(batch.bins, batch.ignored, n_bins, window, compat, dtype=torch.float64)
    wanted = slow_targets(batch.bins, batch.ignored, n_bins, window, compat).cumsum(-1)
    assert found.counts.dtype == torch.uint8
    cumulative = found.cumulative.view(wanted.shape)
    np.testing.assert_allclose(cumulative, wanted, atol=1e-12)
    rows = torch.tensor([length * BATCH - 1, 0])
    some = hoa_targets(batch.bins, batch.ignored, n_bins, window, compat, rows, torch.float64)
    np.testing.assert_allclose(some.cumulative, cumulative.flatten(0, 1)[rows])


def test_bytes_suffice_for_the_largest_window_and_number_of_bins():
    bins = torch.full((1, 600, 1), 254, dtype=torch.uint8)
    bins[:, ::2] = 0
    ignored = torch.zeros(1, 600, dtype=torch.bool)
    found = hoa_targets(bins, ignored, 255, 255, "paper", dtype=torch.float64)
    wanted = slow_targets(bins, ignored, 255, 255, "paper").cumsum(-1)
    np.testing.assert_allclose(found.cumulative.view(wanted.shape), wanted, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    compat=st.sampled_from(["paper", "upstream"]),
    access=st.sampled_from(["first", "later"]),
    skip=st.integers(0, 10),
    **SIZES,
)
def test_weights_are_those_laid_out_one_by_one(compat, access, skip, length, window, missing, seed):
    batch = make_batch(seed, length, missing)
    config = LossConfig(hoa_window=window, skip_frames=skip, upstream_access=access)
    found = cell_weights(batch.bins, batch.ignored, config, compat, torch.float64)
    wanted = slow_weights(batch.bins, batch.ignored, config, compat)
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    valid = valid_fraction(batch.ignored, window, torch.float64)
    np.testing.assert_allclose(valid, slow_valid(batch.ignored, window), atol=1e-12)


def test_upstream_trains_on_few_cells_of_clean_data():
    """The figure of the description: weight where (cell mod L) >= L - W, rising to one."""
    bins, ignored = torch.zeros(1, 50, 3, dtype=torch.uint8), torch.zeros(1, 50, dtype=torch.bool)
    config = LossConfig(hoa_window=8, skip_frames=0)
    weights = cell_weights(bins, ignored, config, "upstream").flatten()
    at = torch.arange(150) % 50
    expected = torch.where(at >= 42, (at - 41) / 8, 0.0)
    torch.testing.assert_close(weights, expected)


def test_masks_given_are_not_written_to():
    ignored = torch.zeros(1, 20, dtype=torch.bool)
    after = ignored_after_access(ignored, 4)
    assert not ignored.any()
    assert after[0].tolist() == [True] * 16 + [False] * 4
    bins = torch.zeros(1, 20, 2, dtype=torch.uint8)
    cell_weights(bins, ignored, LossConfig(hoa_window=4, upstream_access="later"), "upstream")
    assert not ignored.any()
    assert valid_fraction(ignored, 4)[0, -5:].tolist() == [1, 0.75, 0.5, 0.25, 0]


def test_distance_of_histograms_by_hand():
    logits = torch.log(torch.tensor([0.5, 0.25, 0.25]))
    # Cumulative 0.5, 0.75, 1 against 0, 1, 1.
    distance = mallows_distance(logits, torch.tensor([0.0, 1.0, 1.0]))
    assert distance.item() == pytest.approx((0.25 + 0.0625) / 3)
    assert mallows_distance(logits, torch.tensor([0.5, 0.75, 1.0])).item() == pytest.approx(0)


# -- the histogram loss -----------------------------------------------------------------------


@pytest.mark.parametrize("compat", ["paper", "upstream"])
@pytest.mark.parametrize("at_once", [1, 100, 10_000])
def test_scored_frames_alone_give_the_dense_loss_and_gradient(compat, at_once, monkeypatch):
    monkeypatch.setitem(chunks.CELLS_AT_ONCE, "cpu", at_once)
    batch = make_batch()
    torch.manual_seed(0)
    predictor = MLP((5, 7, 12)).double()
    found = []
    for loss in (
        lambda x: hoa_loss(predictor, x, batch.bins, batch.ignored, 4, LOSS, compat),
        lambda x: slow_hoa(predictor(x), batch.bins, batch.ignored, 4, LOSS, compat),
    ):
        x = batch.inputs.clone().requires_grad_()
        predictor.zero_grad()
        value = loss(x)
        (3 * value).backward()
        found.append([value.detach(), x.grad, *(p.grad.clone() for p in predictor.parameters())])
    for ours, slow in zip(*found, strict=True):
        torch.testing.assert_close(ours, slow, rtol=1e-10, atol=1e-14)


def test_the_predictor_runs_on_few_frames_of_clean_data():
    seen = []
    predictor = MLP((5, 12))
    predictor.register_forward_hook(lambda module, args, out: seen.append(len(args[0])))
    batch = make_batch(missing=0.0)
    hoa_loss(predictor, batch.inputs.float(), batch.bins, batch.ignored, 4, LOSS, "upstream")
    carrying = (slow_weights(batch.bins, batch.ignored, LOSS, "upstream") > 0).any(-1).sum()
    assert seen == [carrying]
    assert carrying < BATCH * LENGTH / 2


def test_batch_norm_in_the_predictor_sees_all_frames():
    batch = make_batch()
    config = LOSS
    predictor = MLP((5, 7, 12), batchnorm=True).double().train()
    ours = hoa_loss(predictor, batch.inputs, batch.bins, batch.ignored, 4, config, "upstream")
    logits = predictor(batch.inputs)
    slow = slow_hoa(logits, batch.bins, batch.ignored, 4, config, "upstream")
    torch.testing.assert_close(ours, slow)


def test_every_nth_frame():
    batch = make_batch()
    config = LossConfig(hoa_window=5, skip_frames=6, hoa_every=4)
    predictor = MLP((5, 12)).double()
    phases = torch.tensor([0, 3, 1])
    keep = (torch.arange(LENGTH) - phases[:, None]) % 4 == 0
    ours = hoa_loss(predictor, batch.inputs, batch.bins, batch.ignored, 4, config, "paper", phases)
    logits = predictor(batch.inputs)
    slow = slow_hoa(logits, batch.bins, batch.ignored, 4, config, "paper", keep)
    torch.testing.assert_close(ours, slow)
    assert ours != hoa_loss(predictor, batch.inputs, batch.bins, batch.ignored, 4, config, "paper")


@pytest.mark.parametrize("compat", ["paper", "upstream"])
def test_no_weight_gives_no_loss_and_no_gradient(compat):
    batch = make_batch(missing=1.0 if compat == "paper" else 0.0)
    config = LossConfig(hoa_window=1, skip_frames=LENGTH - 2 if compat == "paper" else 0)
    if compat == "upstream":
        batch.ignored = torch.zeros(1, 1, dtype=torch.bool)
        batch.inputs, batch.bins = batch.inputs[:1, :1], batch.bins[:1, :1]
        config = LossConfig(hoa_window=1, skip_frames=0, hoa_every=2)
    predictor = MLP((5, 7, 12)).double()
    x = batch.inputs.clone().requires_grad_()
    phases = torch.ones(len(x), dtype=torch.long)
    loss = hoa_loss(predictor, x, batch.bins, batch.ignored, 4, config, compat, phases)
    loss.backward()
    assert loss == 0
    assert (x.grad == 0).all()
    assert all((p.grad == 0).all() for p in predictor.parameters())


def test_gradients_in_portions_need_a_gradient_to_be_taken(monkeypatch):
    monkeypatch.setitem(chunks.CELLS_AT_ONCE, "cpu", 12)
    batch = make_batch()
    predictor = MLP((5, 12)).double()
    args = (batch.inputs, batch.bins, batch.ignored, 4, LOSS, "paper")
    with torch.no_grad():
        without = hoa_loss(predictor, *args)
    assert not without.requires_grad
    torch.testing.assert_close(without, hoa_loss(predictor, *args).detach())
    predictor.layers[0].weight.requires_grad_(False)
    hoa_loss(predictor, *args).backward()
    assert predictor.layers[0].weight.grad is None
    assert predictor.layers[0].bias.grad is not None


# -- the latent loss --------------------------------------------------------------------------


@pytest.mark.parametrize("train", [True, False])
def test_drawn_frames_alone_give_the_dense_latent_loss(train):
    torch.manual_seed(0)
    embedding = torch.randn(4, 30, 5, dtype=torch.float64) * torch.arange(1, 6) + 2
    pairs = Pairs(torch.tensor([3, 29, 0, 7]), torch.tensor([5, 29, 11, 7]))
    rows = torch.arange(4)

    def dense(head, x):
        predicted = head(x.flatten(0, 1)).view(x.shape)[rows, pairs.anchors]
        target = x.detach()[rows, pairs.partners]
        return 1 - F.cosine_similarity(predicted, target, eps=1e-8).mean()

    found = []
    for loss in (lambda head, x: latent_loss(head, x, pairs), dense):
        torch.manual_seed(1)
        head = LatentPredictor(5).double().train(train)
        head[1].running_mean.uniform_()
        head[1].running_var.uniform_(0.5, 2)
        with torch.no_grad():
            head[1].weight.uniform_(0.5, 2)
            head[1].bias.uniform_()
        x = embedding.clone().requires_grad_()
        value = loss(head, x)
        value.backward()
        statistics = [b.double() for b in head.buffers()]
        found.append([value.detach(), x.grad, *statistics, *(p.grad for p in head.parameters())])
    for ours, slow in zip(*found, strict=True):
        torch.testing.assert_close(ours, slow, rtol=1e-10, atol=1e-12)


def test_statistics_survive_a_large_mean_in_single_precision():
    torch.manual_seed(0)
    embedding = torch.randn(8, 500, 6) + 100
    head = LatentPredictor(6).train()
    frames = torch.arange(8)
    exact = head.double()(embedding.double().flatten(0, 1)).view(8, 500, 6)[frames, frames]
    found = predict_at(head.float(), embedding, frames)
    torch.testing.assert_close(found, exact.float(), rtol=1e-4, atol=1e-4)


# -- draws ------------------------------------------------------------------------------------


def test_ranges_are_those_of_the_authors():
    seeds = torch.arange(20_000)
    near = draw_pairs(NEAR, 110, seeds, 0)
    assert (near.anchors.min(), near.anchors.max()) == (60, 104)
    offsets = near.partners - near.anchors
    assert sorted(set(offsets.tolist())) == [0, 1, 2, 3, 4, 5]
    far = draw_pairs(FAR, 110, seeds, 2)
    for frames in far:
        counts = torch.bincount(frames, minlength=110)
        assert counts[:100].sum() == 0
        # Uniform: 2000 each, standard deviation 42.
        assert (counts[100:] - 2000).abs().max() < 210
    assert abs(torch.corrcoef(torch.stack(far).double())[0, 1]) < 0.05
    assert (torch.bincount(offsets) - 20_000 / 6).abs().max() < 300


def test_draws_depend_on_the_seed_of_the_sequence_alone():
    config = LossConfig(hoa_every=3)
    encoders = ["short_term", "long_term", "longer"]
    seeds = np.array([5, 17, 123456789012])
    together = draw(config, encoders, 200, seeds)
    alone = draw(config, encoders, 200, seeds[1:2])
    for name in encoders:
        assert together.pairs[name].anchors[1] == alone.pairs[name].anchors[0]
        assert together.pairs[name].partners[1] == alone.pairs[name].partners[0]
    assert together.phases[1] == alone.phases[0]
    many = draw(config, encoders, 200, np.arange(500))
    assert set(many.phases.tolist()) == {0, 1, 2}
    assert not torch.equal(many.pairs["long_term"].anchors, many.pairs["longer"].anchors)
    assert torch.equal(many.to("cpu").pairs["longer"].partners, many.pairs["longer"].partners)


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(1, 130),
    start=st.integers(0, 120),
    reach=st.one_of(st.none(), st.integers(1, 8)),
    seed=st.integers(0, 9),
)
def test_frames_exist_however_short_the_sequence(length, start, reach, seed):
    seeds = torch.arange(50) + 1000 * seed
    anchors, partners = draw_pairs(PairConfig(start, reach), length, seeds, 0)
    for frames in (anchors, partners):
        assert frames.min() >= 0
        assert frames.max() < length
    if start + (reach or 1) <= length:
        assert anchors.min() >= start
    else:
        assert anchors.min() >= (length - 1) // 2
    if reach is not None:
        assert ((partners - anchors) >= 0).all()
        assert ((partners - anchors) < reach).all()


def test_too_short_sequences_start_in_their_middle():
    assert fitted_start(60, 66, 6) == 60
    assert fitted_start(60, 65, 6) == 32
    assert fitted_start(100, 101, 1) == 100
    assert fitted_start(100, 100, 1) == 49
    assert fitted_start(5, 1, 1) == 0


def test_pairs_for_unknown_encoders_are_refused():
    config = LossConfig(pairs={"shrot": NEAR})
    with pytest.raises(UserError, match=r"loss\.pairs\.shrot: no such encoder; .*'short'"):
        draw(config, ["short", "long"], 200, np.arange(2))
    assert LossConfig().pairs_of(["a"]) == {"a": FAR}
    assert LossConfig().pairs_of(["short_term", "b"]) == {"short_term": NEAR, "b": FAR}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LossConfig(hoa_window=0), "hoa_window = 0 must lie between 1 and 255"),
        (lambda: LossConfig(hoa_window=256), "hoa_window = 256 must lie between 1 and 255"),
        (lambda: LossConfig(hoa_every=0, skip_frames=-1), "skip_frames = -1 .*; hoa_every = 0"),
        (lambda: PairConfig(start=-1), "start = -1 must be at least 0"),
        (lambda: PairConfig(reach=0), "reach = 0 must be at least 1"),
    ],
)
def test_impossible_options_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()


# -- the whole --------------------------------------------------------------------------------


@pytest.mark.parametrize("access", ["first", "later"])
@pytest.mark.parametrize("compat", ["paper", "upstream"])
def test_objective_equals_all_heads_on_all_frames(compat, access):
    batch = make_batch()
    config = LossConfig(hoa_window=5, skip_frames=6, pairs=LOSS.pairs, upstream_access=access)
    draws = draw(config, CONFIG.encoders, LENGTH, np.arange(BATCH))
    fast, slow = make_model(), make_model()
    losses = objective(fast, batch, draws, config, compat)
    losses.total.backward()
    total = slow_objective(slow, batch, draws, config, compat)
    total.backward()
    torch.testing.assert_close(losses.total, total, rtol=1e-10, atol=0)
    latent = sum(losses.latent.values())
    torch.testing.assert_close(losses.total, 500 * losses.hoa + 0.5 * latent)
    for (name, ours), theirs in zip(fast.named_parameters(), slow.parameters(), strict=True):
        assert ours.grad is not None, name
        torch.testing.assert_close(
            ours.grad, theirs.grad, rtol=1e-8, atol=1e-11, msg=lambda m, name=name: f"{name}: {m}"
        )
    for (name, ours), theirs in zip(fast.named_buffers(), slow.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=lambda m, name=name: f"{name}: {m}")


@settings(max_examples=25, deadline=None)
@given(
    length=st.integers(2, 120),
    missing=st.sampled_from([0.0, 0.5, 1.0]),
    compat=st.sampled_from(["paper", "upstream"]),
    every=st.integers(1, 5),
)
def test_nothing_gives_nan(length, missing, compat, every):
    """Sequences shorter than the offsets, all frames missing, inputs that are all zero."""
    batch = make_batch(1, length, missing)
    batch.inputs[0] = 0
    config = LossConfig(hoa_every=every)
    model = make_model()
    losses = objective(
        model, batch, draw(config, CONFIG.encoders, length, np.arange(BATCH)), config, compat
    )
    losses.total.backward()
    assert losses.total.isfinite()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_short_sequences_are_scored_all_the_same():
    """With as many skipped frames as there are, a paper-mode loss would be 0 for ever."""
    batch = make_batch(length=60, missing=0.0)
    model = make_model()
    config = LossConfig()
    draws = draw(config, CONFIG.encoders, 60, np.arange(BATCH))
    assert objective(model, batch, draws, config, "paper").hoa > 0


def test_in_evaluation_nothing_is_updated():
    model = make_model().eval()
    before = {name: b.clone() for name, b in model.named_buffers()}
    batch, draws = make_batch(), draw(LOSS, CONFIG.encoders, LENGTH, np.arange(BATCH))
    with torch.no_grad():
        first = objective(model, batch, draws, LOSS)
        second = objective(model, batch, draws, LOSS)
    assert first.total == second.total
    assert all(torch.equal(before[name], b) for name, b in model.named_buffers())


def test_half_precision_of_the_matrix_products_is_enough():
    batch = make_batch()
    batch.inputs = batch.inputs.float()
    model = make_model().float()
    draws = draw(LOSS, CONFIG.encoders, LENGTH, np.arange(BATCH))
    full = objective(model, batch, draws, LOSS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = objective(model, batch, draws, LOSS)
    half.total.backward()
    assert half.hoa.dtype == torch.float32
    torch.testing.assert_close(half.total, full.total, rtol=0.02, atol=0.5)
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_draws_know_their_device():
    draws = Draws({"a": Pairs(torch.zeros(2), torch.ones(2))}, torch.zeros(2))
    moved = draws.to("meta")
    assert moved.phases.device.type == "meta"
    assert moved.pairs["a"].partners.device.type == "meta"
