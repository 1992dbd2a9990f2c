# ruff: noqa: E402  (the import path is set first, see below)
"""Speed of UAS-Swin against the original.

    python benchmarks/uas_swin.py [--quick] [--only attention forward frozen_steps probe extraction]

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

import uas_network_parts as network
import uas_probe_parts as readout
from command import Part, run
from measure import YARDSTICK_REFERENCE, YARDSTICK_SIZE

PARTS: dict[str, Part] = {**network.PARTS, **readout.PARTS}


def tell(unit: float) -> None:
    """Scale to this machine, whose yardstick takes ``unit`` seconds."""
    network.SCALE = readout.SCALE = YARDSTICK_REFERENCE / unit
    network.PEAK = 2 * YARDSTICK_SIZE**3 / unit


if __name__ == "__main__":
    raise SystemExit(run(__doc__ or "", PARTS, tell))
