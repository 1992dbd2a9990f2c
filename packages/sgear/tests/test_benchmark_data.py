"""The benchmark of the data side runs, and finds ours and the original's style equal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "sgear_data.py"


@pytest.mark.skipif(not SCRIPT.exists(), reason="no folder 'benchmarks' beside the packages")
def test_quick_benchmark_runs():
    answer = subprocess.run(
        [sys.executable, SCRIPT, "--quick"],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    for row in (
        "540 rows of 1 video",
        "tables of all videos",
        "key frame every",
        "256 x 456 to 224",
    ):
        assert f"| {row}" in answer.stdout
    assert "missed targets" not in answer.stdout
