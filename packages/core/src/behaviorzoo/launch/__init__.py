"""Where the work of a command runs: here, in several processes here, or on a SLURM cluster.

Any verb of any command takes ``launch=slurm`` and ``launch.KEY=VALUE``. A job runs the same command
line again, so that whatever can be run can be launched.
"""

from behaviorzoo.launch.config import LaunchConfig
from behaviorzoo.launch.processes import is_main_process, tell

__all__ = ["LaunchConfig", "is_main_process", "tell"]
