"""Data: raw NTU RGB+D and PKU-MMD, the original's arrays, and any recording with a joint graph."""

from hysp.data.config import ClipConfig, DataConfig
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
