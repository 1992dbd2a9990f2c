"""Whole sequences for embedding extraction, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch


class FeatureSequence(NamedTuple):
    """One recording, episode or clip, ready for the network.

    Attributes:
        name: Key of the recording in labels and embeddings.
        first_frame: The source's number of the first frame.
        features: float32 (n frames, I individuals, F features).
    """

    name: str
    first_frame: int
    features: np.ndarray


class Sequences:
    """Sequences in file order, each made when the loop comes to it.

    Args:
        names: Names of all sequences.
        load: Gives sequence number ``index``; called once for each pass and sequence.
        window_transform: Applied to windows (B, T, I, F) that are cut from ``features`` before
            they enter the network; only a normalisation that looks at the window needs it.
    """

    def __init__(
        self,
        names: Sequence[str],
        load: Callable[[int], FeatureSequence],
        window_transform: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ):
        self.names = list(names)
        self._load = load
        self.window_transform = window_transform

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> FeatureSequence:
        return self._load(range(len(self))[index])

    def __iter__(self) -> Iterator[FeatureSequence]:
        for index in range(len(self)):
            yield self._load(index)
