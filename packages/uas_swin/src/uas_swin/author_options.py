"""The authors' model configurations in the words of mmaction2 1.x, and networks from weights.

A checkpoint of theirs keeps its configuration as Python text. It is read, never run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from behaviorzoo.errors import UserError, suggest
from uas_swin.model.lora import LAYER_TYPES

Options = dict[str, Any]

AUTHORS_BACKBONE: Options = {
    "pretrained": None,
    "pretrained2d": True,
    "patch_size": (4, 4, 4),
    "in_chans": 3,
    "embed_dim": 96,
    "depths": [2, 2, 6, 2],
    "num_heads": [3, 6, 12, 24],
    "window_size": (2, 7, 7),
    "mlp_ratio": 4.0,
    "qkv_bias": True,
    "qk_scale": None,
    "drop_rate": 0.0,
    "attn_drop_rate": 0.0,
    "drop_path_rate": 0.2,
    "patch_norm": False,
    "frozen_stages": -1,
    "use_checkpoint": False,
    "use_lora": False,
    "lora_rank": 0,
    "lora_alpha": None,
    "lora_type": "all",
    "lora_layer_type": "qv",
}
"""Arguments of the authors' backbone, and their values where a configuration does not say."""

RENAMED = {"in_chans": "in_channels", "use_checkpoint": "with_cp"}
"""Argument of the authors -> ours."""

ARCH = {"embed_dim": "embed_dims", "depths": "depths", "num_heads": "num_heads"}
"""Argument of the authors -> key of ``arch``."""

UNUSED = ("norm_layer",)
"""Arguments of the authors with only one value in use."""

PUBLISHED_WINDOW = (8, 7, 7)

_BIAS_TABLE = "backbone.layers.0.blocks.0.attn.relative_position_bias_table"
_BIAS_INDEX = "backbone.layers.0.blocks.0.attn.relative_position_index"


def recognizer_options(config: Mapping[str, Any], compat: str = "corrected") -> Options:
    """A configuration of our recognizer from the ``model`` of one of the authors'.

    Args:
        config: ``Recognizer3D`` with ``backbone``, ``cls_head`` and maybe ``test_cfg``.
        compat: ``upstream`` also draws low-rank branches as they do, and makes none for rank 0.

    Raises:
        UserError: An argument that their backbone does not have.
    """
    backbone = backbone_options(config["backbone"], compat)
    options: Options = {"type": "UASRecognizer3D", "backbone": backbone}
    if config.get("cls_head") is not None:
        options["cls_head"] = dict(config["cls_head"])
    if config.get("test_cfg") is not None:
        options["test_cfg"] = dict(config["test_cfg"])
    return options


def backbone_options(config: Mapping[str, Any], compat: str = "corrected") -> Options:
    """A configuration of our backbone from one of the authors'.

    Args:
        config: Their arguments; what is left out has their defaults.
        compat: See :func:`recognizer_options`.

    Raises:
        UserError: An argument that they do not have.
    """
    given = {key: value for key, value in config.items() if key not in ("type", *UNUSED)}
    unknown = [key for key in given if key not in AUTHORS_BACKBONE]
    if unknown:
        hint = suggest(unknown[0], AUTHORS_BACKBONE)
        raise UserError(f"backbone: the original has no argument {unknown[0]!r}; {hint}")
    full = {**AUTHORS_BACKBONE, **given}
    arch = {ours: full.pop(theirs) for theirs, ours in ARCH.items()}
    options = {RENAMED.get(key, key): value for key, value in full.items()}
    init = "upstream" if compat == "upstream" else "zero_b"
    return {
        "type": "UASSwinTransformer3D",
        "arch": arch,
        **options,
        "lora_init": init,
        "compat": compat,
    }


def inferred_options(state: Mapping[str, Tensor], where: str) -> Options:
    """A configuration of our recognizer from the names and shapes of its weights.

    Dropout and the scaling of branches leave no trace: they are as published, and 1.

    Args:
        state: Under our names.
        where: File it comes from, for messages.

    Raises:
        UserError: No Video Swin transformer, or parts of one are missing.
    """
    try:
        backbone, width = _inferred_backbone(state)
        options: Options = {"type": "UASRecognizer3D", "backbone": backbone}
        if "cls_head.fc_cls.weight" in state:
            classes, width = state["cls_head.fc_cls.weight"].shape
            options["cls_head"] = {
                "type": "I3DHead",
                "num_classes": classes,
                "in_channels": width,
                "spatial_type": "avg",
                "dropout_ratio": 0.5,
            }
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        raise UserError(
            f"{where}: no Video Swin transformer, its weights lack {_first_word(error)}"
        ) from error
    options["test_cfg"] = {"average_clips": "prob"}
    return options


