# ruff: noqa: E402  (the import path is set first, see below)
"""Speed of S-GEAR's network against the original.

    python benchmarks/sgear.py [--quick] [--only training inference similarities context]

It prints tables. "original" is the same computation laid out as in the authors' code, with the
same parameters, measured in the same run on the same machine, in turns with ours. Where only the
authors' code was measured (elsewhere), its figure is scaled by a matrix product timed on both
machines. Everything runs on one thread; figures are CPU time, best of several.
"""

from __future__ import annotations

import sys
from pathlib import Path

# This file bears the name of the package: its own folder must not come first.
sys.path[0] = str(Path(__file__).resolve().parent / "support")

import sgear_network_parts as network
from command import run
from measure import YARDSTICK_REFERENCE


def tell(unit: float) -> None:
    """Scale to this machine, whose yardstick takes ``unit`` seconds."""
    network.SCALE = YARDSTICK_REFERENCE / unit


if __name__ == "__main__":
    if sys.argv[1:] == ["--peak"]:
        network.report_peak()
        raise SystemExit(0)
    raise SystemExit(run(__doc__ or "", network.PARTS, tell))
