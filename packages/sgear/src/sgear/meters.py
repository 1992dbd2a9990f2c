"""Means over batches, kept on the device until they are wanted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sgear.distributed import Processes


class Meter:
    """Sums of numbers since the last row of the log."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._batches: dict[str, int] = {}
        self._of_all: list[dict[str, Any]] = []

    def add(self, numbers: Mapping[str, Tensor]) -> None:
        """Add those of a batch; nothing waits for the device."""
        for name, value in numbers.items():
            value = value.detach().float()
            before = self._sums.get(name)
            self._sums[name] = value if before is None else before.to(value.device) + value
            self._batches[name] = self._batches.get(name, 0) + 1

    def means(self, processes: Processes) -> dict[str, float]:
        """Means over batches and processes; starts anew."""
        if not self._sums:
            return {}
        names = list(self._sums)
        sums = torch.stack([self._sums[name].cpu() for name in names])
        batches = torch.tensor([float(self._batches[name]) for name in names])
        means = processes.sums(sums) / processes.sums(batches)
        self._sums, self._batches = {}, {}
        return dict(zip(names, means.tolist(), strict=True))

    def gather(self, processes: Processes) -> None:
        """Collect the state of all processes, for :meth:`state`."""
        sums = {name: value.cpu() for name, value in self._sums.items()}
        self._of_all = processes.gather({"sums": sums, "batches": dict(self._batches)})

    def state(self) -> list[dict[str, Any]]:
        """Sums of every process as plain containers."""
        return self._of_all

    def load(self, state: list[dict[str, Any]], processes: Processes) -> None:
        """Go on with the sums of this process."""
        own = state[processes.place.rank]
        self._sums, self._batches = dict(own["sums"]), dict(own["batches"])
