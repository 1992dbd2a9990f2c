"""Options of the training objective.

No torch in here, so that the command line can show and check the settings quickly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from behaviorzoo.errors import UserError, suggest

Compat = Literal["paper", "upstream"]
"""``paper``: what the paper describes. ``upstream``: what the authors' public code computes."""

MAX_WINDOW = 255
"""Frames of a window: its counts are bytes."""


def fitted_start(start: int, length: int, room: int) -> int:
    """First frame to use in a sequence that may be too short for the usual one.

    Args:
        start: The usual first frame.
        length: Frames L of the sequence.
        room: Frames that are needed from the first one on.

    Returns:
        ``start`` where ``room`` frames follow, else the middle of the sequence.
    """
    return start if start + room <= length else (length - 1) // 2


@dataclass(frozen=True)
class PairConfig:
    """Which two frames of a sequence an encoder's latent loss compares.

    A sequence too short for ``start`` is used from its middle on.

    Raises:
        UserError: A number out of its range.
    """

    start: int = field(default=100, metadata={"help": "first frame that may be drawn"})
    reach: int | None = field(
        default=None,
        metadata={
            "help": "the second frame is fewer than so many frames later; null: anywhere from "
            "start on, independent of the first"
        },
    )

    def __post_init__(self) -> None:
        if self.start < 0:
            raise UserError(f"start = {self.start} must be at least 0")
        if self.reach is not None and self.reach < 1:
            raise UserError(f"reach = {self.reach} must be at least 1")


NEAR = PairConfig(start=60, reach=6)
"""Short-term: two frames that are the same moment."""

FAR = PairConfig(start=100, reach=None)
"""Long-term: two frames of the same sequence."""


@dataclass(frozen=True)
class LossConfig:
    """Weights and windows of the objective; the numbers are the authors'.

    Raises:
        UserError: Every option that cannot be, in one message.
    """

    hoa_window: int = field(
        default=30, metadata={"help": "frames of the future whose actions are predicted"}
    )
    skip_frames: int = field(
        default=100,
        metadata={"help": "first frames, which have seen little, that are not scored"},
    )
    hoa_every: int = field(
        default=1, metadata={"help": "score every n-th frame, from a random one on; 1 scores all"}
    )
    hoa_weight: float = field(default=500.0, metadata={"help": "weight of the histogram loss"})
    latent_weight: float = field(default=0.5, metadata={"help": "weight of each latent loss"})
    pairs: dict[str, PairConfig] = field(
        default_factory=lambda: {"short_term": NEAR},
        metadata={"help": "encoder -> pairs of its latent loss; others: far ones"},
    )
    upstream_access: Literal["first", "later"] = field(
        default="first",
        metadata={
            "help": "with compat=upstream: the weights that the authors' data set gives at the "
            "first or at every later access to a sequence in one process"
        },
    )

    def __post_init__(self) -> None:
        wrong = [
            f"{name} = {getattr(self, name)} must be at least {limit}"
            for name, limit in {
                "skip_frames": 0,
                "hoa_every": 1,
                "hoa_weight": 0,
                "latent_weight": 0,
            }.items()
            if getattr(self, name) < limit
        ]
        if not 1 <= self.hoa_window <= MAX_WINDOW:
            wrong.append(f"hoa_window = {self.hoa_window} must lie between 1 and {MAX_WINDOW}")
        if wrong:
            raise UserError("; ".join(wrong))

    def pairs_of(self, encoders: Iterable[str]) -> dict[str, PairConfig]:
        """The pairs of every encoder.

        Raises:
            UserError: Pairs for an encoder that the network does not have.
        """
        encoders = list(encoders)
        for name in self.pairs:
            # The default names an encoder that a network need not have.
            if name not in encoders and self.pairs != {"short_term": NEAR}:
                raise UserError(f"loss.pairs.{name}: no such encoder; {suggest(name, encoders)}")
        return {name: self.pairs.get(name, FAR) for name in encoders}
