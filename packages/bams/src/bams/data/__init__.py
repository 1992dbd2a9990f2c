"""Data for training and embedding: the published data sets, own arrays and any recording."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bams.data.config import DataConfig

if TYPE_CHECKING:
    from bams.data.build import build_training_data, open_sequences
    from bams.data.dataset import Batch, BehaviorDataset
    from bams.data.quantise import MISSING_BIN, Scaling
    from bams.data.sequences import FeatureSequence, Sequences

__all__ = [
    "MISSING_BIN",
    "Batch",
    "BehaviorDataset",
    "DataConfig",
    "FeatureSequence",
    "Scaling",
    "Sequences",
    "build_training_data",
    "open_sequences",
]

_HOMES = {
    "MISSING_BIN": "quantise",
    "Batch": "dataset",
    "BehaviorDataset": "dataset",
    "FeatureSequence": "sequences",
    "Scaling": "quantise",
    "Sequences": "sequences",
    "build_training_data": "build",
    "open_sequences": "build",
}


def __getattr__(name: str) -> Any:
    # Settings are checked without torch, which costs seconds.
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
