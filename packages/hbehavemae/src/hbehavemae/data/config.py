"""What a user can say about the data: one dataclass, every field with its help."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from behaviorzoo.errors import UserError
from behaviorzoo.poses.config import PoseConfig, too_small, wrong_choices
from behaviorzoo.poses.config import described as _help
from behaviorzoo.poses.selection import PAD

DatasetName = Literal["shot7m2", "mabe22", "hbabel", "recordings"]
Compat = Literal["none", "upstream"]


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
class DatasetConfig:
    """Which kind of data; the first thing that a configuration says."""

    dataset: DatasetName = field(
        default="recordings", metadata=_help("shot7m2 | mabe22 | hbabel | recordings")
    )


@dataclass
class DataConfig(PoseConfig, DatasetConfig):
    """Where the data are and what is done to them before they reach the network."""

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
    augment: AugmentConfig = field(
        default_factory=AugmentConfig,
        metadata=_help("recordings: random changes of the training windows"),
    )

    def check(self) -> None:
        """Validate what can be validated without the files.

        Raises:
            UserError: All problems in one line.
        """
        choices = {"dataset": DatasetName, "compat": Compat}
        problems = [
            *wrong_choices(self, choices),
            *too_small(self, ("sliding_window", "sampling_rate", "window")),
            *self._augment_problems(),
        ]
        if self.dataset == "recordings":
            problems += [*self.pose_problems(), *self._recording_problems()]
        else:
            problems += [
                f"data.{key} applies to recordings only, not to data.dataset={self.dataset}"
                for key in ("keypoints", "individuals", "groups", "distances_within")
                if getattr(self, key)
            ]
        if problems:
            raise UserError("data: " + "; ".join(problems))

    def wanted_keypoints(self) -> list[str]:
        """Key points that the user names, in the order of the groups; empty = all of the files.

        Raises:
            UserError: A key point in two groups, or groups and ``keypoints`` that disagree.
        """
        if not self.groups:
            return super().wanted_keypoints()
        members = [name for names in self.groups.values() for name in names]
        twice = sorted({name for name in members if members.count(name) > 1})
        if twice:
            raise UserError(f"data.groups: key point {twice[0]!r} is in more than one place")
        odd = sorted(set(self.keypoints) ^ set(members)) if self.keypoints else []
        if odd:
            raise UserError(
                f"data.keypoints and data.groups differ in {', '.join(odd)}; leave data.keypoints "
                "empty, the groups say it all"
            )
        return [name for names in self.padded_groups().values() for name in names]

    def padded_groups(self) -> dict[str, tuple[str, ...]]:
        """Groups as they stand on the feature axis, filled up where ``pad_groups`` says so."""
        largest = max((len(members) for members in self.groups.values()), default=0)
        return {
            name: (*members, *[PAD] * (largest - len(members) if self.pad_groups else 0))
            for name, members in self.groups.items()
        }

    def _augment_problems(self) -> list[str]:
        return [
            f"data.augment.{key}={value} must lie between 0 and 1"
            for key in ("rotation", "reflection", "noise", "swap_individuals")
            if not 0 <= (value := getattr(self.augment, key)) <= 1
        ]

    def _recording_problems(self) -> list[str]:
        problems = []
        if self.data_augment:
            problems.append(
                "data.data_augment is for the benchmarks; for recordings choose "
                "data.augment.rotation, .reflection, .noise or .swap_individuals"
            )
        if self.sampling_rate != 1:
            problems.append("data.sampling_rate is for mabe22 only; import with another frame rate")
        if self.groups and not {"positions", "velocities"} & set(self.features):
            problems.append("data.groups needs data.features with positions or velocities")
        if self.normalisation in ("egocentric", "zscore") and self.augment.rotation:
            problems.append(
                f"data.augment.rotation has no sense with data.normalisation={self.normalisation}"
            )
        return problems
