"""``hysp prepare ntu``: the raw ``.skeleton`` files of NTU RGB+D 60 and 120."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from behaviorzoo.errors import UserError, suggest
from hysp.data.frames50 import LONGEST
from hysp.data.ntu import (
    BENCHMARKS,
    SCHEME,
    action_names,
    missing_skeletons,
    parse_name,
    read_sample_list,
    split_of,
)
from hysp.data.persons import persons
from hysp.data.skeleton_files import SUFFIX, Compat, read_skeleton
from hysp.prepare.jobs import Job
from hysp.prepare.raw import RawSource, prepare_raw
from hysp.prepare.summary import Summary

LISTED = "on the list of missing or incomplete skeletons"


def prepare_ntu(
    raw: str | Path,
    out: str | Path,
    *,
    benchmarks: Collection[str] = (),
    classes: int | None = None,
    missing: str | Path | None = None,
    compat: Compat = "paper",
    **options: Any,
) -> Summary:
    """Make clips of raw NTU RGB+D files.

    Args:
        raw: Folder with ``.skeleton`` files (also in folders below).
        out: Output folder.
        benchmarks: ``xsub``, ``xview``, ``xset``; empty = those of the data set: xsub and xview of
            NTU-60, xsub and xset of NTU-120.
        classes: 60 leaves out the actions that NTU-120 added; None = all there are.
        missing: File with the names of samples to leave out instead of the list that the
            authors of the data set publish.
        compat: See :func:`hysp.prepare.raw.prepare_raw`.
        **options: Of :func:`hysp.prepare.raw.prepare_raw`.

    Raises:
        UserError: No such folder, no raw file, a name that is not of the scheme, a damaged file.
    """
    source = ntu_source(raw, benchmarks, classes, missing, compat)
    return prepare_raw(source, out, compat=compat, **options)


def ntu_source(
    raw: str | Path,
    benchmarks: Collection[str] = (),
    classes: int | None = None,
    missing: str | Path | None = None,
    compat: Compat = "paper",
) -> RawSource:
    """The files of a folder, in the order of their names."""
    for benchmark in benchmarks:
        if benchmark not in BENCHMARKS:
            raise UserError(f"--benchmark {benchmark}: {suggest(benchmark, BENCHMARKS)}")
    files = _raw_files(Path(raw).expanduser())
    listed = missing_skeletons() if missing is None else read_sample_list(missing, compat)
    excluded: list[tuple[str, str, str]] = []
    chosen: dict[str, Path] = {}
    for name, file in files.items():
        if name in listed:
            excluded.append((name, LISTED, str(file)))
        elif classes is not None and parse_name(name).action > classes:
            excluded.append((name, f"action beyond {classes}", str(file)))
        else:
            chosen[name] = file
    actions = action_names(chosen)
    benchmarks = tuple(benchmarks) or BENCHMARKS[:: 1 if len(actions) <= 60 else 2][:2]
    return RawSource(
        name="ntu",
        jobs=[Job(str(file), (name,)) for name, file in chosen.items()],
        table=_table(list(chosen), actions, benchmarks),
        excluded=excluded,
        classes=actions,
        benchmarks=benchmarks,
        read=read_job,
        settings={"benchmarks": list(benchmarks), "classes": len(actions)},
    )


def read_job(job: Job, compat: Compat) -> list[np.ndarray]:
    """The one sample (C, F, V, M) of a file."""
    bodies = read_skeleton(job.file, compat=compat)
    if compat == "upstream" and bodies.n_frames > LONGEST:
        raise UserError(
            f"{job.file}: {bodies.n_frames} frames, the original's arrays hold {LONGEST}"
        )
    return [persons(bodies, compat)]


def _table(names: list[str], actions: list[str], benchmarks: Collection[str]) -> pd.DataFrame:
    parsed = [parse_name(name) for name in names]
    table = pd.DataFrame(
        {
            "name": names,
            "group": [f"P{numbers.subject:03d}" for numbers in parsed],
            "action": [actions[numbers.action - 1] for numbers in parsed],
        }
    )
    for benchmark in benchmarks:
        table[benchmark] = [split_of(name, benchmark) for name in names]
    for key in ("setup", "camera", "subject", "replication"):
        table[key] = [getattr(numbers, key) for numbers in parsed]
    return table


def _raw_files(folder: Path) -> dict[str, Path]:
    """Name -> file, sorted by name."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; --raw is the folder with the .skeleton files")
    found: dict[str, Path] = {}
    for file in sorted(folder.rglob(f"*{SUFFIX}"), key=lambda path: path.name):
        parse_name(file.name)
        other = found.setdefault(file.stem, file)
        if other != file:
            raise UserError(f"{file} and {other} have one name; keep one of them")
    if not found:
        raise UserError(f"{folder}: no raw file {SCHEME} in this folder or below")
    return found
