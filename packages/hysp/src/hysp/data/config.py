"""What a user can say about the data: every field with its help."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from behaviorzoo.errors import UserError, suggest

Missing = Literal["error", "drop", "interpolate", "fill"]
Extent = Literal["frame", "clip", "none"]
Axis = Literal["x", "y", "z"]


def _help(text: str) -> dict[str, str]:
    """Metadata of a field: what ``--help-config`` prints."""
    return {"help": text}


@dataclass
class ClipConfig:
    """How clips are cut from recordings, and what is done to them. Prepared data have this done."""

    recordings: list[str] = field(
        default_factory=list, metadata=_help("names or patterns to use; empty = all found")
    )
    exclude: list[str] = field(
        default_factory=list, metadata=_help("names or patterns to leave out")
    )
    keypoints: list[str] = field(
        default_factory=list, metadata=_help("joints in order; empty = all key points of the files")
    )
    individuals: list[str] = field(
        default_factory=list, metadata=_help("individuals by name, as persons; empty = all")
    )
    max_individuals: int | None = field(
        default=None,
        metadata=_help("rows for this many individuals (fewer: absent; more: the most seen ones)"),
    )
    min_confidence: float = field(
        default=0.0, metadata=_help("points less confident than this are missing")
    )
    edges: list[list[str]] = field(
        default_factory=list,
        metadata=_help(
            "the joint graph, [[nose, neck], [neck, tail_base]]; empty = known names, else the "
            "shortest tree that joins all joints"
        ),
    )
    centre: str = field(
        default="",
        metadata=_help("joint in the middle of the graph; empty = the one nearest to all others"),
    )
    mirror_pairs: list[list[str]] = field(
        default_factory=list,
        metadata=_help(
            "joints that change places in a mirror image, [[left_ear, right_ear]]; empty = by name"
        ),
    )
    frames: int = field(default=50, metadata=_help("frames of a clip after resizing"))
    window: int | None = field(
        default=None,
        metadata=_help("frames of sliding windows; empty = one clip per row of the label table"),
    )
    stride: int | None = field(
        default=None, metadata=_help("frames between the starts of two windows; empty = window")
    )
    min_frames: int = field(
        default=2, metadata=_help("clips of fewer recorded frames are left out, and reported")
    )
    missing: Missing = field(
        default="error",
        metadata=_help(
            "missing points: error | drop (the clip) | interpolate (gaps up to max_gap, then "
            "drop) | fill (straight lines, held at the ends). An individual that is nowhere in a "
            "clip is absent and no missing point"
        ),
    )
    max_gap: int | None = field(
        default=None, metadata=_help("missing=interpolate: longest gap to close, in frames")
    )
    min_observed: float = field(
        default=0.0,
        metadata=_help("an individual with a smaller share of its points seen in a clip is absent"),
    )
    centring: Extent = field(
        default="frame",
        metadata=_help(
            "subtract the centre joint: frame (of every frame, as published) | clip (its mean in "
            "the clip: the way travelled stays) | none"
        ),
    )
    heading: list[str] = field(
        default_factory=list,
        metadata=_help(
            "two joints; the line from the first to the second is turned to +x (shoulders of a "
            "person from left to right, body axis of an animal from rear to front)"
        ),
    )
    align: Extent = field(
        default="frame",
        metadata=_help("heading: turn every frame (as published) | the clip by its first | none"),
    )
    up: Axis = field(default="y", metadata=_help("3-D: the vertical axis, about which is turned"))
    reference: str = field(
        default="",
        metadata=_help(
            "individual whose centre and heading count for all (distances between individuals "
            "stay); empty = each its own"
        ),
    )
    scale: float | None = field(
        default=None,
        metadata=_help(
            "factor on all coordinates (0.01 makes metres of centimetres); empty = so that joints "
            "are 0.5 from the centre on average (root mean square), as a person's in metres"
        ),
    )


@dataclass
class DataConfig:
    """Where the data are, which labels count, and which samples train."""

    path: str | list[str] = field(
        default="",
        metadata=_help(
            "folder of `hysp prepare`; or the original's *_position.npy or their folder; or "
            "recordings (.nc files of `behaviorzoo import`)"
        ),
    )
    labels: str | None = field(
        default=None,
        metadata=_help(
            "recordings: label table (csv, parquet); original's arrays: label file (empty = beside)"
        ),
    )
    task: str = field(
        default="", metadata=_help("which labels, where there are several kinds; empty = the only")
    )
    benchmark: str = field(
        default="",
        metadata=_help(
            "who trains: xsub, xview, xset, or a column of the label table with train and val; "
            "empty = the only one there is, if any"
        ),
    )
    folds: int | None = field(
        default=None,
        metadata=_help("instead of a benchmark: this many folds of whole clips or recordings"),
    )
    fold: int = field(default=0, metadata=_help("folds: the one that is held out, from 0"))
    fold_seed: int = field(default=0, metadata=_help("folds: seed of who is in which"))
    clips: ClipConfig = field(
        default_factory=ClipConfig, metadata=_help("recordings: cutting and normalising")
    )

    def check(self) -> None:
        """Validate what can be validated without the files.

        Raises:
            UserError: All problems in one line.
        """
        problems = [*self._split_problems(), *clip_problems(self.clips)]
        if problems:
            raise UserError("data: " + "; ".join(problems))

    def _split_problems(self) -> list[str]:
        problems = []
        if self.folds is not None and self.benchmark:
            problems.append("data.folds and data.benchmark both say who trains; give one of them")
        if self.folds is not None and self.folds < 2:
            problems.append(f"data.folds={self.folds} must be at least 2")
        if not 0 <= self.fold < (self.folds or 1):
            problems.append(f"data.fold={self.fold} must be below data.folds={self.folds or 1}")
        return problems


def clip_problems(clips: ClipConfig) -> list[str]:
    """What is wrong with the keys of ``data.clips``, as far as it shows without the files."""
    problems = []
    for key, choices in (("missing", Missing), ("centring", Extent), ("align", Extent)):
        value = getattr(clips, key)
        if value not in get_args(choices):
            problems.append(f"data.clips.{key}={value}: {suggest(value, get_args(choices))}")
    if clips.up not in get_args(Axis):
        problems.append(f"data.clips.up={clips.up}: {suggest(clips.up, get_args(Axis))}")
    for key in ("frames", "window", "stride", "min_frames", "max_gap", "max_individuals"):
        value = getattr(clips, key)
        if value is not None and value < 1:
            problems.append(f"data.clips.{key}={value} must be at least 1")
    for key in ("min_confidence", "min_observed"):
        if not 0 <= getattr(clips, key) <= 1:
            problems.append(f"data.clips.{key}={getattr(clips, key)} must lie between 0 and 1")
    if (clips.missing == "interpolate") != (clips.max_gap is not None):
        problems.append("data.clips.max_gap belongs to data.clips.missing=interpolate")
    if clips.stride is not None and clips.window is None:
        problems.append("data.clips.stride needs data.clips.window")
    if clips.heading and len(clips.heading) != 2:
        problems.append(f"data.clips.heading needs two joints, got {len(clips.heading)}")
    if clips.scale is not None and not clips.scale > 0:
        problems.append(f"data.clips.scale={clips.scale:g} must be positive")
    for key in ("edges", "mirror_pairs"):
        odd = [pair for pair in getattr(clips, key) if len(pair) != 2]
        problems += [f"data.clips.{key}: {pair} is not a pair of joints" for pair in odd]
    return problems
