"""From the configuration to windows for training and sequences for extraction."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from behaviorzoo.errors import UserError
from hbehavemae.data.benchmark_files import Split
from hbehavemae.data.config import DataConfig
from hbehavemae.data.sequences import Sequences
from hbehavemae.data.shapes import DataShape
from hbehavemae.data.windows import WindowDataset

if TYPE_CHECKING:
    from hbehavemae.model import ModelConfig


class _Source(Protocol):
    """What the module of each data set offers."""

    def shape(self, config: DataConfig) -> DataShape: ...

    def has_test(self, config: DataConfig) -> bool: ...

    def training_data(
        self, config: DataConfig, model: ModelConfig, split: Split, state: Mapping[str, Any]
    ) -> WindowDataset: ...

    def sequences(
        self, config: DataConfig, model: ModelConfig, split: Split, state: Mapping[str, Any]
    ) -> Sequences: ...


def data_shape(data_cfg: DataConfig) -> DataShape:
    """Key points, individuals and values per key point of the configured data.

    Recordings are asked; the benchmarks are known and no file is read.
    """
    data_cfg.check()
    return _source(data_cfg).shape(data_cfg)


def trained_shape(data_cfg: DataConfig, state: Mapping[str, Any]) -> DataShape | None:
    """The same for the data of a training run, from what its checkpoint tells.

    Args:
        data_cfg: Configuration of the run.
        state: Its ``data_state``.

    Returns:
        None for recordings of which nothing was stored.
    """
    if data_cfg.dataset != "recordings":
        return data_shape(data_cfg)
    from hbehavemae.data import recordings

    return recordings.trained_shape(data_cfg, state) if state else None


def has_split(data_cfg: DataConfig, split: Split) -> bool:
    """Whether the data have this split; training goes on without a test split where not."""
    return split == "train" or _source(data_cfg).has_test(data_cfg)


def build_training_data(
    data_cfg: DataConfig,
    model_cfg: ModelConfig,
    split: Split = "train",
    state: Mapping[str, Any] | None = None,
) -> WindowDataset:
    """Windows of one split, held in memory.

    Args:
        data_cfg: Where the data are and how they are treated.
        model_cfg: Gives the window (``input_size``) and whether missing points are allowed.
        split: "train" or "test".
        state: ``WindowDataset.state_dict()`` of the run whose statistics count; None = those of
            the training recordings.

    Returns:
        Items float32 (T, I, F) of ``model_cfg.input_size``.

    Raises:
        UserError: Wrong path or file, no window, or the data do not fit the network's input.
    """
    _check(data_cfg, model_cfg)
    data = _source(data_cfg).training_data(data_cfg, model_cfg, split, state or {})
    _check_input(data_cfg, data.input_size[1:], model_cfg)
    return data


def open_sequences(
    data_cfg: DataConfig,
    model_cfg: ModelConfig,
    split: Split = "test",
    state: Mapping[str, Any] | None = None,
) -> Sequences:
    """Whole sequences of one split, treated as in training.

    Args:
        data_cfg: Where the data are and how they are treated.
        model_cfg: The network that will see them.
        split: "train" or "test".
        state: ``WindowDataset.state_dict()`` of the training run. Recordings need it: statistics
            of normalisation, key points and individuals are those of the training data.

    Raises:
        UserError: Wrong path or file, or the data do not fit the network's input.
    """
    _check(data_cfg, model_cfg)
    if data_cfg.dataset != "recordings":
        axes = data_shape(data_cfg)
        _check_input(data_cfg, (len(axes.individuals), axes.features), model_cfg)
    sequences = _source(data_cfg).sequences(data_cfg, model_cfg, split, state or {})
    if not len(sequences):
        raise UserError(f"{data_cfg.path}: no sequence found")
    return sequences


def _source(config: DataConfig) -> _Source:
    return cast(_Source, import_module(f"hbehavemae.data.{config.dataset}"))


def _check(config: DataConfig, model: ModelConfig) -> None:
    config.check()
    window = model.input_size[0]
    if config.window is not None and config.window != window:
        raise UserError(
            f"data.window={config.window} differs from the network's window of {window} frames "
            f"(input_size {tuple(model.input_size)}); make them equal or leave data.window empty"
        )


def _check_input(config: DataConfig, found: tuple[int, int], model: ModelConfig) -> None:
    wanted = tuple(model.input_size[1:])
    if tuple(found) != wanted:
        raise UserError(
            f"{config.path}: {config.dataset} gives (individuals, features) = {tuple(found)}, the "
            f"network takes {wanted}; change the model's input_size or the choice of key points"
        )
