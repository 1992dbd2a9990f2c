"""What every command line of the house does alike: verbs, exit codes, one-line errors."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn, TypeAlias

from behaviorzoo.errors import UserError, suggest

EXIT_OK = 0
EXIT_USER_MISTAKE = 2
EXIT_INTERRUPTED = 130

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
) -> int:
    """Run a command made of verbs.

    Args:
        program: Name of the command.
        version: What ``--version`` tells.
        description: What ``--help`` says above the list of verbs.
        verbs: Name -> function; only the one in use imports what it needs.
        argv: Words after the program's name; those of the process by default.

    Returns:
        0, 2 for a mistake of the user's, 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)

    def dispatch() -> None:
        if not words or words[0] in ("-h", "--help"):
            print(_overview(program, description, verbs))
        elif words[0] in ("-V", "--version"):
            print(f"{program} {version}")
        elif words[0] not in verbs:
            raise UserError(f"no verb {words[0]!r}; {suggest(words[0], verbs)}")
        else:
            verbs[words[0]](words[1:])

    return run(dispatch)


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
        main: The work, without arguments.

    Returns:
        The exit code for ``sys.exit``.
    """
    try:
        main()
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
    return EXIT_OK


def _overview(program: str, description: str, verbs: Mapping[str, Verb]) -> str:
    lines = [
        f"  {name:<10}{(verb.__doc__ or '').strip().splitlines()[0]}"
        for name, verb in verbs.items()
    ]
    usage = f"usage: {program} VERB ... | --help | --version"
    return f"{usage}\n\n{description}\nverbs:\n" + "\n".join(lines)
