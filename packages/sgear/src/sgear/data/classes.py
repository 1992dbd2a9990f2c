"""Classes of verbs, nouns and actions, and which verb and noun an action is made of."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path, existing_file

if TYPE_CHECKING:
    import torch

UNLABELLED = -1
_HEADER = {"id", "verb", "noun", "action", "label"}


@dataclass(frozen=True)
class Classes:
    """The classes of a data set.

    Attributes:
        names: Type (action, verb, noun) -> name -> number. Names that occur twice have the number
            of the last one.
        pairs: (verb number, noun number) -> action number; empty where actions have no parts.
        sizes: Number of verbs and nouns where these have no names (EGTEA).
    """

    names: Mapping[str, Mapping[str, int]]
    pairs: Mapping[tuple[int, int], int] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """Number of classes of each type."""
        counts = {
            kind: max(len(numbers), max(numbers.values(), default=UNLABELLED) + 1)
            for kind, numbers in self.names.items()
        }
        counts |= {kind: size for kind, size in self.sizes.items() if not counts.get(kind)}
        if self.pairs:
            counts["action"] = max(counts.get("action", 0), max(self.pairs.values()) + 1)
        return counts

    def mappings(self) -> dict[tuple[str, str], torch.Tensor]:
        """Which part each action has.

        Returns:
            ``("verb", "action")`` -> float32 (N actions, N verbs) of 0 and 1, and the same for
            nouns; empty where actions have no parts.
        """
        import torch  # here, so that tables can be read without it

        if not self.pairs:
            return {}
        parts, counts = np.array(list(self.pairs)), self.counts
        actions = np.array(list(self.pairs.values()))
        mappings = {}
        for column, kind in enumerate(("verb", "noun")):
            matrix = torch.zeros(counts["action"], counts[kind])
            matrix[actions, parts[:, column]] = 1.0
            mappings[kind, "action"] = matrix
        return mappings

    def action_of(self, verbs: Sequence[int], nouns: Sequence[int]) -> np.ndarray:
        """Number of the action of each (verb, noun), int64 (n,); -1 where there is no such one."""
        return np.array(
            [
                self.pairs.get((int(verb), int(noun)), UNLABELLED)
                for verb, noun in zip(verbs, nouns, strict=True)
            ],
            dtype=np.int64,
        )


def read_key_list(path: str | Path, what: str) -> dict[str, int]:
    """Names of the verb or noun classes of EPIC-Kitchens: key -> row number.

    Args:
        path: ``EPIC_*_verb_classes.csv`` with a column ``key`` or ``class_key``.
        what: verb or noun, for messages.

    Raises:
        UserError: No such file, or no such column.
    """
    path = existing_file(path, f"list of {what} classes")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    column = next((name for name in ("class_key", "key") if name in table), None)
    if column is None:
        raise UserError(
            f"{path}: no column 'key' or 'class_key'; its columns are {', '.join(table)}"
        )
    return {key: row for row, key in enumerate(table[column])}


def read_actions(path: str | Path) -> tuple[dict[str, int], dict[tuple[int, int], int]]:
    """An ``actions.csv`` of RULSTM.

    With a header (``id,verb,noun,action`` in any order, EPIC-Kitchens) or without one (``id,
    verb_noun, name``, EGTEA, names keep their leading blank).

    Returns:
        Name -> row number, and (verb, noun) -> id.

    Raises:
        UserError: No such file, or rows that say something else.
    """
    path = existing_file(path, "list of actions")
    with path.open(newline="", encoding="utf-8-sig") as handle:
        rows = [row for row in csv.reader(handle) if any(cell.strip() for cell in row)]
    header = [cell.strip().lower() for cell in rows[0]]
    headed = len(_HEADER & set(header)) > 1
    try:
        if headed:
            return _headed_actions(header, rows[1:])
        return _egtea_actions(rows)
    except (ValueError, IndexError) as error:
        raise UserError(
            f"{path}: expected id,verb,noun,action with a header, or `id, verb_noun, name` "
            f"without one ({error})"
        ) from error


def _headed_actions(
    header: list[str], rows: list[list[str]]
) -> tuple[dict[str, int], dict[tuple[int, int], int]]:
    name, verb, noun = (header.index(key) for key in ("action", "verb", "noun"))
    number = header.index("id") if "id" in header else None
    names = {row[name]: position for position, row in enumerate(rows)}
    pairs = {
        (int(row[verb]), int(row[noun])): position if number is None else int(row[number])
        for position, row in enumerate(rows)
    }
    return names, pairs


def _egtea_actions(rows: list[list[str]]) -> tuple[dict[str, int], dict[tuple[int, int], int]]:
    names, pairs = {}, {}
    for position, (number, parts, *name) in enumerate(rows):
        verb, noun = parts.split("_")
        names[",".join(name)] = position
        pairs[int(verb), int(noun)] = int(number)
    return names, pairs


def all_pairs(verbs: Sequence[str], nouns: Sequence[str]) -> Classes:
    """Every verb with every noun: action ``verb:noun`` is number ``v * n_nouns + n``."""
    pairs = {(v, n): v * len(nouns) + n for v in range(len(verbs)) for n in range(len(nouns))}
    names = {f"{verb}:{noun}": v for v, (verb, noun) in enumerate(_product(verbs, nouns))}
    return Classes({"action": names, "verb": _numbered(verbs), "noun": _numbered(nouns)}, pairs)


def pairs_that_occur(
    tables: Iterable[pd.DataFrame], verbs: Mapping[str, int], nouns: Mapping[str, int]
) -> Classes:
    """The (verb, noun) pairs of some annotations as actions, in the order of their numbers.

    Args:
        tables: Annotations with ``verb_class`` and ``noun_class``.
        verbs: Name -> number.
        nouns: Name -> number.
    """
    found = sorted(
        {
            (int(verb), int(noun))
            for table in tables
            for verb, noun in zip(table["verb_class"], table["noun_class"], strict=True)
            if verb >= 0 and noun >= 0
        }
    )
    verb_name = {number: name for name, number in verbs.items()}
    noun_name = {number: name for name, number in nouns.items()}
    pairs = {pair: number for number, pair in enumerate(found)}
    names = {
        f"{verb_name.get(v, v)} {noun_name.get(n, n)}": number for (v, n), number in pairs.items()
    }
    return Classes({"action": names, "verb": dict(verbs), "noun": dict(nouns)}, pairs)


def write_actions(path: str | Path, classes: Classes) -> None:
    """Write the actions as RULSTM does for EPIC-Kitchens: ``id,verb,noun,action``."""
    name = {number: name for name, number in classes.names["action"].items()}
    with atomic_path(path) as temporary, temporary.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "verb", "noun", "action"])
        for (verb, noun), number in sorted(classes.pairs.items(), key=lambda item: item[1]):
            writer.writerow([number, verb, noun, name.get(number, "")])


def _numbered(names: Sequence[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(names)}


def _product(verbs: Sequence[str], nouns: Sequence[str]) -> list[tuple[str, str]]:
    return [(verb, noun) for verb in verbs for noun in nouns]
