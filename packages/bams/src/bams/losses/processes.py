"""Statistics over the batches of all processes that train together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed


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
