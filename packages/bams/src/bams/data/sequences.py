"""Whole recordings for embedding, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np

from bams.data.features import Features, Source
from bams.data.quantise import Scaling

Split = Literal["train", "test", "all"]


class FeatureSequence(NamedTuple):
    """One recording, ready for the network.

    Attributes:
        name: Key of the recording in labels and embeddings.
        first_frame: The source's number of the first frame.
        inputs: Scaled features, one row per animal, float32 (A, L, N).
        ignored: Frames in which the animal is (partly) missing, bool (A, L).
        individuals: Names of the A rows.
        is_train: Whether it belongs to the training split of its benchmark.
    """

    name: str
    first_frame: int
    inputs: np.ndarray
    ignored: np.ndarray
    individuals: tuple[str, ...]
    is_train: bool


class Sequences:
    """Recordings in order, each made when the loop comes to it.

    Args:
        source: The recordings.
        scaling: What the training run learned.
        load: Gives the features of recording number ``index``.

    Attributes:
        names: Names of the recordings.
        lengths: Frames of each.
        is_train: Whether each belongs to the training split of its benchmark.
        individuals: Names of the rows of every recording.
        n_inputs: Features N of a frame.
    """

    def __init__(self, source: Source, scaling: Scaling, load: Callable[[Source, int], Features]):
        self.names = list(source.names)
        self.lengths = [int(length) for length in source.lengths]
        self.is_train = [bool(train) for train in source.is_train]
        self.individuals = source.individuals
        self.n_inputs = len(source.input_names)
        self.scaling = scaling
        self._source = source
        self._load = load

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> FeatureSequence:
        # `range` gives negative indices their meaning and ends iteration with IndexError.
        index = range(len(self))[index]
        features = self._load(self._source, index)
        # In C order, whatever the strides of the features: the scale is applied in place.
        inputs = np.array(features.inputs, np.float32, order="C")
        return FeatureSequence(
            self.names[index],
            self._source.first_frame(index),
            self.scaling.scale_inputs(inputs),
            features.ignored,
            self.individuals,
            self.is_train[index],
        )

    def __iter__(self) -> Iterator[FeatureSequence]:
        for index in range(len(self)):
            yield self[index]
