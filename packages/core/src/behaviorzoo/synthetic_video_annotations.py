"""Annotation files of a synthetic kitchen, in the formats of EPIC-KITCHENS-100 and of RULSTM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from behaviorzoo.files import atomic_path
from behaviorzoo.synthetic_video_grammar import NOUNS, VERBS, Grammar

RULSTM_FPS = 30
"""RULSTM counts in frames of features, which were made at this rate."""


def action_classes(table: pd.DataFrame, grammar: Grammar) -> NDArray[np.int64]:
    """Action class of each row of an annotation table."""
    lookup = {(verb, noun): i for i, (verb, noun) in enumerate(grammar.actions.tolist())}
    pairs = zip(table["verb_class"].tolist(), table["noun_class"].tolist(), strict=True)
    return np.array([lookup[pair] for pair in pairs], np.int64)


def write_annotations(
    folder: Path, train: pd.DataFrame, validation: pd.DataFrame, grammar: Grammar
) -> None:
    """Write ``EPIC_100_{train,validation,verb_classes,noun_classes}.csv``."""
    _csv(train, folder / "EPIC_100_train.csv")
    _csv(validation, folder / "EPIC_100_validation.csv")
    for column, (name, words) in enumerate((("verb", VERBS), ("noun", NOUNS))):
        keys = list(words)[: int(grammar.actions[:, column].max()) + 1]
        classes = pd.DataFrame(
            {
                "id": np.arange(len(keys)),
                "key": keys,
                "instances": [f"['{key}']" for key in keys],
                "category": list(words.values())[: len(keys)],
            }
        )
        _csv(classes, folder / f"EPIC_100_{name}_classes.csv")


def write_video_list(folder: Path, tables: list[pd.DataFrame], fps: float, size: int) -> None:
    """Write ``EPIC_100_video_info.csv``; ``attrs`` of each table say video and duration."""
    videos = pd.DataFrame([table.attrs for table in tables])
    videos["fps"], videos["resolution"] = fps, f"{size}x{size}"
    _csv(videos.sort_values("video_id"), folder / "EPIC_100_video_info.csv")


def write_rulstm_lists(
    folder: Path, train: pd.DataFrame, validation: pd.DataFrame, grammar: Grammar, fps: float
) -> None:
    """Write ``actions.csv``, ``training.csv``, ``validation.csv`` and the lists of narrations.

    Rare (tail) is the half of the classes with the fewest training actions. All participants of the
    validation set are new ones.
    """
    actions = pd.DataFrame({"id": np.arange(len(grammar))})
    actions["verb"], actions["noun"] = grammar.actions.T
    actions["action"] = grammar.names()
    _csv(actions, folder / "actions.csv")
    first = 0
    for name, table in (("training", train), ("validation", validation)):
        rows = pd.DataFrame({"uid": np.arange(first, first + len(table))})
        rows["video"] = table["video_id"]
        for side in ("start", "stop"):
            rows[side] = np.rint(table[f"{side}_frame"] / fps * RULSTM_FPS).astype(int)
        rows["verb"], rows["noun"] = table["verb_class"], table["noun_class"]
        rows["action"] = action_classes(table, grammar)
        _csv(rows, folder / f"{name}.csv", header=False)
        first += len(table)
    columns = {
        "verbs": (train["verb_class"], validation["verb_class"]),
        "nouns": (train["noun_class"], validation["noun_class"]),
        "actions": (action_classes(train, grammar), action_classes(validation, grammar)),
    }
    ids = validation["narration_id"].to_numpy()
    for name, (seen, asked) in columns.items():
        counts = np.bincount(seen, minlength=int(np.max(asked)) + 1)
        rare = np.argsort(counts, kind="stable")[: max(len(counts) // 2, 1)]
        _ids(ids[np.isin(asked, rare)], folder / f"validation_tail_{name}_ids.csv")
    _ids(ids, folder / "validation_unseen_participants_ids.csv")


def _ids(ids: NDArray[np.object_], path: Path) -> None:
    _csv(pd.DataFrame({"narration_id": ids}), path)


def _csv(table: pd.DataFrame, path: Path, header: bool = True) -> None:
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, header=header)
