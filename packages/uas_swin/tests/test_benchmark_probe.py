"""The benchmarks of probe and extraction run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "uas_swin.py"


@pytest.mark.skipif(not SCRIPT.is_file(), reason="the benchmarks are in the repository only")
def test_quick_run():
    words = [sys.executable, str(SCRIPT), "--quick", "--only", "probe"]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=one_thread)
    assert done.returncode == 0, done.stderr
    assert "| one seed, one rate |" in done.stdout
    assert "missed" not in done.stdout
