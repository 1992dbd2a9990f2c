"""Clocks, peak memory, and the table of results."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

YARDSTICK_SIZE = 2048
YARDSTICK_REFERENCE = 0.226
"""Seconds of the yardstick on the machine where the original's figures were taken."""


def best_seconds(
    work: Callable[[], object], repeats: int = 5, clock: Callable[[], float] = time.process_time
) -> float:
    """Shortest of several runs after one to warm up. CPU time by default: others may be busy."""
    work()
    times = []
    for _ in range(repeats):
        start = clock()
        work()
        times.append(clock() - start)
    return min(times)


def compete(
    works: dict[str, Callable[[], object]],
    repeats: int = 5,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, float]:
    """Best seconds of each, run in turns, so that a busy moment of the machine hits all."""
    for work in works.values():
        work()
    best = dict.fromkeys(works, float("inf"))
    for _ in range(repeats):
        for name, work in works.items():
            start = clock()
            work()
            best[name] = min(best[name], clock() - start)
    return best


def yardstick(repeats: int = 7) -> float:
    """Seconds of a float32 matrix product 2048 x 2048 x 2048."""
    a, b = torch.randn(2, YARDSTICK_SIZE, YARDSTICK_SIZE).unbind()
    return best_seconds(lambda: a @ b, repeats)


def peak_megabytes(script: str, part: str) -> float:
    """Growth of the peak memory while ``script --peak part`` works, in a process of its own."""
    answer = subprocess.run(
        [sys.executable, script, "--peak", part], capture_output=True, text=True, check=True
    )
    return float(json.loads(answer.stdout.splitlines()[-1])["megabytes"])


def report_peak(prepare: Callable[[], Callable[[], object]]) -> None:
    """The other end of :func:`peak_megabytes`: prepare, forget the peak so far, work, print."""
    work = prepare()
    # Linux only: 5 resets the high-water mark of the resident memory.
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmHWM")
    result = work()
    after = _status("VmHWM")
    del result
    print(json.dumps({"megabytes": (after - before) / 1024}))


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


@dataclass
class Table:
    """Rows of results, printed as they come."""

    rows: list[list[str]] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    HEADER = ("what", "ours", "original", "ratio", "target", "")

    def section(self, title: str, note: str = "") -> None:
        """Begin a part of the table."""
        print(f"\n## {title}\n" + (f"\n{note}\n" if note else ""), flush=True)
        self._line(self.HEADER)
        self._line(["---"] * len(self.HEADER))

    def row(
        self,
        what: str,
        ours: str,
        original: str = "",
        ratio: float | None = None,
        target: float | None = None,
    ) -> None:
        """Print one result; ``ratio`` is better when larger."""
        verdict = ""
        if ratio is not None and target is not None:
            verdict = "met" if ratio >= target else "MISSED"
            if ratio < target:
                self.missed.append(what)
        cells = [
            what,
            ours,
            original,
            "" if ratio is None else f"{ratio:.2f}",
            "" if target is None else f">= {target:g}",
            verdict,
        ]
        self.rows.append(cells)
        self._line(cells)

    @staticmethod
    def _line(cells: tuple[str, ...] | list[str]) -> None:
        print("| " + " | ".join(cells) + " |", flush=True)
