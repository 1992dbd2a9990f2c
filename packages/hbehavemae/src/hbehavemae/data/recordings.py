"""Any recording in the core's format: chosen, normalised, cut into windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.poses.normalise import Statistics
from behaviorzoo.poses.selection import Selection, choose, recording_files
from behaviorzoo.poses.stored import (
    StoredRecording,
    as_trained,
    check_between,
    fitted_state,
    frame_rate_notes,
    observed_windows,
    read_recording,
)
from behaviorzoo.sequence_windows import window_index
from hbehavemae.augment.recordings import RecordingAugment
from hbehavemae.data.benchmark_files import Split
from hbehavemae.data.config import DataConfig
from hbehavemae.data.pose_features import TokenFeatures
from hbehavemae.data.sequences import FeatureSequence, Sequences
from hbehavemae.data.shapes import DataShape
from hbehavemae.data.windows import WindowDataset

if TYPE_CHECKING:
    from hbehavemae.model import ModelConfig


def shape(config: DataConfig) -> DataShape:
    """Axes of the data, from the first recording."""
    from behaviorzoo.recordings import load_recording

    file = recording_files(config, "train")[0]
    features = TokenFeatures(config, choose(config, file, {}))
    return _shape(features, float(load_recording(file).attrs["fps"]))


def trained_shape(config: DataConfig, state: Mapping[str, Any]) -> DataShape:
    """Axes of the data that a run was trained on; no file is read."""
    names = tuple(state["keypoints"]), tuple(state["individuals"])
    features = TokenFeatures(as_trained(config, state), Selection(*names, state["dimensions"]))
    return _shape(features, float(state["fps"]))


def _shape(features: TokenFeatures, fps: float) -> DataShape:
    return DataShape(
        features.names(),
        features.selection.individuals,
        features.channels,
        features.groups(),
        fps,
    )


def has_test(config: DataConfig) -> bool:
    """Whether test recordings are named."""
    return config.test_path is not None


def training_data(
    config: DataConfig, model: ModelConfig, split: Split, state: Mapping[str, Any]
) -> WindowDataset:
    """Windows of all recordings of a split.

    The statistics of normalisation are those of the training recordings, also for the test
    split. Recordings shorter than the window, and windows without enough observed points,
    are left out and reported.
    """
    if split == "test" and not state:
        state = _fitted(config, model, {}).state
    fitted = _fitted(config, model, state, split)
    config, features, window = fitted.config, fitted.features, model.input_size[0]
    augment = _augment(features) if split == "train" and config.augment.active else None
    ids = window_index([len(r.frames) for r in fitted.recordings], window, config.sliding_window)
    observed = [recording.observed for recording in fitted.recordings]
    usable, dropped = observed_windows(observed, ids, window, config.min_observed)
    # Features of swapped individuals are swapped features: then they are computed only once.
    raw = augment is not None and not (augment.only_swaps and config.reference is None)
    stored = [r.frames if raw else _input(features, r.frames) for r in fitted.recordings]

    def finish(x: torch.Tensor) -> torch.Tensor:
        x = features(x) if raw else x
        return features.centre_windows(x) if config.normalisation == "window" else x

    data = WindowDataset(
        stored,
        [recording.name for recording in fitted.recordings],
        window=window,
        stride=config.sliding_window,
        augment=augment,
        finish=finish if raw or config.normalisation == "window" else None,
        usable=usable,
        state=fitted.state,
    )
    data.notes += [*frame_rate_notes(fitted.recordings, fitted.state), *dropped]
    return data


def sequences(
    config: DataConfig, model: ModelConfig, split: Split, state: Mapping[str, Any]
) -> Sequences:
    """Whole recordings, read one at a time and treated as the training recordings were.

    Raises:
        UserError: The training run's state is missing, or a recording does not fit it.
    """
    if not state:
        raise UserError(
            "recordings need the statistics of the training run (key points, individuals, "
            "normalisation): give its checkpoint"
        )
    config = as_trained(config, state)
    files = recording_files(config, split)
    features = _features(config, files[0], state)
    gaps_refused = _gaps_refused(config, model)

    def load(index: int) -> FeatureSequence:
        recording = read_recording(files[index], features, gaps_refused=gaps_refused)
        frame_rate_notes([recording], state)
        values = _input(features, recording.frames)
        return FeatureSequence(recording.name, recording.first_frame, values)

    transform = features.centre_windows if config.normalisation == "window" else None
    return Sequences([file.stem for file in files], load, transform)


def _gaps_refused(config: DataConfig, model: ModelConfig) -> str:
    """Why this network cannot take missing points; empty = it can."""
    if model.missing:
        return ""
    closed = "longer gaps remain" if config.missing == "interpolate" else "none were filled"
    return (
        f"the network takes no missing points and {closed}: set model.missing=true, raise "
        "data.missing=interpolate data.max_gap=..., or leave the point out (data.keypoints)"
    )


class _Fitted(NamedTuple):
    """Recordings with the features that fit them, and the state to store."""

    config: DataConfig
    features: TokenFeatures
    recordings: list[StoredRecording]
    state: dict[str, Any]


def _fitted(
    config: DataConfig, model: ModelConfig, state: Mapping[str, Any], split: Split = "train"
) -> _Fitted:
    config = as_trained(config, state)
    files = recording_files(config, split)
    if config.include_test_data and split == "train":
        files += recording_files(config, "test")
    features = _features(config, files[0], state)
    gaps_refused = _gaps_refused(config, model)
    recordings = [read_recording(f, features, gaps_refused=gaps_refused) for f in files]
    if not state:
        statistics = features.fit([r.frames for r in recordings], model.input_size[0])
        features = replace(features, statistics=statistics)
        state = fitted_state(features, recordings)
    return _Fitted(config, features, recordings, dict(state))


def _features(config: DataConfig, file: Path, state: Mapping[str, Any]) -> TokenFeatures:
    selection = choose(config, file, state)
    check_between(config, selection)
    statistics = Statistics(**state["statistics"]) if state else None
    return TokenFeatures(config, selection, statistics)


def _input(features: TokenFeatures, frames: np.ndarray) -> np.ndarray:
    """Network input float32 (T, I, F) of stored frames."""
    return features(torch.from_numpy(frames)).numpy()


def _augment(features: TokenFeatures) -> RecordingAugment:
    config, fitted = features.config.augment, features.statistics
    assert fitted is not None
    return RecordingAugment(
        middle=tuple(fitted.middle),
        keypoints=features.keypoints,
        rotation=config.rotation,
        reflection=config.reflection,
        mirrored=_mirrored(features),
        noise=config.noise,
        sigma=config.noise_scale * fitted.extent,
        swap=config.swap_individuals,
    )


def _mirrored(features: TokenFeatures) -> tuple[int, ...]:
    """Stored point that takes the place of each one in a mirror image, anchors included."""
    names = list(features.selection.keypoints)
    pairs = features.config.augment.mirror_pairs
    partner = {a: b for pair in pairs for a, b in (pair, pair[::-1])}
    for name in partner:
        if name not in names:
            raise UserError(
                f"data.augment.mirror_pairs: no key point {name!r}; {suggest(name, names)}"
            )
    order = [names.index(partner[n]) if n in partner else at for at, n in enumerate(names)]
    anchors = {"centroid": 1, "egocentric": 2}.get(features.config.normalisation, 0)
    return (*order, *range(len(names), len(names) + anchors))
