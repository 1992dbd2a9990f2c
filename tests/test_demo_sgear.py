"""The demo of S-GEAR, small: the very commands of `make demo-sgear`."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_demo_sgear(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    small = {
        "SGEAR": str(folder),
        "SGEAR_VIDEOS": "--videos 4 --participants 2 --actions 5",
        "SGEAR_TRAIN": "train.num_epochs=1 data_train.workers=0",
    }
    done = subprocess.run(
        [
            "make",
            "--no-print-directory",
            "demo-sgear",
            *(f"{key}={value}" for key, value in small.items()),
        ],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "MAKEFLAGS"} | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith(f"report: {folder / 'report.html'}")
    table = done.stdout[done.stdout.rindex("\nweights: ") :]
    for name in ("copy", "anticipation", "features", "fused"):
        assert re.search(rf"{name}\n +top-1.*\nverb .*\nnoun .*\naction +\d", table), (name, table)
    for name in ("visual_encodings", "encodings", "similarities"):
        assert (folder / f"kitchen/prototypes/{name}_epic100.safetensors").is_file()
    sources = json.loads((folder / "fused/fusion.json").read_text())
    assert "anticipation" in json.dumps(sources)
    page = (folder / "report.html").read_text()
    assert "wipe tomato" in page
    assert "<script src" not in page
