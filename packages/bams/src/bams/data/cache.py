"""Computed features as a file: plain arrays that can be read without running anything.

The file tells from which files and with which settings it was made, and is refused for any others.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bams.data.config import Compat, DataConfig
from bams.data.dataset import Rows
from bams.data.quantise import Scaling
from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path, existing_file

FORMAT = 1
_SETTINGS = ("dataset", "path", "test_path", "learns_from_test")


class Processed(NamedTuple):
    """All frames of all rows, scaled and binned.

    Attributes:
        inputs: float32 (F, N).
        bins: uint8 (F, M).
        ignored: bool (F,).
        rows: Where the rows come from.
        scaling: How inputs were scaled and bins made.
        names: Names of the recordings.
    """

    inputs: np.ndarray
    bins: np.ndarray
    ignored: np.ndarray
    rows: Rows
    scaling: Scaling
    names: tuple[str, ...]


def save_processed(processed: Processed, config: DataConfig, compat: Compat, n_bins: int) -> Path:
    """Write features to ``data.cache``; the file appears only when it is whole.

    Raises:
        UserError: The file system refuses.
    """
    assert config.cache is not None
    path = Path(config.cache).expanduser()
    settings = _settings(config, compat, n_bins)
    about = {"format": FORMAT, "settings": settings, "scaling": processed.scaling.to_dict()}
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.savez(
            handle,
            about=np.array(json.dumps(about)),
            names=np.array(processed.names),
            inputs=processed.inputs,
            bins=processed.bins,
            ignored=processed.ignored,
            **{f"row_{name}": values for name, values in processed.rows._asdict().items()},
        )
    return path


def load_processed(config: DataConfig, compat: Compat, n_bins: int) -> Processed:
    """Read the features at ``data.cache``.

    Raises:
        UserError: Damaged, not such a file, or made with other settings; it names the first.
    """
    path = existing_file(str(config.cache), "feature file")
    try:
        with np.load(path) as file:
            about = json.loads(str(file["about"]))
            _check_settings(path, about["settings"], _settings(config, compat, n_bins))
            rows = Rows(*(file[f"row_{name}"] for name in Rows._fields))
            return Processed(
                file["inputs"],
                file["bins"],
                file["ignored"],
                rows,
                Scaling.from_dict(about["scaling"]),
                tuple(map(str, file["names"])),
            )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path}: damaged, or not a feature file of `bams prepare` ({type(error).__name__}); "
            "delete it, it will be made again"
        ) from error


def _settings(config: DataConfig, compat: Compat, n_bins: int) -> dict[str, Any]:
    """What the features depend on."""
    settings = {name: getattr(config, name) for name in _SETTINGS}
    return {**settings, "compat": compat, "hoa_bins": n_bins}


def _check_settings(path: Path, made: dict[str, Any], wanted: dict[str, Any]) -> None:
    for name, value in wanted.items():
        if made.get(name) != value:
            raise UserError(
                f"{path}: made with {name} = {made.get(name)}, this run has {value}; delete the "
                "file, or name another one with data.cache"
            )
