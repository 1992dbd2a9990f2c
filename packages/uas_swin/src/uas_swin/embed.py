"""Videos of any length to the core's embedding file: features of sliding windows, per frame."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from behaviorzoo.embeddings import EmbeddingWriter
from behaviorzoo.errors import UserError, suggest

LEVEL = "window"
CROPS = ("centre", "three")


@dataclass(frozen=True)
class WindowSettings:
    """Windows over a video.

    Attributes:
        window: Frames from the first to the last of a window, counted in the video.
        stride: Frames from one window to the next.
        interval: Every n-th frame of the window is seen.
        size: Pixels of a side, as the network sees them.
        crops: ``centre``: the short side becomes 8/7 of ``size`` and the middle is cut out, as in
            validation; ``three``: it becomes ``size`` and the mean of both ends and the middle
            is taken, as in testing.
    """

    window: int = 32
    stride: int = 16
    interval: int = 1
    size: int = 224
    crops: str = "centre"

    def __post_init__(self) -> None:
        if min(self.window, self.stride, self.interval) < 1 or self.size < 4:
            raise UserError("window, stride and interval are at least 1, size at least 4")
        if self.stride > self.window:
            raise UserError(
                f"--stride {self.stride} is more than --window {self.window}: frames between "
                "windows would have no embedding"
            )
        if self.crops not in CROPS:
            raise UserError(f"crops: unknown {self.crops!r}; {suggest(self.crops, CROPS)}")


def embed(
    videos: Sequence[str | Path],
    checkpoint: str | Path,
    out: str | Path,
    settings: WindowSettings | None = None,
    *,
    device: str = "auto",
    batch_size: int | None = None,
    progress: bool = True,
) -> Path:
    """Write the embedding of every frame of videos.

    A frame has the mean of the windows over it. The last window ends with the video; a video
    shorter than a window begins anew until the window is full, as in training.

    Args:
        videos: Files, or folders of them.
        checkpoint: Trained weights; low-rank branches count, the head does not.
        out: Embedding file (.nc), a recording per video, one level.
        settings: Windows.
        device: See :func:`behaviorzoo.devices.resolve_device`.
        batch_size: Windows at a time.
        progress: Show a bar.

    Raises:
        UserError: No video, one that cannot be decoded, or weights that do not do.
    """
    from tqdm.auto import tqdm

    from behaviorzoo.devices import resolve_device
    from behaviorzoo.video import VideoReader
    from uas_swin.checkpoints import network_of, read_checkpoint
    from uas_swin.heads import weights_fingerprint
    from uas_swin.view_encoding import Encoder

    settings = settings or WindowSettings()
    files = _files(videos)
    weights = read_checkpoint(checkpoint)
    place = resolve_device(device)
    network: Any = cast(Any, network_of(weights)).to(place)
    encode = Encoder(
        network.backbone,
        normaliser().to(place),
        place,
        batch_size,
    )
    attrs = {
        "method": "uas-swin",
        "checkpoint": str(checkpoint),
        "weights": weights_fingerprint(weights.state),
        "windows": asdict(settings),
    }
    width = sum(network.backbone.state_dict()[f"norm{last_stage(network)}.weight"].shape)
    bar = tqdm(files, unit="video", disable=not progress, desc="embed")
    with EmbeddingWriter(out, {LEVEL: width}, attrs) as writer:
        for path, name in bar:
            with VideoReader(path) as video:
                starts, features = window_features(video, encode, settings)
                n_frames = len(video)
            # Rows pass through a file: those of a long video may not fit into the memory.
            with tempfile.TemporaryFile() as scratch:
                rows = np.memmap(scratch, np.float32, "w+", shape=(n_frames, width))
                frame_means(features, starts, settings.window, rows)
                writer.write(name, 0, {LEVEL: rows})
    return Path(out)


def last_stage(network: Any) -> int:
    """Number of the backbone's last stage, from 0."""
    return len(network.backbone.layers) - 1


def normaliser() -> nn.Module:
    """The step before the network: grey levels to what it was trained on."""
    from uas_swin.data.pixels import MEAN, STD
    from uas_swin.mmlab import MODELS

    options = {"type": "ActionDataPreprocessor", "mean": MEAN, "std": STD}
    return MODELS.build({**options, "format_shape": "NCTHW"})


