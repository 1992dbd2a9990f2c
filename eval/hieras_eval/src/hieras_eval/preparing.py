"""Make a metadata folder from a checkout of a benchmark's evaluator.

The files are found by what they hold, wherever they lie, and told apart by the numbers of clips
of the published release. Nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path
from behaviorzoo.mabe import frame_ranges, load_dictionary
from hieras_eval.benchmarks import rules
from hieras_eval.definitions.rules import Rules
from hieras_eval.metadata import (
    CLIPS_FILE,
    SPLIT_FILE,
    SPLIT_KEYS,
    TASKS_FILE,
    read_json,
    read_metadata,
)

Ranges: TypeAlias = dict[str, tuple[int, int]]
# Embeddings and labels are larger, all that is looked for is far smaller.
_LARGEST_FILE = 64 * 2**20


def prepare(name: str, source: str | Path, out: str | Path) -> Path:
    """Gather clips, splits and tasks of a benchmark from a checkout of its evaluator.

    Args:
        name: The benchmark.
        source: Folder that is searched, with all folders in it.
        out: Metadata folder to write.

    Returns:
        ``out``.

    Raises:
        UserError: No such folder, or no files of this release in it; it says what was found. Clip
            lengths in the checkout that contradict its frame map.
    """
    known, source = rules(name), Path(source).expanduser()
    if not source.is_dir():
        raise UserError(f"{source}: no such folder; give your checkout of the benchmark")
    found = [*_dictionaries(source)]
    split = _splits(found, known, source)
    clips = _frame_map(found, known, split, source)
    contents: dict[str, Any] = {
        CLIPS_FILE: {clip: list(rows) for clip, rows in clips.items()},
        SPLIT_FILE: {key: split[key] for key in SPLIT_KEYS},
    }
    tasks = _tasks(found, known)
    if tasks is not None:
        contents[TASKS_FILE] = tasks
    out = Path(out)
    for file, content in contents.items():
        with atomic_path(out / file) as temporary:
            temporary.write_text(json.dumps(content) + "\n")
    read_metadata(out)
    return out


def _dictionaries(source: Path) -> Iterator[tuple[Path, dict[Any, Any]]]:
    """All json and npy dictionaries below a folder that can be read, in the order of paths."""
    paths = []
    for folder, folders, files in os.walk(source):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths += [Path(folder, name) for name in sorted(files)]
    for path in paths:
        if path.suffix not in (".json", ".npy") or path.stat().st_size > _LARGEST_FILE:
            continue
        try:
            read = read_json if path.suffix == ".json" else load_dictionary
            contents = read(path)
        except UserError:
            continue  # some other file of the checkout
        if isinstance(contents, dict):
            yield path, contents


def _splits(
    found: list[tuple[Path, dict[Any, Any]]], known: Rules, source: Path
) -> dict[str, list[str]]:
    """The split file whose lists are as long as those of the release."""
    candidates = [
        (path, contents)
        for path, contents in found
        if all(isinstance(contents.get(key), list) for key in SPLIT_KEYS)
    ]
    wanted = list(known.sizes[1:])
    seen = []
    for path, contents in candidates:
        lengths = [len(contents[key]) for key in SPLIT_KEYS]
        if lengths == wanted:
            _check_fingerprint(path, known)
            return contents
        seen.append(f"{path.relative_to(source)} {lengths}")
    raise UserError(
        f"{source}: no split file of {known.title} (a json with {', '.join(SPLIT_KEYS)} of "
        f"{wanted} clips); {_seen('split file', seen)}"
    )


def _frame_map(
    found: list[tuple[Path, dict[Any, Any]]],
    known: Rules,
    split: dict[str, list[str]],
    source: Path,
) -> Ranges:
    """The frame map that holds all clips of the split and no others."""
    names = {str(name) for key in SPLIT_KEYS for name in split[key]}
    seen = []
    for path, contents in found:
        clips = _as_ranges(contents, path)
        if clips is None:
            continue
        if set(clips) == names and len(clips) == known.sizes.clips:
            _check_fingerprint(path, known)
            _check_lengths(clips, path, found)
            return clips
        seen.append(f"{path.relative_to(source)} ({len(clips)} clips)")
    raise UserError(
        f"{source}: no frame map of {known.title} (clip -> start and stop, the "
        f"{known.sizes.clips} clips of its split); {_seen('frame map', seen)}"
    )


def _as_ranges(contents: dict[Any, Any], path: Path) -> Ranges | None:
    """Clips and rows, if that is what a dictionary holds."""
    if not contents or not all(
        isinstance(rows, list | tuple) and len(rows) == 2 for rows in contents.values()
    ):
        return None
    try:
        return frame_ranges(contents, path)
    except UserError:
        return None


def _check_lengths(clips: Ranges, map_path: Path, found: list[tuple[Path, dict[Any, Any]]]) -> None:
    """Clip lengths of the same clips, in whatever file they stand, must be those of the map."""
    for path, lengths in found:
        if set(lengths) >= set(clips) and all(isinstance(n, int) for n in lengths.values()):
            for clip, (start, stop) in clips.items():
                if lengths[clip] != stop - start:
                    raise UserError(
                        f"{path}: clip {clip!r} has {lengths[clip]} frames, but {map_path.name} "
                        f"has the rows [{start}, {stop}); check out the files again"
                    )


def _tasks(found: list[tuple[Path, dict[Any, Any]]], known: Rules) -> dict[str, Any] | None:
    """The checkout's list of the benchmark's tasks, else the one that is known, if there is."""
    for _, contents in found:
        tasks = contents.get("task_id_list")
        if isinstance(tasks, list) and known.tasks and set(tasks) == set(known.tasks):
            return {key: contents[key] for key in ("seeds", "task_id_list", "sequence_level_tasks")}
    if known.tasks is None:
        return None
    return {
        "seeds": list(known.seeds),
        "task_id_list": list(known.tasks),
        "sequence_level_tasks": list(known.sequence_level),
    }


def _check_fingerprint(path: Path, known: Rules) -> None:
    """A file of a published name must be the published file: another split is easily overlooked.

    Raises:
        UserError: It is another one.
    """
    wanted = known.fingerprints.get(path.name)
    if wanted is None:
        return
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if not digest.startswith(wanted):
        raise UserError(
            f"{path}: SHA-256 {digest[:16]}..., that of the published file of {known.title} "
            f"begins with {wanted}; check it out again"
        )


def _seen(what: str, seen: list[str]) -> str:
    return f"found: {', '.join(seen)}" if seen else f"there is no {what} at all"
