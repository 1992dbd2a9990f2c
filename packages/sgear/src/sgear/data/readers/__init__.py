"""Where the frames of a clip come from: videos, LMDB or HDF5 features, arrays, texts."""
