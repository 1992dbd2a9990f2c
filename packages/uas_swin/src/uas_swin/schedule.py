"""The authors' learning rate: a cosine from epoch to epoch, with a linear warm-up in iterations."""

from __future__ import annotations

from math import ceil, cos, pi
from typing import Any

from mmengine.optim import _ParamScheduler
from mmengine.registry import PARAM_SCHEDULERS

from behaviorzoo.errors import UserError


def learning_rate(
    iteration: int,
    base: float,
    iters_per_epoch: int,
    epochs: int,
    warmup_epochs: float = 2.5,
    warmup_ratio: float = 0.1,
    min_lr: float = 0.0,
) -> float:
    """The rate in force at an iteration.

    In epoch e it is ``min_lr + (base - min_lr) / 2 * (1 + cos(pi e / epochs))``. During the
    first ``W = warmup_epochs * iters_per_epoch`` iterations that is scaled by
    ``1 - (1 - t / W) * (1 - warmup_ratio)``. Where W is no whole number, the last value of the
    warm-up stays in force until the next epoch begins.

    Args:
        iteration: t, from 0.
        base: The rate of the parameter group.
        iters_per_epoch: Iterations of an epoch.
        epochs: Of the cosine.
        warmup_epochs: Length of the warm-up; 0 for none.
        warmup_ratio: Where the warm-up starts, as a share.
        min_lr: Where the cosine ends.
    """

    def of_epoch(t: int) -> float:
        return min_lr + 0.5 * (base - min_lr) * (1 + cos(pi * (t // iters_per_epoch) / epochs))

    length = warmup_epochs * iters_per_epoch
    last = ceil(length) - 1  # the last iteration of the warm-up
    held = length != int(length) and iteration // iters_per_epoch == last // iters_per_epoch
    t = min(iteration, last) if held else iteration
    if t >= length:
        return of_epoch(t)
    return of_epoch(t) * (1 - (1 - t / length) * (1 - warmup_ratio))


@PARAM_SCHEDULERS.register_module()
class EpochCosineLR(_ParamScheduler):
    """:func:`learning_rate` as a scheduler of mmengine, one step an iteration.

    In a configuration, beside a training loop by epochs (whose length the cosine then has)::

        param_scheduler = dict(type="EpochCosineLR", convert_to_iter_based=True)

    Args:
        optimizer: What is scheduled; every group has its own base rate.
        epochs: Of the cosine.
        epoch_length: Iterations of an epoch.
        warmup_epochs: See :func:`learning_rate`.
        warmup_ratio: See :func:`learning_rate`.
        min_lr: See :func:`learning_rate`.
        **options: ``begin``, ``end`` (iterations), ``last_step``, ``verbose`` of mmengine.

    Raises:
        UserError: No epochs, no iterations, or a warm-up below 0.
    """

    def __init__(
        self,
        optimizer: Any,
        epochs: int,
        epoch_length: int,
        warmup_epochs: float = 2.5,
        warmup_ratio: float = 0.1,
        min_lr: float = 0.0,
        **options: Any,
    ):
        if epochs < 1 or epoch_length < 1 or warmup_epochs < 0:
            raise UserError(
                f"EpochCosineLR: {epochs} epochs of {epoch_length} iterations with a warm-up of "
                f"{warmup_epochs}; epochs and iterations start at 1, the warm-up at 0"
            )
        self.course = {
            "iters_per_epoch": epoch_length,
            "epochs": epochs,
            "warmup_epochs": warmup_epochs,
            "warmup_ratio": warmup_ratio,
            "min_lr": min_lr,
        }
        super().__init__(optimizer, "lr", **{**options, "by_epoch": False})
        # mmengine would warn that rates change before the first step of the optimiser, as they do
        # while gradients are accumulated.
        optimizer._global_step = 0

    @classmethod
    def build_iter_from_epoch(
        cls,
        optimizer: Any,
        epoch_length: int,
        end: int,
        epochs: int | None = None,
        begin: int = 0,
        **options: Any,
    ) -> EpochCosineLR:
        """What mmengine calls for ``convert_to_iter_based``.

        Args:
            optimizer: What is scheduled.
            epoch_length: Iterations of an epoch.
            end: Epochs after which the rate stays as it is; mmengine gives those of the training.
            epochs: Of the cosine; ``end`` by default.
            begin: Epochs before it starts.
            **options: Of the constructor.
        """
        length = {"begin": begin * epoch_length, "end": end * epoch_length}
        return cls(optimizer, epochs or end, epoch_length, **length, **options)

    def state_dict(self) -> dict[str, Any]:
        """Where it stands. The course is that of the configuration, also when that has changed."""
        return {"iteration": self._global_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from where another stood; the optimiser's own state has been loaded before."""
        self._global_step = state_dict["iteration"]
        self.last_step = min(max(self._global_step, self.begin), self.end - 1) - self.begin
        self.base_values = [group["initial_lr"] for group in self.optimizer.param_groups]
        for group, value in zip(self.optimizer.param_groups, self._get_value(), strict=True):
            group["lr"] = value

    def _get_value(self) -> list[float]:
        return [learning_rate(self.last_step, base, **self.course) for base in self.base_values]
