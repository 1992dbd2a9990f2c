"""``hysp prepare pkummd``: the raw text of PKU-MMD I and II, one sample per labelled action."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from behaviorzoo.errors import UserError, suggest
from hysp.data import pkummd
from hysp.data.ntu import read_sample_list
from hysp.data.skeleton_files import Compat
from hysp.prepare.jobs import Job
from hysp.prepare.ntu import LISTED
from hysp.prepare.raw import RawSource, prepare_raw
from hysp.prepare.summary import Summary

SKELETON_FOLDERS = ("skeleton", "Skeleton", "PKU_Skeleton_Renew", "Data/PKU_Skeleton_Renew")
LABEL_FOLDERS = ("label", "Label", "Train_Label_PKU_final", "Label/Train_Label_PKU_final")
SPLIT_FOLDERS = ("", "Split", "split")


def prepare_pkummd(
    raw: str | Path,
    out: str | Path,
    *,
    benchmarks: Collection[str] = (),
    missing: str | Path | None = None,
    compat: Compat = "paper",
    **options: Any,
) -> Summary:
    """Make clips of raw PKU-MMD files.

    Args:
        raw: Folder with ``skeleton/``, ``label/`` and the split files (or as published).
        out: Output folder.
        benchmarks: ``xsub``, ``xview``; empty = those whose split file is there.
        missing: File with the names of samples to leave out.
        compat: ``upstream``: every recording that is not in the training list is validation;
            ``paper``: one in neither list is on neither side. See also
            :func:`hysp.data.pkummd.cut`.
        **options: Of :func:`hysp.prepare.raw.prepare_raw`.

    Raises:
        UserError: A folder or split file is absent, a name is not of the data set, a damaged file.
    """
    source = pkummd_source(raw, benchmarks, missing, compat)
    return prepare_raw(source, out, compat=compat, **options)


def pkummd_source(
    raw: str | Path,
    benchmarks: Collection[str] = (),
    missing: str | Path | None = None,
    compat: Compat = "paper",
) -> RawSource:
    """The recordings of a folder, samples in the order of their names."""
    raw = Path(raw).expanduser()
    skeletons = _found(raw, SKELETON_FOLDERS, "folder with the skeleton files")
    label_folder = _found(raw, LABEL_FOLDERS, "folder with the label files")
    splits = _splits(raw, benchmarks)
    listed = frozenset() if missing is None else read_sample_list(missing, compat)
    recordings = sorted(skeletons.glob("*.txt"), key=lambda file: pkummd.sample_prefix(file.stem))
    if not recordings:
        raise UserError(f"{skeletons}: no skeleton file (*.txt) in this folder")
    excluded: list[tuple[str, str, str]] = []
    jobs: list[Job] = []
    for file in recordings:
        labels = label_folder / file.name
        actions = pkummd.read_actions(labels)
        excluded += [(a.name, LISTED, str(labels)) for a in actions if a.name in listed]
        kept = sorted(a for a in actions if a.name not in listed)
        if kept:
            names = tuple(action.name for action in kept)
            jobs.append(Job(str(file), names, {"labels": str(labels)}))
    names = [name for job in jobs for name in job.names]
    most = max((pkummd.action_of(name) for name in names), default=1)
    classes = [f"C{action:03d}" for action in range(1, max(most, pkummd.CLASSES) + 1)]
    return RawSource(
        name="pkummd",
        jobs=jobs,
        table=_table(names, classes, splits, compat),
        excluded=excluded,
        classes=classes,
        benchmarks=tuple(splits),
        read=read_job,
        settings={"benchmarks": list(splits)},
    )


def read_job(job: Job, compat: Compat) -> list[np.ndarray]:
    """The samples (C, F, V, M) of a recording, in the order of the job's names."""
    frames = pkummd.read_recording(job.file)
    labels = job.extra["labels"]
    actions = {action.name: action for action in pkummd.read_actions(labels)}
    return [pkummd.cut(frames, actions[name], labels, compat) for name in job.names]


def _table(
    names: Sequence[str],
    classes: Sequence[str],
    splits: dict[str, pkummd.Split],
    compat: Compat,
) -> pd.DataFrame:
    recordings = [pkummd.recording_of(name) for name in names]
    table = pd.DataFrame(
        {
            "name": list(names),
            "group": recordings,
            "action": [classes[pkummd.action_of(name) - 1] for name in names],
        }
    )
    for benchmark, split in splits.items():
        table[benchmark] = [pkummd.side_of(recording, split, compat) for recording in recordings]
    return table


def _splits(raw: Path, benchmarks: Collection[str]) -> dict[str, pkummd.Split]:
    found: dict[str, pkummd.Split] = {}
    for benchmark in benchmarks or pkummd.BENCHMARKS:
        if benchmark not in pkummd.SPLIT_FILES:
            hint = suggest(benchmark, pkummd.BENCHMARKS)
            raise UserError(f"--benchmark {benchmark}: {hint}")
        names = pkummd.SPLIT_FILES[benchmark]
        files = [raw / folder / name for folder in SPLIT_FOLDERS for name in names]
        file = next((file for file in files if file.is_file()), None)
        if file is not None:
            found[benchmark] = pkummd.read_split(file)
        elif benchmarks:
            raise UserError(f"{raw}: no split file {names[0]} in it, needed for {benchmark}")
    if not found:
        names = [names[0] for names in pkummd.SPLIT_FILES.values()]
        raise UserError(f"{raw}: no split file ({' or '.join(names)}) in it")
    return found


def _found(raw: Path, names: Sequence[str], what: str) -> Path:
    for name in names:
        if (raw / name).is_dir():
            return raw / name
    raise UserError(f"{raw}: no {what}; looked for {', '.join(names)}")
