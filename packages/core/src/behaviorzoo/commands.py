"""What every command line of the house does alike: verbs, exit codes, one-line errors."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from typing import NoReturn, TypeAlias

from behaviorzoo.errors import UserError, suggest

EXIT_OK = 0
EXIT_USER_MISTAKE = 2
EXIT_INTERRUPTED = 130

LAUNCH_FLAGS = ("--wait", "--sweep")
"""Options of every verb about where it runs, besides the ``launch`` words."""

ProcessWords: TypeAlias = Callable[[int, int], list[str]]
"""From machines and processes on each to the words that tell a training verb about them."""

Verb: TypeAlias = Callable[[list[str]], None]
"""Does its work with the words after it; the first line of its docstring is its help."""


class CommandParser(argparse.ArgumentParser):
    """A parser whose complaint is one line, with the nearest option for a misspelt one."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and leaving.

        Raises:
            UserError: Always.
        """
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message and unknown.startswith("-"):
            word = unknown.split()[0].partition("=")[0]
            options = [name for name in self._option_string_actions if name.startswith("--")]
            raise UserError(f"{self.prog} has no option {word!r}; {suggest(word, options)}")
        raise UserError(f"{self.prog}: {message}; see {self.prog} --help")


def run_verbs(
    program: str,
    version: str,
    description: str,
    verbs: Mapping[str, Verb],
    argv: Sequence[str] | None = None,
    training: Mapping[str, ProcessWords] | None = None,
) -> int:
    """Run a command made of verbs, here or where its ``launch`` words say.

    Args:
        program: Name of the command.
        version: What ``--version`` tells.
        description: What ``--help`` says above the list of verbs.
        verbs: Name -> function; only the one in use imports what it needs.
        argv: Words after the program's name; those of the process by default.
        training: Verbs that train: they take ``--resume`` and ``--dry-run``, and can use several
            processes, of which the function tells them.

    Returns:
        0, 2 for a mistake of the user's, 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)

    def dispatch() -> int:
        if not words or words[0] in ("-h", "--help"):
            print(_overview(program, description, verbs))
        elif words[0] in ("-V", "--version"):
            print(f"{program} {version}")
        elif words[0] == "--help-launch":
            print(launch_help(program))
        elif words[0] not in verbs:
            raise UserError(f"no verb {words[0]!r}; {suggest(words[0], verbs)}")
        else:
            return run_verb(program, words, verbs[words[0]], training)
        return EXIT_OK

    return run(dispatch)


def run_verb(
    program: str,
    words: list[str],
    verb: Verb,
    training: Mapping[str, ProcessWords] | None = None,
) -> int:
    """Run one verb, here or where its ``launch`` words say.

    Args:
        program: Name of the command.
        words: The verb and everything after it.
        verb: What the verb does with the words after it, without those about where.
        training: As for :func:`run_verbs`.

    Returns:
        The exit code.
    """
    if any(word.lstrip("+-").startswith("launch") or word in LAUNCH_FLAGS for word in words[1:]):
        from behaviorzoo.launch.elsewhere import run_elsewhere, runs_elsewhere
        from behaviorzoo.launch.words import take_apart

        given = take_apart(words)
        if runs_elsewhere(given):

            def check(line: list[str]) -> None:
                with redirect_stdout(io.StringIO()):
                    verb([*line[1:], "--dry-run"])

            return run_elsewhere(program, given, training or {}, check)
        words = given.words
    verb(words[1:])
    return EXIT_OK


def verb_parser(program: str, verb: str, about: str, example: str) -> CommandParser:
    """Parser of one verb, with an example below its help.

    Args:
        program: Name of the command.
        verb: Name of the verb.
        about: What it does, line breaks are kept.
        example: Command lines that work, one a line.
    """
    return CommandParser(
        prog=f"{program} {verb}",
        description=about,
        epilog="example:\n" + "\n".join(f"  {line}" for line in example.splitlines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def training_parser(program: str, verb: str, about: str, example: str) -> CommandParser:
    """Parser of the verb that trains: ``key=value`` words, ``--resume``, ``--dry-run`` and more.

    The arguments are those of :func:`verb_parser`.
    """
    parser = verb_parser(program, verb, about, example)
    parser.add_argument("words", nargs="*", metavar="key=value", help="settings")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from the newest checkpoint in out=; without experiment= its settings are kept",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="show settings and network, train nothing"
    )
    parser.add_argument("--help-config", action="store_true", help="list every key and leave")
    return parser


def run(main: Callable[[], object]) -> int:
    """Run ``main`` and turn its end into an exit code.

    ``UserError`` becomes one line on standard error and code 2, Ctrl-C becomes 130. Any other
    exception is a defect of ours and keeps its traceback; so does a user's mistake when
    the variable ``BEHAVIORZOO_TRACEBACK`` is set.

    Args:
        main: The work, without arguments; a number that it returns is the exit code.

    Returns:
        The exit code for ``sys.exit``.
    """
    try:
        code = main()
    except SystemExit as end:  # argparse after --help and --version
        return int(end.code or 0)
    except UserError as error:
        if os.environ.get("BEHAVIORZOO_TRACEBACK"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER_MISTAKE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (head, less) went away: not a failure.
        sys.stderr.close()
        return EXIT_OK
    return code if isinstance(code, int) else EXIT_OK


def _overview(program: str, description: str, verbs: Mapping[str, Verb]) -> str:
    width = max(8, *(len(name) for name in verbs)) + 2
    lines = [
        f"  {name:<{width}}{(verb.__doc__ or '').strip().splitlines()[0]}"
        for name, verb in verbs.items()
    ]
    usage = f"usage: {program} VERB ... | --help | --version"
    launch = f"Any verb runs on a cluster with launch=slurm; {program} --help-launch"
    return f"{usage}\n\n{description}\nverbs:\n" + "\n".join(lines) + f"\n\n{launch}"


def launch_help(program: str) -> str:
    """What ``--help-launch`` tells: how a command runs elsewhere, and every key of it."""
    from behaviorzoo.launch.words import help_text

    return (
        "Where a command runs, for every verb:\n\n"
        f"  {program} VERB ... launch=slurm launch.partition=gpu launch.gpus_per_node=4 --wait\n"
        f"  {program} VERB ... launch=cluster.yaml         the keys below from a file\n"
        f"  {program} VERB ... optim.lr=1e-3,1e-4 --sweep  one run for each (an array)\n\n"
        f"{help_text()}"
    )
