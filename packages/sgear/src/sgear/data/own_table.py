"""Anybody's videos: a table ``video,start,stop,label[,verb,noun]``.

    video,start,stop,label
    kitchen/monday.mp4,00:01:02.5,00:01:04,open door
    kitchen/monday.mp4,70.2,71,take cup

``video`` is a path below the folders of the data set; times are seconds or ``HH:MM:SS.ff``. With
``verb`` and ``noun`` an action is a pair of them, and ``label`` may be left out.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from behaviorzoo.errors import UserError
from behaviorzoo.files import existing_file
from sgear.data.annotations import seconds
from sgear.data.classes import UNLABELLED, Classes
from sgear.data.config import DatasetConfig
from sgear.data.tables import ActionTable, count_unknown, keep_videos, unique_names


def open_own_table(config: DatasetConfig, known: Classes | None = None) -> ActionTable:
    """Annotations of own videos.

    Args:
        config: ``annotation_path`` names the tables; ``action_labels_fpath`` may name a table that
            lists the classes, see :func:`own_classes`.
        known: The classes of the training set, for evaluation.

    Returns:
        The rows; a class that is not known is -1, with a note. Without known classes these are the
        labels that occur, sorted.

    Raises:
        UserError: No such file, or columns or times that are missing.
    """
    if not config.annotation_path:
        raise UserError("no annotation files: give annotation_path, a table video,start,stop,label")
    table = pd.concat([read_own_table(path) for path in config.annotation_path], ignore_index=True)
    if table.empty:
        raise UserError(f"{', '.join(config.annotation_path)}: no annotated action in it")
    if config.only_keep_videos:
        table = keep_videos(table, config.only_keep_videos)
    table["uid"] = np.arange(1, len(table) + 1)
    if known is None:
        listed = config.action_labels_fpath
        known = own_classes(listed) if listed else _classes_of(table)
    notes = []
    for kind, column in (("action", "label"), ("verb", "verb"), ("noun", "noun")):
        if column not in table or kind not in known.names:
            continue
        names = [str(name) for name in table[column]]
        numbers = [known.names[kind].get(name, UNLABELLED) for name in names]
        unknown = sorted(set(names) - set(known.names[kind]))
        table[f"{kind}_class"] = np.array(numbers, dtype=np.int64)
        shown = ", ".join(name or "nothing" for name in unknown[:5])
        more = ", ..." if len(unknown) > 5 else ""
        notes += count_unknown(table[f"{kind}_class"], f"an unknown {kind} ({shown}{more})")
    return ActionTable(table, known, notes=notes)


def own_classes(path: str | Path) -> Classes:
    """Classes of own videos, numbered as :func:`open_own_table` does.

    Args:
        path: A table of annotations, whose classes are sorted by name; or one without a column
            ``video`` that lists the classes in their order (``label[,verb,noun]``).

    Raises:
        UserError: No such file, no column that names the classes, or no class in it.
    """
    table = _listed(path)
    classes = _classes_of(table.drop(columns="listed") if "video" in table else table)
    if not classes.names["action"]:
        raise UserError(f"{path}: no class in it; expected a label in every row")
    return classes


def read_own_table(path: str | Path) -> pd.DataFrame:
    """One table: video_path, video_id, start, end, label, and verb and noun where it has them.

    Raises:
        UserError: No such file, or columns or times that are missing; names file and row.
    """
    path = existing_file(path, "annotation")
    table = _read_csv(path)
    table = _labelled(table.rename(columns={"end": "stop"}), path)
    lacking = [name for name in ("video", "start", "stop") if name not in table]
    if lacking:
        raise UserError(
            f"{path}: no column {', '.join(lacking)}; expected video,start,stop,label[,verb,noun], "
            f"found {', '.join(table)}"
        )
    times = {name: seconds(table[name], path) for name in ("start", "stop")}
    backwards = times["stop"] < times["start"]
    if backwards.any():
        raise UserError(f"{path}: row {int(np.argmax(backwards)) + 1} stops before it starts")
    video = table["video"].tolist()
    return table.drop(columns=["stop"]).assign(
        video_path=video,
        video_id=unique_names([PurePosixPath(name).stem for name in video], video),
        participant_id=[PurePosixPath(name).parent.as_posix() for name in video],
        start=times["start"],
        end=times["stop"],
    )


def _labelled(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Labels as a column, put together from verb and noun where there is none."""
    if "label" in table:
        return table
    if "action" in table:
        return table.rename(columns={"action": "label"})
    if {"verb", "noun"} <= set(table):
        return table.assign(label=(table["verb"] + " " + table["noun"]).str.strip())
    raise UserError(f"{path}: no column label (or verb and noun); found {', '.join(table)}")


def _listed(path: str | Path) -> pd.DataFrame:
    """A table that lists classes, in their order."""
    return _labelled(_read_csv(existing_file(path, "list of classes")), Path(path)).assign(
        listed=True
    )


def _read_csv(path: Path) -> pd.DataFrame:
    """A table of texts without blanks around them, which nobody sees in a spreadsheet."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a CSV table ({error})") from error
    return pd.DataFrame({str(name).strip(): table[name].str.strip() for name in table})


def _classes_of(table: pd.DataFrame) -> Classes:
    """Classes in the order of a list, else sorted by name."""

    def numbered(column: str) -> dict[str, int]:
        names = list(dict.fromkeys(name for name in table[column] if name))
        return {
            name: number
            for number, name in enumerate(names if "listed" in table else sorted(names))
        }

    names = {"action": numbered("label")}
    if not {"verb", "noun"} <= set(table):
        return Classes(names)
    names |= {"verb": numbered("verb"), "noun": numbered("noun")}
    pairs = {
        (names["verb"][verb], names["noun"][noun]): names["action"][label]
        for verb, noun, label in zip(table["verb"], table["noun"], table["label"], strict=True)
        if verb and noun and label
    }
    return Classes(names, pairs)
