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

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

# This file bears the name of the package: its own folder must not come first.
sys.path[0] = str(Path(__file__).resolve().parent / "support")
os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler talks about GPUs

import bams_parts as parts
import torch
from measure import YARDSTICK_REFERENCE, Table, yardstick
from threadpoolctl import threadpool_limits

PARTS: dict[str, Callable[[Table, bool], None]] = {
    "training": parts.training,
    "flies": parts.fly_training,
    "inference": parts.inference,
    "batches": parts.batches,
    "features": parts.features,
    "readouts": parts.readouts,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all?")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="parts to run (default all)")
    given = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(1)
    start = time.perf_counter()
    table = Table()
    unit = yardstick(1 if given.quick else 7)
    parts.SCALE = YARDSTICK_REFERENCE / unit
    print(
        f"torch {torch.__version__}; yardstick 2048^3 float32 product, one thread: {unit:.3f} s "
        f"(where the authors' code was timed: {YARDSTICK_REFERENCE} s)"
    )
    with threadpool_limits(1):  # numpy has threads of its own
        for name in given.only or PARTS:
            PARTS[name](table, given.quick)
    print(f"\n{time.perf_counter() - start:.0f} s in all")
    if table.missed:
        print("missed targets: " + "; ".join(table.missed))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
