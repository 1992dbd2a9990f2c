"""A sum over many rows whose gradient is taken a few rows at a time.

The predictor of actions treats every frame by itself. Run on a few thousand frames at a time,
forward and backward, its activations stay in a CPU's cache and memory does not grow with the
batch; the gradient is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

Score = Callable[[Tensor, slice], Tensor]
"""(features (r, F), which of the rows they are) -> scalar, a sum over the rows."""

CELLS_AT_ONCE = {"cpu": 1 << 19}
"""Outputs of the predictor in one portion, by device."""

CELLS_AT_ONCE_ELSEWHERE = 1 << 26


def sum_over_rows(
    score: Score, module: nn.Module, features: Tensor, rows: Tensor, cells: int
) -> Tensor:
    """Sum of ``score`` over the rows, differentiable in features and parameters.

    Args:
        score: The sum over some rows; uses the parameters of ``module`` and nothing else that
            needs a gradient.
        module: Its parameters.
        features: (n, F).
        rows: int64 (R,), the rows of ``features`` to sum over.
        cells: Numbers that the module makes of a row.

    Returns:
        Scalar.
    """
    at_once = CELLS_AT_ONCE.get(features.device.type, CELLS_AT_ONCE_ELSEWHERE)
    size = max(at_once // cells, 1)
    batchwise = any(isinstance(part, nn.BatchNorm1d) for part in module.modules())
    if len(rows) <= size or batchwise or _scaled_gradients(features):
        return score(features[rows], slice(0, len(rows)))
    parameters = [p for p in module.parameters() if p.requires_grad]
    return cast(Tensor, _SumOverRows.apply(score, features, rows, size, *parameters))


def _scaled_gradients(features: Tensor) -> bool:
    """Under float16 the scale of the loss must be there when gradients are taken."""
    device = features.device.type
    return torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.float16


class _SumOverRows(torch.autograd.Function):
    """Takes the gradients in the forward pass and hands them on in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, score: Score, features: Tensor, rows: Tensor, size: int, *parameters: Tensor
    ) -> Tensor:
        needed = any(ctx.needs_input_grad)
        sums = []
        grad_features = torch.zeros_like(features) if needed else features
        grads = [torch.zeros_like(p) for p in parameters]
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            chosen = features[rows[part]].detach()
            if not needed:
                sums.append(score(chosen, part))
                continue
            with torch.enable_grad():
                value = score(chosen.requires_grad_(), part)
            grad_chosen, *found = torch.autograd.grad(value, [chosen, *parameters])
            grad_features.index_copy_(0, rows[part], grad_chosen)
            for total, grad in zip(grads, found, strict=True):
                total.add_(grad)
            sums.append(value.detach())
        if needed:
            ctx.save_for_backward(grad_features, *grads)
        return torch.stack(sums).sum()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grad_outputs
        grad_features, *grads = ctx.saved_tensors
        return None, grad * grad_features, None, None, *(grad * g for g in grads)
