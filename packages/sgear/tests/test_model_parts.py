"""Parts of the network against slow code that follows the description line by line."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from behaviorzoo.errors import UserError
from sgear.model.aggregators import build_aggregator
from sgear.model.classifiers import build_classifier
from sgear.model.config import AggregatorConfig, ClassifierConfig, FuturePredictorConfig
from sgear.model.lower_triangular import fused, lower_triangular_attention, plain, some_rows
from sgear.model.prototype_attention import PrototypeAttention, choose_by_mean, gather_tokens
from sgear.model.tca import TCABlock, rows_of_class_tokens
from sgear.model.tcd import build_future_predictor
from sgear.similarity import cosines, unit

D_HEAD = 64


def double(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def random_weights(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Every parameter away from its start, in double precision."""
    torch.manual_seed(seed)
    module = module.double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module


# -- similarities ---------------------------------------------------------------------------------


@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 8))
@settings(max_examples=20, deadline=None)
def test_cosines_equal_pairs(n, m, d):
    x, prototypes = double(n, 2, d), double(m, d)
    expected = torch.nn.functional.cosine_similarity(x[:, :, None], prototypes, dim=-1, eps=1e-8)
    torch.testing.assert_close(cosines(x, unit(prototypes)), expected)


def test_cosines_of_zero_vectors_are_zero():
    found = cosines(torch.zeros(2, 4), unit(torch.zeros(3, 4)))
    assert (found == 0).all()


def test_cosines_are_bounded_whatever_the_scale():
    x = torch.randn(4, 8) * 1e4
    found = cosines(x, unit(torch.randn(5, 8) * 1e-3))
    assert found.abs().max() <= 1 + 1e-6


def test_cosines_stay_in_single_precision_under_autocast():
    x = torch.randn(3, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = cosines(x.bfloat16(), unit(x))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.diagonal(), torch.ones(3), atol=1e-2, rtol=0)


# -- TCA ------------------------------------------------------------------------------------------


