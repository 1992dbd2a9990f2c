"""What every command line of the house does alike: exit codes, one-line errors."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from behaviorzoo.errors import UserError, suggest

EXIT_OK = 0
EXIT_USER_MISTAKE = 2
EXIT_INTERRUPTED = 130


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
