"""Tracker files: every frame keeps its number, every point its place, every oddity its word."""

from __future__ import annotations

import gzip
import json
import pickle
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from behaviorzoo.errors import UserError
from behaviorzoo.importers import ImportOptions, import_poses, read_poses, recording_name
from behaviorzoo.importers.fragments import merge_fragments
from behaviorzoo.importers.tracks import Tracks
from behaviorzoo.missing import missing_report

pytest.importorskip("movement", reason="needs behaviorzoo-core[poses]")

AT_30 = ImportOptions(fps=30)


# ---------------------------------------------------------------------------- small files


def deeplabcut_csv(
    path: Path,
    frames: list,
    individuals: tuple[str, ...] = ("a", "b"),
    bodyparts: tuple[str, ...] = ("nose", "tail"),
    empty_rows: tuple[int, ...] = (),
) -> dict[tuple[str, str, str], np.ndarray]:
    """Write a table of tracks; return the values per (individual, bodypart, coord)."""
    rng = np.random.default_rng(0)
    columns = [(i, b, c) for i in individuals for b in bodyparts for c in ("x", "y", "likelihood")]
    values = rng.uniform(1, 100, size=(len(frames), len(columns))).round(3)
    values[list(empty_rows)] = np.nan
    lines = [
        ",".join([head, *cells])
        for head, cells in zip(
            ("scorer", "individuals", "bodyparts", "coords"),
            (["net"] * len(columns), *map(list, zip(*columns, strict=True))),
            strict=True,
        )
    ]
    for frame, row in zip(frames, values, strict=True):
        lines.append(",".join([str(frame), *("" if np.isnan(v) else repr(float(v)) for v in row)]))
    path.write_text("\n".join(lines) + "\n")
    return {column: values[:, n] for n, column in enumerate(columns)}


def sleap_analysis(path: Path, tracks: np.ndarray, scores: np.ndarray | None, names: list[str]):
    """Write (frames, space, nodes, tracks) in the layout of an analysis file."""
    with h5py.File(path, "w") as file:
        file["tracks"] = tracks.transpose(3, 1, 2, 0)
        file["track_occupancy"] = np.isfinite(tracks).any((1, 2)).astype(np.uint8)
        file["node_names"] = np.array([f"n{k}" for k in range(tracks.shape[2])], dtype="S8")
        file["track_names"] = np.array(names, dtype="S8")
        if scores is not None:
            file["point_scores"] = scores.transpose(2, 1, 0)


def sleap_labels(path: Path, frame_numbers: list[int], position: np.ndarray, predicted=True):
    """Write a minimal .slp: one tracked instance per frame, position (frames, nodes, 2)."""
    n, nodes = position.shape[:2]
    point = np.dtype([("x", "f8"), ("y", "f8"), ("visible", "?"), ("complete", "?")])
    scored = np.dtype([*point.descr, ("score", "f8")])
    frame = np.dtype(
        [
            ("frame_id", "u8"),
            ("video", "u4"),
            ("frame_idx", "u8"),
            ("instance_id_start", "u8"),
            ("instance_id_end", "u8"),
        ]
    )
    instance = np.dtype(
        [
            ("instance_id", "i8"),
            ("instance_type", "u1"),
            ("frame_id", "u8"),
            ("skeleton", "u4"),
            ("track", "i4"),
            ("from_predicted", "i8"),
            ("score", "f4"),
            ("point_id_start", "u8"),
            ("point_id_end", "u8"),
            ("tracking_score", "f4"),
        ]
    )
    frames = np.array([(i, 0, f, i, i + 1) for i, f in enumerate(frame_numbers)], dtype=frame)
    rows = [(i, int(predicted), i, 0, 0, -1, 0.5, i * nodes, (i + 1) * nodes, 0) for i in range(n)]
    flat = position.reshape(-1, 2)
    with h5py.File(path, "w") as file:
        file["frames"] = frames
        file["instances"] = np.array(rows, dtype=instance)
        if predicted:
            file["pred_points"] = np.array([(x, y, True, False, 0.9) for x, y in flat], scored)
            file["points"] = np.zeros(0, point)
        else:
            file["points"] = np.array([(x, y, True, False) for x, y in flat], point)
            file["pred_points"] = np.zeros(0, scored)
        file["tracks_json"] = np.array([b'[0,"fly"]'])
        file["videos_json"] = np.array(
            [
                b'{"backend":{"filename":"a.mp4","grayscale":true,"bgr":true,"dataset":"",'
                b'"input_format":""}}'
            ]
        )
        file["suggestions_json"] = np.zeros(0)
        skeleton = {
            "directed": True,
            "multigraph": True,
            "links": [],
            "graph": {"name": "s", "num_edges_inserted": 0},
            "nodes": [{"id": k} for k in range(nodes)],
        }
        meta = {
            "version": "2.0.0",
            "skeletons": [skeleton],
            "videos": [],
            "tracks": [],
            "nodes": [{"name": f"n{k}", "weight": 1.0} for k in range(nodes)],
            "suggestions": [],
            "negative_anchors": {},
            "provenance": {},
        }
        file.create_group("metadata").attrs["format_id"] = 1.2
        file["metadata"].attrs["json"] = np.bytes_(json.dumps(meta))


