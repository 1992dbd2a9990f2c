"""PReLU with one slope: the same as PyTorch's, whose gradient takes ten times as long on a CPU."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn


class _PReLU(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, slope: Tensor) -> Tensor:
        return torch.nn.functional.prelu(x, slope.to(x.dtype))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        (grad,) = grads
        x, slope = ctx.saved_tensors
        grad = grad.to(x.dtype)  # autocast gives the output another type than the input
        positive = torch.ops.aten.threshold_backward(grad, x, 0)
        grad_x = torch.lerp(positive, grad, slope.to(x.dtype))  # slope * grad where x <= 0
        grad_slope = (grad * x.clamp(max=0)).sum(dtype=slope.dtype)
        return grad_x, grad_slope.reshape(slope.shape)


class PReLU(nn.Module):
    """x where positive, else slope * x, with one learnable slope (He et al. 2015).

    Args:
        slope: Its first value.
    """

    def __init__(self, slope: float = 0.25) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1,), slope))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        return cast(Tensor, _PReLU.apply(x, self.weight))
