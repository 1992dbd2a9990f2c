"""Linear layers with weights packed once for the processor's matrix products.

Extraction multiplies by the same weights millions of times. oneDNN, which comes with PyTorch,
takes them in a layout of its own and adds the bias within the product; that is a tenth faster
than ``nn.Linear`` on the CPUs tried. PyTorch's compiler uses the same operators when it freezes a
network, but compiling takes longer than many an extraction.
"""

from __future__ import annotations

import copy
import logging
from typing import TypeVar

import torch
from torch import Tensor, nn

log = logging.getLogger("hbehavemae")

Network = TypeVar("Network", bound=nn.Module)


class PackedLinear(nn.Module):
    """A linear layer for inference in float32 on a CPU.

    Args:
        layer: The layer whose weights are packed; it is left as it is.
    """

    def __init__(self, layer: nn.Linear):
        super().__init__()
        self.in_features = layer.in_features
        self.out_features = layer.out_features
        self._weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach())
        self._bias = None if layer.bias is None else layer.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to (..., C_out)."""
        return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")


def packed_copy(network: Network) -> Network:
    """A copy of the network for inference on a CPU with all linear layers packed.

    Args:
        network: Left as it is.

    Returns:
        The copy; the network itself where it is not in float32 on a CPU, or where this PyTorch
        cannot pack.
    """
    first = next(network.parameters())
    if first.device.type != "cpu" or first.dtype != torch.float32 or not _can_pack():
        return network
    packed = copy.deepcopy(network)
    with torch.no_grad():
        for module in list(packed.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, nn.Linear):
                    setattr(module, name, PackedLinear(child))
    return packed


def _can_pack() -> bool:
    """Try it: the operators are PyTorch's own and may change or be left out of a build."""
    if not torch.backends.mkldnn.is_available():
        return False
    layer = nn.Linear(3, 2)
    x = torch.ones(4, 3)
    try:
        with torch.no_grad():
            return torch.allclose(PackedLinear(layer)(x), layer(x), atol=1e-5)
    except (AttributeError, RuntimeError, TypeError) as error:
        log.debug("weights are not packed: %s", error)
        return False
