"""The authors' state dict: other names of the same tensors, and what its shapes tell.

Their blocks hold each convolution and each activation twice, as an attribute (``conv1``) and as an
item of a sequence (``net.0``); both names are in the file. Newer versions of PyTorch write weight
norm as ``parametrizations.weight.original0`` and ``original1`` instead of ``weight_g`` and
``weight_v``.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bams.model.config import MAX_BINS, EncoderConfig, ModelConfig
from behaviorzoo.errors import UserError

ITEMS = {"conv1": "0", "relu1": "2", "conv2": "4", "relu2": "6"}
"""Attribute of a block -> its place in the block's sequence."""

DILATION_BASES = {"short_term": 2, "long_term": 4}
"""Encoder -> dilation base in all of the authors' scripts; it leaves no trace in the weights."""

HOA_BINS = 32
"""Bins of an action in all of the authors' scripts; the weights tell the product with actions."""

_PARTS = {place: part for part, place in ITEMS.items()}
_BLOCK = r"encoders\.\w+\.network\.\d+\."
_ALIAS = re.compile(rf"({_BLOCK})net\.(\d+)\.(.+)")
_ATTRIBUTE = re.compile(rf"({_BLOCK})({'|'.join(ITEMS)})\.(.+)")
_PARAMETRIZED = {
    "parametrizations.weight.original0": "weight_g",
    "parametrizations.weight.original1": "weight_v",
}
_NAMES_SHOWN = 8


def without_aliases(state: Mapping[str, Any], where: str) -> dict[str, Tensor]:
    """The state dict of our network in one of theirs.

    Args:
        state: Their name -> tensor.
        where: File it comes from, for messages.

    Raises:
        UserError: Something that is no tensor, an alias that is missing, has no original or
            another value: all of them in one line.
    """
    own: dict[str, Tensor] = {}
    aliases: dict[str, tuple[str, Tensor]] = {}
    problems = []
    for name, value in state.items():
        if not isinstance(value, Tensor):
            problems.append(f"{name} is {type(value).__name__}, not a tensor")
            continue
        old = _old_name(name)
        match = _ALIAS.fullmatch(old)
        if match and match[2] in _PARTS:
            aliases[f"{match[1]}{_PARTS[match[2]]}.{match[3]}"] = (name, value)
        else:
            own[old] = value
    problems += [
        f"{_alias(name)} is missing (the same as {name})"
        for name in own
        if _ATTRIBUTE.fullmatch(name) and name not in aliases
    ]
    for name, (alias, value) in aliases.items():
        if name not in own:
            problems.append(f"{name} is missing (the same as {alias})")
        elif not torch.equal(own[name], value):
            problems.append(f"{alias} is not the same as {name}")
    if problems:
        more = len(problems) - _NAMES_SHOWN
        shown = "; ".join(problems[:_NAMES_SHOWN]) + (f"; and {more} more" if more > 0 else "")
        raise UserError(f"{where}: not a state dict of the authors' BAMS: {shown}")
    return own


def with_aliases(state: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
    """The state dict of the authors' code from ours, in its order of names."""
    theirs: OrderedDict[str, Tensor] = OrderedDict()
    waiting: dict[str, Tensor] = {}
    for name, value in state.items():
        # The aliases of a block follow the attributes that they repeat.
        if not _ATTRIBUTE.fullmatch(name):
            theirs.update(waiting)
            waiting = {}
        theirs[name] = value
        if _ATTRIBUTE.fullmatch(name):
            waiting[_alias(name)] = value
    return theirs


def infer_config(
    state: Mapping[str, Tensor],
    where: str,
    dilation_bases: Mapping[str, int] | None = None,
) -> ModelConfig:
    """Options of the network from the shapes of its weights.

    Args:
        state: Our name -> tensor.
        where: File it comes from, for messages.
        dilation_bases: Encoder -> dilation base, for encoders that have other names than those of
            the authors' scripts, or other bases.

    Raises:
        UserError: Not the weights of such a network, or an encoder of unknown dilation.
    """
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    found = [re.match(r"encoders\.(\w+)\.network\.", name) for name in shapes]
    names = list(dict.fromkeys(match[1] for match in found if match))
    layers = [
        (int(match[1]), shape)
        for name, shape in shapes.items()
        if (match := re.fullmatch(r"predictor\.layers\.(\d+)\.weight", name)) and len(shape) == 2
    ]
    if not names or not layers:
        missing = "encoders.*" if not names else "predictor.layers.*"
        raise UserError(f"{where}: not a network of BAMS, there is no {missing} in it")
    bases = {**DILATION_BASES, **(dilation_bases or {})}
    unknown = [name for name in names if name not in bases]
    if unknown:
        raise UserError(
            f"{where}: the weights do not tell the dilation of {', '.join(unknown)}; pass "
            f"dilation_bases={{{unknown[0]!r}: ...}}, the factor from block to block"
        )
    n_outputs = layers[-1][1][0]
    n_bins = _bins(n_outputs, where)
    return ModelConfig(
        n_inputs=shapes.get(f"encoders.{names[0]}.network.0.conv1.weight", (0, 0, 0))[1],
        n_targets=n_outputs // n_bins,
        encoders={name: _encoder(shapes, name, bases[name], where) for name in names},
        predictor_hidden=tuple(shape[0] for _, shape in layers[:-1]),
        predictor_bias=f"predictor.layers.{layers[-1][0]}.bias" in shapes,
        predictor_batchnorm="predictor.layers.1.running_mean" in shapes,
        hoa_bins=n_bins,
    )


def _encoder(
    shapes: Mapping[str, tuple[int, ...]], name: str, base: int, where: str
) -> EncoderConfig:
    blocks = []
    while (key := f"encoders.{name}.network.{len(blocks)}.conv1.weight") in shapes:
        if len(shapes[key]) != 3:
            raise UserError(f"{where}: {key} has the shape {shapes[key]}, expected three numbers")
        blocks.append(shapes[key])
    if not blocks:
        raise UserError(f"{where}: encoders.{name}.network.0.conv1.weight is missing")
    layers = [
        2 if f"encoders.{name}.network.{i}.conv2.bias" in shapes else 1 for i in range(len(blocks))
    ]
    return EncoderConfig(
        channels=tuple(shape[0] for shape in blocks),
        kernel_size=_one_if_equal([shape[2] for shape in blocks]),
        dilation_base=base,
        layers_per_block=_one_if_equal(layers),
    )


def _bins(n_outputs: int, where: str) -> int:
    """Bins of an action: those of the authors' scripts, else the most that are possible."""
    possible = [n for n in range(2, MAX_BINS + 1) if n_outputs % n == 0]
    if not possible:
        raise UserError(f"{where}: {n_outputs} outputs are no number of actions times bins")
    return HOA_BINS if HOA_BINS in possible else possible[-1]


def _one_if_equal(numbers: list[int]) -> int | tuple[int, ...]:
    return numbers[0] if len(set(numbers)) == 1 else tuple(numbers)


def _alias(name: str) -> str:
    block, part, rest = _ATTRIBUTE.fullmatch(name).groups()  # type: ignore[union-attr]
    return f"{block}net.{ITEMS[part]}.{rest}"


def _old_name(name: str) -> str:
    for modern, old in _PARAMETRIZED.items():
        if name.endswith("." + modern):
            return name.removesuffix(modern) + old
    return name
