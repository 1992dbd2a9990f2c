"""Which random changes make the two views of a sample; the defaults are the published ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite

from behaviorzoo.errors import UserError


def _help(text: str) -> dict[str, str]:
    """Metadata of a field: what ``--help-config`` prints."""
    return {"help": text}


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes; probabilities are per sample.

    The weak view is cropped and sheared. The strong view is cropped, sheared, flipped left to
    right, rotated, made noisy, blurred in time, freed of one coordinate, and reversed in time.

    Raises:
        UserError: A number out of its range; all of them in one line.
    """

    padding_ratio: int = field(
        default=6,
        metadata=_help(
            "temporal crop: 1/ratio of the frames is mirrored in front and behind, and a stretch "
            "of the old length taken; 0 or less: no crop"
        ),
    )
    shear: float = field(
        default=0.5, metadata=_help("largest off-diagonal of the shear matrix; 0 or less: no shear")
    )
    flip: float = field(
        default=0.5, metadata=_help("strong: probability of exchanging left and right")
    )
    rotation: float = field(
        default=30.0, metadata=_help("strong: most degrees about one axis, drawn anew each time")
    )
    rotation_others: float = field(
        default=1.0, metadata=_help("strong: most degrees about the two other axes")
    )
    noise: float = field(default=0.5, metadata=_help("strong: probability of Gaussian noise"))
    noise_sigma: float = field(
        default=0.01, metadata=_help("strong: its standard deviation, in units of the data")
    )
    blur: float = field(
        default=0.5, metadata=_help("strong: probability of a Gaussian blur in time")
    )
    blur_sigma: tuple[float, float] = field(
        default=(0.1, 2.0), metadata=_help("strong: smallest and largest width of it, in frames")
    )
    blur_taps: int = field(default=15, metadata=_help("strong: frames that it looks at, odd"))
    axis_mask: float = field(
        default=0.5, metadata=_help("strong: probability of setting one coordinate to 0")
    )
    time_flip: float = field(
        default=0.5, metadata=_help("strong: probability of reversing the frames")
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "blur_sigma", tuple(map(float, self.blur_sigma)))
        problems = [
            f"augment.{name}={value:g} must lie between 0 and 1"
            for name in ("flip", "noise", "blur", "axis_mask", "time_flip")
            if not 0 <= (value := getattr(self, name)) <= 1
        ]
        problems += [
            f"augment.{name}={value:g} must not be negative"
            for name in ("rotation", "rotation_others", "noise_sigma")
            if not (value := getattr(self, name)) >= 0
        ]
        if not isfinite(self.shear):
            problems.append(f"augment.shear={self.shear} must be a number")
        low, high = self.blur_sigma
        if not 0 < low <= high:
            problems.append(f"augment.blur_sigma={[low, high]}: the smallest, then the largest")
        if self.blur_taps < 1 or self.blur_taps % 2 == 0:
            problems.append(f"augment.blur_taps={self.blur_taps} must be odd and positive")
        if problems:
            raise UserError("; ".join(problems))