def slow_triangular(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One query after the other, (M, d)."""
    rows = []
    for i, query in enumerate(q):
        logits = torch.stack(
            [query @ k[j] / math.sqrt(len(query)) if j <= i else torch.zeros(()).double()
             for j in range(len(k))]
        )  # fmt: skip
        rows.append(torch.softmax(logits, 0) @ v)
    return torch.stack(rows)


@pytest.mark.parametrize("tokens", [2, 3, 7])
@pytest.mark.parametrize("way", [plain, fused])
def test_attention_above_the_diagonal_keeps_weight(way, tokens):
    q, k, v = (double(2, tokens, D_HEAD) for _ in range(3))
    expected = torch.stack([slow_triangular(*x) for x in zip(q, k, v, strict=True)])
    torch.testing.assert_close(way(q, k, v), expected)


@pytest.mark.parametrize("scale", [0.1, 1.0, 8.0])
def test_fused_attention_is_exact(scale):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 33, D_HEAD) for _ in range(3))
    q = q * scale
    inputs = [x.clone().requires_grad_() for x in (q, k, v)]
    others = [x.clone().requires_grad_() for x in (q, k, v)]
    found, expected = fused(*inputs), plain(*others)
    torch.testing.assert_close(found, expected, atol=3e-6, rtol=1e-5)
    weights = torch.randn_like(found)
    for a, b in zip(
        torch.autograd.grad(found, inputs, weights),
        torch.autograd.grad(expected, others, weights),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_fused_attention_is_exact_where_all_logits_are_low():
    q = torch.randn(1, 12, D_HEAD)
    k = -q.flip(1).abs() * q.sign() * 4  # sums of exp next to 0, also in the last row
    v = torch.randn(1, 12, D_HEAD)
    expected = plain(q.double(), k.double(), v.double())
    torch.testing.assert_close(fused(q, k, v).double(), expected, atol=1e-5, rtol=1e-4)


def test_long_sequences_take_the_fused_way(monkeypatch):
    from sgear.model import lower_triangular

    monkeypatch.setattr(lower_triangular, "FUSED_FROM", 5)
    q, k, v = (double(3, 5, D_HEAD) for _ in range(3))
    torch.testing.assert_close(lower_triangular_attention(q, k, v), plain(q, k, v))


@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 20))
@settings(max_examples=40, deadline=None)
def test_rows_of_class_tokens_are_those_that_the_merge_reads(heads, frames, tokens):
    number = torch.arange(heads * frames * tokens).view(heads, frames, tokens)
    merged = number[..., None].expand(-1, -1, -1, D_HEAD).reshape(frames, tokens, heads * D_HEAD)
    expected = merged[:, 0, ::D_HEAD]
    assert torch.equal(number[rows_of_class_tokens(heads, frames, tokens)], expected)


def test_some_rows_of_attention():
    q, k, v = (double(2, 3, 9, D_HEAD) for _ in range(3))
    token = torch.tensor([[0, 4], [8, 1], [2, 2]])
    frame = torch.arange(3)[:, None]
    found = some_rows(q[:, frame, token], k, v, token)
    torch.testing.assert_close(found, plain(q, k, v)[:, frame, token])


def slow_block(block: TCABlock, x: Tensor, batch: int) -> Tensor:
    """A TCA block, head by head and frame by frame."""
    attn = block.attn
    n, tokens, dim = x.shape
    frames, heads = n // batch, dim // D_HEAD
    qkv = attn.qkv(block.norm1(x)).view(batch, frames, tokens, 3, heads, D_HEAD)
    y = torch.zeros(batch, heads, frames, tokens, D_HEAD, dtype=x.dtype)
    for b in range(batch):
        for h in range(heads):
            q, k, v = (qkv[b, :, :, i, h] for i in range(3))  # (T, M, d)
            for t in range(frames):
                past_k = sum(attn.tmp_weighting[u] * k[u].detach() for u in range(t + 1))
                past_v = sum(attn.tmp_weighting[u] * v[u].detach() for u in range(t + 1))
                y[b, h, t] = slow_triangular(
                    q[t], k[t] + past_k - k[t].detach(), v[t] + past_v - v[t].detach()
                )
    # The buffer (h, T, M, d) of every item is read as (T, M, h d).
    x = x + attn.proj(y.reshape(n, tokens, dim))
    hidden = torch.nn.functional.gelu(block.mlp.fc1(block.norm2(x)))
    return x + block.mlp.fc2(hidden)


@pytest.mark.parametrize(
    ("batch", "frames", "tokens", "heads"), [(1, 1, 4, 1), (2, 3, 5, 2), (1, 4, 2, 3), (2, 2, 1, 2)]
)
def test_tca_block(batch, frames, tokens, heads):
    block = random_weights(TCABlock(heads * D_HEAD, frames))
    x = double(batch * frames, tokens, heads * D_HEAD)
    expected = slow_block(block, x, batch)
    torch.testing.assert_close(block(x, batch), expected)
    torch.testing.assert_close(block.class_tokens(x, batch), expected[:, 0])


def test_gradients_of_class_tokens_equal_those_of_the_whole_block():
    block = random_weights(TCABlock(2 * D_HEAD, 3))
    x = double(6, 5, 2 * D_HEAD)
    grads = []
    for way in (lambda: block(x, 2)[:, 0], lambda: block.class_tokens(x, 2)):
        block.zero_grad()
        way().square().sum().backward()
        grads.append({n: p.grad.clone() for n, p in block.named_parameters() if p.grad is not None})
    assert (
        grads[0].keys() == grads[1].keys() == dict(block.named_parameters()).keys() - {"attn.alpha"}
    )
    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad)


def test_new_tca_sees_strictly_earlier_frames():
    block = TCABlock(D_HEAD, 3).double().eval()
    x = double(3, 2, D_HEAD)
    changed = x.clone()
    changed[2] += 1
    before, after = block(x, 1), block(changed, 1)
    torch.testing.assert_close(before[:2], after[:2])


# -- prototype attention --------------------------------------------------------------------------


def slow_prototype_attention(module: PrototypeAttention, tokens: Tensor, f: Tensor) -> Tensor:
    batch, clips, dim = f.shape
    heads, gate = dim // D_HEAD, torch.sigmoid(module.gate)
    out = torch.zeros_like(f)
    for b in range(batch):
        rows = []
        for h in range(heads):
            part = slice(h * D_HEAD, (h + 1) * D_HEAD)
            s, keys = tokens[b, :, part], f[b, :, part]
            a = torch.softmax(s @ keys.T / math.sqrt(D_HEAD), -1)
            for i in range(clips):
                row = torch.zeros(D_HEAD, dtype=f.dtype)
                for j in range(clips):
                    w = module.tpl_weights[h, abs(i - j)]
                    w = torch.cos(w) if h in (0, 1, 2, 6, 7, 8) else torch.sin(w)
                    row = row + (gate * a[i, j] + (1 - gate) * w) * s[j]
                rows.append(row)
        out[b] = torch.cat(rows).view(clips, dim)
    return module.proj(out)


@pytest.mark.parametrize(("clips", "heads"), [(1, 1), (3, 2), (2, 11)])
def test_prototype_attention(clips, heads):
    module = random_weights(PrototypeAttention(heads * D_HEAD, clips))
    tokens, f = double(2, clips, heads * D_HEAD), double(2, clips, heads * D_HEAD)
    expected = slow_prototype_attention(module, tokens, f)
    torch.testing.assert_close(module(tokens, f), expected)


@given(st.integers(1, 5), st.integers(1, 6))
@settings(max_examples=20, deadline=None)
def test_tokens_are_mixed_as_upstream_mixes_them(batch, n_tokens):
    prototypes = torch.arange(50.0)[:, None]
    chosen = torch.randint(0, 50, (batch, n_tokens))
    found = gather_tokens(prototypes, chosen, "upstream")[..., 0]
    for b in range(batch):
        for j in range(n_tokens):
            place = j * batch + b
            assert found[b, j] == chosen[place // n_tokens, place % n_tokens]
    corrected = gather_tokens(prototypes, chosen, "corrected")[..., 0]
    assert torch.equal(corrected.long(), chosen)
    if batch == 1:
        assert torch.equal(found, corrected)


def test_prototypes_get_no_gradient_as_tokens():
    prototypes = torch.randn(5, 4, requires_grad=True)
    assert not gather_tokens(prototypes, torch.tensor([[1, 2]]), "corrected").requires_grad


def test_nearest_prototypes_come_first():
    prototypes = double(30, 8)
    x = double(2, 4, 8)
    scores = torch.cosine_similarity(x.mean(1)[:, None], prototypes, dim=-1)
    expected = scores.argsort(descending=True)[:, :4]
    assert torch.equal(choose_by_mean(x, unit(prototypes)), expected)


def test_fewer_prototypes_than_clips_are_refused():
    with pytest.raises(UserError, match="4 clips and 3 prototypes"):
        choose_by_mean(double(1, 4, 8), unit(double(3, 8)))


# -- TCD ------------------------------------------------------------------------------------------


def slow_gpt(model: torch.nn.Module, x: Tensor, n_head: int) -> Tensor:
    """GPT-2 of (T, E), one head after the other, without dropout."""
    x = x + model.wpe.weight[: len(x)]
    for block in model.h:
        h = block.ln_1(x)
        q, k, v = (h @ block.attn.c_attn.weight + block.attn.c_attn.bias).chunk(3, -1)
        heads = []
        for part in torch.arange(x.shape[1]).chunk(n_head):
            logits = q[:, part] @ k[:, part].T / math.sqrt(len(part))
            above = torch.ones(len(x), len(x)).triu(1).bool()
            heads.append(logits.masked_fill(above, -math.inf).softmax(-1) @ v[:, part])
        x = x + torch.cat(heads, -1) @ block.attn.c_proj.weight + block.attn.c_proj.bias
        h = block.ln_2(x) @ block.mlp.c_fc.weight + block.mlp.c_fc.bias
        inner = math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)
        h = 0.5 * h * (1 + torch.tanh(inner))
        x = x + h @ block.mlp.c_proj.weight + block.mlp.c_proj.bias
    return model.ln_f(x)


def predictor(**options) -> torch.nn.Module:
    config = {"inter_dim": 16, "n_head": 2, "n_layer": 2, "return_past_too": True, "avg_last_n": 1}
    config |= {"future_pred_loss": "mse", **options}
    return random_weights(build_future_predictor(6, FuturePredictorConfig("tcd", **config)))


@pytest.mark.parametrize("clips", [1, 4])
def test_decoder_of_one_step(clips):
    model, f = predictor(), double(2, clips, 6)
    past, future, losses = model(f)
    for b in range(2):
        d = slow_gpt(model.gpt_model, f[b] @ model.encoder.weight.T, 2) @ model.decoder.weight.T
        torch.testing.assert_close(past[b], torch.cat([f[b, :1], d[:-1]]))
        torch.testing.assert_close(future[b], d[-1])
        torch.testing.assert_close(losses["feat"][b], (d[:-1] - f[b, 1:]).square())
    assert losses["feat"].shape == (2, clips - 1, 6)


def slow_roll_out(model: torch.nn.Module, f: Tensor, steps: int) -> Tensor:
    """Decoded states of (T, D) with the last hidden state as next input, everything anew."""
    x = f @ model.encoder.weight.T
    for _ in range(steps - 1):
        x = torch.cat([x, slow_gpt(model.gpt_model, x, 2)[-1:]])
    return slow_gpt(model.gpt_model, x, 2) @ model.decoder.weight.T


@pytest.mark.parametrize("return_past_too", [True, False])
@pytest.mark.parametrize("avg_last_n", [1, 2, 5])
def test_decoder_of_several_steps(return_past_too, avg_last_n):
    model = predictor(output_len=3, avg_last_n=avg_last_n, return_past_too=return_past_too)
    f = double(2, 4, 6)
    past, future, losses = model(f)
    for b in range(2):
        d = slow_roll_out(model, f[b], 3)
        assert d.shape == (6, 6)
        sequence = torch.cat([f[b], d[3:]]) if return_past_too else d[-3:]
        torch.testing.assert_close(future[b], sequence[-avg_last_n:].mean(0))
        torch.testing.assert_close(past[b], torch.cat([f[b, :1], d[:3]]))
        torch.testing.assert_close(losses["feat"][b], (d[:3] - f[b, 1:]).square())


def test_steps_ahead_by_mode_and_by_target():
    model = predictor(output_len=2, output_len_eval=3)
    f = double(1, 4, 6)
    of_one = {n: slow_roll_out(model, f[0], n)[-1] for n in (1, 2, 3)}
    torch.testing.assert_close(model.eval()(f).future[0], of_one[3])
    torch.testing.assert_close(model(f, 1).future[0], of_one[1])
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for layer in model.gpt_model.h:
        layer.attn.attn_dropout.p = 0.0
    torch.testing.assert_close(model.train()(f).future[0], of_one[2])


def test_dropped_clips_are_not_seen_but_predicted():
    model, f = predictor(drop_last_n=1, output_len=2), double(2, 5, 6)
    past, future, losses = model(f)
    changed = f.clone()
    changed[:, -1] += 1
    torch.testing.assert_close(model(changed).future, future)
    torch.testing.assert_close(model(changed).past, past)
    assert past.shape == (2, 4, 6)
    assert losses["feat"].shape == (2, 4, 6)
    d = slow_roll_out(model, f[0, :4], 2)
    torch.testing.assert_close(losses["feat"][0], (d[:4] - f[0, 1:5]).square())


def test_decoder_is_causal():
    model, f = predictor(), double(1, 5, 6)
    changed = f.clone()
    changed[:, 3:] += 1
    torch.testing.assert_close(model(changed).past[:, :3], model(f).past[:, :3])


def test_dropouts_of_the_decoder_are_active_in_training():
    model, f = predictor().train(), double(1, 4, 6)
    assert not torch.equal(model(f).future, model(f).future)
    assert torch.equal(model.eval()(f).future, model(f).future)


def test_decoder_names_its_weights_as_transformers_does():
    names = set(predictor().state_dict())
    assert {"encoder.weight", "decoder.weight", "gpt_model.wpe.weight"} <= names
    assert {"gpt_model.h.1.attn.c_attn.bias", "gpt_model.ln_f.weight"} <= names
    assert not any("wte" in name or name.endswith(".attn.bias") for name in names)


def test_frozen_encoder_and_decoder():
    model = predictor(freeze_encoder_decoder=True)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"encoder.weight", "decoder.weight"}


def test_losses_of_the_decoder():
    f = double(1, 4, 6)
    squared, absolute = predictor(), predictor(future_pred_loss="l1")
    absolute.load_state_dict(squared.state_dict())
    expected = squared(f).losses["feat"].sqrt()
    torch.testing.assert_close(absolute(f).losses["feat"], expected)
    assert predictor(future_pred_loss=None)(f).losses == {}


def test_too_long_a_sequence_is_refused():
    with pytest.raises(UserError, match=r"5 steps do not fit .*n_positions = 4"):
        predictor(n_positions=4)(double(1, 5, 6))
    with pytest.raises(UserError, match="leaves none of 2 clips"):
        predictor(drop_last_n=2)(double(1, 2, 6))


# -- aggregators and classifiers ------------------------------------------------------------------


def slow_lstm(module: torch.nn.LSTM, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    for step in x:
        gates = module.weight_ih_l0 @ step + module.bias_ih_l0
        gates = gates + module.weight_hh_l0 @ h + module.bias_hh_l0
        i, f, g, o = gates.chunk(4)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
    return h, c


@pytest.mark.parametrize("ahead", [0, 2])
def test_rolling_unrolling_lstm(ahead):
    module, dim = build_aggregator(5, AggregatorConfig("rulstm", num_pad_feats=ahead))
    module = random_weights(module)
    x = double(2, 4, 5)
    zero = torch.zeros(5, dtype=torch.float64)
    found = module(x)
    assert dim == 5
    for b in range(2):
        state = slow_lstm(module.rolling_lstm["lstm"], x[b], zero, zero)
        h, _ = slow_lstm(module.unrolling_lstm, x[b, -1:].expand(2 + ahead, -1), *state)
        torch.testing.assert_close(found[b], h)


def test_mean_and_transformer_aggregators():
    x = double(2, 4, 6)
    mean, dim = build_aggregator(6, AggregatorConfig("mean"))
    torch.testing.assert_close(mean(x), x.sum(1) / 4)
    assert dim == 6
    options = {"inter_rep": 8, "nheads": 2, "nlayers": 1}
    outputs = {}
    for style in ("mean", "last"):
        module, dim = build_aggregator(
            6, AggregatorConfig("transformer", agg_style=style, **options)
        )
        module = random_weights(module)
        outputs[style] = module(x)
        tokens = module.transformer_encoder(module.downproject(x))
        expected = tokens.mean(1) if style == "mean" else tokens[:, -1]
        torch.testing.assert_close(outputs[style], expected)
        torch.testing.assert_close(module(x.flip(1)), module(x.flip(1)))
        assert (dim, outputs[style].shape) == (8, (2, 8))
    # No places: the mean does not know the order.
    module = random_weights(build_aggregator(6, AggregatorConfig("transformer", **options))[0])
    torch.testing.assert_close(module(x.flip(1)), module(x))


def test_mlp_classifier():
    module = random_weights(build_classifier(4, 3, ClassifierConfig("mlp", nlayers=3)))
    x = double(2, 5, 4)
    a, b, c = (module.cls[i] for i in (0, 2, 4))
    torch.testing.assert_close(module(x), c(torch.relu(b(torch.relu(a(x))))))
    assert set(module.state_dict()) == {
        f"cls.{i}.{kind}" for i in (0, 2, 4) for kind in ("weight", "bias")
    }


@pytest.mark.parametrize(("kind", "layers"), [("identity", 0), ("mlp", 2)])
def test_feed_forward_predictors(kind, layers):
    model = random_weights(build_future_predictor(4, FuturePredictorConfig(kind, 2)))
    x = double(3, 1, 4)
    past, future, losses = model(x)
    expected = x[:, 0]
    if layers:
        expected = model.model[2](torch.relu(model.model[0](expected)))
    torch.testing.assert_close(future, expected)
    assert past is x
    assert losses == {}
