"""Data: raw NTU RGB+D and PKU-MMD, the original's arrays, and any recording with a joint graph."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hysp.data.config import ClipConfig, DataConfig

if TYPE_CHECKING:
    from hysp.data.dataset import Batch, SkeletonData
    from hysp.data.opening import Split, has_split, open_data
    from hysp.data.skeleton import Skeleton

__all__ = [
    "Batch",
    "ClipConfig",
    "DataConfig",
    "Skeleton",
    "SkeletonData",
    "Split",
    "has_split",
    "open_data",
]

_HOMES = {
    "Batch": "dataset",
    "SkeletonData": "dataset",
    "Split": "opening",
    "has_split": "opening",
    "open_data": "opening",
    "Skeleton": "skeleton",
}


def __getattr__(name: str) -> Any:
    """Import on first use: the settings alone must not wait for tables and recordings."""
    if name in _HOMES:
        return getattr(import_module(f"hysp.data.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
