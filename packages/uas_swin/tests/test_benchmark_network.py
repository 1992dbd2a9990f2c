"""The benchmark runs, and what it compares is the same computation."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "uas_swin.py"


@pytest.mark.skipif(not SCRIPT.is_file(), reason="the benchmarks are in the repository only")
def test_quick_run():
    words = [sys.executable, str(SCRIPT), "--quick", "--only", "attention"]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=one_thread)
    assert done.returncode == 0, done.stderr
    gaps = re.findall(r"differ by (\S+) \|", done.stdout)
    assert len(gaps) == 3
    assert max(map(float, gaps)) < 1e-5
    assert "missed" not in done.stdout
