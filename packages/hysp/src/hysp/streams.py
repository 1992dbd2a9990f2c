"""Streams: what of a skeleton sequence the network sees (joint, motion, bone, or several).

Letters: N sequences, C coordinates, T frames, V joints, M persons.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from behaviorzoo.errors import UserError, suggest

PARTS: dict[str, tuple[str, ...]] = {
    "joint": ("joint",),
    "motion": ("motion",),
    "bone": ("bone",),
    "2s": ("joint", "bone"),
    "3s": ("joint", "motion", "bone"),
}
"""Stream -> what is put side by side on the channels."""


def stream_channels(stream: str, coordinates: int = 3) -> int:
    """Channels of a stream.

    Args:
        stream: Key of :data:`PARTS`.
        coordinates: Of a joint.

    Raises:
        UserError: Unknown stream.
    """
    return coordinates * len(_parts(stream))


def apply_stream(x: Tensor, stream: str, parents: Sequence[int] | Tensor) -> Tensor:
    """Joints to a stream.

    Args:
        x: (N, C, T, V, M).
        stream: Key of :data:`PARTS`.
        parents: (V,) next joint towards the centre, the centre its own
            (:attr:`hysp.graph.Graph.parents`).

    Returns:
        (N, C', T, V, M), C' as :func:`stream_channels` says.

    Raises:
        UserError: Unknown stream, or parents of another skeleton.
    """
    parts: dict[str, Callable[[], Tensor]] = {
        "joint": lambda: x,
        "motion": lambda: motion(x),
        "bone": lambda: bone(x, parents),
    }
    chosen = [parts[name]() for name in _parts(stream)]
    return chosen[0] if len(chosen) == 1 else torch.cat(chosen, dim=1)


def motion(x: Tensor) -> Tensor:
    """Step to the next frame, 0 in the last one: (N, C, T, V, M) to the same."""
    return torch.cat([x[:, :, 1:] - x[:, :, :-1], torch.zeros_like(x[:, :, -1:])], dim=2)


def bone(x: Tensor, parents: Sequence[int] | Tensor) -> Tensor:
    """Joint less its parent, 0 at the centre: (N, C, T, V, M) to the same.

    Raises:
        UserError: Not one parent for each joint.
    """
    index = torch.as_tensor(parents, dtype=torch.long, device=x.device)
    if len(index) != x.shape[3]:
        raise UserError(f"bone: {len(index)} parents given, but the input has {x.shape[3]} joints")
    return x - x.index_select(3, index)


def _parts(stream: str) -> tuple[str, ...]:
    if stream not in PARTS:
        raise UserError(f"stream: unknown {stream!r}; {suggest(stream, PARTS)}")
    return PARTS[stream]
