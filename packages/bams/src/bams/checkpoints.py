"""Trained weights into networks: our checkpoint folders and the authors' ``.pt`` files.

Theirs is a bare state dict, whose names :mod:`bams.author_layout` explains; the options of the
network are read off its shapes. Loading is strict: a missing, unexpected or misshapen key is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bams.author_layout import infer_config, without_aliases
from bams.model.bams import BAMS
from bams.model.config import ModelConfig
from behaviorzoo import checkpoints as folders
from behaviorzoo.errors import UserError
from behaviorzoo.schema import from_dict
from behaviorzoo.weights import load_torch_file, strict_load


@dataclass(frozen=True)
class LoadedModel:
    """A checkpoint that has been read.

    Attributes:
        config: Options of the network.
        state: Parameter name -> tensor on the CPU, as our network names them.
        full_config: The whole configuration of the run, where the checkpoint is one of ours.
        metadata: Ours: versions, what was learned of the data, step, metrics. Theirs: nothing.
        path: The folder or file.
    """

    config: ModelConfig
    state: dict[str, Tensor]
    full_config: dict[str, Any] | None
    metadata: dict[str, Any]
    path: Path


def load_checkpoint(
    path: str | Path,
    config: ModelConfig | None = None,
    *,
    dilation_bases: Mapping[str, int] | None = None,
) -> LoadedModel:
    """Read a checkpoint of ours or of the authors.

    What shapes of weights do not tell is taken from the authors' scripts: the dilation base is 2
    for ``short_term`` and 4 for ``long_term``, an action has 32 bins, dropout is 0.2. (Where 32
    does not divide the outputs, the largest number up to 255 that does; embeddings do not depend
    on it.)

    Args:
        path: A checkpoint folder, a run folder (its newest checkpoint), or the authors' file.
        config: Options of the network, instead of those that the authors' file tells.
        dilation_bases: Encoder -> dilation base, where the authors' file needs it.

    Raises:
        UserError: Nothing there, damaged, not a checkpoint, or its options are unknown.
    """
    path = Path(path).expanduser()
    if not path.is_file() or path.name == folders.MODEL_FILE:
        return _load_folder(path)
    state = without_aliases(load_torch_file(path), str(path))
    if config is None:
        config = infer_config(state, str(path), dilation_bases)
    return LoadedModel(config, state, None, {}, path)


def build_model(
    path: str | Path,
    config: ModelConfig | None = None,
    *,
    dilation_bases: Mapping[str, int] | None = None,
) -> BAMS:
    """The trained network, in evaluation mode.

    Args:
        path: See :func:`load_checkpoint`.
        config: See :func:`load_checkpoint`.
        dilation_bases: See :func:`load_checkpoint`.

    Raises:
        UserError: As :func:`load_checkpoint`, or the weights do not fit the options.
    """
    return network_of(load_checkpoint(path, config, dilation_bases=dilation_bases))


def network_of(loaded: LoadedModel) -> BAMS:
    """The network of a checkpoint that has been read, in evaluation mode.

    Raises:
        UserError: The weights do not fit the options.
    """
    with torch.random.fork_rng(devices=[]):  # its random weights must not move the run's seed
        module = BAMS(loaded.config)
    strict_load(module, loaded.state, str(loaded.path))
    return module.eval()


def _load_folder(path: Path) -> LoadedModel:
    found = folders.load_checkpoint(path)
    where = str(found.path / folders.CONFIG_FILE)
    if not isinstance(found.config.get("model"), Mapping):
        raise UserError(f"{where}: no section 'model', so the network is unknown")
    config = from_dict(ModelConfig, found.config["model"], where=where)
    return LoadedModel(config, found.state, found.config, found.metadata, found.path)
