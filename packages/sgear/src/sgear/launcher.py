"""``sgear launch``: the runs of a TXT experiment, on a SLURM cluster or here.

The options are those of the original's ``launch.py``. Without any the runs of the experiment go to
SLURM through submitit, one job each; ``-l`` runs one of them on this machine, ``-g`` runs one in
this process with no workers, to look for mistakes.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path
from behaviorzoo.launch import tell
from behaviorzoo.launch.slurm import refusals
from sgear import experiments
from sgear.job import Job
from sgear.txt import Run, expand, pick, split_word

SUBMITIT = ".submitit"


@dataclass(frozen=True)
class Launch:
    """What ``sgear launch`` is asked for.

    Attributes:
        config: The experiment, ``expts/NAME.txt``.
        local: Run on this machine.
        debug: Run in this process, without workers.
        test: Evaluate, do not train.
        partition: Queue of the scheduler.
        run_id: Which run of a sweep.
        profile: Write where the time goes, ``profile.txt`` in the run folder.
        rest: Further overrides, behind those of the file.
        yes: Answer yes where something is asked.
    """

    config: str
    local: bool = False
    debug: bool = False
    test: bool = False
    partition: str | None = None
    run_id: int | None = None
    profile: bool = False
    rest: Sequence[str] = field(default_factory=tuple)
    yes: bool = False

    @property
    def here(self) -> bool:
        """Whether one run is started on this machine."""
        return self.local or self.debug


def launch(options: Launch) -> Path | list[str]:
    """Start the runs of an experiment.

    Args:
        options: Which, and where.

    Returns:
        The folder of the run that ran here, or the numbers of the jobs that a scheduler took.

    Raises:
        UserError: A mistake in the experiment, or this machine cannot do what is asked.
    """
    if options.partition and options.here:
        raise UserError("-p is a queue of a scheduler; with -l and -g the run is one process here")
    runs = expand([*experiments.overrides(options.config), *_additions(options), *options.rest])
    agent = experiments.agent_folder(options.config)
    if options.here:
        ask = _ask if sys.stdin is not None and sys.stdin.isatty() else None
        jobs = [_job(options, agent, pick(runs, options.run_id, ask))]
    else:
        chosen = runs if options.run_id is None else [pick(runs, options.run_id, None)]
        jobs = [_job(options, agent, run) for run in chosen]
    settings = [job.check() for job in jobs]  # every mistake before anything starts
    for file in agent.glob(f"**/{experiments.SYNC_FILE}*"):
        file.unlink(missing_ok=True)
    for job in jobs:
        _back_up(job.folder)
    tasks = max(int(settings[0].get("tasks_per_node") or 0), 1)
    if options.debug or (options.local and tasks == 1):
        return jobs[0]()
    if options.local:
        return _locally(jobs[0], settings[0])
    return _submitted(jobs, settings)


def arguments(run: Run) -> list[str]:
    """The overrides of a run as they are handed on.

    A deletion comes back from Hydra's sweeper as ``~key=null``, which Hydra then reads as "delete
    it if it is null".
    """
    return [
        split_word(word)[0] if word.startswith("~") and word.endswith("=null") else word
        for word in run.overrides
    ]


def _additions(options: Launch) -> list[str]:
    """Overrides that the options stand for."""
    words = []
    if options.debug:
        words += ["data_train.workers=0", "data_eval.workers=0"]
    if options.test:
        words.append("test_only=True")
    if options.here:
        gpus = gpu_count()
        words += [
            "hydra.launcher.nodes=1",
            f"hydra.launcher.gpus_per_node={gpus}",
            "hydra/launcher=submitit_local",
        ]
    else:
        words += ["hydra/launcher=submitit_slurm", "hydra.launcher.max_num_timeout=3"]
        if options.partition:
            words.append(f"hydra.launcher.partition='{options.partition}'")
    return words


def _job(options: Launch, agent: Path, run: Run) -> Job:
    folder = agent / str(run.index)
    if options.debug and not options.test:
        folder = agent / "local"
    return Job(
        words=tuple(arguments(run)),
        agent=agent,
        folder=folder,
        index=run.index,
        cwd=Path.cwd(),
        profile=options.profile,
    )


def gpu_count() -> int:
    """GPUs of this machine that may be used; 0 where there is no driver."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return 0
    listed = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False)
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def executor(settings: dict[str, Any], cluster: str) -> Any:
    """Submitit's executor with what ``hydra.launcher`` asks for.

    Args:
        settings: The section ``hydra.launcher``.
        cluster: ``slurm`` or ``local``.
    """
    import submitit

    settings = {key: value for key, value in settings.items() if key != "_target_"}
    shared = {"timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node", "mem_gb", "nodes"}
    shared |= {"name", "stderr_to_stdout"}
    first: dict[str, Any] = {"folder": settings.pop("submitit_folder")}
    if "max_num_timeout" in settings:
        first[f"{cluster}_max_num_timeout"] = settings.pop("max_num_timeout")
    settings["tasks_per_node"] = max(int(settings.get("tasks_per_node") or 0), 1)
    if not settings.get("gpus_per_node"):
        settings.pop("gpus_per_node", None)  # no line about GPUs at all, for clusters without
    made = submitit.AutoExecutor(cluster=cluster, **first)
    made.update_parameters(
        **{key if key in shared else f"{cluster}_{key}": value for key, value in settings.items()}
    )
    return made


