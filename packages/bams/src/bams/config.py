"""All settings of a training run, from yaml recipes and ``key=value`` words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from bams.data.config import DataConfig
from bams.losses.config import LossConfig
from bams.model.config import ModelConfig
from bams.optim import OptimConfig
from behaviorzoo.config import compose_run, describe, to_yaml
from behaviorzoo.errors import UserError
from behaviorzoo.training.config import TrainerConfig

CONF = "bams.conf"
Compat = Literal["paper", "upstream"]


@dataclass
class LabelConfig:
    """How labels of the data, where they have any, are read from the embeddings in training.

    Raises:
        UserError: A number out of its range.
    """

    every_epochs: int = field(
        default=100, metadata={"help": "epochs from one reading of labels to the next; 0 for never"}
    )
    train: float = field(
        default=0.8, metadata={"help": "share of the sequences to learn labels from: 0.8 or 0.2"}
    )
    tasks: list[str] = field(
        default_factory=list, metadata={"help": "which labels; empty = all of the file"}
    )
    regression: list[str] = field(
        default_factory=list, metadata={"help": "labels that are numbers, not classes"}
    )

    def __post_init__(self) -> None:
        if self.every_epochs < 0:
            raise UserError(f"every_epochs = {self.every_epochs} must be at least 0")
        if self.train not in (0.2, 0.8):
            raise UserError(f"train = {self.train} must be 0.8 or 0.2")


@dataclass
class TrainConfig:
    """What ``bams train`` is told; saved resolved as ``config.yaml`` in the run folder."""

    name: str = field(default="bams", metadata={"help": "name of the run"})
    out: str = field(default="runs/bams", metadata={"help": "run folder to write"})
    seed: int = field(default=0, metadata={"help": "the one number behind all randomness"})
    compat: Compat = field(
        default="paper",
        metadata={
            "help": "paper: what the paper describes; upstream: what the public code does, "
            "its defects included"
        },
    )
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    labels: LabelConfig = field(default_factory=LabelConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UserError(f"seed = {self.seed} must be at least 0")


def configure(
    words: Sequence[str] = (), start: TrainConfig | None = None, resume: bool = False
) -> TrainConfig:
    """Settings of the user's words over a recipe; files of data are not looked at.

    Args:
        words: ``key=value`` and ``group=choice`` words.
        start: Settings that the words change; the recipe for any recording where not given.
        resume: Start from the settings saved in the run folder, unless the words name an
            experiment.

    Raises:
        UserError: Every mistake in one message.
    """
    return compose_run(TrainConfig, CONF, words, start, resume)


def checked(config: TrainConfig) -> TrainConfig:
    """The settings, if what can be checked without the data is right.

    Raises:
        UserError: No data, or settings that do not fit each other.
    """
    if not config.data.path:
        raise UserError("data.path is empty: give data.path=FILE or FOLDER with recordings")
    config.data.check()
    config.loss.pairs_of(config.model.encoders)
    processes = config.trainer.devices * config.trainer.num_nodes
    if processes > 1 and not config.optim.drop_last:
        raise UserError(
            "optim.drop_last=false leaves a process without sequences at the end of an epoch; set "
            "it to true to train on several devices"
        )
    return config


def sized(config: TrainConfig, n_inputs: int, n_targets: int) -> TrainConfig:
    """The settings with the network's width taken from the data.

    Args:
        config: Settings; sizes of the network that are not 0 must be those of the data.
        n_inputs: Features of a frame.
        n_targets: Actions of a frame.

    Raises:
        UserError: The network is of another size than the data.
    """
    sizes = {"n_inputs": n_inputs, "n_targets": n_targets}
    wrong = [
        f"model.{name} = {getattr(config.model, name)}, the data have {size}"
        for name, size in sizes.items()
        if getattr(config.model, name) not in (0, size)
    ]
    if wrong:
        raise UserError(
            f"{'; '.join(wrong)}. Leave it out (or 0) to follow the data; to go on with a run give "
            "the data and features that it was started with"
        )
    return replace(config, model=replace(config.model, **sizes))


def timescales(model: ModelConfig, fps: float | None = None) -> str:
    """Table of the encoders and how far each looks back.

    Args:
        model: The network.
        fps: Frames per second, where known.
    """
    header = f"{'timescale':<14}{'features':>9}{'frames seen':>13}"
    lines = [header + f"{'seconds':>9}" if fps else header]
    for name, encoder in model.encoders.items():
        frames = encoder.receptive_field
        line = f"{name:<14}{encoder.channels[-1]:>9}{frames:>13}"
        lines.append(line + f"{frames / fps:>9.3g}" if fps else line)
    return "\n".join(lines)


def overview(config: TrainConfig) -> str:
    """Resolved settings and timescales as text, shown before a run starts."""
    return f"{to_yaml(config)}\n{timescales(config.model)}\n"


def help_text() -> str:
    """Every key with its type, default and meaning."""
    return describe(TrainConfig)
