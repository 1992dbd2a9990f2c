"""The demo of UAS-Swin, small: the very commands of `make demo-uas`."""

import os
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_demo_uas(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    small = {
        "UAS": str(folder),
        "UAS_CLIPS": "--clips 5 --frames 20",
        "UAS_NEW_CLIPS": "--clips 4 --frames 20",
        "UAS_EPOCHS": "1",
    }
    done = subprocess.run(
        [
            "make",
            "--no-print-directory",
            "demo-uas",
            *(f"{key}={value}" for key, value in small.items()),
        ],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "MAKEFLAGS"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.splitlines()[-12:]
    assert last[-1] == f"report: {folder / 'report.html'}"
    for name in ("untrained_probe, test, probe", "probe, test, 5 neighbours", "lora"):
        assert any(line.startswith(name) for line in last), (name, last)
    scores = pd.read_csv(folder / "probe" / "scores.csv")
    assert len(scores.query("readout == 'probe' and metric == 'top1'")) == 9
    page = (folder / "report.html").read_text()
    for part in ("figure-eight", "Confusion matrix, test", "Curve of the loss", "5 neighbours"):
        assert part in page, part
    assert "<script src" not in page
