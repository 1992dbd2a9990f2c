"""The geometry of the network in words: frames per token, what a token covers, how levels pool.

The network's own options are three tuples whose products must fit (``input_size``,
``patch_kernel``, ``q_strides``). A :class:`LayoutConfig` says the same in the terms of a
recording; :func:`resolve_layout` turns it into the tuples and explains what does not fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING, Literal, get_args

from behaviorzoo.errors import UserError, suggest
from hbehavemae.hierarchy import describe_hierarchy
from hbehavemae.model.geometry import ModelConfig

if TYPE_CHECKING:
    from hbehavemae.data import DataShape

__all__ = [
    "LayoutConfig",
    "PoolingConfig",
    "describe_hierarchy",
    "geometry_strings",
    "resolve_layout",
]

Cover = Literal["keypoint", "group", "individual", "all"]
COVERS: tuple[str, ...] = get_args(Cover)


@dataclass(frozen=True)
class PoolingConfig:
    """One step from a level to the next coarser one."""

    frames: int = field(default=1, metadata={"help": "tokens in time that become one"})
    token: Cover | None = field(
        default=None,
        metadata={"help": "what a token covers after this step; empty = the same as before"},
    )


@dataclass
class LayoutConfig:
    """What one token stands for at each level of the hierarchy.

    Example:
        Four frames of a key point, then a body part, then the whole animal::

            layout:
              patch: 4
              token: keypoint
              pooling: [{frames: 2, token: group}, {frames: 2, token: individual}]
    """

    patch: int = field(default=1, metadata={"help": "frames that one token of level 1 spans"})
    token: Cover = field(
        default="keypoint",
        metadata={
            "help": "what one token of level 1 covers: keypoint, group (data.groups), "
            "individual or all (every individual)"
        },
    )
    pooling: list[PoolingConfig] = field(
        default_factory=list,
        metadata={"help": "steps between the levels, finest first: [{frames: 2, token: group}]"},
    )


def resolve_layout(
    layout: LayoutConfig, shape: DataShape, window: int, model: ModelConfig
) -> ModelConfig:
    """The network's geometry for a layout and the axes of the data.

    Args:
        layout: The description.
        shape: Key points, individuals, groups and channels of the data, in the order in which
            the data deliver them (``hbehavemae.data.data_shape``).
        window: Frames T of one window.
        model: All other options (widths, depths, masking).

    Returns:
        ``model`` with ``input_size``, ``patch_kernel`` and ``q_strides`` replaced.

    Raises:
        UserError: All that does not fit, in one message, with the numbers and a way out.

    Example:
        The published MABe22 model: tokens of one mouse, then all three.

        >>> from hbehavemae.data import DataConfig, data_shape
        >>> mice = data_shape(DataConfig(dataset="mabe22"))
        >>> pooling = [PoolingConfig(5), PoolingConfig(1, "all")]
        >>> layout = LayoutConfig(patch=3, token="individual", pooling=pooling)
        >>> geometry_strings(resolve_layout(layout, mice, 900, ModelConfig()))["q_strides"]
        '5,1,1;1,3,1'
    """
    unknown = list(_unknown_covers(layout))
    problems = [
        *(unknown or _order_problems(layout)),
        *_group_problems(layout, shape),
        *_time_problems(layout, window),
        *_stage_problems(layout, model),
    ]
    if problems:
        raise UserError("layout: " + "; ".join(problems))
    extents = [_extent(cover, shape) for cover in _covers(layout)]
    strides = tuple(
        (step.frames, coarse[0] // fine[0], coarse[1] // fine[1])
        for step, (fine, coarse) in zip(layout.pooling, pairwise(extents), strict=True)
    )
    return replace(
        model,
        input_size=(window, len(shape.individuals), shape.features),
        patch_kernel=(layout.patch, *extents[0]),
        q_strides=strides,
    )


def geometry_strings(model: ModelConfig) -> dict[str, str]:
    """The geometry as the original's command line writes it."""
    return {
        "input_size": " ".join(map(str, model.input_size)),
        "patch_kernel": " ".join(map(str, model.patch_kernel)),
        "q_strides": ";".join(",".join(map(str, stride)) for stride in model.q_strides),
    }


def _covers(layout: LayoutConfig) -> list[str]:
    """What a token covers at each level."""
    covers: list[str] = [layout.token]
    for step in layout.pooling:
        covers.append(step.token or covers[-1])
    return covers


def _extent(cover: str, shape: DataShape) -> tuple[int, int]:
    """Individuals and features that one token covers."""
    if cover == "all":
        return len(shape.individuals), shape.features
    keypoints = {
        "keypoint": 1,
        "group": len(next(iter(shape.groups.values()), ())),
        "individual": len(shape.keypoints),
    }
    return 1, keypoints[cover] * shape.channels


def _unknown_covers(layout: LayoutConfig) -> Iterator[str]:
    for cover in _covers(layout):
        if cover not in COVERS:
            yield f"token={cover}: {suggest(cover, COVERS)}"


def _order_problems(layout: LayoutConfig) -> Iterator[str]:
    covers = _covers(layout)
    for step, (fine, coarse) in enumerate(pairwise(covers), start=1):
        if COVERS.index(coarse) < COVERS.index(fine):
            yield (
                f"pooling step {step} goes from {fine} to {coarse}, which is finer; the order is "
                + " < ".join(COVERS)
            )


def _group_problems(layout: LayoutConfig, shape: DataShape) -> Iterator[str]:
    if "group" not in _covers(layout):
        return
    if not shape.groups:
        yield "token=group needs groups of key points; name them in data.groups"
        return
    sizes = {name: len(members) for name, members in shape.groups.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
        yield (
            f"data.groups must have one size ({listed}), because a pooling step merges equally "
            "many key points everywhere; move key points, or set data.pad_groups=true"
        )
    grouped = tuple(name for members in shape.groups.values() for name in members)
    if grouped != tuple(shape.keypoints):
        outside = [name for name in shape.keypoints if name not in grouped]
        yield (
            "the groups must hold every key point once and in order"
            + (f"; outside are {', '.join(outside)}" if outside else "")
        )


def _time_problems(layout: LayoutConfig, window: int) -> Iterator[str]:
    factors = [layout.patch, *(step.frames for step in layout.pooling)]
    if min(factors) < 1:
        yield f"patch and pooling frames must be at least 1, got {_times(factors)}"
        return
    unit = prod(factors)
    if window < 1 or window % unit:
        below, above = window // unit * unit, (window // unit + 1) * unit
        nearest = f"{below} or {above}" if below else f"{above}"
        yield (
            f"the window of {window} frames is not a multiple of {unit} frames "
            f"({_times(factors)}, patch x pooling: what one token of the coarsest level spans); "
            f"the nearest windows that fit: {nearest}"
        )


def _stage_problems(layout: LayoutConfig, model: ModelConfig) -> Iterator[str]:
    steps, stages = len(layout.pooling), len(model.stages)
    if steps > stages - 1:
        yield (
            f"{steps} pooling steps need {steps + 1} levels, but model.stages has {stages} "
            f"({', '.join(map(str, model.stages))}); add stages or remove a step"
        )


def _times(factors: Sequence[int]) -> str:
    return " x ".join(map(str, factors))
