"""Where the optional folders of reference and real data are found."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[3]
# A busy machine is no defect.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


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
