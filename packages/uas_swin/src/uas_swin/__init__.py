"""UAS-Swin: the universal action space of a Video Swin transformer."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("behaviorzoo-uas-swin")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"

__all__ = ["__version__"]
