"""The embedding file: what goes in comes out, frame by frame, or nothing is written."""

from __future__ import annotations

import errno

import h5netcdf
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from behaviorzoo import mabe
from behaviorzoo.embeddings import (
    EmbeddingWriter,
    export_submission,
    import_submission,
    open_embeddings,
    save_embeddings,
)
from behaviorzoo.errors import UserError

LEVELS = {"level_1": 3, "level_2": 2}


def recordings(lengths: dict[str, int], seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    return {
        name: (
            10 * number,
            {level: rng.normal(size=(n, d)).astype(np.float32) for level, d in LEVELS.items()},
        )
        for number, (name, n) in enumerate(lengths.items())
    }


def test_round_trip_keeps_frames_levels_and_attrs(tmp_path):
    given_recordings = recordings({"b": 7, "a": 4})
    attrs = {"method": "x", "stride": 2, "nothing": None, "config": {"a": [1, 2]}, "fast": True}
    path = save_embeddings(tmp_path / "e.nc", given_recordings, attrs)
    with open_embeddings(path) as read:
        assert read.levels == ["level_1", "level_2"]
        assert read.recordings == ["b", "a"]
        assert read.table.to_dict("list") == {
            "recording": ["b", "a"],
            "start": [0, 7],
            "stop": [7, 11],
            "first_frame": [0, 10],
        }
        assert read.attrs == attrs
        assert read.features("level_2") == 2
        assert read.span("a") == (10, 4)
        for name, (_, values) in given_recordings.items():
            for level, array in values.items():
                np.testing.assert_array_equal(read.read(level, name), array)
        whole = np.concatenate([values["level_1"] for _, values in given_recordings.values()])
        np.testing.assert_array_equal(read.read("level_1"), whole)
        np.testing.assert_array_equal(np.concatenate([*read.blocks("level_1", 3)]), whole)
        assert read.read("level_1").dtype == np.float32


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(1, 70_000))
def test_any_lengths_survive_streaming(tmp_path_factory, lengths, features):
    path = tmp_path_factory.mktemp("e") / "e.nc"
    with EmbeddingWriter(path, {"level_1": features}) as writer:
        for number, length in enumerate(lengths):
            writer.write(f"r{number}", number, {"level_1": np.full((length, features), number)})
    with open_embeddings(path) as read:
        for number, length in enumerate(lengths):
            array = read.read("level_1", f"r{number}")
            assert array.shape == (length, features)
            assert (array == number).all()


def test_xarray_reads_a_level_and_the_table(tmp_path):
    given_recordings = recordings({"a": 5})
    path = save_embeddings(tmp_path / "e.nc", given_recordings)
    with xr.open_dataset(path, group="level_1") as level:
        assert level["embedding"].dims == ("frame", "feature")
        np.testing.assert_array_equal(level["embedding"], given_recordings["a"][1]["level_1"])
    with xr.open_dataset(path) as root:
        assert list(root["recording"].values) == ["a"]
        assert int(root["stop"][0]) == 5


def test_level_order_is_the_writers_not_the_alphabets(tmp_path):
    levels = {"short_term": np.ones((3, 2)), "long_term": np.ones((3, 1)), "a": np.ones((3, 1))}
    with open_embeddings(save_embeddings(tmp_path / "e.nc", {"r": (0, levels)})) as read:
        assert read.levels == ["short_term", "long_term", "a"]


def write(path, *calls, **options):
    with EmbeddingWriter(path, LEVELS, **options) as writer:
        for name, values in calls:
            writer.write(name, 0, values)


def good(n: int = 4) -> dict[str, np.ndarray]:
    return {level: np.zeros((n, d), np.float32) for level, d in LEVELS.items()}