# ---------------------------------------------------------------- frame numbers and values


def test_values_land_under_their_names(tmp_path: Path):
    expected = deeplabcut_csv(tmp_path / "tDLC_x.csv", [*range(5)])
    ds, notes = import_poses(tmp_path / "tDLC_x.csv", options=AT_30)
    assert notes == []
    assert (ds.attrs["name"], ds.attrs["fps"], ds.attrs["source"]) == ("t", 30.0, "DeepLabCut")
    for (individual, keypoint, coord), values in expected.items():
        point = ds.sel(individuals=individual, keypoints=keypoint)
        found = point["confidence"] if coord == "likelihood" else point["position"].sel(space=coord)
        np.testing.assert_allclose(found.to_numpy(), values, rtol=1e-6)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("empty", [(0,), (0, 1, 2), (3,)])
def test_an_empty_first_frame_is_not_lost(tmp_path: Path, empty: tuple, compress: bool):
    path = tmp_path / "tDLC_x.csv"
    expected = deeplabcut_csv(path, [*range(6)], empty_rows=empty)
    if compress:
        packed = tmp_path / "tDLC_x.csv.gz"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        path = packed
    ds, _ = import_poses(path, options=AT_30)
    assert ds["time"].to_numpy().tolist() == [0, 1, 2, 3, 4, 5]
    missing = np.isnan(ds["position"].to_numpy()).all((1, 2, 3))
    assert np.flatnonzero(missing).tolist() == list(empty)
    last = ds["position"].sel(space="x", individuals="a", keypoints="nose")[-1]
    assert float(last) == pytest.approx(expected["a", "nose", "x"][-1], rel=1e-6)


def test_frame_numbers_that_start_late_or_have_gaps_are_kept(tmp_path: Path):
    expected = deeplabcut_csv(tmp_path / "t.csv", [155, 156, 159, 160])
    ds, notes = import_poses(tmp_path / "t.csv", options=AT_30)
    assert ds["time"].to_numpy().tolist() == [155, 156, 157, 158, 159, 160]
    x = ds["position"].sel(space="x", individuals="b", keypoints="tail")
    np.testing.assert_allclose(x.sel(time=[155, 156, 159, 160]), expected["b", "tail", "x"], 1e-6)
    assert np.isnan(x.sel(time=[157, 158])).all()
    assert any("2 frame numbers are left out" in note for note in notes)
    assert any("first frame number is 155" in note for note in notes)


def test_rows_out_of_order_are_sorted_and_said_so(tmp_path: Path):
    expected = deeplabcut_csv(tmp_path / "t.csv", [2, 0, 1])
    ds, notes = import_poses(tmp_path / "t.csv", options=AT_30)
    x = ds["position"].sel(space="x", individuals="a", keypoints="nose").to_numpy()
    np.testing.assert_allclose(x, expected["a", "nose", "x"][[1, 2, 0]], rtol=1e-6)
    assert any("not in the order" in note for note in notes)


@pytest.mark.parametrize("table_format", ["fixed", "table"])
def test_h5_tables_are_read_like_csv(tmp_path: Path, table_format: str):
    pytest.importorskip("tables", reason="writing the file needs pytables")
    values = deeplabcut_csv(tmp_path / "t.csv", [7, 8, 9], empty_rows=(0,))
    columns = pd.MultiIndex.from_tuples(
        [("net", *column) for column in values],
        names=["scorer", "individuals", "bodyparts", "coords"],
    )
    table = pd.DataFrame(np.stack(list(values.values()), 1), index=[7, 8, 9], columns=columns)
    table.to_hdf(tmp_path / "t.h5", key="df_with_missing", format=table_format, mode="w")
    from_csv, _ = import_poses(tmp_path / "t.csv", options=AT_30)
    from_h5, _ = import_poses(tmp_path / "t.h5", options=AT_30)
    assert from_h5.drop_attrs().identical(from_csv.drop_attrs())
    assert from_h5["time"].to_numpy().tolist() == [7, 8, 9]


def test_a_key_point_of_one_individual_only_does_not_shift_the_others(tmp_path: Path):
    # DeepLabCut puts key points without an animal under the individual "single".
    (tmp_path / "t.csv").write_text(
        "scorer,n,n,n,n,n,n\nindividuals,a,a,a,single,single,single\n"
        "bodyparts,nose,nose,nose,lever,lever,lever\ncoords,x,y,likelihood,x,y,likelihood\n"
        "0,1,2,0.5,3,4,0.6\n1,5,6,0.7,7,8,0.8\n"
    )
    ds, notes = import_poses(tmp_path / "t.csv", options=AT_30)
    position = ds["position"]
    assert position.sel(individuals="a", keypoints="nose")[1].to_numpy().tolist() == [5, 6]
    assert position.sel(individuals="single", keypoints="lever")[0].to_numpy().tolist() == [3, 4]
    assert np.isnan(position.sel(individuals="a", keypoints="lever")).all()
    assert any("a/lever, single/nose" in note for note in notes)


