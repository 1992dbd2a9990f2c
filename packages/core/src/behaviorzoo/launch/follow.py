"""Watching jobs until they end."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from behaviorzoo.launch.slurm import Submitted

_WORKING = {
    "PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD",
    "REQUEUE_FED", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "PREEMPTED",
}  # fmt: skip
_FORGOTTEN = "FORGOTTEN"
_SCHEDULER = ("srun:", "slurmstepd", "slurmd", "submitit ")


def follow(jobs: Sequence[Submitted], poll_s: float = 2.0) -> int:
    """Show what the jobs do until all have ended.

    Ctrl-C ends the watching, not the jobs.

    Args:
        jobs: The jobs.
        poll_s: Seconds between two looks.

    Returns:
        0 when all ended well, else the exit code of the first that did not.
    """
    shown: tuple[str, ...] = ("",)
    try:
        while True:
            states = [state_of(job.job) for job in jobs]
            text = _line(jobs, states)
            # A terminal shows every second that passes, a log only what happens.
            news = (text,) if sys.stderr.isatty() else tuple(state for state, _, _ in states)
            if news != shown:
                _show(text, shown[0])
                shown = news
            if not any(state in _WORKING for state, _, _ in states):
                break
            time.sleep(poll_s)
    except KeyboardInterrupt:
        print("\nno longer watching; the job goes on", file=sys.stderr)
        return 130
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return _verdict(jobs, states)


def state_of(job: str) -> tuple[str, int, str]:
    """State of a job, its exit code, and where and how long it runs, as SLURM tells.

    Asks the controller, which every cluster has; accounting is not needed.
    """
    asked = ["scontrol", "show", "job", "-o", job]
    told = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    if not (found := re.search(r"\bJobState=(\w+)", told)):
        return _FORGOTTEN, 0, ""
    code, killed = re.search(r"\bExitCode=(\d+):(\d+)", told).groups()  # pyright: ignore[reportOptionalMemberAccess]
    fields = {key: _field(told, key) for key in ("RunTime", "NodeList", "Restarts", "Reason")}
    about = f"{fields['RunTime']} on {fields['NodeList']}"
    if found[1] == "PENDING":
        about = f"waiting: {fields['Reason']}"
    if fields["Restarts"] not in ("", "0"):
        about += f", restart {fields['Restarts']}"
    return found[1], int(code) or (128 + int(killed) if int(killed) else 0), about


def last_line(path: Path) -> str:
    """Last line that the work wrote into a log, of a progress bar its latest state."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 4096))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in re.split(r"[\r\n]", text)]
    own = [line for line in lines if line and not line.startswith(_SCHEDULER)]
    return own[-1] if own else ""


def _line(jobs: Sequence[Submitted], states: Sequence[tuple[str, int, str]]) -> str:
    if len(jobs) == 1:
        state, _, about = states[0]
        parts = [f"{jobs[0].job} {state.lower()}", about, last_line(jobs[0].errors)]
        return " | ".join(part for part in parts if part)
    counts: dict[str, int] = {}
    for state, _, _ in states:
        counts[state.lower()] = counts.get(state.lower(), 0) + 1
    return f"{len(jobs)} jobs: " + ", ".join(f"{n} {state}" for state, n in counts.items())


def _show(text: str, before: str) -> None:
    if sys.stderr.isatty():
        print("\r" + text.ljust(len(before)), end="", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)


def _verdict(jobs: Sequence[Submitted], states: Sequence[tuple[str, int, str]]) -> int:
    worst = 0
    for job, (state, code, _) in zip(jobs, states, strict=True):
        if state in ("COMPLETED", _FORGOTTEN):
            continue
        print(f"job {job.job}: {state.lower()}, see {job.errors}", file=sys.stderr)
        print(f"  {last_line(job.errors)}", file=sys.stderr)
        worst = worst or code or 1
    return worst


def _field(text: str, key: str) -> str:
    match = re.search(rf"\b{key}=(\S*)", text)
    return match[1] if match else ""
