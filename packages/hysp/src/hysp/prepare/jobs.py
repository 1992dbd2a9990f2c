"""Many raw files to rows of arrays: in parallel, resumable after a kill, with a progress bar.

While it works, the output folder holds ``.prepare/``: the arrays (all samples, mapped), the plan
(which files, with which settings) and a journal with a line per finished file. A row is written
before its line in the journal, so that what the journal names is there after a kill.

Letters: N samples.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path

WORK = ".prepare"
_FILES_AT_ONCE = 32
_PLAN, _JOURNAL = "plan.json", "journal.jsonl"


class Job(NamedTuple):
    """One raw file.

    Attributes:
        file: Its path.
        names: Names of the samples in it, in the order of their rows.
        extra: What its reader needs besides; plain values.
    """

    file: str
    names: tuple[str, ...]
    extra: Mapping[str, Any] = {}


class Result(NamedTuple):
    """What became of the samples of one file.

    Attributes:
        arrays: Name of the array -> rows of the samples (n, ...).
        notes: A dictionary per sample: ``frames``, ``persons``, ...; ``reason`` if it is dropped.
        damaged: Why the file cannot be read, or None.
    """

    arrays: dict[str, np.ndarray]
    notes: list[dict[str, Any]]
    damaged: str | None = None


Worker = Callable[[Sequence[Job]], list[Result]]
"""Reads some files; must be picklable (a function, or a dataclass with ``__call__``)."""


@dataclass(frozen=True)
class Outcome:
    """All files read.

    Attributes:
        folder: Where the arrays are.
        notes: A dictionary per sample, in the order of the rows.
        damaged: Message of each file that could not be read.
    """

    folder: Path
    notes: list[dict[str, Any]]
    damaged: list[str]

    def array(self, name: str) -> np.ndarray:
        """An array of all samples, mapped: dropped samples have rows too."""
        return np.load(self.folder / f"{name}.npy", mmap_mode="r")

    def clean(self) -> None:
        """Remove the work folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def run(
    out: Path,
    jobs: Sequence[Job],
    worker: Worker,
    shapes: Mapping[str, tuple[int, ...]],
    *,
    settings: Mapping[str, Any],
    workers: int = 1,
    resume: bool = False,
    progress: bool = True,
) -> Outcome:
    """Read all files, or those that are left.

    Args:
        out: Output folder.
        jobs: The files; their samples are the rows of the arrays, in this order.
        worker: Reads some of them.
        shapes: Name -> shape of a sample's row, of every array.
        settings: What the arrays depend on: a resume needs the same.
        workers: Processes.
        resume: Go on where an interrupted run stopped.
        progress: Show a bar.

    Raises:
        UserError: An interrupted run is there and ``resume`` is off, or it was another one.
    """
    folder = out / WORK
    first = np.cumsum([0, *(len(job.names) for job in jobs)])
    plan = _plan(jobs, shapes, settings)
    notes: list[dict[str, Any]] = [{} for _ in range(first[-1])]
    done = _start(folder, plan, resume)
    arrays = _arrays(folder, shapes, int(first[-1]))
    for number, kept in done.items():
        notes[first[number] : first[number + 1]] = kept
    todo = [number for number in range(len(jobs)) if number not in done]
    damaged: list[str] = []
    with (
        (folder / _JOURNAL).open("a", encoding="utf-8") as journal,
        _bar(jobs, todo, progress) as bar,
    ):
        for number, result in _results(jobs, todo, worker, workers):
            bar.update()
            if result.damaged is not None:
                damaged.append(result.damaged)
                for note in notes[first[number] : first[number + 1]]:
                    note["reason"] = "damaged file"
                continue
            rows = slice(first[number], first[number + 1])
            for name, values in result.arrays.items():
                arrays[name][rows] = values
            notes[rows] = result.notes
            journal.write(json.dumps([number, result.notes]) + "\n")
            journal.flush()
    for array in arrays.values():
        array.flush()
    return Outcome(folder, notes, damaged)


