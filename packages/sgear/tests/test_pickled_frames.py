"""Annotations published as pickled pandas frames: read from every pandas, and never run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behaviorzoo.errors import UserError
from sgear.data.annotations import read_annotations
from sgear.data.pickled_frames import read_pickled_frame

WRITTEN = sorted((Path(__file__).parent / "data" / "pickled_frames").glob("*.pkl"))
"""The same three rows written by real releases of pandas, see README.txt beside them."""


def rows() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "narration_id": ["P01_01_0", "P01_01_1", "P02_01_0"],
            "participant_id": ["P01", "P01", "P02"],
            "video_id": ["P01_01", "P01_02", "P02_01"],
            "start_timestamp": ["00:00:00.14", "00:00:04.37", "01:02:03.40"],
            "stop_timestamp": ["00:00:03.37", "00:00:06.17", "01:02:05.00"],
            "verb": ["open", "turn-on", "take"],
            "verb_class": [3, 6, 0],
            "noun": ["door", "light", "board:cutting"],
            "noun_class": [3, 114, 29],
            "all_nouns": [["door"], ["light"], ["board:cutting", "knife"]],
            "score": [0.5, np.nan, 2.0],
        }
    )


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_frames_of_old_and_new_pandas(path):
    wanted = rows()
    if "range" in path.name:
        wanted = wanted.drop(columns="narration_id")
        wanted.insert(0, "uid", range(3))
    read = read_pickled_frame(path)
    pd.testing.assert_frame_equal(read, wanted, check_dtype=False)
    assert read["verb_class"].dtype == np.int64


def test_there_are_frames_of_five_releases():
    releases = {path.stem.removeprefix("pandas_").split("_")[0] for path in WRITTEN}
    assert len(releases) == 5


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_frames_of_this_pandas_with_every_protocol(tmp_path, protocol):
    path = tmp_path / "frame.pkl"
    rows().set_index("narration_id").to_pickle(path, protocol=protocol)
    pd.testing.assert_frame_equal(read_pickled_frame(path), rows(), check_dtype=False)


def test_missing_texts_stay_missing(tmp_path):
    table = rows()
    table.loc[1, "verb"] = None
    table.to_pickle(tmp_path / "frame.pkl")
    read = read_pickled_frame(tmp_path / "frame.pkl")
    assert read["verb"].isna().tolist() == [False, True, False]


def test_a_pickle_gives_the_same_annotations_as_its_csv(tmp_path):
    table = rows().drop(columns="score")
    table.to_csv(tmp_path / "a.csv", index=False)
    table.set_index("narration_id").to_pickle(tmp_path / "a.pkl")
    from_csv = read_annotations([tmp_path / "a.csv"]).drop(columns="all_nouns")
    from_pickle = read_annotations([tmp_path / "a.pkl"]).drop(columns="all_nouns")
    pd.testing.assert_frame_equal(from_pickle[from_csv.columns], from_csv, check_dtype=False)
    assert from_csv["start"].tolist() == [0.14, 4.37, 3723.4]
    assert from_csv["noun"].tolist() == ["door", "light", "cutting board"]
    assert from_csv["verb"].tolist() == ["open", "turn on", "take"]


def test_a_hostile_file_is_refused_and_not_run(tmp_path):
    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    path = tmp_path / "frame.pkl"
    table = rows()
    table["verb"] = [Harmful(), "b", "c"]
    path.write_bytes(pickle.dumps(table))
    with pytest.raises(UserError, match=r"frame\.pkl: refused, it wants .*mkdir"):
        read_pickled_frame(path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("value", [[1, 2], {"a": np.arange(3)}, 7])
def test_something_else_than_a_frame_is_said_to_be(tmp_path, value):
    path = tmp_path / "frame.pkl"
    path.write_bytes(pickle.dumps(value))
    with pytest.raises(UserError, match=r"frame\.pkl: .*not a pickled table"):
        read_pickled_frame(path)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(WRITTEN), st.integers(0, 3000), st.integers(0, 255), st.booleans())
def test_damage_is_one_clear_line(tmp_path_factory, path, place, byte, cut):
    data = bytearray(path.read_bytes())
    place %= len(data)
    if cut:
        del data[max(place, 1) :]
    else:
        data[place] = byte
    damaged = tmp_path_factory.getbasetemp() / "damaged.pkl"
    damaged.write_bytes(data)
    message = complaint(damaged)
    assert message is None or ("damaged.pkl" in message and "\n" not in message.strip())


def complaint(path: Path) -> str | None:
    """What is said about a file that cannot be read; anything but a UserError comes through."""
    try:
        assert len(read_pickled_frame(path)) <= 3
    except UserError as error:
        return str(error)
    return None
