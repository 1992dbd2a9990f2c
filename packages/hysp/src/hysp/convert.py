"""Checkpoints of the authors' layout <-> ours, settings included.

The parameters have the same names and shapes in both; what differs is the frame around them: one
Lightning file with a tree of ``argparse.Namespace`` there, a folder of safetensors, yaml and json
here. The optimiser's state is not carried over: its order of parameters is the trainer's own.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path, new_file
from behaviorzoo.schema import from_dict, to_dict
from hysp import __version__
from hysp.author_options import authors_arguments
from hysp.model import ModelConfig
from hysp.optim import OptimConfig

if TYPE_CHECKING:
    from hysp.checkpoints import LoadedModel
    from hysp.config import PretrainConfig

LEARNER_PREFIX = "model."
"""What the authors' learner puts before every name."""

LIGHTNING_VERSION = "1.9.5"
"""Release of Lightning whose layout is written; their code runs with none after it."""

OPTIM_OPTIONS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "optimizer": ("optimizer", str),
    "lr": ("lr", float),
    "nesterov": ("nesterov", bool),
    "weight_decay": ("weight_decay", float),  # yaml reads their 1e-4 as text
    "scheduler": ("scheduler", str),
    "num_epoch": ("epochs", int),
    "step": ("milestones", tuple),
    "warmup_step": ("warmup_epochs", int),
    "lr_min": ("lr_min", float),
}
"""The authors' option -> ours and its type."""

CURRICULUM_OPTIONS = {
    "curriculum": "enabled",
    "initial_hyper_epoch": "initial_epoch",
    "final_hyper_epoch": "final_epoch",
}


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
            code does not know, or ``out`` is there already or cannot be written.
    """
    import torch

    from hysp.checkpoints import load_checkpoint, network_of

    out = new_file(out)
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
    """All settings of a checkpoint in our layout, whoever wrote it.

    Raises:
        UserError: Settings of the authors' that ours do not allow.
    """
    if loaded.full_config is not None:
        return loaded.full_config
    if isinstance(loaded.config, ModelConfig):
        return to_dict(pretrain_settings(loaded))
    return {"compat": loaded.compat, "classifier": to_dict(loaded.config)}


def pretrain_settings(loaded: LoadedModel) -> PretrainConfig:
    """Settings of a pre-training run of the authors; what their file does not say is published.

    Raises:
        UserError: Settings that ours do not allow.
    """
    from hysp.config import CurriculumConfig, PretrainConfig

    cfg = loaded.metadata.get("cfg", {})
    try:
        optim = {
            ours: kind(cfg[name]) for name, (ours, kind) in OPTIM_OPTIONS.items() if name in cfg
        }
        course = {ours: cfg[name] for name, ours in CURRICULUM_OPTIONS.items() if name in cfg}
        content = {
            "name": loaded.path.stem,
            "compat": loaded.compat,
            "stream": cfg.get("stream", "joint"),
            "model": to_dict(loaded.config),
            "curriculum": to_dict(CurriculumConfig(**course)),
            "optim": to_dict(OptimConfig(**optim)),
        }
        return from_dict(PretrainConfig, content)
    except (TypeError, ValueError, UserError) as error:
        raise UserError(f"{loaded.path}: its 'cfg' cannot be read ({error})") from error


def authors_configuration(loaded: LoadedModel) -> Namespace:
    """The configuration as the authors' learner keeps it.

    Raises:
        UserError: A graph that their code does not know.
    """
    config = loaded.config
    assert isinstance(config, ModelConfig)
    kept = loaded.metadata.get("authors", {})  # a checkpoint that came from them goes back whole
    cfg = _training_options(loaded) | (dict(kept) if isinstance(kept, Mapping) else {})
    arguments = {**cfg.get("model_args", {}), **authors_arguments(config)}
    cfg |= {"model": config.method, "hyper": config.hyper}
    return Namespace(**{**cfg, "model_args": Namespace(**arguments)})


def _training_options(loaded: LoadedModel) -> dict[str, Any]:
    """The authors' names for how a run of ours was trained, as far as it says."""
    settings = loaded.full_config or {}
    names = {
        "optim": {theirs: ours for theirs, (ours, _) in OPTIM_OPTIONS.items()},
        "curriculum": CURRICULUM_OPTIONS,
    }
    found = {"stream": settings["stream"]} if "stream" in settings else {}
    for section, options in names.items():
        told = settings.get(section, {})
        found |= {theirs: told[ours] for theirs, ours in options.items() if ours in told}
    return found
