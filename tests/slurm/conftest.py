"""One throw-away SLURM for the tests of this folder; they skip, with the reason, without one."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("cluster", Path(__file__).with_name("cluster.py"))
cluster_module = importlib.util.module_from_spec(_spec)  # pyright: ignore[reportArgumentType]
_spec.loader.exec_module(cluster_module)  # pyright: ignore[reportOptionalMemberAccess]


class Site:
    """A cluster, a folder that all its nodes see, and commands typed on its login node."""

    def __init__(self, cluster, folder: Path):
        self.cluster = cluster
        self.folder = folder
        ours = {**cluster.environment, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        self.environment = {**os.environ, **ours}

    def start(self, command: str, *words: str) -> subprocess.Popen[str]:
        """Type a command; it goes on beside the test."""
        program = str(Path(sys.executable).with_name(command))
        return subprocess.Popen(
            [program, *words], cwd=self.folder, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def type(self, command: str, *words: str, code: int = 0) -> tuple[str, str]:
        """Type a command and wait for it; what it says, and its complaints."""
        process = self.start(command, *words)
        said, complaints = process.communicate(timeout=600)
        assert process.returncode == code, f"{command} {words}\n{said}\n{complaints}"
        return said, complaints

    def submit(self, command: str, *words: str) -> str:
        """Number of the job that a command makes."""
        said, _ = self.type(command, *words, "launch=slurm")
        (line,) = [line for line in said.splitlines() if line.startswith("job ")]
        return line.split()[1]

    def tell(self, *command: str) -> str:
        """A SLURM command."""
        return self.cluster.run(*command)

    def job(self, number: str) -> dict[str, str]:
        """What SLURM knows about a job."""
        told = self.tell("scontrol", "show", "job", "-o", number).split()
        return dict(field.partition("=")[::2] for field in told)

    def wait(self, number: str, seconds: float = 400) -> dict[str, str]:
        """Wait until a job has ended; SLURM's account of it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            job = self.job(number)
            if job["JobState"] not in ("PENDING", "RUNNING", "COMPLETING", "REQUEUED"):
                return job
            time.sleep(0.5)
        raise AssertionError(f"job {number} did not end: {job}\n{self.errors(number)}")

    def said(self, number: str) -> str:
        """What a job printed."""
        logs = sorted(self.folder.glob(f"slurm/*/{number}/*.out"))
        return "\n".join(path.read_text(errors="replace") for path in logs)

    def errors(self, number: str) -> str:
        """The logs of a job."""
        logs = sorted(self.folder.glob(f"slurm/*/{number}/*.err"))
        return "\n".join(path.read_text(errors="replace") for path in logs)


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    reason = cluster_module.missing()
    if reason:
        pytest.skip(f"no SLURM can be started: {reason}")
    # Not pytest's own folder, which the user munge may not enter.
    place = Path(tempfile.mkdtemp(prefix="behaviorzoo-slurm-"))
    place.chmod(0o755)
    (place / "cluster").mkdir()
    (place / "home").mkdir()
    cluster = cluster_module.Cluster(place / "cluster").start()
    try:
        yield Site(cluster, place / "home")
    finally:
        cluster.stop()
        shutil.rmtree(place, ignore_errors=True)
