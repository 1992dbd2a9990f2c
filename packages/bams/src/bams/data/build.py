"""From the configuration to training sequences, and to whole recordings for embedding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np

from bams.data.cache import Processed, load_processed, save_processed, settings_of
from bams.data.config import Compat, DataConfig
from bams.data.dataset import BehaviorDataset, Rows
from bams.data.features import Features, Source
from bams.data.quantise import Scaling, fit_scaling, largest_inputs
from bams.data.sequences import Sequences, Split
from behaviorzoo.errors import UserError
from behaviorzoo.poses.stored import observed_windows
from behaviorzoo.sequence_windows import window_index

LONGEST_WINDOW = 1800
"""Frames of a window of recordings, where they are long enough and nothing else is said."""
FRAMES_KEPT = 0.95
"""Share of all frames that must lie in recordings at least as long as that window."""

# Where the function of each data set is: (config, compat, state) -> Source.
_MODULES = {"mice": "mabe22", "flies": "mabe22"}


def build_training_data(
    data_cfg: DataConfig,
    compat: Compat = "paper",
    n_bins: int = 32,
    scaling: Scaling | None = None,
    *,
    allow_nan: bool = False,
) -> BehaviorDataset:
    """Training sequences with their features computed once, held in memory.

    Args:
        data_cfg: Where the data are and how they are treated.
        compat: ``upstream`` reproduces the original's features and scaling, slips included.
        n_bins: Bins of the histograms (``model.hoa_bins``).
        scaling: That of another run, for data that are to be treated alike; None = learn it.
        allow_nan: Give data that the original would train to NaN on; for comparisons only.

    Raises:
        UserError: Wrong path or file, no window, no bins, or (``upstream``) an input feature that
            is 0 everywhere, which the original turns into NaN.
    """
    data_cfg.check()
    source = None
    if data_cfg.cache and Path(data_cfg.cache).expanduser().exists():
        processed = load_processed(data_cfg.cache, cache_settings(data_cfg, compat, n_bins))
    else:
        source = _learning(data_cfg, open_source(data_cfg, compat, scaling))
        processed = process(source, n_bins, compat, scaling)
        if data_cfg.cache:
            settings = cache_settings(data_cfg, compat, n_bins)
            save_processed(processed, data_cfg.cache, settings)
    empty = processed.scaling.empty_inputs
    if compat == "upstream" and empty and not allow_nan:
        raise UserError(
            f"{data_cfg.path}: the input {empty[0]!r} is 0 in every frame ({len(empty)} of "
            f"{len(processed.scaling.input_scale)} are), which compat=upstream turns into NaN as "
            "the original does; take compat=paper, or leave the value out"
        )
    return _windows(data_cfg, processed, source)


def open_sequences(
    data_cfg: DataConfig,
    compat: Compat = "paper",
    scaling: Scaling | None = None,
    *,
    split: Split = "all",
) -> Sequences:
    """Whole recordings, read one at a time and treated as in training.

    Args:
        data_cfg: Where the data are and how they are treated.
        compat: See :func:`build_training_data`.
        scaling: That of the training run. None = learned from these very recordings, as the
            original does with its bare checkpoints: one more pass over them.
        split: Which recordings to give; the scale is learned from all.

    Raises:
        UserError: Wrong path or file, recordings without ``scaling``, or data that have other
            features than those of the training run.
    """
    data_cfg.check()
    source = open_source(data_cfg, compat, scaling)
    if scaling is None or not scaling.known:
        if data_cfg.dataset == "recordings":
            raise UserError(
                "recordings need what the training run learned (key points, normalisation, scale): "
                "give its checkpoint folder"
            )
        scaling = input_scaling(source, compat)
    _check_same_features(data_cfg, source, scaling)
    kept = _of_split(source, split)
    if not kept.names:
        raise UserError(f"{data_cfg.path}: no recording of the {split} split")
    return Sequences(kept, scaling, load_features)


def open_source(data_cfg: DataConfig, compat: Compat, scaling: Scaling | None = None) -> Source:
    """Recordings of the configuration with their features, in order; nothing is computed yet."""
    function = cast(
        Callable[[DataConfig, Compat, Mapping[str, Any]], Source],
        getattr(_module(data_cfg), data_cfg.dataset),
    )
    return function(data_cfg, compat, scaling.state if scaling else {})


def process(
    source: Source, n_bins: int, compat: Compat = "paper", scaling: Scaling | None = None
) -> Processed:
    """Compute, scale and bin the features of all recordings, one recording at a time.

    Args:
        source: The recordings.
        n_bins: Bins of every action.
        compat: See :func:`build_training_data`.
        scaling: That of another run; None = learn it from these recordings.
    """
    if not source.names:
        raise UserError("no sequence to train on; check data.path")
    inputs, targets, ignored = _computed(source)
    if scaling is None:
        scaling = fit_scaling(
            inputs,
            targets,
            n_bins,
            compat,
            input_names=source.input_names,
            target_names=source.target_names,
            marks_missing=source.marks_missing,
        )
        if source.standardised:
            scaling = replace(scaling, input_scale=np.ones_like(scaling.input_scale))
        scaling = replace(scaling, state=source.state)
    bins = scaling.bins(targets)  # before the inputs change, of which the actions may be a part
    return Processed(
        scaling.scale_inputs(inputs), bins, ignored, rows_of(source), scaling, tuple(source.names)
    )


def cache_settings(data_cfg: DataConfig, compat: Compat, n_bins: int) -> dict[str, Any]:
    """What the features of a configuration depend on; their file tells it too."""
    files = _module(data_cfg).data_files(data_cfg) if data_cfg.path else None
    return settings_of(data_cfg, files, compat, n_bins)


def input_scaling(source: Source, compat: Compat) -> Scaling:
    """The scale of the inputs alone, learned from recordings that pass one at a time."""
    largest = np.zeros(len(source.input_names), np.float32)
    for index in range(len(source.names)):
        inputs = load_features(source, index).inputs
        largest = np.fmax(largest, largest_inputs(inputs.reshape(-1, inputs.shape[-1])))
    return Scaling(
        largest,
        edges=np.zeros((len(source.target_names), 0), np.float32),
        target_scale=np.zeros(len(source.target_names)),
        input_names=source.input_names,
        target_names=source.target_names,
        zeros="nan" if compat == "upstream" else "keep",
    )


def load_features(source: Source, index: int) -> Features:
    """Features of one recording.

    Raises:
        UserError: A value is not finite; it names the recording and the feature.
    """
    features = source.load(index)
    if not np.isfinite(features.inputs).all():
        wrong = ~np.isfinite(features.inputs).reshape(-1, features.inputs.shape[-1])
        name = source.input_names[int(wrong.any(0).argmax())]
        raise UserError(
            f"{source.names[index]}: {name!r} is not a finite number in {int(wrong.any(1).sum())} "
            "frames; a missing point is NaN (0 in the mice files), infinite values are errors of "
            "whatever wrote the file"
        )
    return features


def rows_of(source: Source) -> Rows:
    """One row for each animal of each recording, the animals of a recording one after another."""
    n_animals = len(source.individuals)
    numbers = np.arange(len(source.names), dtype=np.int64)
    return Rows(
        lengths=np.repeat(np.asarray(source.lengths, np.int64), n_animals),
        recording=np.repeat(numbers, n_animals),
        animal=np.tile(np.arange(n_animals, dtype=np.int64), len(numbers)),
        is_train=np.repeat(np.asarray(source.is_train, bool), n_animals),
    )


def _computed(source: Source) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs float32 (F, N), actions (F, M) in their own precision and ignored frames (F,)."""
    total = len(source.individuals) * int(sum(source.lengths))
    inputs = np.empty((total, len(source.input_names)), np.float32)
    targets = np.empty((0, len(source.target_names)))
    ignored = np.empty(total, bool)
    stop = 0
    for index in range(len(source.names)):
        features = load_features(source, index)
        start, stop = stop, stop + features.ignored.size
        inputs[start:stop] = features.inputs.reshape(stop - start, -1)
        ignored[start:stop] = features.ignored.reshape(-1)
        if not start:
            # Bins need the precision in which the actions were computed. Where that is float32,
            # actions that stand among the inputs are not stored twice.
            shared = source.target_columns if features.targets.dtype == np.float32 else None
            targets = (
                np.empty((total, targets.shape[1]), features.targets.dtype)
                if shared is None
                else inputs[:, shared]
            )
        if not np.shares_memory(targets[:1], inputs[:1]):
            targets[start:stop] = features.targets.reshape(stop - start, -1)
    return inputs, targets, ignored


