# ruff: noqa: E402  (the import path is set first, see below)
"""Speed of S-GEAR's data side against the original.

    python benchmarks/sgear_data.py [--quick] [--only items past video transforms]

It prints tables. "original" is the same computation laid out as in the authors' code, with equal
results, measured in the same run on the same machine, in turns with ours. Where only the authors'
code was measured (elsewhere), its figure is scaled by a matrix product timed on both machines.
Everything runs on one thread; figures are CPU time, best of several.
"""

from __future__ import annotations

import sys
from pathlib import Path

# Files beside this one bear the names of packages: its own folder must not come first.
sys.path[0] = str(Path(__file__).resolve().parent / "support")

import sgear_data_parts as data
from command import run
from measure import YARDSTICK_REFERENCE


def tell(unit: float) -> None:
    """Scale to this machine, whose yardstick takes ``unit`` seconds."""
    data.SCALE = YARDSTICK_REFERENCE / unit


if __name__ == "__main__":
    raise SystemExit(run(__doc__ or "", data.PARTS, tell))
