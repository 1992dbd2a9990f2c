"""Runs that are asked to end: Ctrl-C, SIGTERM, and a scheduler that takes the machine away."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType
from typing import Any

from behaviorzoo.training.signals import StopRequest, StopTraining, leave

_SECONDS_TO_THE_END = 120.0


class RunStop(StopRequest):
    """A wish to end that the training loop reads; with submitit also that of the scheduler.

    Before the time of a job is over, or when it is preempted, the scheduler sends the signal on
    which submitit puts the job into the queue again. Its handler would leave at once; here it is
    called after the state has been saved.
    """

    def __init__(self) -> None:
        super().__init__()
        self._requeue: Any = None

    def __enter__(self) -> RunStop:
        """Take the signals over."""
        number = requeue_signal()
        handler = None if number is None else signal.getsignal(number)
        super().__enter__()
        if number is not None and self._before:
            self._requeue = self._before[number] = handler
            signal.signal(number, self._receive)
        return self

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if number in (signal.SIGINT, signal.SIGTERM):
            super()._receive(number, frame)
            return
        self.signal = number
        os.write(2, b"\nthe scheduler takes the machine away: saving, then queueing again\n")

    def leave(self, number: int) -> None:
        """End the process after the state has been saved.

        Raises:
            KeyboardInterrupt: Ctrl-C.
            SystemExit: With 128 and the number of the signal, as a shell counts; 0 after the
                scheduler's signal, for the job is queued again.
        """
        if number == requeue_signal() and callable(self._requeue):
            self._requeue(number, None)
            # Only the first process queues the job again; then the scheduler ends all of them.
            time.sleep(_SECONDS_TO_THE_END)
            raise SystemExit(0)
        leave(number)


def requeue_signal() -> int | None:
    """The signal on which submitit puts this job into the queue again; None outside of one."""
    if "SUBMITIT_EXECUTOR" not in os.environ:
        return None
    name = "SIG" + os.environ.get("SUBMITIT_PREEMPT_SIGNAL", "USR2")
    return int(getattr(signal, name)) if hasattr(signal, name) else None


__all__ = ["RunStop", "StopTraining", "requeue_signal"]
