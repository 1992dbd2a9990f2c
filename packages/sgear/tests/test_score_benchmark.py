"""The benchmark of the evaluation runs and prints what it promises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "sgear_scores.py"


@pytest.mark.skipif(not SCRIPT.exists(), reason="no folder 'benchmarks' beside the packages")
def test_quick_benchmark_runs():
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    answer = subprocess.run(
        [sys.executable, SCRIPT, "--quick"],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    for row in ("largest difference of a figure", "seconds", "milliseconds per batch"):
        assert f"| {row}" in answer.stdout
    assert "missed targets" not in answer.stdout
