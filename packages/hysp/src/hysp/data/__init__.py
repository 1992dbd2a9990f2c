"""Data: raw NTU RGB+D and PKU-MMD, the original's arrays, and any recording with a joint graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hysp.data.config import ClipConfig, DataConfig
from hysp.lazy import lazy_names

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

# Imported on first use: the settings alone must not wait for tables and recordings.
__getattr__ = lazy_names(
    __name__,
    {
        "Batch": "dataset",
        "SkeletonData": "dataset",
        "Split": "opening",
        "has_split": "opening",
        "open_data": "opening",
        "Skeleton": "skeleton",
    },
)
