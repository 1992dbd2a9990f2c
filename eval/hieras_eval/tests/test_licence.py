"""The evaluator's licence stays in its folder: nothing else needs it, and it says what it is."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from importlib.metadata import metadata
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parents[1]
PACKAGES = ("behaviorzoo", "hbehavemae", "bams", "hysp", "sgear", "uas_swin")
BLOCK = """
import importlib, sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "hieras_eval":
            raise ModuleNotFoundError(f"{name} is not installed", name=name)

sys.meta_path.insert(0, Block())
for package in sys.argv[1:]:
    importlib.import_module(package)
    assert importlib.import_module(f"{package}.cli").main(["--help"]) == 0, package
print("all work")
"""


def test_the_metadata_carries_the_licence() -> None:
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    assert project["license"] == "CC-BY-NC-4.0"
    assert project["license-files"] == ["LICENSE"]
    assert metadata("behaviorzoo-hieras-eval")["License-Expression"] == "CC-BY-NC-4.0"
    assert "Attribution-NonCommercial 4.0 International" in (PACKAGE / "LICENSE").read_text()


def test_the_readme_says_first_what_it_means() -> None:
    lines = (PACKAGE / "README.md").read_text().splitlines()
    first = next(line for line in lines[1:] if line.strip())
    assert "non-commercial" in first.lower()
    assert "CC BY-NC 4.0" in first


def test_every_other_package_works_without_the_evaluator() -> None:
    here = [name for name in PACKAGES if importlib.util.find_spec(name) is not None]
    here = [name for name in here if importlib.util.find_spec(f"{name}.cli") is not None]
    done = subprocess.run([sys.executable, "-c", BLOCK, *here], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("all work")


def test_nothing_under_packages_names_the_evaluator_in_an_import() -> None:
    packages = ROOT / "packages"
    if not packages.is_dir():
        pytest.skip("the rest of the repository is not here")
    pattern = re.compile(r"^\s*(from|import)\s+hieras_eval\b", re.MULTILINE)
    found = [path for path in packages.rglob("*.py") if pattern.search(path.read_text())]
    assert found == []


def test_no_metadata_of_the_benchmarks_is_in_the_package() -> None:
    suffixes = {path.suffix for path in (PACKAGE / "src").rglob("*") if path.is_file()}
    assert suffixes <= {".py", ".typed", ".pyc"}
