"""Progress on standard error: a line for each stage, with the time since the start."""

from __future__ import annotations

import sys
import time


class Stages:
    """Tells what is being done.

    Each stage gets one line, at its beginning; on a terminal the line then shows how much of it
    is done. What goes to standard output and to files knows no time.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._drawn = 0.0
        self._stage = ""
        self._open = False

    def say(self, text: str) -> None:
        """Begin a stage."""
        self._end_line()
        self._stage = text
        self._write(text, end="")
        self._open = True
        if not sys.stderr.isatty():
            self._end_line()

    def part(self, prefix: str, stage: str, done: int, total: int) -> None:
        """Tell how much of a stage is done; a new name begins a new stage."""
        text = f"{prefix}: {stage}"
        if text != self._stage:
            self.say(text)
        now = time.monotonic()
        if sys.stderr.isatty() and (now - self._drawn > 0.2 or done >= total):
            self._drawn = now
            self._write(f"{text} {done / max(total, 1):4.0%}", begin="\r", end="")
            self._open = True

    def finish(self) -> None:
        """End the last line."""
        self._end_line()

    def _end_line(self) -> None:
        if self._open:
            print(file=sys.stderr, flush=True)
            self._open = False

    def _write(self, text: str, *, begin: str = "", end: str) -> None:
        elapsed = time.monotonic() - self._began
        print(f"{begin}{elapsed:7.1f} s  {text}", end=end, file=sys.stderr, flush=True)
