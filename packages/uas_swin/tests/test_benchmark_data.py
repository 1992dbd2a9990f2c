"""The benchmark of the data side runs and prints what it promises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "uas_swin_data.py"


@pytest.mark.skipif(not SCRIPT.exists(), reason="no folder 'benchmarks' beside the packages")
def test_quick_benchmark_runs():
    pytest.importorskip("decord")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    answer = subprocess.run(
        [sys.executable, SCRIPT, "--quick", "--only", "decode", "check"],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    for row in ("32 frames from the start, every 2nd: PyAV", "exists", "open", "decode"):
        assert f"| {row}" in answer.stdout
