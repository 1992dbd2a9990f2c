"""Any recording in the core's format: chosen, normalised, cut into windows."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from behaviorzoo.errors import UserError, suggest
from hbehavemae.augment.recordings import RecordingAugment
from hbehavemae.data.benchmark_files import Split
from hbehavemae.data.config import DataConfig
from hbehavemae.data.normalise import Statistics
from hbehavemae.data.pose_features import PoseFeatures
from hbehavemae.data.selection import (
    PAD,
    Selection,
    check_complete,
    check_seen,
    choose,
    read_positions,
    recording_files,
)
from hbehavemae.data.sequences import FeatureSequence, Sequences
from hbehavemae.data.shapes import DataShape
from hbehavemae.data.windows import WindowDataset, window_starts

if TYPE_CHECKING:
    from hbehavemae.model import ModelConfig

log = logging.getLogger("hbehavemae")


class StoredRecording(NamedTuple):
    """One recording as it is kept in memory.

    Attributes:
        name: Name of the recording.
        first_frame: The source's number of the first frame.
        fps: Frames per second.
        frames: float32 (T, I, K + A, C), see :mod:`hbehavemae.data.pose_features`.
        observed: Share of the chosen points that is seen in each frame, (T,).
    """

    name: str
    first_frame: int
    fps: float
    frames: np.ndarray
    observed: np.ndarray


def shape(config: DataConfig) -> DataShape:
    """Axes of the data, from the first recording."""
    from behaviorzoo.recordings import load_recording

    file = recording_files(config, "train")[0]
    features = PoseFeatures(config, choose(config, file, {}))
    return _shape(features, float(load_recording(file).attrs["fps"]))


def trained_shape(config: DataConfig, state: Mapping[str, Any]) -> DataShape:
    """Axes of the data that a run was trained on; no file is read."""
    names = tuple(state["keypoints"]), tuple(state["individuals"])
    features = PoseFeatures(_as_trained(config, state), Selection(*names, state["dimensions"]))
    return _shape(features, float(state["fps"]))


def _shape(features: PoseFeatures, fps: float) -> DataShape:
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
    usable, dropped = _usable(fitted.recordings, window, config)
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
    data.notes += [*_frame_rates(fitted.recordings, fitted.state), *dropped]
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
    config = _as_trained(config, state)
    files = recording_files(config, split)
    features = _features(config, files[0], state)

    def load(index: int) -> FeatureSequence:
        recording = read_recording(files[index], features, config, model)
        _frame_rates([recording], state)
        values = _input(features, recording.frames)
        return FeatureSequence(recording.name, recording.first_frame, values)

    transform = features.centre_windows if config.normalisation == "window" else None
    return Sequences([file.stem for file in files], load, transform)


def read_recording(
    file: Path, features: PoseFeatures, config: DataConfig, model: ModelConfig
) -> StoredRecording:
    """Read one recording and check that the network can take it.

    Raises:
        UserError: Names the file, the key point, the share missing and what to do.
    """
    selection = features.selection
    ds, positions = read_positions(file, selection, config)
    check_seen(file, positions, selection, config)
    if config.missing == "error":
        check_complete(file, positions, selection, "data.missing=error: choose keep or interpolate")
    elif not model.missing:
        closed = "longer gaps remain" if config.missing == "interpolate" else "none were filled"
        check_complete(
            file,
            positions,
            selection,
            f"the network takes no missing points and {closed}: set model.missing=true, raise "
            "data.missing=interpolate data.max_gap=..., or leave the point out (data.keypoints)",
        )
    _check_axis(file, positions, features)
    fps = float(ds.attrs["fps"])
    real = [name != PAD for name in selection.keypoints]
    return StoredRecording(
        file.stem,
        int(ds["time"].to_numpy()[0]),
        fps,
        features.store(positions, fps),
        (~np.isnan(positions[:, :, real, 0])).mean((1, 2)),
    )


class _Fitted(NamedTuple):
    """Recordings with the features that fit them, and the state to store."""

    config: DataConfig
    features: PoseFeatures
    recordings: list[StoredRecording]
    state: dict[str, Any]


def _fitted(
    config: DataConfig, model: ModelConfig, state: Mapping[str, Any], split: Split = "train"
) -> _Fitted:
    config = _as_trained(config, state)
    files = recording_files(config, split)
    if config.include_test_data and split == "train":
        files += recording_files(config, "test")
    features = _features(config, files[0], state)
    recordings = [read_recording(file, features, config, model) for file in files]
    if not state:
        statistics = features.fit([r.frames for r in recordings], model.input_size[0])
        features = replace(features, statistics=statistics)
        state = _state(features, recordings)
    return _Fitted(config, features, recordings, dict(state))


def _features(config: DataConfig, file: Path, state: Mapping[str, Any]) -> PoseFeatures:
    selection = choose(config, file, state)
    _check_between(config, selection)
    statistics = Statistics(**state["statistics"]) if state else None
    return PoseFeatures(config, selection, statistics)


def _state(features: PoseFeatures, recordings: Sequence[StoredRecording]) -> dict[str, Any]:
    assert features.statistics is not None
    selection = features.selection
    return {
        "keypoints": list(selection.keypoints),
        "individuals": list(selection.individuals),
        "dimensions": selection.dimensions,
        "fps": recordings[0].fps,
        "statistics": features.statistics.to_dict(),
    }


def _as_trained(config: DataConfig, state: Mapping[str, Any]) -> DataConfig:
    """The configuration with the key points of the training run."""
    if not state or config.groups:
        return config
    return replace(config, keypoints=[name for name in state["keypoints"] if name != PAD])


def _input(features: PoseFeatures, frames: np.ndarray) -> np.ndarray:
    """Network input float32 (T, I, F) of stored frames."""
    return features(torch.from_numpy(frames)).numpy()


def _usable(
    recordings: Sequence[StoredRecording], window: int, config: DataConfig
) -> tuple[np.ndarray, list[str]]:
    """Which windows have enough observed points to learn from, and a note on the others."""
    ids = window_starts([len(r.frames) for r in recordings], window, config.sliding_window)
    share = np.zeros(len(ids))
    for number, recording in enumerate(recordings):
        total = np.concatenate([[0.0], np.cumsum(recording.observed)])
        mine = ids[:, 0] == number
        starts = ids[mine, 1]
        share[mine] = (total[starts + window] - total[starts]) / window
    # Half a point in the window tells "nothing observed" from rounding of the running sums.
    usable = share >= max(config.min_observed - 1e-9, 1e-6)
    dropped = int((~usable).sum())
    if not dropped or not usable.any():
        return usable, []
    note = (
        f"{dropped} of {len(ids)} windows have fewer than {max(config.min_observed, 0):.0%} of "
        "their points observed (or none at all) and are not used for training"
    )
    log.warning(note)
    return usable, [note]


def _frame_rates(recordings: Sequence[StoredRecording], state: Mapping[str, Any]) -> list[str]:
    """A note where recordings run at another frame rate than the training recordings."""
    odd = {r.name: r.fps for r in recordings if abs(r.fps - state["fps"]) > 1e-6 * state["fps"]}
    if not odd:
        return []
    listed = ", ".join(f"{name} {fps:g}" for name, fps in list(odd.items())[:5])
    note = (
        f"frame rates differ: {listed}{', ...' if len(odd) > 5 else ''} against {state['fps']:g} "
        "frames/s; a window of equally many frames spans another time there"
    )
    log.warning(note)
    return [note]


def _check_between(config: DataConfig, selection: Selection) -> None:
    if config.distances_between and len(selection.individuals) < 2:
        raise UserError(
            "data.distances_between needs two or more individuals, the recordings have "
            f"{len(selection.individuals)}; use data.distances_within"
        )


def _check_axis(file: Path, positions: np.ndarray, features: PoseFeatures) -> None:
    """The body axis must be seen at least once in every individual that is seen."""
    config, selection = features.config, features.selection
    if config.normalisation != "egocentric":
        return
    seen = ~np.isnan(positions[..., 0])  # (T, I, K)
    for name in config.axis:
        if name not in selection.keypoints:
            hint = suggest(name, selection.keypoints)
            raise UserError(f"{file}: data.axis names {name!r}, not among the key points; {hint}")
        column = selection.keypoints.index(name)
        for row, individual in enumerate(selection.individuals):
            needed = seen[:, row].any() and config.reference in (None, individual)
            if needed and not seen[:, row, column].any():
                raise UserError(
                    f"{file}: {name} of {individual} is never seen (100 % of {len(positions)} "
                    "frames missing), so its body axis is unknown; choose other key points for "
                    f"data.axis, or leave the file out with data.exclude=[{file.stem}]"
                )


def _augment(features: PoseFeatures) -> RecordingAugment:
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


def _mirrored(features: PoseFeatures) -> tuple[int, ...]:
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
