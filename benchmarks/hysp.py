# ruff: noqa: E402  (the import path is set first, see below)
"""Speed of HYSP against the original.

    python benchmarks/hysp.py [--quick] [--only training inference nce ...]

It prints tables. "original" is the same computation laid out as in the authors' code, with the
same parameters, measured in the same run on the same machine, in turns with ours. Where only the
authors' code was measured (elsewhere), its figure is scaled by a matrix product timed on both
machines. Everything runs on one thread; figures are CPU time, best of several.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

# This file bears the name of the package: its own folder must not come first.
sys.path[0] = str(Path(__file__).resolve().parent / "support")

import hysp_network_parts as network
import torch
from measure import YARDSTICK_REFERENCE, YARDSTICK_SIZE, Table, yardstick
from threadpoolctl import threadpool_limits

PARTS: dict[str, Callable[[Table, bool], None]] = {
    "nce": network.contrast,
    "training": network.training_step,
    "inference": network.inference,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run?")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="parts to run (default all)")
    given = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(1)
    start = time.perf_counter()
    table = Table()
    unit = yardstick(repeats=1 if given.quick else 7)
    network.SCALE = YARDSTICK_REFERENCE / unit
    network.PEAK = 2 * YARDSTICK_SIZE**3 / unit
    print(
        f"torch {torch.__version__}, one thread; yardstick 2048^3 float32 product: {unit:.3f} s "
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
