"""A command line as work that a scheduler can carry to another machine and start again."""

from __future__ import annotations

import importlib
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from behaviorzoo.launch.config import LaunchConfig
from behaviorzoo.launch.processes import slurm_place

# SLURM may warn up to a minute before it was asked to.
_SLURM_CLOCK_S = 60
_TOO_SHORT_TIMES = 3


@dataclass
class CommandJob:
    """Runs a command line in a job, in each of its processes.

    Attributes:
        entry: The function behind the command, ``bams.cli:main``.
        words: Its words, without those about where to run.
    """

    entry: str
    words: Sequence[str]

    def __call__(self) -> int:
        """Run the command.

        Raises:
            SystemExit: It did not end well; with its exit code, so that the job shows it.
        """
        place = slurm_place(os.environ)
        if place is not None:
            os.environ.update(place.environment())
        module, _, name = self.entry.partition(":")
        code = getattr(importlib.import_module(module), name)(self._words())
        if code:
            raise SystemExit(code)
        return 0

    def _words(self) -> list[str]:
        return list(self.words)


@dataclass
class TrainingJob(CommandJob):
    """A command that goes on from its last checkpoint whenever it is started again.

    Attributes:
        settings: What the scheduler was asked for.
        resumed: It ran before.
        too_short: Stretches in a row whose time was over before the training began.
    """

    settings: LaunchConfig = field(default_factory=LaunchConfig)
    resumed: bool = False
    too_short: int = 0
    _start: float = field(default=math.inf, init=False, repr=False)

    def __call__(self) -> int:
        """Run the command, and know since when."""
        self._start = time.monotonic()
        return super().__call__()

    def checkpoint(self) -> Any:
        """What submitit starts next, after a preemption or when the time was over.

        Raises:
            SystemExit: Starting again would end the same way for ever: the time of a stretch is
                too short for a training to begin.
        """
        from submitit.helpers import DelayedSubmission

        too_short = self.too_short + 1 if self._over_before_it_began() else 0
        if too_short == _TOO_SHORT_TIMES:
            # print() may be the very call that the signal interrupts, and it is not reentrant.
            os.write(2, f"error: {self._advice()}\n".encode())
            raise SystemExit(1)
        return DelayedSubmission(replace(self, resumed=True, too_short=too_short))

    def _over_before_it_began(self) -> bool:
        from behaviorzoo.training.signals import training_began

        allowed = 60 * self.settings.timeout_min - self.settings.warning_s - _SLURM_CLOCK_S
        return not training_began() and time.monotonic() - self._start >= allowed

    def _advice(self) -> str:
        return (
            f"launch: {_TOO_SHORT_TIMES} times in a row the time of a stretch was over before the "
            f"training began; give it more than launch.timeout_min={self.settings.timeout_min} "
            f"(its warning comes {self.settings.warning_s} s before the end, launch.grace_s)"
        )

    def _words(self) -> list[str]:
        # SLURM itself starts a job again, the same as before, when a machine broke.
        again = self.resumed or int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0
        resume = ["--resume"] if again and "--resume" not in self.words else []
        return [*self.words, *resume]
