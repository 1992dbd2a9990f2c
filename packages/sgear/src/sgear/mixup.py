"""Mixup (Zhang et al. 2018) of a batch with itself in reverse order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from behaviorzoo.errors import UserError
from sgear.model.config import Compat, check_compat


@dataclass(frozen=True)
class Mixed:
    """A mixed batch.

    Attributes:
        video: As it was given.
        target: Label type -> (B, N) shares of the classes.
        past_target: Label type -> (B, T, N).
        lam: Share of the batch itself; the rest is of the reversed one.
    """

    video: Tensor
    target: dict[str, Tensor]
    past_target: dict[str, Tensor]
    lam: float


class Mixup:
    """Mixes inputs and labels with one share for the whole batch.

    Args:
        num_classes: Label type -> number of classes.
        alpha: The share follows Beta(alpha, alpha).
        label_smoothing: Share of every target that all classes get alike.
        compat: What a label -1 (none) becomes: class 0 with ``upstream``, no class with
            ``corrected``. Only labels of the past can be missing with ``upstream``.

    Raises:
        UserError: ``alpha`` or ``label_smoothing`` out of range.
    """

    def __init__(
        self,
        num_classes: Mapping[str, int],
        alpha: float = 1.0,
        label_smoothing: float = 0.0,
        compat: Compat = "upstream",
    ) -> None:
        check_compat(compat)
        if not alpha > 0:
            raise UserError(f"train.mixup_alpha = {alpha} must be positive to mix, such as 0.8")
        if not 0 <= label_smoothing < 1:
            raise UserError(f"train.label_smoothing = {label_smoothing} must lie in [0, 1)")
        self.num_classes, self.alpha = dict(num_classes), alpha
        self.label_smoothing, self.compat = label_smoothing, compat

    def __call__(
        self,
        video: Tensor,
        target: Mapping[str, Tensor],
        past_target: Mapping[str, Tensor] | None = None,
        lam: float | None = None,
    ) -> Mixed:
        """Mix a batch.

        Args:
            video: (B, ...).
            target: Label type -> (B).
            past_target: Label type -> (B, T) or (B, T, F); of F labels the most frequent counts.
            lam: Share of the batch itself; None draws it with torch's generator.

        Raises:
            UserError: One item, which has nothing to be mixed with.
        """
        if len(video) < 2:
            raise UserError(
                "train.use_mixup needs at least 2 items in a batch; raise train.batch_size"
            )
        lam = self.draw() if lam is None else lam
        past = {name: labels_of_clips(y) for name, y in (past_target or {}).items()}
        return Mixed(
            video=blend(video, lam),
            target={name: self._shares(y, name, lam) for name, y in target.items()},
            past_target={name: self._shares(y, name, lam) for name, y in past.items()},
            lam=lam,
        )

    def draw(self) -> float:
        """A share of Beta(alpha, alpha), in step with torch's seed."""
        seed = int(torch.randint(2**31, ()))
        return float(np.random.default_rng(seed).beta(self.alpha, self.alpha))

    def _shares(self, labels: Tensor, name: str, lam: float) -> Tensor:
        """(...) labels to (..., N) shares, mixed."""
        n = self.num_classes[name]
        known = labels >= 0
        shares = F.one_hot(labels.clamp(min=0), n).float()
        shares = shares * (1 - self.label_smoothing) + self.label_smoothing / n
        if self.compat == "corrected":
            shares = shares * known[..., None]
        return blend(shares, lam)


def blend(x: Tensor, lam: float) -> Tensor:
    """``lam`` of a batch (B, ...) and the rest of the same in reverse order."""
    return lam * x + (1 - lam) * x.flip(0)


def labels_of_clips(labels: Tensor) -> Tensor:
    """The most frequent label of every clip, the smallest of equally frequent ones.

    Args:
        labels: (B, T, F), or (B, T) already.

    Returns:
        (B, T).
    """
    return labels.mode(-1).values if labels.ndim == 3 else labels
