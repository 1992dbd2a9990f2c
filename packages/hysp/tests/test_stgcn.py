"""The encoder against its formula, person by person and joint by joint."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import batch_norm, conv2d, relu

from behaviorzoo.dropout import Dropout, keep_mask
from behaviorzoo.errors import UserError
from hysp.model import STGCN, EncoderConfig, GraphConfig
from hysp.model.stgcn import GraphConv
from hysp.model.temporal import TemporalConv, spectrum

CHAIN = GraphConfig("custom", n_joints=4, edges=((0, 1), (1, 2), (2, 3)), centre=1)
CONFIG = EncoderConfig(in_channels=2, hidden_channels=3, out_channels=7, graph=CHAIN)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    encoder = STGCN(CONFIG).double()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    for importance in encoder.edge_importance:
        nn.init.normal_(importance)
    return encoder.eval()


def batch(n=3, frames=11, persons=2):
    return torch.randn(n, 2, frames, 4, persons, dtype=torch.float64)


def norm(x, module):
    shown = (module.running_mean, module.running_var, module.weight, module.bias)
    return batch_norm(x, *shown, training=False)


def block_by_formula(x, block, adjacency):
    y = conv2d(x, block.gcn.conv.weight, block.gcn.conv.bias)
    y = y.unflatten(1, (len(adjacency), -1))
    z = torch.einsum("bkctv,kvw->bctw", y, adjacency)
    first, _, conv, second, _ = block.tcn
    z = relu(norm(z, first))
    z = norm(conv2d(z, conv.weight, conv.bias, stride=conv.stride, padding=(4, 0)), second)
    if isinstance(block.residual, nn.Sequential):
        projection, last = block.residual
        x = conv2d(x, projection.weight, projection.bias, stride=projection.stride)
        z = z + norm(x, last)
    elif block.has_residual:
        z = z + x
    return relu(z)


def embed_by_formula(encoder, x):
    rows = []
    for person in x.permute(0, 4, 1, 2, 3).flatten(0, 1):  # (C, T, V)
        flat = person.permute(2, 0, 1).flatten(0, 1)[None]  # channel v * C + c
        y = norm(flat, encoder.data_bn).unflatten(1, (4, 2)).permute(0, 2, 3, 1)
        for index, block in enumerate(encoder.st_gcn_networks):
            y = block_by_formula(y, block, encoder.A * encoder.edge_importance[index])
        rows.append(y.mean((0, 2, 3)))
    return torch.stack(rows).unflatten(0, (len(x), -1)).mean(1)


def test_forward_is_the_published_formula(encoder):
    x = batch()
    torch.testing.assert_close(encoder(x), embed_by_formula(encoder, x), rtol=1e-10, atol=1e-12)


def test_blocks_have_the_published_strides_and_dropout(encoder):
    shapes = [tuple(y.shape) for y in encoder.block_outputs(torch.randn(1, 2, 50, 4).double())]
    assert [shape[2] for shape in shapes] == [50] * 4 + [25] * 3 + [13] * 3
    assert [shape[1] for shape in shapes] == [3] * 4 + [6] * 3 + [12] * 2 + [7]
    assert [block.tcn[4].p for block in encoder.st_gcn_networks] == [0] + [0.5] * 9


def test_published_size():
    encoder = STGCN(EncoderConfig())
    assert sum(p.numel() for p in encoder.parameters()) == 12_791_956
    assert len(encoder.state_dict()) == 177


def test_last_block_without_change_of_width_adds_its_input():
    encoder = STGCN(EncoderConfig(2, 3, 12, CHAIN))
    assert isinstance(encoder.st_gcn_networks[9].residual, nn.Identity)
    assert "st_gcn_networks.9.residual.0.weight" not in encoder.state_dict()


def test_plain_adjacency_has_no_weights():
    encoder = STGCN(EncoderConfig(2, 3, 7, CHAIN, edge_importance_weighting=False))
    assert not any("edge_importance" in name for name in encoder.state_dict())
    assert encoder(batch().float()).shape == (3, 7)


@pytest.mark.parametrize("absent", [[], [(0, 1)], [(0, 1), (1, 1), (2, 0)], "all"], ids=len)
def test_absent_persons_are_computed_once_with_the_same_result(encoder, absent, monkeypatch):
    x = batch()
    for n, m in absent if absent != "all" else [(n, m) for n in range(3) for m in range(2)]:
        x[n, ..., m] = 0
    rows = []
    first = encoder.st_gcn_networks[0]
    first.register_forward_hook(lambda module, inputs, output: rows.append(len(output)))
    whole, skipped = encoder(x), encoder(x, skip_absent=True)
    torch.testing.assert_close(skipped, whole, rtol=1e-12, atol=1e-13)
    present = int(x.abs().sum((1, 2, 3)).bool().sum())
    assert rows == [6, present + (present < 6)]


def test_absent_persons_count_in_training(encoder):
    encoder.train()
    x = batch()
    x[0, ..., 1] = 0
    torch.manual_seed(1)
    whole = encoder(x)
    torch.manual_seed(1)
    assert torch.equal(encoder(x, skip_absent=True), whole)


@pytest.mark.parametrize("shape", [(3, 2, 11, 4), (3, 3, 11, 4, 2), (3, 2, 11, 5, 2)], ids=str)
def test_another_shape_is_refused(encoder, shape):
    with pytest.raises(UserError, match="C = 2 channels and V = 4 joints"):
        encoder(torch.zeros(shape))


def test_compiles_in_one_graph(encoder):
    encoder = encoder.train()
    for block in encoder.st_gcn_networks:
        block.tcn[4].p = 0.0
    twin = copy.deepcopy(encoder)
    x = batch()
    compiled = torch.compile(twin, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), encoder(x))


def test_batch_norms_can_be_synchronised(encoder):
    keys, x = list(encoder.state_dict()), batch()
    expected = encoder(x)
    synced = nn.SyncBatchNorm.convert_sync_batchnorm(encoder)
    assert sum(isinstance(m, nn.SyncBatchNorm) for m in synced.modules()) == 24
    assert list(synced.state_dict()) == keys
    torch.testing.assert_close(synced(x), expected)


def test_graph_convolution_gathers_before_it_mixes():
    torch.manual_seed(0)
    layer = GraphConv(5, 4, 3).double()
    x = torch.randn(2, 5, 6, 7, dtype=torch.float64, requires_grad=True)
    adjacency = torch.randn(3, 7, 7, dtype=torch.float64, requires_grad=True)
    y = layer.conv(x).unflatten(1, (3, -1))
    expected = torch.einsum("bkctv,kvw->bctw", y, adjacency)
    found = layer(x, adjacency)
    torch.testing.assert_close(found, expected)
    inputs = (x, adjacency, *layer.parameters())
    weight = torch.randn_like(expected)
    for a, b in zip(
        torch.autograd.grad((found * weight).sum(), inputs),
        torch.autograd.grad((expected * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("frames", [1, 2, 5, 8, 13, 14, 50])
@pytest.mark.parametrize("taps", [1, 3, 9])
def test_convolution_by_spectrum_is_the_convolution(frames, taps, stride):
    torch.manual_seed(0)
    layer = TemporalConv(6, taps, stride).double()
    x = torch.randn(2, 6, frames, 3, dtype=torch.float64, requires_grad=True)
    assert not layer._spectrum_pays(x)
    found, expected = layer._by_spectrum(x), layer(x)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    inputs = (x, *layer.parameters())
    weight = torch.randn_like(expected)
    for a, b in zip(
        torch.autograd.grad((found * weight).sum(), inputs),
        torch.autograd.grad((expected * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


def test_spectrum_takes_three_products_per_frequency():
    assert len(spectrum(13, 9).of_input) == 1 + 3 * 8  # a period of 17
    assert len(spectrum(50, 9).of_input) == 2 + 3 * 26  # a period of 54


def test_spectrum_where_it_pays_and_in_single_precision_as_good():
    torch.manual_seed(0)
    layer, x = TemporalConv(128, 9), torch.randn(2, 128, 13, 25)
    assert layer._spectrum_pays(x)
    assert not layer._spectrum_pays(x[..., :1])
    assert not layer._spectrum_pays(x.bfloat16())
    assert not layer._spectrum_pays(torch.randn(1, 128, 2000, 25))
    exact = conv2d(x.double(), layer.weight.double(), layer.bias.double(), padding=(4, 0))
    direct = conv2d(x, layer.weight, layer.bias, padding=(4, 0))
    error = (layer(x) - exact).abs().max()
    assert error < 4 * (direct - exact).abs().max()


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_drops_its_share_and_keeps_the_mean(p):
    torch.manual_seed(0)
    mask = keep_mask(torch.empty(257, 389), p)
    share, n = (mask == 0).double().mean().item(), mask.numel()
    assert abs(share - p) < 5 * math.sqrt(p * (1 - p) / n) + 1e-5
    assert mask.unique().tolist() == pytest.approx([0.0, 1 / (1 - p)], rel=1e-3)
    # Four decisions come from one draw: they must not know of each other.
    rows = (mask.flatten()[: n // 4 * 4].view(-1, 4) > 0).double()
    off_diagonal = torch.corrcoef(rows.T) - torch.eye(4)
    assert off_diagonal.abs().max() < 0.04


def test_dropout_does_nothing_in_evaluation_and_follows_the_seed():
    x, layer = torch.randn(5, 7), Dropout(0.5)
    assert torch.equal(layer.eval()(x), x)
    torch.manual_seed(3)
    first = layer.train()(x)
    torch.manual_seed(3)
    assert torch.equal(layer(x), first)
    assert not torch.equal(layer(x), first)


def test_options_are_checked():
    with pytest.raises(UserError, match=r"hidden_channels = 0, out_channels = -1: must be pos"):
        EncoderConfig(hidden_channels=0, out_channels=-1)
    with pytest.raises(UserError, match=r"dropout = 1 must lie in \[0, 1\)"):
        EncoderConfig(dropout=1)
