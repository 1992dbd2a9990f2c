"""Learning rates: cosine, steps or plateaus behind a warm-up, counted in iterations.

State dicts have the authors' layout, so that their runs can go on. Torch is imported where it is
used: a command line can show and check the settings quickly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.schema import from_dict

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from sgear.schedules import Warmup


@dataclass(frozen=True)
class WarmupConfig:
    """Linear rise of the learning rate at the start."""

    init_lr_ratio: float = field(
        default=0.0, metadata={"help": "learning rate at the start as a share of the full one"}
    )
    num_epochs: float = field(default=0.0, metadata={"help": "epochs until the full one"})

    def __post_init__(self) -> None:
        if self.num_epochs < 0 or self.init_lr_ratio < 0:
            raise UserError("opt.warmup: num_epochs and init_lr_ratio must not be negative")


@dataclass(frozen=True)
class SchedulerConfig:
    """What follows the warm-up."""

    kind: Literal["cosine", "warmup_multi_step", "reduce_lr_on_plateau"] = field(
        default="warmup_multi_step", metadata={"help": "course of the learning rate"}
    )
    num_epochs: float | None = field(
        default=None, metadata={"help": "cosine: epochs until its end; null: to the last one"}
    )
    eta_min: float = field(default=0.0, metadata={"help": "cosine: learning rate at its end"})
    milestone_epochs: tuple[float, ...] = field(
        default=(20, 30, 40), metadata={"help": "multi step: epochs at which it falls"}
    )
    gamma: float = field(default=0.1, metadata={"help": "multi step: factor of a fall"})
    warmup_factor: float = field(default=1e-5, metadata={"help": "multi step: share at the start"})
    warmup_epochs: float = field(default=10, metadata={"help": "multi step: epochs of its rise"})
    warmup_method: Literal["linear", "constant"] = field(
        default="linear", metadata={"help": "multi step: shape of its rise"}
    )
    mode: Literal["max", "min"] = field(default="max", metadata={"help": "plateau: what is better"})
    factor: float = field(default=0.1, metadata={"help": "plateau: factor of a fall"})
    patience: int = field(default=10, metadata={"help": "plateau: epochs without progress"})
    threshold: float = field(default=1.0, metadata={"help": "plateau: least progress"})
    threshold_mode: Literal["abs", "rel"] = field(
        default="abs", metadata={"help": "plateau: absolute or relative progress"}
    )
    cooldown: int = field(default=3, metadata={"help": "plateau: epochs of rest after a fall"})
    min_lr: float = field(default=1e-7, metadata={"help": "plateau: lowest learning rate"})


KINDS = {
    "CosineLR": "cosine",
    "CosineAnnealingLR": "cosine",
    "WarmupMultiStepLR": "warmup_multi_step",
    "ReduceLROnPlateau": "reduce_lr_on_plateau",
}
"""Last word of the authors' ``_target_`` -> ours."""

_RENAMED = {"milestones": "milestone_epochs"}


def read_scheduler(cfg: Mapping[str, Any]) -> SchedulerConfig:
    """Options from the authors' section ``opt.scheduler``, or from ours.

    Args:
        cfg: Key -> value.

    Raises:
        UserError: Unknown names or wrong types.
    """
    given = {_RENAMED.get(str(k), str(k)): v for k, v in cfg.items() if k != "_target_"}
    given.pop("last_epoch", None)  # a checkpoint says where to go on
    name = str(cfg.get("_target_", "")).rsplit(".", 1)[-1]
    if name:
        if name not in KINDS:
            raise UserError(f"opt.scheduler._target_: unknown {name!r}; {suggest(name, KINDS)}")
        given["kind"] = KINDS[name]
    return from_dict(SchedulerConfig, given, where="opt.scheduler")


def read_warmup(cfg: Mapping[str, Any]) -> WarmupConfig:
    """Options from the authors' section ``opt.warmup``, or from ours.

    Args:
        cfg: Key -> value.

    Raises:
        UserError: Unknown names or wrong types.
    """
    given = {str(key): value for key, value in cfg.items() if key != "_target_"}
    return from_dict(WarmupConfig, given, where="opt.warmup")


def build_scheduler(
    config: SchedulerConfig,
    warmup: WarmupConfig,
    optimizer: Optimizer,
    iters_per_epoch: int,
    epochs: float,
    world_size: int = 1,
) -> Warmup:
    """The schedule, stepped once per iteration; a plateau once per epoch by ``step_metric``.

    Args:
        config: What follows the warm-up.
        warmup: The warm-up.
        optimizer: Its groups hold the full learning rates.
        iters_per_epoch: Iterations of an epoch, those that only accumulate too.
        epochs: Epochs of the training.
        world_size: Processes; ``eta_min`` grows with them as the learning rates do.

    Raises:
        UserError: A cosine without length.
    """
    from torch.optim.lr_scheduler import ReduceLROnPlateau

    from sgear.schedules import CosineLR, Warmup, WarmupMultiStepLR

    if config.kind == "cosine":
        length = epochs - warmup.num_epochs if config.num_epochs is None else config.num_epochs
        if length <= 0:
            raise UserError(
                f"opt.scheduler.num_epochs = {length:g}: nothing is left behind the warm-up; raise "
                "train.num_epochs or lower opt.warmup.num_epochs"
            )
        n_iterations = round(length * iters_per_epoch)
        base: Any = CosineLR(optimizer, n_iterations, config.eta_min * world_size)
    elif config.kind == "warmup_multi_step":
        base = WarmupMultiStepLR(
            optimizer,
            [round(epoch * iters_per_epoch) for epoch in config.milestone_epochs],
            config.gamma,
            config.warmup_factor,
            round(config.warmup_epochs * iters_per_epoch),
            config.warmup_method,
        )
    else:
        base = ReduceLROnPlateau(
            optimizer,
            mode=config.mode,
            factor=config.factor,
            patience=config.patience,
            threshold=config.threshold,
            threshold_mode=config.threshold_mode,
            cooldown=config.cooldown,
            min_lr=config.min_lr,
        )
    n_warmup = round(warmup.num_epochs * iters_per_epoch)
    return Warmup(optimizer, base, warmup.init_lr_ratio, n_warmup)
