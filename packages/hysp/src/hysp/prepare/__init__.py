"""Turning what data sets publish into what the loaders read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hysp.lazy import lazy_names

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

# Imported on first use: the command line must not wait for what it does not need.
__getattr__ = lazy_names(
    __name__,
    {
        "Summary": "summary",
        "prepare_bandai": "recordings",
        "prepare_mmaction": "recordings",
        "prepare_ntu": "ntu",
        "prepare_pkummd": "pkummd",
        "prepare_recordings": "recordings",
    },
)
