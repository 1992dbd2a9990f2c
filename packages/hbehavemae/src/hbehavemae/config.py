"""All settings of a training run, from yaml recipes and ``key=value`` words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from behaviorzoo.config import compose_run, describe, to_yaml
from behaviorzoo.errors import UserError
from behaviorzoo.training.config import TrainerConfig
from hbehavemae.data import DataConfig, data_shape
from hbehavemae.layout import LayoutConfig, describe_hierarchy, resolve_layout
from hbehavemae.model import Geometry, ModelConfig
from hbehavemae.optim import OptimConfig

CONF = "hbehavemae.conf"


@dataclass
class PretrainConfig:
    """What ``hbehavemae pretrain`` is told; saved resolved as ``config.yaml`` in the run folder."""

    name: str = field(default="pretrain", metadata={"help": "name of the run"})
    out: str = field(default="runs/pretrain", metadata={"help": "run folder to write"})
    seed: int = field(default=0, metadata={"help": "the one number behind all randomness"})
    data: DataConfig = field(default_factory=DataConfig)
    layout: LayoutConfig | None = None
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)

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
        resume: Start from the settings saved in the run folder, unless the words name an
            experiment.

    Raises:
        UserError: Every mistake in one message.
    """
    return compose_run(PretrainConfig, CONF, words, start, resume)


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
