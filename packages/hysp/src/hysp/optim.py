"""Optimisers and learning-rate schedules of the published recipes.

Torch and geoopt are imported where they are used, so that a command line can show and check the
settings quickly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from behaviorzoo.errors import UserError, suggest

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LambdaLR
    from torch.optim.optimizer import ParamsT

OPTIMIZERS = ("SGD", "Adam", "AdamW", "RiemannianSGD", "RiemannianAdam", "LARS")
SCHEDULERS = ("step", "cosine")
MOMENTUM = 0.9
STEP_FACTOR = 0.1
WARMUP_START = 0.1
STABILIZE_EVERY = 10


@dataclass(frozen=True)
class OptimConfig:
    """Optimiser and schedule; the defaults are those of the NTU-60 cross-view recipe.

    Raises:
        UserError: Unknown names or numbers out of their range.
    """

    optimizer: str = field(
        default="RiemannianSGD", metadata={"help": "one of: " + ", ".join(OPTIMIZERS)}
    )
    lr: float = field(default=0.2, metadata={"help": "learning rate of the whole batch"})
    nesterov: bool = field(default=False, metadata={"help": "Nesterov momentum of SGD"})
    weight_decay: float = field(default=1e-4, metadata={"help": "decay of every parameter"})
    scheduler: str = field(default="step", metadata={"help": "step or cosine"})
    epochs: int = field(default=600, metadata={"help": "passes over the training sequences"})
    milestones: tuple[int, ...] = field(
        default=(400,), metadata={"help": "step: epochs at which the rate falls to a tenth"}
    )
    warmup_epochs: int = field(default=10, metadata={"help": "cosine: epochs of linear warm-up"})
    lr_min: float = field(default=0.0, metadata={"help": "cosine: learning rate at the end"})
    batch_size: int = field(
        default=512, metadata={"help": "sequences per batch, shared among the devices"}
    )
    drop_last: bool = field(
        default=True, metadata={"help": "leave out an incomplete batch at the end of an epoch"}
    )
    val_batch_size: int = field(
        default=256, metadata={"help": "held-out sequences per batch, shared among the devices"}
    )
    validate_every_epochs: int = field(
        default=1,
        metadata={"help": "epochs from one look at held-out sequences to the next; 0 for never"},
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(self.milestones))
        wrong = [
            f"{name}: unknown {getattr(self, name)!r}; {suggest(getattr(self, name), choices)}"
            for name, choices in {"optimizer": OPTIMIZERS, "scheduler": SCHEDULERS}.items()
            if getattr(self, name) not in choices
        ]
        wrong += [f"lr = {self.lr} must be positive"] if not self.lr > 0 else []
        wrong += [
            f"{name} = {getattr(self, name)} must be at least {limit}"
            for name, limit in {
                "weight_decay": 0,
                "epochs": 1,
                "warmup_epochs": 0,
                "lr_min": 0,
                "batch_size": 2,
                "val_batch_size": 1,
                "validate_every_epochs": 0,
            }.items()
            if not getattr(self, name) >= limit
        ]
        if wrong:
            raise UserError("; ".join(wrong))


def build_optimizer(
    name: str,
    parameters: ParamsT,
    lr: float,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> Optimizer:
    """The optimiser that a recipe names.

    ``RiemannianSGD`` follows a manifold where a parameter lies on one; elsewhere it is SGD whose
    momentum starts at the first raw gradient, which so counts 1.9 times in the first step.
    ``AdamW`` keeps its own decay of 0.01, as published.

    Args:
        name: One of :data:`OPTIMIZERS`.
        parameters: Parameters, or groups of them.
        lr: Learning rate.
        weight_decay: On every parameter, norms and biases too.
        nesterov: Nesterov momentum, SGD only.

    Raises:
        UserError: Unknown name.
    """
    import torch

    from hysp.hyperbolic import geoopt
    from hysp.lars import LARS

    sgd: dict[str, Any] = {"lr": lr, "momentum": MOMENTUM, "weight_decay": weight_decay}
    builders: dict[str, Any] = {
        "SGD": lambda: torch.optim.SGD(parameters, nesterov=nesterov, **sgd),
        "Adam": lambda: torch.optim.Adam(parameters, lr=lr, weight_decay=weight_decay),
        "AdamW": lambda: torch.optim.AdamW(parameters, lr=lr),
        "RiemannianSGD": lambda: geoopt().optim.RiemannianSGD(parameters, **sgd),
        "RiemannianAdam": lambda: geoopt().optim.RiemannianAdam(
            parameters, lr=lr, weight_decay=weight_decay, stabilize=STABILIZE_EVERY
        ),
        "LARS": lambda: LARS(parameters, **sgd),
    }
    if name not in builders:
        raise UserError(f"optimizer: unknown {name!r}; {suggest(name, builders)}")
    return builders[name]()


def rate_factor(epoch: int, config: OptimConfig, final_hyper_epoch: int | None = None) -> float:
    """Learning rate of an epoch as a share of ``config.lr``.

    Args:
        epoch: Counted from 0.
        config: Options.
        final_hyper_epoch: Last epoch of the curriculum; None without one. ``cosine`` then stays
            constant so long and falls to a tenth, instead of warming up and falling to ``lr_min``.
    """
    if config.scheduler == "step":
        return STEP_FACTOR ** sum(epoch >= milestone for milestone in config.milestones)
    if final_hyper_epoch is not None:
        return _cosine(epoch - final_hyper_epoch, config.epochs - final_hyper_epoch, STEP_FACTOR)
    if epoch < config.warmup_epochs:
        return WARMUP_START + (1 - WARMUP_START) * epoch / config.warmup_epochs
    length = config.epochs - config.warmup_epochs
    return _cosine(epoch - config.warmup_epochs, length, config.lr_min / config.lr)


def build_scheduler(
    optimizer: Optimizer, config: OptimConfig, final_hyper_epoch: int | None = None
) -> LambdaLR:
    """The schedule, to be stepped once per epoch.

    Args:
        optimizer: Its rates are those of epoch 0 at full height.
        config: Options.
        final_hyper_epoch: See :func:`rate_factor`.
    """
    from torch.optim.lr_scheduler import LambdaLR

    return LambdaLR(optimizer, lambda epoch: rate_factor(epoch, config, final_hyper_epoch))


def _cosine(epoch: int, length: int, end: float) -> float:
    """Half a cosine from 1 to ``end``; 1 before it begins."""
    progress = min(max(epoch, 0) / max(length, 1), 1.0)
    return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * progress))
