"""What every kind of data becomes: input features, actions, and frames that do not count.

Letters: A animals of a recording, L frames, N input features, M actions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np


class Features(NamedTuple):
    """Features of one recording, one row per sequence, neither scaled nor binned.

    Attributes:
        inputs: (A, L, N), float32 or float64.
        targets: Actions (A, L, M); NaN = not observed.
        ignored: Frames that are no target, bool (A, L).
    """

    inputs: np.ndarray
    targets: np.ndarray
    ignored: np.ndarray


@dataclass(frozen=True)
class Source:
    """Recordings of one kind of data, each read when it is asked for.

    Attributes:
        names: Names of the recordings.
        lengths: Frames of each.
        is_train: Whether each belongs to the training split of its benchmark.
        individuals: Names of the rows of a recording.
        input_names: What the N input features are.
        target_names: What the M actions are.
        load: Gives the features of recording number ``index``.
        first_frames: The source's number of the first frame of each; 0 if not given.
        target_columns: Where the actions stand among the inputs too, if they do.
        standardised: Inputs need no scaling.
        marks_missing: Actions can be NaN and must not count then.
        state: What must be remembered to treat other recordings alike.
        observed: Gives the share of observed points in each frame of a recording, (A, L), where
            windows without any are to be left out.
        notes: What the user should know.
    """

    names: Sequence[str]
    lengths: Sequence[int]
    is_train: Sequence[bool]
    individuals: tuple[str, ...]
    input_names: tuple[str, ...]
    target_names: tuple[str, ...]
    load: Callable[[int], Features]
    first_frames: Sequence[int] = ()
    target_columns: slice | None = None
    standardised: bool = False
    marks_missing: bool = False
    state: Mapping[str, Any] = field(default_factory=dict)
    observed: Callable[[int], np.ndarray] | None = None
    notes: Sequence[str] = ()

    def first_frame(self, index: int) -> int:
        """The source's number of the first frame of a recording."""
        return int(self.first_frames[index]) if self.first_frames else 0

    def only(self, chosen: Sequence[int]) -> Source:
        """Some of the recordings, by number."""

        def picked(values: Sequence[Any]) -> list[Any]:
            return [values[number] for number in chosen] if len(values) else []

        observed = self.observed
        return replace(
            self,
            names=picked(self.names),
            lengths=picked(self.lengths),
            is_train=picked(self.is_train),
            first_frames=picked(self.first_frames),
            load=lambda index: self.load(chosen[index]),
            observed=observed and (lambda index: observed(chosen[index])),
        )
