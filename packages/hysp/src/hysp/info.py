"""A network in words and numbers: settings, joints, sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from behaviorzoo.config import to_yaml
from behaviorzoo.errors import UserError
from hysp.checkpoints import load_checkpoint
from hysp.config import PretrainConfig, configure, outline, sized
from hysp.convert import settings_of
from hysp.data import Skeleton, open_data
from hysp.data.skeleton import named_skeleton
from hysp.graph import LAYOUTS
from hysp.model import EncoderConfig, build_model

_COORDINATES = 3
_PARTS = ("online_encoder", "online_projector", "online_predictor")
_JOINTS_SHOWN = 30


def information(words: Sequence[str]) -> str:
    """Text about a checkpoint, or about the network that settings would make.

    Args:
        words: A checkpoint (run folder, checkpoint folder, authors' file) alone, or only
            ``key=value`` words; with ``data.path=...`` the data are asked for their joints.

    Raises:
        UserError: Wrong checkpoint, settings or data.
    """
    if words and ("=" not in words[0] or Path(words[0]).expanduser().exists()):
        if len(words) > 1:
            raise UserError(f"{words[1]}: a checkpoint has its settings; give it alone")
        return _of_checkpoint(words[0])
    config = configure(words)
    known = _known_of_data(config)
    if known is None:
        size = "parameters: known with the joints, add data.path=..."
        return "\n".join([to_yaml(config), outline(config), size])
    config = sized(config, *known)
    with torch.device("meta"):
        state = build_model(config.model, config.compat).state_dict()
    lines = [to_yaml(config), outline(config), *_joints(known[0], config.model.encoder)]
    return "\n".join([*lines, _sizes(state)])


def count_parameters(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Numbers of trained values in a state dict, part by part; ``all`` comes first.

    Constants, running statistics, queues and moving averages do not count.
    """
    parts = {part: 0 for part in _PARTS if any(name.startswith(part) for name in state)}
    for name, tensor in state.items():
        part, _, rest = name.partition(".")
        fixed = rest == "A" or rest.endswith(
            ("running_mean", "running_var", "num_batches_tracked", "isp_c")
        )
        if part in parts and not fixed:
            parts[part] += tensor.numel()
    return {"all": sum(parts.values()), **parts}


def _known_of_data(config: PretrainConfig) -> tuple[Skeleton, int] | None:
    """Joints and coordinates, as far as they are known."""
    if config.data.path:
        data = open_data(config.data, "train")
        return data.skeleton, data.shape[0]
    layout = config.model.encoder.graph.layout
    return (named_skeleton(layout), _COORDINATES) if layout in LAYOUTS else None


def _of_checkpoint(path: str) -> str:
    loaded = load_checkpoint(path)
    settings = settings_of(loaded)
    learned: Mapping[str, Any] = loaded.metadata.get("data_state") or {}
    skeleton = Skeleton.from_dict(learned["skeleton"]) if "skeleton" in learned else None
    told = {key: value for key, value in loaded.metadata.items() if _is_short(value)}
    lines = [
        f"checkpoint: {loaded.path}",
        *(f"{key}: {value}" for key, value in told.items()),
        "",
        to_yaml(settings),
        *_joints(skeleton, loaded.config.encoder),
        _sizes(loaded.state),
    ]
    return "\n".join(lines)


def _joints(skeleton: Skeleton | None, encoder: EncoderConfig) -> list[str]:
    """The joints by name where they are known, and the graph."""
    graph = encoder.graph.build()
    shown = f"graph: {graph.n_joints} joints, {len(graph.edges)} bones, {len(graph.A)} matrices"
    if skeleton is None:
        layout = encoder.graph.layout
        return [shown + (f", layout {layout}" if layout in LAYOUTS else "")]
    names = skeleton.joints
    more = ", ..." if len(names) > _JOINTS_SHOWN else ""
    return [
        f"{shown}, centre {names[graph.centre]}",
        f"joints: {', '.join(names[:_JOINTS_SHOWN])}{more}",
    ]


def _sizes(state: Mapping[str, Tensor]) -> str:
    numbers = count_parameters(state)
    parts = ", ".join(
        f"{name.removeprefix('online_')} {n:,}" for name, n in numbers.items() if name != "all"
    )
    return f"parameters: {numbers['all']:,}, of which {parts}"


def _is_short(value: object) -> bool:
    return isinstance(value, str | int | float | bool) and len(str(value)) <= 100
