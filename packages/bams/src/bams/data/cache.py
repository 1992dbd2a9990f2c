"""Computed features as a file: plain arrays that can be read without running anything.

The file tells from which files and with which settings it was made, and is refused for any others.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bams.data.config import Compat, DataConfig
from bams.data.dataset import Rows
from bams.data.quantise import Scaling
from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path, existing_file

FORMAT = 1
ON_TRUST = "the authors' cache, taken on trust"


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


def save_processed(processed: Processed, path: str | Path, settings: Mapping[str, Any]) -> Path:
    """Write features; the file appears only when it is whole.

    Args:
        processed: The features.
        path: Target.
        settings: From :func:`settings_of`.

    Raises:
        UserError: The file system refuses.
    """
    path = Path(path).expanduser()
    about = {"format": FORMAT, "settings": dict(settings), "scaling": processed.scaling.to_dict()}
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


def load_processed(path: str | Path, wanted: Mapping[str, Any]) -> Processed:
    """Read features.

    Args:
        path: The file.
        wanted: Settings that it must have been made with.

    Raises:
        UserError: Damaged, not such a file, or made with other settings; it names the first.
    """
    path = existing_file(path, "feature file")
    try:
        with np.load(path) as file:
            about = json.loads(str(file["about"]))
            _check_settings(path, about["settings"], wanted)
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


def settings_of(
    config: DataConfig, files: Sequence[tuple[Path, bool]] | None, compat: Compat, n_bins: int
) -> dict[str, Any]:
    """What features depend on.

    Args:
        config: Where the data are.
        files: Files of the data and whether they are of the training split. They count by name
            and size, so that a folder can be moved. None = they are not at hand.
        compat: By whose rules.
        n_bins: Bins of the actions.
    """
    settings = {
        "dataset": config.dataset,
        "include_test_data": config.learns_from_test,
        "compat": compat,
        "hoa_bins": n_bins,
    }
    if files is not None:
        settings["files"] = [[path.name, path.stat().st_size, train] for path, train in files]
    return settings


def _check_settings(path: Path, made: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for name, value in wanted.items():
        on_trust = name != "hoa_bins" and made.get("files") == ON_TRUST
        if made.get(name) != value and not on_trust:
            raise UserError(
                f"{path}: made with {name} = {made.get(name)}, this run has {value}; delete the "
                "file, or name another one with data.cache"
            )