def options_from_text(text: object) -> Options:
    """The ``model`` of a configuration that a checkpoint keeps as Python text.

    Only constants, lists, tuples, dictionaries and ``dict(...)`` are understood; nothing is run.

    Args:
        text: Content of ``meta.config`` (the authors') or ``meta.cfg`` (mmengine's).

    Returns:
        The value of ``model``; empty where it cannot be told.
    """
    if not isinstance(text, str):
        return {}
    try:
        assigned = [line for line in ast.parse(text).body if isinstance(line, ast.Assign)]
        for line in assigned:
            if any(isinstance(name, ast.Name) and name.id == "model" for name in line.targets):
                found = _literal(line.value)
                return found if isinstance(found, dict) else {}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    return {}


def _literal(node: ast.expr) -> Any:
    """The value of an expression of constants and containers.

    Raises:
        ValueError: Anything else.
    """
    match node:
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=words) if all(
            word.arg for word in words
        ):
            return {word.arg: _literal(word.value) for word in words}
        case ast.Dict(keys=keys, values=values):
            pairs = zip(keys, values, strict=True)
            return {_literal(key): _literal(value) for key, value in pairs if key is not None}
        case ast.List(elts=items):
            return [_literal(item) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_literal(item) for item in items)
        case _:
            return ast.literal_eval(node)


def _inferred_backbone(state: Mapping[str, Tensor]) -> tuple[Options, int]:
    """Arguments of the backbone, and the width of its last stage."""
    places = sorted(
        {(int(m[1]), int(m[2])) for n in state if (m := re.match(_PLACE, n)) is not None}
    )
    stages = range(places[-1][0] + 1)
    table = "backbone.layers.{}.blocks.0.attn.relative_position_bias_table"
    patch = state["backbone.patch_embed.proj.weight"]  # C, 3, pd, ph, pw
    width = patch.shape[0]
    qkv = "backbone.layers.0.blocks.0.attn.qkv"
    hidden = state["backbone.layers.0.blocks.0.mlp.fc1.weight"].shape[0]
    options = {
        "type": "UASSwinTransformer3D",
        "arch": {
            "embed_dims": width,
            "depths": [1 + max(b for s, b in places if s == stage) for stage in stages],
            "num_heads": [state[table.format(stage)].shape[1] for stage in stages],
        },
        "patch_size": tuple(patch.shape[2:]),
        "in_channels": patch.shape[1],
        "window_size": _inferred_window(state),
        "mlp_ratio": hidden / state[f"{qkv}.weight"].shape[1],
        "qkv_bias": f"{qkv}.bias" in state,
        "patch_norm": "backbone.patch_embed.norm.weight" in state,
        **_inferred_branches(state, len(stages)),
    }
    return options, width << stages[-1]


_PLACE = r"backbone\.layers\.(\d+)\.blocks\.(\d+)\."


def _inferred_window(state: Mapping[str, Tensor]) -> tuple[int, int, int]:
    """The window whose table has as many rows; the index tells apart those with the same number.

    Raises:
        ValueError: None has.
    """
    rows = len(state[_BIAS_TABLE])
    index = state.get(_BIAS_INDEX)
    odd = [n for n in range(1, rows + 1, 2) if rows % n == 0]
    shapes = [(a, b, rows // a // b) for a in odd for b in odd if rows % (a * b) == 0]
    windows = [tuple((n + 1) // 2 for n in shape) for shape in shapes]
    windows = [w for w in windows if index is None or _has_index(w, index)]
    if PUBLISHED_WINDOW in windows:
        return PUBLISHED_WINDOW
    if not windows:
        raise ValueError("a table of relative positions")
    return windows[0]  # type: ignore[return-value]


def _has_index(window: tuple[int, ...], index: Tensor) -> bool:
    """Whether the index of pairs (N, N) is that of a window; its first column tells."""
    depth, height, width = window
    if len(index) != depth * height * width:
        return False
    steps = ((2 * height - 1) * (2 * width - 1), 2 * width - 1, 1)
    expected = [
        (d + depth - 1) * steps[0] + (h + height - 1) * steps[1] + w + width - 1
        for d in range(depth)
        for h in range(height)
        for w in range(width)
    ]
    return index[:, 0].tolist() == expected


def _inferred_branches(state: Mapping[str, Tensor], n_stages: int) -> Options:
    """Arguments that tell of low-rank branches; empty without any."""
    pattern = re.compile(_PLACE + r"(?:attn|mlp)\.lora_(\w+)\.lora_A\.weight")
    found = [(int(m[1]), m[3], name) for name in state if (m := pattern.match(name))]
    if not found:
        return {}
    kinds, stages = {kind for _, kind, _ in found}, {stage for stage, _, _ in found}
    layers = next((name for name, b in LAYER_TYPES.items() if set(b) == kinds), None)
    if layers is None:
        raise ValueError(f"branches other than {', '.join(sorted(kinds))}")
    where = "all" if len(stages) == n_stages else "first" if stages == {0} else "last"
    rank = state[found[0][2]].shape[0]
    return {"use_lora": True, "lora_rank": rank, "lora_type": where, "lora_layer_type": layers}


def _first_word(error: BaseException) -> str:
    return str(error.args[0]) if error.args else type(error).__name__
