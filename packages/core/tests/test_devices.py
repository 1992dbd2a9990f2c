from __future__ import annotations

import pytest
import torch

from behaviorzoo.devices import resolve_device
from behaviorzoo.errors import UserError


def test_a_named_device_is_taken_and_auto_finds_one() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    torch.empty(1, device=resolve_device("auto"))


@pytest.mark.parametrize("name", ["gpu", "cuda:99", ""])
def test_a_device_that_is_not_here_is_one_line(name: str) -> None:
    with pytest.raises(UserError, match=f"device '{name}' is not usable here; try device=cpu"):
        resolve_device(name)
