"""Whom to follow where the authors' code has a defect."""

from __future__ import annotations

from behaviorzoo.errors import UserError, suggest

COMPATS = ("upstream", "corrected")
"""``upstream``: the authors' code, its defects included. ``corrected``: what it was meant to do."""


def check_compat(compat: str) -> None:
    """Refuse an unknown ``compat``.

    Raises:
        UserError: Neither ``upstream`` nor ``corrected``.
    """
    if compat not in COMPATS:
        raise UserError(f"compat: unknown {compat!r}; {suggest(compat, COMPATS)}")