@pytest.mark.parametrize("with_scores", [False, True])
def test_sleap_analysis_files_load_with_and_without_scores(tmp_path: Path, with_scores: bool):
    rng = np.random.default_rng(0)
    tracks = rng.normal(size=(9, 2, 3, 2)).astype(np.float32)
    tracks[4:6, :, :, 1] = np.nan
    scores = rng.uniform(size=(9, 3, 2)).astype(np.float32) if with_scores else None
    sleap_analysis(tmp_path / "s.analysis.h5", tracks, scores, ["f", "m"])
    ds, notes = import_poses(tmp_path / "s.analysis.h5", options=AT_30)
    np.testing.assert_array_equal(ds["position"].to_numpy(), tracks)
    assert ds["individuals"].to_numpy().tolist() == ["f", "m"]
    assert ds.attrs["name"] == "s"
    assert ("confidence" in ds) == with_scores
    if scores is not None:
        np.testing.assert_array_equal(ds["confidence"].to_numpy(), scores)
    assert any("stores no frame numbers" in note for note in notes)
    late, notes = import_poses(
        tmp_path / "s.analysis.h5", options=ImportOptions(fps=30, first_frame=155)
    )
    assert late["time"].to_numpy()[[0, -1]].tolist() == [155, 163]
    assert not any("stores no frame numbers" in note for note in notes)


def test_a_slp_that_starts_at_155_and_has_gaps_keeps_its_numbers(tmp_path: Path):
    position = np.random.default_rng(0).uniform(1, 9, (4, 2, 2))
    sleap_labels(tmp_path / "s.slp", [155, 156, 158, 160], position)
    ds, notes = import_poses(tmp_path / "s.slp", options=AT_30)
    assert ds["time"].to_numpy().tolist() == [155, 156, 157, 158, 159, 160]
    found = ds["position"].sel(time=[155, 156, 158, 160])[..., 0].to_numpy()
    np.testing.assert_allclose(found, position.transpose(0, 2, 1), rtol=1e-6)
    assert np.isnan(ds["position"].sel(time=[157, 159])).all()
    assert any("2 frame numbers are left out" in note for note in notes)


def test_hand_labelled_sleap_frames_are_no_track(tmp_path: Path):
    sleap_labels(tmp_path / "s.slp", [3, 90], np.ones((2, 2, 2)), predicted=False)
    with pytest.raises(UserError, match=r"s\.slp: these are 2 hand-labelled images"):
        import_poses(tmp_path / "s.slp", options=AT_30)


def test_sleap_tables_place_instances_by_frame_and_track(tmp_path: Path):
    (tmp_path / "s.csv").write_text(
        "track,frame_idx,instance.score,A.x,A.y,A.score,B.x,B.y,B.score\n"
        "m,155,1,1,2,0.5,3,4,0.6\nf,155,1,5,6,0.7,,,\nm,157,1,7,8,0.8,9,10,0.9\n"
    )
    ds, _ = import_poses(tmp_path / "s.csv", options=AT_30)
    assert ds["time"].to_numpy().tolist() == [155, 156, 157]
    assert ds["individuals"].to_numpy().tolist() == ["m", "f"]
    point = ds["position"].sel(individuals="m", keypoints="B")
    assert point.sel(time=157).to_numpy().tolist() == [9, 10]
    assert ds["confidence"].sel(time=155, individuals="f", keypoints="A") == np.float32(0.7)
    assert np.isnan(ds["position"].sel(time=157, individuals="f")).all()
    (tmp_path / "u.csv").write_text("track,frame_idx,A.x,A.y\n,4,1,2\n,4,3,4\n")
    with pytest.raises(UserError, match=r"2 instances in one frame .* run SLEAP's tracking"):
        import_poses(tmp_path / "u.csv", options=AT_30)


def test_anipose_keeps_its_frame_numbers_and_the_order_of_key_points(tmp_path: Path):
    (tmp_path / "a.csv").write_text(
        "tail_x,tail_y,tail_z,tail_score,nose_x,nose_y,nose_z,nose_score,fnum\n"
        "1,2,3,0.5,4,5,6,0.6,10\n7,8,9,0.7,,,,,12\n"
    )
    ds, _ = import_poses(tmp_path / "a.csv", options=AT_30)
    assert ds["time"].to_numpy().tolist() == [10, 11, 12]
    assert ds["keypoints"].to_numpy().tolist() == ["tail", "nose"]
    assert ds["space"].to_numpy().tolist() == ["x", "y", "z"]
    tail = ds["position"].sel(keypoints="tail", individuals="individual_0")
    assert tail.sel(time=12).to_numpy().tolist() == [7, 8, 9]
    assert ds.attrs["source"] == "Anipose"


