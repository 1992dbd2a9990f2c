"""MABe22 mouse triplets: three mice, 12 key points in pixels, missing points stored as zeros."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from behaviorzoo.errors import UserError
from hbehavemae.augment import MiceAugment
from hbehavemae.data.benchmark_files import Split, benchmark_file, has_test_file
from hbehavemae.data.config import DataConfig
from hbehavemae.data.sequences import FeatureSequence, Sequences
from hbehavemae.data.shapes import DataShape
from hbehavemae.data.windows import WindowDataset, edge_padding, pad_edges

if TYPE_CHECKING:
    from hbehavemae.model import ModelConfig

FILES = {split: (f"mouse_triplet_{split}.npy",) for split in ("train", "test")}

# fmt: off
KEYPOINTS = (
    "nose", "ear_left", "ear_right", "neck", "forepaw_left", "forepaw_right",
    "center", "hindpaw_left", "hindpaw_right", "tail_base", "tail_middle", "tail_tip",
)
# fmt: on
MICE = ("mouse_1", "mouse_2", "mouse_3")
NECK, CENTER, HINDPAW_LEFT, TAIL_BASE = (
    KEYPOINTS.index(name) for name in ("neck", "center", "hindpaw_left", "tail_base")
)
HALF_ARENA = 425.0
"""Half the side of the 850 x 850 pixel arena."""
FPS = 30.0


@dataclass(frozen=True)
class ToInput:
    """Pixels -> network input.

    Attributes:
        center: Key point that the mouse is centred on; None = no alignment.
    """

    center: int | None = None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Scale (..., I, 12, 2) to [-1, 1], align if asked, and flatten to (..., I, F)."""
        x = (x - HALF_ARENA) / HALF_ARENA
        if self.center is not None:
            x = center_align(x, self.center)
        return x.flatten(-2).float()


def shape(config: DataConfig) -> DataShape:
    """Axes of the data set; no file is read."""
    pose = ("body_center", "body_angle") if config.centeralign else ()
    return DataShape((*pose, *KEYPOINTS), MICE, channels=2, fps=FPS)


def has_test(config: DataConfig) -> bool:
    """Whether there is a test file beside the training file."""
    return has_test_file(config, FILES)


def training_data(
    config: DataConfig, model: ModelConfig, split: Split, state: Mapping[str, Any]
) -> WindowDataset:
    """Windows of all clips of a split, sub-sampled and edge-padded.

    Without augmentation the input is computed once, in float64, and stored; with augmentation
    the pixels are stored, and every batch is augmented and then scaled.

    Returns:
        Items float32 (T, 3, 24), or (T, 3, 28) with ``centeralign``.
    """
    clips = read_clips(benchmark_file(config, split, FILES))
    if config.include_test_data and split == "train":
        clips += read_clips(benchmark_file(config, "test", FILES))
    window = model.input_size[0]
    front, behind = edge_padding(window)
    finish = to_input(config)

    def stored(pixels: np.ndarray) -> np.ndarray:
        pixels = with_holes_treated(pixels, config, model)[:: config.sampling_rate]
        # The original holds the clips in float32 and scales them in float64.
        padded = pad_edges(pixels.astype(np.float32), front, behind)
        return padded if config.data_augment else _finished(finish, padded)

    return WindowDataset(
        [stored(pixels) for _, pixels in clips],
        [name for name, _ in clips],
        window=window,
        stride=config.sliding_window,
        augment=MiceAugment() if config.data_augment else None,
        finish=finish if config.data_augment else None,
    )


def sequences(
    config: DataConfig, model: ModelConfig, split: Split, state: Mapping[str, Any]
) -> Sequences:
    """Whole clips of a split, every frame, as (1800, 3, F) each."""
    clips = read_clips(benchmark_file(config, split, FILES))
    finish = to_input(config)

    def load(index: int) -> FeatureSequence:
        name, pixels = clips[index]
        return FeatureSequence(
            name, 0, _finished(finish, with_holes_treated(pixels, config, model))
        )

    return Sequences([name for name, _ in clips], load)


