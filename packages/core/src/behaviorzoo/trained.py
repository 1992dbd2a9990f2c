"""Trained networks: what a checkpoint says of one, and its weights in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from behaviorzoo.checkpoints import CONFIG_FILE, load_checkpoint
from behaviorzoo.errors import UserError
from behaviorzoo.schema import from_dict
from behaviorzoo.weights import strict_load

Options = TypeVar("Options")
Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class LoadedModel(Generic[Options]):
    """A checkpoint that has been read.

    Attributes:
        config: Options of the network.
        state: Parameter name -> tensor on the CPU, as our network names them.
        full_config: The whole configuration of the run, where the checkpoint is one of ours.
        metadata: Ours: versions, step, metrics. Others: what the file says besides the weights.
        path: The folder or file.
    """

    config: Options
    state: dict[str, Tensor]
    full_config: dict[str, Any] | None
    metadata: dict[str, Any]
    path: Path


def load_folder(path: str | Path, schema: type[Options]) -> LoadedModel[Options]:
    """Read a checkpoint folder, or the newest one of a run folder.

    Args:
        path: See :func:`behaviorzoo.checkpoints.resolve_checkpoint`.
        schema: Dataclass of the network's options, which are in the section ``model``.

    Raises:
        UserError: Nothing there, damaged, or without the options of a network.
    """
    found = load_checkpoint(path)
    where = str(found.path / CONFIG_FILE)
    if not isinstance(found.config.get("model"), Mapping):
        raise UserError(f"{where}: no section 'model', so the network is unknown")
    config = from_dict(schema, found.config["model"], where=where)
    return LoadedModel(config, found.state, found.config, found.metadata, found.path)


def network_with(make: Callable[[], Network], state: Mapping[str, Tensor], where: str) -> Network:
    """Build a network and put its weights in; evaluation mode.

    Args:
        make: Builds it. Its random weights do not move the random numbers of the run.
        state: Parameter and buffer name -> tensor; every one must fit.
        where: File or folder the weights came from, for messages.

    Raises:
        UserError: Missing, unexpected and misshapen keys, all in one line.
    """
    with torch.random.fork_rng(devices=[]):
        network = make()
    strict_load(network, state, where)
    return network.eval()
