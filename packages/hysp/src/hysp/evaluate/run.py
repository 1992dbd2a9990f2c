"""The evaluation from settings to a folder of results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from behaviorzoo.devices import resolve_device
from behaviorzoo.errors import UserError
from hysp.checkpoints import LoadedModel, build_encoder, load_checkpoint
from hysp.config import fitted_encoder
from hysp.data.dataset import SkeletonData
from hysp.data.opening import has_split, open_data
from hysp.data.splits import group_folds
from hysp.evaluate.config import EvaluateConfig
from hysp.evaluate.features import extract_features
from hysp.evaluate.hand import hand_features
from hysp.evaluate.levels import HAND, HAND_ROWS, OF_ROWS, RANDOM, SCRATCH
from hysp.evaluate.protocols import (
    Outcome,
    Side,
    labelled_fraction,
    logistic_logits,
    penalty_note,
    run_round,
    scratch_settings,
)
from hysp.evaluate.results import Evaluation, Level, Round, check_folder, write_evaluation
from hysp.inputs import check_fit, data_state, stream_of
from hysp.model.config import EncoderConfig
from hysp.model.stgcn import STGCN
from hysp.start import start_from_data

Features = tuple[Tensor | None, Tensor | None]
"""Embeddings (N, D) of the samples that train and of those that test, where they are kept."""


@dataclass(frozen=True)
class Subject:
    """What is evaluated.

    Attributes:
        encoder: On its device, evaluation mode.
        stream: What it sees.
        name: Of the checkpoint, for people.
    """

    encoder: STGCN
    stream: str
    name: str


@dataclass(frozen=True)
class Sets:
    """The samples; with folds both sides are the same ones.

    Attributes:
        train: Samples that train.
        test: Samples that test.
        rounds: Rows of ``train`` and rows of ``test`` of every round.
        split: In words.
    """

    train: SkeletonData
    test: SkeletonData
    rounds: list[tuple[np.ndarray, np.ndarray]]
    split: str

    def of_task(self, task: str) -> Sets:
        """The same samples with the labels of a task."""
        train = self.train.with_task(task)
        same = self.test is self.train
        return replace(self, train=train, test=train if same else self.test.with_task(task))


def evaluate(config: EvaluateConfig, progress: bool = True) -> Evaluation:
    """Evaluate an encoder and write the results, see :mod:`hysp.evaluate.results`.

    Args:
        config: All settings.
        progress: Show bars.

    Returns:
        What was written.

    Raises:
        UserError: Wrong checkpoint or data, settings that do not fit them, or a folder that
            holds another evaluation.
    """
    check_folder(config)
    device = resolve_device(config.device)
    loaded = load_checkpoint(config.checkpoint) if config.checkpoint else None
    # Heads are new, so classes have the data's own numbers; other data may have another scale.
    sets = open_sets(config, data_state(loaded, scale=config.protocol != "transfer"))
    subject = open_subject(config, loaded, sets.train, device)
    tasks = chosen_tasks(config, sets.train)
    features = _features(config, subject, sets, progress) if config.frozen else (None, None)
    levels = []
    for task in tasks:
        own = sets.of_task(task)
        levels.append(_protocol(config, subject, own, features, progress=progress))
        levels += _baselines(config, subject, own, features, progress)
    details = {"checkpoint": subject.name, "stream": subject.stream, "split": sets.split}
    return write_evaluation(config, levels, details)


def open_subject(
    config: EvaluateConfig, loaded: LoadedModel | None, data: SkeletonData, device: torch.device
) -> Subject:
    """The encoder, trained or not.

    Raises:
        UserError: Wrong checkpoint, or another number of joints than the data.
    """
    stream = stream_of(loaded, config.stream)
    if loaded is None:
        options = fitted_encoder(config.encoder, data.skeleton, data.shape[0], stream)
        encoder = random_encoder(options, config.seed, data, stream)
        return Subject(encoder.to(device), stream, "random weights")
    encoder = build_encoder(config.checkpoint, branch=config.branch)
    check_fit(encoder.config, data, stream)
    return Subject(encoder.to(device), stream, loaded.path.name)


def random_encoder(options: EncoderConfig, seed: int, data: SkeletonData, stream: str) -> STGCN:
    """An encoder as a training would start with it, in evaluation mode.

    Args:
        options: Of the encoder.
        seed: Of its random weights.
        data: What it would be trained on, see :mod:`hysp.start`.
        stream: What it sees of them.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = STGCN(options).eval()
    start_from_data(encoder, data, stream)
    return encoder


