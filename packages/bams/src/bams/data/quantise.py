"""Scale of the inputs and bins of the actions, learned once and kept with the checkpoint.

Letters: F frames (of all sequences), N input features, M actions, K bins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bams.data.config import Compat
from behaviorzoo.errors import UserError

STILL = 0.1
"""Actions of this size or less do not count when the edges of the bins are placed."""
PERCENTILES = (0.5, 99.5)
MISSING_BIN = 255
"""Mark of an action that was not observed; there are at most 255 bins, 0 to 254."""

# Frames and columns at a time: what a processor keeps at hand.
_ROWS = 1 << 12
_COLUMNS = 4


@dataclass(frozen=True)
class Scaling:
    """What was learned from the training sequences; other sequences are treated alike.

    Attributes:
        input_scale: Largest absolute value of every input feature, float32 (N,); 0 where a
            feature is 0 everywhere; empty where it is not known.
        edges: Edges between the bins of every action, float32 (M, K - 1).
        target_scale: Largest absolute edge of every action, float64 (M,).
        input_names: What the input features are.
        target_names: What the actions are.
        zeros: What an input feature that is 0 everywhere becomes: ``keep``, or ``nan`` as in
            the original.
        marks_missing: Actions that are NaN get the mark ``MISSING_BIN``; else the last bin, as in
            the original.
        state: What else a kind of data must remember (recordings: key points, statistics).
    """

    input_scale: np.ndarray
    edges: np.ndarray
    target_scale: np.ndarray
    input_names: tuple[str, ...] = ()
    target_names: tuple[str, ...] = ()
    zeros: str = "keep"
    marks_missing: bool = False
    state: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_bins(self) -> int:
        """Bins K."""
        return self.edges.shape[1] + 1

    @property
    def known(self) -> bool:
        """Whether the scale of the inputs is known; features of others come without it."""
        return len(self.input_scale) > 0

    @property
    def empty_inputs(self) -> list[str]:
        """Names of the input features that are 0 in all training sequences."""
        return [self.input_names[at] for at in np.flatnonzero(self.input_scale == 0)]

    def scale_inputs(self, inputs: np.ndarray) -> np.ndarray:
        """Divide float32 (..., N) by the scale, in place, and return it.

        One path for training and embedding, so that the same frames give the same bits.
        """
        scale = self.input_scale
        if self.zeros == "keep":
            scale = np.where(scale == 0, np.float32(1), scale)
        with np.errstate(invalid="ignore"):
            return np.divide(inputs, scale, out=inputs)

    def bins(self, targets: np.ndarray) -> np.ndarray:
        """Bin numbers uint8 (..., M) of actions (..., M)."""
        flat = targets.reshape(-1, targets.shape[-1])
        out = np.empty(flat.shape, np.uint8)
        for start in range(0, len(flat), _ROWS):
            block, found = flat[start : start + _ROWS], out[start : start + _ROWS]
            for feature, edges in enumerate(self.edges):
                found[:, feature] = quantise(block[:, feature], edges)
            if self.marks_missing:
                found[np.isnan(block)] = MISSING_BIN
        return out.reshape(targets.shape)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the checkpoint's metadata; float32 numbers survive exactly."""
        return {
            "input_scale": self.input_scale.tolist(),
            "edges": self.edges.tolist(),
            "target_scale": self.target_scale.tolist(),
            "input_names": list(self.input_names),
            "target_names": list(self.target_names),
            "zeros": self.zeros,
            "marks_missing": self.marks_missing,
            "state": dict(self.state),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Scaling:
        """The inverse of :meth:`to_dict`.

        Raises:
            UserError: A part is missing or has another form.
        """
        try:
            edges = np.asarray(content["edges"], np.float32)
            return cls(
                input_scale=np.asarray(content["input_scale"], np.float32),
                edges=edges.reshape(len(edges), -1),
                target_scale=np.asarray(content["target_scale"], np.float64),
                input_names=tuple(content["input_names"]),
                target_names=tuple(content["target_names"]),
                zeros=str(content["zeros"]),
                marks_missing=bool(content["marks_missing"]),
                state=dict(content["state"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"the checkpoint's record of its training data is damaged ({error!r}); use a "
                "checkpoint folder as `bams train` wrote it"
            ) from error


def fit_scaling(
    inputs: np.ndarray,
    targets: np.ndarray,
    n_bins: int,
    compat: Compat = "paper",
    *,
    input_names: Sequence[str] = (),
    target_names: Sequence[str] = (),
    marks_missing: bool = False,
) -> Scaling:
    """Learn scale and bins from all training frames.

    Args:
        inputs: Input features (F, N); NaN is left out.
        targets: Actions (F, M); NaN is left out.
        n_bins: K, 2 to 255.
        compat: ``upstream``: no edges without an action above ``STILL``, and input features that
            are 0 everywhere become NaN.
        input_names: N names; numbers if not given.
        target_names: M names; numbers if not given.
        marks_missing: See :class:`Scaling`.

    Raises:
        UserError: ``n_bins`` out of range, or an action from which no bins can be made.
    """
    if not 2 <= n_bins <= MISSING_BIN:
        raise UserError(f"hoa_bins = {n_bins} must lie between 2 and {MISSING_BIN}")
    target_names = tuple(target_names) or tuple(f"action {n}" for n in range(targets.shape[-1]))
    # A few columns at a time are copied so that each lies in one piece.
    columns = (
        column
        for start in range(0, targets.shape[-1], _COLUMNS)
        for column in np.ascontiguousarray(targets[:, start : start + _COLUMNS].T)
    )
    limits = [
        action_limits(column, compat, name)
        for column, name in zip(columns, target_names, strict=True)
    ]
    return Scaling(
        input_scale=largest_inputs(inputs),
        edges=np.stack([bin_edges(low, high, n_bins) for low, high in limits]),
        target_scale=np.array([max(abs(low), abs(high)) for low, high in limits], np.float64),
        input_names=tuple(input_names) or tuple(f"input {n}" for n in range(inputs.shape[-1])),
        target_names=target_names,
        zeros="nan" if compat == "upstream" else "keep",
        marks_missing=marks_missing,
    )


def largest_inputs(inputs: np.ndarray) -> np.ndarray:
    """Largest absolute value of each column of (F, N), float32; NaN aside, 0 if there is none."""
    largest = np.zeros(inputs.shape[-1], np.float64)
    for start in range(0, len(inputs), _ROWS):
        block = np.abs(inputs[start : start + _ROWS])
        largest = np.fmax(largest, np.fmax.reduce(block, axis=0))
    return largest.astype(np.float32)


def action_limits(values: np.ndarray, compat: Compat, name: str) -> tuple[float, float]:
    """Where the bins of one action begin and end: percentiles of its larger values.

    Args:
        values: (F,).
        compat: The original stops with a TypeError where no value exceeds ``STILL``; ``paper``
            takes all values then.
        name: For the message.

    Raises:
        UserError: No value at all, or (``upstream``) none above ``STILL``.
    """
    chosen = values[np.abs(values) > STILL]
    if not len(chosen):
        if compat == "upstream":
            raise UserError(
                f"{name}: no value exceeds {STILL} in size, and compat=upstream makes no bins "
                "then (the original stops with a TypeError); take compat=paper, or larger units"
            )
        chosen = values[~np.isnan(values)]
    if not len(chosen):
        raise UserError(f"{name}: it is never observed, so no bins can be made; leave it out")
    low, high = (percentile(chosen, share) for share in PERCENTILES)
    return low, high


def percentile(values: np.ndarray, share: float) -> float:
    """``np.percentile`` (linear interpolation) of (n,), n >= 1, ten times faster for large n.

    Numpy selects one element with vector instructions, but several at once without.
    """
    place = (len(values) - 1) * (share / 100)
    below = int(place)
    ordered = np.partition(values, below)
    low = float(ordered[below])
    high = float(ordered[below + 1 :].min(initial=np.inf)) if place > below else low
    return low + (high - low) * (place - below)


def bin_edges(low: float, high: float, n_bins: int) -> np.ndarray:
    """Evenly spaced edges float32 (K - 1,) from ``low`` to ``high``."""
    return np.linspace(low, high, n_bins - 1).astype(np.float32)


def quantise(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Number of edges at or below each value, uint8; NaN counts as above all of them."""
    return np.searchsorted(edges, values, side="right").astype(np.uint8)
