"""A model in words and numbers: settings, timescales, sizes, and what it is fed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bams.checkpoints import load_checkpoint
from bams.config import TrainConfig, configure, sized, timescales
from bams.convert import settings_of
from bams.data import mouse, quadrupeds
from bams.data.build import open_source
from bams.data.mabe22 import FPS
from bams.model import ModelConfig
from bams.model.bams import BAMS
from behaviorzoo.config import to_yaml

_NAMES_SHOWN = 12


def information(words: Sequence[str]) -> str:
    """Text about a checkpoint, or about the model that settings would make.

    Args:
        words: A checkpoint (run folder, checkpoint folder, ``.pt`` file) first, or only
            ``key=value`` words; with ``data.path=...`` the data are asked for their features.

    Raises:
        UserError: Wrong checkpoint, settings or data.
    """
    if words and ("=" not in words[0] or Path(words[0]).expanduser().exists()):
        return _of_checkpoint(words[0])
    config = configure(words)
    inputs, targets, fps = _known_of_data(config)
    size = "parameters: known with the data, add data.path=..."
    if inputs:
        config = sized(config, len(inputs), len(targets))
        with torch.device("meta"):
            size = _sizes(config.model, BAMS(config.model).state_dict())
    lines = [to_yaml(config), timescales(config.model, fps), "", *_layout(inputs, targets), size]
    return "\n".join(lines)


def count_parameters(model: ModelConfig, state: Mapping[str, Tensor]) -> dict[str, int]:
    """Numbers of trained values in a state dict: ``all``, then of each encoder.

    Running statistics of batch norms do not count.
    """
    trained = {
        name: tensor.numel()
        for name, tensor in state.items()
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    }
    encoders = {
        encoder: sum(n for name, n in trained.items() if name.startswith(f"encoders.{encoder}."))
        for encoder in model.encoders
    }
    return {"all": sum(trained.values()), **encoders}


def _known_of_data(config: TrainConfig) -> tuple[tuple[str, ...], tuple[str, ...], float | None]:
    """Names of inputs and actions, and frames per second, as far as they are known."""
    data = config.data
    if data.path:
        data.check()
        source = open_source(data, config.compat)
        return source.input_names, source.target_names, source.state.get("fps")
    if data.dataset == "mice":
        return mouse.input_names(), mouse.TARGETS, FPS["mouse"]
    known = {"flies": FPS["fly"], "quadrupeds": quadrupeds.FPS}
    return (), (), known.get(data.dataset)


def _of_checkpoint(path: str) -> str:
    loaded = load_checkpoint(path)
    config: TrainConfig = settings_of(loaded)
    learned: Mapping[str, Any] = loaded.metadata.get("data_state") or {}
    fps = learned.get("state", {}).get("fps")
    told = {key: value for key, value in loaded.metadata.items() if _is_short(value)}
    return "\n".join(
        [
            f"checkpoint: {loaded.path}",
            *(f"{key}: {value}" for key, value in told.items()),
            "",
            to_yaml(config),
            timescales(loaded.config, fps),
            "",
            *_layout(learned.get("input_names", ()), learned.get("target_names", ())),
            _sizes(loaded.config, loaded.state),
        ]
    )


def _layout(inputs: Sequence[str], targets: Sequence[str]) -> list[str]:
    """What the network sees and predicts, by name."""
    return [
        f"{title} ({len(names)}): {', '.join(names[:_NAMES_SHOWN])}"
        + (", ..." if len(names) > _NAMES_SHOWN else "")
        for title, names in (("inputs", inputs), ("actions", targets))
        if names
    ]


def _sizes(model: ModelConfig, state: Mapping[str, Tensor]) -> str:
    numbers = count_parameters(model, state)
    parts = ", ".join(f"{name} {n:,}" for name, n in numbers.items() if name != "all")
    return f"parameters: {numbers['all']:,}, of which {parts}"


def _is_short(value: object) -> bool:
    return isinstance(value, str | int | float | bool) and len(str(value)) <= 100
