"""Random initial weights, all from one generator."""

from __future__ import annotations

from math import prod, sqrt

import torch
from torch import Tensor, nn

from bams.model.tcn import CausalConv1d, WeightNormConv1d, channel_norm

CONV_STD = 0.01


@torch.no_grad()
def initialise(module: nn.Module, generator: torch.Generator | None = None) -> None:
    """Draw the weights as the authors' code does.

    First convolutions of a block and 1 x 1 convolutions: normal of standard deviation 0.01.
    Second ones (weight norm) and linear layers: PyTorch's default, uniform within 1 / sqrt(fan in).
    All biases: uniform within 1 / sqrt(fan in). PReLU and batch norm keep their first values.

    Args:
        module: The network, whose own parameters may be uninitialised memory.
        generator: Source of randomness; PyTorch's global one where None.
    """
    for child in module.modules():
        if isinstance(child, CausalConv1d):
            child.weight.normal_(0, CONV_STD, generator=generator)
            _default(child.bias, child.weight, generator)
        elif isinstance(child, WeightNormConv1d):
            _default(child.weight_v, child.weight_v, generator)
            child.weight_g.copy_(channel_norm(child.weight_v))
            _default(child.bias, child.weight_v, generator)
        elif isinstance(child, nn.Linear):
            _default(child.weight, child.weight, generator)
            if child.bias is not None:
                _default(child.bias, child.weight, generator)


def _default(values: Tensor, weight: Tensor, generator: torch.Generator | None) -> None:
    """PyTorch's default for layers, Kaiming uniform with a = sqrt(5)."""
    bound = 1 / sqrt(prod(weight.shape[1:]))
    values.uniform_(-bound, bound, generator=generator)
