"""Labels of sequences, given as arrays or as a label table, ready for readouts.

The contract of the authors' ``load_annotations`` is kept: a dictionary ``annotations`` with one
array per tag, (S,) for labels of whole sequences and (S, L) for labels of frames, and a dictionary
``eval_utils`` that says which tags are classes, which are numbers, and which are about whole
sequences. As a file it is an ``.npz`` of plain arrays. A label table of the core
(:mod:`behaviorzoo.labels`) serves as well, and sequences may then differ in length.

Letters: S sequences, L frames of a sequence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.labels import classes_of, dense_labels, from_dense

Kind = Literal["class", "value"]
Spans = Mapping[str, tuple[int, int]]

UNLABELLED = -1
NAMES = "video_name"


@dataclass(frozen=True)
class Tag:
    """One kind of label.

    Attributes:
        name: Its name.
        kind: ``class`` or ``value``.
        sequence_level: Whether a label is about a whole sequence; else about a frame.
        values: For each of the S sequences one number, or one array (L,). Classes are codes
            int64, negative = unlabelled; values are float64, NaN = unlabelled.
        classes: Names of the classes in the order of their codes; empty for values.
    """

    name: str
    kind: Kind
    sequence_level: bool
    values: Sequence[Any] | np.ndarray
    classes: tuple[str, ...] = ()

    def of(self, sequences: Sequence[int]) -> np.ndarray:
        """Labels of some sequences, one after the other: (sequences,) or (all their frames,)."""
        chosen = [np.atleast_1d(self.values[index]) for index in sequences]
        return np.concatenate(chosen) if chosen else np.empty(0)

    def labels(self, sequence: int) -> int:
        """Number of labels of a sequence."""
        values = np.atleast_1d(self.values[sequence])
        known = values >= 0 if self.kind == "class" else ~np.isnan(values)
        return int(np.count_nonzero(known))


@dataclass(frozen=True)
class Annotations:
    """All tags of S sequences.

    Attributes:
        tags: Classes first, as the original trains its readouts.
        n_sequences: S.
    """

    tags: tuple[Tag, ...]
    n_sequences: int

    def chosen(self, names: Sequence[str]) -> Annotations:
        """Only some tags.

        Raises:
            UserError: No such tag.
        """
        known = [tag.name for tag in self.tags]
        for name in names:
            if name not in known:
                raise UserError(f"the labels have no task {name!r}; {suggest(name, known)}")
        return Annotations(tuple(t for t in self.tags if t.name in names), self.n_sequences)

    def labelled(self) -> list[int]:
        """Sequences that have at least one label."""
        return [k for k in range(self.n_sequences) if any(t.labels(k) for t in self.tags)]

    def of(self, sequences: Sequence[int]) -> Annotations:
        """Only some sequences, in the order given."""
        tags = (replace(tag, values=[tag.values[k] for k in sequences]) for tag in self.tags)
        return Annotations(tuple(tags), len(sequences))

    def table(self, spans: Spans) -> pd.DataFrame:
        """The annotations as a label table of the core.

        Args:
            spans: For each sequence, in order, its name -> (first frame, frames).
        """
        parts = []
        for tag in self.tags:
            for (name, (first, _)), value in zip(spans.items(), tag.values, strict=True):
                codes, classes = _as_codes(tag, np.atleast_1d(value))
                rows = from_dense(codes, name, tag.name, first, classes)
                if tag.sequence_level:
                    rows[["start", "stop"]] = pd.NA
                parts.append(rows)
        return pd.concat(parts, ignore_index=True)


def from_arrays(
    annotations: Mapping[str, Any],
    eval_utils: Mapping[str, Any] | None = None,
    *,
    lengths: Sequence[int],
    where: str = "annotations",
) -> Annotations:
    """Check annotations in the form of the authors' ``load_annotations``.

    Args:
        annotations: Tag -> (S,) or (S, L), or a list of S arrays. Classes may be whole numbers
            from 0 (negative = unlabelled), truth values or names ("" = unlabelled). The key
            ``video_name`` is no tag.
        eval_utils: ``classification_tags``, ``regression_tags`` (lists of names) and
            ``sequence_level_dict`` (name -> whether about whole sequences). Without it, every
            array is taken: fractions are values, all else are classes, and the shape tells what
            a label is about.
        lengths: L of each sequence.
        where: For messages.

    Returns:
        The annotations, tags in the order of ``eval_utils``.

    Raises:
        UserError: A tag is missing, is both class and value, or does not fit the sequences.
    """
    kinds = _kinds(annotations, eval_utils, where)
    if not kinds:
        raise UserError(f"{where}: no tag is named, so there is nothing to evaluate")
    levels = dict((eval_utils or {}).get("sequence_level_dict", {}))
    tags = []
    for name, kind in kinds.items():
        values = annotations[name]
        if len(values) != len(lengths):
            raise UserError(
                f"{where}: tag {name!r} has {len(values)} entries for {len(lengths)} sequences; "
                "give one for each sequence, in the same order"
            )
        if levels.get(name) and all(np.size(value) == 1 for value in values):
            values = [np.reshape(value, ()) for value in values]  # (S, 1) says it as well
        single = all(np.ndim(value) == 0 for value in values)
        if name in levels and bool(levels[name]) != single:
            found = "one label per sequence" if single else "labels per frame"
            raise UserError(
                f"{where}: tag {name!r} has {found}, but sequence_level_dict says "
                f"{bool(levels[name])}"
            )
        tags.append(_tag(name, kind, single, values, lengths, where))
    return Annotations(tuple(tags), len(lengths))


def from_table(
    labels: pd.DataFrame,
    spans: Spans,
    *,
    regression: Sequence[str] = (),
    tasks: Sequence[str] | None = None,
) -> Annotations:
    """Annotations from a label table.

    A task all of whose rows have neither start nor stop is about whole sequences.

    Args:
        labels: Label table.
        spans: For each sequence, in order, its name -> (first frame, frames).
        regression: Tasks whose labels are numbers.
        tasks: Which tasks; default all.

    Returns:
        The annotations.

    Raises:
        UserError: No such task, a label that is no number in a regression task, or no sequence
            of the table is among the spans.
    """
    known = list(dict.fromkeys(labels["task"]))
    chosen = list(dict.fromkeys([*(tasks or known), *regression]))
    for task in chosen:
        if task not in known:
            raise UserError(f"labels: no task {task!r}; {suggest(task, known)}")
    if not set(labels["recording"]) & set(spans):
        some = ", ".join(sorted(set(labels["recording"]))[:3])
        raise UserError(
            f"labels: they are of {some} ..., none of which is a recording here; the names must "
            f"be the same, such as {next(iter(spans), '')!r}"
        )
    rows = {name: labels.loc[labels["recording"] == name] for name in spans}
    tags = []
    for task in chosen:
        own = labels.loc[labels["task"] == task]
        whole = bool(own["start"].isna().all())
        classes = classes_of(labels, task)
        codes = [
            dense_labels(rows[name], name, task, first, 1 if whole else n, classes)[0]
            for name, (first, n) in spans.items()
        ]
        if task in regression:
            numbers = np.array([*(_number(task, name) for name in classes), np.nan])
            values = [numbers[own_codes] for own_codes in codes]
            tags.append(Tag(task, "value", whole, _unwrapped(values, whole)))
        else:
            values = [own_codes.astype(np.int64) for own_codes in codes]
            tags.append(Tag(task, "class", whole, _unwrapped(values, whole), tuple(classes)))
    tags.sort(key=lambda tag: tag.kind == "value")
    return Annotations(tuple(tags), len(spans))


def _kinds(
    annotations: Mapping[str, Any], eval_utils: Mapping[str, Any] | None, where: str
) -> dict[str, Kind]:
    if eval_utils is None:
        return {
            name: "value" if _is_fraction(values) else "class"
            for name, values in annotations.items()
            if name != NAMES
        }
    kinds: dict[str, Kind] = {}
    known: tuple[tuple[str, Kind], ...] = (
        ("classification_tags", "class"),
        ("regression_tags", "value"),
    )
    for key, kind in known:
        for name in eval_utils.get(key, ()):
            if name not in annotations:
                raise UserError(
                    f"{where}: {key} names {name!r}, which has no array; "
                    f"{suggest(name, annotations)}"
                )
            if kinds.get(name, kind) != kind:
                raise UserError(f"{where}: tag {name!r} is both a class and a value; choose one")
            kinds[name] = kind
    return kinds


def _tag(
    name: str, kind: Kind, single: bool, values: Any, lengths: Sequence[int], where: str
) -> Tag:
    rows = [np.asarray(value) for value in values]
    for index, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        if not single and row.shape != (length,):
            raise UserError(
                f"{where}: tag {name!r}, sequence {index}: shape {row.shape}, expected one label "
                f"for each of its {length} frames (or one for each sequence)"
            )
    flat = np.concatenate([np.atleast_1d(row) for row in rows])
    if kind == "value":
        if flat.dtype.kind not in "fiub" or np.isinf(flat.astype(np.float64)).any():
            raise UserError(f"{where}: tag {name!r} holds values that are no finite numbers")
        return Tag(name, kind, single, _unwrapped([r.astype(np.float64) for r in rows], single))
    codes, classes = _codes(name, flat, where)
    edges = np.cumsum([np.size(row) for row in rows])[:-1]
    return Tag(name, kind, single, _unwrapped(np.split(codes, edges), single), classes)


def _codes(name: str, flat: np.ndarray, where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class codes int64 of labels (n,), and the names of the classes."""
    if flat.dtype.kind in "US":
        text = flat.astype(str)
        classes = tuple(sorted(set(text) - {""}))
        return pd.Index(list(classes)).get_indexer(text).astype(np.int64), classes
    if flat.dtype.kind == "f":
        flat = np.where(np.isnan(flat), UNLABELLED, flat)
        if (np.round(flat) != flat).any():
            raise UserError(
                f"{where}: tag {name!r} is a class but has fractions; name it in regression_tags"
            )
    elif flat.dtype.kind not in "iub":
        raise UserError(f"{where}: tag {name!r} holds {flat.dtype}; give whole numbers or names")
    codes = np.maximum(flat.astype(np.int64), UNLABELLED)
    return codes, tuple(str(code) for code in range(int(codes.max(initial=-1)) + 1))


def _unwrapped(values: Sequence[np.ndarray], single: bool) -> Sequence[np.ndarray] | np.ndarray:
    """One number per sequence as an array (S,)."""
    return np.array([np.atleast_1d(row)[0] for row in values]) if single else values


def _is_fraction(values: Any) -> bool:
    return any(np.asarray(value).dtype.kind == "f" for value in values)


def _as_codes(tag: Tag, values: np.ndarray) -> tuple[np.ndarray, Sequence[str]]:
    if tag.kind == "class":
        return values, tag.classes
    distinct, codes = np.unique(values, return_inverse=True)
    # repr of a Python float is short and read back exactly.
    return np.where(np.isnan(values), UNLABELLED, codes), [repr(float(v)) for v in distinct]


def _number(task: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise UserError(
            f"labels: task {task!r} is a regression but has the label {text!r}, no number"
        ) from error