def nwb_file(path: Path, timestamps: np.ndarray, names: list[str]) -> np.ndarray:
    pynwb = pytest.importorskip("pynwb")
    ndx_pose = pytest.importorskip("ndx_pose")
    from datetime import UTC, datetime

    rng = np.random.default_rng(0)
    data = rng.uniform(size=(len(names), len(timestamps), 2))
    file = pynwb.NWBFile("d", "mouse", datetime(2026, 1, 1, tzinfo=UTC))
    series = [
        ndx_pose.PoseEstimationSeries(
            name=name,
            data=values,
            unit="pixels",
            reference_frame="corner",
            timestamps=timestamps,
            confidence=np.ones(len(timestamps)),
        )
        for name, values in zip(names, data, strict=True)
    ]
    file.create_processing_module("behavior", "b").add(
        ndx_pose.PoseEstimation(pose_estimation_series=series, source_software="X")
    )
    with pynwb.NWBHDF5IO(path, "w") as io:
        io.write(file)
    return data


def test_nwb_has_its_own_rate_and_its_gaps(tmp_path: Path):
    seconds = 100 + np.array([0, 1, 2, 5, 6]) / 50
    names = ["ind1_nose", "ind2_nose", "ind1_tail", "ind2_tail"]
    data = nwb_file(tmp_path / "n.nwb", seconds, names)
    ds, _ = import_poses(tmp_path / "n.nwb")
    assert ds.attrs["fps"] == pytest.approx(50)
    assert ds["time"].to_numpy().tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert ds["individuals"].to_numpy().tolist() == ["ind1", "ind2"]
    for name, values in zip(names, data, strict=True):
        individual, keypoint = name.split("_")
        found = ds["position"].sel(individuals=individual, keypoints=keypoint, time=[0, 1, 2, 5, 6])
        np.testing.assert_allclose(found, values, rtol=1e-6)
    assert np.isnan(ds["position"].sel(time=[3, 4])).all()


def test_left_and_right_are_no_individuals(tmp_path: Path):
    names = ["left_ear", "left_paw", "right_ear", "right_paw"]
    nwb_file(tmp_path / "n.nwb", np.arange(5) / 30, names)
    ds, _ = import_poses(tmp_path / "n.nwb")
    assert sorted(ds["keypoints"].to_numpy().tolist()) == names
    assert ds.sizes["individuals"] == 1


def jabs_file(path: Path, identities: bool) -> np.ndarray:
    rng = np.random.default_rng(0)
    points = rng.integers(1, 800, (6, 2, 12, 2)).astype(np.uint16)
    confidence = np.ones((6, 2, 12), np.float32)
    confidence[:, 0, 3] = 0
    with h5py.File(path, "w") as file:
        group = file.create_group("poseest")
        group["points"], group["confidence"] = points, confidence
        group["instance_count"] = np.array([2, 2, 1, 2, 2, 0], np.uint8)
        # The animals change places in the arrays after frame 2.
        tracks = np.array([[5, 9], [5, 9], [5, 0], [9, 5], [9, 5], [0, 0]], np.uint32)
        group["instance_track_id"] = tracks
        if identities:
            group["instance_embed_id"] = np.where(tracks == 5, 1, np.where(tracks == 9, 2, 0))
    return points


@pytest.mark.parametrize("identities", [False, True])
def test_jabs_points_are_turned_to_x_y_and_follow_the_animal(tmp_path: Path, identities: bool):
    points = jabs_file(tmp_path / "j_pose_est_v3.h5", identities)
    ds, _ = import_poses(tmp_path / "j_pose_est_v3.h5", options=AT_30)
    first, second = ds["individuals"].to_numpy()
    expected = ("individual_1", "individual_2") if identities else ("track_5", "track_9")
    assert (first, second) == expected
    position = ds["position"]
    nose = {"keypoints": "nose"}
    assert position.sel(individuals=first, time=0, **nose).to_numpy().tolist() == list(
        points[0, 0, 0, ::-1]
    )
    assert position.sel(individuals=first, time=3, **nose).to_numpy().tolist() == list(
        points[3, 1, 0, ::-1]
    )
    assert np.isnan(position.sel(individuals=second, time=2)).all()
    assert np.isnan(position.sel(time=5)).all()
    assert np.isnan(position.sel(individuals=first, time=0, keypoints="base_neck")).all()


# -------------------------------------------------------- zeros, confidence, fragments, names


