"""Where scores for a fusion come from: runs, experiments, challenge files, pickles.

A word is a path with an optional weight, ``runs/a:2.5``. The path may be a run folder, a results
folder, an experiment (``expts/a.txt``, its run below ``OUTPUTS/``; ``expts/a.txt/3`` is run 3), a
folder with challenge files, one such file (.json, .zip), or a pickle of scores.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.files import existing_file
from behaviorzoo.pickled_values import DamagedPickleError, ForbiddenGlobalError
from behaviorzoo.restricted_pickle import load as load_pickle
from sgear.data.classes import Classes, read_actions
from sgear.evaluate import items_of
from sgear.evaluation_set import CLASSES, EvaluationSet, read_evaluation_set
from sgear.fusion import ScoredRun
from sgear.marginalise import SPACES, space_scores
from sgear.results import Results, read_results, result_files

RESULTS = "results"


@dataclass(frozen=True)
class Source:
    """A run of a command line: where it is and how much it weighs."""

    path: Path
    weight: float | None = None


def parse_source(word: str) -> Source:
    """Read ``path`` or ``path:weight``.

    Raises:
        UserError: The weight is no finite number.
    """
    path, colon, weight = word.rpartition(":")
    if not colon:
        return Source(Path(word))
    try:
        value = float(weight)
    except ValueError:
        if Path(word).exists():  # a colon in the name
            return Source(Path(word))
        raise UserError(f"{word}: {weight!r} is no weight; write path:2.5") from None
    if not np.isfinite(value) or not path:
        raise UserError(f"{word}: write path:weight, such as expts/a.txt:2.5")
    return Source(Path(path), value)


def locate(path: Path, outputs: str | Path = "OUTPUTS", suffix: str = "") -> Path:
    """The folder or file with the scores of a source.

    Args:
        path: See the module.
        outputs: Folder of the launcher.
        suffix: Of the evaluated set, such as ``_s2``.

    Raises:
        UserError: There is nothing, or an experiment has several runs.
    """
    for candidate in (Path(path).expanduser(), Path(outputs).expanduser() / path):
        found = _scores_at(candidate, suffix)
        if found is not None:
            return found
    agent = Path(outputs).expanduser() / path
    runs = sorted(run for run in agent.glob("*") if result_files(run / f"{RESULTS}{suffix}"))
    if len(runs) > 1:
        names = ", ".join(f"{path}/{run.name}" for run in runs)
        raise UserError(f"{path}: several runs have results, choose one of {names}")
    if runs:
        return runs[0] / f"{RESULTS}{suffix}"
    if Path(path).suffix == ".txt" or Path(path).is_dir() or agent.is_dir():
        raise UserError(
            f"{path}: no results{suffix}/*.h5 in it or under {agent}; "
            f"run `sgear launch -c {path} -l -t` or `sgear test` first"
        )
    raise UserError(f"{path}: no such run, experiment or file of scores; check the path")


def _scores_at(path: Path, suffix: str) -> Path | None:
    if path.is_file():
        return path if path.suffix in (".json", ".zip", ".pkl", ".pickle") else None
    if path.is_dir():
        if result_files(path):
            return path
        if result_files(path / f"{RESULTS}{suffix}"):
            return path / f"{RESULTS}{suffix}"
        if any(path.glob("*.json")) and not (path / CLASSES).exists():
            return path if _challenge_files(path) else None
    return None


def read_runs(
    sources: Sequence[Source],
    *,
    outputs: str | Path = "OUTPUTS",
    suffix: str = "",
    items: EvaluationSet | None = None,
    actions: str | Path | None = None,
    version: float | None = None,
) -> list[ScoredRun]:
    """Read the scores of several sources.

    Args:
        sources: At least one.
        outputs: Folder of the launcher.
        suffix: Of the evaluated set.
        items: The items, where the sources do not say them.
        actions: RULSTM's ``actions.csv``, for results without a list of classes (the authors').
        version: Of the data set, for the same.

    Raises:
        UserError: A source cannot be read, or nothing says what the items are.
    """
    places = [locate(source.path, outputs, suffix) for source in sources]
    runs: list[ScoredRun | None] = []
    for source, place in zip(sources, places, strict=True):
        runs.append(_read_results(source, place, items, actions, version) if place.is_dir()
                    and result_files(place) else None)  # fmt: skip
    known = next((run.items for run in reversed(runs) if run and run.items), items)
    if known is None:
        raise UserError(
            f"{sources[-1].path}: nothing says what its items are; fuse it with a run that has "
            "results"
        )
    return [
        run if run is not None else _read_foreign(source.path, place, known)
        for run, source, place in zip(runs, sources, places, strict=True)
    ]


def run_of_results(name: str, results: Results, items: EvaluationSet) -> ScoredRun:
    """Scores of all spaces from stored results, verbs and nouns marginalised.

    Raises:
        UserError: Results that do not belong to the items.
    """
    chosen, notes = items_of(results, items)
    scores = space_scores(results.logits, items.mappings)
    heads = tuple(results.logits)
    return ScoredRun(name, chosen.uids, scores, items, heads, [*results.notes, *notes])


def bare_items(
    results: Results, actions: str | Path | None, version: float | None
) -> EvaluationSet:
    """Items as far as a results folder alone tells them: uids and stored targets.

    Args:
        results: With targets.
        actions: RULSTM's ``actions.csv`` (columns id, verb, noun), for verbs and nouns.
        version: Of the data set.

    Raises:
        UserError: A file without uids, or a list of actions that cannot be read.
    """
    number = int(results.idx[-1]) + 1
    columns: dict[str, Any] = {}
    if len(results.uid):
        uid = np.array([""] * number, dtype=object)
        uid[results.idx] = [str(value) for value in results.uid.tolist()]
        columns["uid"] = uid
    labels = dict(results.targets)
    classes: dict[str, dict[str, int]] = {}
    mappings: dict[tuple[str, str], np.ndarray] = {}
    if actions is not None:
        listed = read_action_list(actions)
        classes = {"action": dict(listed.names["action"])}
        mappings = {key: np.asarray(matrix) for key, matrix in listed.mappings().items()}
    items = EvaluationSet(pd.DataFrame(), classes, mappings, version, where=str(results.where))
    if "action" in labels:
        for (space, _), _matrix in mappings.items():
            part = items.parts(space)
            assert part is not None
            known = (labels["action"] >= 0) & (labels["action"] < len(part))
            own = np.full(len(known), -1)
            own[known] = part[labels["action"][known]]
            labels.setdefault(space, own)
    for space, values in labels.items():
        column = np.full(number, -1, dtype=np.int64)
        column[results.idx] = values
        columns[f"{space}_class"] = column
    items.table = pd.DataFrame(columns, index=range(number))
    return items


def read_action_list(path: str | Path) -> Classes:
    """Classes of RULSTM's ``actions.csv``: names of the actions, and their verbs and nouns.

    Raises:
        UserError: Not such a file.
    """
    names, pairs = read_actions(path)
    verbs, nouns = zip(*pairs, strict=True)
    return Classes({"action": names}, pairs, {"verb": max(verbs) + 1, "noun": max(nouns) + 1})


def _read_results(
    source: Source,
    place: Path,
    items: EvaluationSet | None,
    actions: str | Path | None,
    version: float | None,
) -> ScoredRun:
    results = read_results(place)
    name = str(source.path)
    if (place / CLASSES).exists():
        return run_of_results(name, results, read_evaluation_set(place))
    if items is None:
        items = bare_items(results, actions, version)
        if actions is None and "action" in results.logits:
            note = (
                f"{name}: verbs and nouns are left out; give --actions FILE (RULSTM's actions.csv)"
            )
            results = replace(results, notes=[*results.notes, note])
    return run_of_results(name, results, items)


def _read_foreign(path: Path, place: Path, items: EvaluationSet) -> ScoredRun:
    if place.suffix in (".pkl", ".pickle"):
        return _read_pickle(path, place, items)
    return _read_challenge(path, place, items)


# -- challenge files ----------------------------------------------------------------------------


def _challenge_files(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.glob("*.json")) if b'"results"' in file.read_bytes()]


def _read_challenge(path: Path, place: Path, items: EvaluationSet) -> ScoredRun:
    """Scores of submissions; what is not listed in them (beyond the 100 best actions) is 0."""
    entries: dict[str, Any] = {}
    for where, content in _challenge_contents(place):
        results = content.get("results") if isinstance(content, Mapping) else None
        if not isinstance(results, Mapping):
            raise UserError(f"{where}: no 'results' in it, so it is not a challenge file")
        entries.update(results)
    sizes = _sizes(items, str(place))
    pairs = _action_of_pair(items)
    uid_of = dict(zip(items.submission_ids, items.uids, strict=True))
    kept = {uid_of.get(str(name), str(name)): value for name, value in entries.items()}
    scores = {space: np.zeros((len(kept), size)) for space, size in sizes.items()}
    unknown = 0
    for row, (uid, entry) in enumerate(kept.items()):
        try:
            for space in ("verb", "noun"):
                for code, score in entry[space].items():
                    scores[space][row, int(code)] = float(score)
            for pair, score in entry["action"].items():
                verb, noun = map(int, pair.split(","))
                action = pairs.get((verb, noun))
                if action is None:
                    unknown += 1
                else:
                    scores["action"][row, action] = float(score)
        except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
            raise UserError(f"{place}: the scores of {uid!r} are damaged ({error})") from error
    notes = [f"{path}: {unknown} scores of actions that are not in the list"] * bool(unknown)
    return ScoredRun(str(path), list(kept), scores, items=None, heads=SPACES, notes=notes)


def _challenge_contents(place: Path) -> list[tuple[str, Any]]:
    try:
        if place.suffix == ".zip":
            with zipfile.ZipFile(place) as archive:
                return [
                    (f"{place}, {name}", json.loads(archive.read(name)))
                    for name in archive.namelist()
                    if name.endswith(".json")
                ]
        files = _challenge_files(place) if place.is_dir() else [place]
        return [(str(file), json.loads(file.read_text(encoding="utf-8"))) for file in files]
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{place}: damaged, or not a challenge file ({error})") from error


def _sizes(items: EvaluationSet, where: str) -> dict[str, int]:
    sizes = {}
    for part in ("verb", "noun"):
        matrix = items.mappings.get((part, "action"))
        if matrix is None:
            raise UserError(f"{where}: the verbs and nouns of the actions are not known")
        sizes["action"], sizes[part] = np.shape(matrix)
    return {space: sizes[space] for space in SPACES}


def _action_of_pair(items: EvaluationSet) -> dict[tuple[int, int], int]:
    verbs, nouns = items.parts("verb"), items.parts("noun")
    assert verbs is not None
    assert nouns is not None
    pairs = zip(verbs.tolist(), nouns.tolist(), strict=True)
    return {pair: action for action, pair in enumerate(pairs)}


# -- pickles ------------------------------------------------------------------------------------


def _read_pickle(path: Path, place: Path, items: EvaluationSet) -> ScoredRun:
    """``{verb,noun,action}_scores``, each uid -> vector or an array in the order of the items."""
    try:
        with existing_file(place, "pickle of scores").open("rb") as handle:
            content = load_pickle(handle)
    except ForbiddenGlobalError as error:
        raise UserError(
            f"{place}: refused, it asks for {str(error)!r}, which is no array; nothing was run"
        ) from error
    except DamagedPickleError as error:
        raise UserError(f"{place}: damaged, or not a pickle of arrays ({error})") from error
    if not isinstance(content, Mapping):
        raise UserError(f"{place}: expected a dictionary with verb_scores, noun_scores ...")
    given = {
        space: content[key]
        for space in SPACES
        for key in (f"{space}_scores", f"{space}_output")
        if key in content
    }
    if not given:
        hint = suggest("action_scores", map(str, content))
        raise UserError(f"{place}: no 'action_scores' in it; {hint}")
    order = _order(content, items)
    uid_of = dict(zip(items.submission_ids, items.uids, strict=True)) if order is None else {}
    uids: list[str] | None = None
    scores = {}
    for space, values in given.items():
        if isinstance(values, Mapping):
            found = {uid_of.get(str(k), str(k)): np.asarray(v) for k, v in values.items()}
        else:
            found = dict(
                zip(order or items.uids, _rows(values, order or items.uids, place), strict=True)
            )
        own = list(found)
        if uids is None:
            uids = own
        elif set(uids) != set(own):
            raise UserError(f"{place}: {space} scores are of other items than the first ones")
        try:
            scores[space] = np.stack([found[uid] for uid in uids]).astype(np.float64)
        except (ValueError, TypeError) as error:
            raise UserError(f"{place}: {space} scores differ in their length") from error
    return ScoredRun(str(path), uids or [], scores, heads=tuple(scores))


def _order(content: Mapping[Any, Any], items: EvaluationSet) -> list[str] | None:
    """Items of the rows, where the pickle names them."""
    if "uid" in content:
        return [str(value) for value in np.asarray(content["uid"]).tolist()]
    if "narration_id" in content:
        uid_of = dict(zip(items.submission_ids, items.uids, strict=True))
        names = [str(value) for value in np.asarray(content["narration_id"]).tolist()]
        return [uid_of.get(name, name) for name in names]
    return None


def _rows(values: Any, order: Sequence[str], place: Path) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 2 or len(array) != len(order):
        raise UserError(
            f"{place}: scores {array.shape} for {len(order)} items; expected (items, classes)"
        )
    return array
