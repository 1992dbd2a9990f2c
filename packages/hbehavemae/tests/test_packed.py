from __future__ import annotations

import pytest
import torch
from torch import nn

from hbehavemae import packed
from hbehavemae.packed import PackedLinear, packed_copy


def network() -> nn.Sequential:
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 5, bias=False))
    return nn.Sequential(nn.LayerNorm(5), inner, nn.Linear(5, 3)).eval()


def test_packed_layers_compute_the_same() -> None:
    if not packed._can_pack():
        pytest.skip("this PyTorch has no oneDNN")
    original = network()
    copied = packed_copy(original)
    assert sum(isinstance(module, PackedLinear) for module in copied.modules()) == 3
    for shape in [(4, 5), (2, 3, 5), (2, 1, 6, 5)]:
        x = torch.randn(shape)
        with torch.inference_mode():
            torch.testing.assert_close(copied(x), original(x), atol=1e-5, rtol=1e-5)


def test_the_network_itself_stays_trainable() -> None:
    original = network()
    names = list(original.state_dict())
    packed_copy(original)
    assert list(original.state_dict()) == names
    original(torch.randn(2, 5)).sum().backward()
    assert all(p.grad is not None for p in original.parameters())


@pytest.mark.parametrize("change", ["double", "unavailable", "other operators"])
def test_nothing_is_packed_where_it_cannot_be(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = network()
    if change == "double":
        original.double()
    elif change == "unavailable":
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    else:

        def renamed(*_: object) -> None:
            raise AttributeError("no such operator")

        monkeypatch.setattr(packed.PackedLinear, "forward", renamed)
    assert packed_copy(original) is original
