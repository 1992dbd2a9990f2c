"""One decision of all processes where each sees something else."""

from __future__ import annotations

import time

import lightning
import torch


class Votes:
    """Lets all processes decide alike on what each sees by itself: signals and clocks.

    One process decides alone and at once. Several exchange a few numbers about once a second; how
    many updates that is, is part of the exchange.
    """

    def __init__(self) -> None:
        self._wait = 0
        self._calls = 0
        self._since = time.monotonic()

    def agree(
        self, trainer: lightning.Trainer, wishes: list[int], force: bool = False
    ) -> list[int]:
        """Largest of every wish over all processes, or zeros when it is not yet time to ask.

        Args:
            trainer: Its strategy carries the messages.
            wishes: One number per question, 0 for no.
            force: Ask now; all processes must say so alike.
        """
        if trainer.world_size == 1:
            return wishes
        self._wait -= 1
        self._calls += 1
        if self._wait > 0 and not force:
            return [0] * len(wishes)
        seconds = max(time.monotonic() - self._since, 1e-6)
        pace = min(max(int(self._calls / seconds), 1), 1000)
        ballot = torch.tensor([*wishes, pace], device=trainer.strategy.root_device)
        ballot = trainer.strategy.reduce(ballot, reduce_op="max")
        *agreed, self._wait = (int(value) for value in ballot.tolist())
        self._calls, self._since = 0, time.monotonic()
        return agreed
