"""HYSP: hyperbolic self-paced learning of skeleton sequences."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("behaviorzoo-hysp")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"

__all__ = ["__version__"]
