"""Options of the network from the authors' command line, or from the shapes of weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from behaviorzoo.errors import UserError


class _Shaped(Protocol):
    @property
    def shape(self) -> Sequence[int]: ...


def read_options(arguments: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Options of the network among the authors' command-line options.

    Args:
        arguments: Option -> value; numbers, lists and truth values may be texts, such as
            ``"2,1,4;2,1,6"`` or ``"yes"``.
        where: File they come from, for messages.

    Returns:
        Name in ``ModelConfig`` -> value, for the options that are there.

    Raises:
        UserError: A value that cannot be read, with the option's name.
    """
    found = {}
    for name, read in _READERS.items():
        value = arguments.get(name)
        if value is None:
            continue
        try:
            found[name] = read(value)
        except (TypeError, ValueError) as error:
            raise UserError(f"{where}: option {name} = {value!r} cannot be read") from error
    return found


def infer_options(state: Mapping[str, _Shaped]) -> dict[str, Any]:
    """Options that the shapes of a state dict determine.

    Heads and the extent of attention leave no trace in the weights. What is ambiguous is left
    out, and so is everything if the keys are not those of a pretrained network.

    Args:
        state: Parameter name -> tensor.

    Returns:
        Name in ``ModelConfig`` -> value.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    patch = shapes.get("patch_embed.proj.weight", ())
    projections = _numbered(shapes, "projections.{}.weight")
    widths = _numbered(shapes, "blocks.{}.norm2.weight")
    if len(patch) != 5 or not projections or not widths:
        return {}
    kernel = patch[2:]
    flat = len(projections) > 1 and len({shape[1] for shape in projections}) == 1
    found: dict[str, Any] = {
        "patch_kernel": kernel,
        "init_embed_dim": patch[0],
        "out_embed_dims": tuple(shape[0] for shape in projections),
        "non_hierarchical": flat,
        "missing": "missing_embed.weight" in shapes,
    }
    if not flat:
        found["stages"] = tuple(
            sum(width == (shape[1],) for width in widths) for shape in projections
        )
    units = [shape[2:] for shape in _numbered(shapes, "multi_scale_fusion_heads.{}.weight")]
    if units and not flat:
        found["q_strides"] = _strides(units)
    if units and "pos_embed_temporal" in shapes and "pos_embed_spatial" in shapes:
        t, s = shapes["pos_embed_temporal"][1], shapes["pos_embed_spatial"][1]
        # Height and width of the grid are known by their product only.
        grids = [
            (h, s // h)
            for h in range(1, s + 1)
            if s % h == 0 and h % units[0][1] == 0 and (s // h) % units[0][2] == 0
        ]
        if len(grids) == 1:
            found["input_size"] = tuple(n * k for n, k in zip((t, *grids[0]), kernel, strict=True))
    return found


def _numbered(shapes: Mapping[str, tuple[int, ...]], pattern: str) -> list[tuple[int, ...]]:
    found = []
    while pattern.format(len(found)) in shapes:
        found.append(shapes[pattern.format(len(found))])
    return found


def _strides(units: Sequence[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
    """Pooling steps from the mask unit at each level: a level's unit over the next one's."""
    following = [*units[1:], (1, 1, 1)]
    return tuple(
        tuple(a // b for a, b in zip(unit, after, strict=True))
        for unit, after in zip(units, following, strict=True)
    )


def _integers(value: Any) -> tuple[int, ...]:
    if isinstance(value, str):
        value = re.split(r"[\s,;]+", value.strip(" ()[]"))
    return tuple(_integer(item) for item in value)


def _integer(value: Any) -> int:
    number = int(value)
    if isinstance(value, float) and number != value:
        raise ValueError(f"{value} is not a whole number")
    return number


def _triples(value: Any) -> tuple[tuple[int, ...], ...]:
    """``"a,b,c;d,e,f"``, a list of such texts or of lists, or one flat list of numbers."""
    if isinstance(value, str):
        value = [part for part in value.split(";") if part.strip()]
    if all(isinstance(item, int) for item in value):
        value = [value[start : start + 3] for start in range(0, len(value), 3)]
    return tuple(_integers(item) for item in value)


def _truth(value: Any) -> bool:
    if isinstance(value, str):
        words = {"yes": True, "true": True, "t": True, "y": True, "1": True}
        words |= {"no": False, "false": False, "f": False, "n": False, "0": False}
        if value.strip().lower() not in words:
            raise ValueError(value)
        return words[value.strip().lower()]
    return bool(value)


def _truths(value: Any) -> tuple[bool, ...]:
    if isinstance(value, str):
        value = re.split(r"[\s,;]+", value.strip(" ()[]"))
    return tuple(_truth(item) for item in value)


_READERS: dict[str, Callable[[Any], Any]] = {
    "input_size": _integers,
    "patch_kernel": _integers,
    "stages": _integers,
    "q_strides": _triples,
    "mask_unit_attn": _truths,
    "init_embed_dim": _integer,
    "init_num_heads": _integer,
    "out_embed_dims": _integers,
    "non_hierarchical": _truth,
    "decoding_strategy": str,
    "decoder_embed_dim": _integer,
    "decoder_depth": _integer,
    "decoder_num_heads": _integer,
    "mask_ratio": float,
    "norm_loss": _truth,
}
