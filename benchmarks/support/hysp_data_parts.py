"""HYSP: raw files, the step to 50 frames, augmentation."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import torch
from hysp_original_data import (
    LEGACY,
    original_parse,
    original_strong,
    original_weak,
    raw_text,
)
from measure import Table, compete

from hysp.augment import AugmentConfig, views
from hysp.data.frames50 import position_clips
from hysp.data.persons import persons
from hysp.data.skeleton_files import parse_skeleton

SCALE = 1.0
AUTHORS_PARSE_MS = 19.4
"""One two-person file of 70 frames, where the yardstick was timed."""
AUTHORS_FRAMES_MS = 1.5
"""300 to 50 frames, one sample, there."""
AUTHORS_VIEWS = 1180.0
"""Samples/s with a strong and a weak view, there."""


def parse(table: Table, quick: bool) -> None:
    """Milliseconds of a raw file."""
    text = raw_text(frames=10 if quick else 70, bodies=2)
    table.section("Raw NTU file, two persons, 70 frames, ms")
    works: dict[str, Callable[[], object]] = {
        "ours": lambda: persons(parse_skeleton(text, "benchmark", compat="upstream"), "upstream"),
        "original": lambda: original_parse(text.decode()),
    }
    np.testing.assert_array_equal(works["ours"](), works["original"]())
    ms = {name: 1e3 * s for name, s in compete(works, 3 if quick else 9).items()}
    _rows(table, ms, AUTHORS_PARSE_MS, 3.0, quick)


def frames(table: Table, quick: bool) -> None:
    """Milliseconds of a sample from 300 raw frames to 50, in batches of 64."""
    n = 8 if quick else 64
    raw = np.random.default_rng(0).normal(size=(n, 3, 300, 25, 2)).astype(np.float32)
    table.section("300 to 50 frames, one sample, ms", f"Batches of {n}.")
    seconds = compete({"ours": lambda: position_clips(raw)}, 3 if quick else 9)
    _rows(table, {"ours": 1e3 * seconds["ours"] / n}, AUTHORS_FRAMES_MS, 8.0, quick)


def augment(table: Table, quick: bool) -> None:
    """Samples/s with both views of each, in batches."""
    config = AugmentConfig()
    table.section("Strong and weak view, samples/s, 50 frames, two persons, float32")
    one = np.random.default_rng(0).normal(size=(3, 50, 25, 2)).astype(np.float32)

    def original() -> None:
        random.seed(0)
        LEGACY.seed(0)
        for _ in range(64):
            original_strong(one)
            original_weak(one)

    for batch in (32,) if quick else (64, 128, 512):
        x, seeds = torch.from_numpy(one).repeat(batch, 1, 1, 1, 1), torch.arange(batch)
        works: dict[str, Callable[[], object]] = {
            "ours": lambda x=x, seeds=seeds: views(x, seeds, config),
            "ours, compat=upstream": lambda x=x, seeds=seeds: views(x, seeds, config, "upstream"),
            "original": original,
        }
        seconds = compete(works, 3 if quick else 9)
        rate = {name: batch / s for name, s in seconds.items()} | {
            "original": 64 / seconds["original"]
        }
        for name in ("ours", "ours, compat=upstream"):
            ratio = rate[name] / rate["original"]
            target = None if quick else 5.0
            figures = f"{rate[name]:.0f}", f"{rate['original']:.0f}"
            table.row(f"{name}, batch {batch}, beside its style", *figures, ratio, target)
            there = AUTHORS_VIEWS * SCALE
            table.row(
                f"{name}, batch {batch}, against the authors' code elsewhere, scaled",
                *(f"{rate[name]:.0f}", f"{there:.0f}"),
                rate[name] / there,
                target,
            )


PARTS: dict[str, Callable[[Table, bool], None]] = {
    "parse": parse,
    "frames": frames,
    "augment": augment,
}


def _rows(table: Table, ms: dict[str, float], there: float, target: float, quick: bool) -> None:
    goal = None if quick else target
    if "original" in ms:
        figures = f"{ms['ours']:.2f}", f"{ms['original']:.1f}"
        table.row("beside a reader in its style", *figures, ms["original"] / ms["ours"], goal)
    elsewhere = there / SCALE
    table.row(
        "against the authors' code elsewhere, scaled",
        *(f"{ms['ours']:.3f}", f"{elsewhere:.2f}"),
        elsewhere / ms["ours"],
        goal,
    )
