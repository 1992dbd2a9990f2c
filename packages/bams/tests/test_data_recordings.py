"""Any recording as training data: states, their changes, missing points, animals."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
import torch

from bams.data import MISSING_BIN, DataConfig, Scaling, build_training_data, open_sequences
from bams.data.build import open_source
from behaviorzoo.errors import UserError
from behaviorzoo.recordings import make_recording, save_recording

POINTS = ["nose", "neck", "tail"]


def walk(seed: int, frames: int = 60, animals: int = 2, missing: float = 0.1) -> np.ndarray:
    """Positions (T, space, K, I) of animals that wander through an arena of 0 to 100."""
    rng = np.random.default_rng(seed)
    centre = 50 + np.cumsum(rng.normal(size=(frames, 2, 1, animals)), axis=0)
    body = rng.normal(size=(1, 2, len(POINTS), animals)) * 3
    position = centre + body + 0.1 * rng.normal(size=(frames, 2, len(POINTS), animals))
    hidden = rng.random((frames, 1, len(POINTS), animals)) < missing
    return np.where(hidden, np.nan, position)


def write(folder: Path, name: str, position: np.ndarray, **changes) -> Path:
    given = {
        "keypoints": POINTS,
        "individuals": [f"rat{n + 1}" for n in range(position.shape[3])],
        "fps": 25.0,
        "name": name,
        **changes,
    }
    folder.mkdir(exist_ok=True)
    save_recording(make_recording(position, **given), folder / f"{name}.nc")
    return folder / f"{name}.nc"


@pytest.fixture
def two(tmp_path):
    """A folder with two recordings of two rats, of different lengths."""
    write(tmp_path / "rats", "r1", walk(1), first_frame=100)
    write(tmp_path / "rats", "r2", walk(2, frames=70))
    return str(tmp_path / "rats")


def config(path: str, **changes) -> DataConfig:
    settings = {"path": path, "normalisation": "arena", "window": 20, "sliding_window": 10}
    return DataConfig(**{**settings, **changes})


SCALARS = {
    "features": ["distances", "speeds"],
    "distances_within": [["*", "*"]],
    "distances_between": [["*", "*"]],
    "log_distances": True,
    "velocity_frames": 3,
}


def features(path: str, **changes):
    source = open_source(config(path, **changes), "paper")
    return source, [source.load(n) for n in range(len(source.names))]


def test_arena_positions_and_their_changes(two):
    source, (first, _) = features(two, missing_flags=False)
    position = walk(1).transpose(3, 0, 2, 1)  # (I, T, K, D)
    statistics = source.state["statistics"]
    states = (position - statistics["center"]) / statistics["scale"]
    states = states.reshape(2, 60, 6)
    np.testing.assert_allclose(first.inputs[..., :6], np.nan_to_num(states), atol=1e-5)
    changes = np.full_like(states, np.nan)
    changes[:, 1:] = states[:, 1:] - states[:, :-1]
    changes[:, 0] = changes[:, 2]
    changes /= source.state["change_scale"]
    np.testing.assert_allclose(first.targets, changes, atol=1e-4)
    np.testing.assert_allclose(first.inputs[..., 6:], np.nan_to_num(changes), atol=1e-4)
    np.testing.assert_array_equal(first.ignored, np.isnan(changes).all(-1))
    assert source.input_names[:3] == ("nose x", "nose y", "neck x")
    assert source.target_names[0] == "change of nose x"
    assert source.individuals == ("rat1", "rat2")


def test_distances_and_speeds_of_each_rat(two):
    source, (first, _) = features(two, **SCALARS, missing_flags=False)
    position = walk(1).transpose(3, 0, 2, 1)
    columns = []
    for a, b in combinations(range(3), 2):
        columns.append(np.linalg.norm(position[:, :, a] - position[:, :, b], axis=-1))
    for a, b in product(range(3), repeat=2):
        columns.append(np.linalg.norm(position[:, :, a] - position[::-1, :, b], axis=-1))
    raw = np.stack(columns, -1)
    steps = np.full((2, 60, 3), np.nan)
    steps[:, 3:] = np.linalg.norm(position[:, 3:] - position[:, :-3], axis=-1) * 25 / 3
    steps[:, :3] = steps[:, 3:4]
    fitted = source.state["statistics"]
    raw = np.log1p(np.concatenate([raw, steps], -1) / fitted["distance_unit"])
    states = (raw - fitted["distance_mean"]) / fitted["distance_scale"]
    np.testing.assert_allclose(first.inputs[..., :15], np.nan_to_num(states), atol=1e-4)
    assert source.input_names[0] == "nose to neck"
    assert source.input_names[3] == "nose to other's nose"
    assert source.input_names[14] == "speed of tail"
    assert len(source.input_names) == 30


def test_flags_tell_own_and_others_missing_points(two):
    _, (first, _) = features(two, **SCALARS)
    lost = np.isnan(walk(1)[:, 0]).transpose(2, 0, 1)  # (I, T, K)
    np.testing.assert_array_equal(first.inputs[..., 30:33], lost)
    np.testing.assert_array_equal(first.inputs[..., 33:], lost[::-1])
    source, (own, _) = features(two)
    assert source.input_names[-3:] == tuple(f"{point} is missing" for point in POINTS)
    np.testing.assert_array_equal(own.inputs[..., -3:], lost)


def test_together_all_animals_stand_in_one_row(two):
    source, (first, _) = features(two, **SCALARS, animals="together")
    _, (apart, _) = features(two, **SCALARS, missing_flags=False)
    assert source.individuals == ("all",)
    assert first.inputs.shape == (1, 60, 2 * 30 + 2 * 3)
    side_by_side = np.concatenate([apart.inputs[0], apart.inputs[1]], -1)
    np.testing.assert_array_equal(first.inputs[0, :, :60], side_by_side)
    targets = np.concatenate([apart.targets[0], apart.targets[1]], -1)
    np.testing.assert_array_equal(first.targets[0], targets)
    assert source.input_names[0] == "rat1: nose to neck"
    assert source.target_names[15] == "rat2: change of nose to neck"
    assert source.input_names[-1] == "rat2: tail is missing"


def test_targets_by_kind(two):
    choice = {**SCALARS, "targets": ["speeds", "distances"], "missing_flags": False}
    source, (first, _) = features(two, **choice)
    assert source.target_names == source.input_names[:15]
    seen = ~np.isnan(first.targets)
    np.testing.assert_array_equal(first.targets[seen], first.inputs[..., :15][seen])
    velocities = {"features": ["positions", "velocities"], "targets": ["velocities"]}
    source, _ = features(two, normalisation="centroid", **velocities)
    assert source.target_names[:2] == ("velocity of nose x", "velocity of nose y")
    assert len(source.target_names) == 6


def test_missing_actions_are_marked_and_only_empty_frames_ignored(two):
    position = walk(1)
    position[30:33] = np.nan
    write(Path(two), "r1", position, first_frame=100)
    data = build_training_data(config(two))
    source = open_source(config(two), "paper")
    first = source.load(0)
    whole = data.window_ids[:, 1] == 20
    row = np.flatnonzero(whole & (data.source == 0) & (data.animal == 1))[0]
    batch = data.batch(np.array([row]))
    targets = first.targets[1, 20:40]
    np.testing.assert_array_equal(batch.bins[0].numpy() == MISSING_BIN, np.isnan(targets))
    np.testing.assert_array_equal(batch.ignored[0], np.isnan(targets).all(-1))
    assert batch.ignored[0, 10:14].all()  # the change after a gap is not known either
    assert not batch.ignored.all()
    assert torch.isfinite(data.inputs).all()
    assert "of all points are missing (rat1 " in data.notes[0]
    assert "enters as 0 after normalisation, with a flag" in data.notes[0]


def test_windows_in_which_an_animal_is_never_seen_are_left_out(two):
    position = walk(1)
    position[:30, :, :, 0] = np.nan
    write(Path(two), "r1", position, first_frame=100)
    data = build_training_data(config(two))
    starts = data.window_ids[(data.source == 0) & (data.animal == 0), 1]
    assert starts.tolist() == [20, 30, 40]
    assert any("not used for training" in note for note in data.notes)


def test_inputs_are_not_scaled_again(two):
    data = build_training_data(config(two, **SCALARS))
    assert (data.scaling.input_scale == 1).all()
    states = data.inputs[..., :15]
    assert 0.3 < states.std() < 1.1
    raw = build_training_data(config(two, normalisation="none"))
    assert raw.inputs.abs().max() == 1
    assert (raw.scaling.input_scale > 1).any()


def test_jumps_are_clipped(two):
    position = walk(1)
    position[30] += 1e4
    write(Path(two), "r1", position)
    _, (first, _) = features(two, **SCALARS, clip=5.0)
    assert np.abs(first.inputs).max() == 5
    assert np.nanmax(np.abs(first.targets)) == 5


def test_a_recording_embeds_exactly_as_it_trained(two):
    for changes in ({}, SCALARS, {**SCALARS, "animals": "together"}, {"normalisation": "centroid"}):
        settings = config(two, clip=5.0, **changes)
        data = build_training_data(settings)
        scaling = Scaling.from_dict(json.loads(json.dumps(data.scaling.to_dict())))
        sequences = open_sequences(settings, "paper", scaling)
        assert (sequences.names, sequences.lengths) == (["r1", "r2"], [60, 70])
        assert (sequences[0].first_frame, sequences[1].first_frame) == (100, 0)
        wholes = [sequence.inputs for sequence in sequences]
        for number, (row, start) in enumerate(data.window_ids):
            recording, animal = data.rows.recording[row], data.rows.animal[row]
            expected = wholes[recording][animal, start : start + 20]
            np.testing.assert_array_equal(data.batch(np.array([number])).inputs[0], expected)


def test_new_recordings_are_treated_by_the_training_statistics(two, tmp_path):
    settings = config(two)
    scaling = build_training_data(settings).scaling
    new = tmp_path / "new"
    write(new, "r9", walk(9) * 3, individuals=["a", "b"])
    sequence = open_sequences(replace(settings, path=str(new)), "paper", scaling)[0]
    statistics = scaling.state["statistics"]
    position = (walk(9) * 3).transpose(3, 0, 2, 1).reshape(2, 60, 3, 2)
    states = (position - statistics["center"]) / statistics["scale"]
    np.testing.assert_allclose(
        sequence.inputs[..., :6], np.nan_to_num(states).reshape(2, 60, 6), atol=1e-4
    )
    # Held-out windows, for a loss on other recordings.
    held_out = build_training_data(replace(settings, path=str(new)), scaling=scaling)
    np.testing.assert_array_equal(held_out.batch(np.array([0])).inputs[0], sequence.inputs[0, :20])
    assert held_out.scaling is scaling


def test_one_recording_is_read_at_a_time(two, monkeypatch):
    from bams.data import recordings

    settings = config(two)
    scaling = build_training_data(settings).scaling
    read, original = [], recordings.read_recording
    monkeypatch.setattr(
        recordings, "read_recording", lambda file, *a, **k: read.append(file) or original(file, *a)
    )
    sequences = iter(open_sequences(settings, "paper", scaling))
    next(sequences)
    assert len(read) == 1


def test_window_and_stride_follow_the_recordings(two):
    data = build_training_data(config(two, window=None, sliding_window=None))
    assert data.length == 60
    starts = data.window_ids[data.source == 1, 1]
    assert starts.tolist() == [0, 0]
    assert any("windows of 60 frames, one every 30" in note for note in data.notes)
    write(Path(two), "brief", walk(3, frames=5, missing=0))
    data = build_training_data(config(two, window=None, sliding_window=None))
    assert data.length == 60  # 5 of 135 frames are not worth a window of 5
    assert any("2 of 6 sequences are shorter" in note for note in data.notes)
    data = build_training_data(config(two, sliding_window=None, exclude=["brief"]))
    assert data.window_ids[data.source == 0, 1].tolist() == [0, 10, 20, 30, 40] * 2


def test_test_recordings_are_learned_from_on_request_only(two, tmp_path):
    other = tmp_path / "other"
    write(other, "r3", walk(3))
    settings = config(two, test_path=str(other))
    assert build_training_data(settings).names == ["r1", "r2"]
    both = build_training_data(replace(settings, include_test_data=True))
    assert both.names == ["r1", "r2", "r3"]
    assert both.is_train[both.source == 2].tolist() == [False] * 10
    sequences = open_sequences(settings, "paper", both.scaling, split="test")
    assert sequences.names == ["r3"]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"keypoints": ["nos"]}, r"no key point 'nos'; did you mean 'nose'"),
        ({"exclude": ["r*"]}, "all 2 recordings are left out"),
        ({"path": ""}, r"data\.path is empty"),
        ({"window": 71, "sliding_window": None}, "70 frames, the longest of 4 sequences"),
        ({"normalisation": "egocentric", "axis": ["tail", "ear"]}, "'ear', not among the key"),
        ({"missing": "error"}, r"is missing in .* of the frames.*data\.missing=error"),
        (
            {"individuals": ["rat1"], "features": ["distances"], "distances_between": [["*", "*"]]},
            "needs two or more individuals",
        ),
    ],
)
def test_what_does_not_fit_is_told(two, changes, match):
    with pytest.raises(UserError, match=match):
        build_training_data(config(**{"path": two, **changes}))


def test_recordings_need_the_state_of_a_run(two):
    with pytest.raises(UserError, match="give its checkpoint folder"):
        open_sequences(config(two))


def test_real_rats(real_data_dir, tmp_path):
    """Two of the real sessions: 30 to 46 % of the points are missing, all of it is finite."""
    pytest.importorskip("movement", reason="the core's extra [poses] is not installed")
    from behaviorzoo.cli import main

    folder = real_data_dir / "rat_resident_intruder" / "dlc_csv"
    files = sorted(folder.glob("1DLC*.csv.gz")) + sorted(folder.glob("2DLC*.csv.gz"))
    out = tmp_path / "rats"
    words = ["import", *map(str, files), "--source", "deeplabcut", "--fps", "30", "--out", str(out)]
    assert main(words) == 0
    settings = DataConfig(
        path=str(out),
        window=900,
        sliding_window=450,
        keypoints=["top", "body", "tail", "tail-m", "tail-e"],
        clip=5.0,
        **{**SCALARS, "velocity_frames": 5},
    )
    data = build_training_data(settings)
    assert (data.n_inputs, data.n_targets, len(data.names)) == (90, 40, 2)
    batch = data.batch(np.arange(0, len(data), 7))
    assert torch.isfinite(batch.inputs).all()
    share = (batch.bins == MISSING_BIN).float().mean()
    assert 0.3 < share < 0.9
    assert batch.ignored.float().mean() < share
    used = [len(batch.bins[..., m].unique()) for m in range(data.n_targets)]
    assert min(used) > 20
    assert "of all points are missing" in data.notes[0]
