"""What a user can say about the data: one dataclass, every field with its help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from behaviorzoo.errors import UserError, suggest

DatasetName = Literal["shot7m2", "mabe22", "hbabel", "recordings"]
Compat = Literal["none", "upstream"]
MissingPolicy = Literal["keep", "interpolate", "error"]
Normalisation = Literal["none", "arena", "zscore", "centroid", "egocentric", "window"]
Feature = Literal["positions", "velocities", "distances", "speeds"]


def _help(text: str) -> dict[str, str]:
    """Metadata of a field: what ``--help`` prints."""
    return {"help": text}


@dataclass
class AugmentConfig:
    """Random changes of training windows of recordings; every probability is per window."""

    rotation: float = field(
        default=0.0, metadata=_help("probability of a rotation about the vertical (third) axis")
    )
    reflection: float = field(
        default=0.0, metadata=_help("probability of a mirror image along the first axis")
    )
    mirror_pairs: list[list[str]] = field(
        default_factory=list,
        metadata=_help(
            "key points that change places in a mirror image, such as [[left_ear, right_ear]]"
        ),
    )
    noise: float = field(default=0.0, metadata=_help("probability of Gaussian noise"))
    noise_scale: float = field(
        default=0.01,
        metadata=_help("standard deviation of the noise, share of half the arena"),
    )
    swap_individuals: float = field(
        default=0.0, metadata=_help("probability of a random order of the individuals")
    )

    @property
    def active(self) -> bool:
        """Whether any of the changes can happen."""
        return max(self.rotation, self.reflection, self.noise, self.swap_individuals) > 0


@dataclass
class DataConfig:
    """Where the data are and what is done to them before they reach the network."""

    dataset: DatasetName = field(
        default="recordings", metadata=_help("shot7m2 | mabe22 | hbabel | recordings")
    )
    path: str | list[str] = field(
        default="",
        metadata=_help(
            "file, folder or glob of the data (recordings: .nc files of `behaviorzoo import`)"
        ),
    )
    test_path: str | list[str] | None = field(
        default=None,
        metadata=_help(
            "data of the test split; empty = beside the training data by the benchmark's names"
        ),
    )
    window: int | None = field(
        default=None,
        metadata=_help("frames in one window; empty = that of the model, else it must equal it"),
    )
    sliding_window: int = field(
        default=1, metadata=_help("frames between the starts of two training windows")
    )
    data_augment: bool = field(
        default=False, metadata=_help("the augmentations of the published benchmark recipe")
    )
    include_test_data: bool = field(
        default=False, metadata=_help("train on the test split too (it is appended)")
    )
    compat: Compat = field(
        default="none",
        metadata=_help(
            "none | upstream: reproduce the defects of the original code (test data replace the "
            "training data of Shot7M2, mice are centre-aligned on a hind paw)"
        ),
    )

    body_parts: bool = field(
        default=True,
        metadata=_help(
            "shot7m2: 24 joints in six body parts of four; false = all 26 in file order"
        ),
    )
    fill_holes: bool = field(
        default=False, metadata=_help("mabe22: fill missing points with the last one seen")
    )
    centeralign: bool = field(
        default=False, metadata=_help("mabe22: align each mouse to its body axis (28 features)")
    )
    sampling_rate: int = field(
        default=1, metadata=_help("mabe22: keep every n-th frame for training")
    )
    zeros_missing: bool = field(
        default=False,
        metadata=_help(
            "mabe22: points at (0, 0) are missing, not coordinates (needs model.missing=true)"
        ),
    )
    joints3d_procrustes: bool = field(
        default=True,
        metadata=_help(
            "hbabel: aligned joints of `hbehavemae prepare`; false = only the NTU-style step"
        ),
    )

    recordings: list[str] = field(
        default_factory=list,
        metadata=_help("recordings: names or patterns to use; empty = all found"),
    )
    exclude: list[str] = field(
        default_factory=list, metadata=_help("recordings: names or patterns to leave out")
    )
    keypoints: list[str] = field(
        default_factory=list,
        metadata=_help("recordings: key points in order; empty = all of the files"),
    )
    individuals: list[str] = field(
        default_factory=list, metadata=_help("recordings: individuals by name; empty = all")
    )
    max_individuals: int | None = field(
        default=None,
        metadata=_help(
            "recordings: rows for this many individuals (fewer: missing; more: most seen ones)"
        ),
    )
    groups: dict[str, list[str]] = field(
        default_factory=dict,
        metadata=_help(
            "recordings: groups of key points, name -> list, all of one size (body parts)"
        ),
    )
    pad_groups: bool = field(
        default=False,
        metadata=_help("recordings: fill smaller groups with points that are always missing"),
    )
    min_confidence: float = field(
        default=0.0, metadata=_help("recordings: points less confident than this are missing")
    )
    missing: MissingPolicy = field(
        default="keep",
        metadata=_help(
            "recordings: missing points: keep (model.missing=true) | interpolate | error"
        ),
    )
    max_gap: int | None = field(
        default=None,
        metadata=_help("recordings: longest gap in frames that missing=interpolate closes"),
    )
    min_observed: float = field(
        default=0.0,
        metadata=_help(
            "recordings: training windows with a smaller share of observed values are left out"
        ),
    )
    allow_unseen: bool = field(
        default=False, metadata=_help("recordings: accept files in which a key point is never seen")
    )
    normalisation: Normalisation = field(
        default="arena",
        metadata=_help(
            "recordings: none | arena (centre and size of the space used) | zscore (per axis) | "
            "centroid (per frame) | egocentric (position and heading, per frame) | window "
            "(median)"
        ),
    )
    clip: float | None = field(
        default=None,
        metadata=_help(
            "recordings: normalised values beyond +-clip are set to it (jumps of the tracker)"
        ),
    )
    axis: list[str] = field(
        default_factory=list,
        metadata=_help(
            "recordings: normalisation=egocentric: [rear, front] key points of the body axis"
        ),
    )
    reference: str | None = field(
        default=None,
        metadata=_help(
            "recordings: individual whose centroid or axis counts for all; empty = each its own"
        ),
    )
    features: list[Feature] = field(
        default_factory=lambda: ["positions"],
        metadata=_help(
            "recordings: positions, velocities, distances (of the pairs below), speeds; the last "
            "two depend neither on place nor on heading, and can stand alone"
        ),
    )
    distances_within: list[list[str]] = field(
        default_factory=list,
        metadata=_help(
            "recordings: pairs of key points of one individual, such as [[nose, tail_base]]; "
            "* is every key point: [['*', '*']] is all pairs"
        ),
    )
    distances_between: list[list[str]] = field(
        default_factory=list,
        metadata=_help(
            "recordings: pairs [own key point, that of the nearest other individual]; * is every "
            "key point"
        ),
    )
    log_distances: bool = field(
        default=False,
        metadata=_help(
            "recordings: distances and speeds enter as log(1 + value / typical value): touching "
            "or not counts more than far or very far"
        ),
    )
    velocity_frames: int = field(
        default=1, metadata=_help("recordings: frames over which velocities and speeds are taken")
    )
    augment: AugmentConfig = field(
        default_factory=AugmentConfig,
        metadata=_help("recordings: random changes of the training windows"),
    )

    def check(self) -> None:
        """Validate what can be validated without the files.

        Raises:
            UserError: All problems in one line.
        """
        problems = [*self._choices(), *self._numbers(), *self._combinations()]
        if problems:
            raise UserError("data: " + "; ".join(problems))

    def _choices(self) -> list[str]:
        problems = []
        for key, choices in (
            ("dataset", DatasetName),
            ("compat", Compat),
            ("missing", MissingPolicy),
            ("normalisation", Normalisation),
        ):
            value = getattr(self, key)
            if value not in get_args(choices):
                problems.append(f"data.{key}={value}: {suggest(value, get_args(choices))}")
        problems += [
            f"data.features={name}: {suggest(name, get_args(Feature))}"
            for name in self.features
            if name not in get_args(Feature)
        ]
        return problems

    def _numbers(self) -> list[str]:
        problems = []
        for key in (
            "sliding_window",
            "sampling_rate",
            "window",
            "max_individuals",
            "max_gap",
            "velocity_frames",
        ):
            value = getattr(self, key)
            if value is not None and value < 1:
                problems.append(f"data.{key}={value} must be at least 1")
        shares = {"min_observed": self.min_observed, "min_confidence": self.min_confidence}
        for key in ("rotation", "reflection", "noise", "swap_individuals"):
            shares[f"augment.{key}"] = getattr(self.augment, key)
        for key, value in shares.items():
            if not 0 <= value <= 1:
                problems.append(f"data.{key}={value} must lie between 0 and 1")
        return problems

    def _combinations(self) -> list[str]:
        if self.dataset != "recordings":
            return [
                f"data.{key} applies to recordings only, not to data.dataset={self.dataset}"
                for key in ("keypoints", "individuals", "groups", "distances_within")
                if getattr(self, key)
            ]
        problems = []
        if self.data_augment:
            problems.append(
                "data.data_augment is for the benchmarks; for recordings choose "
                "data.augment.rotation, .reflection, .noise or .swap_individuals"
            )
        if self.sampling_rate != 1:
            problems.append("data.sampling_rate is for mabe22 only; import with another frame rate")
        if not self.features:
            problems.append("data.features is empty: choose at least one kind of feature")
        if self.groups and not {"positions", "velocities"} & set(self.features):
            problems.append("data.groups needs data.features with positions or velocities")
        if self.normalisation == "egocentric" and len(self.axis) != 2:
            problems.append(
                f"data.normalisation=egocentric needs data.axis=[rear, front], two key points, "
                f"got {len(self.axis)}"
            )
        if self.normalisation in ("egocentric", "zscore") and self.augment.rotation:
            problems.append(
                f"data.augment.rotation has no sense with data.normalisation={self.normalisation}"
            )
        if self.clip is not None and self.clip <= 0:
            problems.append(f"data.clip={self.clip:g} must be positive")
        if self.missing == "interpolate" and self.max_gap is None:
            problems.append("data.missing=interpolate needs data.max_gap in frames")
        pairs = _bad_pairs(self.distances_within) + _bad_pairs(self.distances_between)
        problems += [f"distances need pairs of two key points, got {pair}" for pair in pairs]
        if "distances" in self.features and not (self.distances_within or self.distances_between):
            problems.append(
                "data.features has distances: name the pairs in data.distances_within or "
                "data.distances_between"
            )
        return problems


def _bad_pairs(pairs: Sequence[Sequence[str]]) -> list[list[str]]:
    return [list(pair) for pair in pairs if len(pair) != 2]
