"""A model in words and numbers: settings, hierarchy, size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from behaviorzoo.config import to_yaml
from hbehavemae.checkpoints import DECODER_KEYS, load_checkpoint
from hbehavemae.config import PretrainConfig, configure, hierarchy, resolve
from hbehavemae.convert import settings_of
from hbehavemae.data import trained_shape
from hbehavemae.layout import describe_hierarchy, geometry_strings
from hbehavemae.model import HBehaveMAE, ModelConfig


def information(words: Sequence[str]) -> str:
    """Text about a checkpoint, or about the model that settings would make.

    Args:
        words: A checkpoint (run folder, checkpoint folder, ``.pth`` file) first, or only
            ``key=value`` words.

    Raises:
        UserError: Wrong checkpoint or settings.
    """
    if words and ("=" not in words[0] or Path(words[0]).expanduser().exists()):
        return _of_checkpoint(words[0])
    config = resolve(configure(words))
    with torch.device("meta"):
        state = HBehaveMAE(config.model).state_dict()
    return "\n".join([to_yaml(config), hierarchy(config), "", *_sizes(config.model, state)])


def count_parameters(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Numbers of values in a state dict: ``all``, and ``encoder`` with its projections."""
    return {
        "all": sum(tensor.numel() for tensor in state.values()),
        "encoder": sum(
            tensor.numel() for name, tensor in state.items() if not name.startswith(DECODER_KEYS)
        ),
    }


def _of_checkpoint(path: str) -> str:
    loaded = load_checkpoint(path)
    config: PretrainConfig = settings_of(loaded)
    shape = trained_shape(config.data, loaded.metadata.get("data_state") or {})
    # Authors' files do not say what the features are: then only numbers are shown.
    fits = shape and (len(shape.individuals), shape.features) == loaded.config.input_size[1:]
    told = {key: value for key, value in loaded.metadata.items() if _is_short(value)}
    return "\n".join(
        [
            f"checkpoint: {loaded.path}",
            *(f"{key}: {value}" for key, value in told.items()),
            "",
            to_yaml(config),
            describe_hierarchy(loaded.config, shape if fits else None),
            "",
            *_sizes(loaded.config, loaded.state),
        ]
    )


def _sizes(model: ModelConfig, state: Mapping[str, Tensor]) -> list[str]:
    numbers = count_parameters(state)
    geometry = "  ".join(f"{name} {value}" for name, value in geometry_strings(model).items())
    return [
        f"parameters: {numbers['all']:,}, of which encoder and projections {numbers['encoder']:,}",
        f"options of the original: {geometry}",
    ]


def _is_short(value: object) -> bool:
    return isinstance(value, str | int | float | bool) and len(str(value)) <= 100
