"""The benchmark of the repository runs and prints what it promises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "hysp.py"


@pytest.mark.skipif(not SCRIPT.exists(), reason="no folder 'benchmarks' beside the packages")
def test_quick_benchmark_runs():
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    parts = ["contrast", "training", "inference", "linear", "ensemble"]
    answer = subprocess.run(
        [sys.executable, SCRIPT, "--quick", "--only", *parts],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    rows = ("difference of the loss", "the step", "absent persons computed once")
    for row in (*rows, "encoder passes", "beside a script"):
        assert f"| {row}" in answer.stdout
    assert "missed targets" not in answer.stdout
