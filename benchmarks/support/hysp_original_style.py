"""HYSP's encoder laid out as in the authors' code: same parameters, same results, for timing.

All parts of a neighbourhood are mixed before they are gathered (``einsum``), and the temporal
convolution is the library's.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from hysp.model.stgcn import Block, GraphConv


class OriginalGraphConv(nn.Module):
    """Mix channels for every part, then gather the joints."""

    def __init__(self, layer: GraphConv) -> None:
        super().__init__()
        self.conv, self.n_parts = layer.conv, layer.n_parts

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        """(B, C, T, V) with (K, V, V) to (B, C', T, V)."""
        y = self.conv(x).unflatten(1, (self.n_parts, -1))
        return torch.einsum("nkctv,kvw->nctw", y, adjacency).contiguous()


def original_style(model: nn.Module) -> nn.Module:
    """A copy of a network with its blocks laid out as in the authors' code."""
    model = copy.deepcopy(model)
    for block in model.modules():
        if not isinstance(block, Block):
            continue
        first, _, ours, second, dropout = block.tcn
        conv = nn.Conv2d(
            ours.in_channels, ours.out_channels, ours.kernel_size, ours.stride, ours.padding
        )
        conv.weight, conv.bias = ours.weight, ours.bias
        block.gcn = OriginalGraphConv(block.gcn)
        last = nn.Dropout(dropout.p, inplace=True)
        block.tcn = nn.Sequential(first, nn.ReLU(inplace=True), conv, second, last)
    return model
