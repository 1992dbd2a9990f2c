"""A run that is asked to end (Ctrl-C, SIGTERM) saves at the next update and then ends."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any, NoReturn

_SIGNALS = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}
# With SIGUSR2 a scheduler says that the time is nearly over; only where somebody waits for it.
_WARNING = {signal.SIGUSR2: "SIGUSR2"} if hasattr(signal, "SIGUSR2") else {}


_began = False


def training_began() -> bool:
    """Whether a loop of this process has listened for signals: from then on each stretch saves."""
    return _began


class StopTraining(BaseException):
    """Ends a training run from inside its loop.

    Not an ``Exception``: nothing between the loop and the caller may take it for a failure.

    Attributes:
        signal: The signal that asked for the end, or None when the allowed time is over.
    """

    def __init__(self, signal: int | None = None):
        super().__init__(signal)
        self.signal = signal


class StopRequest:
    """Turns SIGTERM and Ctrl-C into a wish that the training loop reads; a context manager.

    A second Ctrl-C ends the run at once. Outside the main thread, where Python delivers no
    signals, it changes nothing.

    Attributes:
        signal: The signal that came, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        """Remember who has the signals now, and take them over."""
        global _began
        _began = True
        if threading.current_thread() is threading.main_thread():
            awaited = [n for n in _WARNING if callable(signal.getsignal(n))]
            self._before = {n: signal.getsignal(n) for n in (*_SIGNALS, *awaited)}
            self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}

    def listen(self) -> None:
        """Take the signals over again, from a library that took them in between."""
        for number in self._before:
            signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal == signal.SIGINT:
            raise StopTraining(number)
        self.signal = number
        again = "; Ctrl-C again ends at once" if number == signal.SIGINT else ""
        # print() may be the very call that the signal interrupts, and it is not reentrant.
        name = {**_SIGNALS, **_WARNING}[signal.Signals(number)]
        os.write(2, f"\n{name}: saving, then ending{again}\n".encode())


def leave(number: int) -> NoReturn:
    """End the process that a signal asked to end, once all is saved.

    Args:
        number: The signal.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        SystemExit: With 128 and the number of the signal, as a shell counts; 0 after a
            scheduler's warning.
    """
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    if number in _WARNING:
        # For whoever started the run: submitit puts the job back into the queue and ends this
        # process, if it is the one that speaks for all. The others have nothing more to do.
        signal.raise_signal(number)
        raise SystemExit(0)
    raise SystemExit(128 + number)
