"""The demo of the README, small: the very commands of `make demo`."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_demo(tmp_path: Path) -> None:
    small = {
        "DEMO": str(tmp_path / "demo"),
        "DEMO_DATA": "--recordings 4 --frames 1200",
        "DEMO_PRETRAIN": "optim.epochs=1 optim.warmup_epochs=0",
        "DEMO_EMBED": "--stride 60",
    }
    done = subprocess.run(
        ["make", "demo", *(f"{key}={value}" for key, value in small.items())],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "MAKEFLAGS"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = tmp_path / "demo" / "report.html"
    assert str(report) in done.stdout + done.stderr
    page = report.read_text()
    for part in ("level_1", "level_3", "hand", "activity", "Missing"):
        assert part in page, part
    assert "<script src" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")
