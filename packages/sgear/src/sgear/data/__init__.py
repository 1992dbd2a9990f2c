"""Data: annotations, clips before an action, and the frames or features that are seen.

A set is described by :class:`DatasetConfig`, its clips by :class:`DataConfig`; ``build_dataset``
opens it, its ``presence`` says what was found, ``collate`` makes batches of its items.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sgear.data.config import DataConfig, DatasetConfig
    from sgear.data.dataset import ActionDataset, BrokenClip, collate
    from sgear.data.opening import JoinedDatasets, build_dataset, concatenate

__all__ = [
    "ActionDataset",
    "BrokenClip",
    "DataConfig",
    "DatasetConfig",
    "JoinedDatasets",
    "build_dataset",
    "collate",
    "concatenate",
]

# Imported on first use: the settings alone must not wait for tables and torch.
_HOMES = {
    "DataConfig": "config",
    "DatasetConfig": "config",
    "ActionDataset": "dataset",
    "BrokenClip": "dataset",
    "collate": "dataset",
    "JoinedDatasets": "opening",
    "build_dataset": "opening",
    "concatenate": "opening",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
