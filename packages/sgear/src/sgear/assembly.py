"""Data sets, prototypes, the network and its losses, as a configuration names them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from behaviorzoo.checkpoints import fingerprint
from behaviorzoo.errors import UserError
from sgear.config import Config
from sgear.data.classes import Classes
from sgear.data.dataset import ActionDataset
from sgear.data.opening import JoinedDatasets, build_dataset, concatenate, read_actions_of
from sgear.mixup import Mixup
from sgear.model import SGear
from sgear.prototypes.files import find_file, read_similarities, read_vectors

TrainSet = ActionDataset | JoinedDatasets


@dataclass(frozen=True)
class DataSets:
    """The data of a run.

    Attributes:
        train: To train on; None where only is evaluated.
        evals: Suffix of the root key (``""`` for ``dataset_eval``) -> data set.
    """

    train: TrainSet | None
    evals: dict[str, ActionDataset]

    @property
    def main(self) -> TrainSet:
        """The set that says which classes there are."""
        return self.train if self.train is not None else next(iter(self.evals.values()))

    def fingerprint(self) -> str:
        """Mark of the clips and labels that are trained on."""
        table = self.main.table
        columns = [name for name in ("uid", "start", "end") if name in table]
        columns += [f"{kind}_class" for kind in self.main.label_types]
        texts = [str(value) for name in columns for value in table[name].tolist()]
        return fingerprint(texts, [len(table)])


def open_data(
    config: Config,
    tell: Callable[[str], None],
    train: bool = True,
    trained_on: Mapping[str, Mapping[str, int]] | None = None,
) -> DataSets:
    """Open the data sets, and say what was found and what is missing.

    Args:
        config: Settings.
        tell: Prints a line.
        train: Open the training sets, too.
        trained_on: Without training sets: the classes of the network, see :func:`classes_of_run`.

    Raises:
        UserError: Files that are not there, or no clip at all.
    """
    settings, parts = config.settings, []
    options: dict[str, Any] = {"compat": settings.compat, "seed": settings.seed}
    if train:
        for key, entry in config.train_sets.items():
            part = build_dataset(entry, config.data_train, training=True, where=key, **options)
            _tell_set(key, part, tell)
            if not any((part.table[f"{kind}_class"] >= 0).any() for kind in part.label_types):
                raise UserError(f"{key}: no action has a label; nothing can be learned")
            parts.append(part)
    joined = concatenate(parts) if parts else None
    known = joined.known_classes if joined is not None else classes_of_run(config, trained_on)
    evals = {}
    for key, entry in config.eval_sets.items():
        part = build_dataset(
            entry, config.data_eval, training=False, classes=known, where=key, **options
        )
        _tell_set(key, part, tell)
        known = known or part.known_classes
        evals[key.removeprefix("dataset_eval")] = part
    data = DataSets(joined, evals)
    for suffix, part in evals.items():
        if part.num_classes != data.main.num_classes:
            raise UserError(
                f"dataset_eval{suffix}: its classes {part.num_classes} are not those of the "
                f"training, {data.main.num_classes}; give the same action_labels_fpath"
            )
    return data


def classes_of_run(
    config: Config, trained_on: Mapping[str, Mapping[str, int]] | None
) -> Classes | None:
    """The classes that own videos (``kind=table``) were trained on.

    A table without a list of classes numbers the labels that occur in it. Another table, with
    fewer labels or others, must be numbered as that of the training: else the numbers of a network
    would mean other actions.

    Args:
        config: Settings.
        trained_on: Label type -> name -> number, as a checkpoint says it; empty or None where it
            does not, then the table of the training does.

    Returns:
        The classes; None where the data sets have lists of classes.

    Raises:
        UserError: Neither checkpoint nor table says them.
    """
    if not any(entry.kind == "table" for entry in config.eval_sets.values()):
        return None
    try:
        found = read_actions_of(next(iter(config.train_sets.values()))).classes
    except UserError:
        if not trained_on:
            raise
        return Classes(trained_on)
    # Which verb and noun an action has is in the table alone.
    return found if not trained_on or found.names == trained_on else Classes(trained_on)


def _tell_set(key: str, part: ActionDataset, tell: Callable[[str], None]) -> None:
    classes = ", ".join(f"{number} {kind}s" for kind, number in part.num_classes.items())
    tell(f"{key}: {len(part)} clips, {classes}")
    for entry in part.presence:
        for line in entry.lines():
            tell(f"  {line}")
    if len(part.discarded):
        tell(f"  {len(part.discarded)} annotations have too little video before them")
    for note in part.notes:
        tell(f"  note: {note}")
    if len(part.table) == 0:
        raise UserError(f"{key}: no clip is left; nothing to train on or to evaluate")


def build_network(config: Config, data: TrainSet, known: bool = False) -> SGear:
    """The network before anything is loaded into it, random by the seed.

    Args:
        config: Settings.
        data: Its classes.
        known: A checkpoint will be loaded: visual prototypes that are not there are none needed.

    Raises:
        UserError: Options that do not go together, no prototypes.
    """
    torch.manual_seed(config.settings.seed)
    mappings = data.class_mappings if config.settings.model.use_cls_mappings else None
    return SGear(
        config.network(),
        data.num_classes,
        visual_prototypes(config, data, known),
        mappings,
        compat=config.settings.compat,
    )


def visual_prototypes(config: Config, data: TrainSet, known: bool = False) -> Tensor:
    """Visual prototypes (N, C) of the first training set's file.

    Raises:
        UserError: There is no such file, or it is of other classes.
    """
    number = data.num_classes[data.label_types[0]]
    key, path = _first_path(config, "visual_encodings_path")
    if known and (path is None or not _is_there(path)):
        return torch.zeros(number, config.network().dim)
    if path is None or not _is_there(path):
        language = _first_path(config, "embeddings_path")[1] or "ENCODINGS"
        raise UserError(
            f"{key}.visual_encodings_path: no file {path}; `sgear prototypes visual` makes it of a "
            f"recognition run. Before there is one: {key}.visual_encodings_path={language}"
        )
    return read_vectors(path).in_order(number, str(path))


def language_similarities(config: Config, data: TrainSet) -> Tensor | None:
    """Language similarities (N, N); None where no loss needs them.

    Raises:
        UserError: A loss needs them and they are not there, or they are of other classes.
    """
    weights = config.settings.train.train_one_epoch_fn.loss_wts
    names = ("global_simContrast", "past_target_global_simContrast")
    needed = [name for name in names if getattr(weights, name) > 0]
    if not needed:
        return None
    key, path = _first_path(config, "similarities_path")
    if path is None or not _is_there(path):
        raise UserError(
            f"{key}.similarities_path: no file {path}; `sgear prototypes language` makes it. "
            f"Or train without: train.train_one_epoch_fn.loss_wts.{needed[0]}=0"
        )
    return read_similarities(path, data.num_classes[data.label_types[0]])


def loss_weights(config: Config) -> dict[str, float]:
    """Name of a loss -> weight."""
    weights = asdict(config.settings.train.train_one_epoch_fn.loss_wts)
    if config.settings.train_eval_op.cls_loss_acc_fn.get("_target_", "").endswith("NoLossAccuracy"):
        weights |= {name: 0.0 for name in weights if "cls_" in name}
    return weights


def mixup_of(config: Config, data: DataSets) -> Mixup | None:
    """What mixes the batches of a training, None where nothing does."""
    train = config.settings.train
    if not train.use_mixup:
        return None
    return Mixup(
        data.main.num_classes, train.mixup_alpha, train.label_smoothing, config.settings.compat
    )


def _first_path(config: Config, name: str) -> tuple[str, str | None]:
    key, entry = next(iter(config.train_sets.items()))
    return key, getattr(entry, name)


def _is_there(path: str | Path) -> bool:
    try:
        find_file(path)
    except UserError:
        return False
    return True
