"""Weights from files into networks: nothing in a file is run, everything must fit."""

from __future__ import annotations

import argparse
import pickletools
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from behaviorzoo.errors import UserError
from behaviorzoo.files import existing_file

_NAMES_SHOWN = 8


def load_safetensors(path: str | Path) -> dict[str, torch.Tensor]:
    """Tensors of a safetensors file, on the CPU.

    Raises:
        UserError: Missing, empty, truncated, or another kind of file.
    """
    path = existing_file(path, "weights")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        reason = _one_line(error)
        raise UserError(f"{path}: truncated or not a safetensors file ({reason})") from error


def load_torch_file(path: str | Path) -> dict[str, Any]:
    """Read a ``torch.save`` file from a stranger without running any code in it.

    Besides tensors and plain containers only ``argparse.Namespace`` (where authors keep their
    options) and numpy scalars are let in.

    Args:
        path: The file, such as ``checkpoint-00199.pth``.

    Returns:
        The dictionary in it, tensors on the CPU.

    Raises:
        UserError: Missing, empty, truncated, not a torch file, not a dictionary, or it asks for
            anything else; the offending global is named and nothing has run.
    """
    path = existing_file(path, "checkpoint")
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_allowed_globals()):
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch's restricted unpickler walks a stranger's bytes and trips in many ways (KeyError,
        # EOFError, RuntimeError ...): the fault is always in the file, and its name is needed.
        refused = _refused_global(str(error)) or _global_in_pickle(path)
        if refused:
            raise UserError(
                f"{path}: refused, the file asks for {refused!r}, which is not weights and could "
                "run code; nothing was run. Ask its authors for a plain state dict"
            ) from error
        raise UserError(
            f"{path}: truncated or damaged, or not a checkpoint that torch wrote; copy it again"
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a dictionary of weights, got {type(content).__name__}")
    return content


def strict_load(module: torch.nn.Module, state: Mapping[str, torch.Tensor], where: str) -> None:
    """Load a state dict into a module; every key and every shape must fit.

    Args:
        module: The module that receives the values.
        state: Parameter and buffer name -> tensor.
        where: File or folder the state came from, for the message.

    Raises:
        UserError: Missing, unexpected and misshapen keys, all in one line.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    misshapen = [
        f"{name} {_shape(state[name])} instead of {_shape(own[name])}"
        for name in own
        if name in state and _shape(state[name]) != _shape(own[name])
    ]
    problems = [
        f"{len(names)} {kind}: {_bounded(names)}"
        for kind, names in [
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", misshapen),
        ]
        if names
    ]
    if problems:
        raise UserError(
            f"{where}: does not fit the network ({len(own)} keys): {'; '.join(problems)}. "
            "Was it trained with another geometry?"
        )
    module.load_state_dict(dict(state), strict=True)


def _allowed_globals() -> list[Any]:
    scalar_types = [type(np.dtype(code)) for code in "?bhilqBHILQefd"]
    # Files keep the name that the function had in the numpy that wrote them.
    scalars = [_numpy_scalar(module) for module in ("numpy.core", "numpy._core")]
    return [argparse.Namespace, np.dtype, *scalar_types, *scalars]


def _numpy_scalar(package: str) -> Any:
    """Constructor of numpy scalars, known to the unpickler by its name in ``package``."""
    construct: Any = np.float64(0).__reduce__()[0]

    def scalar(*arguments: Any) -> Any:
        return construct(*arguments)

    scalar.__module__, scalar.__qualname__ = f"{package}.multiarray", "scalar"
    return scalar


def _refused_global(message: str) -> str:
    """The name in the sentence with which torch's restricted unpickler refuses a global."""
    match = re.search(r"(?:GLOBAL|instantiate class|call reduce for)\W+(?:\w+ )?([\w.]+)", message)
    return match[1] if match else ""


def _global_in_pickle(path: Path) -> str:
    """First global a plain pickle asks for, read off its opcodes without running them.

    torch stops at the first opcode of a newer protocol, before it can name the reason.
    """
    strings: list[str] = []
    try:
        with path.open("rb") as handle:
            for opcode, argument, _ in pickletools.genops(handle):
                if opcode.name in ("GLOBAL", "INST"):
                    return str(argument).replace(" ", ".")
                if opcode.name == "STACK_GLOBAL":
                    return ".".join(strings[-2:])
                if isinstance(argument, str):
                    strings.append(argument)
    except Exception:  # not a pickle after all
        return ""
    return ""


def _shape(value: Any) -> tuple[int, ...] | str:
    return tuple(value.shape) if hasattr(value, "shape") else type(value).__name__


def _bounded(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 160 else text[:157] + "..."
