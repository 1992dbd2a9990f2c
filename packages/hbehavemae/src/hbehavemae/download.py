"""Fetching the published weights and data sets."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from behaviorzoo.downloads import download
from hbehavemae.registry import REGISTRY


def fetch(names: Iterable[str], out: str | Path, progress: bool = True) -> list[Path]:
    """Download files or sets by name into a folder, resuming what an earlier call began.

    Args:
        names: Names or sets of :data:`hbehavemae.registry.REGISTRY`.
        out: Output folder; data sets get a folder of their own in it.
        progress: Show a bar.

    Returns:
        Paths of the complete files.

    Raises:
        UserError: Unknown name, a set that must be fetched by hand, or a failed download.
    """
    return [download(file, out, progress=progress) for file in REGISTRY.find(names)]
