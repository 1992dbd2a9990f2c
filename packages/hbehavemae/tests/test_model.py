"""The network against a slow one that knows nothing of unroll orders, and its promises."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import prod, sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import gelu

from behaviorzoo.errors import UserError
from hbehavemae.model import HBehaveEncoder, HBehaveMAE, ModelConfig, encoder

SMALL = ModelConfig(
    input_size=(24, 1, 12),
    patch_kernel=(2, 1, 3),
    stages=(1, 2, 1),
    q_strides=((2, 1, 2), (1, 1, 2)),
    init_embed_dim=8,
    out_embed_dims=(3, 5, 6),
    decoder_embed_dim=8,
    decoder_num_heads=2,
    decoding_strategy="multi",
    mask_ratio=0.5,
)


# ---------------------------------------------------------------- the slow network


def slow_block(block, x, at, unit, stride, windowed):
    """One block on tokens x (N, C) at grid places ``at``; gives tokens and places after it."""
    y = block.norm1(x)
    after = sorted({tuple(p // s for p, s in zip(place, stride, strict=True)) for place in at})
    members = {
        place: [
            i
            for i, p in enumerate(at)
            if tuple(a // s for a, s in zip(p, stride, strict=True)) == place
        ]
        for place in after
    }

    def pool(values):
        return torch.stack([values[members[place]].max(dim=0).values for place in after])

    if hasattr(block, "proj"):
        x = pool(block.proj(y))
    q, k, v = block.attn.qkv(y).chunk(3, dim=-1)
    q = pool(q)
    dim = q.shape[-1] // block.attn.heads
    mixed = torch.zeros_like(q)
    for row, place in enumerate(after):
        window = tuple(p * s // u for p, s, u in zip(place, stride, unit, strict=True))
        keys = [
            i
            for i, p in enumerate(at)
            if not windowed or tuple(a // u for a, u in zip(p, unit, strict=True)) == window
        ]
        for head in range(block.attn.heads):
            part = slice(head * dim, (head + 1) * dim)
            weights = (k[keys, part] @ q[row, part] / sqrt(dim)).softmax(dim=0)
            mixed[row, part] = weights @ v[keys, part]
    x = x + block.attn.proj(mixed)
    hidden = gelu(block.mlp.fc1(block.norm2(x)))
    return x + block.mlp.fc2(hidden), after


def slow_levels(model, x, visible_units=None):
    """Levels of one window (T, I, F): list of {place: embedding}."""
    config = model.config
    flat = config.non_hierarchical
    strides = ((1, 1, 1),) * len(config.stages) if flat else config.q_strides
    unit = [prod(s[axis] for s in strides) for axis in range(3)]
    kernel = config.patch_kernel
    grid = [n // k for n, k in zip(config.input_size, kernel, strict=True)]
    patches = model.patch_embed.proj(x[None, None])[0]  # a real convolution: (E, t, h, w)
    at, tokens = [], []
    for place in product(*map(range, grid)):
        t, h, w = place
        own = tuple(p // u for p, u in zip(place, unit, strict=True))
        if visible_units is not None and own not in visible_units:
            continue
        position = model.pos_embed_temporal[0, t] + model.pos_embed_spatial[0, h * grid[2] + w]
        at.append(place)
        tokens.append(patches[:, t, h, w] + position)
    x = torch.stack(tokens)
    index, levels = 0, []
    for stage, depth in enumerate(config.stages):
        for number in range(depth):
            first = number == 0 and stage > 0 and not flat
            stride = strides[stage - 1] if first and stage <= len(strides) else (1, 1, 1)
            windowed = not flat and config.mask_unit_attn[stage - 1 if first else stage]
            x, at = slow_block(model.blocks[index], x, at, unit, stride, windowed)
            unit = [u // s for u, s in zip(unit, stride, strict=True)]
            index += 1
        levels.append(dict(zip(at, model.projections[stage](x), strict=True)))
    return levels


def slow_mae(model, x, mask):
    """Loss and prediction of one window (T, I, F) with mask (M,)."""
    config = model.config
    flat = config.non_hierarchical
    strides = ((1, 1, 1),) * len(config.stages) if flat else config.q_strides
    units = [prod(s[axis] for s in strides) for axis in range(3)]
    grid = [
        n // k // u for n, k, u in zip(config.input_size, config.patch_kernel, units, strict=True)
    ]
    places = list(product(*map(range, grid)))
    visible = [place for place, kept in zip(places, mask, strict=True) if kept]
    levels = slow_levels(model, x, set(visible))
    latents = []
    for place in visible:
        total = levels[-1][place]
        if config.decoding_strategy == "multi":
            for level, head in enumerate(model.multi_scale_fusion_heads):
                size = [prod(s[axis] for s in strides[level:]) for axis in range(3)]
                block = torch.stack(
                    [
                        levels[level][
                            tuple(p * n + o for p, n, o in zip(place, size, offset, strict=True))
                        ]
                        for offset in product(*map(range, size))
                    ]
                )
                total = total + head(block.T.reshape(1, -1, *size)).flatten()
        latents.append(model.encoder_norm(total))
    y = model.mask_token[0].expand(len(places), -1).clone()
    for place, latent in zip(visible, latents, strict=True):
        y[places.index(place)] = model.decoder_embed(latent)
    y = y + model.decoder_pos_embed[0]
    for block in model.decoder_blocks:
        y, _ = slow_block(block, y, places, (1, 1, 1), (1, 1, 1), False)
    pred = model.decoder_pred(model.decoder_norm(y))
    errors = []
    extent = [u * k for u, k in zip(units, config.patch_kernel, strict=True)]
    for number, (t, h, w) in enumerate(places):
        if mask[number]:
            continue
        a, b, c = extent
        piece = x[t * a : (t + 1) * a, h * b : (h + 1) * b, w * c : (w + 1) * c]
        target = piece[:: config.patch_kernel[0]].flatten()
        if config.norm_loss:
            target = (target - target.mean()) / (target.var(unbiased=True) + 1e-6).sqrt()
        errors.append((pred[number] - target).square())
    return torch.stack(errors).mean(), pred


@st.composite
def configs(draw):
    """Small networks of any shape: more stages than strides, all axes pooled or none."""
    n_stages = draw(st.integers(1, 4))
    stride = st.sampled_from([(1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2), (3, 1, 2), (2, 2, 1)])
    strides = draw(st.lists(stride, max_size=min(2, n_stages - 1)))
    patch = draw(st.sampled_from([(1, 1, 2), (2, 1, 1), (2, 2, 1), (1, 1, 3), (3, 1, 2)]))
    flat = draw(st.booleans()) and draw(st.booleans())
    unit = (1, 1, 1) if flat else [prod(s[axis] for s in strides) for axis in range(3)]
    grid = draw(st.sampled_from([(2, 1, 1), (3, 1, 1), (2, 2, 1), (1, 2, 2), (2, 1, 3)]))
    return ModelConfig(
        input_size=tuple(g * u * p for g, u, p in zip(grid, unit, patch, strict=True)),
        patch_kernel=patch,
        stages=tuple(draw(st.lists(st.integers(1, 2), min_size=n_stages, max_size=n_stages))),
        q_strides=tuple(strides),
        mask_unit_attn=tuple(draw(st.lists(st.booleans(), min_size=n_stages, max_size=n_stages))),
        init_embed_dim=4,
        init_num_heads=draw(st.sampled_from([1, 2])),
        out_embed_dims=tuple(range(3, 3 + n_stages)),
        non_hierarchical=flat,
        decoding_strategy=draw(st.sampled_from(["single", "multi"])),
        decoder_embed_dim=6,
        decoder_depth=draw(st.integers(0, 2)),
        decoder_num_heads=draw(st.sampled_from([1, 3])),
        mask_ratio=draw(st.sampled_from([0.3, 0.5])),
        norm_loss=draw(st.booleans()),
        mlp_ratio=draw(st.sampled_from([2.0, 4.0])),
    )


def scrambled(config, seed=0, network=HBehaveMAE):
    """A network in float64 all of whose parameters are far from trivial."""
    generator = torch.Generator().manual_seed(seed)
    model = network(config, masked=False).double()
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data.copy_(parameter.data + 0.3 * noise)
    return model


def windows(config, batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, *config.input_size, generator=generator, dtype=torch.float64)


@settings(max_examples=25, deadline=None)
@given(config=configs(), seed=st.integers(0, 100))
def test_levels_equal_the_slow_network(config, seed):
    model = scrambled(config, seed, HBehaveEncoder)
    x = windows(config, 1, seed)
    with torch.no_grad():
        for level, expected in zip(model(x), slow_levels(model, x[0]), strict=True):
            values = torch.stack([expected[place] for place in sorted(expected)])
            torch.testing.assert_close(level[0].flatten(0, 2), values)


@settings(max_examples=25, deadline=None)
@given(config=configs(), seed=st.integers(0, 100))
def test_masked_training_equals_the_slow_network(config, seed):
    model = scrambled(config, seed)
    n_units = model.geometry.n_units
    if not 0 < model.geometry.n_kept < n_units or (
        config.norm_loss and model.geometry.pred_size < 2
    ):
        return
    x = windows(config, 2, seed)
    noise = torch.rand(2, n_units, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        output = model(x, noise=noise)
        slow = [slow_mae(model, *sample) for sample in zip(x, output.mask.tolist(), strict=True)]
        torch.testing.assert_close(output.loss, torch.stack([loss for loss, _ in slow]).mean())
        torch.testing.assert_close(output.pred, torch.stack([pred for _, pred in slow]))
        explicit = model(x, mask=output.mask)
    assert torch.equal(explicit.loss, output.loss)
    assert torch.equal(explicit.mask, output.mask)


@settings(max_examples=10, deadline=None)
@given(config=configs())
def test_masked_levels_are_those_of_the_visible_units(config):
    model = scrambled(config, 1, HBehaveEncoder)
    geometry = model.geometry
    x = windows(config)
    mask = torch.zeros(2, geometry.n_units, dtype=torch.bool)
    mask[0, 0] = mask[1, -1] = True
    places = list(product(*map(range, geometry.mask_grid)))
    with torch.no_grad():
        found = model(x, mask)
        for sample, place in ((0, places[0]), (1, places[-1])):
            slow = slow_levels(model, x[sample], {place})
            for level, expected in enumerate(slow):
                values = torch.stack([expected[p] for p in sorted(expected)])
                assert found[level].shape[1:5] == (1, *geometry.level_units[level])
                torch.testing.assert_close(found[level][sample, 0].flatten(0, 2), values)


# ---------------------------------------------------------------- promises


def test_portions_of_units_change_nothing(monkeypatch):
    model = scrambled(replace(SMALL, mask_unit_attn=(True, True, False)), network=HBehaveEncoder)
    x = windows(SMALL, 3)
    whole = model(x)
    mask = torch.rand(3, 6).argsort(1) < 4
    masked = model(x, mask)
    for tokens in (1, 20, 50):
        monkeypatch.setattr(encoder, "TOKENS_AT_ONCE", tokens)
        with torch.inference_mode():
            for a, b in zip(model(x) + model(x, mask), whole + masked, strict=True):
                torch.testing.assert_close(a, b.detach())


def test_only_the_blocks_of_the_wanted_levels_run():
    model = scrambled(SMALL, network=HBehaveEncoder)
    x = windows(SMALL)
    everything = model(x)
    calls = []
    for number, block in enumerate(model.blocks):
        block.register_forward_hook(lambda *_, n=number: calls.append(n))
    for number, projection in enumerate(model.projections):
        projection.register_forward_hook(lambda *_, n=number: calls.append(f"level {n}"))
    (finest,) = model(x, levels=[0])
    assert calls == [0, "level 0"]
    assert torch.equal(finest, everything[0])
    coarse, fine = model(x, levels=[2, 0])
    assert torch.equal(coarse, everything[2])
    assert torch.equal(fine, everything[0])


def test_windows_of_a_batch_do_not_see_each_other():
    model = scrambled(SMALL)
    x = windows(SMALL, 3)
    noise = torch.rand(3, 6)
    together = model(x, noise=noise)
    alone = model(x[1:2], noise=noise[1:2])
    torch.testing.assert_close(together.pred[1:2], alone.pred)
    torch.testing.assert_close(together.token_errors[1:2], alone.token_errors)
    torch.testing.assert_close(together.token_errors.mean(), together.loss)


def test_what_is_hidden_does_not_reach_the_prediction():
    model = scrambled(SMALL)
    x = windows(SMALL)
    output = model(x, noise=torch.rand(2, 6))
    changed = x.clone()
    for sample, unit in product(range(2), range(6)):
        if not output.mask[sample, unit]:
            changed[sample, unit * 4 : unit * 4 + 4] += 5
    assert torch.equal(model(changed, mask=output.mask).pred, output.pred)


@pytest.mark.parametrize("strategy", ["single", "multi"])
@pytest.mark.parametrize("flat", [False, True])
def test_every_trainable_parameter_gets_a_gradient_and_no_other(strategy, flat):
    config = replace(
        SMALL,
        decoding_strategy=strategy,
        non_hierarchical=flat,
        stages=(1, 1, 1, 1),
        mask_unit_attn=(True,) * 4,
        out_embed_dims=(3, 4, 5, 6),
        missing=True,
    )
    model = HBehaveMAE(config)
    x = windows(config).float()
    x[0, :3] = torch.nan
    model(x).loss.backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    frozen = {
        name.split(".weight")[0] for name, p in model.named_parameters() if not p.requires_grad
    }
    frozen = {name for name in frozen if not name.endswith(".bias")}
    expected = {
        ("multi", False): {"projections.2"},
        ("multi", True): set(),
        ("single", False): {f"projections.{i}" for i in range(3)}
        | {f"multi_scale_fusion_heads.{i}" for i in range(2)},
        ("single", True): {f"projections.{i}" for i in range(3)}
        | {f"multi_scale_fusion_heads.{i}" for i in range(4)},
    }
    assert frozen == expected[strategy, flat]


def test_initial_weights_follow_the_distributions_of_the_authors():
    config = ModelConfig(decoding_strategy="multi")
    model = HBehaveMAE(config, generator=torch.Generator().manual_seed(0))
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            bound = sqrt(6 / (module.in_features + module.out_features))
            assert 0.95 * bound < module.weight.abs().max() <= bound, name
            assert module.weight.std().item() == pytest.approx(bound / sqrt(3), rel=0.05), name
            assert module.bias.abs().max() == 0
        elif isinstance(module, nn.LayerNorm):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()
            assert module.eps == 1e-6
        elif isinstance(module, nn.Conv3d):
            fan_in = prod(module.weight.shape[1:])
            bound = 1 / sqrt(fan_in)
            assert module.bias is not None
            assert module.bias.abs().max() <= bound
            assert module.bias.abs().max() > 0.8 * bound
            if name == "patch_embed.proj":
                bound = sqrt(6 / (fan_in + module.out_channels))
            assert 0.95 * bound < module.weight.abs().max() <= bound, name
    for name in ("pos_embed_spatial", "pos_embed_temporal", "mask_token", "decoder_pos_embed"):
        values = model.get_parameter(name)
        assert values.std().item() == pytest.approx(0.02, rel=0.15), name
        assert values.abs().max() > 0.03


def test_a_generator_decides_all_initial_weights_and_masks():
    first, second, other = (
        HBehaveMAE(SMALL, generator=torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)
    )
    for (name, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert not torch.equal(first.mask_token, other.mask_token)
    x = windows(SMALL).float()
    masks = [first(x, generator=torch.Generator().manual_seed(s)).mask for s in (1, 1, 2)]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_keeps_loss_and_residual_stream_in_full_precision(dtype):
    model = scrambled(SMALL).float()
    x = windows(SMALL).float()
    noise = torch.rand(2, 6)
    widths = []
    for block in model.blocks:
        block.register_forward_hook(lambda _m, _a, out: widths.append(out.dtype))
    with torch.autocast("cpu", dtype=dtype):
        output = model(x, noise=noise)
    output.loss.backward()
    assert output.loss.dtype == torch.float32
    assert set(widths) == {torch.float32}
    assert output.loss.item() == pytest.approx(model(x, noise=noise).loss.item(), rel=0.03)
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_large_coordinates_survive_autocast():
    """Half precision has steps of 4 at 1000; the patch embedding must see less."""
    model = scrambled(SMALL, network=HBehaveEncoder).float()
    x = windows(SMALL).float() + 1000
    with torch.no_grad():
        units = model.cut(x).flatten(0, 1)
        position = torch.zeros(len(units), model.geometry.tokens_of_unit, 8)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            low = model.embed(units, position)
        assert torch.equal(low, model.embed(units, position))


@pytest.mark.parametrize("missing", [False, True])
def test_compiles_without_a_graph_break(missing):
    config = replace(SMALL, missing=missing, norm_loss=missing, stages=(1, 1, 1))
    model = HBehaveMAE(config)
    x = windows(config).float()
    noise = torch.rand(2, 6)
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    assert torch.equal(compiled(x, noise=noise).loss, model(x, noise=noise).loss)
    network = HBehaveEncoder(config).eval()
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    with torch.no_grad():
        for a, b in zip(compiled(x), network(x), strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch has no distributed part")
@pytest.mark.parametrize("strategy", ["single", "multi"])
def test_distributed_training_needs_no_search_for_unused_parameters(strategy, tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'rendezvous'}", rank=0, world_size=1
    )
    try:
        model = HBehaveMAE(replace(SMALL, decoding_strategy=strategy))
        wrapped = nn.parallel.DistributedDataParallel(model, find_unused_parameters=False)
        x = windows(SMALL).float()
        for _ in range(2):  # the second forward is the one that would complain
            wrapped(x).loss.backward()
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda m, x: m(x[:, :-1]),
            "windows of (frames, individuals, features) (23, 1, 12), the network was built for "
            "(24, 1, 12)",
        ),
        (lambda m, x: m(x[0]), "(1, 12)"),
        (lambda m, x: m(x, levels=[3]), "levels: [3] wanted, the network has 0 to 2"),
        (lambda m, x: m(x, levels=[]), "levels: none wanted"),
        (lambda m, x: m(x, torch.ones(2, 5, dtype=torch.bool)), "(windows, mask units) (2, 6)"),
        (lambda m, x: m(x, torch.ones(2, 6)), "torch.float32 of shape (2, 6), expected booleans"),
    ],
)
def test_wrong_input_says_what_was_expected(call, message):
    with pytest.raises(UserError) as caught:
        call(HBehaveEncoder(SMALL), windows(SMALL).float())
    assert message in str(caught.value)


def test_a_network_for_embedding_only_refuses_random_masks():
    config = replace(SMALL, mask_ratio=0.95)
    with pytest.raises(UserError, match="leaves 0 visible"):
        HBehaveMAE(config)
    model = HBehaveMAE(config, masked=False)
    x = windows(SMALL).float()
    assert model(x, mask=torch.eye(6, dtype=torch.bool)[:2]).loss.isfinite()
    with pytest.raises(UserError, match=r"mask_ratio 0.95 of 6 mask units leaves 0 visible"):
        model(x)
