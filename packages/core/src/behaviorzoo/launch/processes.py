"""Several processes that run one command together: who is who, and where they meet.

A process learns its place from the variables that torch's launchers use (``RANK``, ``LOCAL_RANK``,
``WORLD_SIZE``, ``LOCAL_WORLD_SIZE``, ``GROUP_RANK``, ``MASTER_ADDR``, ``MASTER_PORT``), whoever
started it.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType

LAUNCHED = "BEHAVIORZOO_LAUNCHED"
"""Set in processes that this package started together."""

_FIRST_PORT, _PORTS = 20_000, 40_000


@dataclass(frozen=True)
class Place:
    """The place of a process among those that work together.

    Attributes:
        rank: Number of the process, 0 speaks for all.
        local_rank: Number on its machine.
        node: Number of its machine.
        processes: How many there are.
        processes_here: How many there are on each machine.
        address: Where process 0 listens.
        port: And on which port.
    """

    rank: int
    local_rank: int
    node: int
    processes: int
    processes_here: int
    address: str
    port: int

    def environment(self) -> dict[str, str]:
        """Variables for the process."""
        return {
            "RANK": str(self.rank),
            "LOCAL_RANK": str(self.local_rank),
            "GROUP_RANK": str(self.node),
            "WORLD_SIZE": str(self.processes),
            "LOCAL_WORLD_SIZE": str(self.processes_here),
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(self.port),
            LAUNCHED: "1",
        }


def launched_together() -> bool:
    """Whether this process is one of several that this package started."""
    return LAUNCHED in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_main_process() -> bool:
    """Whether this process speaks for all.

    Distributed training starts the command once more for every further device, and what the
    command prints is wanted once.
    """
    # RANK before LOCAL_RANK: every machine has a local rank 0.
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))


def tell(text: str) -> None:
    """Print ``text`` at once, from one process only where several train together."""
    if is_main_process():
        print(text, flush=True)


def slurm_place(environment: Mapping[str, str]) -> Place | None:
    """The place of a task of a SLURM job; None where it is alone.

    Args:
        environment: Variables that ``srun`` sets.
    """
    processes = int(environment.get("SLURM_NTASKS", "1"))
    if processes == 1:
        return None
    nodes = int(environment.get("SLURM_JOB_NUM_NODES", "1"))
    # A requeued job keeps its number, and the port of the stretch before may still be taken.
    job = int(environment["SLURM_JOB_ID"]) + 7 * int(environment.get("SLURM_RESTART_COUNT", "0"))
    return Place(
        rank=int(environment["SLURM_PROCID"]),
        local_rank=int(environment["SLURM_LOCALID"]),
        node=int(environment["SLURM_NODEID"]),
        processes=processes,
        processes_here=processes // nodes,
        address=_address(first_host(environment["SLURM_JOB_NODELIST"])),
        port=_FIRST_PORT + job % _PORTS,
    )


def first_host(nodes: str) -> str:
    """First machine of a SLURM list such as ``gpu[03-05,9],cpu1``."""
    match = re.match(r"([^,\[]+)(?:\[(\w+))?([^,\]]*\]([^,]*))?", nodes)
    if match is None:
        raise ValueError(f"no list of machines: {nodes!r}")
    prefix, number, _, suffix = match.groups()
    return prefix + (number or "") + (suffix or "")


def run_processes(command: Sequence[str], count: int) -> int:
    """Run a command in several processes on this machine until all have ended.

    Signals go on to all of them. When one fails the others are ended: without it they would wait.

    Args:
        command: Program and words.
        count: How many.

    Returns:
        0, or the exit code of the first that failed.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started: list[subprocess.Popen[bytes]] = []

    def forward(number: int, frame: FrameType | None) -> None:
        for process in started:
            process.send_signal(number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        for rank in range(count):
            place = Place(rank, rank, 0, count, count, "127.0.0.1", port)
            # A group of their own: Ctrl-C in a terminal reaches them once, through us.
            started.append(
                subprocess.Popen(
                    command, env={**os.environ, **place.environment()}, start_new_session=True
                )
            )
        return _wait(started)
    finally:
        for process in started:
            process.kill()
        for process in started:
            with suppress(subprocess.TimeoutExpired):  # a driver that hangs keeps even the killed
                process.wait(timeout=10)
        for number, handler in before.items():
            signal.signal(number, handler)


def this_command(entry: str, words: Sequence[str]) -> list[str]:
    """Program and words that run the function ``entry`` (``bams.cli:main``) with ``words``."""
    module, _, name = entry.partition(":")
    code = f"import sys; from {module} import {name}; sys.exit({name}(sys.argv[1:]))"
    return [sys.executable, "-c", code, *words]


def _wait(processes: list[subprocess.Popen[bytes]]) -> int:
    while True:
        codes = [process.poll() for process in processes]
        failed = [code for code in codes if code]
        if failed:
            time.sleep(0.5)  # those that end for the same reason may still say why
            return failed[0] if failed[0] > 0 else 128 - failed[0]
        if all(code == 0 for code in codes):
            return 0
        time.sleep(0.05)


def _address(host: str) -> str:
    """What the name of a machine stands for, where only the scheduler knows it."""
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        told = subprocess.run(
            ["scontrol", "show", "node", "-o", host], capture_output=True, text=True, check=False
        )
        match = re.search(r"NodeAddr=(\S+)", told.stdout)
        return match[1] if match else host
    return host
