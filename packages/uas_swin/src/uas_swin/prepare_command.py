"""The verb ``uas-swin prepare``: words to functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from behaviorzoo import commands
from behaviorzoo.errors import UserError, suggest

ABOUT = """\
Make list files, check every video (is it there, does every frame decode) and report the classes
and their counts.

  folder            videos in folders named by class, anybody's
  chimpbehave       clips of ChimpBehave, by its own lists, by the authors', or by their names
  mammalnet         trimmed videos of MammalNet and its tables
  kinetics700-diff  classes of Kinetics-700 that Kinetics-600 has not"""
EXAMPLE = """\
uas-swin prepare folder videos --out lists
uas-swin prepare folder videos --out lists --group '([^/]+)_clip' --val-share 0.25
uas-swin prepare chimpbehave miniclips --out data/chimpbehave --annotations annotations
uas-swin prepare mammalnet trimmed --out data/mammalnet --annotations tables
uas-swin prepare kinetics700-diff videos --out data/kinetics700_diff --k600 k600.csv"""
KINDS = ("folder", "chimpbehave", "mammalnet", "kinetics700-diff")


def run(words: list[str]) -> None:
    """Do what ``uas-swin prepare`` is told.

    Args:
        words: What stands behind it.

    Raises:
        UserError: Wrong options, missing files, or videos that are bad.
    """
    parser = commands.verb_parser("uas-swin", "prepare", ABOUT, EXAMPLE)
    add = parser.add_argument
    add("kind", choices=KINDS, help="what to prepare")
    add("videos", type=Path, help="folder of the videos")
    add("--out", required=True, type=Path, metavar="DIR", help="folder of the lists")
    add("--check", choices=["none", "exists", "open", "decode"], default="decode",
        help="how closely videos are looked at (default decode)")  # fmt: skip
    add("--bad-videos", choices=["error", "skip"], default="error", help="skip: leave out and list")
    add("--workers", type=int, metavar="N", help="videos at a time (default one per core)")
    add("--name", help="folder: what the lists are called (default videos)")
    add("--val-share", type=float, metavar="X", help="share of each class to hold out (0.2)")
    add("--seed", type=int, metavar="N", help="decides what is held out")
    add("--group", metavar="REGEX", help="folder: videos that stay on one side together")
    add("--annotations", type=Path, metavar="DIR", help="lists or tables of the data set")
    add("--train", type=Path, metavar="FILE", help="chimpbehave: list of the training clips")
    add("--val", type=Path, metavar="FILE", help="chimpbehave: list of the validation clips")
    add("--fold", type=int, metavar="N", help="chimpbehave: fold of its cross-validation (1)")
    add("--subset", choices=["CB", "PANAF"], help="chimpbehave: which lists (CB)")
    add("--classes", type=Path, metavar="FILE", help="mammalnet: names of the behaviours")
    add("--video-column", metavar="NAME", help="mammalnet: column of the video")
    add("--behaviour-column", metavar="NAME", help="mammalnet: column of the behaviour")
    add("--first-id", type=int, metavar="N", help="mammalnet: id of the first behaviour (0)")
    add("--k600", type=Path, metavar="FILE", help="kinetics700-diff: classes of Kinetics-600")
    add("--k700", type=Path, metavar="FILE", help="kinetics700-diff: classes of Kinetics-700")
    given = vars(parser.parse_args(words))

    import sys

    from uas_swin.data import prepare
    from uas_swin.data.prepare import Checks

    kind, videos, out = given.pop("kind"), given.pop("videos"), given.pop("out")
    checks = Checks(
        given.pop("check"), given.pop("bad_videos"), given.pop("workers"), sys.stderr.isatty()
    )
    function = getattr(prepare, f"prepare_{kind.replace('-', '_')}")
    options = _options(function, {k: v for k, v in given.items() if v is not None}, kind)
    print(function(videos, out, checks=checks, **options).text())


def _options(function: Any, given: dict[str, Any], kind: str) -> dict[str, Any]:
    """Options of this kind; numbers of columns as numbers.

    Raises:
        UserError: One is missing, or of another kind.
    """
    import inspect

    taken = inspect.signature(function).parameters
    for name, parameter in taken.items():
        needed = parameter.default is inspect.Parameter.empty and name not in ("videos", "out")
        if needed and name not in given:
            raise UserError(f"uas-swin prepare {kind}: needs --{name.replace('_', '-')}")
    for name, value in given.items():
        if name not in taken:
            options = [f"--{n.replace('_', '-')}" for n in taken if n not in ("videos", "out")]
            word = f"--{name.replace('_', '-')}"
            raise UserError(f"{word} is not for {kind}; {suggest(word, options)}")
        if name.endswith("_column") and value.isdigit():
            given[name] = int(value)
    return given
