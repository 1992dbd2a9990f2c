"""hBehaveMAE: hierarchical masked autoencoders that learn behaviour from tracked poses."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("behaviorzoo-hbehavemae")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"

__all__ = ["__version__"]
