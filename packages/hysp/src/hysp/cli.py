"""The command ``hysp``: verbs to functions. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from behaviorzoo import commands
from behaviorzoo.errors import UserError
from behaviorzoo.launch.words import trainer_words
from hysp import __version__

DESCRIPTION = """\
HYSP: representations of skeleton sequences, learned in hyperbolic space without labels.

  hysp VERB --help             what a verb does, with an example
  hysp pretrain --help-config  every key=value that can be set
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Words after the program's name; those of the process by default.

    Returns:
        0, 2 for a mistake of the user's, 130 after Ctrl-C.
    """
    return commands.run_verbs("hysp", __version__, DESCRIPTION, VERBS, argv, TRAINING)


_parser = partial(commands.verb_parser, "hysp")


def _prepare(words: list[str]) -> None:
    """Make clips of raw skeletons, recordings or motion files."""
    from hysp.prepare.command import prepare

    prepare(words)


def _pretrain(words: list[str]) -> None:
    """Train a network on sequences without labels."""
    parser = commands.training_parser(
        "hysp",
        "pretrain",
        "Train a network to tell of one view of a sequence what another view looks like. Settings\n"
        "are key=value words; experiment=NAME starts from a recipe (ntu60_xview, ntu60_xsub,\n"
        "ntu120_xsub, ntu120_xset, pkummd1, pkummd2, simsiam, skeletonclr, bandai, recordings or\n"
        "a file).",
        "hysp pretrain data.path=recordings/ out=runs/mice\n"
        "hysp pretrain experiment=ntu60_xview data.path=data/ntu60\n"
        "hysp pretrain experiment=ntu60_xview data.path=data/ntu60 stream=motion name=motion\n"
        "hysp pretrain --resume out=runs/mice",
    )
    given = parser.parse_intermixed_args(words)

    from hysp import config

    if given.help_config:
        print(config.help_text())
        return
    settings = config.configure(given.words, resume=given.resume)
    if given.resume and not settings.data.path:
        raise UserError(f"{settings.out}: no run to resume there; check out=")
    config.checked(settings)

    about_clips = [word for word in given.words if word.startswith("data.clips.")]

    from behaviorzoo.launch import tell

    tell(config.overview(settings))
    if about_clips:
        from hysp.data.opening import idle_words

        for note in idle_words(settings.data, about_clips):
            tell(f"note: {note}")
    if given.dry_run:
        return

    from hysp.training import pretrain

    folder = pretrain(settings, resume=given.resume)
    tell(f"run: {folder}")


def _evaluate(words: list[str]) -> None:
    """Score a network against labels: linear, semi, supervised, knn, transfer."""
    from hysp.evaluate.command import command

    command(words)


def _ensemble(words: list[str]) -> None:
    """Fuse the scores of several streams."""
    from hysp.ensemble import command

    command(words)


def _embed(words: list[str]) -> None:
    """Write the embedding and the uncertainty of every sequence."""
    from hysp.embed import command

    command(words)


def _convert(words: list[str]) -> None:
    """Change a checkpoint between our layout and the authors'."""
    parser = _parser(
        "convert",
        "Change an authors' Lightning file into a checkpoint folder of ours, or back. Every key\n"
        "and shape is checked; the optimiser's state is not carried.",
        "hysp convert epoch-300.ckpt mine --to ours\n"
        "hysp convert runs/ntu60_xview hysp.ckpt --to authors",
    )
    parser.add_argument("source", type=Path, help="checkpoint to read")
    parser.add_argument("out", type=Path, help="folder (ours) or file (authors) to write")
    parser.add_argument("--to", choices=["ours", "authors"], required=True, help="layout to write")
    given = parser.parse_intermixed_args(words)

    from hysp.convert import to_authors, to_ours

    print((to_ours if given.to == "ours" else to_authors)(given.source, given.out))


def _info(words: list[str]) -> None:
    """Show a network: settings, joints, sizes."""
    parser = _parser(
        "info",
        "Show the settings, the joints and the sizes of a checkpoint, or of the network that the\n"
        "given settings would make (add data.path=... where the data decide the joints).",
        "hysp info runs/mice\nhysp info experiment=ntu60_xview",
    )
    parser.add_argument("words", nargs="*", metavar="CHECKPOINT | key=value", help="what to show")
    given = parser.parse_intermixed_args(words)

    from hysp.info import information

    print(information(given.words))


VERBS: dict[str, commands.Verb] = {
    "prepare": _prepare,
    "pretrain": _pretrain,
    "evaluate": _evaluate,
    "ensemble": _ensemble,
    "embed": _embed,
    "convert": _convert,
    "info": _info,
}

TRAINING = {"pretrain": trainer_words}
"""Verbs that train, and what tells them of several processes."""


if __name__ == "__main__":
    sys.exit(main())
