"""What the files of a data set say, whatever their kind: rows and classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from behaviorzoo.errors import UserError
from behaviorzoo.files import existing_file
from sgear.data.classes import Classes

TOP1 = "final_acc/action/top1"
RECALL5 = "final_acc/action/AR5"


@dataclass
class ActionTable:
    """Annotated actions with their classes.

    Attributes:
        table: A row per action: ``uid``, ``video_id``, ``video_path`` (below the folders of the
            data set), ``start`` and ``end`` in seconds, ``action_class``, ``verb_class``,
            ``noun_class`` (those that the set has; -1 = none), and what else the files say.
        classes: The classes.
        version: 0.1 = EPIC-55, 0.2 = EPIC-100, -1 = EGTEA, others 0.
        primary_metric: What a network is judged by.
        notes: What the user should know.
    """

    table: pd.DataFrame
    classes: Classes
    version: float = 0.0
    primary_metric: str = TOP1
    notes: list[str] = field(default_factory=list)


def unique_names(names: Sequence[str], paths: Sequence[str]) -> list[str]:
    """Names of videos; with the folder (``a_monday``) where several paths have the same one."""
    of: dict[str, set[str]] = {}
    for name, path in zip(names, paths, strict=True):
        of.setdefault(name, set()).add(path)
    return [
        name if len(of[name]) == 1 else str(PurePosixPath(path).with_suffix("")).replace("/", "_")
        for name, path in zip(names, paths, strict=True)
    ]


def keep_videos(table: pd.DataFrame, path: str | Path) -> pd.DataFrame:
    """The rows of the videos that a file lists, one per line (the last field of it).

    Raises:
        UserError: No such file, or it lists none of the videos.
    """
    lines = existing_file(path, "list of videos").read_text(encoding="utf-8").splitlines()
    wanted = {line.rsplit(",", 1)[-1].strip() for line in lines}
    rows = np.flatnonzero(table["video_id"].isin(sorted(wanted)).to_numpy())
    kept = table.iloc[rows].reset_index(drop=True)
    if kept.empty:
        raise UserError(
            f"{path}: lists none of the {table['video_id'].nunique()} annotated videos "
            f"({table['video_id'].iloc[0]}, ...)"
        )
    return kept


def count_unknown(labels: Any, what: str) -> list[str]:
    """A note on rows whose class is not among the classes; none where no row has a class."""
    unknown = int((np.asarray(labels) < 0).sum())
    if 0 < unknown < len(labels):
        return [f"{unknown} of {len(labels)} actions have {what}: label -1"]
    return []
