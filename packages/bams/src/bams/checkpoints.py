"""Trained weights into networks: our checkpoint folders and the authors' ``.pt`` files.

Theirs is a bare state dict, whose names :mod:`bams.author_layout` explains; the options of the
network are read off its shapes. Loading is strict: a missing, unexpected or misshapen key is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from bams.author_layout import infer_config, without_aliases
from bams.model.bams import BAMS
from bams.model.config import ModelConfig
from behaviorzoo import trained
from behaviorzoo.checkpoints import MODEL_FILE
from behaviorzoo.weights import load_torch_file

LoadedModel: TypeAlias = trained.LoadedModel[ModelConfig]


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
    if not path.is_file() or path.name == MODEL_FILE:
        return trained.load_folder(path, ModelConfig)
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
    return trained.network_with(lambda: BAMS(loaded.config), loaded.state, str(loaded.path))
