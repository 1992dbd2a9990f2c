"""All settings of a training run, from yaml recipes and ``key=value`` words."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from behaviorzoo.config import compose, describe, to_yaml
from behaviorzoo.errors import UserError
from behaviorzoo.launch import LaunchConfig
from behaviorzoo.training.config import TrainerConfig
from hbehavemae.data import DataConfig, data_shape
from hbehavemae.layout import LayoutConfig, describe_hierarchy, resolve_layout
from hbehavemae.model import Geometry, ModelConfig
from hbehavemae.optim import OptimConfig

CONF = "hbehavemae.conf"
DEFAULT_OUT = "runs/pretrain"


@dataclass
class PretrainConfig:
    """What ``hbehavemae pretrain`` is told; saved resolved as ``config.yaml`` in the run folder."""

    name: str = field(default="pretrain", metadata={"help": "name of the run"})
    out: str = field(default=DEFAULT_OUT, metadata={"help": "run folder to write"})
    seed: int = field(default=0, metadata={"help": "the one number behind all randomness"})
    data: DataConfig = field(default_factory=DataConfig)
    layout: LayoutConfig | None = None
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    launch: LaunchConfig = field(default_factory=LaunchConfig)

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UserError(f"seed = {self.seed} must be at least 0")


def configure(
    words: Sequence[str] = (), start: PretrainConfig | None = None, resume: bool = False
) -> PretrainConfig:
    """Settings of the user's words over a recipe; files of data are not looked at.

    Args:
        words: ``key=value`` and ``group=choice`` words.
        start: Settings that the words change; the recipe for any recording where not given.
        resume: Start from the settings saved in the run folder ``out=``, unless the words
            name an experiment.

    Raises:
        UserError: Every mistake in one message.
    """
    words = list(words)
    if resume and not any(word.startswith("experiment=") for word in words):
        folders = [word.removeprefix("out=") for word in words if word.startswith("out=")]
        saved = Path(folders[-1] if folders else DEFAULT_OUT).expanduser() / "config.yaml"
        if saved.is_file():
            return compose(PretrainConfig, CONF, [f"experiment={saved}", *words])
    if start is None:
        return compose(PretrainConfig, CONF, words)
    with tempfile.TemporaryDirectory(prefix="hbehavemae-") as folder:
        file = Path(folder) / "settings.yaml"
        file.write_text(to_yaml(start), encoding="utf-8")
        return compose(PretrainConfig, CONF, [f"experiment={file}", *words])


def resolve(config: PretrainConfig) -> PretrainConfig:
    """Settle the network's geometry, which may depend on the key points of the data.

    Args:
        config: Settings; with a ``layout`` the data are asked for their key points and the
            geometry of ``model`` is replaced.

    Returns:
        The settings with the final ``model``.

    Raises:
        UserError: No data where they are needed, or what does not fit, all in one message.
    """
    if config.layout is None:
        Geometry(config.model)
        return config
    if not config.data.path and config.data.dataset == "recordings":
        raise UserError("data.path is empty: give data.path=FOLDER with recordings (.nc files)")
    window = config.data.window or config.model.input_size[0]
    model = resolve_layout(config.layout, data_shape(config.data), window, config.model)
    Geometry(model)
    return replace(config, model=model)


def hierarchy(config: PretrainConfig) -> str:
    """Picture of the levels of resolved settings, with the names of the data where known."""
    if config.data.dataset == "recordings" and not config.data.path:
        return describe_hierarchy(config.model)
    return describe_hierarchy(config.model, data_shape(config.data))


def overview(config: PretrainConfig) -> str:
    """Resolved settings and hierarchy as text, shown before a run starts."""
    return f"{to_yaml(config)}\n{hierarchy(config)}\n"


def help_text() -> str:
    """Every key with its type, default and meaning."""
    return describe(PretrainConfig)
