"""A network in words and numbers: architecture, branches, sizes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from behaviorzoo.errors import UserError
from behaviorzoo.files import existing_file
from uas_swin.checkpoints import build_recognizer, read_checkpoint
from uas_swin.layout import is_branch, is_head

_LAYOUTS = {"ours": "mmaction2's names", "authors": "the authors' names"}
_SHOWN = ("epoch", "iter", "time", "seed", "converted_from", "merged_lora_scaling")


def information(target: str | Path) -> str:
    """Text about a checkpoint, or about the network of a configuration.

    Args:
        target: A checkpoint (``.pth``, ``.pt``) or a configuration of mmengine (``.py``, ...).

    Raises:
        UserError: Missing, damaged, or neither of the two.
    """
    path = existing_file(target, "checkpoint or configuration")
    if path.suffix in (".py", ".yaml", ".yml", ".json"):
        return _of_config(path)
    checkpoint = read_checkpoint(path)
    lines = [f"checkpoint: {path}, {_LAYOUTS[checkpoint.layout]}"]
    lines += [f"{key}: {checkpoint.meta[key]}" for key in _SHOWN if key in checkpoint.meta]
    lines += [*describe(checkpoint.model), sizes(checkpoint.state)]
    return "\n".join([*lines, *(f"note: {note}" for note in checkpoint.notes)])


def describe(model: Mapping[str, Any]) -> list[str]:
    """Lines about a configuration of our recognizer."""
    from uas_swin.model.backbone import checked_arch

    backbone = model["backbone"]
    arch = checked_arch(backbone.get("arch", "base"))
    names = [n for n in ("tiny", "small", "base", "large") if checked_arch(n) == arch]
    name = names[0] if names else "of its own"
    last = arch["embed_dims"] << (len(arch["depths"]) - 1)
    window, patch = backbone.get("window_size", (8, 7, 7)), backbone.get("patch_size", (2, 4, 4))
    lines = [
        f"backbone: Video Swin, {name}: width {arch['embed_dims']}, blocks "
        f"{_joined(arch['depths'])}, heads {_joined(arch['num_heads'])}",
        f"patch {_joined(patch)}, window {_joined(window)}, features {last}",
        _branches(backbone),
    ]
    head = model.get("cls_head")
    lines.append("head: none" if head is None else f"head: {head['num_classes']} classes")
    return lines


def sizes(state: Mapping[str, Tensor]) -> str:
    """Numbers of trained values in a state dict, and what a frozen backbone leaves."""
    parts = dict.fromkeys(("backbone", "branches", "head"), 0)
    for name, tensor in state.items():
        if tensor.is_floating_point():
            part = "head" if is_head(name) else "branches" if is_branch(name) else "backbone"
            parts[part] += tensor.numel()
    told = ", ".join(f"{part} {n:,}" for part, n in parts.items())
    left = parts["head"] + parts["branches"]
    return (
        f"parameters: {sum(parts.values()):,} ({told}); with a frozen backbone {left:,} are trained"
    )


def _branches(backbone: Mapping[str, Any]) -> str:
    if not backbone.get("use_lora"):
        return "low-rank branches: none"
    alpha = backbone.get("lora_alpha")
    return (
        f"low-rank branches: {backbone.get('lora_layer_type', 'qv')} of "
        f"{backbone.get('lora_type', 'all')} stages, rank {backbone.get('lora_rank', 0)}, alpha "
        f"{backbone.get('lora_rank', 0) if alpha is None else alpha:g}"
    )


def _of_config(path: Path) -> str:
    from mmengine.config import Config

    model = Config.fromfile(path).to_dict().get("model")
    if not isinstance(model, Mapping):
        raise UserError(f"{path}: no 'model' in it")
    network = build_recognizer(model)
    lines = [f"configuration: {path}", *describe(model), sizes(network.state_dict())]
    return "\n".join(lines)


def _joined(values: Any) -> str:
    return " ".join(map(str, values))
