"""Hierarchical action segmentation probes for frame embeddings."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("behaviorzoo-hieras-eval")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"

__all__ = ["__version__"]
