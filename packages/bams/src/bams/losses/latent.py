"""The latent loss: an embedding predicts that of another frame (BYOL without a second network).

Letters: B sequences, L frames, E features of an embedding, H = 4 E hidden features.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, linear

from bams.losses.draws import Pairs
from behaviorzoo.together import mean_over_processes, n_processes


def latent_loss(head: nn.Sequential, embedding: Tensor, pairs: Pairs) -> Tensor:
    """One minus the mean cosine of prediction and embedding; the embedding gets no gradient.

    Args:
        head: Linear without bias, batch norm, ReLU, linear.
        embedding: (B, L, E).
        pairs: The frames.

    Returns:
        Scalar.
    """
    sequences = torch.arange(len(embedding), device=embedding.device)
    predicted = predict_at(head, embedding, pairs.anchors)
    target = embedding[sequences, pairs.partners].detach()
    # A cosine near 1 has no digits left in half precision.
    dtype = torch.promote_types(embedding.dtype, torch.float32)
    return 1 - cosine_similarity(predicted.to(dtype), target.to(dtype), dim=-1, eps=1e-8).mean()


def predict_at(head: nn.Sequential, embedding: Tensor, frames: Tensor) -> Tensor:
    """What the head makes of one frame of each sequence, as if it had run on all of them.

    In training, batch norm needs mean and variance of the hidden features over all B * L frames
    (of all processes). The layer before it is linear, so both follow from mean and covariance of
    the embedding: mean = W m and var = diag(W C W^T).

    Args:
        head: Linear without bias, batch norm, ReLU, linear.
        embedding: (B, L, E).
        frames: int64 (B,).

    Returns:
        (B, E). The running statistics of the batch norm are updated as by a run on all frames.
    """
    first, norm = cast(nn.Linear, head[0]), cast(nn.BatchNorm1d, head[1])
    chosen = embedding[torch.arange(len(frames), device=frames.device), frames]
    if not norm.training:
        return head(chosen)
    weight = first.weight
    # A covariance in half precision would be worthless.
    with torch.autocast(embedding.device.type, enabled=False):
        rows = embedding.flatten(0, 1).to(weight.dtype)
        mean = mean_over_processes(rows.mean(dim=0))
        centred = rows - mean
        covariance = mean_over_processes(centred.T @ centred / len(rows))
        hidden_var = ((weight @ covariance) * weight).sum(dim=1)
        n = len(rows) * n_processes()
        _update_running(norm, (weight @ mean).detach(), hidden_var.detach(), n)
        hidden = linear(chosen.to(weight.dtype) - mean, weight)
        hidden = hidden * torch.rsqrt(hidden_var + norm.eps) * norm.weight + norm.bias
    return head[3](head[2](hidden))


@torch.no_grad()
def _update_running(norm: nn.BatchNorm1d, mean: Tensor, var: Tensor, n: int) -> None:
    """As PyTorch does; the running variance is the unbiased one."""
    momentum = cast(float, norm.momentum)
    cast(Tensor, norm.running_mean).lerp_(mean, momentum)
    cast(Tensor, norm.running_var).lerp_(var * (n / max(n - 1, 1)), momentum)
    cast(Tensor, norm.num_batches_tracked).add_(1)
