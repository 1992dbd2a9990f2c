"""Checkpoints of the authors' layout <-> ours, settings included.

The parameters have the same names and shapes in both; what differs is the frame around them: one
Lightning file with a tree of ``argparse.Namespace`` there, a folder of safetensors, yaml and json
here. The optimiser's state is not carried over: its order of parameters is the trainer's own.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path
from behaviorzoo.schema import to_dict
from hysp import __version__
from hysp.author_options import authors_arguments
from hysp.model import ModelConfig

if TYPE_CHECKING:
    from hysp.checkpoints import LoadedModel

LEARNER_PREFIX = "model."
"""What the authors' learner puts before every name."""

LIGHTNING_VERSION = "1.9.5"
"""Release of Lightning whose layout is written; their code runs with none after it."""


def to_ours(source: str | Path, out: str | Path) -> Path:
    """Write the authors' checkpoint as a checkpoint folder of ours.

    Args:
        source: A Lightning file of the authors (any name).
        out: Folder to make.

    Raises:
        UserError: Not a checkpoint of theirs, or one that does not fit its own settings.
    """
    from behaviorzoo.checkpoints import fingerprint, save_checkpoint
    from hysp.checkpoints import load_checkpoint, network_of

    loaded = load_checkpoint(source)
    if loaded.full_config is not None:
        raise UserError(f"{loaded.path}: is a checkpoint of ours already")
    metadata: dict[str, Any] = {
        "method": "hysp",
        "versions": {"hysp": __version__},
        "converted_from": loaded.path.name,
        "source_fingerprint": fingerprint(loaded.path),
        "authors": loaded.metadata["cfg"],
    }
    if "epoch" in loaded.metadata:
        metadata["epoch"] = loaded.metadata["epoch"] + 1  # theirs is the last one, ours how many
    state = network_of(loaded).state_dict()
    return save_checkpoint(out, state, settings_of(loaded), metadata)


def to_authors(source: str | Path, out: str | Path) -> Path:
    """Write a checkpoint as the authors' code reads it.

    Args:
        source: Checkpoint or run folder of ours.
        out: File to write.

    Raises:
        UserError: A classifier (their evaluation starts from pre-training), a graph that their
            code does not know, or ``out`` cannot be written.
    """
    import torch

    from hysp.checkpoints import load_checkpoint, network_of

    out = Path(out)
    if out.is_dir():
        raise UserError(f"{out}: this is a folder, give the name of a file to write")
    loaded = load_checkpoint(source)
    if not isinstance(loaded.config, ModelConfig):
        raise UserError(f"{source}: an encoder with a head; the authors start from pre-training")
    state = network_of(loaded).state_dict()
    content = {
        "epoch": max(int(loaded.metadata.get("epoch", 0)) - 1, 0),
        "global_step": int(loaded.metadata.get("step", 0)),
        "pytorch-lightning_version": LIGHTNING_VERSION,
        "state_dict": {LEARNER_PREFIX + name: tensor for name, tensor in state.items()},
        "hparams_name": "kwargs",
        "hyper_parameters": {"cfg": authors_configuration(loaded)},
    }
    with atomic_path(out) as temporary:
        torch.save(content, temporary)
    return out


def settings_of(loaded: LoadedModel) -> dict[str, Any]:
    """All settings of a checkpoint in our layout, whoever wrote it."""
    if loaded.full_config is not None:
        return loaded.full_config
    section = "model" if isinstance(loaded.config, ModelConfig) else "classifier"
    return {"compat": loaded.compat, section: to_dict(loaded.config)}


def authors_configuration(loaded: LoadedModel) -> Namespace:
    """The configuration as the authors' learner keeps it.

    Raises:
        UserError: A graph that their code does not know.
    """
    config = loaded.config
    assert isinstance(config, ModelConfig)
    kept = loaded.metadata.get("authors", {})  # a checkpoint that came from them goes back whole
    cfg = dict(kept) if isinstance(kept, Mapping) else {}
    arguments = {**cfg.get("model_args", {}), **authors_arguments(config)}
    cfg |= {"model": config.method, "hyper": config.hyper}
    return Namespace(**{**cfg, "model_args": Namespace(**arguments)})
