"""Colours of the house: one meaning, one colour, in every plot, report and viewer."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from itertools import pairwise

# Six of Okabe and Ito's colours for all kinds of colour vision, then companions chosen so that
# any two of the twelve differ to protanopes and deuteranopes too (a test measures it).
CLASSES = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#5B1A33",
    "#A8D960",
    "#4B3FC8",
    "#9C4A2E",
    "#B9E3DA",
    "#3C4A1E",
)
UNLABELLED = "#B4BAC2"
INDIVIDUALS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

COMBINED = "#CC79A7"

# Fine to coarse: an ordered ramp (dark blue to warm), even in lightness and safe in grey.
_LEVELS = ((0.0, (62, 88, 178)), (0.5, (38, 138, 141)), (1.0, (224, 148, 46)))

# Text, rules and background of figures. A report replaces these by its theme's colours, so
# they must occur nowhere else.
INK = "#1c2230"
MUTED = "#5c6675"
RULE = "#dfe3e9"


def class_colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each class, in the order given.

    Args:
        names: Class names; beyond the twelve fixed colours, hues are spread evenly at two
            lightnesses.

    Returns:
        Name -> ``#rrggbb``.
    """
    if len(names) <= len(CLASSES):
        return dict(zip(names, CLASSES, strict=False))
    extra = len(names) - len(CLASSES)
    hues = [
        colorsys.hls_to_rgb(index / extra, 0.38 if index % 2 else 0.62, 0.55)
        for index in range(extra)
    ]
    return dict(zip(names, [*CLASSES, *map(_hex, hues)], strict=True))


def level_colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each level: a ramp from the finest to the coarsest.

    Args:
        names: Names of the levels, finest first; ``combined`` (all levels together) is no
            part of the ramp.

    Returns:
        Name -> ``#rrggbb``.
    """
    single = [name for name in names if name.rpartition("/")[2] != "combined"]
    steps = max(len(single) - 1, 1)
    ramp = {name: _ramp(index / steps) for index, name in enumerate(single)}
    return {name: ramp.get(name, COMBINED) for name in names}


def individual_colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each individual.

    Args:
        names: Names of the individuals.

    Returns:
        Name -> ``#rrggbb``; after six individuals the colours repeat.
    """
    return {name: INDIVIDUALS[index % len(INDIVIDUALS)] for index, name in enumerate(names)}


def _ramp(position: float) -> str:
    for (low, start), (high, stop) in pairwise(_LEVELS):
        if position <= high:
            share = (position - low) / (high - low)
            mixed = [a + share * (b - a) for a, b in zip(start, stop, strict=True)]
            return _hex((mixed[0] / 255, mixed[1] / 255, mixed[2] / 255))
    raise ValueError(f"position {position} is not in [0, 1]")


def _hex(rgb: tuple[float, float, float]) -> str:
    return "#" + "".join(f"{round(255 * value):02x}" for value in rgb)
