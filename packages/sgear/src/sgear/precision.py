"""Number formats of the arithmetic: mixed precision where the device is made for it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal, cast

import torch

from behaviorzoo.errors import UserError

Precision = Literal["fp32", "fp16", "bf16"]
_TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


def choose_precision(name: str, device: torch.device) -> Precision:
    """The format of a run: ``auto`` is fp16 on CUDA, as the original, and fp32 elsewhere.

    Raises:
        UserError: The device cannot compute in it.
    """
    if name == "auto":
        return "fp16" if device.type == "cuda" else "fp32"
    if name == "fp16" and device.type != "cuda":
        raise UserError(
            f"precision=fp16: {device.type} has no fast half precision with scaled gradients; "
            "use precision=fp32 (or bf16)"
        )
    if name == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise UserError("precision=bf16: this GPU does not have it; use precision=fp16")
    return cast(Precision, name)


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Where network and losses compute in the format."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, _TYPES[precision])


def grad_scaler(precision: Precision) -> torch.amp.GradScaler:
    """Keeps small fp16 gradients from vanishing; does nothing in other formats."""
    return torch.amp.GradScaler("cuda", enabled=precision == "fp16")
