"""Statistics over the batches of all processes that train together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm


def n_processes() -> int:
    """Processes that train together; 1 where nobody started several."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size()
    return 1


def mean_over_processes(x: Tensor) -> Tensor:
    """Mean over all processes, with gradient; ``x`` itself where there is one.

    With it, and with gradients averaged over the processes as data-parallel training does, several
    processes with a part of a batch each do what one would do with all of it.

    Args:
        x: Of any shape, the same in all processes, which must all come here.
    """
    return x if n_processes() == 1 else _Mean.apply(x)  # pyright: ignore[reportReturnType]


def share_batch_statistics(network: nn.Module) -> None:
    """Let every batch norm of a network normalise by the batches of all processes, in place.

    ``torch.nn.SyncBatchNorm`` does this on accelerators only. Parameters, buffers and their names
    stay; where one process trains, nothing changes.

    Args:
        network: All processes must have equal batches of it.
    """
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
            # The object stays, so that optimisers, hooks and other references to it stay right.
            module.__class__ = _SharedBatchNorm  # pyright: ignore[reportAttributeAccessIssue]


class _SharedBatchNorm(_BatchNorm):
    """Batch norm over (B, C, ...) of all processes together."""

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions: the layer that this one was has checked."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or n_processes() == 1:
            return super().forward(input)
        over = [0, *range(2, input.ndim)]
        mean = mean_over_processes(input.mean(over, keepdim=True))
        centred = input - mean
        variance = mean_over_processes((centred * centred).mean(over, keepdim=True))
        self._follow(mean.flatten(), variance.flatten(), input.numel() // input.shape[1])
        normed = centred * torch.rsqrt(variance + self.eps)
        if not self.affine:
            return normed
        shape = (1, -1, *[1] * (input.ndim - 2))
        return normed * self.weight.view(shape) + self.bias.view(shape)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count_here: int) -> None:
        """Running averages as torch keeps them, with the unbiased variance."""
        if self.running_mean is None or self.running_var is None:
            return
        share = self.momentum or 0.0
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:  # a plain average of all batches
                share = 1.0 / float(self.num_batches_tracked)
        count = count_here * n_processes()
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        unbiased = variance * (count / max(count - 1, 1))
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), share)


class _Mean(torch.autograd.Function):
    """A mean whose gradient is a mean too: each process has a share in the loss of every one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _mean(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return _mean(grads[0])


def _mean(x: Tensor) -> Tensor:
    total = x.contiguous().clone()
    distributed.all_reduce(total)
    return total / n_processes()
