"""Missing points: NaN in, no NaN out, and nothing of the filler in the result."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hbehavemae.model import HBehaveEncoder, HBehaveMAE, ModelConfig

PLAIN = ModelConfig(
    input_size=(16, 2, 6),
    patch_kernel=(2, 1, 2),
    stages=(1, 1),
    q_strides=((2, 2, 1),),
    mask_unit_attn=(True, False),
    init_embed_dim=8,
    out_embed_dims=(4, 5),
    decoder_embed_dim=8,
    decoding_strategy="multi",
    mask_ratio=0.5,
)
N_UNITS = 12


def network(norm_loss=False, trained=True, **changes):
    config = replace(PLAIN, missing=True, norm_loss=norm_loss, **changes)
    model = HBehaveMAE(config, generator=torch.Generator().manual_seed(1)).double()
    if trained:
        torch.nn.init.normal_(
            model.missing_embed.weight, generator=torch.Generator().manual_seed(2)
        )
    return model


def data(seed, share):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 16, 2, 6, generator=generator, dtype=torch.float64)
    holes = torch.rand(x.shape, generator=generator) < share
    return x, holes, torch.rand(2, N_UNITS, generator=generator)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), share=st.sampled_from([0.1, 0.5, 0.95, 1.0]), norm=st.booleans())
def test_nan_in_nothing_but_numbers_out(seed, share, norm):
    x, holes, noise = data(seed, share)
    x[holes] = torch.nan
    model = network(norm)
    output = model(x, noise=noise)
    output.loss.backward()
    for value in (output.loss, output.pred, output.target, output.latent, output.token_errors):
        assert value.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert all(level.isfinite().all() for level in HBehaveEncoder.forward(model, x))


@pytest.mark.parametrize("norm", [False, True])
def test_equal_to_the_plain_network_when_nothing_is_missing(norm):
    model = network(norm, trained=False)
    plain = HBehaveMAE(replace(PLAIN, norm_loss=norm)).double()
    state = model.state_dict()
    assert state.pop("missing_embed.weight").abs().max() == 0
    plain.load_state_dict(state)
    x, _, noise = data(0, 0.0)
    torch.testing.assert_close(model(x, noise=noise).loss, plain(x, noise=noise).loss)
    torch.testing.assert_close(model(x, noise=noise).pred, plain(x, noise=noise).pred)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), norm=st.booleans())
def test_holes_in_hidden_units_and_other_windows_do_not_reach_the_prediction(seed, norm):
    x, holes, noise = data(seed, 0.4)
    model = network(norm)
    full = model(x, noise=noise)
    hidden = torch.zeros_like(x, dtype=torch.bool)
    for sample in range(2):
        for unit in full.hidden[sample].tolist():
            t, w = divmod(unit, 3)  # the mask grid is 4 x 1 x 3
            hidden[sample, t * 4 : t * 4 + 4, :, w * 2 : w * 2 + 2] = True
    output = model(x.masked_fill(holes & hidden, torch.nan), noise=noise)
    assert torch.equal(output.pred, full.pred)
    holes[1] = False
    output = model(x.masked_fill(holes, torch.nan), noise=noise)
    assert torch.equal(output.target[1], full.target[1])
    torch.testing.assert_close(output.pred[1], full.pred[1])


def test_loss_counts_observed_values_only():
    x, holes, noise = data(5, 0.3)
    x[holes] = torch.nan
    model = network()
    output = model(x, noise=noise)
    squares = []
    for sample in range(2):
        for row, unit in enumerate(output.hidden[sample].tolist()):
            t, w = divmod(unit, 3)  # the mask grid is 4 x 1 x 3
            target = x[sample, t * 4 : t * 4 + 4 : 2, :, w * 2 : w * 2 + 2].flatten()
            for value, guess in zip(target, output.pred[sample, unit].detach(), strict=True):
                if not value.isnan():
                    squares.append(float((value - guess) ** 2))
            assert output.target[sample, row].eq(target.nan_to_num(0.0)).all()
    assert output.loss.item() == pytest.approx(sum(squares) / len(squares))


def test_a_learned_vector_stands_for_each_missing_value():
    x, _, _ = data(1, 0.0)
    model = network()
    x[0, 3, 1, 4] = torch.nan  # frame 3 is the 2nd of its patch, feature 4 the 1st
    units = model.cut(x).flatten(0, 1)
    none = torch.zeros(len(units), 4, 8, dtype=torch.float64)
    with_hole = model.embed(units, none)
    filled = model.embed(units.nan_to_num(0.0), none)
    changed = (with_hole - filled).abs().amax(-1).nonzero().tolist()
    assert len(changed) == 1
    expected = model.missing_embed.weight[:, 0, 1, 0, 0]
    torch.testing.assert_close((with_hole - filled)[tuple(changed[0])], expected)


@pytest.mark.parametrize("norm", [False, True])
def test_all_targets_missing_is_a_zero_loss_with_zero_gradient(norm):
    x, _, noise = data(2, 0.0)
    model = network(norm)
    mask = model(x, noise=noise).mask
    for sample in range(2):
        for unit in range(N_UNITS):
            if not mask[sample, unit]:
                t, w = divmod(unit, 3)
                x[sample, t * 4 : t * 4 + 4, :, w * 2 : w * 2 + 2] = torch.nan
    loss = model(x, noise=noise).loss
    loss.backward()
    assert loss.item() == 0
    grads = [p.grad for p in model.parameters() if p.requires_grad]
    assert all(grad is not None and grad.abs().max() == 0 for grad in grads)


def test_without_the_option_nan_is_not_hidden():
    x, _, noise = data(3, 0.0)
    x[:, :, 0, 0] = torch.nan
    assert HBehaveMAE(PLAIN).double()(x, noise=noise).loss.isnan()
