# ruff: noqa: E402  (the import path is set first, see below)
"""Speed of S-GEAR's evaluation against the original's way.

    python benchmarks/sgear_scores.py [--quick] [--only accuracy tables results]

It prints tables. "original" is the same computation in the original's way (whole rows sorted, a
dense product of one-hot matrices, every figure by itself; results compressed batch by batch),
measured in the same run on the same machine. Where the authors' code was measured (elsewhere), its
figure is scaled by a matrix product timed on both machines. One thread, CPU time, best of several.
"""

from __future__ import annotations

import sys
from pathlib import Path

# Beside this file lies one that bears the name of the package: it must not come first.
sys.path[0] = str(Path(__file__).resolve().parent / "support")

import sgear_score_parts as scores
from command import Part, run
from measure import YARDSTICK_REFERENCE

PARTS: dict[str, Part] = {
    "accuracy": scores.accuracy,
    "tables": scores.tables,
    "results": scores.results,
}


def tell(unit: float) -> None:
    """Scale to this machine, whose yardstick takes ``unit`` seconds."""
    scores.SCALE = YARDSTICK_REFERENCE / unit


if __name__ == "__main__":
    raise SystemExit(run(__doc__ or "", PARTS, tell))
