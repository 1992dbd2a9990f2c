"""Heads that were trained on cached features: small checkpoints of the core, beside a backbone.

A folder as of :mod:`behaviorzoo.checkpoints`: ``model.safetensors`` has the head alone, the
metadata say which backbone it belongs to, by file and fingerprint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from behaviorzoo.errors import UserError

if TYPE_CHECKING:
    from uas_swin.checkpoints import Checkpoint

WEIGHT, BIAS = "cls_head.fc_cls.weight", "cls_head.fc_cls.bias"


def weights_fingerprint(state: Mapping[str, Tensor]) -> str:
    """Of the backbone in a state dict under our names, whatever the head."""
    from behaviorzoo.checkpoints import fingerprint
    from uas_swin.layout import is_head

    backbone = {name: state[name].numpy() for name in sorted(state) if not is_head(name)}
    return fingerprint(backbone)


def save_head(
    folder: str | Path,
    weight: Tensor,
    bias: Tensor,
    backbone: Mapping[str, Any],
    classes: list[str] | None,
    details: Mapping[str, Any],
) -> Path:
    """Write a head.

    Args:
        folder: Target, new.
        weight: (classes, features).
        bias: (classes,).
        backbone: ``checkpoint`` (file) and ``fingerprint`` of the backbone.
        classes: Names.
        details: How it was trained; plain values.

    Raises:
        UserError: The folder exists, or cannot be written.
    """
    from behaviorzoo.checkpoints import save_checkpoint
    from uas_swin import __version__

    state = {WEIGHT: weight.contiguous(), BIAS: bias.contiguous()}
    config = {"num_classes": len(bias), "classes": classes}
    metadata = {
        "method": "uas-swin",
        "what": "head",
        "backbone": dict(backbone),
        **details,
        "versions": {"uas_swin": __version__},
    }
    return save_checkpoint(folder, state, config, metadata)


def is_head_folder(path: str | Path) -> bool:
    """Whether this is a folder of :func:`save_head`."""
    return (Path(path).expanduser() / "model.safetensors").is_file()


def read_weights(path: str | Path) -> Checkpoint:
    """A checkpoint; for the folder of a head, its backbone with that head.

    Args:
        path: ``.pth`` file, or folder of :func:`save_head`.

    Raises:
        UserError: Something is missing or damaged, or the backbone is another one than the head
            was trained on.
    """
    from behaviorzoo.checkpoints import load_checkpoint
    from uas_swin.checkpoints import read_checkpoint

    if not is_head_folder(path):
        return read_checkpoint(path)
    head = load_checkpoint(Path(path).expanduser())
    origin = head.metadata.get("backbone")
    if head.metadata.get("what") != "head" or not isinstance(origin, dict):
        raise UserError(f"{path}: not a head of `uas-swin probe`")
    backbone = read_checkpoint(origin["checkpoint"])
    found = weights_fingerprint(backbone.state)
    if found != origin["fingerprint"]:
        raise UserError(
            f"{path}: was trained on another backbone than {origin['checkpoint']} holds now; "
            "extract and probe again"
        )
    state = {n: v for n, v in backbone.state.items() if not n.startswith("cls_head.")}
    state |= {name: head.state[name].to(torch.float32) for name in (WEIGHT, BIAS)}
    model = {**backbone.model}
    width = head.state[WEIGHT].shape[1]
    model["cls_head"] = {
        **(model.get("cls_head") or {"type": "I3DHead"}),
        "num_classes": len(head.state[BIAS]),
        "in_channels": width,
    }
    return replace(backbone, path=Path(path), state=state, model=model)
