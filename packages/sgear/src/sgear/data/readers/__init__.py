"""Where the frames of a clip come from: videos, LMDB or HDF5 features, arrays, texts."""

from sgear.data.readers.clip import BrokenClipError, Clip, ClipReader
from sgear.data.readers.features import FeatureReader, FeatureStore
from sgear.data.readers.opening import open_reader

__all__ = [
    "BrokenClipError",
    "Clip",
    "ClipReader",
    "FeatureReader",
    "FeatureStore",
    "open_reader",
]
