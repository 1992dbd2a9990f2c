"""Submission of command lines to SLURM, through submitit."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from behaviorzoo.errors import UserError
from behaviorzoo.launch.config import LaunchConfig
from behaviorzoo.launch.job import CommandJob, TrainingJob

# Preempted and timed-out jobs go on as often as it takes: each stretch saves at least one update,
# and those that are over before they begin are counted by the job itself.
_ANY_NUMBER = 1_000_000


@dataclass(frozen=True)
class Submitted:
    """A job that a scheduler has.

    Attributes:
        job: Its number; that of an array has the number of the run after a ``_``.
        output: The log of its first process.
        errors: What that process says about mistakes and progress.
    """

    job: str
    output: Path
    errors: Path


def submit(jobs: Sequence[CommandJob], settings: LaunchConfig, name: str) -> list[Submitted]:
    """Hand jobs to SLURM: one, or several as an array.

    Args:
        jobs: What to run.
        settings: What to ask for.
        name: Job name where the settings have none, and the folder of the logs.

    Returns:
        The jobs in the same order.

    Raises:
        UserError: No SLURM here, submitit is missing, or SLURM refuses.
    """
    submitit = _submitit()
    folder = Path(settings.folder).expanduser().absolute() / name / "%j"
    executor = submitit.SlurmExecutor(folder, max_num_timeout=_ANY_NUMBER)
    parameters = _parameters(settings, name, isinstance(jobs[0], TrainingJob), folder)
    with refusals():
        executor.update_parameters(**parameters)
        if len(jobs) == 1:
            submitted = [executor.submit(jobs[0])]
        else:
            with executor.batch():
                submitted = [executor.submit(job) for job in jobs]
    return [
        Submitted(str(job.job_id), Path(job.paths.stdout), Path(job.paths.stderr))
        for job in submitted
    ]


@contextmanager
def refusals() -> Iterator[None]:
    """Makes one line of what sbatch refuses.

    Raises:
        UserError: A submission through submitit that failed inside.
    """
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    try:
        with redirect_stderr(io.StringIO()):  # submitit prints it, besides raising it
            yield
    except (FailedJobError, FailedSubmissionError) as error:
        raise UserError(f"launch: SLURM refuses the job ({_reason(error)})") from error


def _submitit() -> Any:
    missing = [tool for tool in ("sbatch", "srun", "squeue") if shutil.which(tool) is None]
    if missing:
        raise UserError(
            f"launch=slurm: no {', '.join(missing)} on this machine; run it on a login node of a "
            "cluster, or leave launch=slurm out to run here"
        )
    try:
        import submitit
    except ImportError:
        raise UserError(
            "launch=slurm needs submitit; install it with: pip install 'behaviorzoo-core[slurm]'"
        ) from None
    return submitit


def _parameters(settings: LaunchConfig, name: str, training: bool, folder: Path) -> dict[str, Any]:
    asked = {
        "job_name": settings.name or name,
        "time": settings.timeout_min,
        "nodes": settings.nodes,
        "ntasks_per_node": settings.tasks,
        "cpus_per_task": settings.cpus_per_task,
        "mem": None if settings.mem_gb is None else f"{round(settings.mem_gb * 1024)}M",
        "gpus_per_node": settings.gpus_per_node or None,
        "partition": settings.partition,
        "account": settings.account,
        "qos": settings.qos,
        "constraint": settings.constraint,
        "setup": list(settings.setup) or None,
        "array_parallelism": settings.array_parallelism,
        "signal_delay_s": settings.warning_s,
        # Without this the others wait for one that was killed until the time is over.
        "srun_args": ["--kill-on-bad-exit=1"],
        "teardown": _teardown(settings.max_crashes if training else 0, folder.parent),
        "additional_parameters": {"requeue": True, **settings.extra},
    }
    return {key: value for key, value in asked.items() if value is not None}


def _teardown(max_crashes: int, folder: Path) -> list[str]:
    """Shell lines after the work: a killed process is a reason to go on, and the exit code stays.

    134 to 139 are the codes of processes that a signal killed: no memory, a broken machine.
    """
    job = "${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"
    return [
        "code=$?",
        f"job={job}",
        f'crashes="{folder}/$job.crashes"',
        'if [ "$code" -ge 134 ] && [ "$code" -le 139 ] \\',
        '  && [ "$(squeue -h -j "$job" -o %T)" = RUNNING ]; then',
        '  date >> "$crashes"',
        f'  if [ "$(wc -l < "$crashes")" -le {max_crashes} ]; then',
        '    echo "a process was killed (exit code $code): starting again" >&2',
        '    scontrol requeue "$job"',
        "    sleep 60",
        "  fi",
        "fi",
        "exit $code",
    ]


def _reason(error: Exception) -> str:
    """What sbatch said, out of submitit's account of it."""
    said = [line for line in str(error).splitlines() if "sbatch: error" in line]
    lines = said or [line for line in str(error).splitlines() if line.strip()][-1:]
    return "; ".join(line.replace("sbatch: error: ", "").strip() for line in lines)
