"""Data for training and extraction: the published benchmarks and any recording."""

from hbehavemae.data.build import (
    build_training_data,
    data_shape,
    has_split,
    open_sequences,
    trained_shape,
)
from hbehavemae.data.config import AugmentConfig, DataConfig
from hbehavemae.data.sequences import FeatureSequence, Sequences
from hbehavemae.data.shapes import DataShape
from hbehavemae.data.windows import WindowDataset

__all__ = [
    "AugmentConfig",
    "DataConfig",
    "DataShape",
    "FeatureSequence",
    "Sequences",
    "WindowDataset",
    "build_training_data",
    "data_shape",
    "has_split",
    "open_sequences",
    "trained_shape",
]