def test_zeros_are_kept_with_a_word_and_go_on_request(tmp_path: Path):
    (tmp_path / "t.csv").write_text(
        "scorer,n,n,n,n,n,n\nbodyparts,a,a,a,b,b,b\ncoords,x,y,likelihood,x,y,likelihood\n"
        "0,0,0,0,3,0,0.6\n1,5,6,0.7,0.0,0.0,0\n"
    )
    ds, notes = import_poses(tmp_path / "t.csv", options=AT_30)
    assert not np.isnan(ds["position"]).any()
    assert any(
        "50 % of all points (2) lie at exactly 0, with a confidence of 0" in n for n in notes
    )
    assert any("--zero-is-missing" in note for note in notes)
    ds, _ = import_poses(tmp_path / "t.csv", options=ImportOptions(fps=30, zero_is_missing=True))
    missing = np.isnan(ds["position"].to_numpy()).any(1)[..., 0]
    assert missing.tolist() == [[True, False], [False, True]]
    assert ds["position"].to_numpy()[0, :, 1, 0].tolist() == [3, 0]


def test_unsure_points_go_on_request(tmp_path: Path):
    values = deeplabcut_csv(tmp_path / "t.csv", [*range(20)])
    limit = 50.0
    options = ImportOptions(fps=30, min_confidence=limit)
    ds, notes = import_poses(tmp_path / "t.csv", options=options)
    point = ds["position"].sel(individuals="a", keypoints="tail", space="x")
    np.testing.assert_array_equal(np.isnan(point), values["a", "tail", "likelihood"] < limit)
    assert any("below the confidence 50" in note for note in notes)
    tracks = np.ones((3, 2, 1, 1), np.float32)
    sleap_analysis(tmp_path / "s.h5", tracks, None, ["f"])
    with pytest.raises(UserError, match=r"no confidence; leave --min-confidence out"):
        import_poses(tmp_path / "s.h5", options=options)


def fragments(*spans: tuple[int, int, float], n_frames: int = 30) -> Tracks:
    """One fragment per (start, stop, x): a point that stands at (x, frame)."""
    position = np.full((n_frames, 2, 1, len(spans)), np.nan, np.float32)
    for number, (start, stop, x) in enumerate(spans):
        position[start:stop, 0, 0, number] = x
        position[start:stop, 1, 0, number] = np.arange(start, stop)
    names = [f"track_{number}" for number in range(len(spans))]
    return Tracks(position, None, ["p"], names, np.arange(n_frames), "test")


def test_fragments_continue_the_nearest_free_individual():
    # Two animals at x = 0 and x = 100, both lost at frame 10 and found again at 12, swapped.
    broken = fragments((0, 10, 0), (0, 10, 100), (12, 30, 99), (12, 30, 1))
    merged = merge_fragments(broken, 2, "f")
    assert merged.individuals == ["individual_0", "individual_1"]
    x = merged.position[:, 0, 0]
    assert x[[0, 20]].tolist() == [[0, 100], [1, 99]]
    assert np.isnan(x[10:12]).all()
    assert "0 of 56 detections found no place" in merged.notes[-1]


def test_a_third_short_detection_is_dropped_and_counted():
    broken = fragments((0, 30, 0), (0, 30, 100), (5, 9, 50))
    merged = merge_fragments(broken, 2, "f")
    np.testing.assert_array_equal(merged.position[:, 0, 0], [[0, 100]] * 30)
    assert "4 of 64 detections found no place" in merged.notes[-1]


def test_as_many_tracks_as_individuals_are_left_alone():
    whole = fragments((0, 30, 0), (0, 30, 100))
    assert merge_fragments(whole, 2, "f") is whole
    with pytest.raises(UserError, match="--max-individuals must be at least 1, got 0"):
        merge_fragments(whole, 0, "f")


def test_merging_never_invents_or_doubles_a_detection():
    rng = np.random.default_rng(3)
    spans = [
        (s, min(30, s + int(rng.integers(1, 12))), float(rng.uniform(0, 100)))
        for s in rng.integers(0, 29, 25)
    ]
    broken = fragments(*spans)
    merged = merge_fragments(broken, 3, "f")
    seen_before = (~np.isnan(broken.position[:, 0, 0])).sum(1)
    seen_after = (~np.isnan(merged.position[:, 0, 0])).sum(1)
    assert (seen_after <= np.minimum(seen_before, 3)).all()
    for frame in range(30):
        before = set(broken.position[frame, 0, 0][~np.isnan(broken.position[frame, 0, 0])])
        after = merged.position[frame, 0, 0]
        after = after[~np.isnan(after)].tolist()
        assert set(after) <= before
        assert len(set(after)) == len(after)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("14DLC_dlcrnetms5_x.csv.gz", "14"),
        ("e3v813a-2021DLC_resnet50.h5", "e3v813a-2021"),
        ("DLC3_mouse.csv", "DLC3_mouse"),
        ("mouse.v001.analysis.h5", "mouse.v001"),
        ("a.predictions.slp", "a"),
        ("plain.nwb", "plain"),
    ],
)
def test_names_come_from_the_file(file: str, name: str):
    assert recording_name(file) == name


