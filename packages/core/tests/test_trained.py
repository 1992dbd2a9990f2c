"""A network comes back from its folder, strictly, and without a trace in the random numbers."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from behaviorzoo.checkpoints import save_checkpoint
from behaviorzoo.errors import UserError
from behaviorzoo.trained import load_folder, network_with


@dataclass
class Options:
    width: int = 2


def make(options):
    return lambda: nn.Sequential(nn.Linear(3, options.width), nn.Dropout())


def test_folder_and_network(tmp_path):
    source = make(Options(5))()
    config = {"seed": 1, "model": {"width": 5}}
    folder = save_checkpoint(tmp_path / "ours", source.state_dict(), config, {"step": 3})
    loaded = load_folder(folder, Options)
    assert loaded.config == Options(5)
    assert (loaded.full_config, loaded.path) == (config, folder)
    assert loaded.metadata["step"] == 3
    before = torch.get_rng_state()
    network = network_with(make(loaded.config), loaded.state, str(folder))
    assert torch.equal(torch.get_rng_state(), before)
    assert not network.training
    assert torch.equal(network[0].weight, source[0].weight)


def test_what_does_not_fit_is_refused(tmp_path):
    save_checkpoint(tmp_path / "a", {}, {"seed": 1}, {})
    with pytest.raises(UserError, match=r"config\.yaml: no section 'model'"):
        load_folder(tmp_path / "a", Options)
    save_checkpoint(tmp_path / "b", {}, {"model": {"widht": 1}}, {})
    with pytest.raises(UserError, match=r"unknown key.*'width'"):
        load_folder(tmp_path / "b", Options)
    with pytest.raises(UserError, match=r"b\.pt: does not fit the network"):
        network_with(make(Options(4)), make(Options(5))().state_dict(), "b.pt")
