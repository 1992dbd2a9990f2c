"""The command ``behaviorzoo``: what can be done with any recording, label or embedding."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from functools import partial

from behaviorzoo import __version__, commands
from behaviorzoo.errors import UserError, suggest

# Verb -> (module with add_arguments(parser) and run(args), one line of help). A module keeps its
# heavy imports inside run, and only that of the verb in use is imported.
VERBS = {
    "import": ("behaviorzoo.importers.command", "tracker files -> recordings"),
    "labels": ("behaviorzoo.annotations.command", "annotation files -> label table"),
    "info": ("behaviorzoo.info_command", "what a recording, label or embedding file holds"),
    "features": ("behaviorzoo.handcrafted_command", "hand-made features of recordings"),
    "probe": ("behaviorzoo.probe_command", "linear probes of embeddings against labels"),
    "view": ("behaviorzoo.viewer_command", "a page to look at a recording"),
    "report": ("behaviorzoo.report_command", "a page with the results of a run"),
    "synth": ("behaviorzoo.synthetic_command", "labelled synthetic recordings to try things on"),
    "synth-clips": (
        "behaviorzoo.synthetic_video_clips_command",
        "short synthetic videos, a folder for each class",
    ),
    "synth-kitchen": (
        "behaviorzoo.synthetic_video_kitchen_command",
        "long synthetic videos with the annotations of EPIC-KITCHENS-100",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments without the program name; default: those of the process.

    Returns:
        Exit code: 0, 2 for a mistake of the user, 130 on Ctrl-C.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    return commands.run(lambda: _dispatch(arguments))


def _dispatch(arguments: list[str]) -> int:
    if arguments[:1] == ["--help-launch"]:
        print(commands.launch_help("behaviorzoo"))
        return commands.EXIT_OK
    verb = next((word for word in arguments if not word.startswith("-")), None)
    parser = _parser()
    if verb is None:
        parser.parse_args(arguments)  # --help and --version end here
        parser.print_help()
        return commands.EXIT_OK
    if verb not in VERBS:
        raise UserError(f"behaviorzoo has no verb {verb!r}; {suggest(verb, VERBS)}")
    if arguments[0] != verb:
        raise UserError(f"write the verb first: behaviorzoo {verb} ... {arguments[0]}")
    return commands.run_verb("behaviorzoo", arguments, partial(_run, verb))


def _run(verb: str, words: list[str]) -> None:
    module = importlib.import_module(VERBS[verb][0])
    own = commands.CommandParser(
        prog=f"behaviorzoo {verb}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(own)
    module.run(own.parse_args(words))


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:<{width}}  {text}" for verb, (_, text) in VERBS.items())
    parser = argparse.ArgumentParser(
        prog="behaviorzoo",
        usage="behaviorzoo VERB ...",
        description="Recordings, labels, embeddings and probes of animal behaviour.",
        epilog=f"verbs:\n{verbs}\n\nbehaviorzoo VERB --help explains one verb.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"behaviorzoo {__version__}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
