"""What every command line of the house does alike: exit codes, one-line errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from behaviorzoo.errors import UserError

EXIT_OK = 0
EXIT_USER_MISTAKE = 2
EXIT_INTERRUPTED = 130


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
