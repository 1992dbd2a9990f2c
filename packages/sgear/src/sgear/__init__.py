"""S-GEAR: semantically guided action anticipation (ECCV 2024)."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("behaviorzoo-sgear")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"

__all__ = ["__version__"]
