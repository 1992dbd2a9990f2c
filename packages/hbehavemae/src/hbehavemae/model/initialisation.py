"""Random initial weights, all from one generator."""

from __future__ import annotations

from math import prod, sqrt

import torch
from torch import nn

POSITION_STD = 0.02


def initialise(module: nn.Module, generator: torch.Generator | None = None) -> None:
    """Draw the weights as the authors do.

    Linear layers: Xavier uniform, bias 0. LayerNorm: 1 and 0. Patch embedding: Xavier uniform on
    the (E, P) matrix. Fusion heads and the patch bias: PyTorch's default for convolutions.
    Position embeddings and mask token: truncated normal of standard deviation 0.02.

    Args:
        module: The network, whose own parameters may be uninitialised memory.
        generator: Source of randomness; PyTorch's global one where None.
    """
    for child in module.modules():
        if isinstance(child, nn.Linear):
            nn.init.xavier_uniform_(child.weight, generator=generator)
            nn.init.zeros_(child.bias)
        elif isinstance(child, nn.Conv3d) and child.bias is not None:
            bound = 1 / sqrt(prod(child.weight.shape[1:]))
            # Kaiming uniform with a = sqrt(5), in PyTorch's words.
            nn.init.uniform_(child.weight, -bound, bound, generator=generator)
            nn.init.uniform_(child.bias, -bound, bound, generator=generator)
    patch_weight = module.get_parameter("patch_embed.proj.weight")
    nn.init.xavier_uniform_(patch_weight.detach().flatten(1), generator=generator)
    for parameter in module.parameters(recurse=False):
        nn.init.trunc_normal_(parameter, std=POSITION_STD, generator=generator)
