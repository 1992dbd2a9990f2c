"""What a user can say about the data: one dataclass, every field with its help."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.poses.config import PoseConfig, too_small, wrong_choices
from behaviorzoo.poses.config import described as _help

DatasetName = Literal["mice", "flies", "arrays", "quadrupeds", "recordings"]
Animals = Literal["separate", "together"]
Target = Literal["changes", "positions", "velocities", "distances", "speeds"]
Compat = Literal["paper", "upstream"]


@dataclass
class DatasetConfig:
    """Which kind of data; the first thing that a configuration says."""

    dataset: DatasetName = field(
        default="recordings",
        metadata=_help(
            "mice, flies (MABe 2022 files) | arrays (own .npy or .npz, samples x frames x values) "
            "| quadrupeds (robot_dataset.npy) | recordings"
        ),
    )


@dataclass
class DataConfig(PoseConfig, DatasetConfig):
    """Where the data are and what is done to them before they reach the network."""

    annotations: str | None = field(
        default=None,
        metadata=_help("arrays, quadrupeds: labels of the sequences (.npz or label table .csv)"),
    )
    window: int | None = field(
        default=None,
        metadata=_help(
            "frames of a training sequence; empty = whole sequences, which must then be equally "
            "long (recordings: as many as nearly all have, at most 1800)"
        ),
    )
    sliding_window: int | None = field(
        default=None,
        metadata=_help(
            "frames between the starts of two windows; empty = side by side (recordings: half a "
            "window)"
        ),
    )
    include_test_data: bool | None = field(
        default=None,
        metadata=_help(
            "learn from the test sequences too, labels apart; empty = yes for mice and flies, as "
            "published, no for all else"
        ),
    )
    cache: str | None = field(
        default=None,
        metadata=_help(
            "file (.npz) that keeps the computed features: read where it exists, else written"
        ),
    )
    animals: Animals = field(
        default="separate",
        metadata=_help(
            "recordings: separate (each animal a sequence of its own) | together (one sequence "
            "with the features of all)"
        ),
    )
    targets: list[Target] = field(
        default_factory=lambda: ["changes"],
        metadata=_help(
            "recordings: what the histograms of the future are about: changes (of every feature "
            "since data.velocity_frames before), or features by their kind"
        ),
    )
    missing_flags: bool = field(
        default=True,
        metadata=_help(
            "recordings: one more input per key point that is 1 where the point is missing"
        ),
    )

    def check(self) -> None:
        """Validate what can be validated without the files.

        Raises:
            UserError: All problems in one line.
        """
        problems = wrong_choices(self, {"dataset": DatasetName, "animals": Animals})
        problems += too_small(self, ("window", "sliding_window"))
        if self.dataset == "recordings":
            problems += [*self.pose_problems(), *self._target_problems()]
        else:
            problems += [
                f"data.{key} applies to recordings only, not to data.dataset={self.dataset}"
                for key in ("recordings", "exclude", "keypoints", "individuals", "distances_within")
                if getattr(self, key)
            ]
        if self.annotations and self.dataset not in ("arrays", "quadrupeds"):
            problems.append(
                f"data.annotations is for arrays and quadrupeds, not for {self.dataset}; give "
                "`bams evaluate` a label table instead"
            )
        if self.cache and self.dataset == "recordings":
            problems.append("data.cache is not for recordings, whose features are quickly made")
        if problems:
            raise UserError("data: " + "; ".join(problems))

    @property
    def learns_from_test(self) -> bool:
        """Whether test sequences are trained on."""
        if self.include_test_data is None:
            return self.dataset in ("mice", "flies")
        return self.include_test_data

    def _target_problems(self) -> list[str]:
        problems = [
            f"data.targets={name}: {suggest(name, get_args(Target))}"
            for name in self.targets
            if name not in get_args(Target)
        ]
        if not self.targets:
            problems.append("data.targets is empty: choose at least one kind of action")
        problems += [
            f"data.targets has {name}, data.features has not; add it there"
            for name in self.targets
            if name != "changes" and name in get_args(Target) and name not in self.features
        ]
        if self.normalisation == "window":
            problems.append(
                "data.normalisation=window depends on the window, but whole recordings are "
                "embedded at once; choose centroid, egocentric, arena or zscore"
            )
        return problems
