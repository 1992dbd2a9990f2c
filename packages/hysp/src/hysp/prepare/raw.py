"""What NTU RGB+D and PKU-MMD have in common: raw files to clips, tables, and a summary.

Letters: N samples, C coordinates, F raw frames, T frames of a clip, V joints, M persons.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path
from hysp.data.arrays import write_label_file
from hysp.data.frames50 import FRAMES, LONGEST, clips_of, motion_clips, padded
from hysp.data.persons import PERSONS, present_frames
from hysp.data.prepared import (
    CLIPS,
    DROPPED,
    DROPPED_COLUMNS,
    SAMPLES,
    Description,
    refuse_existing,
    write_description,
    write_table,
)
from hysp.data.skeleton import named_skeleton
from hysp.data.skeleton_files import JOINTS, SUFFIX, Compat
from hysp.prepare.jobs import Job, Outcome, Result, processes, run
from hysp.prepare.summary import Summary

Layout = Literal["ours", "authors"]
_ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class RawSource:
    """A data set's raw files, before any of them is read.

    Attributes:
        name: ``ntu`` or ``pkummd``.
        jobs: The files.
        table: A row per sample, in the order of the jobs: name, group, ``action`` (name of the
            class), the benchmarks, and what else there is.
        excluded: Samples left out beforehand: name, reason, file.
        classes: Names of the actions in the order of their labels.
        benchmarks: Columns of the table.
        read: Reads the samples (C, F, V, M) of a file; a function of a module.
        settings: What the clips depend on besides ``compat``.
    """

    name: str
    jobs: Sequence[Job]
    table: pd.DataFrame
    excluded: Sequence[tuple[str, str, str]]
    classes: Sequence[str]
    benchmarks: Sequence[str]
    read: Callable[[Job, Compat], list[np.ndarray]]
    settings: Mapping[str, Any]


def prepare_raw(
    source: RawSource,
    out: str | Path,
    *,
    compat: Compat = "paper",
    layout: Layout = "ours",
    workers: int | None = None,
    resume: bool = False,
    skip_damaged: bool = False,
    progress: bool = True,
) -> Summary:
    """Make the clips of all raw files and write them.

    Args:
        source: The files.
        out: Output folder.
        compat: See :func:`hysp.data.frames50.clips_of` and :func:`hysp.data.persons.persons`.
        layout: ``ours``: one prepared folder for all benchmarks; ``authors``: a folder per
            benchmark with the original's files (raw frames, positions, motion, labels).
        workers: Processes; None = one per core.
        resume: Go on with an interrupted preparation.
        skip_damaged: Leave out files that cannot be read, and report them, instead of stopping
            at the end.
        progress: Show a bar.

    Raises:
        UserError: ``out`` is in use, no sample is left, or files are damaged (all others are
            done then, and kept for a resume).
    """
    out = Path(out).expanduser()
    refuse_existing(out)
    if layout == "authors" and compat != "upstream":
        raise UserError(
            "--layout authors holds what the authors' code makes: add --compat upstream"
        )
    if not source.jobs:
        raise UserError(f"no sample is left of {len(source.excluded)}; all are on the list")
    outcome = run(
        out,
        source.jobs,
        RawWorker(source.read, compat, layout),
        _shapes(layout),
        settings={"compat": compat, **source.settings},
        workers=processes(workers),
        resume=resume,
        progress=progress,
    )
    if outcome.damaged and not skip_damaged:
        raise UserError(_damaged(outcome.damaged, len(source.jobs)))
    table = source.table.assign(
        frames=[note.get("frames", 0) for note in outcome.notes],
        persons=[note.get("persons", 0) for note in outcome.notes],
    )
    reasons = [note.get("reason") for note in outcome.notes]
    kept = np.flatnonzero([reason is None for reason in reasons])
    if not len(kept):
        raise UserError(f"no sample is left: {reasons[0]} ({source.table['name'].iloc[0]})")
    dropped = _dropped(source, reasons)
    write = _write_ours if layout == "ours" else _write_authors
    write(source, outcome, table, kept, out, compat)
    write_table(dropped, out / DROPPED)
    outcome.clean()
    return Summary(out, table.iloc[kept], dropped, tuple(source.benchmarks))


@dataclass(frozen=True)
class RawWorker:
    """Reads files and makes their clips; one of it works in every process.

    Attributes:
        read: See :class:`RawSource`.
        compat: Whom to follow.
        layout: Which arrays to make.
    """

    read: Callable[[Job, Compat], list[np.ndarray]]
    compat: Compat
    layout: Layout

    def __call__(self, jobs: Sequence[Job]) -> list[Result]:
        """Results in the order of the jobs."""
        read: list[list[np.ndarray] | str] = [self._samples(job) for job in jobs]
        samples = [sample for one in read if not isinstance(one, str) for sample in one]
        arrays, notes = self._made(samples) if samples else ({}, [])
        results, at = [], 0
        for one in read:
            if isinstance(one, str):
                results.append(Result({}, [], one))
                continue
            rows = slice(at, at + len(one))
            results.append(Result({name: a[rows] for name, a in arrays.items()}, notes[rows]))
            at += len(one)
        return results

    def _samples(self, job: Job) -> list[np.ndarray] | str:
        try:
            return self.read(job, self.compat)
        except UserError as error:
            return str(error)

    def _made(
        self, samples: list[np.ndarray]
    ) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
        clips, empty = clips_of(samples, self.compat)
        notes = []
        for sample, reason in zip(samples, empty, strict=True):
            there = present_frames(sample).any(axis=0)
            note = {"frames": sample.shape[1], "persons": int(there.sum())}
            notes.append(note if reason is None else note | {"reason": reason})
        if self.layout == "ours":
            return {"clips": clips}, notes
        data = np.zeros((len(samples), 3, LONGEST, JOINTS, PERSONS), dtype=np.float32)
        raw, _ = padded(samples)
        data[:, :, : raw.shape[2]] = raw
        full = [reason is None for reason in empty]
        motion = np.zeros_like(clips)
        if any(full):
            motion[full] = motion_clips(data[full])
        return {"data": data, "position": clips, "motion": motion}, notes


def _shapes(layout: Layout) -> dict[str, tuple[int, ...]]:
    clip = (3, FRAMES, JOINTS, PERSONS)
    if layout == "ours":
        return {"clips": clip}
    return {"data": (3, LONGEST, JOINTS, PERSONS), "position": clip, "motion": clip}


def _write_ours(
    source: RawSource,
    outcome: Outcome,
    table: pd.DataFrame,
    kept: np.ndarray,
    out: Path,
    compat: Compat,
) -> None:
    if len(kept) == len(table):
        os.replace(outcome.folder / CLIPS, out / CLIPS)
    else:
        _copy_rows(outcome.array("clips"), kept, out / CLIPS)
    write_table(table.iloc[kept], out / SAMPLES)
    description = Description(
        source=source.name,
        skeleton=named_skeleton("ntu-rgb+d"),
        tasks={"action": list(source.classes)},
        benchmarks=list(source.benchmarks),
        settings={"compat": compat, **source.settings},
    )
    write_description(out, description)


def _write_authors(
    source: RawSource,
    outcome: Outcome,
    table: pd.DataFrame,
    kept: np.ndarray,
    out: Path,
    compat: Compat,
) -> None:
    """``{benchmark}/{part}_data.npy`` and what belongs to it."""
    usable = np.zeros(len(table), dtype=bool)
    usable[kept] = True
    labels = pd.Index(source.classes).get_indexer(table["action"].to_numpy())
    for benchmark in source.benchmarks:
        for part in ("train", "val"):
            rows = np.flatnonzero(usable & (table[benchmark] == part).to_numpy())
            folder = out / benchmark
            for name in _shapes("authors"):
                _copy_rows(outcome.array(name), rows, folder / f"{part}_{name}.npy")
            names = [f"{name}{SUFFIX}" for name in table["name"].iloc[rows]]
            write_label_file(folder / f"{part}_label.pkl", names, labels[rows].tolist())
            shifted = labels[rows] - labels[rows].min(initial=len(source.classes))
            with atomic_path(folder / f"{part}_label.npy") as temporary:
                np.save(temporary, shifted.astype(np.int64)[:, None])


def _copy_rows(array: np.ndarray, rows: np.ndarray, path: Path) -> None:
    """Chosen rows of a mapped array as a file, without all of them in memory."""
    with atomic_path(path) as temporary:
        shape = (len(rows), *array.shape[1:])
        if not len(rows):  # nothing can be mapped
            np.save(temporary, np.zeros(shape, array.dtype))
            return
        copy = np.lib.format.open_memmap(temporary, "w+", array.dtype, shape)
        for at, some in _chunks(rows):
            copy[at : at + len(some)] = array[some]
        copy.flush()


def _chunks(rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for at in range(0, len(rows), _ROWS_AT_ONCE):
        yield at, rows[at : at + _ROWS_AT_ONCE]


def _dropped(source: RawSource, reasons: Sequence[str | None]) -> pd.DataFrame:
    files = [job.file for job in source.jobs for _ in job.names]
    late = [
        (name, reason, file)
        for name, reason, file in zip(source.table["name"], reasons, files, strict=True)
        if reason is not None
    ]
    return pd.DataFrame([*source.excluded, *late], columns=list(DROPPED_COLUMNS))


def _damaged(messages: Sequence[str], files: int) -> str:
    more = f" ({len(messages) - 1} more like it)" if len(messages) > 1 else ""
    return (
        f"{len(messages)} of {files} files cannot be read: {messages[0]}{more}; all others are "
        "done. Repair these files and add --resume, or leave them out with --resume --skip-damaged"
    )
