"""Checkpoints of the authors' layout <-> ours, settings included.

The state dicts have the same keys and shapes in both; what differs is the frame around them: one
``torch.save`` file with an ``argparse.Namespace`` there, a folder of safetensors, yaml and
json here. The optimiser's state is not carried over: its order of parameters is the trainer's own.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path, new_file
from behaviorzoo.schema import from_dict, to_dict
from behaviorzoo.schema_keys import plain
from hbehavemae import __version__
from hbehavemae.config import PretrainConfig
from hbehavemae.model import ModelConfig

if TYPE_CHECKING:
    from hbehavemae.checkpoints import LoadedModel

DATASETS = {"shot7m2": "shot7m2", "mabe22": "mabe_mice", "hbabel": "hbabel"}
"""Our name of a data set -> that of the authors' command line."""

ARGUMENTS = {
    "data.path": "path_to_data_dir",
    "data.sliding_window": "sliding_window",
    "data.data_augment": "data_augment",
    "data.include_test_data": "include_test_data",
    "data.fill_holes": "fill_holes",
    "data.centeralign": "centeralign",
    "data.sampling_rate": "sampling_rate",
    "data.joints3d_procrustes": "joints3d_procrustes",
    "optim.epochs": "epochs",
    "optim.batch_size": "batch_size",
    "optim.blr": "blr",
    "optim.lr": "lr",
    "optim.min_lr": "min_lr",
    "optim.warmup_epochs": "warmup_epochs",
    "optim.weight_decay": "weight_decay",
    "optim.bias_wd": "bias_wd",
    "trainer.accumulate": "accum_iter",
    "trainer.checkpoint_every_epochs": "checkpoint_period",
    "trainer.clip_norm": "clip_grad",
}
"""Our key -> the option of the authors' command line that means the same. The network's own
options have the same names on both sides."""

NOT_THEIRS = ("missing", "mlp_ratio")
"""Options of our network that their command line does not have."""

WITHOUT_COUNTERPART = {
    "model": "hbehavemae",
    "masking_strategy": "random",
    "sep_pos_embed": True,
    "no_qkv_bias": False,
    "trunc_init": False,
    "fp32": True,
    "resume": "",
    "start_epoch": 0,
    "num_workers": 8,
    "pin_mem": True,
    "output_dir": "./output_dir",
    "log_dir": "./log_dir",
    "device": "cuda",
    "distributed": False,
    "world_size": 1,
    "local_rank": -1,
    "dist_on_itp": False,
    "no_env": False,
    "dist_url": "env://",
    "num_checkpoint_del": 20,
}
"""Options that the authors' code reads and that we have no key for, at their defaults."""


def to_ours(source: str | Path, out: str | Path) -> Path:
    """Write the authors' checkpoint as a checkpoint folder of ours.

    Args:
        source: A ``.pth`` file of the authors (any name).
        out: Folder to make.

    Raises:
        UserError: Not a checkpoint of theirs, or one that does not fit its own settings.
    """
    from behaviorzoo.checkpoints import fingerprint, save_checkpoint
    from hbehavemae.checkpoints import build_mae, load_checkpoint

    loaded = load_checkpoint(source)
    if loaded.full_config is not None:
        raise UserError(f"{loaded.path}: is a checkpoint of ours already")
    metadata: dict[str, Any] = {
        "method": "hbehavemae",
        "versions": {"hbehavemae": __version__},
        "converted_from": loaded.path.name,
        "source_fingerprint": fingerprint(loaded.path),
    }
    if "epoch" in loaded.metadata:
        metadata["epoch"] = loaded.metadata["epoch"]
    state = build_mae(loaded.path).state_dict()
    return save_checkpoint(out, state, to_dict(settings_of(loaded)), metadata)


def to_authors(source: str | Path, out: str | Path) -> Path:
    """Write a checkpoint as the authors' code reads it.

    Args:
        source: Checkpoint or run folder of ours.
        out: File to write; their extraction wants "checkpoint" in its name.

    Raises:
        UserError: The network has parts that their code does not know (missing points), or
            ``out`` is there already or cannot be written.
    """
    import torch

    from hbehavemae.checkpoints import build_mae, load_checkpoint

    out = new_file(out)
    loaded = load_checkpoint(source)
    default = ModelConfig()
    unknown = [
        f"model.{name}={getattr(loaded.config, name)}"
        for name in NOT_THEIRS
        if getattr(loaded.config, name) != getattr(default, name)
    ]
    if unknown:
        raise UserError(f"{source}: the authors' code does not know {', '.join(unknown)}")
    content = {
        "model": build_mae(source).state_dict(),
        "epoch": int(loaded.metadata.get("epoch", 0)),
        "args": Namespace(**arguments_of(settings_of(loaded))),
    }
    with atomic_path(out) as temporary:
        torch.save(content, temporary)
    return out


def settings_of(loaded: LoadedModel) -> PretrainConfig:
    """All settings of a checkpoint, whoever wrote it.

    Raises:
        UserError: Settings that ours do not allow.
    """
    where, model = str(loaded.path), to_dict(loaded.config)
    if loaded.full_config is not None:
        return from_dict(PretrainConfig, {**loaded.full_config, "model": model}, where=where)
    arguments = loaded.metadata.get("args", {})
    nested: dict[str, Any] = {"name": loaded.path.stem, "model": model}
    for key, option in ARGUMENTS.items():
        section, name = key.split(".")
        if option in arguments:
            nested.setdefault(section, {})[name] = plain(arguments[option])
    ours = {theirs: name for name, theirs in DATASETS.items()}
    if arguments.get("dataset") in ours:
        nested.setdefault("data", {})["dataset"] = ours[arguments["dataset"]]
    if arguments.get("beta"):
        nested.setdefault("optim", {})["betas"] = list(arguments["beta"])
    if "seed" in arguments:
        nested["seed"] = arguments["seed"]
    return from_dict(PretrainConfig, nested, where=where)


def arguments_of(config: PretrainConfig) -> dict[str, Any]:
    """The authors' command-line options that mean the same as our settings."""
    arguments = dict(WITHOUT_COUNTERPART)
    for key, option in ARGUMENTS.items():
        section, name = key.split(".")
        arguments[option] = getattr(getattr(config, section), name)
    for name, value in vars(config.model).items():
        if name not in NOT_THEIRS:
            arguments[name] = value
    for option in ("stages", "q_strides", "mask_unit_attn", "out_embed_dims"):
        arguments[option] = list(arguments[option])
    return arguments | {
        "dataset": DATASETS.get(config.data.dataset, config.data.dataset),
        "num_frames": config.model.input_size[0],
        "seed": config.seed,
        "beta": list(config.optim.betas),
    }
