"""Options of the networks, checked where they are written down.

No torch in here, so that a command line can show and check the settings quickly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from behaviorzoo.errors import UserError, suggest
from hysp.graph import CUSTOM, LAYOUTS, STRATEGIES, Graph

METHODS = ("hysp", "simsiam", "skeletonclr")
FIRST_NORMS = ("unit", "data")
FROM_DATA = "data"
"""Layout of a graph that is still to be taken from the data."""


@dataclass(frozen=True)
class GraphConfig:
    """The joints and how they are joined.

    A named layout needs nothing else; ``layout: custom`` takes ``n_joints``, ``edges``, ``centre``;
    ``layout: data`` is filled in when the data are known.

    Raises:
        UserError: Unknown names, or a graph that is named and drawn at once.
    """

    layout: str = field(
        default="ntu-rgb+d",
        metadata={"help": "ntu-rgb+d, openpose, nw-ucla, custom, or data: as the data say"},
    )
    strategy: str = field(
        default="spatial", metadata={"help": "parts of a neighbourhood: uniform, distance, spatial"}
    )
    max_hop: int = field(default=1, metadata={"help": "bones between neighbours at most"})
    dilation: int = field(default=1, metadata={"help": "take every so many hops"})
    n_joints: int | None = field(default=None, metadata={"help": "custom: number of joints"})
    edges: tuple[tuple[int, int], ...] = field(
        default=(), metadata={"help": "custom: pairs of joints, counted from 0"}
    )
    centre: int | None = field(default=None, metadata={"help": "custom: joint in the middle"})

    def __post_init__(self) -> None:
        object.__setattr__(self, "edges", tuple((int(a), int(b)) for a, b in self.edges))
        if self.strategy not in STRATEGIES:
            hint = suggest(self.strategy, STRATEGIES)
            raise UserError(f"graph.strategy: unknown {self.strategy!r}; {hint}")
        drawn = [n for n in ("n_joints", "centre") if getattr(self, n) is not None]
        drawn += ["edges"] if self.edges else []
        if self.layout == CUSTOM:
            absent = [name for name in ("n_joints", "centre") if name not in drawn]
            if absent:
                raise UserError(f"graph: layout custom needs {' and '.join(absent)}")
        elif self.layout not in (*LAYOUTS, FROM_DATA):
            hint = suggest(self.layout, (*LAYOUTS, CUSTOM, FROM_DATA))
            raise UserError(f"graph.layout: unknown {self.layout!r}; {hint}")
        elif drawn:
            raise UserError(
                f"graph: {', '.join(drawn)} given beside layout {self.layout!r}; "
                f"write 'layout: {CUSTOM}' for a graph of your own"
            )

    def build(self) -> Graph:
        """The graph.

        Raises:
            UserError: Joints that do not exist, numbers out of range, or joints not known yet.
        """
        if self.layout == FROM_DATA:
            raise UserError("graph: its joints are those of the data, which are not known here")
        options = (self.strategy, self.max_hop, self.dilation)
        if self.layout != CUSTOM or self.n_joints is None or self.centre is None:
            return Graph(self.layout, *options)
        return Graph.from_edges(self.n_joints, self.edges, self.centre, *options)


@dataclass(frozen=True)
class EncoderConfig:
    """Options of the ST-GCN encoder; the defaults are the published ones.

    Raises:
        UserError: A number out of its range.
    """

    in_channels: int = field(
        default=3,
        metadata={"help": "coordinates of a joint, times the parts of the stream; 0: as the data"},
    )
    hidden_channels: int = field(default=64, metadata={"help": "channels of the first blocks"})
    out_channels: int = field(default=1024, metadata={"help": "features of the embedding"})
    graph: GraphConfig = field(default_factory=GraphConfig)
    edge_importance_weighting: bool = field(
        default=True, metadata={"help": "learn a weight for every edge of every block"}
    )
    dropout: float = field(default=0.5, metadata={"help": "after each block but the first"})
    first_norm: str = field(
        default="unit",
        metadata={
            "help": "where the norm of the input starts: unit (as published: mean 0 and spread 1 "
            "for all joints) or data (joints keep their places and spreads; for short trainings)"
        },
    )

    def __post_init__(self) -> None:
        _positive(self, "hidden_channels", "out_channels")
        if self.in_channels < 0:
            raise UserError(f"in_channels = {self.in_channels} must not be negative")
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout = {self.dropout} must lie in [0, 1)")
        if self.first_norm not in FIRST_NORMS:
            hint = suggest(self.first_norm, FIRST_NORMS)
            raise UserError(f"first_norm: unknown {self.first_norm!r}; {hint}")


@dataclass(frozen=True)
class ModelConfig:
    """Options of a network for pre-training; the defaults are the published ones of HYSP.

    Raises:
        UserError: Unknown method or a number out of its range.
    """

    method: str = field(default="hysp", metadata={"help": "hysp, simsiam or skeletonclr"})
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    projection_hidden_size: tuple[int, ...] = field(
        default=(1024, 1024), metadata={"help": "widths of the projector's layers"}
    )
    predictor_hidden_size: tuple[int, ...] = field(
        default=(1024, 1024), metadata={"help": "widths of the predictor's layers"}
    )
    hyper: bool = field(
        default=True, metadata={"help": "learn in the Poincare ball; false for Euclidean"}
    )
    hyper_c: float = field(default=1.0, metadata={"help": "curvature of the ball is -hyper_c"})
    moving_average_decay: float = field(
        default=0.999, metadata={"help": "share of its weights that the target keeps per step"}
    )
    queue_size: int = field(default=8192, metadata={"help": "skeletonclr: negatives"})
    temperature: float = field(default=0.07, metadata={"help": "skeletonclr: of the contrast"})

    def __post_init__(self) -> None:
        for name in ("projection_hidden_size", "predictor_hidden_size"):
            object.__setattr__(self, name, tuple(int(n) for n in getattr(self, name)))
            _check_sizes(name, getattr(self, name))
        if self.method not in METHODS:
            raise UserError(
                f"model.method: unknown {self.method!r}; {suggest(self.method, METHODS)}"
            )
        _positive(self, "hyper_c", "queue_size", "temperature")
        if not 0 <= self.moving_average_decay <= 1:
            decay = self.moving_average_decay
            raise UserError(f"moving_average_decay = {decay} must lie in [0, 1]")
        p, q = self.projection_hidden_size[-1], self.predictor_hidden_size[-1]
        if self.method != "skeletonclr" and p != q:
            raise UserError(
                f"model: projections have {p} features and predictions {q}; the last numbers of "
                "projection_hidden_size and predictor_hidden_size must be equal to compare them"
            )


@dataclass(frozen=True)
class ClassifierConfig:
    """Options of an encoder with a classification head.

    Raises:
        UserError: A number out of its range.
    """

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    n_classes: int = field(default=60, metadata={"help": "classes to tell apart"})
    hyper: bool = field(
        default=False, metadata={"help": "Moebius head on the embedding mapped into the ball"}
    )
    hyper_c: float = field(default=1.0, metadata={"help": "curvature of the mapping"})

    head_hidden_size: tuple[int, ...] = field(
        default=(),
        metadata={"help": "widths of an MLP instead of one layer (the public SkeletonCLR's head)"},
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "head_hidden_size", tuple(int(n) for n in self.head_hidden_size))
        _positive(self, "n_classes", "hyper_c")
        if self.head_hidden_size:
            _check_sizes("head_hidden_size", self.head_hidden_size)


def _positive(config: Any, *names: str) -> None:
    wrong = [f"{name} = {getattr(config, name)}" for name in names if not getattr(config, name) > 0]
    if wrong:
        raise UserError(f"{', '.join(wrong)}: must be positive")


def _check_sizes(name: str, sizes: Sequence[int]) -> None:
    if not sizes or min(sizes) < 1:
        raise UserError(f"{name} = {list(sizes)}: must list positive layer widths")
