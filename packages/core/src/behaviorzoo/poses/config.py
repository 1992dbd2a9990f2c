"""What a user can say about recordings, whatever the method: choice, missing points, features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from behaviorzoo.errors import suggest

MissingPolicy = Literal["keep", "interpolate", "error"]
Normalisation = Literal["none", "arena", "zscore", "centroid", "egocentric", "window"]
Feature = Literal["positions", "velocities", "distances", "speeds"]


def described(text: str) -> dict[str, str]:
    """Metadata of a field: what ``--help`` prints."""
    return {"help": text}


@dataclass
class PoseConfig:
    """Which points of which recordings are used, and as what. A method adds keys of its own."""

    path: str | list[str] = field(
        default="",
        metadata=described(
            "file, folder or glob of the data (recordings: .nc files of `behaviorzoo import`)"
        ),
    )
    test_path: str | list[str] | None = field(
        default=None,
        metadata=described(
            "data of the test split; empty = beside the training data by the benchmark's names"
        ),
    )
    recordings: list[str] = field(
        default_factory=list,
        metadata=described("recordings: names or patterns to use; empty = all found"),
    )
    exclude: list[str] = field(
        default_factory=list, metadata=described("recordings: names or patterns to leave out")
    )
    keypoints: list[str] = field(
        default_factory=list,
        metadata=described("recordings: key points in order; empty = all of the files"),
    )
    individuals: list[str] = field(
        default_factory=list, metadata=described("recordings: individuals by name; empty = all")
    )
    max_individuals: int | None = field(
        default=None,
        metadata=described(
            "recordings: rows for this many individuals (fewer: missing; more: most seen ones)"
        ),
    )
    min_confidence: float = field(
        default=0.0, metadata=described("recordings: points less confident than this are missing")
    )
    missing: MissingPolicy = field(
        default="keep",
        metadata=described(
            "recordings: missing points: keep (they reach the network as missing) | interpolate | "
            "error"
        ),
    )
    max_gap: int | None = field(
        default=None,
        metadata=described("recordings: longest gap in frames that missing=interpolate closes"),
    )
    min_observed: float = field(
        default=0.0,
        metadata=described(
            "recordings: training windows with a smaller share of observed values are left out"
        ),
    )
    allow_unseen: bool = field(
        default=False,
        metadata=described("recordings: accept files in which a key point is never seen"),
    )
    normalisation: Normalisation = field(
        default="arena",
        metadata=described(
            "recordings: none | arena (centre and size of the space used) | zscore (per axis) | "
            "centroid (per frame) | egocentric (position and heading, per frame) | window "
            "(median)"
        ),
    )
    clip: float | None = field(
        default=None,
        metadata=described(
            "recordings: normalised values beyond +-clip are set to it (jumps of the tracker)"
        ),
    )
    axis: list[str] = field(
        default_factory=list,
        metadata=described(
            "recordings: normalisation=egocentric: [rear, front] key points of the body axis"
        ),
    )
    reference: str | None = field(
        default=None,
        metadata=described(
            "recordings: individual whose centroid or axis counts for all; empty = each its own"
        ),
    )
    features: list[Feature] = field(
        default_factory=lambda: ["positions"],
        metadata=described(
            "recordings: positions, velocities, distances (of the pairs below), speeds; the last "
            "two depend neither on place nor on heading, and can stand alone"
        ),
    )
    distances_within: list[list[str]] = field(
        default_factory=list,
        metadata=described(
            "recordings: pairs of key points of one individual, such as [[nose, tail_base]]; "
            "* is every key point: [['*', '*']] is all pairs"
        ),
    )
    distances_between: list[list[str]] = field(
        default_factory=list,
        metadata=described(
            "recordings: pairs [own key point, that of the nearest other individual]; * is every "
            "key point"
        ),
    )
    log_distances: bool = field(
        default=False,
        metadata=described(
            "recordings: distances and speeds enter as log(1 + value / typical value): touching "
            "or not counts more than far or very far"
        ),
    )
    velocity_frames: int = field(
        default=1,
        metadata=described("recordings: frames over which velocities and speeds are taken"),
    )

    def wanted_keypoints(self) -> list[str]:
        """Key points that the user names, in order; empty = all of the files."""
        return list(self.keypoints)

    def pose_problems(self) -> list[str]:
        """What is wrong with these keys, as far as it shows without the files."""
        return [*self._wrong_choices(), *self._wrong_numbers(), *self._wrong_combinations()]

    def _wrong_choices(self) -> list[str]:
        problems = wrong_choices(self, {"missing": MissingPolicy, "normalisation": Normalisation})
        return problems + [
            f"data.features={name}: {suggest(name, get_args(Feature))}"
            for name in self.features
            if name not in get_args(Feature)
        ]

    def _wrong_numbers(self) -> list[str]:
        problems = too_small(self, ("max_individuals", "max_gap", "velocity_frames"))
        problems += [
            f"data.{key}={value} must lie between 0 and 1"
            for key in ("min_observed", "min_confidence")
            if not 0 <= (value := getattr(self, key)) <= 1
        ]
        if self.clip is not None and self.clip <= 0:
            problems.append(f"data.clip={self.clip:g} must be positive")
        return problems

    def _wrong_combinations(self) -> list[str]:
        problems = []
        if not self.features:
            problems.append("data.features is empty: choose at least one kind of feature")
        if self.normalisation == "egocentric" and len(self.axis) != 2:
            problems.append(
                f"data.normalisation=egocentric needs data.axis=[rear, front], two key points, "
                f"got {len(self.axis)}"
            )
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


def wrong_choices(config: Any, choices: dict[str, Any]) -> list[str]:
    """A sentence for each key (name -> ``Literal``) whose value is not one of its choices."""
    return [
        f"data.{key}={value}: {suggest(value, get_args(literal))}"
        for key, literal in choices.items()
        if (value := getattr(config, key)) not in get_args(literal)
    ]


def too_small(config: Any, keys: Sequence[str]) -> list[str]:
    """A sentence for each of the keys that counts something and is below 1; empty ones pass."""
    return [
        f"data.{key}={value} must be at least 1"
        for key in keys
        if (value := getattr(config, key)) is not None and value < 1
    ]


def _bad_pairs(pairs: Sequence[Sequence[str]]) -> list[list[str]]:
    return [list(pair) for pair in pairs if len(pair) != 2]
