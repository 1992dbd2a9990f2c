"""Any recording as training data: selection, missing points, normalisation, features."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from behaviorzoo.errors import UserError
from behaviorzoo.recordings import make_recording, save_recording
from hbehavemae.data import (
    AugmentConfig,
    DataConfig,
    build_training_data,
    data_shape,
    has_split,
    open_sequences,
)

KEYPOINTS = ["nose", "left_ear", "right_ear", "tail"]


def network(window: int, individuals: int, features: int, missing: bool = True):
    return SimpleNamespace(input_size=(window, individuals, features), missing=missing)


def walk(seed: int, frames: int = 60, individuals: int = 2, missing: float = 0.1) -> np.ndarray:
    """Positions (T, space, K, I) of individuals that wander through an arena of 0 to 100."""
    rng = np.random.default_rng(seed)
    centre = 50 + np.cumsum(rng.normal(size=(frames, 2, 1, individuals)), axis=0)
    body = rng.normal(size=(1, 2, len(KEYPOINTS), individuals)) * 3
    position = centre + body + 0.1 * rng.normal(size=(frames, 2, len(KEYPOINTS), individuals))
    hidden = rng.random((frames, 1, len(KEYPOINTS), individuals)) < missing
    return np.where(hidden, np.nan, position)


def write(folder: Path, name: str, position: np.ndarray, **changes) -> Path:
    given = {
        "keypoints": KEYPOINTS[: position.shape[2]],
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
    """A folder with two recordings of two rats."""
    for seed in (1, 2):
        write(tmp_path / "train", f"r{seed}", walk(seed), first_frame=100 * seed)
    return str(tmp_path / "train")


def config(path, **changes) -> DataConfig:
    return DataConfig(**{"path": str(path), "normalisation": "none", **changes})


def arrays(path, **changes) -> tuple[list[np.ndarray], dict]:
    """All sequences (T, I, K, C) as they reach the network, and the stored state."""
    data = config(path, **changes)
    shape = data_shape(data)
    model = network(8, len(shape.individuals), shape.features)
    state = build_training_data(data, model).state_dict()
    sequences = open_sequences(data, model, state=state)
    return [s.features.reshape(*s.features.shape[:2], -1, shape.channels) for s in sequences], state


# -- selection --------------------------------------------------------------------------------


def test_values_names_and_source_frames_are_kept(two):
    data = config(two)
    model = network(8, 2, 8)
    training = build_training_data(data, model)
    sequences = open_sequences(data, model, state=training.state_dict())
    assert sequences.names == ["r1", "r2"]
    first = sequences[0]
    assert (first.name, first.first_frame) == ("r1", 100)
    np.testing.assert_allclose(
        first.features.reshape(60, 2, 4, 2), walk(1).transpose(0, 3, 2, 1), rtol=1e-6
    )
    np.testing.assert_array_equal(training[3], first.features[3:11])


def test_recordings_are_read_one_at_a_time(two, monkeypatch):
    from behaviorzoo.poses import selection

    data, model, read = config(two), network(8, 2, 8), []
    state = build_training_data(data, model).state_dict()
    load = selection.load_recording
    monkeypatch.setattr(selection, "load_recording", lambda file: read.append(file) or load(file))
    sequences = iter(open_sequences(data, model, state=state))
    next(sequences)
    assert len(read) == 1


def test_key_points_and_individuals_by_name_and_in_order(two):
    (first, _), _ = arrays(two, keypoints=["tail", "nose"], individuals=["rat2"])
    expected = walk(1).transpose(0, 3, 2, 1)[:, 1:, [3, 0]]
    np.testing.assert_allclose(first, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"keypoints": ["nos"]}, r"r1\.nc: no key point 'nos'; did you mean 'nose'"),
        ({"individuals": ["rat3"]}, r"r1\.nc: no individual 'rat3'; did you mean"),
        ({"exclude": ["x*"]}, r"data\.exclude: no recording 'x\*'"),
        ({"exclude": ["r*"]}, "all 2 recordings are left out"),
        ({"recordings": ["r9"]}, r"no recording 'r9' in .*; choose one of: r1, r2"),
        ({"groups": {"a": ["nose"], "b": ["nose"]}}, "'nose' is in more than one place"),
        ({"groups": {"a": ["nose"]}, "keypoints": ["tail"]}, "differ in nose, tail"),
    ],
)
def test_wrong_names_say_the_nearest(two, changes, match):
    with pytest.raises(UserError, match=match):
        build_training_data(config(two, **changes), network(8, 2, 8))


def test_recordings_by_pattern(two):
    training = build_training_data(config(two, recordings=["*2"]), network(8, 2, 8))
    assert training.sequence_names == ["r2"]
    training = build_training_data(config(two, exclude=["r2"]), network(8, 2, 8))
    assert training.sequence_names == ["r1"]


def test_other_number_of_individuals_names_the_file(two):
    write(Path(two), "r3", walk(3, individuals=3))
    with pytest.raises(UserError, match=r"r3\.nc: 3 individuals \(rat1, rat2, rat3\).*have 2"):
        build_training_data(config(two), network(8, 2, 8))


def test_equal_number_with_other_names_is_taken_in_file_order(two):
    write(Path(two), "r3", walk(3), individuals=["mother", "pup"])
    sequences, _ = arrays(two)
    np.testing.assert_allclose(sequences[2], walk(3).transpose(0, 3, 2, 1), rtol=1e-6)


def test_same_names_in_another_order_are_matched_by_name(two):
    write(Path(two), "r3", walk(3), individuals=["rat2", "rat1"])
    sequences, _ = arrays(two)
    np.testing.assert_allclose(sequences[2], walk(3).transpose(0, 3, 2, 1)[:, ::-1], rtol=1e-6)


def test_up_to_n_individuals(two):
    three = walk(3, individuals=3, missing=0)
    three[:50, :, :, 0] = np.nan  # the first of three is hardly seen
    write(Path(two), "r3", three)
    write(Path(two), "r4", walk(4, individuals=1))
    sequences, _ = arrays(two, max_individuals=2)
    np.testing.assert_allclose(sequences[2], three.transpose(0, 3, 2, 1)[:, 1:], rtol=1e-6)
    assert np.isnan(sequences[3][:, 1]).all()
    np.testing.assert_allclose(
        sequences[3][:, 0], walk(4, individuals=1)[..., 0].swapaxes(1, 2), rtol=1e-6
    )


def test_key_points_must_be_those_of_all_recordings(two):
    write(Path(two), "r3", walk(3), keypoints=["nose", "left_ear", "right_ear", "rump"])
    with pytest.raises(UserError, match=r"r3\.nc: no key point tail .*data\.keypoints"):
        build_training_data(config(two), network(8, 2, 8))


def test_key_points_in_another_order_are_matched_by_name(two):
    write(Path(two), "r3", walk(3), keypoints=KEYPOINTS[::-1])
    sequences, _ = arrays(two)
    np.testing.assert_allclose(sequences[2], walk(3).transpose(0, 3, 2, 1)[:, :, ::-1], rtol=1e-6)


def test_groups_give_the_order_and_are_filled_up_on_request(two):
    groups = {"head": ["right_ear", "left_ear", "nose"], "back": ["tail"]}
    shape = data_shape(config(two, groups=groups, pad_groups=True))
    assert shape.groups == {"head": ("right_ear", "left_ear", "nose"), "back": ("tail", "-", "-")}
    (first, _), _ = arrays(two, groups=groups, pad_groups=True)
    np.testing.assert_allclose(
        first[:, :, :4], walk(1).transpose(0, 3, 2, 1)[:, :, [2, 1, 0, 3]], rtol=1e-6
    )
    assert np.isnan(first[:, :, 4:]).all()


# -- missing points ---------------------------------------------------------------------------


def test_a_network_without_missing_refuses_by_file_point_share_and_remedy(two):
    with pytest.raises(UserError) as error:
        build_training_data(config(two), network(8, 2, 8, missing=False))
    message = str(error.value)
    assert "r1.nc: key point" in message
    assert "% of the frames" in message
    assert "model.missing=true" in message


def test_interpolation_closes_gaps_up_to_the_limit(tmp_path):
    position = walk(0, missing=0)
    position[10:13, :, 0, 0] = np.nan
    write(tmp_path, "a", position)
    data = config(tmp_path, missing="interpolate", max_gap=3)
    training = build_training_data(data, network(8, 2, 8, missing=False))
    assert not training.batch(np.arange(len(training))).isnan().any()
    short = config(tmp_path, missing="interpolate", max_gap=2)
    with pytest.raises(UserError, match=r"nose of rat1 is missing in 5\.0% .* longer gaps remain"):
        build_training_data(short, network(8, 2, 8, missing=False))


def test_policy_error_refuses_even_for_a_network_that_could(two):
    with pytest.raises(UserError, match=r"data\.missing=error"):
        build_training_data(config(two, missing="error"), network(8, 2, 8))


def test_missing_points_stay_nan_and_are_never_zero(two):
    for normalisation in ("none", "arena", "zscore", "centroid", "window"):
        sequences, _ = arrays(two, normalisation=normalisation, features=["positions"])
        for seed, values in enumerate(sequences, start=1):
            hidden = np.isnan(walk(seed)).transpose(0, 3, 2, 1)
            np.testing.assert_array_equal(np.isnan(values), hidden)


def test_unseen_key_point_names_file_point_share_and_remedy(two):
    position = walk(3)
    position[:, :, 2] = np.nan
    write(Path(two), "r3", position)
    with pytest.raises(UserError) as error:
        build_training_data(config(two), network(8, 2, 8))
    message = str(error.value)
    assert "r3.nc: key point right_ear is never seen (100 % of 60 frames" in message
    assert "data.keypoints=[nose,left_ear,tail]" in message
    assert "data.exclude=[r3]" in message
    build_training_data(config(two, allow_unseen=True), network(8, 2, 8))


def test_low_confidence_is_missing(tmp_path):
    position = walk(0, missing=0)
    confidence = np.ones((60, 4, 2))
    confidence[5, 1, 0] = 0.3
    write(tmp_path, "a", position, confidence=confidence)
    (values,), _ = arrays(tmp_path, min_confidence=0.5)
    assert np.argwhere(np.isnan(values[..., 0])).tolist() == [[5, 0, 1]]


def test_windows_with_little_to_see_are_left_out_and_reported(tmp_path):
    position = walk(0, missing=0)
    position[:30] = np.nan
    write(tmp_path, "a", position)
    all_seen = build_training_data(config(tmp_path, min_observed=1.0), network(8, 2, 8))
    assert all_seen.window_ids[:, 1].min() == 30
    anything = build_training_data(config(tmp_path), network(8, 2, 8))
    assert anything.window_ids[:, 1].min() == 23
    assert "23 of 53 windows" in anything.notes[-1]
    position[:, :, 1:] = np.nan
    write(tmp_path, "a", position)
    hopeless = config(tmp_path, min_observed=0.9, allow_unseen=True)
    with pytest.raises(UserError, match=r"none of 53 windows .* lower data\.min_observed"):
        build_training_data(hopeless, network(8, 2, 8))


def test_recording_shorter_than_the_window(two):
    write(Path(two), "brief", walk(5, frames=6))
    training = build_training_data(config(two), network(8, 2, 8))
    assert "brief (6 frames)" in training.notes[0]
    assert not (training.window_ids[:, 0] == training.sequence_names.index("brief")).any()
    state = training.state_dict()
    lengths = [len(s.features) for s in open_sequences(config(two), network(8, 2, 8), state=state)]
    assert sorted(lengths) == [6, 60, 60]
    with pytest.raises(UserError, match=r"60 frames.*window of 90 frames; choose a shorter"):
        build_training_data(config(two), network(90, 2, 8))


def test_other_frame_rates_are_reported(two, caplog):
    write(Path(two), "fast", walk(5), fps=50.0)
    training = build_training_data(config(two, recordings=["r1", "fast"]), network(8, 2, 8))
    assert "frame rates differ" in training.notes[-1]
    assert training.notes[-1] in caplog.text


# -- normalisation ----------------------------------------------------------------------------


def test_arena_uses_one_scale_and_the_training_recordings(two, tmp_path):
    write(tmp_path / "test", "far", walk(7) + 1000)
    sequences, state = arrays(two, normalisation="arena", test_path=str(tmp_path / "test"))
    raw = np.concatenate([walk(seed).transpose(0, 3, 2, 1).reshape(-1, 2) for seed in (1, 2)])
    low, high = np.nanquantile(raw, [0.01, 0.99], axis=0)
    centre, scale = (low + high) / 2, (high - low).max() / 2
    far = walk(7).transpose(0, 3, 2, 1) + 1000
    np.testing.assert_allclose(sequences[0], (far - centre) / scale, rtol=1e-4)
    assert state["statistics"]["center"] == pytest.approx(centre.tolist(), rel=1e-5)


def test_zscore_per_axis(two):
    sequences, _ = arrays(two, normalisation="zscore")
    points = np.concatenate([values.reshape(-1, 2) for values in sequences])
    np.testing.assert_allclose(np.nanmean(points, axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(np.nanstd(points, axis=0), 1, rtol=1e-5)


def test_centroid_subtracts_each_frames_median_of_each_individual(tmp_path):
    write(tmp_path, "a", walk(0, missing=0))
    (values,), _ = arrays(tmp_path, normalisation="centroid")
    raw = walk(0, missing=0).transpose(0, 3, 2, 1)
    expected = raw - np.median(raw, axis=2, keepdims=True)
    np.testing.assert_allclose(values, expected / np.sqrt((expected**2).mean()), atol=1e-4)


def test_reference_keeps_the_other_individual_where_it_is_seen_from_it(tmp_path):
    write(tmp_path, "a", walk(0, missing=0))
    (values,), _ = arrays(tmp_path, normalisation="centroid", reference="rat1")
    raw = walk(0, missing=0).transpose(0, 3, 2, 1)
    expected = raw - np.median(raw[:, :1], axis=2, keepdims=True)
    np.testing.assert_allclose(values, expected / np.sqrt((expected**2).mean()), atol=1e-4)


def moved(position: np.ndarray, angle: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """(T, 2, K, I) turned and shifted differently in every frame."""
    c, s = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    x, y = position[:, 0], position[:, 1]
    return np.stack([c * x - s * y, s * x + c * y], axis=1) + shift[:, :, None, None]


@pytest.mark.parametrize("reference", [None, "rat2"])
def test_egocentric_does_not_see_where_the_body_is_and_faces(tmp_path, reference):
    rng = np.random.default_rng(0)
    plain = walk(0, missing=0)
    turned = moved(plain, rng.uniform(-3, 3, 60), rng.normal(size=(60, 2)) * 20)
    options = {"normalisation": "egocentric", "axis": ["tail", "nose"], "reference": reference}
    results = []
    for name, position in (("a", plain), ("b", turned)):
        write(tmp_path / name, "r", position)
        results.append(arrays(tmp_path / name, **options)[0][0])
    np.testing.assert_allclose(results[0], results[1], atol=2e-3)
    own = results[0][:, 1]
    np.testing.assert_allclose(own[:, [0, 3], 1], 0, atol=1e-4)  # tail and nose on the axis
    assert (own[:, 0, 0] > own[:, 3, 0]).all()  # the nose is in front


def test_egocentric_bridges_gaps_of_the_axis(tmp_path):
    position = walk(0, missing=0)
    position[20:25, :, 0, 0] = np.nan
    write(tmp_path, "a", position)
    (values,), _ = arrays(tmp_path, normalisation="egocentric", axis=["tail", "nose"])
    gap = values[20:25, 0]
    assert np.isnan(gap[:, 0]).all()
    assert not np.isnan(gap[:, 1:]).any()


@pytest.mark.parametrize(
    ("axis", "match"),
    [
        (["tail", "nos"], "names 'nos'.*did you mean 'nose'"),
        (["tail"], r"needs data\.axis=\[rear, front\], two key points, got 1"),
        (["tail", "nose", "left_ear", "right_ear"], "two key points, got 4"),
    ],
)
def test_wrong_axis(two, axis, match):
    with pytest.raises(UserError, match=match):
        arrays(two, normalisation="egocentric", axis=axis)


def test_axis_that_is_never_seen_names_file_point_and_remedy(two):
    position = walk(3)
    position[:, :, 0, 1] = np.nan
    write(Path(two), "r3", position)
    with pytest.raises(UserError, match=r"r3\.nc: nose of rat2 is never seen \(100 % of 60.*axis"):
        arrays(two, normalisation="egocentric", axis=["tail", "nose"])
    arrays(two, normalisation="egocentric", axis=["tail", "nose"], reference="rat1")


def test_window_normalisation_subtracts_the_windows_median_in_training_and_extraction(two):
    data, model = config(two, normalisation="window"), network(9, 2, 8)
    training = build_training_data(data, model)
    window = training[4].reshape(9, 2, 4, 2)
    raw = walk(1)[4:13].transpose(0, 3, 2, 1)
    points = np.sort(raw.reshape(-1, 2), axis=0)
    count = np.count_nonzero(~np.isnan(points), axis=0)
    median = points[(count - 1) // 2, [0, 1]]
    scale = training.state_dict()["statistics"]["scale"][0]
    np.testing.assert_allclose(window, (raw - median) / scale, atol=1e-5)
    sequences = open_sequences(data, model, state=training.state_dict())
    cut = torch.from_numpy(sequences[0].features[None, 4:13])
    assert sequences.window_transform is not None
    torch.testing.assert_close(
        sequences.window_transform(cut)[0], training[4], atol=1e-5, rtol=0, equal_nan=True
    )


# -- features ---------------------------------------------------------------------------------


def test_velocities_stand_behind_the_positions_of_each_point(tmp_path):
    write(tmp_path, "a", walk(0))
    (values,), state = arrays(tmp_path, features=["positions", "velocities"])
    raw = walk(0).transpose(0, 3, 2, 1)
    velocity = np.diff(raw, axis=0) * 25
    scale = np.sqrt(np.nanmean(np.concatenate([velocity[:1], velocity]) ** 2))
    assert state["statistics"]["velocity_scale"] == pytest.approx(scale, rel=1e-4)
    np.testing.assert_allclose(values[1:, ..., 2:], velocity / scale, atol=1e-3)
    np.testing.assert_allclose(values[0, ..., 2:], velocity[0] / scale, atol=1e-3)
    np.testing.assert_allclose(values[..., :2], raw, rtol=1e-6)


def test_distances_are_packed_as_pseudo_key_points(tmp_path):
    write(tmp_path, "a", walk(0, individuals=3))
    options = {
        "features": ["positions", "distances"],
        "distances_within": [["nose", "tail"]],
        "distances_between": [["nose", "tail"], ["nose", "nose"]],
    }
    shape = data_shape(config(tmp_path, **options))
    assert shape.keypoints == (*KEYPOINTS, "distances_1", "distances_2")
    (values,), state = arrays(tmp_path, **options)
    raw = walk(0, individuals=3).transpose(0, 3, 2, 1)
    expected = np.full((60, 3, 3), np.nan)
    for t in range(60):
        for i in range(3):
            others = [j for j in range(3) if j != i]
            expected[t, i, 0] = np.linalg.norm(raw[t, i, 0] - raw[t, i, 3])
            for column, point in ((1, 3), (2, 0)):
                apart = [np.linalg.norm(raw[t, i, 0] - raw[t, j, point]) for j in others]
                if not np.isnan(apart).all():
                    expected[t, i, column] = np.nanmin(apart)
    flat = expected.reshape(-1, 3)
    mean, deviation = np.nanmean(flat, axis=0), np.nanstd(flat, axis=0)
    assert state["statistics"]["distance_mean"] == pytest.approx(mean.tolist(), rel=1e-5)
    standard = (expected - mean) / deviation
    packed = values[:, :, 4:].reshape(60, 3, 4)
    np.testing.assert_allclose(packed, standard[..., [0, 1, 2, 0]], atol=1e-3)


def test_distances_fill_a_group_of_their_own(two):
    shape = data_shape(
        config(
            two,
            groups={"head": ["nose", "left_ear"], "back": ["right_ear", "tail"]},
            features=["positions", "distances"],
            distances_within=[["nose", "tail"]],
        )
    )
    assert shape.groups["distance_group_1"] == ("distances_1", "distances_2")
    assert shape.keypoints[-2:] == ("distances_1", "distances_2")


def test_egocentric_velocities_turn_with_the_body(tmp_path):
    time = np.arange(60.0)
    position = np.zeros((60, 2, 4, 1))
    position[:, 1] = time[:, None, None]  # walks along +y
    position[:, 1, 0] += 3  # the nose in front
    write(tmp_path, "a", position)
    (values,), _ = arrays(
        tmp_path,
        normalisation="egocentric",
        axis=["tail", "nose"],
        features=["positions", "velocities"],
    )
    np.testing.assert_allclose(values[:, 0, :, 3], 0, atol=1e-5)
    assert (values[:, 0, :, 2] > 0.5).all()


def test_features_without_place_or_heading(tmp_path):
    write(tmp_path, "a", walk(0))
    options = {
        "features": ["distances", "speeds"],
        "distances_within": [["*", "*"]],
        "distances_between": [["nose", "*"]],
        "velocity_frames": 3,
        "log_distances": True,
    }
    shape = data_shape(config(tmp_path, **options))
    assert len(shape.keypoints) == shape.features == 6 + 4 + 4
    assert shape.keypoints[0] == "nose to left_ear"
    assert shape.keypoints[6] == "nose to other's nose"
    assert shape.keypoints[-1] == "speed of tail"
    (values,), _ = arrays(tmp_path, **options)

    raw = walk(0).transpose(0, 3, 2, 1)  # (T, I, K, D)
    columns = []
    for a in range(4):
        for b in range(a + 1, 4):
            columns.append(np.linalg.norm(raw[:, :, a] - raw[:, :, b], axis=-1))
    for b in range(4):
        columns.append(np.linalg.norm(raw[:, :, 0] - raw[:, ::-1, b], axis=-1))
    for k in range(4):
        moved = np.linalg.norm(raw[3:, :, k] - raw[:-3, :, k], axis=-1) * 25 / 3
        columns.append(np.concatenate([moved[:1]] * 3 + [moved]))
    flat = np.stack(columns, axis=-1).reshape(-1, 14)
    logs = np.log1p(flat / np.nanmedian(flat, axis=0))
    expected = (logs - np.nanmean(logs, axis=0)) / np.nanstd(logs, axis=0)
    np.testing.assert_allclose(values.reshape(-1, 14), expected, atol=2e-3)


def test_distances_and_speeds_ignore_rotation_and_place(tmp_path):
    position = walk(3)
    angle = 1.1
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = np.einsum("ds,tski->tdki", turn, position) + 40
    options = {
        "features": ["distances", "speeds"],
        "distances_within": [["*", "*"]],
        "distances_between": [["*", "*"]],
    }
    write(tmp_path / "here", "a", position)
    write(tmp_path / "there", "a", moved)
    (here,), _ = arrays(tmp_path / "here", **options)
    (there,), _ = arrays(tmp_path / "there", **options)
    np.testing.assert_allclose(here, there, atol=2e-3)


def test_swapping_before_or_after_the_features_is_the_same(two):
    options = {
        "normalisation": "centroid",
        "features": ["positions", "velocities", "distances"],
        "distances_between": [["nose", "*"]],
        "sliding_window": 5,
    }
    swap = config(two, augment=AugmentConfig(swap_individuals=0.5), **options)
    # Noise of scale zero changes nothing, but forces the swap to happen on raw coordinates.
    both = AugmentConfig(swap_individuals=0.5, noise=1.0, noise_scale=0.0)
    model = network(20, 2, data_shape(swap).features)
    indices, seeds = np.arange(12), np.arange(100, 112)
    after = build_training_data(swap, model).batch(indices, seeds)
    before = build_training_data(config(two, augment=both, **options), model).batch(indices, seeds)
    plain = build_training_data(config(two, **options), model).batch(indices)
    torch.testing.assert_close(after, before, equal_nan=True)
    kept = [torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(after, plain, strict=True)]
    assert 0 < sum(kept) < len(kept)


def test_no_features_and_groups_without_points_are_refused(two):
    with pytest.raises(UserError, match=r"data\.features is empty"):
        arrays(two, features=[])
    with pytest.raises(UserError, match=r"data\.groups needs data\.features with positions"):
        arrays(two, features=["speeds"], groups={"head": ["nose", "left_ear"]})


def test_distances_between_need_two_individuals(tmp_path):
    write(tmp_path, "a", walk(0, individuals=1))
    with pytest.raises(UserError, match="needs two or more individuals, the recordings have 1"):
        arrays(tmp_path, features=["positions", "distances"], distances_between=[["nose", "nose"]])


@pytest.mark.parametrize("normalisation", ["zscore", "window"])
def test_jumps_are_clipped_and_nothing_else(two, normalisation):
    data, model = config(two, normalisation=normalisation), network(8, 2, 8)
    free = build_training_data(data, model)
    tight = build_training_data(config(two, normalisation=normalisation, clip=0.7), model)
    every = np.arange(len(free))
    expected = free.batch(every).clamp(-0.7, 0.7)
    assert (free.batch(every).abs() > 0.7).any()
    torch.testing.assert_close(tight.batch(every), expected, equal_nan=True, rtol=0, atol=0)


# -- state ------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalisation", ["none", "arena", "zscore", "centroid", "window"])
def test_embedding_its_training_data_sees_exactly_the_training_values(two, normalisation):
    data = config(
        two,
        normalisation=normalisation,
        features=["positions", "velocities", "distances"],
        distances_between=[["nose", "tail"]],
    )
    shape = data_shape(data)
    model = network(8, 2, shape.features)
    training = build_training_data(data, model)
    state = json.loads(json.dumps(training.state_dict()))  # as it is stored in a checkpoint
    sequences = open_sequences(data, model, "train", state)
    for number, sequence in enumerate(sequences):
        cut = torch.from_numpy(sequence.features[None, 10:18])
        if sequences.window_transform:
            cut = sequences.window_transform(cut)
        index = np.flatnonzero((training.window_ids == [number, 10]).all(1))
        torch.testing.assert_close(training.batch(index), cut, rtol=0, atol=0, equal_nan=True)


def test_test_split_uses_the_training_statistics(two, tmp_path):
    write(tmp_path / "test", "t", walk(9) * 5)
    data = config(two, normalisation="zscore", test_path=str(tmp_path / "test"))
    model = network(8, 2, 8)
    train = build_training_data(data, model)
    test = build_training_data(data, model, "test")
    assert test.state_dict() == train.state_dict()
    assert test.sequence_names == ["t"]
    assert has_split(data, "test")
    assert not has_split(config(two), "test")
    both = build_training_data(
        config(two, test_path=str(tmp_path / "test"), include_test_data=True), model
    )
    assert both.sequence_names == ["r1", "r2", "t"]


def test_new_recordings_are_matched_to_the_training_key_points(two, tmp_path):
    data, model = config(two, keypoints=["nose", "tail"]), network(8, 2, 4)
    state = build_training_data(data, model).state_dict()
    write(tmp_path / "new", "n", walk(3), keypoints=["tail", "rump", "hip", "nose"])
    (sequence,) = open_sequences(config(tmp_path / "new"), model, state=state)
    expected = walk(3).transpose(0, 3, 2, 1)[:, :, [3, 0]]
    np.testing.assert_allclose(sequence.features.reshape(60, 2, 2, 2), expected, rtol=1e-6)
    write(tmp_path / "new", "n", walk(3), keypoints=["tail", "rump", "hip", "snout"])
    with pytest.raises(UserError, match=r"n\.nc: no key point nose \(it has tail, rump"):
        list(open_sequences(config(tmp_path / "new"), model, state=state))


def test_sequences_without_state_are_refused(two):
    with pytest.raises(UserError, match="statistics of the training run"):
        open_sequences(config(two), network(8, 2, 8))


def test_the_network_must_fit_the_selection(two):
    with pytest.raises(UserError, match=r"\(2, 8\).*\(2, 6\)"):
        build_training_data(config(two), network(8, 2, 6))


# -- augmentation -----------------------------------------------------------------------------


def test_augmented_batches_depend_on_the_seed_alone(two):
    augment = AugmentConfig(rotation=0.7, reflection=0.5, noise=0.5, swap_individuals=1.0)
    data = config(two, normalisation="arena", augment=augment, features=["positions", "velocities"])
    training = build_training_data(data, network(8, 2, 16))
    indices, seeds = np.arange(20), np.arange(100, 120)
    batch = training.batch(indices, seeds)
    order = np.random.default_rng(0).permutation(20)
    torch.testing.assert_close(
        training.batch(indices[order], seeds[order]), batch[order], equal_nan=True, rtol=0, atol=0
    )
    assert not torch.equal(batch.nan_to_num(), training.batch(indices).nan_to_num())
    plain = build_training_data(
        config(two, normalisation="arena", features=["positions", "velocities"]),
        network(8, 2, 16),
    )
    torch.testing.assert_close(
        training.batch(indices), plain.batch(indices), equal_nan=True, rtol=0, atol=1e-6
    )


def test_egocentric_windows_do_not_change_under_reflection_except_for_the_side(tmp_path):
    write(tmp_path, "a", walk(0, missing=0))
    options = {"normalisation": "egocentric", "axis": ["tail", "nose"]}
    augment = AugmentConfig(reflection=1.0, mirror_pairs=[["left_ear", "right_ear"]])
    training = build_training_data(config(tmp_path, augment=augment, **options), network(8, 2, 8))
    plain = training[0].reshape(8, 2, 4, 2)
    mirrored = training.batch(np.array([0]), np.array([5]))[0].reshape(8, 2, 4, 2)
    expected = plain[:, :, [0, 2, 1, 3]] * torch.tensor([1.0, -1.0])
    torch.testing.assert_close(mirrored, expected, atol=1e-4, rtol=0)


def test_rotation_is_refused_where_it_has_no_sense(two):
    with pytest.raises(UserError, match=r"rotation has no sense with data\.normalisation=zscore"):
        arrays(two, normalisation="zscore", augment=AugmentConfig(rotation=0.5))


def test_configuration_problems_are_told_together(two):
    with pytest.raises(UserError) as error:
        build_training_data(
            config(
                two,
                normalisation="arenas",
                features=["positions", "speed"],
                sliding_window=0,
                min_observed=1.5,
                missing="interpolate",
                distances_within=[["nose"]],
            ),
            network(8, 2, 8),
        )
    for part in (
        "data.normalisation=arenas: did you mean 'arena'",
        "data.features=speed",
        "data.sliding_window=0 must be at least 1",
        "data.min_observed=1.5",
        "needs data.max_gap",
        "pairs of two key points, got ['nose']",
    ):
        assert part in str(error.value)


def test_three_dimensions(tmp_path):
    rng = np.random.default_rng(0)
    position = rng.normal(size=(40, 3, 4, 2)) * 4
    write(tmp_path, "a", position)
    for normalisation in ("none", "arena", "zscore", "centroid", "egocentric", "window"):
        axis = ["tail", "nose"] if normalisation == "egocentric" else []
        (values,), _ = arrays(tmp_path, normalisation=normalisation, axis=axis)
        assert values.shape == (40, 2, 4, 3)
        assert np.isfinite(values).all()
