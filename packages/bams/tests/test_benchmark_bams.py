"""The benchmark runs, and what it compares is the same computation."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "bams.py"


@pytest.mark.skipif(not SCRIPT.is_file(), reason="the benchmarks are in the repository only")
def test_quick_run():
    words = [sys.executable, str(SCRIPT), "--quick", "--only", "training", "inference", "batches"]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=one_thread)
    assert done.returncode == 0, done.stderr
    difference = re.search(r"largest difference of a gradient, relative \| (\S+) \|", done.stdout)
    assert difference is not None
    # Histograms in single precision are all that differs.
    assert float(difference[1]) < 1e-6
    for row in ("compat=upstream", "compat=paper, every frame", "bams embed", "mice", "flies"):
        assert f"\n| {row} |" in done.stdout
    assert "missed" not in done.stdout
