"""All settings of a training run, from yaml recipes and ``key=value`` words."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from behaviorzoo.config import compose, describe, to_yaml
from behaviorzoo.launch import LaunchConfig
from behaviorzoo.training.config import TrainerConfig
from hbehavemae.data.config import DataConfig
from hbehavemae.model import ModelConfig
from hbehavemae.optim import OptimConfig

CONF = "hbehavemae.conf"


@dataclass
class PretrainConfig:
    """What ``hbehavemae pretrain`` is told; saved resolved as ``config.yaml`` in the run folder."""

    name: str = field(default="pretrain", metadata={"help": "name of the run"})
    out: str = field(default="runs/pretrain", metadata={"help": "run folder to write"})
    seed: int = field(default=0, metadata={"help": "the one number behind all randomness"})
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    launch: LaunchConfig = field(default_factory=LaunchConfig)


def configure(
    words: Sequence[str] = (), start: PretrainConfig | None = None, resume: bool = False
) -> PretrainConfig:
    """Settings of the user's words over a recipe.

    Args:
        words: ``key=value`` and ``group=choice`` words.
        start: Settings that the words change; the defaults of any recording where not given.
        resume: Start from the settings saved in the run folder ``out=``, unless the words
            name an experiment.

    Raises:
        UserError: Every mistake in one message.
    """
    words = list(words)
    if resume and not any(word.startswith("experiment=") for word in words):
        folders = [word.removeprefix("out=") for word in words if word.startswith("out=")]
        saved = Path(folders[-1] if folders else PretrainConfig.out).expanduser() / "config.yaml"
        if saved.is_file():
            return compose(PretrainConfig, CONF, [f"experiment={saved}", *words])
    if start is None:
        return compose(PretrainConfig, CONF, words)
    with tempfile.TemporaryDirectory(prefix="hbehavemae-") as folder:
        file = Path(folder) / "settings.yaml"
        file.write_text(to_yaml(start), encoding="utf-8")
        return compose(PretrainConfig, CONF, [f"experiment={file}", *words])


def help_text() -> str:
    """Every key with its type, default and meaning."""
    return describe(PretrainConfig)