@pytest.mark.parametrize(
    ("calls", "match"),
    [
        ([("a", good()), ("a", good())], "recording 'a' was written before"),
        ([("a", {"level_1": np.zeros((4, 3))})], "level 'level_2' is missing"),
        ([("a", good() | {"level_3": np.zeros((4, 3))})], "unknown; did you mean 'level_"),
        ([("a", good() | {"level_2": np.zeros((4, 5))})], r"level_2 has the shape \(4, 5\)"),
        ([("a", good() | {"level_2": np.zeros((5, 2))})], "differ in their number of frames"),
        ([("a", good(0))], "at least one frame"),
        ([], "no recording was given"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_no_file(tmp_path, calls, match):
    with pytest.raises(UserError, match=match) as error:
        write(tmp_path / "e.nc", *calls)
    assert "e.nc" in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(tmp_path, value):
    values = good()
    values["level_2"][2, 1] = value
    with pytest.raises(UserError, match=r"level_2 has 1 frames .* first at row 2"):
        write(tmp_path / "e.nc", ("a", values))
    if np.isnan(value):
        write(tmp_path / "e.nc", ("a", values), allow_missing=True)
        with open_embeddings(tmp_path / "e.nc") as read:
            assert np.isnan(read.read("level_2", "a")[2, 1])
    else:
        with pytest.raises(UserError, match="not finite"):
            write(tmp_path / "e.nc", ("a", values), allow_missing=True)


def test_an_interrupt_leaves_the_old_file_as_it_was(tmp_path):
    path = save_embeddings(tmp_path / "e.nc", recordings({"old": 3}))

    def interrupted() -> None:
        with EmbeddingWriter(path, LEVELS) as writer:
            writer.write("new", 0, good())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [file.name for file in tmp_path.iterdir()] == ["e.nc"]
    with open_embeddings(path) as read:
        assert read.recordings == ["old"]


def test_a_full_disk_leaves_no_file(tmp_path, monkeypatch):
    def full(*_args, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(h5netcdf.File, "close", full)
    with pytest.raises(UserError, match=r"e\.nc: no space left"):
        write(tmp_path / "e.nc", ("a", good()))
    assert list(tmp_path.iterdir()) == []


def test_reading_errors_name_the_file_and_the_nearest_name(tmp_path):
    path = save_embeddings(tmp_path / "e.nc", recordings({"mouse_1": 30}))
    with open_embeddings(path) as read:
        with pytest.raises(UserError, match="no level 'level1'; did you mean 'level_1'"):
            read.read("level1")
        with pytest.raises(UserError, match="no recording 'mouse1'; did you mean 'mouse_1'"):
            read.read("level_1", "mouse1")
    (tmp_path / "cut.nc").write_bytes(path.read_bytes()[:900])
    (tmp_path / "text.nc").write_text("hello")
    for name in ("cut.nc", "text.nc"):
        with pytest.raises(UserError, match=f"{name}: not an embedding file"):
            open_embeddings(tmp_path / name)
    xr.Dataset({"x": ("t", [1.0])}).to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    with pytest.raises(UserError, match="has no table column 'recording'"):
        open_embeddings(tmp_path / "other.nc")
    with pytest.raises(UserError, match="no such embedding file"):
        open_embeddings(tmp_path / "absent.nc")


def test_submissions_there_and_back(tmp_path):
    given_recordings = recordings({"b": 7, "a": 4})
    path = save_embeddings(tmp_path / "e.nc", given_recordings)
    files = []
    for level in LEVELS:
        files.append(export_submission(path, level, tmp_path / f"{level}.npy"))
        content = np.load(files[-1], allow_pickle=True).item()
        assert content["frame_number_map"] == {"b": (0, 7), "a": (7, 11)}
        assert type(content["frame_number_map"]["a"][0]) is int
        assert content["embeddings"].dtype == np.float32
        np.testing.assert_array_equal(content["embeddings"][7:], given_recordings["a"][1][level])
    import_submission(files, tmp_path / "back.nc")
    with open_embeddings(path) as before, open_embeddings(tmp_path / "back.nc") as after:
        for level in LEVELS:
            np.testing.assert_array_equal(before.read(level), after.read(level))
        assert list(after.table["first_frame"]) == [0, 0]


def test_submissions_of_other_clips_are_not_mixed(tmp_path):
    for file, frames in (("x.npy", {"a": (0, 3)}), ("y.npy", {"a": (0, 2)})):
        content = {"frame_number_map": frames, "embeddings": np.ones((3, 2), np.float32)}
        mabe.save_dictionary(tmp_path / file, content)
    with pytest.raises(UserError, match=r"y\.npy: clip 'a' has the frames \(0, 2\)"):
        import_submission([tmp_path / "x.npy", tmp_path / "y.npy"], tmp_path / "e.nc")
