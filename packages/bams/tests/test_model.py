"""The network: strictly causal, as many timescales as wanted, the published sizes and starts."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bams.model import BAMS, EncoderConfig, ModelConfig
from bams.model.activations import PReLU
from bams.model.mlp import MLP, LatentPredictor
from bams.model.tcn import (
    CausalConv1d,
    TemporalBlock,
    TemporalConvNet,
    WeightNormConv1d,
    causal_conv,
)
from behaviorzoo.errors import UserError

MOUSE = ModelConfig(
    n_inputs=67,
    n_targets=9,
    encoders={
        "short_term": EncoderConfig(channels=(64, 64, 32, 32), dilation_base=2),
        "long_term": EncoderConfig(channels=(64, 64, 64, 32, 32), dilation_base=4),
    },
)
SMALL = ModelConfig(
    n_inputs=5,
    n_targets=2,
    encoders={
        "short_term": EncoderConfig(channels=(6, 4)),
        "long_term": EncoderConfig(channels=(6, 6, 3), dilation_base=3),
    },
    predictor_hidden=(7,),
    hoa_bins=4,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def count(module):
    return sum(p.numel() for p in module.parameters())


# -- convolutions and blocks ------------------------------------------------------------------


def slow_causal_conv(x, weight, bias, dilation):
    """Every output by itself; frames before the first are zero."""
    k = weight.shape[2]
    out = bias[:, None].repeat(len(x), 1, x.shape[2])
    for t in range(x.shape[2]):
        for tap in range(k):
            at = t - (k - 1 - tap) * dilation
            if at >= 0:
                out[:, :, t] += x[:, :, at] @ weight[:, :, tap].T
    return out


@settings(max_examples=25, deadline=None)
@given(k=st.integers(1, 4), dilation=st.integers(1, 6), length=st.integers(1, 9))
def test_convolution_sees_the_past_only(k, dilation, length):
    g = generator(k + 10 * dilation)
    x = torch.randn(2, 3, length, generator=g, dtype=torch.float64)
    weight = torch.randn(4, 3, k, generator=g, dtype=torch.float64)
    bias = torch.randn(4, generator=g, dtype=torch.float64)
    found = causal_conv(x, weight, bias, dilation)
    torch.testing.assert_close(found, slow_causal_conv(x, weight, bias, dilation))


def test_weight_norm_is_that_of_pytorch():
    conv = WeightNormConv1d(3, 4, 2)
    with torch.no_grad():
        for parameter in conv.parameters():
            parameter.normal_(generator=generator(1))
    other = nn.utils.parametrizations.weight_norm(nn.Conv1d(3, 4, 2), dim=0)
    modern = other.parametrizations.weight
    modern.original0.data.copy_(conv.weight_g)
    modern.original1.data.copy_(conv.weight_v)
    torch.testing.assert_close(conv.weight, other.weight)
    conv.weight.square().mul(torch.arange(6.0).view(3, 2)).sum().backward()
    other.weight.square().mul(torch.arange(6.0).view(3, 2)).sum().backward()
    torch.testing.assert_close(conv.weight_g.grad, modern.original0.grad)
    torch.testing.assert_close(conv.weight_v.grad, modern.original1.grad)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("n_out", [3, 5])
def test_block_is_the_formula(layers, n_out):
    block = TemporalBlock(3, n_out, kernel_size=3, dilation=2, layers=layers, dropout=0.5).double()
    with torch.no_grad():
        for number, parameter in enumerate(block.parameters()):
            parameter.normal_(generator=generator(number))
    block.eval()
    x = torch.randn(2, 3, 11, generator=generator(9), dtype=torch.float64)
    z = F.prelu(slow_causal_conv(x, block.conv1.weight, block.conv1.bias, 2), block.relu1.weight)
    if layers == 2:
        v, g = block.conv2.weight_v, block.conv2.weight_g
        weight = torch.stack([g[c] * v[c] / v[c].norm() for c in range(n_out)])
        z = F.prelu(slow_causal_conv(z, weight, block.conv2.bias, 2), block.relu2.weight)
    residual = x
    if n_out != 3:
        matrix = block.downsample.weight[:, :, 0]
        residual = torch.einsum("oc,bcl->bol", matrix, x) + block.downsample.bias[:, None]
    torch.testing.assert_close(block(x), F.prelu(z + residual, block.relu.weight))
    assert hasattr(block, "conv2") == (layers == 2)


@settings(max_examples=20, deadline=None)
@given(
    channels=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    base=st.integers(1, 4),
    k=st.integers(1, 3),
    layers=st.integers(1, 2),
)
def test_receptive_field_is_what_an_output_depends_on(channels, base, k, layers):
    config = EncoderConfig(
        channels=tuple(channels), kernel_size=k, dilation_base=base, layers_per_block=layers
    )
    network = TemporalConvNet(2, config).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.uniform_(0.1, 1, generator=generator(3))  # nothing cancels
    length = config.receptive_field + 3
    x = torch.ones(1, 2, length, dtype=torch.float64, requires_grad=True)
    network(x)[0, 0, -2].backward()
    used = x.grad[0].abs().sum(dim=0).nonzero()[:, 0]
    assert used.max() == length - 2, "the present, and not the future"
    assert length - 2 - used.min() + 1 == network.receptive_field


def test_receptive_fields_of_the_published_networks():
    assert BAMS(MOUSE).receptive_fields == {"short_term": 61, "long_term": 1365}
    assert ModelConfig().receptive_fields == {"short_term": 61, "long_term": 1365}


def test_one_number_or_one_for_each_block():
    config = EncoderConfig(channels=(4, 3), kernel_size=(2, 5), layers_per_block=(1, 2))
    blocks = list(TemporalConvNet(3, config).network)
    assert [block.conv1.weight.shape[2] for block in blocks] == [2, 5]
    assert [block.layers for block in blocks] == [1, 2]
    assert config.receptive_field == 1 + 1 * 1 * 1 + 2 * 4 * 2


# -- activations ------------------------------------------------------------------------------


@pytest.mark.parametrize("slope", [0.1, -0.3, 0.0, 1.0])
def test_prelu_is_that_of_pytorch(slope):
    ours = PReLU(slope).double()
    theirs = nn.PReLU(init=slope).double()
    x = torch.randn(3, 4, 5, generator=generator(), dtype=torch.float64)
    x[0, 0] = 0
    grad = torch.randn(3, 4, 5, generator=generator(1), dtype=torch.float64)
    found = []
    for module in (ours, theirs):
        leaf = x.clone().requires_grad_()
        y = module(leaf)
        y.backward(grad)
        found.append((y, leaf.grad, module.weight.grad))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


def test_prelu_by_finite_differences():
    module = PReLU(0.2).double()
    x = torch.randn(7, generator=generator(2), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, w: torch.func.functional_call(module, {"weight": w}, (x,)), (x, module.weight)
    )


# -- heads ------------------------------------------------------------------------------------


def test_mlp_is_linear_and_prelu_in_turns():
    mlp = MLP((3, 4, 5)).double()
    first, slope, second = mlp.layers
    x = torch.randn(2, 7, 3, dtype=torch.float64)
    torch.testing.assert_close(mlp(x), second(F.prelu(first(x), slope.weight)))
    assert slope.weight.item() == 0.25
    assert [name for name, _ in mlp.named_parameters()][:3] == [
        "layers.0.weight",
        "layers.0.bias",
        "layers.1.weight",
    ]


def test_mlp_options():
    plain = MLP((3, 4, 5), bias=False)
    assert all(layer.bias is None for layer in plain.layers if isinstance(layer, nn.Linear))
    normed = MLP((3, 4, 5), batchnorm=True)
    assert [type(layer).__name__ for layer in normed.layers] == [
        "Linear",
        "BatchNorm1d",
        "PReLU",
        "Linear",
    ]
    assert normed.layers[0].bias is None
    assert normed.layers[3].bias is not None
    assert normed.layers[1].momentum == 0.99
    assert isinstance(MLP((3, 4), activate_last=True).layers[-1], PReLU)
    assert normed(torch.randn(2, 6, 3)).shape == (2, 6, 5)


def test_latent_predictor():
    head = LatentPredictor(3)
    assert [tuple(p.shape) for p in head.parameters()] == [(12, 3), (12,), (12,), (3, 12), (3,)]
    assert (head[1].eps, head[1].momentum) == (1e-5, 0.1)


# -- the whole --------------------------------------------------------------------------------


def test_sizes_of_the_mouse_network():
    model = BAMS(MOUSE)
    assert count(model) == 761_726
    assert count(model.encoders["short_term"]) == 72_108
    assert count(model.encoders["long_term"]) == 96_879
    assert count(model.predictor) == 575_779
    assert {count(head) for head in model.byol_predictors.values()} == {8_480}


@torch.no_grad()
def test_first_weights():
    model = BAMS(MOUSE, generator=generator())
    blocks = [block for encoder in model.encoders.values() for block in encoder.network]
    for block in blocks:
        assert block.conv1.weight.std() == pytest.approx(0.01, rel=0.05)
        fan_in = block.conv2.weight_v[0].numel()
        assert block.conv2.weight_v.std() == pytest.approx((3 * fan_in) ** -0.5, rel=0.05)
        torch.testing.assert_close(block.conv2.weight, block.conv2.weight_v)
        assert block.conv1.bias.abs().max() <= block.conv1.weight[0].numel() ** -0.5
        assert block.relu.weight.item() == pytest.approx(0.1)
        if block.downsample is not None:
            assert block.downsample.weight.std() == pytest.approx(0.01, rel=0.1)
    assert blocks[1].conv2.weight.std() == pytest.approx(0.042, rel=0.02)
    linear = model.predictor.layers[2]
    assert linear.weight.abs().max() <= 256**-0.5
    assert linear.weight.std() == pytest.approx((3 * 256) ** -0.5, rel=0.02)
    assert all(p.isfinite().all() for p in model.parameters())


def test_one_generator_decides_all_weights():
    torch.manual_seed(0)
    first = BAMS(SMALL, generator=generator(5)).state_dict()
    torch.manual_seed(1)
    second = BAMS(SMALL, generator=generator(5)).state_dict()
    other = BAMS(SMALL, generator=generator(6)).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["predictor.layers.0.weight"], other["predictor.layers.0.weight"])


def test_output_shapes_and_order():
    model = BAMS(SMALL).eval()
    x = torch.randn(2, 9, 5)
    output = model(x)
    assert {k: tuple(v.shape) for k, v in output.embeddings.items()} == {
        "short_term": (2, 9, 4),
        "long_term": (2, 9, 3),
    }
    assert output.hoa_logits.shape == (2, 9, 8)
    # The predictor sees the embeddings in their order, then the input itself.
    seen = torch.cat([output.embeddings["short_term"], output.embeddings["long_term"], x], dim=-1)
    torch.testing.assert_close(model.predictor(seen), output.hoa_logits)
    for name, embedding in output.embeddings.items():
        prediction = output.latent_predictions[name]
        torch.testing.assert_close(
            prediction[1, 4], model.byol_predictors[name](embedding[1, 4:5])[0]
        )


@pytest.mark.parametrize("names", [("only",), ("fast", "middle", "slow")])
def test_any_number_of_encoders(names):
    encoders = {
        name: EncoderConfig(channels=(4, 3 + i), dilation_base=2 + i)
        for i, name in enumerate(names)
    }
    model = BAMS(ModelConfig(n_inputs=2, n_targets=1, encoders=encoders, predictor_hidden=()))
    output = model(torch.randn(2, 8, 2))
    assert list(output.embeddings) == list(names)
    assert model.predictor.layers[0].weight.shape == (32, model.config.embedding_size + 2)


def test_the_future_changes_nothing():
    model = BAMS(SMALL, generator=generator()).double().eval()
    x = torch.randn(2, 40, 5, dtype=torch.float64)
    changed = x.clone()
    changed[:, 25:] += 1
    before, after = model(x), model(changed)
    for name in model.encoders:
        torch.testing.assert_close(before.embeddings[name][:, :25], after.embeddings[name][:, :25])
    torch.testing.assert_close(before.hoa_logits[:, :25], after.hoa_logits[:, :25])
    assert not torch.allclose(before.hoa_logits[:, 25:], after.hoa_logits[:, 25:])


def test_encode_runs_the_encoders_only():
    model = BAMS(SMALL).eval()
    ran = []
    for name, child in model.named_children():
        for module in child.modules():
            module.register_forward_hook(lambda *_, name=name: ran.append(name))
    embeddings = model.encode(torch.randn(1, 6, 5))
    assert set(ran) == {"encoders"}
    assert list(embeddings) == ["short_term", "long_term"]


def test_compiles_without_a_break():
    encoders = {"only": EncoderConfig(channels=(3,))}
    config = ModelConfig(2, 1, encoders, predictor_hidden=(3,), hoa_bins=2)
    torch._dynamo.reset()
    x = torch.randn(2, 12, 2)
    for train in (True, False):
        model = BAMS(config).train(train)
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        model.zero_grad()
        compiled(x).hoa_logits.square().sum().backward()
        assert model.encoders["only"].network[0].relu1.weight.grad.isfinite().all()
    torch.testing.assert_close(compiled(x).hoa_logits, model(x).hoa_logits)


def test_options_can_be_read_without_torch():
    code = (
        "import sys; import bams.model, bams.losses; bams.model.ModelConfig(); "
        "bams.losses.LossConfig(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": ()}, "channels = .*give a positive number"),
        ({"channels": (4, 0)}, "channels = .*give a positive number"),
        ({"kernel_size": 0}, "kernel_size = 0 must be at least 1"),
        ({"kernel_size": (3, 3)}, "kernel_size has 2 numbers for 4 blocks"),
        ({"layers_per_block": 3}, "layers_per_block = 3 must be 1 or 2"),
        ({"dilation_base": 0}, "dilation_base = 0 must be at least 1"),
        ({"dropout": 1.0}, r"dropout = 1\.0 must lie in \[0, 1\)"),
    ],
)
def test_impossible_encoders_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        EncoderConfig(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoders": {}}, "encoders is empty"),
        ({"encoders": {"a.b": EncoderConfig()}}, "the name 'a.b' must consist of"),
        ({"n_inputs": -1}, "n_inputs = -1 must be at least 0"),
        ({"predictor_hidden": (3, 0)}, r"predictor_hidden = \[3, 0\] must be positive"),
        ({"hoa_bins": 1}, "hoa_bins = 1 must lie between 2 and 255"),
        ({"hoa_bins": 256, "n_targets": -2}, "n_targets = -2 .*; hoa_bins = 256"),
    ],
)
def test_impossible_networks_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        ModelConfig(**options)


def test_sizes_must_be_known_and_fit():
    with pytest.raises(UserError, match="n_inputs and n_targets of the network"):
        BAMS(ModelConfig())
    with pytest.raises(UserError, match=r"input: \(1, 4, 6\), .* 5 features"):
        BAMS(SMALL).encode(torch.zeros(1, 4, 6))


def test_conv_modules_hold_what_the_layout_names():
    names = [name for name, _ in CausalConv1d(2, 3, 1).named_parameters()]
    assert names == ["weight", "bias"]
    assert [name for name, _ in WeightNormConv1d(2, 3, 1).named_parameters()] == [
        "bias",
        "weight_g",
        "weight_v",
    ]