def to_input(config: DataConfig) -> ToInput:
    """The scaling (and alignment) of the configuration.

    The original aligns on key point 7, a hind paw, where it means the body centre, key point 6:
    ``compat=upstream`` brings that back.
    """
    if not config.centeralign:
        return ToInput()
    return ToInput(HINDPAW_LEFT if config.compat == "upstream" else CENTER)


def with_holes_treated(pixels: np.ndarray, config: DataConfig, model: ModelConfig) -> np.ndarray:
    """Missing points of a clip (L, 3, 12, 2) filled or marked with NaN, as configured."""
    if config.zeros_missing and not model.missing:
        raise UserError(
            "data.zeros_missing=true needs a network that takes missing points: model.missing=true"
        )
    if config.fill_holes:
        pixels = fill_holes(pixels)
    if config.zeros_missing:
        pixels = np.where((pixels == 0).all(-1, keepdims=True), np.nan, pixels)
    return pixels


def fill_holes(pixels: np.ndarray) -> np.ndarray:
    """Give every missing point the position it was last seen at, or will first be seen at.

    A point is missing where its x coordinate is 0. One that is never seen stays 0.

    Args:
        pixels: (L, I, K, 2).
    """
    frames = len(pixels)
    seen = pixels[..., 0] != 0  # (L, I, K)
    time = np.arange(frames)[:, None, None]
    last_seen = np.maximum.accumulate(np.where(seen, time, -1), axis=0)
    first_seen = seen.argmax(0)
    source = np.where(last_seen < 0, first_seen, last_seen)
    return np.take_along_axis(pixels, source[..., None], axis=0)


def center_align(x: torch.Tensor, center: int) -> torch.Tensor:
    """Position, heading and body-centred points of each mouse.

    Args:
        x: Scaled positions (..., 12, 2).
        center: Key point that becomes the origin.

    Returns:
        (..., 14, 2): centre, (sin a, cos a), and the 12 points turned by the angle
        a = atan2(dx, dy) of the body axis from neck to tail base, so that it points along +y.
    """
    origin = x[..., center : center + 1, :]
    axis = x[..., TAIL_BASE, :] - x[..., NECK, :]
    angle = torch.atan2(axis[..., 0], axis[..., 1])
    sin, cos = angle.sin(), angle.cos()
    rotation = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    turned = (x - origin) @ rotation.mT
    heading = torch.stack([sin, cos], -1)[..., None, :]
    return torch.cat([origin, heading, turned], dim=-2)


def read_clips(path: Path) -> list[tuple[str, np.ndarray]]:
    """Clips of a pose file in file order: name and pixels (L, 3, 12, 2).

    Raises:
        UserError: Not the benchmark's layout; it names the file and the clip.
    """
    from behaviorzoo.mabe import load_dictionary

    content = load_dictionary(path, memory_map=True)
    entries = content.get("sequences")
    if not isinstance(entries, dict) or not entries:
        raise UserError(
            f"{path}: expected {{'sequences': {{name: {{'keypoints': poses}}}}}} of MABe22, found "
            f"the keys {sorted(map(str, content))}"
        )
    clips = []
    for name, entry in entries.items():
        found = np.shape(entry.get("keypoints", ())) if isinstance(entry, dict) else ()
        if len(found) != 4 or found[1:] != (len(MICE), len(KEYPOINTS), 2) or not found[0]:
            raise UserError(
                f"{path}: clip {name!r} has key points of shape {found}, "
                "expected (frames, 3, 12, 2)"
            )
        clips.append((str(name), np.asarray(entry["keypoints"])))
    return clips


def _finished(finish: ToInput, pixels: np.ndarray) -> np.ndarray:
    """Network input float32 (L, I, F) of pixels (L, I, K, 2), computed in float64."""
    return finish(torch.from_numpy(np.asarray(pixels, np.float64))).numpy()
