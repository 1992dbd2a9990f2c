"""The verb ``hysp prepare``: words to functions. Nothing heavy is imported before it runs."""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from behaviorzoo import commands
from behaviorzoo.errors import UserError
from hysp.data.config import ClipConfig, DataConfig

if TYPE_CHECKING:
    from hysp.prepare.summary import Summary

SOURCES = ("ntu", "pkummd", "recordings", "bandai", "mmaction")
RAW = ("ntu", "pkummd")
ABOUT = """\
Make one folder of clips, ready for training, of what a data set publishes or a tracker writes:

  ntu         raw .skeleton files of NTU RGB+D 60 or 120
  pkummd      raw text of PKU-MMD I or II (skeleton/, label/, cross-subject.txt, cross-view.txt)
  recordings  recordings of `behaviorzoo import`, cut by a label table or into sliding windows
  bandai      motion clips of the Bandai-Namco data set in one .npz
  mmaction    pickled skeleton annotations of mmaction2 or pyskl (17 points become OpenPose's 18)

What was left out, and why, is printed and stands in dropped.csv. Settings of clips are key=value
words: data.clips.frames=64; --help-config lists them."""
EXAMPLE = """\
hysp prepare ntu --raw nturgb+d_skeletons --out data/ntu60 --workers 8
hysp prepare pkummd --raw PKUMMD --out data/pku --benchmark xsub
hysp prepare recordings --out data/mice data.path=recordings/ data.labels=labels.csv"""


@dataclass
class PrepareConfig:
    """The ``key=value`` words of the verb."""

    data: DataConfig = field(default_factory=DataConfig)


def prepare(words: list[str]) -> None:
    """Make clips of raw skeletons, recordings or motion files.

    Args:
        words: What stands behind ``hysp prepare``.

    Raises:
        UserError: Wrong options or files, see the functions of :mod:`hysp.prepare`.
    """
    given = _parser().parse_intermixed_args(words)
    if given.help_config:
        from behaviorzoo.config import describe

        print(describe(PrepareConfig))
        return
    if given.what is None or given.out is None:
        raise UserError(
            f"hysp prepare: say what to make ({', '.join(SOURCES)}) and where, --out DIR"
        )
    if given.what not in SOURCES:
        from behaviorzoo.errors import suggest

        raise UserError(f"hysp prepare {given.what}: {suggest(given.what, SOURCES)}")
    print((_raw if given.what in RAW else _clips)(given).text())


def _parser() -> commands.CommandParser:
    parser = commands.verb_parser("hysp", "prepare", ABOUT, EXAMPLE)
    add = parser.add_argument
    add("what", nargs="?", metavar="WHAT", help=", ".join(SOURCES))
    add("words", nargs="*", metavar="key=value", help="settings of clips (not ntu, pkummd)")
    add("--raw", type=Path, metavar="PATH", help="raw files: folder (ntu, pkummd) or file")
    add("--out", type=Path, metavar="DIR", help="folder to write")
    add("--help-config", action="store_true", help="list every key and leave")
    raw = parser.add_argument_group("ntu and pkummd")
    add = raw.add_argument
    add(
        "--benchmark", nargs="+", default=[], metavar="NAME", help="xsub, xview, xset (default all)"
    )
    add("--classes", type=int, metavar="N", help="ntu: 60 leaves out what NTU-120 added")
    add("--missing-list", type=Path, metavar="FILE", help="names of samples to leave out")
    add(
        "--compat",
        choices=["paper", "upstream"],
        default="paper",
        help="upstream: clips as the original's scripts make them, defects included",
    )
    add(
        "--layout",
        choices=["ours", "authors"],
        default="ours",
        help="authors: the original's npy and pkl files, a folder per benchmark",
    )
    add("--workers", type=int, metavar="N", help="processes (default: one per core)")
    add("--resume", action="store_true", help="go on with an interrupted preparation")
    add("--skip-damaged", action="store_true", help="leave out files that cannot be read")
    add("--no-progress", action="store_true", help="no progress bar")
    return parser


def _raw(given: argparse.Namespace) -> Summary:
    from hysp.prepare import prepare_ntu, prepare_pkummd

    if given.words:
        raise UserError(f"{given.words[0]}: hysp prepare {given.what} has options, no key=value")
    if given.what == "pkummd" and given.classes is not None:
        raise UserError("--classes belongs to hysp prepare ntu")
    options = {
        "benchmarks": given.benchmark,
        "missing": given.missing_list,
        "compat": given.compat,
        "layout": given.layout,
        "workers": given.workers,
        "resume": given.resume,
        "skip_damaged": given.skip_damaged,
        "progress": not given.no_progress,
    }
    if given.what == "ntu":
        return prepare_ntu(_source(given), given.out, classes=given.classes, **options)
    return prepare_pkummd(_source(given), given.out, **options)


def _clips(given: argparse.Namespace) -> Summary:
    from behaviorzoo.config import compose
    from hysp.data import bandai, mmaction
    from hysp.prepare import prepare_bandai, prepare_mmaction, prepare_recordings

    _refuse_raw_options(given)
    if given.what == "recordings":
        words = [*([f"data.path={given.raw}"] if given.raw else []), *given.words]
        config = compose(PrepareConfig, "hysp.prepare.conf", words)
        return prepare_recordings(config.data, given.out)
    make, start = {
        "bandai": (prepare_bandai, bandai.default_clips()),
        "mmaction": (prepare_mmaction, mmaction.default_clips()),
    }[given.what]
    config = compose(PrepareConfig, "hysp.prepare.conf", [*_as_words(start), *given.words])
    config.data.check()
    return make(_source(given), given.out, config.data.clips)


def _as_words(clips: ClipConfig) -> list[str]:
    """What differs from the defaults, as the user could have written it."""
    plain = dataclasses.asdict(ClipConfig())
    return [
        f"data.clips.{name}={'[' + ','.join(value) + ']' if isinstance(value, list) else value}"
        for name, value in dataclasses.asdict(clips).items()
        if value != plain[name]
    ]


def _source(given: argparse.Namespace) -> Path:
    if given.raw is None:
        raise UserError(f"hysp prepare {given.what}: where are the raw files? --raw PATH")
    return given.raw


def _refuse_raw_options(given: argparse.Namespace) -> None:
    """Options that only raw data sets have must not be passed over in silence."""
    plain = _parser().parse_args([])
    names = ("benchmark", "classes", "missing_list", "compat", "layout", "workers", "resume")
    for name in (*names, "skip_damaged"):
        if getattr(given, name) != getattr(plain, name):
            option = name.replace("_", "-")
            raise UserError(f"--{option} belongs to hysp prepare ntu or pkummd, not {given.what}")
