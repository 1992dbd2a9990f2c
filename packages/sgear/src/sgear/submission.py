"""Challenge files of EPIC-Kitchens: json and zip.

``{version, challenge, results: {id: {verb: {"0": s, ...}, noun: {...}, action: {"v,n": s}}}}`` with
all verbs, all nouns and the 100 best actions. Items that the anticipation conversion dropped (they
begin too early in their video) are added with scores of zero, because the server wants them all.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path
from sgear.ek_metrics import EPIC55, EPIC100
from sgear.evaluation_set import EvaluationSet, submission_ids

BEST_ACTIONS = 100
SUPERVISION = {"sls_pt": 1, "sls_tl": 4, "sls_td": 4}
"""Supervision levels that EPIC-100 asks for: pre-training, training labels, training data."""

FILES = {EPIC55: {"": "seen.json", "_s2": "unseen.json"}, EPIC100: {"": "test.json"}}
"""Version -> suffix of the results -> file in the archive."""


def submission(
    scores: Mapping[str, np.ndarray],
    items: EvaluationSet,
    supervision: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Content of a challenge file.

    Args:
        scores: ``verb``, ``noun``, ``action`` -> (N, C), a row for each item.
        items: The items, their discarded rows, and the verb and noun of each action.
        supervision: ``sls_pt``, ``sls_tl``, ``sls_td`` for EPIC-100 (default 1, 4, 4).

    Raises:
        UserError: Another data set, scores that are missing or do not fit.
    """
    version = items.version
    if version not in FILES:
        raise UserError(
            f"{items.where}: version {version}; there are challenges for EPIC-55 (0.1) and "
            "EPIC-100 (0.2) only"
        )
    verbs, nouns = items.parts("verb"), items.parts("noun")
    missing = [space for space in ("verb", "noun", "action") if space not in scores]
    if missing or verbs is None or nouns is None:
        what = f"no {missing[0]} scores" if missing else "the verbs of the actions are not known"
        raise UserError(f"{items.where}: {what}, which a submission needs")
    names = submission_ids(items.table, version)
    for space, values in scores.items():
        if len(values) != len(names):
            raise UserError(f"{len(values)} {space} scores for {len(names)} items")
        if not np.isfinite(values).all():
            raise UserError(f"{items.where}: {space} scores that are not finite")
    if scores["action"].shape[1] != len(verbs):
        raise UserError(
            f"{scores['action'].shape[1]} action scores, but the list has {len(verbs)} actions"
        )
    pairs = [f"{verb},{noun}" for verb, noun in zip(verbs.tolist(), nouns.tolist(), strict=True)]
    results = {
        name: _entry(scores["verb"][row], scores["noun"][row], scores["action"][row], pairs)
        for row, name in enumerate(names)
    }
    empty = _zero_entry(scores["verb"].shape[1], scores["noun"].shape[1])
    for name in submission_ids(items.discarded, version):
        results.setdefault(name, empty)
    content: dict[str, Any] = {"version": str(version)}
    content["challenge"] = "action_recognition" if items.recognition else "action_anticipation"
    if version == EPIC100:
        content |= {**SUPERVISION, **(supervision or {})}
    content["results"] = results
    return content


def write_submission(contents: Mapping[str, dict[str, Any]], folder: str | Path) -> Path:
    """Write json files and ``submit.zip`` with all of them.

    Args:
        contents: File name -> content.
        folder: Such as ``OUTPUTS/expts/a.txt/0/challenge``.

    Returns:
        The archive.

    Raises:
        UserError: The folder cannot be written.
    """
    folder = Path(folder)
    for name, content in contents.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_text(json.dumps(content), encoding="utf-8")
    archive = folder / "submit.zip"
    with (
        atomic_path(archive) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as file,
    ):
        for name in contents:
            file.write(folder / name, arcname=name)
    return archive


def file_name(version: float | None, suffix: str) -> str:
    """Name of the file that a set of results goes into.

    Raises:
        UserError: There is no such part of a challenge.
    """
    names = FILES.get(version or 0.0)
    if names is None or suffix not in names:
        raise UserError(
            f"results{suffix} of version {version}: EPIC-55 (0.1) has results and results_s2, "
            "EPIC-100 (0.2) has results"
        )
    return names[suffix]


def _entry(
    verb: np.ndarray, noun: np.ndarray, action: np.ndarray, pairs: list[str]
) -> dict[str, dict[str, float]]:
    best = np.argsort(-action, kind="stable")[:BEST_ACTIONS]
    return {
        "verb": {str(code): value for code, value in enumerate(verb.tolist())},
        "noun": {str(code): value for code, value in enumerate(noun.tolist())},
        "action": {pairs[code]: float(action[code]) for code in best.tolist()},
    }


def _zero_entry(verbs: int, nouns: int) -> dict[str, dict[str, float]]:
    return {
        "verb": {str(code): 0.0 for code in range(verbs)},
        "noun": {str(code): 0.0 for code in range(nouns)},
        "action": {f"0,{code}": 0.0 for code in range(BEST_ACTIONS)},
    }
