"""From a command line with ``launch`` words to processes, jobs and runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points

from behaviorzoo.commands import ProcessWords
from behaviorzoo.errors import UserError
from behaviorzoo.launch.config import LaunchConfig
from behaviorzoo.launch.job import CommandJob, TrainingJob
from behaviorzoo.launch.processes import launched_together, run_processes, this_command
from behaviorzoo.launch.words import Given


def runs_elsewhere(given: Given) -> bool:
    """Whether the command line asks for more than running its verb in this process."""
    return given.sweep or given.settings.launcher == "slurm" or given.settings.processes > 1


def run_elsewhere(
    program: str,
    given: Given,
    training: Mapping[str, ProcessWords],
    check: Callable[[list[str]], object],
) -> int:
    """Run a command line where its ``launch`` words say.

    Args:
        program: Name of the installed command.
        given: Its words, the verb first.
        training: Verbs that train, which go on with ``--resume`` and can use several
            processes, with what tells them so.
        check: Given the words of a training verb, raises what is wrong with them, before
            anything waits in a queue.

    Returns:
        The exit code.

    Raises:
        UserError: It cannot be run there.
    """
    verb, settings = given.words[0], given.settings
    if launched_together():
        raise UserError("launch: this process is already one of several that were launched")
    together = training.get(verb)
    words = list(given.words)
    if settings.processes > 1:
        if together is None:
            raise UserError(
                f"launch: {verb} runs in one process; leave out launch.nodes, "
                "launch.tasks_per_node, and take one accelerator"
            )
        words += together(settings.nodes, settings.tasks)
    if given.sweep:
        return _sweep(program, given, words, together is not None, check)
    if together is not None:
        check(words)
    if settings.launcher == "local":
        return run_processes(this_command(_entry(program), words), settings.tasks)
    return _submit(program, [words], given, together is not None)


def _sweep(
    program: str,
    given: Given,
    words: list[str],
    training: bool,
    check: Callable[[list[str]], object],
) -> int:
    from behaviorzoo.launch.sweep import expand, write_table

    if not training:
        raise UserError(f"--sweep: {words[0]} is no training; a sweep is of runs that have out=")
    runs = expand(words)
    for run in runs:
        check(run.words)
    print(f"{len(runs)} runs: {write_table(runs, words)}", flush=True)
    if given.settings.launcher == "slurm":
        return _submit(program, [run.words for run in runs], given, training)
    worst = 0
    for run in runs:
        chosen = " ".join(f"{key}={value}" for key, value in run.chosen.items())
        print(f"run {run.index} of {len(runs)}: {chosen}", flush=True)
        command = this_command(_entry(program), run.words)
        code = run_processes(command, given.settings.tasks)
        if code == 130:
            return code
        worst = worst or code
    return worst


def _submit(program: str, lines: Sequence[list[str]], given: Given, training: bool) -> int:
    from behaviorzoo.launch.follow import follow
    from behaviorzoo.launch.slurm import submit

    jobs = [CommandJob(_entry(program), words) for words in lines]
    if training:
        jobs = [TrainingJob(job.entry, job.words, given.settings) for job in jobs]
    submitted = submit(jobs, given.settings, f"{program}-{lines[0][0]}")
    first = submitted[0]
    job = first.job.partition("_")[0]
    several = f" ({len(submitted)} runs, {_at_a_time(given.settings, submitted)} at a time)"
    print(f"job {job}{several if len(submitted) > 1 else ''}")
    print(f"  log     {first.output}\n  errors  {first.errors}")
    print(f"  follow  tail -F {first.errors}\n  state   squeue -j {job}\n  cancel  scancel {job}")
    sys.stdout.flush()
    return follow(submitted) if given.wait else 0


def _at_a_time(settings: LaunchConfig, jobs: Sequence[object]) -> int:
    return min(settings.array_parallelism, len(jobs))


def _entry(program: str) -> str:
    """The function behind an installed command."""
    found = entry_points(group="console_scripts", name=program)
    if not found:
        raise UserError(f"launch: the command {program} is not installed in {sys.prefix}")
    return next(iter(found)).value
