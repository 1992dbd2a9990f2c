"""A SLURM of two nodes on this machine, in a throw-away folder; the system's is not touched."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")
NODES = ("n1", "n2")
_SBIN = "/usr/sbin:/sbin"


def missing() -> str:
    """Why no cluster can be started here; empty where one can."""
    path = f"{os.environ.get('PATH', '')}:{_SBIN}"
    absent = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if absent:
        return f"no {', '.join(absent)}: install Debian's slurm-wlm and munge"
    if os.geteuid() != 0:
        return "slurmd needs root"
    try:
        pwd.getpwnam("munge")
    except KeyError:
        return "no user munge: install Debian's munge"
    return ""


class Cluster:
    """Starts munged, slurmctld and two slurmd, and ends them by their process ids.

    Args:
        folder: An empty folder that all users can enter.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": f"{os.environ['PATH']}:{_SBIN}",
        }
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> Cluster:
        """Start all daemons and wait until both nodes take work."""
        for name in ("state", "log", *(f"spool_{node}" for node in NODES)):
            (self.folder / name).mkdir()
        self._start_munge()
        (self.folder / "slurm.conf").write_text(self._settings(), encoding="utf-8")
        self._start("slurmctld", "slurmctld", "-D", "-i")
        for node in NODES:
            self._start(node, "slurmd", "-D", "-N", node)
        wanted = f"{len(NODES)} idle"
        for _ in range(150):
            told = self.run("sinfo", "-h", "-o", "%D %t")
            if told.strip() == wanted:
                return self
            time.sleep(0.2)
        logs = "\n".join(self.log(name)[-2000:] for name in ("munged", "slurmctld", *NODES))
        self.stop()
        raise RuntimeError(f"the nodes do not come up: {told}\n{logs}")

    def stop(self) -> None:
        """End what was started, last first."""
        self.run("scancel", "--state=RUNNING", "--user=root")
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes = []

    def run(self, *command: str) -> str:
        """Output of a SLURM command."""
        environment = {**os.environ, **self.environment}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        return done.stdout

    def log(self, name: str) -> str:
        """What a daemon wrote."""
        path = self.folder / "log" / name
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def _start(self, name: str, *command: str, user: str | None = None) -> None:
        log = (self.folder / "log" / name).open("wb")
        environment = {**os.environ, **self.environment}
        self._processes.append(
            subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, user=user, start_new_session=True
            )
        )

    def _start_munge(self) -> None:
        place = self.folder / "munge"
        place.mkdir(mode=0o755)
        key = place / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        for path in (place, key):
            shutil.chown(path, "munge")
        options = [f"--{k}={place / v}" for k, v in _MUNGE.items()]
        self._start("munged", "munged", "--foreground", "--force", *options, user="munge")
        for _ in range(50):
            if (place / "socket").exists():
                return
            time.sleep(0.1)
        raise RuntimeError(f"munged does not come up: {self.log('munged')}")

    def _settings(self) -> str:
        ports = _free_ports(1 + len(NODES))
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1 Port={port} "
            "CPUs=4 RealMemory=4096 State=UNKNOWN"
            for node, port in zip(NODES, ports[1:], strict=True)
        )
        return _SETTINGS.format(
            host=socket.gethostname(), folder=self.folder, port=ports[0], nodes=nodes,
            names=",".join(NODES),
        )  # fmt: skip


_MUNGE = {
    "key-file": "munge.key",
    "socket": "socket",
    "pid-file": "pid",
    "log-file": "log",
    "seed-file": "seed",
}
# cred_expire: a requeued job waits that long (120 s by default) before it may start again.
_SETTINGS = """\
ClusterName=throwaway
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CryptoType=crypto/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool_%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmdParameters=config_overrides
SlurmdTimeout=60
MpiDefault=none
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
KillWait=20
MinJobAge=600
OverTimeLimit=0
ReturnToService=2
MailProg=/bin/true
{nodes}
PartitionName=main Nodes={names} Default=YES MaxTime=INFINITE State=UP
"""


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
