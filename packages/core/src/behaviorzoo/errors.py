"""The error a user is meant to read, and the words that help to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in what the user gave: one line that says what, where, and what to do.

    Command lines print the message without a traceback and exit with code 2.
    """


def suggest(name: str, choices: Iterable[str]) -> str:
    """Sentence that names the nearest valid choice, or all of them.

    Args:
        name: What the user wrote.
        choices: What would have been valid.

    Returns:
        ``"did you mean 'x'?"`` where a choice is close, else ``"choose one of: ..."``.
    """
    options = sorted({str(choice) for choice in choices})
    near = difflib.get_close_matches(str(name), options, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    return "choose one of: " + ", ".join(options) if options else "there is nothing to choose from"
