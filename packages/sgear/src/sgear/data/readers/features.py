"""Clips of stored features: only the records that end up in the clip are read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Protocol

import numpy as np

from behaviorzoo.errors import UserError
from sgear.data.config import ReadType
from sgear.data.readers.clip import BrokenClipError, Clip
from sgear.data.sampling import (
    Draws,
    Sampling,
    clip_span,
    frame_times,
    kept_frames,
    rulstm_frames,
    stored_frames,
)


class FeatureStore(Protocol):
    """Features by video and frame number (from 1)."""

    path: str
    fps: float

    def records(self, video: str, frames: Sequence[int]) -> list[np.ndarray | None]:
        """Features of some frames, each float32 (C,); None for what is not stored."""
        ...

    def has(self, video: str) -> bool:
        """Whether there is a single frame of the video."""
        ...


class FeatureReader:
    """Clips of features at ``fps`` frames per second.

    A frame that is not stored is replaced by the next earlier one, up to ``look_back`` frames
    before it, and by zeros where there is none; the clip says how many.

    Args:
        stores: Joined along the channels.
        read_type: Every frame of a clip, or RULSTM's 11 frames before its end.
        look_back: Frames.
    """

    what = "features"

    def __init__(
        self, stores: Sequence[FeatureStore], read_type: ReadType = "normal", look_back: int = 9
    ):
        self.stores = list(stores)
        self.fps = self.stores[0].fps
        self._number = rulstm_frames if read_type == "exact_rulstm" else stored_frames
        self.look_back = look_back
        self._names: dict[tuple[int, str], str] = {}

    def name_of(self, store: FeatureStore, video: str) -> str:
        """What a store calls a video, see :func:`feature_names`; the last one if it has none."""
        key = (self.stores.index(store), video)
        if key not in self._names:
            names = feature_names(video)
            self._names[key] = next((name for name in names if store.has(name)), names[-1])
        return self._names[key]

    def read(self, video: str, start: float, end: float, how: Sampling, draws: Draws) -> Clip:
        """See :class:`~sgear.data.readers.clip.ClipReader`."""
        span = clip_span(start, end, self.fps, how, draws)
        found = self._number(span, self.fps)
        if len(found) == 0:
            raise BrokenClipError(
                f"{video}: no frame between {span.start:.3f} and {span.end:.3f} s (frames count "
                f"from 1 at {self.fps:g} per second)"
            )
        kept = kept_frames(len(found), self.fps, how)
        read = [
            self._part(store, self.name_of(store, video), found[kept], found)
            for store in self.stores
        ]
        features = np.concatenate([part for part, _ in read], axis=1) if read[1:] else read[0][0]
        times = frame_times(span, len(found), kept)
        # (T, C) -> (T, 1, 1, C), as frames of one pixel
        return Clip(features[:, None, None], times, max(missing for _, missing in read))

    def missing(self, videos: Sequence[str]) -> list[str]:
        """See :class:`~sgear.data.readers.clip.ClipReader`.

        Raises:
            UserError: Two of the videos would be given the same features.
        """
        absent = set()
        for store in self.stores:
            owners: dict[str, str] = {}
            for video in videos:
                name = self.name_of(store, video)
                if not store.has(name):
                    absent.add(video)
                elif owners.setdefault(name, video) != video:
                    raise UserError(
                        f"{store.path}: features {name!r} may be of {owners[name]} or of {video}; "
                        f"name them with the folder, such as {feature_names(video)[1]!r}"
                    )
        return [video for video in videos if video in absent]

    def places(self) -> str:
        """See :class:`~sgear.data.readers.clip.ClipReader`."""
        return ", ".join(store.path for store in self.stores)

    def _part(
        self, store: FeatureStore, name: str, frames: np.ndarray, found: np.ndarray
    ) -> tuple[np.ndarray, int]:
        """Features (T, C) of one store, and how many are zeros."""
        numbers = frames.tolist()
        records = store.records(name, numbers)
        if all(record is not None for record in records):
            return _stacked(records, store, name), 0
        records = [
            self._earlier(store, name, number) if record is None else record
            for number, record in zip(numbers, records, strict=True)
        ]
        example = _first(records)
        if example is None:
            # The whole segment may have features even if the kept frames have none.
            example = _first(self._earlier(store, name, number) for number in found.tolist())
        if example is None:
            raise BrokenClipError(
                f"{name}: none of the frames {found[0]} to {found[-1]} is in {store.path}"
            )
        zeros = np.zeros_like(example)
        n_missing = sum(record is None for record in records)
        return _stacked([zeros if r is None else r for r in records], store, name), n_missing

    def _earlier(self, store: FeatureStore, name: str, frame: int) -> np.ndarray | None:
        return _first(store.records(name, range(frame, frame - self.look_back - 1, -1)))


def video_name(video: str) -> str:
    """The file name of a video without the suffix."""
    name = video.rsplit("/", 1)[-1]
    return name.rsplit(".", 1)[0] or name


def feature_names(video: str) -> list[str]:
    """What features may call a video: ``a/monday.mp4`` is a/monday, a_monday, or monday."""
    path = str(PurePosixPath(video).parent / video_name(video))
    return [path, path.replace("/", "_"), video_name(video)]


def _first(records: Iterable[np.ndarray | None]) -> np.ndarray | None:
    return next((record for record in records if record is not None), None)


def _stacked(records: Sequence[np.ndarray | None], store: FeatureStore, name: str) -> np.ndarray:
    try:
        return np.stack(records)  # type: ignore[arg-type]
    except ValueError as error:
        sizes = sorted({len(record) for record in records if record is not None})
        raise BrokenClipError(f"{name}: records of {sizes} numbers in {store.path}") from error
