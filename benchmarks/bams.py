# ruff: noqa: E402  (the import path is set first, see below)
"""Speed of BAMS against the original.

Run

    python benchmarks/bams.py [--quick] [--only training inference ...]

It prints tables. "original" is `support/bams_original.py`: network, loss and data set as in the
authors' code, measured in the same run on the same machine, in turns with ours. Where the authors'
code itself was timed (elsewhere), its figure is scaled by a matrix product timed on both machines.
All figures are CPU time of one thread, best of several.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# This file bears the name of the package: its own folder must not come first.
sys.path[0] = str(Path(__file__).resolve().parent / "support")
os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler talks about GPUs

import bams_parts as bams
from command import Part, run
from measure import YARDSTICK_REFERENCE

PARTS: dict[str, Part] = {
    "training": bams.training,
    "flies": bams.fly_training,
    "inference": bams.inference,
    "batches": bams.batches,
    "features": bams.features,
    "readouts": bams.readouts,
}


def tell(unit: float) -> None:
    """Scale to this machine, whose yardstick takes ``unit`` seconds."""
    bams.SCALE = YARDSTICK_REFERENCE / unit


if __name__ == "__main__":
    raise SystemExit(run(__doc__ or "", PARTS, tell))
