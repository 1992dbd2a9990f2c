"""Turning what data sets publish into what the loaders read."""

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