def test_a_pattern_finds_the_name():
    assert recording_name("x_mouse7_cam.csv", r"mouse(\d+)") == "7"
    with pytest.raises(UserError, match="needs one group"):
        recording_name("a.csv", "mouse")
    with pytest.raises(UserError, match="no regular expression"):
        recording_name("a.csv", "(")
    with pytest.raises(UserError, match=r"a\.csv: .* finds no name"):
        recording_name("a.csv", r"mouse(\d+)")


def test_key_points_can_be_renamed(tmp_path: Path):
    deeplabcut_csv(tmp_path / "t.csv", [0, 1])
    ds, _ = import_poses(
        tmp_path / "t.csv", options=ImportOptions(fps=30, rename={"nose": "snout"})
    )
    assert ds["keypoints"].to_numpy().tolist() == ["snout", "tail"]
    with pytest.raises(UserError, match="no key point 'nsoe'; did you mean 'nose'"):
        import_poses(tmp_path / "t.csv", options=ImportOptions(fps=30, rename={"nsoe": "x"}))


# --------------------------------------------------------------------------- bad input


def test_a_key_point_that_is_never_seen_is_named(tmp_path: Path):
    (tmp_path / "t.csv").write_text(
        "scorer,n,n,n,n,n,n\nbodyparts,a,a,a,b,b,b\ncoords,x,y,likelihood,x,y,likelihood\n"
        "0,1,2,0.5,,,\n1,5,6,0.7,,,\n"
    )
    ds, notes = import_poses(tmp_path / "t.csv", options=AT_30)
    assert any("never seen (100 % missing) for individual 'individual_0': b;" in n for n in notes)
    assert missing_report(ds)["share"].tolist() == [0, 1]


HEADER = "scorer,n,n,n\nbodyparts,a,a,a\ncoords,x,y,likelihood\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "is empty"),
        ("t.csv", b"0,1,2,3\n1,2,3,4\n", "no header of a known tracker; it begins with '0, 1, 2"),
        ("t.csv", HEADER.encode(), "zero rows"),
        ("t.csv", (HEADER + "0,1,2,0.5\n1,2,").encode(), "3 of 4 cells; the file looks truncated"),
        ("t.csv", (HEADER + "0,1,2,0.5,9\n").encode(), "header has 4 columns, the first row 5"),
        (
            "t.csv",
            (HEADER + "0,1,2,0.5\n1,2,oops,0.5\n").encode(),
            "line 5, column a/y: 'oops' is not a number",
        ),
        ("t.csv", (HEADER + "0,1,2,0.5\n0,2,3,0.5\n").encode(), "frame number 0 occurs twice"),
        ("t.csv", (HEADER + "0.5,1,2,0.5\n").encode(), "no whole frame number"),
        ("t.csv", (HEADER + "first,1,2,0.5\n").encode(), "holds 'first', expected frame numbers"),
        ("t.csv", (HEADER + "0,1,2,1\n9999999,1,2,1\n").encode(), "no frame numbers of one video"),
        ("t.csv", HEADER.replace("coords", "x").encode(), "the header rows are scorer, bodyparts;"),
        ("t.csv", HEADER.replace("x,y", "u,v").encode() + b"0,1,2,1\n", "no x, y"),
        ("t.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 50, "damaged or truncated"),
        ("t.slp", b"not hdf5", "not an HDF5 file"),
        ("t.csv.gz", b"not gzip", "not gzip, or damaged"),
        ("t.csv.gz", gzip.compress(HEADER.encode() * 99, mtime=0)[:40], "damaged or truncated"),
        ("t.mp4", b"x", "this is a video"),
        ("t.png", b"x", "this is an image"),
        ("t.pickle", b"x", "can run code and are not read"),
        ("t.nc", b"x", "a recording needs no import"),
        ("t.docx", b"x", "unknown kind of file '.docx'"),
        ("t.csv", b"\xff\xfe\x00\x01\x80", "not a text table|no header"),
    ],
)
def test_a_bad_file_gives_one_line_that_says_why(tmp_path: Path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}: .*({message})") as caught:
        import_poses(tmp_path / name, options=AT_30)
    assert "\n" not in str(caught.value)


def test_an_h5_without_poses_and_other_mistakes(tmp_path: Path):
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file["frames_per_second"] = 3
    with pytest.raises(UserError, match="no layout of a known tracker; the file holds frames_per"):
        import_poses(tmp_path / "t.h5", options=AT_30)
    deeplabcut_csv(tmp_path / "t.csv", [0, 1])
    with pytest.raises(UserError, match="does not say its frame rate; add --fps N"):
        import_poses(tmp_path / "t.csv")
    with pytest.raises(UserError, match="--fps must be a positive number, got 0"):
        import_poses(tmp_path / "t.csv", options=ImportOptions(fps=0))
    with pytest.raises(UserError, match="unknown source 'deeplabcat'; did you mean 'deeplabcut'"):
        read_poses(tmp_path / "t.csv", "deeplabcat")
    with pytest.raises(UserError, match="this is a file of deeplabcut, not of sleap"):
        read_poses(tmp_path / "t.csv", "sleap")
    with pytest.raises(UserError, match=r"nothing\.csv: no such pose file"):
        read_poses(tmp_path / "nothing.csv")
    with pytest.raises(UserError, match="own frame numbers, from 0; leave --first-frame out"):
        import_poses(tmp_path / "t.csv", options=ImportOptions(fps=30, first_frame=9))