def processes(wanted: int | None) -> int:
    """Number of processes: as wanted, else one per core that this process may use.

    Raises:
        UserError: Less than one.
    """
    if wanted is not None and wanted < 1:
        raise UserError(f"--workers {wanted}: at least 1")
    if wanted is not None:
        return wanted
    cores = getattr(os, "sched_getaffinity", None)
    return len(cores(0)) if cores else os.cpu_count() or 1


def _results(
    jobs: Sequence[Job], todo: Sequence[int], worker: Worker, workers: int
) -> Iterator[tuple[int, Result]]:
    groups = [todo[at : at + _FILES_AT_ONCE] for at in range(0, len(todo), _FILES_AT_ONCE)]
    if workers == 1 or len(groups) == 1:
        for group in groups:
            yield from zip(group, worker([jobs[number] for number in group]), strict=True)
        return
    with ProcessPoolExecutor(workers, initializer=_ignore_interrupts) as pool:
        waiting: deque[tuple[Sequence[int], Future[list[Result]]]] = deque()
        upcoming = iter(groups)
        try:
            while True:
                # No more groups in flight than are worked on soon: results wait in memory.
                while len(waiting) < 2 * workers and (group := next(upcoming, None)) is not None:
                    waiting.append((group, pool.submit(worker, [jobs[n] for n in group])))
                if not waiting:
                    return
                group, future = waiting.popleft()
                yield from zip(group, future.result(), strict=True)
        finally:
            for _, future in waiting:
                future.cancel()


def _start(folder: Path, plan: str, resume: bool) -> dict[int, list[dict[str, Any]]]:
    """Notes of the files that are done, by their number; the folder is ready then."""
    there = (folder / _PLAN).is_file()
    if there and not resume:
        raise UserError(
            f"{folder.parent}: holds an interrupted preparation; add --resume to go on with it, or "
            f"delete {folder}"
        )
    if there:
        if (folder / _PLAN).read_text(encoding="utf-8") != plan:
            raise UserError(
                f"{folder.parent}: cannot resume, the raw files or the settings are others than "
                f"those of the interrupted preparation; delete {folder} to start again"
            )
        return _finished(folder / _JOURNAL)
    shutil.rmtree(folder, ignore_errors=True)
    with atomic_path(folder / _PLAN) as temporary:
        temporary.write_text(plan, encoding="utf-8")
    return {}


def _arrays(folder: Path, shapes: Mapping[str, tuple[int, ...]], rows: int) -> dict[str, np.memmap]:
    arrays = {}
    for name, shape in shapes.items():
        path = folder / f"{name}.npy"
        mode = "r+" if path.is_file() else "w+"
        arrays[name] = np.lib.format.open_memmap(path, mode, np.float32, (rows, *shape))
    return arrays


def _finished(journal: Path) -> dict[int, list[dict[str, Any]]]:
    """Lines of the journal; the last one may be cut off by the kill."""
    done: dict[int, list[dict[str, Any]]] = {}
    if not journal.is_file():
        return done
    whole = b""
    for line in journal.read_bytes().splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        number, notes = json.loads(line)
        done[number] = notes
        whole += line
    journal.write_bytes(whole)
    return done


def _plan(
    jobs: Sequence[Job], shapes: Mapping[str, tuple[int, ...]], settings: Mapping[str, Any]
) -> str:
    digest = hashlib.sha256()
    for job in jobs:
        digest.update(json.dumps([Path(job.file).name, job.names, dict(job.extra)]).encode())
    named = {name: list(shape) for name, shape in shapes.items()}
    return json.dumps({"files": digest.hexdigest(), "arrays": named, "settings": dict(settings)})


def _bar(jobs: Sequence[Job], todo: Sequence[int], progress: bool) -> Any:
    from tqdm import tqdm

    done = len(jobs) - len(todo)
    return tqdm(total=len(jobs), initial=done, unit="file", disable=not progress)


def _ignore_interrupts() -> None:
    """Ctrl-C reaches every process of the terminal; the parent alone ends the work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
