"""Where a network runs."""

from __future__ import annotations

import torch

from behaviorzoo.errors import UserError


def resolve_device(device: str) -> torch.device:
    """The named device, or the best one of this machine for ``auto``.

    Raises:
        UserError: No such device here.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        target = torch.device(device)
        torch.empty(0, device=target)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device {device!r} is not usable here; try device=cpu") from error
    return target
