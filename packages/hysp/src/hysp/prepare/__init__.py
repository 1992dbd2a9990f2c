"""Turning what data sets publish into what the loaders read."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hysp.prepare.ntu import prepare_ntu
    from hysp.prepare.pkummd import prepare_pkummd
    from hysp.prepare.recordings import prepare_bandai, prepare_mmaction, prepare_recordings
    from hysp.prepare.summary import Summary

__all__ = [
    "Summary",
    "prepare_bandai",
    "prepare_mmaction",
    "prepare_ntu",
    "prepare_pkummd",
    "prepare_recordings",
]

_HOMES = {
    "Summary": "summary",
    "prepare_bandai": "recordings",
    "prepare_mmaction": "recordings",
    "prepare_ntu": "ntu",
    "prepare_pkummd": "pkummd",
    "prepare_recordings": "recordings",
}


def __getattr__(name: str) -> Any:
    """Import on first use: the command line must not wait for what it does not need."""
    if name in _HOMES:
        return getattr(import_module(f"hysp.prepare.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
