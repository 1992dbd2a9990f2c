"""The two generators that the original draws from, as objects that can be seeded per sample."""

from __future__ import annotations

import random
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

import numpy as np

KEY = "draws"
"""Where a sample carries its generators through the pipeline."""


@dataclass(frozen=True)
class Draws:
    """Generators of one sample.

    Attributes:
        python: Stands for the module ``random``.
        numpy: Stands for numpy's global (legacy) generator.
    """

    python: random.Random
    numpy: np.random.RandomState

    @classmethod
    def seeded(cls, seed: int) -> Draws:
        """Both seeded with one number, as the original's training script does."""
        return cls(random.Random(seed), np.random.RandomState(seed))

    @classmethod
    def of_sample(cls, seed: int, epoch: int, index: int) -> Draws:
        """What is random about one sample in one epoch, whoever loads it and whenever.

        Worker processes, their number and a resumed run must not change it.
        """
        state = np.random.SeedSequence([seed, epoch, index]).generate_state(1)
        return cls.seeded(int(state[0]))

    @classmethod
    def of(cls, results: MutableMapping[str, Any]) -> Draws:
        """The generators a sample carries, put there if it has none.

        They are then seeded from the module ``random``, which mmengine seeds in every worker.
        """
        if KEY not in results:
            results[KEY] = cls.seeded(random.getrandbits(32))
        return results[KEY]
