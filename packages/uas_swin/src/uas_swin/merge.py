"""Low-rank branches into the layers beside them: the same network, without them.

q, k and v are rows of one matrix; ``o`` acts on the output of the projection, so that it becomes
W' = (I + s B A) W and b' = (I + s B A) b.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path
from uas_swin.layout import is_branch, to_authors

_ROWS = {"q": 0, "k": 1, "v": 2}
"""Branch -> third of the rows of ``qkv``."""


def merge_lora(state: Mapping[str, Tensor], scaling: float) -> dict[str, Tensor]:
    """A state dict without branches that computes the same.

    Args:
        state: With branches, under any names.
        scaling: Of the branches, alpha / rank.
    """
    merged = {name: value for name, value in state.items() if not is_branch(name)}
    for name in state:
        if is_branch(name) and name.endswith(".lora_A.weight"):
            stem = name.removesuffix(".lora_A.weight")
            owner, _, kind = stem.rpartition(".lora_")
            down, up = state[name].double(), state[f"{stem}.lora_B.weight"].double()
            _merge_branch(merged, owner, kind, scaling * up @ down)
    return merged


def merge_file(
    source: str | Path, out: str | Path, *, to: str = "ours", lora_alpha: float | None = None
) -> list[str]:
    """Write a checkpoint without branches.

    Args:
        source: A checkpoint with branches.
        out: File to write.
        to: Names in it, ``ours`` or ``authors``.
        lora_alpha: Scaling of the branches, where the file does not tell.

    Returns:
        Lines that tell what was assumed.

    Raises:
        UserError: Not a checkpoint, one without branches, or ``out`` cannot be written.
    """
    from uas_swin.checkpoints import read_checkpoint
    from uas_swin.convert import plain_meta, target_file

    out = target_file(out, source)
    checkpoint = read_checkpoint(source, lora_alpha)
    if not checkpoint.model["backbone"].get("use_lora"):
        raise UserError(f"{checkpoint.path}: has no low-rank branches, there is nothing to merge")
    merged = merge_lora(checkpoint.state, checkpoint.lora_scaling)
    meta = plain_meta(checkpoint, keep_config=False)
    meta["merged_lora_scaling"] = checkpoint.lora_scaling
    state = to_authors(merged) if to == "authors" else merged
    with atomic_path(out) as temporary:
        torch.save({"meta": meta, "state_dict": state}, temporary)
    return checkpoint.notes


def _merge_branch(state: dict[str, Tensor], owner: str, kind: str, update: Tensor) -> None:
    """Add one branch to the weights of its layer."""
    layer = {"o": "proj", "fc1": "fc1", "fc2": "fc2"}.get(kind, "qkv")
    weight_name, bias_name = f"{owner}.{layer}.weight", f"{owner}.{layer}.bias"
    weight = state[weight_name].double().clone()
    if kind == "o":
        state[bias_name] = _after(state[bias_name], update)
        weight += update @ weight
    elif kind in _ROWS:
        weight.view(3, *update.shape)[_ROWS[kind]] += update
    else:
        weight += update
    state[weight_name] = weight.to(state[weight_name].dtype)


def _after(bias: Tensor, update: Tensor) -> Tensor:
    """The bias behind (I + update)."""
    return (bias.double() + update @ bias.double()).to(bias.dtype)
