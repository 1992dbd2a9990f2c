"""One run of an experiment as it travels to where it is done."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """A run; calling it does it. A scheduler sends it to other machines, so it is plain data.

    Attributes:
        words: Overrides of this one run.
        agent: Folder of the experiment.
        folder: Folder of the run.
        index: Number of the run.
        cwd: Where relative paths start.
        profile: Write where the time goes.
    """

    words: tuple[str, ...]
    agent: Path
    folder: Path
    index: int
    cwd: Path
    profile: bool = False

    def __call__(self) -> Path:
        """Train or evaluate; goes on from the run's checkpoint if it has one."""
        from sgear.run import run

        with _working_folder(self.cwd):
            if "SUBMITIT_EXECUTOR" in os.environ:
                # Names of the login node's network cards mean nothing on another machine.
                for name in ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"):
                    os.environ.pop(name, None)
            config, tree = self._configure()
            return run(config, tree, self.folder, resume=True, profile=self.profile)

    def check(self) -> dict[str, Any]:
        """What a scheduler is asked for.

        Raises:
            UserError: Mistakes in the overrides.
        """
        config, tree = self._configure()
        config.network()
        return tree.launcher()

    def checkpoint(self, *_: Any, **__: Any) -> Any:
        """The same run again: submitit calls this when the scheduler takes the machine away."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _configure(self) -> Any:
        from sgear.config import configure

        return configure(self.words, run_dir=str(self.agent), job=self.index)


@contextmanager
def _working_folder(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