def test_labelled_images_with_a_path_in_three_columns_are_no_track(tmp_path: Path):
    (tmp_path / "t.csv").write_text(
        "scorer,,,n,n\nbodyparts,,,a,a\ncoords,,,x,y\nlabeled-data,m1,img7.png,1,2\n"
    )
    with pytest.raises(UserError, match=r"1 hand-labelled images \(such as 'labeled-data/m1/img7"):
        import_poses(tmp_path / "t.csv", options=AT_30)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_a_truncated_sleap_file_is_named(tmp_path: Path, share: float):
    sleap_analysis(tmp_path / "s.h5", np.ones((500, 2, 3, 2), np.float32), None, ["a", "b"])
    content = (tmp_path / "s.h5").read_bytes()
    (tmp_path / "s.h5").write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=r"s\.h5: .*(damaged|truncated)"):
        import_poses(tmp_path / "s.h5", options=AT_30)


class _Trap:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


def test_an_h5_with_code_in_its_pickled_names_runs_nothing(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with h5py.File("t.h5", "w") as file:
        group = file.create_group("df_with_missing")
        group.attrs["pandas_type"] = np.bytes_(b"frame_table")
        dtype = np.dtype([("index", "i8"), ("values_block_0", "f8", (2,))])
        group["table"] = np.zeros(3, dtype)
        trap = np.bytes_(pickle.dumps(_Trap(), protocol=0))
        group["table"].attrs["values_block_0_kind"] = trap
        group.attrs["non_index_axes"] = trap
        group.attrs["info"] = trap
    with pytest.raises(UserError, match=r"t\.h5: the data frame in this file cannot be read"):
        import_poses("t.h5", options=AT_30)
    assert not Path("executed").exists()


# ---------------------------------------------------------------------------- real files

RATS = {
    "1": 14734, "2": 15060, "3": 15283, "5": 13500, "8": 15249, "12": 12987, "14": 15183,
    "20": 13680, "25": 14256, "27": 14397, "30": 13104, "32": 14116, "35": 14303, "36": 14883,
    "43": 14792, "46": 13534, "53": 14883, "58": 13991,
}  # fmt: skip


@pytest.mark.parametrize("session", list(RATS))
def test_real_rats_keep_every_row_of_the_file(real_data_dir: Path, session: str):
    path = next((real_data_dir / "rat_resident_intruder/dlc_csv").glob(f"{session}DLC_*.csv.gz"))
    ds, _ = import_poses(path, options=AT_30)
    with gzip.open(path, "rt") as handle:
        rows = handle.read().splitlines()[4:]
    assert ds.attrs["name"] == session
    assert ds["time"].to_numpy().tolist() == [int(row.split(",", 1)[0]) for row in rows]
    assert ds.sizes["time"] == RATS[session] == len(rows)
    # (individual, key point, x/y/likelihood) in the order of the file, for some rows
    for number in (0, 1, len(rows) // 2, len(rows) - 1):
        cells = [float(cell) if cell else np.nan for cell in rows[number].split(",")[1:]]
        expected = np.array(cells).reshape(2, 5, 3)
        position = ds["position"].to_numpy()[number].transpose(2, 1, 0)
        np.testing.assert_allclose(position, expected[..., :2], rtol=1e-6)
        np.testing.assert_allclose(ds["confidence"].to_numpy()[number].T, expected[..., 2], 1e-6)


def test_real_rats_keep_an_empty_first_frame(real_data_dir: Path):
    path = next((real_data_dir / "rat_resident_intruder/dlc_csv").glob("1DLC_*.csv.gz"))
    ds, _ = import_poses(path, options=AT_30)
    assert ds.sizes["time"] == 14734
    assert np.isnan(ds["position"].sel(time=0)).all()


@pytest.mark.parametrize(
    ("file", "frames", "keypoints", "individuals", "missing"),
    [
        ("sleap_flies/predictions.analysis.h5", 3000, 13, 2, 0.0203),
        ("sleap_flies/centered_pair_predictions.slp", 1100, 24, 27, 0.932),
        ("sleap_flies/minimal_instance.analysis.csv", 1, 2, 1, 0),
        ("deepof_tests/madlc/testDLC_csv_table_madlc.csv", 97, 14, 2, 0),
        ("deepof_tests/madlc/testDLC_h5_table_madlc.h5", 100, 14, 2, 0),
        ("deepof_tests/single/testDLC_csv_table.csv", 97, 14, 1, 0),
        ("deepof_tests/single/testDLC_h5_table.h5", 100, 14, 1, 0),
        ("deepof_tests/single/testDLC_sleap.analysis.h5", 101, 14, 1, 0),
        ("deepof_tests/single/testDLC_sleap.slp", 101, 14, 1, 0),
        ("ethome_mouse_pair/openfield_dlc_inference_example_missingdata.csv.gz", 2330, 4, 1, None),
        ("ethome_mouse_pair/sample_nwb_.nwb", 2330, 4, 1, 0),
        ("jabs_pose/sample_pose_est_v2.h5", 1800, 12, 1, 0),
        ("jabs_pose/sample_pose_est_v3.h5", 1800, 12, 232, 0.99),
    ],
)
def test_real_files_of_every_format(
    real_data_dir: Path, file: str, frames: int, keypoints: int, individuals: int, missing
):
    ds, _ = import_poses(real_data_dir / file, options=AT_30)
    assert tuple(ds.sizes.values()) == (frames, 2, keypoints, individuals)
    assert ds["time"].to_numpy()[[0, -1]].tolist() == [0, frames - 1]
    share = np.isnan(ds["position"].to_numpy()).any(1).mean()
    assert share == pytest.approx(missing, abs=2e-3) if missing is not None else 0 < share < 0.01


def test_real_csv_and_h5_of_the_same_mice_agree(real_data_dir: Path):
    folder = real_data_dir / "deepof_tests/madlc"
    from_csv, notes = import_poses(folder / "testDLC_csv_table_madlc.csv", options=AT_30)
    from_h5, _ = import_poses(folder / "testDLC_h5_table_madlc.h5", options=AT_30)
    np.testing.assert_allclose(from_csv["position"], from_h5["position"][:97], rtol=1e-5)
    assert any("25 % of all points" in note and "--zero-is-missing" in note for note in notes)
    cleaned, _ = import_poses(
        folder / "testDLC_csv_table_madlc.csv", options=ImportOptions(fps=30, zero_is_missing=True)
    )
    assert np.isnan(cleaned["position"].to_numpy()).any(1).mean() == pytest.approx(0.25, abs=0.01)


def test_real_broken_fly_tracks_are_named_and_joined(real_data_dir: Path):
    path = real_data_dir / "sleap_flies/centered_pair_predictions.slp"
    _, notes = import_poses(path, options=AT_30)
    assert any("27 tracks, but never more than" in note for note in notes)
    options = ImportOptions(fps=15, max_individuals=2)
    ds, notes = import_poses(path, options=options)
    assert ds.sizes["individuals"] == 2
    assert any("27 track fragments were joined into 2 individuals" in note for note in notes)
    assert (missing_report(ds).query("keypoint == 'thorax'")["share"] < 0.01).all()


@pytest.mark.parametrize(
    "file",
    [
        "deeplabcut_examples/openfield/CollectedData_Pranav.csv",
        "deeplabcut_examples/openfield/CollectedData_Pranav.h5",
        "deeplabcut_examples/reaching/CollectedData_Mackenzie.csv",
        "lightning_pose_mirror_mouse/CollectedData.csv",
    ],
)
@pytest.mark.parametrize("source", ["auto", "deeplabcut", "lightningpose"])
def test_real_labelled_images_are_no_track(real_data_dir: Path, file: str, source: str):
    with pytest.raises(UserError, match=r"\d+ hand-labelled images .* not a track"):
        import_poses(real_data_dir / file, options=ImportOptions(source=source, fps=30))


def test_real_pair_of_mice(real_data_dir: Path):
    path = next((real_data_dir / "ethome_mouse_pair").glob("e3v813a*.csv.gz"))
    ds, _ = import_poses(path, options=AT_30)
    assert ds.attrs["name"] == "e3v813a-20210610T122332-122642"
    assert tuple(ds.sizes.values()) == (5700, 2, 7, 2)
    assert ds["individuals"].to_numpy().tolist() == ["adult", "juvenile"]


def test_real_jabs_agrees_with_the_file(real_data_dir: Path):
    path = real_data_dir / "jabs_pose/sample_pose_est_v2.h5"
    ds, _ = import_poses(path, options=AT_30)
    with h5py.File(path) as file:
        points = file["poseest/points"][()]
    np.testing.assert_array_equal(
        ds["position"].to_numpy()[..., 0].transpose(0, 2, 1), points[..., ::-1]
    )


def test_a_copy_under_another_name_reads_alike(real_data_dir: Path, tmp_path: Path):
    source = real_data_dir / "sleap_flies/predictions.analysis.h5"
    shutil.copy(source, tmp_path / "x.h5")
    packed = tmp_path / "y.h5.gz"
    packed.write_bytes(gzip.compress(source.read_bytes(), 1))
    plain, _ = import_poses(tmp_path / "x.h5", options=AT_30)
    zipped, _ = import_poses(packed, options=AT_30)
    assert plain.drop_attrs().identical(zipped.drop_attrs())
    assert zipped.attrs["name"] == "y"
