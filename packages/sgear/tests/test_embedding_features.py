"""Embedding files as features: what one network saw as the input of another."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from behaviorzoo.embeddings import save_embeddings
from behaviorzoo.errors import UserError
from sgear.data.config import ReaderConfig
from sgear.data.config_reading import dataset_from_mapping
from sgear.data.readers import FeatureReader, open_reader
from sgear.data.readers.embedding_features import EmbeddingFeatures
from sgear.data.sampling import Draws, Sampling


def rows(start: int, n: int, width: int) -> np.ndarray:
    return np.arange(start, start + n, dtype=np.float32)[:, None] + np.zeros((1, width), np.float32)


@pytest.fixture
def file(tmp_path):
    recordings = {
        "P01_01": (0, {"future": rows(1, 40, 3), "past": -rows(1, 40, 2)}),
        "P02_01": (4, {"future": rows(101, 10, 3), "past": -rows(101, 10, 2)}),
    }
    return save_embeddings(tmp_path / "seen.nc", recordings, {"every": 0.5})


def test_row_k_is_what_was_seen_at_the_moment_k_plus_one(file):
    store = EmbeddingFeatures(file)
    assert store.fps == 2.0
    (clip,) = [
        FeatureReader([store]).read("P01/P01_01.MP4", 2, 6, Sampling(4, 1.0, "last_clip"), Draws(0))
    ]
    # Moments 3, 4, 5 and 6 s are the rows 6, 8, 10 and 12, counted from 1.
    assert clip.frames[:, 0, 0, 0].tolist() == [6, 8, 10, 12]


def test_levels_first_frames_and_what_is_not_there(file):
    past = EmbeddingFeatures(f"{file}:past", fps=7)
    assert past.records("P01_01", [1, 40])[1].tolist() == [-40, -40]
    found = past.records("P02_01", [4, 5, 14, 15])
    assert [None if row is None else row[0] for row in found] == [None, -101, -110, None]
    assert past.records("P09_01", [1, 2]) == [None, None]
    assert (past.has("P02_01"), past.has("P09_01")) == (True, False)


def test_a_file_that_does_not_say_its_rate(tmp_path):
    x = rows(1, 5, 2)
    x[2] = np.nan
    path = save_embeddings(tmp_path / "f.nc", {"v": (0, {"frames": x})}, allow_missing=True)
    store = EmbeddingFeatures(path, fps=25)
    assert store.fps == 25
    assert [row is None for row in store.records("v", range(1, 6))] == [False] * 2 + [True] + [
        False
    ] * 2


def test_it_travels_to_other_processes(file):
    store = pickle.loads(pickle.dumps(EmbeddingFeatures(f"{file}:past")))
    assert store.records("P01_01", [3])[0].tolist() == [-3, -3]


def test_a_configuration_names_it(file):
    group = {"kind": "table", "reader_fn": {"kind": "embeddings", "path": f"{file}:past"}}
    (config,) = dataset_from_mapping(group).reader_fn
    assert config == ReaderConfig(kind="embeddings", path=[f"{file}:past"])
    assert isinstance(open_reader(config, []), FeatureReader)


@pytest.mark.parametrize(
    ("name", "message"),
    [("seen.nc:pst", "did you mean 'past'"), ("sen.nc", "no such|does not exist|not found")],
    ids=["level", "file"],
)
def test_mistakes_are_named(file, name, message):
    with pytest.raises(UserError, match=message):
        EmbeddingFeatures(file.with_name(name))
