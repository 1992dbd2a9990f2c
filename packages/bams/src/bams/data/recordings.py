"""Any recording in the core's format: chosen points, normalised features and their changes.

States are the features that the configuration names; actions are how these change, or kinds of
features that are actions themselves (velocities, speeds). A value that cannot be computed because a
point is missing enters the network as 0 AFTER normalisation, the mean, with a flag beside it; as an
action it gets a mark and counts in no histogram.

Letters: T frames, I individuals, K key points, R rows (I, or 1 with all animals together),
F features of a row.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bams.data.config import Compat, DataConfig
from bams.data.features import Features, Source
from bams.data.maths import change
from behaviorzoo.poses.features import PoseFeatures
from behaviorzoo.poses.normalise import Statistics
from behaviorzoo.poses.scalars import moments
from behaviorzoo.poses.selection import choose, recording_files
from behaviorzoo.poses.stored import (
    StoredRecording,
    as_trained,
    check_between,
    fitted_state,
    frame_rate_notes,
    read_recording,
)
from behaviorzoo.recordings import frame_range

log = logging.getLogger("bams")

CHANGES = "changes"
TOGETHER = "all"


def recordings(config: DataConfig, compat: Compat, state: Mapping[str, Any]) -> Source:
    """Recordings of ``data.path``, and of ``data.test_path`` where it is given.

    Without a ``state`` those to learn from are read into memory and the statistics are fitted to
    them. With one, recordings are read when they are asked for.
    """
    if not state:
        return _fitted(config)
    files = _files(config, test=config.test_path is not None)
    rows = PoseRows.of_state(as_trained(config, state), files[0][0], state)
    spans = [frame_range(file) for file, _ in files]

    def read(index: int) -> StoredRecording:
        recording = read_recording(files[index][0], rows.features)
        frame_rate_notes([recording], state)
        return recording

    return Source(
        names=[file.stem for file, _ in files],
        lengths=[stop - start for start, stop in spans],
        is_train=[train for _, train in files],
        individuals=rows.individuals,
        input_names=rows.input_names(),
        target_names=rows.target_names(),
        load=lambda index: rows(read(index).frames),
        first_frames=[start for start, _ in spans],
        standardised=rows.standardised,
        marks_missing=True,
        state=state,
        observed=lambda index: rows.observed(read(index).frames),
    )


def _fitted(config: DataConfig) -> Source:
    files = _files(config, test=config.learns_from_test and config.test_path is not None)
    selection = choose(config, files[0][0], {})
    check_between(config, selection)
    features = PoseFeatures(config, selection)
    stored = [read_recording(file, features) for file, _ in files]
    frames = [recording.frames for recording in stored]
    features = replace(features, statistics=features.fit(frames, max(map(len, frames))))
    state = fitted_state(features, stored)
    rows = PoseRows(config, features)
    rows = replace(rows, change_scale=rows.fit_changes(frames))
    state["change_scale"] = rows.change_scale.tolist()
    return Source(
        names=[recording.name for recording in stored],
        lengths=[len(recording.frames) for recording in stored],
        is_train=[train for _, train in files],
        individuals=rows.individuals,
        input_names=rows.input_names(),
        target_names=rows.target_names(),
        load=lambda index: rows(stored[index].frames),
        first_frames=[recording.first_frame for recording in stored],
        standardised=rows.standardised,
        marks_missing=True,
        state=state,
        observed=lambda index: rows.observed(stored[index].frames),
        notes=[*frame_rate_notes(stored, state), *_missing_note(rows, stored)],
    )


@dataclass(frozen=True)
class PoseRows:
    """From stored coordinates (T, I, K + A, C) to inputs, actions and ignored frames of each row.

    Attributes:
        config: What the features are.
        features: Normalised features of each individual.
        change_scale: Spread of the change of each feature of an individual, (F,).
    """

    config: DataConfig
    features: PoseFeatures
    change_scale: np.ndarray = field(default_factory=lambda: np.ones(1, np.float32))

    @classmethod
    def of_state(cls, config: DataConfig, file: Path, state: Mapping[str, Any]) -> PoseRows:
        """As they were in a training run."""
        selection = choose(config, file, state)
        features = PoseFeatures(config, selection, Statistics(**state["statistics"]))
        return cls(config, features, np.array(state["change_scale"], np.float32))

    def __call__(self, frames: np.ndarray) -> Features:
        """Stored frames to features of R rows."""
        states = self._states(frames)  # (I, T, F)
        changes = self._clip(self._changes(states) / self.change_scale)
        values = np.concatenate([states, changes], axis=-1)
        kinds = np.array(self._kinds())
        targets = self._joined(values[..., np.isin(kinds, self.config.targets)])
        flags = self._joined(self._flags(frames))
        inputs = np.concatenate([np.nan_to_num(self._joined(values)), flags], axis=-1)
        return Features(inputs, targets, np.asarray(np.isnan(targets).all(-1)))

    def fit_changes(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        """Root mean square of the change of each feature, (F,); 1 where nothing changes."""
        changes = [self._changes(self._states(one)) for one in frames]
        flat = np.concatenate([one.reshape(-1, one.shape[-1]) for one in changes])
        mean, deviation = moments(flat)
        return np.sqrt(mean**2 + deviation**2).astype(np.float32)

    def observed(self, frames: np.ndarray) -> np.ndarray:
        """Share of the points of each row that are seen, (R, T)."""
        return 1 - self._joined(self._lost(frames)).mean(-1)

    @property
    def individuals(self) -> tuple[str, ...]:
        """Names of the rows."""
        return (TOGETHER,) if self._together else self.features.selection.individuals

    @property
    def standardised(self) -> bool:
        """Whether the features come with a spread of about 1."""
        return self.config.normalisation != "none" or "positions" not in self.config.features

    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs of a row."""
        flags = [f"{point} is missing" for point in self.features.selection.keypoints]
        if self._flags_others:
            flags += [f"other's {point} is missing" for point in self.features.selection.keypoints]
        return (*self._row_names(self._names()), *self._row_names(flags if self._has_flags else []))

    def target_names(self) -> tuple[str, ...]:
        """Names of the actions of a row."""
        kinds = self._kinds()
        chosen = [name for name, kind in zip(self._names(), kinds, strict=True)]
        chosen = [n for n, kind in zip(chosen, kinds, strict=True) if kind in self.config.targets]
        return self._row_names(chosen)

    @property
    def _together(self) -> bool:
        return self.config.animals == "together"

    @property
    def _has_flags(self) -> bool:
        return self.config.missing_flags and self.config.missing != "error"

    @property
    def _flags_others(self) -> bool:
        """Together, the flags of all animals are there anyway."""
        return bool(self.config.distances_between) and not self._together

    def _states(self, frames: np.ndarray) -> np.ndarray:
        """Normalised features (I, T, F); NaN where a point is missing."""
        x = torch.from_numpy(frames)
        vectors = self.features.vectors(x).flatten(-2)
        states = torch.cat([vectors, self.features.scalars(x)], dim=-1)
        return self._clip(states.numpy().swapaxes(0, 1))

    def _changes(self, states: np.ndarray) -> np.ndarray:
        return change(states, self.config.velocity_frames, axis=1)

    def _clip(self, values: np.ndarray) -> np.ndarray:
        limit = self.config.clip
        return values if limit is None else np.clip(values, -limit, limit)  # NaN stays NaN

    def _lost(self, frames: np.ndarray) -> np.ndarray:
        """Points that are missing, float32 (I, T, K)."""
        lost = np.isnan(frames[:, :, : self.features.keypoints, 0])
        return lost.swapaxes(0, 1).astype(np.float32)

    def _flags(self, frames: np.ndarray) -> np.ndarray:
        """1 where a point is missing, then where no other animal shows it: (I, T, K or 2 K)."""
        lost = self._lost(frames)
        if not self._has_flags:
            return lost[..., :0]
        if not self._flags_others:
            return lost
        others = (lost.sum(0) - lost) == len(lost) - 1
        return np.concatenate([lost, others.astype(np.float32)], axis=-1)

    def _joined(self, values: np.ndarray) -> np.ndarray:
        """(I, T, F) as rows: the same, or all animals side by side, (1, T, I F)."""
        if not self._together:
            return values
        return values.swapaxes(0, 1).reshape(1, values.shape[1], -1)

    def _names(self) -> list[str]:
        """Names of the features of an individual, then of their changes."""
        axes = "xyz"[: self.features.selection.dimensions]
        kinds = [kind for kind in ("positions", "velocities") if kind in self.config.features]
        prefix = {"positions": "", "velocities": "velocity of "}
        states = [
            f"{prefix[kind]}{point} {axis}"
            for point in self.features.selection.keypoints
            for kind in kinds
            for axis in axes
        ]
        states += self.features.scalar_names()
        return [*states, *(f"change of {name}" for name in states)]

    def _kinds(self) -> list[str]:
        """Kind of each of these: what ``data.targets`` chooses by."""
        selection, config = self.features.selection, self.config
        kinds = [kind for kind in ("positions", "velocities") if kind in config.features]
        vectors = [kind for kind in kinds for _ in range(selection.dimensions)]
        speeds = len(selection.keypoints) if "speeds" in config.features else 0
        distances = self.features.n_scalars - speeds
        states = vectors * len(selection.keypoints)
        states += ["distances"] * distances + ["speeds"] * speeds
        return states + [CHANGES] * len(states)

    def _row_names(self, names: Sequence[str]) -> tuple[str, ...]:
        if not self._together:
            return tuple(names)
        return tuple(
            f"{who}: {name}" for who in self.features.selection.individuals for name in names
        )


def _files(config: DataConfig, *, test: bool) -> list[tuple[Path, bool]]:
    files = [(file, True) for file in recording_files(config, "train")]
    known = {file for file, _ in files}
    if test:
        more = recording_files(config, "test")
        files += [(file, False) for file in more if file not in known]
    return files


def _missing_note(rows: PoseRows, stored: Sequence[StoredRecording]) -> list[str]:
    """How much is missing, and what becomes of it."""
    lost = np.concatenate([rows._lost(recording.frames) for recording in stored], axis=1)
    if not lost.any():
        return []
    shares = zip(rows.features.selection.individuals, lost.mean((1, 2)), strict=True)
    listed = ", ".join(f"{who} {share:.1%}" for who, share in shares)
    flags = ", with a flag for each point" if rows._has_flags else ""
    note = (
        f"{lost.mean():.1%} of all points are missing ({listed}); what depends on them enters as "
        f"0 after normalisation{flags}, and counts in no histogram of actions"
    )
    log.warning(note)
    return [note]
