"""EPIC-Kitchens-55, EPIC-Kitchens-100 and EGTEA Gaze+."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from behaviorzoo.errors import UserError
from sgear.data.annotations import read_annotations
from sgear.data.classes import (
    Classes,
    all_pairs,
    pairs_that_occur,
    read_actions,
    read_key_list,
)
from sgear.data.config import DatasetConfig
from sgear.data.tables import RECALL5, TOP1, ActionTable, count_unknown, keep_videos

EPIC_55, EPIC_100, EGTEA = 0.1, 0.2, -1.0
_PREFIX = {EPIC_55: "EPIC", EPIC_100: "EPIC_100"}


def open_epic(config: DatasetConfig) -> ActionTable:
    """Annotations of EPIC-Kitchens or EGTEA with their action classes.

    Raises:
        UserError: Files that are not there or say something else; an unknown version.
    """
    version = EGTEA if config.kind == "egtea" else config.version
    if version not in (EPIC_55, EPIC_100, EGTEA):
        raise UserError(f"version={version:g}: 0.1 is EPIC-55, 0.2 EPIC-100, -1 EGTEA Gaze+")
    table = read_annotations(config.annotation_path)
    if config.only_keep_videos:
        table = keep_videos(table, config.only_keep_videos)
    table["video_path"] = video_paths(table, version)
    classes = egtea_classes(config) if version == EGTEA else epic_classes(config, version)
    table["action_class"] = classes.action_of(
        table["verb_class"].tolist(), table["noun_class"].tolist()
    )
    return ActionTable(
        table,
        classes,
        version,
        RECALL5 if version == EPIC_100 else TOP1,
        count_unknown(table["action_class"], "a (verb, noun) pair that is no action class"),
    )


def video_paths(table: pd.DataFrame, version: float) -> list[str]:
    """Where the videos lie below their folder."""
    if version == EGTEA:
        return [f"{video}.mp4" for video in table["video_id"]]
    rows = zip(table["participant_id"], table["video_id"], strict=True)
    return [f"{participant}/{video}.MP4" for participant, video in rows]


def epic_classes(config: DatasetConfig, version: float) -> Classes:
    """Verbs and nouns of the official lists; actions of ``actions.csv`` or of annotations.

    Raises:
        UserError: No list of verbs or nouns, or of actions where one is named.
    """
    verbs, nouns = (_key_list(config.annotation_dir, version, what) for what in ("verb", "noun"))
    if config.action_labels_fpath:
        names, pairs = read_actions(config.action_labels_fpath)
        classes = Classes({"action": names, "verb": verbs, "noun": nouns}, pairs)
        _check_pairs(classes, config.action_labels_fpath)
        return classes
    if config.actions_from:
        return pairs_that_occur(
            [read_annotations([path]) for path in config.actions_from], verbs, nouns
        )
    return all_pairs(list(verbs), list(nouns))


def egtea_classes(config: DatasetConfig) -> Classes:
    """Actions of EGTEA's ``actions.csv``; verbs and nouns have numbers only.

    Raises:
        UserError: No such file.
    """
    if not config.action_labels_fpath:
        raise UserError("EGTEA needs action_labels_fpath: the actions.csv of RULSTM's egtea folder")
    names, pairs = read_actions(config.action_labels_fpath)
    verbs, nouns = ({pair[part] for pair in pairs} for part in (0, 1))
    sizes = {
        kind: max(len(numbers), max(numbers) + 1)
        for kind, numbers in (("verb", verbs), ("noun", nouns))
    }
    return Classes({"action": names}, pairs, sizes)


def _key_list(folder: str, version: float, what: str) -> dict[str, int]:
    name = f"{_PREFIX[version]}_{what}_classes"
    # The repository of EPIC-100 has a second version of its nouns; the original reads the first.
    candidates = [Path(folder).expanduser() / f"{name}{suffix}.csv" for suffix in ("", "_v2")]
    path = next((path for path in candidates if path.is_file()), candidates[0])
    return read_key_list(path, what)


def _check_pairs(classes: Classes, path: str) -> None:
    counts = {kind: len(classes.names[kind]) for kind in ("verb", "noun")}
    for verb, noun in classes.pairs:
        if not (0 <= verb < counts["verb"] and 0 <= noun < counts["noun"]):
            raise UserError(
                f"{path}: action ({verb}, {noun}) of {counts['verb']} verbs and "
                f"{counts['noun']} nouns; are the lists in annotation_dir of the same data set?"
            )
