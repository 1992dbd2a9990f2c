"""A command line as work that a scheduler can carry to another machine and start again."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from behaviorzoo.launch.processes import slurm_place


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
        resumed: It ran before, and saved.
    """

    resumed: bool = False

    def checkpoint(self) -> Any:
        """What submitit starts next, after a preemption or when the time was over."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(replace(self, resumed=True))

    def _words(self) -> list[str]:
        # SLURM itself starts a job again, the same as before, when a machine broke.
        again = self.resumed or int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0
        resume = ["--resume"] if again and "--resume" not in self.words else []
        return [*self.words, *resume]
