"""Which items and classes the figures of EPIC-Kitchens are about: tail, unseen, many-shot.

RULSTM's folder lists the validation items of EPIC-100 by narration id. Where it is not at hand,
the annotations of EPIC-100 themselves tell the same: tail classes, and participants that do not
occur in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.files import existing_file
from sgear.marginalise import SPACES

EPIC55, EPIC100 = 0.1, 0.2

TAIL = "validation_tail_{}s_ids.csv"
UNSEEN = "validation_unseen_participants_ids.csv"
OFFICIAL_TAIL = "EPIC_100_tail_{}s.csv"
OFFICIAL_UNSEEN = "EPIC_100_unseen_participant_ids_validation.csv"
MANY_SHOT = "EPIC_many_shot_{}s.csv"


@dataclass
class Subsets:
    """Items that have figures of their own.

    Attributes:
        masks: (subset, space) -> bool (N,), such as ``("tail", "verb")``.
        notes: What could not be found.
    """

    masks: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def epic100_subsets(table: pd.DataFrame, folder: str | Path | None) -> Subsets:
    """Tail and unseen items of the EPIC-100 validation set.

    Args:
        table: Items (N rows) with ``narration_id``; for the official lists also
            ``participant_id``, ``verb_class`` and ``noun_class``.
        folder: RULSTM's folder (lists of narration ids, without a header, the one on unseen
            participants too) or the folder of the EPIC-100 annotations (lists of classes and
            of participants).

    Raises:
        UserError: A file in it cannot be read.
    """
    subsets = Subsets()
    if folder is None:
        subsets.notes.append("no tail and unseen figures: no rulstm_annotation_dir is set")
        return subsets
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        # An evaluation at the end of an epoch must not die of lists that only some figures need.
        subsets.notes.append(f"no tail and unseen figures: no folder {folder}")
        return subsets
    for space in SPACES:
        found = _by_narration(table, folder / TAIL.format(space))
        if found is None:
            found = _tail_by_class(table, folder, space)
        _keep(subsets, "tail", space, found, folder / TAIL.format(space))
    found = _by_narration(table, folder / UNSEEN)
    if found is None and (folder / OFFICIAL_UNSEEN).exists():
        people = _first_column(folder / OFFICIAL_UNSEEN)
        found = _column(table, "participant_id").isin(people).to_numpy()
    for space in SPACES:
        _keep(subsets, "unseen", space, found, folder / UNSEEN)
    subsets.notes = list(dict.fromkeys(subsets.notes))
    return subsets


def find_lists(folders: Sequence[str | Path | None]) -> Path | None:
    """The first of some folders that has lists for these figures; None where none has."""
    names = [TAIL, OFFICIAL_TAIL, MANY_SHOT]
    files = [UNSEEN, OFFICIAL_UNSEEN, *(name.format("verb") for name in names)]
    for folder in folders:
        if folder and any((Path(folder).expanduser() / file).exists() for file in files):
            return Path(folder).expanduser()
    return None


def many_shot_classes(
    folder: str | Path | None, verbs: np.ndarray, nouns: np.ndarray
) -> dict[str, set[int]] | None:
    """Many-shot classes of EPIC-55; an action is many-shot if its verb or its noun is.

    Args:
        folder: Folder with RULSTM's ``EPIC_many_shot_{verbs,nouns}.csv``.
        verbs: int (A,), verb of each action.
        nouns: int (A,), noun of each action.

    Returns:
        Space -> classes; None where the files are absent.

    Raises:
        UserError: A file cannot be read or lacks its column of classes.
    """
    if folder is None:
        return None
    paths = {part: Path(folder).expanduser() / MANY_SHOT.format(part) for part in ("verb", "noun")}
    if not all(path.exists() for path in paths.values()):
        return None
    found = {part: _class_column(path, f"{part}_class") for part, path in paths.items()}
    either = np.isin(verbs, list(found["verb"])) | np.isin(nouns, list(found["noun"]))
    return {**found, "action": set(np.flatnonzero(either).tolist())}


def _keep(subsets: Subsets, name: str, space: str, found: np.ndarray | None, path: Path) -> None:
    if found is None:
        subsets.notes.append(f"no {name} figures: no {path.name} in {path.parent}")
    elif not found.any():
        subsets.notes.append(f"no {name} figures: no item is listed in {path.name}")
    else:
        subsets.masks[name, space] = found


def _by_narration(table: pd.DataFrame, path: Path) -> np.ndarray | None:
    if not path.exists():
        return None
    return _column(table, "narration_id").isin(_first_column(path)).to_numpy()


def _tail_by_class(table: pd.DataFrame, folder: Path, space: str) -> np.ndarray | None:
    """An action is in the tail if its verb or its noun is."""
    parts = ("verb", "noun") if space == "action" else (space,)
    paths = {part: folder / OFFICIAL_TAIL.format(part) for part in parts}
    if not all(path.exists() for path in paths.values()):
        return None
    masks = []
    for part, path in paths.items():
        classes = [int(text) for text in _first_column(path) if text.isdigit()]
        masks.append(_column(table, f"{part}_class").isin(classes).to_numpy())
    return np.logical_or.reduce(masks)


def _column(table: pd.DataFrame, name: str) -> pd.Series:
    if name not in table.columns:
        raise UserError(f"the items have no column {name!r}; {suggest(name, map(str, table))}")
    column = pd.Series(table[name])
    return column.astype(str) if name.endswith("_id") else column


def _first_column(path: Path) -> list[str]:
    try:
        table = pd.read_csv(existing_file(path, "list of ids"), header=None, dtype=str)
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a list of ids ({' '.join(str(error).split())})") from error
    return table.iloc[:, 0].dropna().str.strip().tolist()


def _class_column(path: Path, column: str) -> set[int]:
    try:
        table = pd.read_csv(existing_file(path, "list of many-shot classes"))
        if column in table:
            return {int(value) for value in table[column]}
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: not a list of classes ({' '.join(str(error).split())})"
        ) from error
    raise UserError(f"{path}: no column {column!r}; {suggest(column, map(str, table))}")
