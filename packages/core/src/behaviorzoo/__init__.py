"""The thin core of Behavior Zoo: data in, numbers and pictures out.

The modules are imported one by one (``from behaviorzoo import recordings``), so that reading
a recording never waits for torch.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("behaviorzoo-core")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"

__all__ = ["__version__"]