def open_sets(config: EvaluateConfig, state: dict[str, Any]) -> Sets:
    """Samples and rounds.

    Raises:
        UserError: Wrong data, or nothing says who tests.
    """
    if config.folds is not None:
        data = open_data(config.data, "all", state)
        fold = group_folds(data.groups, config.folds, config.data.fold_seed)
        rounds = [
            (np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(config.folds)
        ]
        split = f"{config.folds} folds of whole groups, each tested once, of {len(data)} samples"
        return Sets(data, data, rounds, split)
    if not has_split(config.data, "val"):
        raise UserError(
            f"{config.data.path}: nothing says which samples test; give folds=5 (or --folds 5), or "
            "data.benchmark, a column of the label table with train and val"
        )
    train = open_data(config.data, "train", state)
    test = open_data(config.data, "val", train.state_dict())  # its classes have the same numbers
    rounds = [(np.arange(len(train)), np.arange(len(test)))]
    named = config.data.benchmark or "the data's split"
    return Sets(train, test, rounds, f"{named}: {len(train)} samples train, {len(test)} test")


def chosen_tasks(config: EvaluateConfig, data: SkeletonData) -> list[str]:
    """Tasks to evaluate.

    Raises:
        UserError: The data have no labels, or not these.
    """
    tasks = config.tasks or ([config.data.task] if config.data.task else list(data.tasks))
    if not tasks:
        raise UserError(f"{data.where}: has no labels to evaluate with; give data.labels=TABLE")
    for task in tasks:
        data.with_task(task)  # names the nearest one where there is none
    return tasks


def _features(config: EvaluateConfig, subject: Subject, sets: Sets, progress: bool) -> Features:
    """Embeddings of both sides, once for all tasks, folds and epochs."""
    if config.compat == "upstream" and config.protocol != "knn":
        return None, None  # the encoder is in training mode: its features change

    def extract(data: SkeletonData) -> Tensor:
        return extract_features(
            subject.encoder,
            data,
            stream=subject.stream,
            batch_size=config.optim.test_batch_size,
            precision=config.precision,
            progress=progress,
        )

    train = extract(sets.train)
    return train, train if sets.test is sets.train else extract(sets.test)


def _protocol(
    config: EvaluateConfig,
    subject: Subject,
    sets: Sets,
    features: Features,
    name: str | None = None,
    progress: bool = False,
) -> Level:
    rounds = []
    for number, (train, test) in enumerate(sets.rounds):
        sides = (Side(sets.train, train, features[0]), Side(sets.test, test, features[1]))
        place = f", fold {number}" if len(sets.rounds) > 1 else ""
        label = f"{sets.train.task}, {name or config.protocol}{place}" if progress else ""
        outcome = run_round(
            config, subject.encoder, subject.stream, *sides, config.seed + number, label
        )
        rounds.append(_round(sets, train, test, outcome))
    return Level(name or config.protocol, sets.train.task, sets.test, rounds)


def _baselines(
    config: EvaluateConfig, subject: Subject, sets: Sets, features: Features, progress: bool
) -> Iterator[Level]:
    wanted = config.baselines
    of_rows = [name for name in wanted if name.endswith("rows")]
    by_rows = replace(sets, rounds=stratified_rows(config, sets.train)) if of_rows else sets
    if "rows" in wanted:
        name = config.protocol + OF_ROWS
        yield _protocol(config, subject, by_rows, features, name, progress)
    if "hand" in wanted:
        yield _hand(config, sets, HAND)
    if "hand_rows" in wanted:
        yield _hand(config, by_rows, HAND_ROWS)
    encoder = random_encoder(subject.encoder.config, config.seed, sets.train, subject.stream)
    fresh = replace(subject, encoder=encoder.to(subject.encoder.A.device))
    if "random" in wanted:
        born = _features(config, fresh, sets, progress=False)
        yield _protocol(config, fresh, sets, born, RANDOM, progress)
    if "scratch" in wanted:
        yield _protocol(scratch_settings(config), fresh, sets, (None, None), SCRATCH, progress)


def stratified_rows(
    config: EvaluateConfig, data: SkeletonData
) -> list[tuple[np.ndarray, np.ndarray]]:
    """scikit-learn's ``cv=K`` of a classifier: stratified folds in the order of the rows."""
    from sklearn.model_selection import StratifiedKFold

    assert data.labels is not None
    rows = np.flatnonzero(data.labels >= 0)
    folds = StratifiedKFold(config.folds or 5).split(rows, data.labels[rows])
    return [(rows[train], rows[test]) for train, test in folds]


def _hand(config: EvaluateConfig, sets: Sets, name: str) -> Level:
    """Hand features, read by logistic regression as those of an encoder are."""
    train_x = hand_features(sets.train)
    test_x = train_x if sets.test is sets.train else hand_features(sets.test)
    rounds = []
    for number, (train, test) in enumerate(sets.rounds):
        side = Side(sets.train, train).labelled()
        if config.protocol == "semi":
            chosen = labelled_fraction(side.labels, config.fraction, config.seed)
            side = side.among(chosen)
        logits, *_, penalty = logistic_logits(
            train_x[side.rows], side.labels, sets.train.groups[side.rows], test_x[test],
            sets.train.n_classes, config.penalties, config.seed + number,
        )  # fmt: skip
        outcome = Outcome(logits, notes=[penalty_note(penalty)])
        rounds.append(_round(sets, train, test, outcome))
    return Level(name, sets.train.task, sets.test, rounds)


def _round(sets: Sets, train: np.ndarray, test: np.ndarray, outcome: Outcome) -> Round:
    assert sets.train.labels is not None
    known = sets.train.labels[train]
    counts = np.bincount(known[known >= 0], minlength=sets.train.n_classes)
    return Round(counts, test, outcome)
