"""Whom to follow where the public code and the paper (or its first public state) differ."""

from __future__ import annotations

from behaviorzoo.errors import UserError, suggest

COMPATS = ("paper", "upstream")
"""``paper``: the code that trained the published networks, and what the paper describes.
``upstream``: the later public code, its defects included."""


def check_compat(compat: str) -> None:
    """Refuse an unknown ``compat``.

    Raises:
        UserError: Neither ``paper`` nor ``upstream``.
    """
    if compat not in COMPATS:
        raise UserError(f"compat: unknown {compat!r}; {suggest(compat, COMPATS)}")
