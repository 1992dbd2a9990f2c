"""Recordings on disk and in memory: what goes in comes out, and what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from behaviorzoo.errors import UserError
from behaviorzoo.recordings import (
    find_recordings,
    frame_range,
    load_recording,
    make_recording,
    save_recording,
    validate_recording,
)


def recording(n_frames: int = 20, name: str = "day1", **options) -> xr.Dataset:
    rng = np.random.default_rng(0)
    position = rng.normal(size=(n_frames, 2, 3, 2)).astype(np.float32)
    position[2:5, :, 0, 1] = np.nan
    settings = {
        "keypoints": ["nose", "body", "tail"],
        "individuals": ["resident", "intruder"],
        "fps": 30,
        "confidence": rng.uniform(size=(n_frames, 3, 2)),
    }
    return make_recording(position, name=name, **(settings | options))


def test_netcdf_gives_back_every_value_and_attribute(tmp_path: Path):
    ds = recording(first_frame=155, source="SLEAP", source_file="a.slp", note=None)
    save_recording(ds, tmp_path / "day1.nc")
    back = load_recording(tmp_path / "day1.nc")
    assert back.identical(ds)
    assert back["time"].to_numpy()[[0, -1]].tolist() == [155, 174]
    assert back["time"].dtype == np.int64
    assert back["position"].dtype == np.float32
    assert back.attrs["source"] == "SLEAP"
    assert back.attrs["time_unit"] == "frames"
    assert "note" not in back.attrs


@settings(max_examples=20, deadline=None)
@given(
    n_frames=st.integers(1, 12),
    n_space=st.integers(2, 3),
    n_keypoints=st.integers(1, 4),
    n_individuals=st.integers(1, 3),
    first_frame=st.integers(0, 10**6),
    seed=st.integers(0, 2**16),
)
def test_any_recording_survives_the_file(
    tmp_path_factory, n_frames, n_space, n_keypoints, n_individuals, first_frame, seed
):
    rng = np.random.default_rng(seed)
    position = rng.normal(size=(n_frames, n_space, n_keypoints, n_individuals))
    position[rng.uniform(size=position.shape) < 0.3] = np.nan
    ds = make_recording(
        position,
        keypoints=[f"k{i}" for i in range(n_keypoints)],
        individuals=[f"i{i}" for i in range(n_individuals)],
        fps=25.5,
        name="x",
        first_frame=first_frame,
    )
    path = tmp_path_factory.mktemp("any") / "x.nc"
    save_recording(ds, path)
    assert load_recording(path).identical(ds)


def test_the_stem_of_the_file_is_the_name(tmp_path: Path):
    save_recording(recording(name="before"), tmp_path / "after.nc")
    assert load_recording(tmp_path / "after.nc").attrs["name"] == "after"


def test_a_failed_save_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "day1.nc"
    save_recording(recording(), path)
    before = path.read_bytes()
    with pytest.raises(UserError, match="fps"):
        save_recording(recording().assign_attrs(fps=-1.0), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["day1.nc"]


def test_bad_files_are_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"nothing\.nc: no such recording"):
        load_recording(tmp_path / "nothing.nc")
    (tmp_path / "empty.nc").touch()
    with pytest.raises(UserError, match=r"empty\.nc: the recording is empty \(0 bytes\)"):
        load_recording(tmp_path / "empty.nc")
    (tmp_path / "text.nc").write_text("scorer,a,b\n")
    with pytest.raises(UserError, match=r"text\.nc: this is not a netCDF-4 file"):
        load_recording(tmp_path / "text.nc")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_a_truncated_file_is_named(tmp_path: Path, share: float):
    path = tmp_path / "day1.nc"
    save_recording(recording(2000), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match=r"day1\.nc: the file is damaged or truncated") as caught:
        load_recording(path)
    assert "\n" not in str(caught.value)


def broken(ds: xr.Dataset, how: str) -> xr.Dataset:
    if how == "variable":
        return ds.rename(position="positon")
    if how == "dims":
        return ds.rename(keypoints="keypoint")
    if how == "gap":
        return ds.isel(time=[0, 1, 3])
    if how == "seconds":
        return ds.assign_coords(time=ds["time"] / 30)
    if how == "space":
        return ds.assign_coords(space=["y", "x"])
    if how == "twice":
        return ds.assign_coords(individuals=["rat", "rat"])
    if how == "fps":
        return ds.drop_attrs()
    if how == "infinite":
        return ds.assign(position=ds["position"] / 0)
    if how == "integer":
        return ds.assign(position=ds["position"].fillna(0).astype(int))
    return ds.isel(time=slice(0, 0))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("variable", "variable 'position' is missing; did you mean 'positon'"),
        ("dims", r"dimensions \(time, space, keypoint, individuals\), expected"),
        ("gap", "contiguous integer frame numbers"),
        ("seconds", "contiguous integer frame numbers"),
        ("space", "must be x, y or x, y, z, found y, x"),
        ("twice", "individuals has the name 'rat' twice"),
        ("fps", "fps must be a positive number, found None"),
        ("infinite", "infinite values"),
        ("integer", "expected float32"),
        ("empty", "the recording is empty"),
    ],
)
def test_what_is_not_a_recording_is_refused_with_the_reason(how: str, message: str):
    with pytest.raises(UserError, match=f"my file: .*{message}"):
        validate_recording(broken(recording(), how), "my file")


def test_the_frame_range_is_told_without_the_poses(tmp_path: Path):
    save_recording(recording(20, first_frame=155), tmp_path / "a.nc")
    assert frame_range(tmp_path / "a.nc") == (155, 175)
    xr.Dataset({"position": ("frames", [1.0])}).to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
    with pytest.raises(UserError, match=r"b\.nc: not a recording"):
        frame_range(tmp_path / "b.nc")


def test_a_foreign_netcdf_is_refused_on_load(tmp_path: Path):
    xr.Dataset({"temperature": ("time", [1.0, 2.0])}).to_netcdf(
        tmp_path / "weather.nc", engine="h5netcdf"
    )
    with pytest.raises(UserError, match=r"weather\.nc: not a recording"):
        load_recording(tmp_path / "weather.nc")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keypoints": ["a"]}, "3 key points and 2 individuals, but 1 and 2 names"),
        ({"confidence": np.ones((20, 3))}, r"confidence has shape \(20, 3\), expected"),
        ({"fps": 0}, "positive number, found 0"),
        ({"fps": float("nan")}, "positive number"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(options: dict, message: str):
    with pytest.raises(UserError, match=f"'day1'.*{message}"):
        recording(**options)
    with pytest.raises(UserError, match=r"expected \(frames, 2 or 3, keypoints, individuals\)"):
        make_recording(np.zeros((5, 4, 1, 1)), keypoints="a", individuals="b", fps=1, name="n")


def test_finding_sorts_naturally_and_takes_files_folders_and_patterns(tmp_path: Path):
    for name in ("10", "9", "1", "b2", "b10"):
        save_recording(recording(2), tmp_path / f"{name}.nc")
    (tmp_path / "notes.txt").write_text("x")
    names = [path.stem for path in find_recordings(tmp_path)]
    assert names == ["1", "9", "10", "b2", "b10"]
    assert [p.stem for p in find_recordings(tmp_path / "b*.nc")] == ["b2", "b10"]
    assert [p.stem for p in find_recordings(str(tmp_path / "9.nc"))] == ["9"]
    listed = find_recordings([tmp_path / "9.nc", tmp_path / "b*.nc", tmp_path / "9.nc"])
    assert [p.stem for p in listed] == ["9", "b2", "b10"]


def test_zero_recordings_is_an_error_at_once(tmp_path: Path):
    with pytest.raises(UserError, match="zero recordings"):
        find_recordings(tmp_path)
    with pytest.raises(UserError, match="no recording was given"):
        find_recordings([])
    with pytest.raises(UserError, match=r"nope: no such recording"):
        find_recordings(tmp_path / "nope")
    with pytest.raises(UserError, match=r"\*\.csv: no such recording"):
        find_recordings(tmp_path / "*.csv")
    (tmp_path / "recordings").mkdir()
    save_recording(recording(2), tmp_path / "recordings" / "a.nc")
    with pytest.raises(UserError, match=r"did you mean .*recordings"):
        find_recordings(tmp_path)


def test_two_files_with_one_name_are_both_named(tmp_path: Path):
    for folder in ("a", "b"):
        save_recording(recording(2), tmp_path / folder / "day1.nc")
    with pytest.raises(UserError, match=r"two recordings are named 'day1': .*a.*and.*b.*day1\.nc"):
        find_recordings([tmp_path / "a", tmp_path / "b"])
