"""The schedules themselves, see :mod:`sgear.schedule`; attributes have the authors' names."""

from __future__ import annotations

import math
import warnings
from bisect import bisect_right
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

Rates = list[float | Tensor]


class CosineLR(LRScheduler):
    """Half a cosine down to ``eta_min`` from whatever rate there is, then 0.

    It goes by the ratio of neighbouring values: a rate that a warm-up left below the full one
    stays that much lower.

    Args:
        optimizer: The optimiser.
        T_max: Iterations of the half cosine.
        eta_min: Where it ends.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def get_lr(self) -> Rates:
        """Rates of the present iteration from those of the one before."""
        now = [group["lr"] for group in self.optimizer.param_groups]
        if self.last_epoch == 0:
            return now
        if self.last_epoch >= self.T_max:
            return [0.0] * len(now)
        ratio = self._height(self.last_epoch) / self._height(self.last_epoch - 1)
        return [self.eta_min + (lr - self.eta_min) * ratio for lr in now]

    def _height(self, iteration: int) -> float:
        return 1 + math.cos(math.pi * iteration / self.T_max)


class WarmupMultiStepLR(LRScheduler):
    """Falls at milestones, after a rise of its own.

    Args:
        optimizer: The optimiser.
        milestones: Iterations at which the rate falls.
        gamma: Factor of a fall.
        warmup_factor: Share of the full rate at the start.
        warmup_iters: Iterations of the rise.
        warmup_method: ``linear``, or ``constant`` for a jump at its end.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: list[int],
        gamma: float,
        warmup_factor: float,
        warmup_iters: int,
        warmup_method: str = "linear",
    ) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        self.warmup_factor, self.warmup_iters = warmup_factor, warmup_iters
        self.warmup_method = warmup_method
        super().__init__(optimizer)

    def get_lr(self) -> Rates:
        """Rates of the present iteration."""
        share = self._rise() * self.gamma ** bisect_right(self.milestones, self.last_epoch)
        return [base * share for base in self.base_lrs]

    def _rise(self) -> float:
        if self.last_epoch >= self.warmup_iters:
            return 1.0
        if self.warmup_method == "constant":
            return self.warmup_factor
        progress = self.last_epoch / self.warmup_iters
        return self.warmup_factor * (1 - progress) + progress


class Warmup(LRScheduler):
    """Linear rise, then another schedule; state dicts have the authors' layout.

    The rise takes ``warmup_iters - 1`` steps, so that the full rate is never quite reached, as in
    the published code.

    Args:
        optimizer: The optimiser.
        base_scheduler: What follows.
        init_lr_ratio: Share of the full rate at the start; without a warm-up it is not used.
        n_iterations: Iterations of the warm-up.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_scheduler: LRScheduler,
        init_lr_ratio: float = 0.0,
        n_iterations: int = 0,
    ) -> None:
        self.base_scheduler = base_scheduler
        self.warmup_iters = max(n_iterations, 1)
        self.init_lr_ratio = init_lr_ratio if self.warmup_iters > 1 else 1.0
        super().__init__(optimizer)

    @property
    def by_metric(self) -> bool:
        """Whether the schedule behind the warm-up follows a metric."""
        return isinstance(self.base_scheduler, ReduceLROnPlateau)

    def get_lr(self) -> Rates:
        """Rates during the rise."""
        progress = self.last_epoch / self.warmup_iters
        share = self.init_lr_ratio + (1 - self.init_lr_ratio) * progress
        return [base * share for base in self.base_lrs]

    def step(self, epoch: int | None = None) -> None:
        """One iteration further."""
        with warnings.catch_warnings():
            # While gradients add up the rate moves on before the optimiser does: it is meant.
            warnings.filterwarnings("ignore", "Detected call of .lr_scheduler.step", UserWarning)
            if self.last_epoch < self.warmup_iters - 1:
                super().step(epoch)
            elif not self.by_metric:
                self.base_scheduler.step()

    def step_metric(self, metric: float) -> None:
        """One epoch further, for a schedule that follows a metric; others ignore it."""
        if self.by_metric and self.last_epoch >= self.warmup_iters - 1:
            self.base_scheduler.step(metric)  # type: ignore[arg-type]

    def state_dict(self) -> dict[str, Any]:
        """``base_sched_dict`` and ``other_stuff``."""
        others = ("optimizer", "base_scheduler")
        own = {name: value for name, value in self.__dict__.items() if name not in others}
        return {"base_sched_dict": self.base_scheduler.state_dict(), "other_stuff": own}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where a run was."""
        self.base_scheduler.load_state_dict(state_dict["base_sched_dict"])
        self.__dict__.update(state_dict["other_stuff"])
