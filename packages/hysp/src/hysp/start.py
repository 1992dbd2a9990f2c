"""Where the first batch norm of an encoder starts: as published, or from what the joints do.

Batch norm gives every coordinate of every joint mean 0 and spread 1. A graph convolution shares
its weights among joints and the embedding is a mean over them, so a left and a right arm, which
stand at mirrored places of the graph, differ in nothing then until the norm's own weights have
been learned; that takes thousands of steps. Starting these weights at the mean and the spread of
each coordinate makes the norm pass joints on where they are, and lets it learn from there.

Letters: N sequences, C channels, T frames, V joints, M persons.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from hysp.streams import PARTS, apply_stream

if TYPE_CHECKING:
    from hysp.data.dataset import SkeletonData
    from hysp.model.stgcn import STGCN

MOST_SEQUENCES = 4096
"""An even sample of so many sequences says what their coordinates do."""
_AT_ONCE = 256


def start_from_data(encoder: STGCN, data: SkeletonData, stream: str) -> None:
    """Start the first batch norm of an encoder from sequences, if its options say so.

    Args:
        encoder: With random weights; its ``config.first_norm`` decides.
        data: The sequences, labels are not looked at.
        stream: What the encoder sees of them.
    """
    if encoder.config.first_norm != "data":
        return
    rows = np.unique(np.linspace(0, len(data) - 1, MOST_SEQUENCES).round().astype(np.int64))
    parents = torch.as_tensor(encoder.graph.parents)
    batches = (
        apply_stream(data.batch(part).x, stream, parents)
        for part in np.array_split(rows, -(-len(rows) // _AT_ONCE))
    )
    start_first_norm(encoder, batches, len(PARTS[stream]))


@torch.no_grad()
def start_first_norm(encoder: STGCN, batches: Iterable[Tensor], parts: int = 1) -> None:
    """Make the first batch norm pass coordinates on in units of their common spread.

    With mean m and deviation s of a coordinate and the spread S of all coordinates (root mean
    square over joints of what is left of each axis without its mean), its weight becomes s / S
    and its bias m / S; m and s are its running statistics too.

    Args:
        encoder: Changed in place.
        batches: Sequences (N, C, T, V, M) as the encoder sees them; absent persons (all zero) do
            not count.
        parts: Parts of the stream, side by side in C: each has its own unit.
    """
    rows = torch.cat(list(_moments(batches)))  # (batches, 3, C, V): count, sum, sum of squares
    count, total, squares = rows.sum(0)
    count = count.clamp_min(1)
    mean = total / count
    variance = (squares / count - mean.square()).clamp_min(0)
    axis = mean.mean(1, keepdim=True)
    spread = (variance + (mean - axis).square()).unflatten(0, (parts, -1)).mean((1, 2)).sqrt()
    unit = spread.repeat_interleave(len(mean) // parts)[:, None].clamp_min(1e-12)
    norm = encoder.data_bn
    assert norm.running_mean is not None
    assert norm.running_var is not None
    for target, values in (
        (norm.weight, variance.sqrt() / unit),
        (norm.bias, mean / unit),
        (norm.running_mean, mean),
        (norm.running_var, variance),
    ):
        target.copy_(values.T.flatten())  # (V * C,), as the norm has them


def _moments(batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """Of every batch (1, 3, C, V) in double precision."""
    for x in batches:
        persons = x.double().permute(0, 4, 1, 2, 3).flatten(0, 1)  # (N * M, C, T, V)
        persons = persons[persons.flatten(1).any(1)]
        count = torch.full(persons.shape[1::2], float(len(persons) * persons.shape[2])).double()
        sums = [persons.sum((0, 2)), persons.square().sum((0, 2))]
        yield torch.stack([count.to(x.device), *sums])[None]
