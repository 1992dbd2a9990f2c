"""Trained weights into networks: our checkpoint folders and the authors' ``.pth`` files.

Both hold the same state dict; the authors keep their command-line options beside it, we keep the
resolved configuration. Loading is strict: a missing, unexpected or misshapen key is named.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor

from behaviorzoo import trained
from behaviorzoo.checkpoints import MODEL_FILE
from behaviorzoo.errors import UserError
from behaviorzoo.weights import load_torch_file
from hbehavemae.author_options import infer_options, read_options
from hbehavemae.model import HBehaveEncoder, HBehaveMAE, ModelConfig

WEIGHT_KEYS = ("model", "model_state")
"""Where the authors keep the state dict, in the order in which they look."""

DECODER_KEYS = (
    "mask_token",
    "decoder_pos_embed",
    "encoder_norm.",
    "multi_scale_fusion_heads.",
    "decoder_embed.",
    "decoder_blocks.",
    "decoder_norm.",
    "decoder_pred.",
)
"""What a pretrained file holds beyond the encoder."""

UNUSED_KEYS = ("norm.", "head.projection.")
"""Layers of the authors' encoder class that no workflow of theirs uses."""

NOT_GUESSED = (
    "input_size",
    "patch_kernel",
    "stages",
    "q_strides",
    "mask_unit_attn",
    "init_embed_dim",
    "init_num_heads",
    "out_embed_dims",
)
"""Options without which an embedding would be wrong in silence."""


LoadedModel: TypeAlias = trained.LoadedModel[ModelConfig]


def load_checkpoint(path: str | Path, config: ModelConfig | None = None) -> LoadedModel:
    """Read a checkpoint of ours or of the authors.

    Args:
        path: A checkpoint folder, a run folder (its newest checkpoint), the authors' file of any
            name, or a folder of theirs (its last file with "checkpoint" in the name).
        config: Options of the network where the file does not say them.

    Raises:
        UserError: Nothing there, damaged, not a checkpoint, or its options are unknown.
    """
    path = Path(path).expanduser()
    file = _authors_file(path)
    return trained.load_folder(path, ModelConfig) if file is None else _load_file(file, config)


def build_encoder(path: str | Path, config: ModelConfig | None = None) -> HBehaveEncoder:
    """The trained encoder, in evaluation mode; the decoder of the file is left out.

    Args:
        path: See :func:`load_checkpoint`.
        config: Options of the network where the file does not say them.

    Raises:
        UserError: As :func:`load_checkpoint`, or the weights do not fit the options.
    """
    loaded = load_checkpoint(path, config)
    state = {
        name: tensor
        for name, tensor in loaded.state.items()
        if not name.startswith(DECODER_KEYS + UNUSED_KEYS)
    }
    return trained.network_with(lambda: HBehaveEncoder(loaded.config), state, str(loaded.path))


def build_mae(path: str | Path, config: ModelConfig | None = None) -> HBehaveMAE:
    """The whole trained network, in evaluation mode.

    Args:
        path: See :func:`load_checkpoint`.
        config: Options of the network where the file does not say them.

    Raises:
        UserError: As :func:`load_checkpoint`, or the weights do not fit the options.
    """
    loaded = load_checkpoint(path, config)
    return trained.network_with(
        lambda: HBehaveMAE(loaded.config, masked=False), loaded.state, str(loaded.path)
    )


def _authors_file(path: Path) -> Path | None:
    """The file if ``path`` means one of the authors'; None if it means a folder of ours."""
    if path.is_file() and path.name != MODEL_FILE:
        return path
    if not path.is_dir() or (path / MODEL_FILE).exists():
        return None
    files = [p for p in sorted(path.iterdir()) if p.is_file() and "checkpoint" in p.name]
    return files[-1] if files else None


def _load_file(path: Path, config: ModelConfig | None) -> LoadedModel:
    content = load_torch_file(path)
    state = _state_dict(content, path)
    arguments = content.get("args", {})
    options = vars(arguments) if isinstance(arguments, Namespace) else arguments
    if not isinstance(options, Mapping):
        raise UserError(f"{path}: 'args' is {type(options).__name__}, expected the options")
    if config is None:
        config = _config(state, options, path)
    metadata: dict[str, Any] = {"args": dict(options)}
    if isinstance(content.get("epoch"), int):
        metadata["epoch"] = content["epoch"]
    return LoadedModel(config, state, None, metadata, path)


def _state_dict(content: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    for key in WEIGHT_KEYS:
        if isinstance(content.get(key), Mapping):
            content = content[key]
            break
    state = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if not state or len(state) < len(content):
        others = sorted(str(name) for name in content if name not in state)[:5]
        raise UserError(
            f"{path}: no state dict under {' or '.join(map(repr, WEIGHT_KEYS))} and not one "
            f"itself (found {', '.join(others) or 'nothing'}); is it a checkpoint of hBehaveMAE?"
        )
    return state


def _config(state: Mapping[str, Tensor], options: Mapping[str, Any], path: Path) -> ModelConfig:
    """Options as stated; what was not stated, from the shapes of the weights."""
    known = {**infer_options(state), **read_options(options, str(path))}
    unknown = [name for name in NOT_GUESSED if name not in known]
    if known.get("non_hierarchical"):
        unknown = [name for name in unknown if name not in ("q_strides", "mask_unit_attn")]
    if unknown:
        found = ", ".join(f"{name}={known[name]}" for name in NOT_GUESSED if name in known)
        raise UserError(
            f"{path}: the file has {'incomplete' if options else 'no'} settings ('args') and its "
            f"weights do not tell {', '.join(unknown)}; pass the configuration of the network"
            + (f" (the weights tell {found})" if found else "")
        )
    return replace(ModelConfig(), **known)
