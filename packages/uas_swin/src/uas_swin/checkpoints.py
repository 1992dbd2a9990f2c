"""Trained weights into networks: files of the authors, of mmaction2, and of our training.

All are ``torch.save`` files with a ``state_dict`` (or nothing but one). :mod:`uas_swin.layout`
maps the names. Loading is strict, with two exceptions that are told: a head for other classes is
left out, and low-rank branches that the file does not have keep their start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from behaviorzoo.errors import UserError
from behaviorzoo.weights import strict_load
from uas_swin.author_options import inferred_options, options_from_text
from uas_swin.layout import is_branch, is_head, layout_of, to_ours
from uas_swin.runtime import load_from_local

CONFIG_KEYS = ("config_text", "cfg")
"""Where ``meta`` keeps a configuration: mmcv's (as loading calls it), mmengine's."""


@dataclass(frozen=True)
class Checkpoint:
    """What :func:`read_checkpoint` gives.

    Attributes:
        path: The file.
        state: Weights under our names.
        layout: ``authors`` or ``ours``: how they were called in the file.
        meta: What the file tells about itself.
        model: Configuration of our recognizer that fits the weights.
        notes: What had to be assumed, one line each.
    """

    path: Path
    state: dict[str, Tensor]
    layout: str
    meta: dict[str, Any]
    model: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    @property
    def n_classes(self) -> int | None:
        """Classes of the head; None without one."""
        head = self.model.get("cls_head")
        return None if head is None else int(head["num_classes"])

    @property
    def lora_scaling(self) -> float:
        """Scaling of the branches, alpha / rank."""
        backbone = self.model["backbone"]
        rank = backbone.get("lora_rank") or 1
        alpha = backbone.get("lora_alpha")
        return 1.0 if alpha is None else alpha / rank


def read_checkpoint(path: str | Path, lora_alpha: float | None = None) -> Checkpoint:
    """Read a checkpoint; nothing in it is run.

    The network is told by the shapes of the weights. What they do not tell (scaling of branches,
    averaging of views) is taken from the configuration in the file, where there is one.

    Args:
        path: A ``.pth`` file of the authors, of mmaction2 or of our training.
        lora_alpha: Scaling of the branches, where the file does not tell or is wrong.

    Raises:
        UserError: Missing, damaged, or no recognizer of this family.
    """
    path = Path(path).expanduser()
    content = load_from_local(path)
    state = content.get("state_dict", content)
    meta = content.get("meta") if "state_dict" in content else {}
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{path}: no state dict, neither under 'state_dict' nor as a whole")
    layout = layout_of(state)
    if layout == "unknown":
        raise UserError(
            f"{path}: no recognizer with a Video Swin backbone, there is neither "
            "backbone.norm.weight nor backbone.norm3.weight in it"
        )
    ours = to_ours(state)
    meta = dict(meta) if isinstance(meta, Mapping) else {}
    model, notes = _fitting_model(ours, meta, lora_alpha, str(path))
    return Checkpoint(path, ours, layout, meta, model, notes)


def build_model(
    path: str | Path, *, lora_alpha: float | None = None, **backbone_options: Any
) -> nn.Module:
    """The trained network of a checkpoint, in evaluation mode.

    Args:
        path: See :func:`read_checkpoint`.
        lora_alpha: See :func:`read_checkpoint`.
        **backbone_options: Arguments of the backbone that weights do not tell.

    Raises:
        UserError: As :func:`read_checkpoint`, or the weights do not fit.
    """
    return network_of(read_checkpoint(path, lora_alpha), **backbone_options)


def network_of(checkpoint: Checkpoint, **backbone_options: Any) -> nn.Module:
    """The network of a checkpoint that has been read, in evaluation mode.

    Args:
        checkpoint: As read.
        **backbone_options: Arguments of the backbone that weights do not tell.

    Raises:
        UserError: The weights do not fit.
    """
    backbone = {**checkpoint.model["backbone"], **backbone_options}
    with torch.random.fork_rng(devices=[]):
        model = build_recognizer({**checkpoint.model, "backbone": backbone})
    strict_load(model, checkpoint.state, str(checkpoint.path))
    return model.eval()


def build_recognizer(config: Mapping[str, Any]) -> nn.Module:
    """A recognizer from a configuration, with random weights.

    Args:
        config: As of :class:`uas_swin.model.UASRecognizer3D`; left as it is.

    Raises:
        UserError: A configuration of the network that cannot be.
    """
    from copy import deepcopy

    from mmengine.registry import DefaultScope

    import uas_swin.model.backbone  # noqa: F401  (registers it)
    from uas_swin.model.recognizer import UASRecognizer3D

    arguments = {key: value for key, value in deepcopy(dict(config)).items() if key != "type"}
    with DefaultScope.overwrite_default_scope("mmaction"):
        return UASRecognizer3D(**arguments)


def load_weights(
    model: nn.Module, source: Checkpoint | str | Path, whole: bool = False
) -> list[str]:
    """Put the weights of a checkpoint into a recognizer that may have another head or branches.

    Args:
        model: A recognizer of ours.
        source: A checkpoint, or its file.
        whole: Every weight must come from the file, as where nothing is trained any more.

    Returns:
        Lines that tell what was not taken from the file.

    Raises:
        UserError: As :func:`read_checkpoint`, or weights of the backbone that do not fit; all
            of them are named. With ``whole`` also a head or branches that are not in the file.
    """
    checkpoint = source if isinstance(source, Checkpoint) else read_checkpoint(source)
    own = model.state_dict()
    given = dict(checkpoint.state)
    notes = []
    head = [n for n in given if is_head(n) and (n not in own or own[n].shape != given[n].shape)]
    if head:
        shapes = [f"{n} {tuple(given[n].shape)}" for n in head]
        fate = "the new one keeps its start" if head[0] in own else "there is none here"
        notes.append(f"{checkpoint.path}: its head is left out ({', '.join(shapes)}), {fate}")
    absent = [n for n in own if n not in given and (is_head(n) or is_branch(n))]
    if branches := [n for n in absent if is_branch(n)]:
        notes.append(
            f"{checkpoint.path}: has no {len(branches)} weights of branches, they start anew"
        )
    if any(is_head(n) for n in absent):
        notes.append(f"{checkpoint.path}: has no head, the new one keeps its start")
    if whole and notes:
        raise UserError(
            f"{notes[0]}: scores would be those of random weights; take the configuration, with "
            "the classes, that the checkpoint was trained with"
        )
    if any(is_branch(n) and n not in own for n in given):
        raise UserError(
            f"{checkpoint.path}: has low-rank branches and the network has not (all of) them; "
            "set use_lora with the same rank and layers, or merge them: uas-swin merge-lora"
        )
    kept = {n: own[n] for n in [*absent, *head] if n in own}
    strict_load(
        model, {**{n: v for n, v in given.items() if n not in head}, **kept}, str(checkpoint.path)
    )
    return notes


def load_backbone(backbone: nn.Module, path: str | Path) -> None:
    """Put the backbone of a recognizer's checkpoint into a backbone.

    Args:
        backbone: A backbone of ours.
        path: See :func:`read_checkpoint`.

    Raises:
        UserError: As :func:`load_weights`.
    """
    holder = nn.Module()
    holder.backbone = backbone
    load_weights(holder, path)


def _fitting_model(
    state: Mapping[str, Tensor], meta: Mapping[str, Any], lora_alpha: float | None, where: str
) -> tuple[dict[str, Any], list[str]]:
    """A configuration for the weights, completed by the one in the file; and what was assumed."""
    model = inferred_options(state, where)
    texts = (options_from_text(meta.get(key)) for key in CONFIG_KEYS)
    told = next((text for text in texts if text), {})
    test_cfg = told.get("test_cfg")
    if isinstance(test_cfg, dict):
        model["test_cfg"] = {**model["test_cfg"], **test_cfg}
    backbone, told_backbone = model["backbone"], told.get("backbone")
    told_backbone = told_backbone if isinstance(told_backbone, dict) else {}
    for name in ("qk_scale", "drop_path_rate"):
        if name in told_backbone:
            backbone[name] = told_backbone[name]
    notes = []
    if backbone.get("use_lora"):
        if lora_alpha is not None:
            backbone["lora_alpha"] = lora_alpha
        elif "lora_rank" in told_backbone:
            backbone["lora_alpha"] = told_backbone.get("lora_alpha")
        else:
            notes.append(f"{where}: does not tell lora_alpha; taken as the rank, a scaling of 1")
    return model, notes
