"""The reader that a configuration asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sgear.data.config import Compat, ReaderConfig
from sgear.data.readers.clip import ClipReader
from sgear.data.readers.features import FeatureReader, FeatureStore

if TYPE_CHECKING:
    from pathlib import Path


def open_reader(
    config: ReaderConfig, roots: Sequence[str | Path], compat: Compat = "upstream"
) -> ClipReader:
    """Open the videos or features of one modality.

    Args:
        config: What to read, and where features are.
        roots: Folders of the videos.
        compat: See :class:`~sgear.data.readers.video.VideoClipReader`.

    Raises:
        UserError: No features there, or not of that kind.
    """
    if config.kind == "video":
        from sgear.data.readers.video import VideoClipReader

        return VideoClipReader(roots, compat)
    stores = [_store(config, path) for path in config.path]
    return FeatureReader(stores, config.read_type, config.look_back)


def _store(config: ReaderConfig, path: str) -> FeatureStore:
    if config.kind == "lmdb":
        from sgear.data.readers.lmdb_features import LmdbFeatures

        return LmdbFeatures(path, config.fps, config.key_format)
    if config.kind == "hdf5":
        from sgear.data.readers.hdf5_features import Hdf5Features

        return Hdf5Features(path, config.fps)
    if config.kind == "embeddings":
        from sgear.data.readers.embedding_features import EmbeddingFeatures

        return EmbeddingFeatures(path, config.fps)
    from sgear.data.readers.array_features import ArrayFeatures

    return ArrayFeatures(path, config.kind, config.fps)
