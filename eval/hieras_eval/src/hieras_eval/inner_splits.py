"""The inner split: which training clips each seed fits on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from behaviorzoo.errors import UserError


class InnerSplit(NamedTuple):
    """Clips of the training list, both parts in the order of the permutation."""

    fit: tuple[str, ...]
    set_aside: tuple[str, ...]


def inner_split(names: Sequence[str], test_size: float, seed: int) -> InnerSplit:
    """Set a share of the clips aside, as scikit-learn's ``train_test_split`` does.

    With p the permutation of numpy's legacy generator (MT19937) for the seed, the first
    ceil(test_size * n) clips of p are set aside. Nothing ever looks at them again: the protocol
    tunes nothing.

    Args:
        names: Training clips in the order of the file (n,).
        test_size: Share to set aside, between 0 and 1.
        seed: Seed of the permutation.

    Raises:
        UserError: No clip is left to fit on.
    """
    aside = math.ceil(test_size * len(names))
    if not 0 < test_size < 1 or aside >= len(names):
        raise UserError(
            f"{len(names)} training clips are too few for the inner split: {aside} of them "
            f"(a share of {test_size:g}) are set aside and none is left to fit on"
        )
    # The protocol is defined by the legacy generator.
    order: list[int] = np.random.RandomState(seed).permutation(len(names)).tolist()
    shuffled = [names[i] for i in order]
    return InnerSplit(fit=tuple(shuffled[aside:]), set_aside=tuple(shuffled[:aside]))
