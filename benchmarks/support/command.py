"""The command line that benchmarks have in common: parts, one thread, a yardstick, a verdict."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping

import torch
from measure import YARDSTICK_REFERENCE, Table, yardstick
from threadpoolctl import threadpool_limits

Part = Callable[[Table, bool], None]
"""A part fills the table; its second argument asks for a quick look at small sizes."""


def run(description: str, parts: Mapping[str, Part], tell: Callable[[float], None]) -> int:
    """Run the parts that the command line asks for.

    Args:
        description: Text of ``--help``.
        parts: Name -> part, in order.
        tell: Receives the seconds of the yardstick before the first part.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run?")
    parser.add_argument("--only", nargs="+", choices=parts, help="parts to run (default all)")
    given = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(1)
    start = time.perf_counter()
    unit = yardstick(repeats=1 if given.quick else 7)
    tell(unit)
    print(
        f"torch {torch.__version__}, one thread; yardstick 2048^3 float32 product: {unit:.3f} s "
        f"(where the authors' code was timed: {YARDSTICK_REFERENCE} s)"
    )
    table = Table()
    with threadpool_limits(1):  # numpy has threads of its own
        for name in given.only or parts:
            parts[name](table, given.quick)
    print(f"\n{time.perf_counter() - start:.0f} s in all")
    if table.missed:
        print("missed targets: " + "; ".join(table.missed))
    return 0
