"""Data for training and embedding: the published data sets, own arrays and any recording."""

from bams.data.build import build_training_data, open_sequences
from bams.data.config import DataConfig
from bams.data.dataset import Batch, BehaviorDataset
from bams.data.quantise import MISSING_BIN, Scaling
from bams.data.sequences import FeatureSequence, Sequences

__all__ = [
    "MISSING_BIN",
    "Batch",
    "BehaviorDataset",
    "DataConfig",
    "FeatureSequence",
    "Scaling",
    "Sequences",
    "build_training_data",
    "open_sequences",
]