def _windows(config: DataConfig, processed: Processed, source: Source | None) -> BehaviorDataset:
    notes = list(source.notes) if source else []
    window, stride = config.window, config.sliding_window
    if config.dataset == "recordings":
        window, stride = _recording_windows(config, processed.rows.lengths)
        if config.window is None:
            notes.append(
                f"windows of {window} frames, one every {stride}; data.window changes that"
            )
    usable = None
    if source is not None and source.observed is not None and window:
        ids = window_index(processed.rows.lengths.tolist(), window, stride or window)
        observed = [row for index in range(len(source.names)) for row in source.observed(index)]
        usable, dropped = observed_windows(observed, ids, window, config.min_observed)
        notes += dropped
    return BehaviorDataset(
        processed.inputs,
        processed.bins,
        processed.ignored,
        processed.rows,
        processed.names,
        processed.scaling,
        window=window,
        stride=stride,
        usable=usable,
        notes=notes,
    )


def _recording_windows(config: DataConfig, lengths: np.ndarray) -> tuple[int, int]:
    """Window and stride: as configured, else as long as (nearly) all recordings allow."""
    longest_first = np.sort(lengths)[::-1]
    kept = np.cumsum(longest_first) / longest_first.sum()
    fitting = int(longest_first[int(np.argmax(kept >= FRAMES_KEPT))])
    window = config.window or min(LONGEST_WINDOW, fitting)
    return window, config.sliding_window or max(window // 2, 1)


def _learning(config: DataConfig, source: Source) -> Source:
    """The recordings that are trained on."""
    return source if config.learns_from_test else _of_split(source, "train")


def _module(config: DataConfig) -> ModuleType:
    return import_module(f"bams.data.{_MODULES.get(config.dataset, config.dataset)}")


def _of_split(source: Source, split: Split) -> Source:
    if split == "all":
        return source
    return source.only(
        [n for n, train in enumerate(source.is_train) if train == (split == "train")]
    )


def _check_same_features(config: DataConfig, source: Source, scaling: Scaling) -> None:
    found, wanted = source.input_names, scaling.input_names
    if len(found) == len(scaling.input_scale):
        return
    odd: Sequence[str] = sorted(set(found) ^ set(wanted))[:3]
    raise UserError(
        f"{config.path}: {len(found)} features in a frame, the training data had {len(wanted)} "
        f"(they differ in {', '.join(odd)}); give data of the same kind"
    )
