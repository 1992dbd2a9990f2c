"""What is random about the objective of a batch, drawn from the seeds of its sequences."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bams.losses.config import LossConfig, PairConfig, fitted_start
from behaviorzoo.draws import integers

# Which draw of a sequence's seed is what; each encoder takes two.
_PHASE_STREAM = 1
_PAIR_STREAM = 2


class Pairs(NamedTuple):
    """Two frames of each sequence.

    Attributes:
        anchors: int64 (B,), the frames that predict.
        partners: int64 (B,), the frames whose embeddings are predicted.
    """

    anchors: Tensor
    partners: Tensor


@dataclass  # not frozen: Lightning's number formats walk over the parts of a batch
class Draws:
    """Random choices of one batch.

    Attributes:
        pairs: Encoder -> frames of its latent loss.
        phases: int64 (B,), the first frame that the histogram loss scores, modulo ``hoa_every``.
    """

    pairs: dict[str, Pairs]
    phases: Tensor

    def to(self, device: torch.device | str) -> Draws:
        """The same choices on another device."""
        pairs = {name: Pairs(a.to(device), p.to(device)) for name, (a, p) in self.pairs.items()}
        return Draws(pairs, self.phases.to(device))


def draw(
    config: LossConfig, encoders: Iterable[str], length: int, seeds: Tensor | np.ndarray
) -> Draws:
    """Draw what the objective needs; a sequence's draws depend on its own seed alone.

    Args:
        config: Which pairs, and how many frames are scored.
        encoders: Names of the network's encoders.
        length: Frames L of the sequences.
        seeds: int64 (B,).

    Raises:
        UserError: Pairs for an encoder that the network does not have.
    """
    seeds = torch.as_tensor(seeds)
    pairs = {
        name: draw_pairs(pair, length, seeds, _PAIR_STREAM + 2 * number)
        for number, (name, pair) in enumerate(config.pairs_of(encoders).items())
    }
    return Draws(pairs, integers(seeds, _PHASE_STREAM, config.hoa_every))


def draw_pairs(config: PairConfig, length: int, seeds: Tensor, stream: int) -> Pairs:
    """Two frames of each sequence.

    Near: the first one uniform, such that all second ones exist, the second one 0 to
    ``reach - 1`` frames later. Far: both uniform from ``start`` on. A sequence too short for that
    is used from its middle on; what would lie behind its end becomes its last frame.

    Args:
        config: Near or far.
        length: Frames L of the sequences.
        seeds: int64 (B,).
        stream: Number of the first of two draws.
    """
    reach = config.reach or 1
    start = fitted_start(config.start, length, reach)
    anchors = start + integers(seeds, stream, max(length - start - reach + 1, 1))
    if config.reach is None:
        return Pairs(anchors, start + integers(seeds, stream + 1, length - start))
    partners = anchors + integers(seeds, stream + 1, reach)
    return Pairs(anchors, partners.clamp(max=length - 1))
