"""NTU RGB+D 60 and 120: names of the samples, benchmarks, and the samples to leave out.

A name is ``SsssCcccPpppRrrrAaaa``: setup, camera, subject (performer), replication, action, three
digits each, counted from 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.files import existing_file
from hysp.data.skeleton_files import Compat

SCHEME = "SsssCcccPpppRrrrAaaa.skeleton"
BENCHMARKS = ("xsub", "xview", "xset")
CLASSES_60 = 60
CLASSES = 120

# fmt: off
TRAIN_SUBJECTS = frozenset({
    1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38,
    45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82, 83, 84, 85, 86,
    89, 91, 92, 93, 94, 95, 97, 98, 100, 103,
})
# fmt: on
"""Benchmark xsub. The first row is NTU-60's; NTU-120 adds subjects and moves none of the first 40,
so that one set serves both."""
TRAIN_CAMERAS = frozenset({2, 3})

_NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})(?:\.skeleton)?")


class NtuName(NamedTuple):
    """What the name of a sample tells; all counted from 1."""

    setup: int
    camera: int
    subject: int
    replication: int
    action: int


def parse_name(name: str) -> NtuName:
    """Numbers of a sample's or file's name.

    Raises:
        UserError: Not a name of the scheme.
    """
    match = _NAME.fullmatch(Path(name).name)
    if match is None:
        raise UserError(
            f"{name}: not a name of NTU RGB+D, expected {SCHEME} with three digits each, such as "
            "S001C002P003R002A013.skeleton; move other files out of the folder"
        )
    return NtuName(*map(int, match.groups()))


def split_of(name: str, benchmark: str) -> str:
    """``train`` or ``val``: the side of a benchmark a sample is on.

    Args:
        name: Name of the sample.
        benchmark: ``xsub`` (other subjects), ``xview`` (cameras 2 and 3 train; NTU-60 only) or
            ``xset`` (even setups train; NTU-120 only).

    Raises:
        UserError: Not a name of the scheme, or no such benchmark.
    """
    parsed = parse_name(name)
    train = {
        "xsub": parsed.subject in TRAIN_SUBJECTS,
        "xview": parsed.camera in TRAIN_CAMERAS,
        "xset": parsed.setup % 2 == 0,
    }
    if benchmark not in train:
        raise UserError(f"benchmark {benchmark!r} is unknown; {suggest(benchmark, BENCHMARKS)}")
    return "train" if train[benchmark] else "val"


@cache
def missing_skeletons() -> frozenset[str]:
    """Names of the samples whose skeletons are missing or incomplete.

    The list is that of the data set's authors: 302 samples of NTU-60 (actions to 60) and 233 more
    of NTU-120.
    """
    text = files("hysp.data").joinpath("ntu_missing_skeletons.txt").read_text(encoding="ascii")
    return frozenset(text.split())


def read_sample_list(path: str | Path, compat: Compat = "paper") -> frozenset[str]:
    """Sample names of a text file, one a line; lines of prose are passed over.

    Args:
        path: The file. A name is one word of capital letters, each with its digits
            (``S001C002P005R002A008``, ``F003V003C018L002``), with or without ``.skeleton``.
        compat: ``paper`` takes a file without a name for the wrong file; to ``upstream`` it is a
            list of nothing, as to the original's scripts.

    Raises:
        UserError: No such file, or (``paper``) no name in it.
    """
    path = Path(path).expanduser()
    if compat == "upstream" and path.is_file() and not path.stat().st_size:
        return frozenset()
    path = existing_file(path, "list of samples")
    words = (line.strip().removesuffix(".skeleton") for line in _text(path).splitlines())
    names = frozenset(word for word in words if re.fullmatch(r"(?:[A-Z]\d{2,4}){2,}", word))
    if not names and compat == "paper":
        raise UserError(
            f"{path}: no sample name in this file; expected one a line, or leave the option out"
        )
    return names


def action_names(names: Iterable[str]) -> list[str]:
    """Names of the classes that label 0, 1, ... stand for: A001, A002, ... (60 or 120)."""
    most = max((parse_name(name).action for name in names), default=1)
    return [f"A{action:03d}" for action in range(1, _classes(most) + 1)]


def _classes(most: int) -> int:
    return next((n for n in (CLASSES_60, CLASSES) if most <= n), most)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file ({error.reason})") from error
