"""Embeddings of a frozen encoder, computed once.

Letters: N samples, C channels, T frames, V joints, M persons, D features.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from behaviorzoo.errors import UserError
from hysp.streams import apply_stream

if TYPE_CHECKING:
    from hysp.data.dataset import SkeletonData
    from hysp.model.stgcn import STGCN

DEFAULT_BATCH = 128
_HALF = {"16": torch.float16, "bf16": torch.bfloat16}


@torch.no_grad()
def extract_features(
    encoder: STGCN,
    data: SkeletonData,
    *,
    stream: str = "joint",
    batch_size: int = DEFAULT_BATCH,
    precision: str = "32",
    progress: bool = True,
) -> Tensor:
    """Embed all samples; absent persons are computed once per batch, which is the same.

    Args:
        encoder: In evaluation mode, on its device.
        data: The samples.
        stream: What the encoder sees.
        batch_size: Samples at a time; no effect on the result beyond rounding.
        precision: ``32``, or ``16`` and ``bf16`` by autocast on a GPU.
        progress: Show a bar.

    Returns:
        float32 (N, D) on the encoder's device.

    Raises:
        UserError: The encoder trains, or the samples do not fit it.
    """
    if encoder.training:
        raise UserError("features are those of an encoder in evaluation mode")
    parts = []
    with tqdm(total=len(data), desc="features", unit="clip", disable=not progress) as bar:
        for x in stream_batches(encoder, data, stream, batch_size):
            with autocast(x.device, precision):
                parts.append(encoder(x, skip_absent=True).float())
            bar.update(len(x))
    return torch.cat(parts)


def stream_batches(
    encoder: STGCN, data: SkeletonData, stream: str, batch_size: int
) -> Iterator[Tensor]:
    """Batches of samples as the encoder sees them, (B, C, T, V, M), on its device."""
    device, parents = encoder.A.device, torch.as_tensor(encoder.graph.parents)
    for start in range(0, len(data), batch_size):
        indices = np.arange(start, min(start + batch_size, len(data)))
        x = data.batch(indices).x.to(device)
        yield apply_stream(x, stream, parents)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Half precision on a GPU; elsewhere it would be slower than what it saves.

    Raises:
        UserError: Half precision asked for on another device.
    """
    if precision == "32":
        return torch.autocast(device.type, enabled=False)
    if device.type != "cuda":
        raise UserError(f"precision={precision} is for GPUs; use precision=32 on {device.type}")
    return torch.autocast("cuda", dtype=_HALF[precision])