def _submitted(jobs: Sequence[Job], settings: Sequence[dict[str, Any]]) -> list[str]:
    if shutil.which("sbatch") is None:
        raise UserError(
            "no SLURM on this machine (sbatch is not found); -l runs the experiment here, "
            "-g runs it here without workers"
        )
    numbers = []
    # Runs that ask for the same make one array of jobs.
    for setting, group in groupby(zip(settings, jobs, strict=True), key=lambda pair: pair[0]):
        made = executor(setting, "slurm")
        with refusals(), made.batch():
            # The job itself is what submitit calls: it knows how to be queued again.
            sent = [made.submit(job) for _, job in group]
        numbers += [job.job_id for job in sent]
    for job, number in zip(jobs, numbers, strict=True):
        tell(f"job {number}: {job.folder}")
    logs, first = jobs[0].agent / SUBMITIT, numbers[0].partition("_")[0]
    folder = str(settings[0]["submitit_folder"]).replace("%j", numbers[0])
    tell(f"logs: {logs}\nfollow: tail -F {folder}/{numbers[0]}_0_log.err")
    tell(f"state: squeue -j {first}\ncancel: scancel {first}")
    return numbers


def _locally(job: Job, settings: dict[str, Any]) -> Path:
    """Several processes on this machine, waited for."""
    from submitit.core.utils import FailedJobError

    settings = {**settings, "nodes": 1, "timeout_min": min(settings["timeout_min"], 60 * 24 * 365)}
    started = executor(settings, "local").submit(job)
    tell(f"run {job.index}: {job.folder}\nlogs: {started.paths.stderr}")
    try:
        with _sigterm_is_an_end():
            started.results()
    except (KeyboardInterrupt, SystemExit):
        started.cancel(check=False)
        raise
    except FailedJobError as error:
        raise UserError(f"{job.folder}: {_reason(error)}; logs: {started.paths.stderr}") from error
    return job.folder


def _reason(error: Exception) -> str:
    """What a job ended with, out of the traceback that submitit hands on."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line.partition("UserError: ")[2] for line in lines if "UserError: " in line]
    return said[-1] if said else "the job failed"


def _back_up(folder: Path) -> None:
    """Keep the settings of the first start beside those of the latest."""
    first, latest = folder / ".hydra.orig", folder / ".hydra"
    if latest.is_dir() and not first.exists():
        with atomic_path(first) as temporary:
            shutil.copytree(latest, temporary)


# ------------------------------------------------------------------ other things to do there


def delete(config: str, yes: bool = False) -> bool:
    """Remove what an experiment's folder holds, after a question.

    Returns:
        Whether it was removed.

    Raises:
        UserError: Nothing there, or nobody to ask.
    """
    folder = experiments.agent_folder(config)
    content = sorted(folder.iterdir()) if folder.is_dir() else []
    if not content:
        raise UserError(f"{folder}: nothing there to delete")
    if not _confirmed(f"delete {len(content)} entries of {folder}?", yes):
        return False
    for path in content:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return True


def kill(config: str, yes: bool = False) -> list[str]:
    """Cancel the jobs of an experiment, after a question.

    Returns:
        Numbers of the jobs that were cancelled; none where the answer is no.

    Raises:
        UserError: No job, no SLURM, or nobody to ask.
    """
    folder = experiments.agent_folder(config) / SUBMITIT
    found = [path.name for path in folder.glob("*") if path.name[:1].isdigit()]
    # A job array has a folder of its own besides those of its members, 12 and 12_0.
    numbers = sorted({name.partition("_")[0] for name in found}, key=int)
    if not numbers:
        raise UserError(f"{folder}: no job was submitted from here")
    if shutil.which("scancel") is None:
        raise UserError("no SLURM on this machine (scancel is not found)")
    if not _confirmed(f"cancel the jobs {', '.join(numbers)}?", yes):
        return []
    subprocess.run(["scancel", *numbers], check=False)
    return numbers


def serve(config: str, what: str, start: Callable[[list[str]], int] | None = None) -> None:
    """Show the folder of an experiment in a browser until Ctrl-C or SIGTERM.

    Args:
        config: The experiment.
        what: ``tensorboard`` or ``files``.
        start: Runs a command and gives its exit code; by default until it or this process ends.

    Raises:
        UserError: Nothing there yet, no free port, or the server does not run.
    """
    folder = experiments.agent_folder(config)
    if not folder.is_dir():
        raise UserError(f"{folder}: no run there yet")
    port = free_port()
    if what == "tensorboard":
        words = ["tensorboard.main", "--logdir", str(folder), "--port", str(port)]
        words += ["--window_title", config]
    else:
        words = ["http.server", str(port), "--directory", str(folder), "--bind", "127.0.0.1"]
    tell(f"http://127.0.0.1:{port}  (Ctrl-C ends)")
    code = (start or _until_the_end)([sys.executable, "-m", *words])
    if code:
        raise UserError(f"{words[0]} ended with exit code {code}; what it said stands above")


def _until_the_end(command: list[str]) -> int:
    """Run a server that does not outlive this process; its exit code."""
    with _sigterm_is_an_end(), subprocess.Popen(command) as server:
        try:
            return server.wait()
        finally:
            server.terminate()


@contextmanager
def _sigterm_is_an_end() -> Iterator[None]:
    """SIGTERM raises SystemExit(143), so that what was started here can be ended, too."""

    def leave(number: int, _: Any) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():  # signals come to that one only
        yield
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def free_port(first: int = 30303, last: int = 30398) -> int:
    """The first port of a range that nobody listens on.

    Raises:
        UserError: All of them are taken.
    """
    import socket

    for port in range(first, last + 1):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise UserError(f"no free port between {first} and {last}")


def _confirmed(question: str, yes: bool) -> bool:
    if yes:
        return True
    if sys.stdin is None or not sys.stdin.isatty():
        raise UserError(f"{question} Add --yes to say so")
    return _ask(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def _ask(text: str) -> str:
    return input(text)
