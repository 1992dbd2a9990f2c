"""What an evaluation is about, kept beside its results: items, classes and their relations.

With ``items.csv`` and ``classes.json`` in the results folder, scores can be fused, submitted and
shown without the annotations and without the data set being built again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path, existing_file
from sgear.ek_metrics import EPIC55, EPIC100, find_lists

if TYPE_CHECKING:
    from sgear.data.dataset import ActionDataset

ITEMS, DISCARDED, CLASSES = "items.csv", "discarded.csv", "classes.json"


@dataclass
class EvaluationSet:
    """Items of a data set as an evaluation needs them.

    Attributes:
        table: A row per item, in the order of ``idx``: ``uid``, ``<type>_class``, and what the
            annotations tell (``narration_id``, ``video_id``, ``orig_start`` ... in seconds).
        classes: Label type -> {class name: id}.
        mappings: (of, from) such as ``("verb", "action")`` -> 0/1 matrix (from, of).
        version: 0.1 for EPIC-55, 0.2 for EPIC-100, others else.
        discarded: Rows that the anticipation conversion dropped; submissions need them.
        recognition: The clips show the action itself.
        lists: Folder with the lists of tail, unseen and many-shot (``rulstm_annotation_dir``).
        where: Where this comes from, for messages.
    """

    table: pd.DataFrame
    classes: dict[str, dict[str, int]] = field(default_factory=dict)
    mappings: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    version: float | None = None
    discarded: pd.DataFrame = field(default_factory=pd.DataFrame)
    recognition: bool = False
    lists: Path | None = None
    where: str = "data set"

    @property
    def uids(self) -> list[str]:
        """Name of each item in a fusion: its uid, else its row."""
        column = "uid" if "uid" in self.table else None
        values = self.table[column] if column else self.table.index
        return [_text(value) for value in values]

    @property
    def submission_ids(self) -> list[str]:
        """Name of each item in a submission: narration id for EPIC-100, else uid."""
        return submission_ids(self.table, self.version)

    def labels(self, space: str) -> np.ndarray | None:
        """int64 (N,) of a label type; -1 where there is none, None without the column."""
        if f"{space}_class" not in self.table:
            return None
        column = np.asarray(self.table[f"{space}_class"], dtype=np.float64)
        return np.where(np.isnan(column), -1, column).astype(np.int64)

    def names(self, space: str, number: int | None = None) -> list[str]:
        """Class names in the order of their ids; a number where a class has no name."""
        known = {int(code): str(name) for name, code in self.classes.get(space, {}).items()}
        number = number if number is not None else max(known, default=-1) + 1
        return [known.get(code, str(code)) for code in range(number)]

    def parts(self, of: str, source: str = "action") -> np.ndarray | None:
        """int64 (A,), the verb (or noun) of each action; None where it is not known."""
        matrix = self.mappings.get((of, source))
        if matrix is None:
            return None
        found = np.asarray(matrix).argmax(axis=1)
        return np.where(np.asarray(matrix).any(axis=1), found, -1)

    def save(self, folder: str | Path) -> Path:
        """Write ``items.csv``, ``discarded.csv`` and ``classes.json`` into a results folder.

        Raises:
            UserError: The folder cannot be written.
        """
        folder = Path(folder)
        for name, table in ((ITEMS, self.table), (DISCARDED, self.discarded)):
            with atomic_path(folder / name) as temporary:
                _plain(table).to_csv(temporary, index=False)
        content = {
            "version": self.version,
            "recognition": self.recognition,
            "lists": None if self.lists is None else str(self.lists),
            "classes": self.classes,
            "mappings": [
                {"of": of, "from": source, "size": np.shape(matrix)[1], "parts": parts.tolist()}
                for (of, source), matrix in self.mappings.items()
                if (parts := self.parts(of, source)) is not None
            ],
        }
        with atomic_path(folder / CLASSES) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        return folder


def read_evaluation_set(folder: str | Path) -> EvaluationSet:
    """Read what :meth:`EvaluationSet.save` wrote.

    Raises:
        UserError: A file is absent or damaged.
    """
    from sgear.marginalise import mapping_matrix

    folder = Path(folder).expanduser()
    path = existing_file(folder / CLASSES, "list of classes of an evaluation")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        mappings = {
            (entry["of"], entry["from"]): mapping_matrix(np.array(entry["parts"]), entry["size"])
            for entry in content["mappings"]
        }
        classes = {
            str(kind): {str(name): int(code) for name, code in names.items()}
            for kind, names in content["classes"].items()
        }
        lists = content.get("lists")
        return EvaluationSet(
            table=_read_table(folder / ITEMS),
            classes=classes,
            mappings=mappings,
            version=content.get("version"),
            discarded=_read_table(folder / DISCARDED, may_be_absent=True),
            recognition=bool(content.get("recognition")),
            lists=None if lists is None else Path(lists),
            where=str(folder),
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise UserError(f"{path}: damaged ({error})") from error


def of_dataset(dataset: ActionDataset) -> EvaluationSet:
    """What an evaluation needs of a data set."""
    config = dataset.config
    beside = Path(config.action_labels_fpath).parent if config.action_labels_fpath else None
    named = config.rulstm_annotation_dir
    lists = find_lists([named, beside, config.annotation_dir]) or (Path(named) if named else None)
    return EvaluationSet(
        table=dataset.table,
        classes={kind: dict(names) for kind, names in dataset.classes.items()},
        mappings={key: matrix.numpy() for key, matrix in dataset.class_mappings.items()},
        version=_version(dataset.version),
        discarded=dataset.discarded,
        recognition=config.conv_to_anticipate_fn is None,
        lists=lists,
    )


def submission_ids(table: pd.DataFrame, version: float | None) -> list[str]:
    """Names of items in a submission: narration ids for EPIC-100, uids else.

    Raises:
        UserError: The column is missing.
    """
    column = "narration_id" if version == EPIC100 else "uid"
    if not len(table):
        return []
    if column not in table:
        raise UserError(f"the items have no column {column!r}, which a submission needs")
    return [_text(value) for value in table[column]]


def _version(value: Any) -> float | None:
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return next((known for known in (EPIC55, EPIC100) if abs(found - known) < 1e-9), found)


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    """Columns that a csv can hold; others (lists, paths, tensors) are left out."""
    return table.drop(columns=[name for name in table if not _is_plain(pd.Series(table[name]))])


def _is_plain(column: pd.Series) -> bool:
    if column.dtype != object:
        return True
    return all(isinstance(value, (str, int, float, np.generic, type(None))) for value in column)


def _read_table(path: Path, may_be_absent: bool = False) -> pd.DataFrame:
    if may_be_absent and not path.exists():
        return pd.DataFrame()
    path = existing_file(path, "table of items")
    try:
        # Ids such as "007" and names such as "NA" stay what they are.
        text: Any = dict.fromkeys(("narration_id", "video_id", "participant_id", "uid"), str)
        return pd.read_csv(path, dtype=text)
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a table of items ({error})") from error


def _text(value: Any) -> str:
    """Text of an id: 7 and 7.0 and b"7" are the same item."""
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)
