"""The benchmark of the network runs and prints what it promises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "sgear.py"


@pytest.mark.skipif(not SCRIPT.exists(), reason="no folder 'benchmarks' beside the packages")
def test_quick_benchmark_runs():
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    answer = subprocess.run(
        [sys.executable, SCRIPT, "--quick"],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    rows = {
        cells[0]: cells
        for line in answer.stdout.splitlines()
        if len(cells := line.strip("| ").split(" | ")) > 1
    }
    for row in ("batch 4", "attention", "the last block, class tokens only"):
        assert row in rows
    # What is raced against computes the same.
    gap = float(rows["difference of the gradients, relative"][1])
    assert gap < 1e-4
    assert float(rows["largest difference of the scores"][1]) < 1e-5
