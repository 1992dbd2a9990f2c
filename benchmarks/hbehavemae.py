# ruff: noqa: E402  (the import path is set first, see below)
"""Speed and memory of hBehaveMAE against the original.

Run `make bench`, or

    python benchmarks/hbehavemae.py [--quick] [--threads N] [--only extraction stitching ...]

It prints tables. "original" is `support/original_style.py`: the network laid out as in the authors'
code, measured in the same run on the same machine, in turns with ours. Where only the authors'
code was measured (elsewhere), its figure is scaled by a matrix product timed on both machines.
One-thread figures are CPU time, best of several; figures with all threads are wall time.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

# This file bears the name of the package: its own folder must not come first.
sys.path[0] = str(Path(__file__).resolve().parent / "support")

import extraction_parts as extraction
import torch
import training_parts as training
from measure import YARDSTICK_REFERENCE, Table, report_peak, yardstick
from threadpoolctl import threadpool_limits

PARTS: dict[str, Callable[[Table, bool], None]] = {
    "training": training.training_step,
    "loader": training.loader,
    "inference": extraction.inference,
    "extraction": extraction.whole_episode,
    "stitching": extraction.stitching,
    "pca": extraction.principal_components,
    "stride": extraction.stride_deviation,
    "gpu": extraction.accelerator,
}

PEAKS = {
    "extraction": extraction.prepare_episode,
    "stitching": extraction.prepare_stitching,
    "naive": extraction.prepare_naive_stitching,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer repetitions and smaller sizes")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="parts to run (default all)")
    parser.add_argument("--threads", type=int, help="what 'all threads' means (default: all)")
    parser.add_argument("--peak", choices=PEAKS, help=argparse.SUPPRESS)
    given = parser.parse_args()

    torch.manual_seed(0)
    extraction.ALL_THREADS = given.threads or torch.get_num_threads()
    torch.set_num_threads(1)
    if given.peak:
        report_peak(PEAKS[given.peak])
        return 0

    start = time.perf_counter()
    table = Table()
    unit = yardstick()
    extraction.SCALE = training.SCALE = YARDSTICK_REFERENCE / unit
    print(
        f"torch {torch.__version__}, {extraction.ALL_THREADS} threads; yardstick "
        f"2048^3 float32 product, one thread: {unit:.3f} s "
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
