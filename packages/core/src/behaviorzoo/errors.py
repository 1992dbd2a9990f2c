"""The error a user is meant to read, and the words that help to mend it."""

from __future__ import annotations

import difflib
import importlib.util
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


def require(module: str, extra: str, what: str) -> None:
    """Stop at once where an optional library is not installed.

    Args:
        module: The library, such as ``"matplotlib"``.
        extra: The extra of ``behaviorzoo-core`` that brings it.
        what: What cannot be done without it, such as ``"a report"``.

    Raises:
        UserError: It is not installed; the line says how to install it.
    """
    if importlib.util.find_spec(module) is None:
        raise UserError(f"{what} needs {module}: pip install 'behaviorzoo-core[{extra}]'")
