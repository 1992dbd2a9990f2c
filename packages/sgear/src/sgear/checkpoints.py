"""Trained networks of S-GEAR: checkpoints of ours and of the authors.

The authors keep weights, optimiser, scheduler and epoch in one ``checkpoint.pth`` and the options
beside it, in ``.hydra``. Runs of ours write the same file with the options in it; an exported
network is a folder of safetensors, yaml and json. All are read without running anything in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from behaviorzoo import checkpoints as folders
from behaviorzoo.errors import UserError
from behaviorzoo.weights import load_torch_file, strict_load
from sgear.initial_weights import LoadReport, load_init, load_pretrained_blocks
from sgear.model.author_options import read_model
from sgear.model.config import Compat, ModelConfig, check_compat
from sgear.model.inferred_options import CLS_MAP, infer_classes, infer_options, mappings_of
from sgear.model.sgear import SGear
from sgear.weight_names import our_names, weights_in

__all__ = [
    "LoadReport",
    "SGearCheckpoint",
    "load_checkpoint",
    "load_init",
    "load_pretrained_blocks",
]

RUN_FILE = "checkpoint.pth"
HYDRA_FILE = Path(".hydra") / "config.yaml"
TRAINING_KEYS = ("optimizer", "lr_scheduler")


@dataclass(frozen=True)
class SGearCheckpoint:
    """A checkpoint that has been read.

    Attributes:
        path: The file or folder.
        config: Options of the network.
        num_classes: Label type -> number of classes.
        state: Name -> tensor on the CPU, as our network has them.
        compat: What it was trained with; ``upstream`` for the authors'.
        classes: Label type -> name -> number, where the file says it.
        settings: The whole configuration of the run, where the file says it.
        training: ``optimizer`` and ``lr_scheduler``, state dicts, where they are there.
        epoch: Epochs that are finished; a fraction inside an epoch.
        known_options: Whether the options were stated; else they come from the weights' shapes.
        metadata: What else a folder of ours says.
    """

    path: Path
    config: ModelConfig
    num_classes: dict[str, int]
    state: dict[str, Tensor]
    compat: Compat = "upstream"
    classes: dict[str, dict[str, int]] = field(default_factory=dict)
    settings: dict[str, Any] | None = None
    training: dict[str, Any] = field(default_factory=dict)
    epoch: float = 0
    known_options: bool = True
    metadata: dict[str, Any] = field(default_factory=dict)

    def build(self) -> SGear:
        """The network with its weights, in evaluation mode.

        Raises:
            UserError: Missing, unexpected and misshapen weights, all in one line.
        """
        prototypes = torch.zeros(self._n_prototypes(), self.config.dim)
        with torch.random.fork_rng(devices=[]):  # its random start must not move the run's seed
            network = SGear(
                self.config,
                self.num_classes,
                prototypes,
                mappings_of(self.state),
                compat=self.compat,
            )
        self.load_into(network)
        return network.eval()

    def load_into(self, network: SGear) -> None:
        """Put the weights into a network that is there already.

        Class mappings are not learned: the network may have ones that the file lacks, and the
        other way round.

        Args:
            network: Not wrapped.

        Raises:
            UserError: Missing, unexpected and misshapen weights, all in one line.
        """
        own = network.state_dict()
        mappings = {name: value for name, value in own.items() if CLS_MAP.fullmatch(name)}
        state = {n: t for n, t in self.state.items() if n in own or not CLS_MAP.fullmatch(n)}
        strict_load(network, mappings | state, str(self.path))

    def _n_prototypes(self) -> int:
        if "vis_prototypes" in self.state:
            return len(self.state["vis_prototypes"])
        return self.num_classes.get("action", next(iter(self.num_classes.values())))


def load_checkpoint(
    path: str | Path,
    config: ModelConfig | None = None,
    num_classes: Mapping[str, int] | None = None,
) -> SGearCheckpoint:
    """Read a checkpoint of ours or of the authors.

    Options are taken from ``config``, else from the file, else from ``.hydra/config.yaml`` beside
    it, else from names and shapes of the weights.

    Args:
        path: A ``.pth`` file, a run folder with ``checkpoint.pth``, or a folder that
            :func:`sgear.convert.to_ours` wrote.
        config: Options of the network, where they are known.
        num_classes: Label type -> number of classes, where they are known.

    Raises:
        UserError: Nothing there, damaged, not a checkpoint of S-GEAR, or options that cannot be.
    """
    path = Path(path).expanduser()
    if path.is_dir() and (path / RUN_FILE).is_file():
        path = path / RUN_FILE
    if path.is_dir() and not ((path / folders.MODEL_FILE).is_file() or any(path.glob("*/step-*"))):
        raise UserError(
            f"{path}: no {RUN_FILE} in this folder; give the folder of a run that was trained "
            "(OUTPUTS/expts/NAME.txt/0), or a checkpoint file"
        )
    if path.is_dir() or path.name == folders.MODEL_FILE:
        return _load_folder(path, config, num_classes)
    return _load_file(path, config, num_classes)


def _load_folder(
    path: Path, config: ModelConfig | None, num_classes: Mapping[str, int] | None
) -> SGearCheckpoint:
    found = folders.load_checkpoint(path)
    training = {}
    if (found.path / folders.TRAINER_FILE).is_file():
        training = load_torch_file(found.path / folders.TRAINER_FILE)
    content = {**found.metadata, **training, "config": found.config}
    return _checkpoint(found.path, found.state, content, config, num_classes)


def _load_file(
    path: Path, config: ModelConfig | None, num_classes: Mapping[str, int] | None
) -> SGearCheckpoint:
    content = load_torch_file(path)
    return _checkpoint(path, weights_in(content, str(path)), content, config, num_classes)


def _checkpoint(
    path: Path,
    state: Mapping[str, Tensor],
    content: Mapping[str, Any],
    config: ModelConfig | None,
    num_classes: Mapping[str, int] | None,
) -> SGearCheckpoint:
    where = str(path)
    state = our_names(state, where)
    settings = content.get("config")
    if not isinstance(settings, Mapping):
        settings = _beside(path)
    known = config is not None
    if config is None and settings is not None and isinstance(settings.get("model"), Mapping):
        known = True
        try:
            config = read_model(settings["model"])
        except UserError as error:
            raise UserError(f"{where}: its options cannot be read: {error}") from error
    compat: Any = (settings or {}).get("compat", "upstream")
    check_compat(compat)
    if config is None:
        config = infer_options(state, where)
    elif "vis_prototypes" not in state:
        infer_options(state, where)  # says what the file is not
    kept = ("num_classes", "classes", "epoch", "config", *TRAINING_KEYS)
    epoch = content.get("epoch", 0)
    return SGearCheckpoint(
        path=path,
        config=config,
        num_classes=dict(num_classes or content.get("num_classes") or infer_classes(state, where)),
        state=state,
        compat=compat,
        classes=dict(content.get("classes") or {}),
        settings=None if settings is None else dict(settings),
        training={key: content[key] for key in TRAINING_KEYS if content.get(key)},
        epoch=epoch if isinstance(epoch, int | float) else 0,
        known_options=known,
        metadata={key: value for key, value in content.items() if _told(key, value, kept)},
    )


def _told(key: str, value: Any, kept: tuple[str, ...]) -> bool:
    return key not in kept and isinstance(value, str | int | float | bool)


def _beside(path: Path) -> dict[str, Any] | None:
    """The section ``model`` of the configuration in the run's folder, if there is one.

    Raises:
        UserError: It cannot be read.
    """
    file = path.parent / HYDRA_FILE
    if not file.is_file():
        return None
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        tree: Any = OmegaConf.load(file)
        if "model" not in tree:
            return None
        section = OmegaConf.to_container(tree.model, resolve=True)
    except (OmegaConfBaseException, YAMLError, OSError, TypeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{file}: the run's configuration cannot be read ({reason})") from error
    found: dict[str, Any] = {"model": section}
    if "compat" in tree:
        found["compat"] = tree.compat
    return found