def window_features(
    video: Any, encode: Any, settings: WindowSettings
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Features of every window of a video.

    Args:
        video: An open :class:`behaviorzoo.video.VideoReader`.
        encode: An :class:`uas_swin.view_encoding.Encoder`.
        settings: Windows.

    Returns:
        First frames (n,), and features (n, C).
    """
    starts: list[int] = []

    def views() -> Iterator[tuple[Tensor, str]]:
        for start, clip in windows(video, settings):
            starts.append(start)
            yield clip, ""

    rows = [cast(NDArray[np.float32], found).mean(axis=0) for found, _ in encode(views())]
    return np.array(starts, dtype=np.int64), np.stack(rows)


def windows(video: Any, settings: WindowSettings) -> Iterator[tuple[int, Tensor]]:
    """Clips of a video, each frame decoded and resized once.

    Yields:
        First frame, and views (V, 3, T, size, size) uint8.
    """
    from uas_swin.data.pixels import to_views

    held: list[NDArray[np.uint8]] = []  # of each frame its crops (V, size, size, 3)
    first = seen = last = 0
    emitted = -1

    def clip(frames: Sequence[NDArray[np.uint8]]) -> Tensor:
        chosen = np.stack(frames[:: settings.interval], axis=1)  # [V, T, size, size, 3]
        n_crops, length = chosen.shape[:2]
        return torch.from_numpy(
            to_views(chosen.reshape(-1, *chosen.shape[2:]), length, None, n_crops)
        )

    for _, frames in video.stream(settings.stride):
        held += list(_pictures(frames, settings))
        seen += len(frames)
        while seen - last >= settings.window:
            yield last, clip(held[last - first : last - first + settings.window])
            emitted, last = last, last + settings.stride
        # The frames that the next window, or the last one, needs.
        drop = max(0, min(last, seen - settings.window) - first)
        held, first = held[drop:], first + drop
    if emitted < 0:
        turns = np.arange(settings.window) % seen
        yield 0, clip([held[turn] for turn in turns])
    elif emitted + settings.window < seen:
        start = seen - settings.window
        yield start, clip(held[start - first :])


def frame_means(
    features: NDArray[np.float32],
    starts: NDArray[np.int64],
    window: int,
    out: NDArray[np.float32],
    block: int = 4096,
) -> None:
    """Mean of the windows over each frame.

    Args:
        features: Of the windows (n, C).
        starts: Their first frames, ascending (n,).
        window: Their frames.
        out: Receives the means (N, C); every frame must be in a window.
        block: Frames at a time.
    """
    sums = np.zeros((len(features) + 1, features.shape[1]))
    np.cumsum(features, axis=0, out=sums[1:])
    for begin in range(0, len(out), block):
        frames = np.arange(begin, min(begin + block, len(out)))
        low = np.searchsorted(starts, frames - window, side="right")
        high = np.searchsorted(starts, frames, side="right")
        out[frames] = (sums[high] - sums[low]) / (high - low)[:, None]


def _pictures(frames: NDArray[np.uint8], settings: WindowSettings) -> Iterator[NDArray[np.uint8]]:
    """Crops of each frame, (V, size, size, 3)."""
    from uas_swin.data import pixels

    size = settings.size
    short = size if settings.crops == "three" else round(size * 8 / 7)
    height, width = frames.shape[1:3]
    new = pixels.resized_size(width, height, (-1, short))
    small = pixels.resize(frames, *new)
    if settings.crops == "three":
        boxes: Sequence[pixels.Box] = pixels.three_boxes(*new, (size, size))
    else:
        boxes = [pixels.center_box(*new, (size, size))]
    cut = np.stack([pixels.crop(small, box) for box in boxes], axis=1)
    yield from cut


def _files(videos: Sequence[str | Path]) -> list[tuple[Path, str]]:
    """Every video with a name of its own: the stem, or the path where stems are the same."""
    from uas_swin.data.prepare.folder import is_video

    files: list[Path] = []
    for path in map(Path, videos):
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if is_video(p))
            if not found:
                raise UserError(f"{path}: no video in this folder")
            files += found
        elif not path.is_file():
            raise UserError(f"{path}: no such video; check the path")
        else:
            files.append(path)
    files = list(dict.fromkeys(files))
    stems = Counter(path.stem for path in files)
    return [(path, path.stem if stems[path.stem] == 1 else path.as_posix()) for path in files]
