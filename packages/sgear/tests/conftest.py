"""Where the optional folders of reference and real data are found."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def _folder(variable: str, default: Path) -> Path:
    folder = Path(os.environ.get(variable, default))
    if not folder.is_dir():
        pytest.skip(f"no folder {folder.name!r}: set ${variable} to run this test")
    return folder


@pytest.fixture(scope="session")
def goldens_dir() -> Path:
    return _folder("BEHAVIORZOO_GOLDENS", ROOT.parent / "shared" / "goldens")


@pytest.fixture(scope="session")
def real_data_dir() -> Path:
    return _folder("BEHAVIORZOO_DATA", ROOT.parent / "shared" / "data")
