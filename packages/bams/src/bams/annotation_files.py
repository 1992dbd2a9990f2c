"""Files of annotations: label tables, and ``.npz`` files of plain arrays (see ``annotations``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from bams.annotations import NAMES, Annotations, Spans, from_arrays, from_table
from behaviorzoo.errors import UserError, suggest
from behaviorzoo.files import atomic_path, existing_file
from behaviorzoo.labels import read_labels

_TAG_LISTS = ("classification_tags", "regression_tags", "sequence_tags")


def read_annotations(
    path: str | Path,
    spans: Spans,
    *,
    regression: Sequence[str] = (),
    tasks: Sequence[str] | None = None,
) -> Annotations:
    """Read a label table (.csv, .parquet) or an annotation file (.npz).

    Args:
        path: The file. In an ``.npz``, each array is a tag, besides ``classification_tags``,
            ``regression_tags``, ``sequence_tags`` (lists of names) and ``video_name``; where the
            sequences have names, ``video_name`` says which entry belongs to which.
        spans: For each sequence, in order, its name -> (first frame, frames).
        regression: Tasks whose labels are numbers.
        tasks: Which tasks; default all.

    Returns:
        The annotations.

    Raises:
        UserError: The file is missing, damaged, or does not fit the sequences.
    """
    path = existing_file(path, "label file")
    if path.suffix != ".npz":
        return from_table(read_labels(path), spans, regression=regression, tasks=tasks)
    annotations, eval_utils = load_annotations(path)
    if NAMES in annotations:
        annotations = _in_order(annotations, list(spans), str(path))
    lists = {key: list(eval_utils.get(key, ())) for key in _TAG_LISTS[:2]}
    if regression:
        lists["regression_tags"] += [n for n in regression if n not in lists["regression_tags"]]
        kept = (n for n in lists["classification_tags"] if n not in regression)
        lists["classification_tags"] = list(kept)
    utils = {**eval_utils, **lists}
    lengths = [n for _, n in spans.values()]
    found = from_arrays(annotations, utils, lengths=lengths, where=str(path))
    return found if tasks is None else found.chosen([*tasks, *regression])


def load_annotations(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read an annotation file, in the form of the authors' ``load_annotations``.

    Args:
        path: An ``.npz`` of plain arrays, see :func:`save_annotations`.

    Returns:
        ``annotations`` and ``eval_utils``.

    Raises:
        UserError: The file is missing or damaged, or holds Python objects.
    """
    path = existing_file(path, "annotation file")
    try:
        with np.load(path, allow_pickle=False) as file:
            content = {key: file[key] for key in file.files}
    except (ValueError, OSError, EOFError, BadZipFile, AttributeError) as error:
        raise UserError(
            f"{path}: not an .npz of plain arrays, or damaged "
            f"({' '.join(str(error).split())[:120]}); bams.annotations.save_annotations writes one"
        ) from error
    lists = {key: [str(n) for n in content.pop(key)] for key in _TAG_LISTS if key in content}
    annotations = content
    named = [*lists.get("classification_tags", []), *lists.get("regression_tags", [])]
    if not named:
        named = [key for key in annotations if key != NAMES]
        values = [key for key in named if annotations[key].dtype.kind == "f"]
        lists["regression_tags"] = values
        lists["classification_tags"] = [key for key in named if key not in values]
    sequence = lists.pop("sequence_tags", None)
    levels = {
        key: annotations[key].ndim == 1 if sequence is None else key in sequence
        for key in named
        if key in annotations
    }
    return annotations, {**lists, "sequence_level_dict": levels}


def save_annotations(
    path: str | Path, annotations: Mapping[str, Any], eval_utils: Mapping[str, Any]
) -> Path:
    """Write what the authors' ``load_annotations`` returns as a safe file.

    Args:
        path: Target, ``.npz``.
        annotations: Tag -> array; also ``video_name``.
        eval_utils: See :func:`from_arrays`.

    Returns:
        The path.

    Raises:
        UserError: Another suffix, an array of objects, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise UserError(f"{path}: annotations are written as .npz, not {path.suffix!r}")
    arrays = {key: np.asarray(value) for key, value in annotations.items()}
    for key, array in arrays.items():
        if array.dtype == object:
            raise UserError(f"{path}: tag {key!r} holds Python objects; give numbers or names")
    levels = eval_utils.get("sequence_level_dict", {})
    lists = {
        "classification_tags": list(eval_utils.get("classification_tags", ())),
        "regression_tags": list(eval_utils.get("regression_tags", ())),
        "sequence_tags": [name for name, whole in levels.items() if whole],
    }
    texts = {key: np.array(names, dtype=np.str_) for key, names in lists.items()}
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, **arrays, **texts)  # pyright: ignore[reportArgumentType]
    return path


def _in_order(
    annotations: Mapping[str, np.ndarray], names: Sequence[str], where: str
) -> dict[str, np.ndarray]:
    """Entries in the order of the sequences' names."""
    given = [str(name) for name in annotations[NAMES]]
    absent = [name for name in names if name not in given]
    if absent:
        raise UserError(
            f"{where}: {NAMES} lacks sequence {absent[0]!r}; {suggest(absent[0], given)}"
        )
    order = [given.index(name) for name in names]
    return {key: np.asarray(value)[order] for key, value in annotations.items()}
