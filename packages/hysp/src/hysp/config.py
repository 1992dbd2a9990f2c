"""All settings of a pre-training run, from yaml recipes and ``key=value`` words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from behaviorzoo.config import compose_run, describe, to_yaml
from behaviorzoo.errors import UserError
from behaviorzoo.training.config import TrainerConfig
from hysp.augment.config import AugmentConfig
from hysp.data.config import DataConfig
from hysp.model.config import FROM_DATA, EncoderConfig, GraphConfig, ModelConfig
from hysp.optim import OptimConfig

if TYPE_CHECKING:
    from hysp.data.skeleton import Skeleton

CONF = "hysp.conf"
Compat = Literal["paper", "upstream"]
Stream = Literal["joint", "motion", "bone", "2s", "3s"]


@dataclass(frozen=True)
class CurriculumConfig:
    """When the hyperbolic loss takes over from the Euclidean one, see :mod:`hysp.curriculum`.

    Raises:
        UserError: It would end before it begins.
    """

    enabled: bool = field(default=True, metadata={"help": "false: hyperbolic from the start"})
    initial_epoch: int = field(
        default=50, metadata={"help": "epoch, from 0, in which the hyperbolic loss enters"}
    )
    final_epoch: int = field(
        default=100, metadata={"help": "epoch from which the hyperbolic loss is alone"}
    )

    def __post_init__(self) -> None:
        if self.enabled and not 0 <= self.initial_epoch < self.final_epoch:
            raise UserError(
                f"initial_epoch = {self.initial_epoch} must be at least 0 and below "
                f"final_epoch = {self.final_epoch}"
            )


@dataclass
class PretrainConfig:
    """What ``hysp pretrain`` is told; saved resolved as ``config.yaml`` in the run folder."""

    name: str = field(default="hysp", metadata={"help": "name of the run"})
    out: str = field(default="runs/hysp", metadata={"help": "run folder to write"})
    seed: int = field(default=123, metadata={"help": "the one number behind all randomness"})
    compat: Compat = field(
        default="paper",
        metadata={
            "help": "paper: what the paper describes; upstream: what the later public code does, "
            "its defects included"
        },
    )
    stream: Stream = field(
        default="joint",
        metadata={
            "help": "what of the skeleton is seen: joint, motion, bone, 2s (joint and bone), 3s"
        },
    )
    weights: str | None = field(
        default=None,
        metadata={"help": "checkpoint, ours or the authors', whose weights the run starts from"},
    )
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UserError(f"seed = {self.seed} must be at least 0")

    @property
    def final_hyper_epoch(self) -> int | None:
        """Last epoch of the curriculum; None without one (:func:`hysp.optim.rate_factor`)."""
        return self.curriculum.final_epoch if self.curriculum.enabled else None


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


def checked(config: PretrainConfig) -> PretrainConfig:
    """The settings, if what can be checked without the data is right.

    Raises:
        UserError: No data, or settings that do not fit each other.
    """
    if not config.data.path:
        raise UserError(
            "data.path is empty: give data.path=FOLDER, of `hysp prepare` or with recordings"
        )
    config.data.check()
    processes = config.trainer.devices * config.trainer.num_nodes
    for name in ("batch_size", "val_batch_size"):
        size = getattr(config.optim, name)
        if size % processes:
            raise UserError(
                f"optim.{name} = {size} cannot be shared evenly among {processes} devices"
            )
    if config.optim.batch_size // processes < 2:
        raise UserError(
            f"optim.batch_size = {config.optim.batch_size} on {processes} devices: each needs at "
            "least two sequences for its batch statistics"
        )
    if processes > 1 and not config.optim.drop_last:
        raise UserError(
            "optim.drop_last=false leaves a device without sequences at the end of an epoch; set "
            "it to true to train on several devices"
        )
    return config


def sized(config: PretrainConfig, skeleton: Skeleton, coordinates: int) -> PretrainConfig:
    """The settings with the network's joints and channels taken from the data.

    Args:
        config: Settings.
        skeleton: The joints of the data.
        coordinates: Of a joint.

    Raises:
        UserError: The network is of other joints or channels than the data.
    """
    encoder = fitted_encoder(config.model.encoder, skeleton, coordinates, config.stream)
    return replace(config, model=replace(config.model, encoder=encoder))


def fitted_encoder(
    encoder: EncoderConfig, skeleton: Skeleton, coordinates: int, stream: str
) -> EncoderConfig:
    """Options of an encoder with joints and channels taken from the data where they are open.

    Args:
        encoder: Its options; ``graph.layout: data`` and ``in_channels: 0`` are filled in.
        skeleton: The joints of the data.
        coordinates: Of a joint.
        stream: What of them is seen.

    Raises:
        UserError: The options are those of other joints or channels.
    """
    from hysp.streams import stream_channels  # needs torch, which the settings alone do not

    channels = stream_channels(stream, coordinates)
    if encoder.in_channels not in (0, channels):
        raise UserError(
            f"model.encoder.in_channels = {encoder.in_channels}, the data have {channels} "
            f"({coordinates} coordinates, stream {stream}). Leave it out (or 0) to follow the data"
        )
    graph = encoder.graph
    if graph.layout == FROM_DATA:
        graph = replace(graph, **joints_of(skeleton))
    n_joints = graph.build().n_joints
    if n_joints != len(skeleton.joints):
        raise UserError(
            f"model.encoder.graph has {n_joints} joints ({graph.layout}), the data have "
            f"{len(skeleton.joints)} ({', '.join(skeleton.joints[:4])}, ...). "
            "model.encoder.graph.layout=data follows the data"
        )
    return replace(encoder, in_channels=channels, graph=graph)


def joints_of(skeleton: Skeleton) -> dict[str, Any]:
    """Options of a graph (:class:`GraphConfig`) that say which joints there are."""
    if skeleton.layout is not None:
        return {"layout": skeleton.layout}
    edges = tuple((int(a), int(b)) for a, b in skeleton.edges)
    return {
        "layout": "custom",
        "n_joints": len(skeleton.joints),
        "edges": edges,
        "centre": int(skeleton.centre),
    }


def outline(config: PretrainConfig) -> str:
    """The network and its course in a few lines."""
    model, optim, course = config.model, config.optim, config.curriculum
    graph: GraphConfig = model.encoder.graph
    space = f"Poincare ball of curvature {-model.hyper_c:g}" if model.hyper else "Euclidean space"
    if model.hyper and course.enabled:
        space += f", from epoch {course.initial_epoch} to {course.final_epoch}"
    joints = "joints of the data" if graph.layout == FROM_DATA else f"{graph.layout} joints"
    epochs = min(config.trainer.max_epochs or optim.epochs, optim.epochs)
    return (
        f"{model.method} on {joints}, stream {config.stream}, in {space}\n"
        f"{epochs} epochs of batches of {optim.batch_size}, {optim.optimizer} at {optim.lr:g}"
    )


def overview(config: PretrainConfig) -> str:
    """Resolved settings and the outline as text, shown before a run starts."""
    return f"{to_yaml(config)}\n{outline(config)}\n"


def help_text() -> str:
    """Every key with its type, default and meaning."""
    return describe(PretrainConfig)
