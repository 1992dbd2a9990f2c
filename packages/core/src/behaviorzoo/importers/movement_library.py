"""The library ``movement``: imported late, kept quiet, its datasets turned into tracks."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from behaviorzoo.errors import UserError, require
from behaviorzoo.importers.tracks import Tracks

if TYPE_CHECKING:
    import xarray as xr


@contextmanager
def movement_io(where: str, action: str = "read") -> Iterator[Any]:
    """Give the module ``movement.io`` and turn what it raises into one line.

    Args:
        where: File name for the message.
        action: Verb for the message.

    Yields:
        ``movement.io`` with ``load_dataset`` and ``load_poses``.

    Raises:
        UserError: ``movement`` is not installed, or it refuses the file.
    """
    io, logger = _import_movement()
    logger.disable("movement")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield io
    except UserError:
        raise
    except (OSError, EOFError, ValueError, KeyError, TypeError, IndexError, RuntimeError) as error:
        detail = " ".join(str(error).split())[:300]
        raise UserError(f"{where}: movement cannot {action} this file ({detail})") from error
    finally:
        logger.enable("movement")


def tracks_from_movement(ds: xr.Dataset, frames: np.ndarray, source: str, where: str) -> Tracks:
    """Convert a dataset of ``movement``; its own time coordinate is not used.

    Args:
        ds: Dataset with ``position`` and ``confidence`` in any order of dimensions.
        frames: Frame number of each row, read from the file itself.
        source: Software that wrote the file.
        where: File name for the message.

    Returns:
        The tracks.

    Raises:
        UserError: ``movement`` returned another number of frames than the file has.
    """
    # Some versions of movement have the dimensions in the singular.
    plural = {"keypoint": "keypoints", "individual": "individuals"}
    ds = ds.rename({old: new for old, new in plural.items() if old in ds.dims})
    position = ds["position"].transpose("time", "space", "keypoints", "individuals").to_numpy()
    if len(position) != len(frames):
        raise UserError(
            f"{where}: the file has {len(frames)} frames but movement read {len(position)}; "
            "nothing was imported, so that labels cannot shift"
        )
    confidence = ds["confidence"].transpose("time", "keypoints", "individuals").to_numpy()
    return Tracks(
        position=position.astype(np.float32),
        confidence=None if np.isnan(confidence).all() else confidence.astype(np.float32),
        keypoints=[str(name) for name in ds["keypoints"].to_numpy()],
        individuals=[str(name) for name in ds["individuals"].to_numpy()],
        frames=np.asarray(frames, dtype=np.int64),
        source=source,
    )


def _import_movement() -> tuple[Any, Any]:
    require("movement", "poses", "reading tracker files")
    showwarning = warnings.showwarning
    try:
        from movement import io
        from movement.io import load_poses  # noqa: F401  (registers the loaders)
        from movement.utils.logging import logger
    except ImportError as error:
        raise UserError(
            f"movement cannot be imported ({error}); install 'behaviorzoo-core[poses]' again"
        ) from error
    except OSError as error:
        # On import movement opens a log file in the home folder.
        raise UserError(f"movement cannot write its log under the home folder: {error}") from error
    finally:
        # It also redirects the warnings of the whole process to its log.
        warnings.showwarning = showwarning
    return io, logger
