"""Trained weights into networks: our checkpoint folders and the authors' Lightning files.

Both hold the same parameters. The authors' learner puts ``model.`` before their names and keeps
the whole configuration, a tree of ``argparse.Namespace``, beside them; we keep the resolved
configuration. Loading is strict: a missing, unexpected or misshapen key is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from behaviorzoo import checkpoints as folders
from behaviorzoo import trained
from behaviorzoo.errors import UserError, suggest
from behaviorzoo.schema import from_dict
from behaviorzoo.weights import load_torch_file
from hysp.author_options import (
    classifier_options,
    infer_options,
    plain_options,
    pretrain_options,
    strip_prefix,
)
from hysp.model import (
    HYSP,
    STGCN,
    Classifier,
    ClassifierConfig,
    ModelConfig,
    SimSiam,
    SkeletonCLR,
    build_model,
)

WEIGHT_KEYS = ("state_dict", "model", "model_state")
"""Where a file keeps its state dict."""

BRANCHES = ("online", "target")

SECTIONS: dict[str, type] = {"classifier": ClassifierConfig, "model": ModelConfig}
"""Section of our configurations -> the options of the network in it; the first that is there."""


class LoadedModel(trained.LoadedModel[ModelConfig | ClassifierConfig]):
    """A checkpoint that has been read: for pre-training, or an encoder with a head.

    The ``metadata`` of an authors' file are ``epoch``, ``global_step`` and ``cfg``, their
    configuration in plain containers.
    """

    @property
    def compat(self) -> str:
        """The ``compat`` it was trained with; what the authors trained is ``upstream``."""
        if self.full_config is None:
            return "upstream"
        return str(self.full_config.get("compat", "paper"))


def load_checkpoint(
    path: str | Path, config: ModelConfig | ClassifierConfig | None = None
) -> LoadedModel:
    """Read a checkpoint of ours or of the authors.

    Args:
        path: A checkpoint folder, a run folder (its newest checkpoint), or an authors' file.
        config: Options of the network where the file does not say them.

    Raises:
        UserError: Nothing there, damaged, not a checkpoint, or its options are unknown.
    """
    path = Path(path).expanduser()
    if path.is_file() and path.name != folders.MODEL_FILE:
        return _load_file(path, config)
    return _load_folder(path)


def build_encoder(
    path: str | Path,
    config: ModelConfig | ClassifierConfig | None = None,
    branch: str = "online",
) -> STGCN:
    """The trained encoder, in evaluation mode; whatever else is in the file is left out.

    Args:
        path: See :func:`load_checkpoint`.
        config: Options of the network where the file does not say them.
        branch: ``online``, or ``target`` for its moving average.

    Raises:
        UserError: As :func:`load_checkpoint`, or the weights do not fit the options.
    """
    if branch not in BRANCHES:
        raise UserError(f"branch: unknown {branch!r}; {suggest(branch, BRANCHES)}")
    loaded = load_checkpoint(path, config)
    prefix = f"{branch}_encoder."
    state = {
        name.removeprefix(prefix): tensor
        for name, tensor in loaded.state.items()
        if name.startswith(prefix)
    }
    if not state:
        raise UserError(f"{loaded.path}: has no {branch} encoder")
    make = partial(STGCN, loaded.config.encoder)
    return trained.network_with(make, state, str(loaded.path))


def build_network(
    path: str | Path, config: ModelConfig | ClassifierConfig | None = None
) -> HYSP | SimSiam | SkeletonCLR | Classifier:
    """The whole trained network, in evaluation mode.

    Args:
        path: See :func:`load_checkpoint`.
        config: Options of the network where the file does not say them.

    Raises:
        UserError: As :func:`load_checkpoint`, or the weights do not fit the options.
    """
    return network_of(load_checkpoint(path, config))


def network_of(loaded: LoadedModel) -> HYSP | SimSiam | SkeletonCLR | Classifier:
    """The whole network of a checkpoint that has been read, in evaluation mode.

    Raises:
        UserError: The weights do not fit the options.
    """
    config = loaded.config

    def make() -> HYSP | SimSiam | SkeletonCLR | Classifier:
        if isinstance(config, ClassifierConfig):
            return Classifier(config)
        return build_model(config, loaded.compat)

    return trained.network_with(make, loaded.state, str(loaded.path))


def _load_folder(path: Path) -> LoadedModel:
    found = folders.load_checkpoint(path)
    where = str(found.path / folders.CONFIG_FILE)
    section = next((n for n in SECTIONS if isinstance(found.config.get(n), Mapping)), None)
    if section is None:
        raise UserError(
            f"{where}: no section {' or '.join(map(repr, SECTIONS))}, so the network is unknown"
        )
    config = from_dict(SECTIONS[section], found.config[section], where=f"{where}, {section}")
    return LoadedModel(config, found.state, found.config, found.metadata, found.path)


def _load_file(path: Path, config: ModelConfig | ClassifierConfig | None) -> LoadedModel:
    content = load_torch_file(path)
    state = strip_prefix(_state_dict(content, path))
    hyper_parameters = content.get("hyper_parameters")
    stated = hyper_parameters.get("cfg", {}) if isinstance(hyper_parameters, Mapping) else {}
    cfg = plain_options(stated)
    if not isinstance(cfg, Mapping):
        raise UserError(f"{path}: 'cfg' is {type(stated).__name__}, expected the configuration")
    if config is None:
        config = _config(state, cfg, path)
    numbers = {n: content[n] for n in ("epoch", "global_step") if isinstance(content.get(n), int)}
    return LoadedModel(config, state, None, {"cfg": cfg, **numbers}, path)


def _state_dict(content: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    for key in WEIGHT_KEYS:
        if isinstance(content.get(key), Mapping):
            content = content[key]
            break
    state = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if not state or len(state) < len(content):
        others = sorted(str(name) for name in content if name not in state)[:5]
        raise UserError(
            f"{path}: no state dict under {WEIGHT_KEYS[0]!r} and not one itself (found "
            f"{', '.join(others) or 'nothing'}); is it a checkpoint of HYSP?"
        )
    return state


def _config(
    state: Mapping[str, Tensor], cfg: Mapping[str, Any], path: Path
) -> ModelConfig | ClassifierConfig:
    """Options as stated; what was not stated, from the names and shapes of the weights."""
    stated = cfg.get("model_args")
    found = infer_options(state, str(path))
    arguments = {**found, **(stated if isinstance(stated, Mapping) else {})}
    method = cfg.get("model", found.get("model"))
    try:
        if found.get("model") is None or arguments.get("pretrain") is False:
            return classifier_options(arguments, state)
        return pretrain_options(arguments, str(method), bool(cfg.get("hyper", True)))
    except (TypeError, ValueError, UserError) as error:
        raise UserError(f"{path}: its 'model_args' cannot be read ({error})") from error
