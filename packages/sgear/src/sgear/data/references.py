"""Rows of a table by class: what language says about an item's label.

The original puts these rows into every item. They follow from the labels, so here they are looked
up where they are needed, which may be on the device.
"""

from __future__ import annotations

import torch


def reference_rows(table: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Rows of a table of classes.

    Args:
        table: (N, ...), such as language encodings (N, D) or similarities (N, N).
        labels: int64, any shape. As in the original, -1 (no label) takes row 1.

    Returns:
        ``labels.shape + table.shape[1:]``.
    """
    return table[labels.abs()]


def window_labels(past: torch.Tensor) -> torch.Tensor:
    """One label for every window: the most frequent among its frames, int64 (..., F) -> (...)."""
    return past.mode(dim=-1).values
