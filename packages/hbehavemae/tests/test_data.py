"""Windows and the published data sets."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from behaviorzoo.errors import UserError
from behaviorzoo.mabe import save_dictionary
from hbehavemae.data import (
    DataConfig,
    WindowDataset,
    build_training_data,
    has_split,
    mabe22,
    open_sequences,
)
from hbehavemae.data.windows import edge_padding, pad_edges


def network(window: int, individuals: int = 1, features: int = 72, missing: bool = False):
    """What the data side looks at in a model configuration."""
    return SimpleNamespace(input_size=(window, individuals, features), missing=missing)


# -- windows ----------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    window=st.integers(1, 12),
    stride=st.integers(1, 7),
    seed=st.integers(0, 99),
)
def test_batch_equals_slices_for_unequal_lengths(lengths, window, stride, seed):
    rng = np.random.default_rng(seed)
    sequences = [rng.normal(size=(n, 2, 3)).astype(np.float32) for n in lengths]
    names = [f"s{n}" for n in range(len(lengths))]
    if max(lengths) < window:
        with pytest.raises(UserError, match=f"window of {window} frames"):
            WindowDataset(sequences, names, window=window, stride=stride)
        return
    data = WindowDataset(sequences, names, window=window, stride=stride)
    indices = rng.integers(0, len(data), 7)
    batch = data.batch(indices)
    assert batch.dtype == torch.float32
    assert data.input_size == (window, 2, 3)
    for item, index in zip(batch, indices, strict=True):
        number, start = data.window_ids[index]
        np.testing.assert_array_equal(item, sequences[number][start : start + window])
        assert torch.equal(item, data[int(index)])


def test_batch_does_not_alias_the_stored_frames():
    data = WindowDataset([np.zeros((6, 1, 1), np.float32)], ["a"], window=3)
    data.batch(np.array([0])).fill_(5)
    assert data.batch(np.array([0, 1])).sum() == 0


def test_short_sequences_are_named_and_left_out(caplog):
    sequences = [np.zeros((n, 1, 2), np.float32) for n in (10, 3, 4)]
    data = WindowDataset(sequences, ["long", "short", "brief"], window=5)
    assert set(data.window_ids[:, 0]) == {0}
    assert "2 of 3 sequences are shorter than the window of 5 frames" in data.notes[0]
    assert "short (3 frames), brief (4 frames)" in data.notes[0]
    assert data.notes[0] in caplog.text


def test_no_window_at_all_is_an_error_with_name_frames_window_and_remedy():
    sequences = [np.zeros((n, 1, 2), np.float32) for n in (3, 7)]
    with pytest.raises(UserError, match=r"b: 7 frames.*window of 9 frames; choose a shorter"):
        WindowDataset(sequences, ["a", "b"], window=9)


def test_indexing_ends_like_a_sequence():
    data = WindowDataset([np.arange(4, dtype=np.float32).reshape(4, 1, 1)], ["a"], window=2)
    assert [item[0, 0, 0].item() for item in data] == [0, 1, 2]
    assert torch.equal(data[-1], data[2])
    with pytest.raises(IndexError):
        data[3]


@pytest.mark.parametrize(("window", "expected"), [(400, (60, 59)), (30, (15, 14)), (1, (0, 0))])
def test_edge_padding_of_the_benchmarks(window, expected):
    assert edge_padding(window) == expected


def test_pad_edges_repeats_first_and_last_frame():
    padded = pad_edges(np.arange(3)[:, None], 2, 1)
    assert padded[:, 0].tolist() == [0, 0, 0, 1, 2, 2]


# -- Shot7M2 ----------------------------------------------------------------------------------


def write_shot(path: Path, episodes: dict[str, np.ndarray]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_dictionary(path, {"sequences": {"keypoints": episodes}})
    return path


def episode(rng: np.random.Generator, frames: int = 30) -> np.ndarray:
    return rng.normal(size=(frames, 1, 26, 3)).astype(np.float32)


@pytest.fixture
def shot(tmp_path):
    rng = np.random.default_rng(0)
    train = {"e1": episode(rng), "e2": episode(rng)}
    test = {"t1": episode(rng)}
    write_shot(tmp_path / "train" / "train_dictionary_poses.npy", train)
    write_shot(tmp_path / "test" / "test_dictionary_poses.npy", test)
    return tmp_path, train, test


def test_shot_finds_the_test_file_beside_the_training_file(shot):
    folder, train, test = shot
    for path in (folder, folder / "train" / "train_dictionary_poses.npy"):
        config = DataConfig(dataset="shot7m2", path=str(path))
        assert build_training_data(config, network(20)).sequence_names == list(train)
        assert build_training_data(config, network(20), "test").sequence_names == list(test)


def test_shot_keeps_24_joints_in_six_body_parts(shot):
    folder, train, _ = shot
    config = DataConfig(dataset="shot7m2", path=str(folder))
    name, first_frame, features = open_sequences(config, network(20), "train")[0]
    # fmt: off
    joints = [0, 1, 6, 11, 2, 3, 4, 5, 7, 8, 9, 10, 14, 19, 20, 21, 15, 16, 17, 18, 22, 23, 24, 25]
    # fmt: on
    assert (name, first_frame, features.shape) == ("e1", 0, (30, 1, 72))
    np.testing.assert_array_equal(features.reshape(30, 24, 3), train["e1"][:, 0, joints])


def test_shot_with_all_joints_in_file_order(shot):
    folder, train, _ = shot
    config = DataConfig(dataset="shot7m2", path=str(folder), body_parts=False)
    features = open_sequences(config, network(20, 1, 78), "train")[0].features
    np.testing.assert_array_equal(features.reshape(30, 1, 26, 3), train["e1"])


def test_shot_test_data_are_appended_and_replace_only_for_parity(shot):
    folder, *_ = shot
    names = {
        compat: build_training_data(
            DataConfig(dataset="shot7m2", path=str(folder), include_test_data=True, compat=compat),
            network(20),
        ).sequence_names
        for compat in ("none", "upstream")
    }
    assert names == {"none": ["e1", "e2", "t1"], "upstream": ["t1"]}


def test_shot_noise_changes_about_half_of_the_windows_by_sigma_two(shot):
    folder, *_ = shot
    config = DataConfig(dataset="shot7m2", path=str(folder), data_augment=True)
    data = build_training_data(config, network(20))
    index = np.zeros(400, int)
    change = data.batch(index, np.arange(400)) - data.batch(index)
    changed = change.flatten(1).abs().amax(1) > 0
    assert 150 < changed.sum() < 250
    assert change[changed].std().item() == pytest.approx(2, rel=0.02)
    assert change[changed].mean().item() == pytest.approx(0, abs=0.02)


def test_window_must_be_that_of_the_network(shot):
    config = DataConfig(dataset="shot7m2", path=str(shot[0]), window=10)
    with pytest.raises(UserError, match=r"data\.window=10 .* 20 frames"):
        build_training_data(config, network(20))


def test_shot_refuses_another_layout_by_file_and_episode(tmp_path):
    path = tmp_path / "poses.npy"
    config = DataConfig(dataset="shot7m2", path=str(path))
    save_dictionary(path, {"sequences": {"keypoints": {"odd": np.zeros((5, 1, 25, 3))}}})
    with pytest.raises(UserError, match=r"poses\.npy: episode 'odd' has shape \(5, 1, 25, 3\)"):
        build_training_data(config, network(4))
    save_dictionary(path, {"frames": {}})
    with pytest.raises(UserError, match=r"poses\.npy: expected .* found the keys \['frames'\]"):
        build_training_data(config, network(4))


def test_missing_file_and_folder_without_the_benchmark(tmp_path):
    with pytest.raises(UserError, match="no such shot7m2 train file"):
        build_training_data(
            DataConfig(dataset="shot7m2", path=str(tmp_path / "gone.npy")), network(4)
        )
    with pytest.raises(UserError, match=r"has no train/train_dictionary_poses\.npy"):
        build_training_data(DataConfig(dataset="shot7m2", path=str(tmp_path)), network(4))


def test_data_that_do_not_fit_the_network_name_both_sizes(shot):
    config = DataConfig(dataset="shot7m2", path=str(shot[0]))
    for build in (build_training_data, open_sequences):
        with pytest.raises(UserError, match=r"\(1, 72\).*\(3, 24\)"):
            build(config, network(20, 3, 24))


# -- MABe22 mice ------------------------------------------------------------------------------


def mice_clip(seed: int, frames: int = 30, missing: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    pixels = rng.uniform(50, 800, size=(frames, 3, 12, 2))
    pixels[rng.random((frames, 3, 12)) < missing] = 0
    return pixels


@pytest.fixture
def mice(tmp_path):
    for split, seeds in (("train", (1, 2)), ("test", (3,))):
        clips = {f"{split}{seed}": {"keypoints": mice_clip(seed)} for seed in seeds}
        save_dictionary(
            tmp_path / f"mouse_triplet_{split}.npy", {"sequences": clips, "vocabulary": ["a"]}
        )
    return str(tmp_path)


def slow_fill(pixels: np.ndarray) -> np.ndarray:
    filled = pixels.copy()
    for mouse in range(3):
        for point in range(12):
            track = filled[:, mouse, point]
            present = [t for t in range(len(track)) if track[t, 0] != 0]
            if track[0, 0] == 0 and present:
                track[0] = track[present[0]]
            for t in range(1, len(track)):
                if track[t, 0] == 0:
                    track[t] = track[t - 1]
    return filled


@pytest.mark.parametrize("missing", [0.3, 0.97, 1.0])
def test_holes_are_filled_as_by_the_plain_loop(missing):
    pixels = mice_clip(0, missing=missing)
    np.testing.assert_array_equal(mabe22.fill_holes(pixels), slow_fill(pixels))


def test_mice_are_scaled_to_the_arena(mice):
    config = DataConfig(dataset="mabe22", path=mice)
    model = network(20, 3, 24)
    sequence = open_sequences(config, model)[0]
    expected = (mice_clip(3) - 425) / 425
    np.testing.assert_allclose(sequence.features, expected.reshape(30, 3, 24), rtol=1e-6)
    training = build_training_data(config, model)
    # 20 frames: 10 edge frames in front.
    number = training.window_ids.tolist().index([0, 10])
    expected = ((mice_clip(1) - 425) / 425)[:20].reshape(20, 3, 24)
    np.testing.assert_allclose(training[number], expected, atol=1e-6)


def test_mice_training_keeps_every_nth_frame_and_extraction_all(mice):
    config = DataConfig(dataset="mabe22", path=mice, sampling_rate=3)
    training = build_training_data(config, network(4, 3, 24))
    assert training.window_ids[:, 1].max() == 10 + 3 - 4
    assert len(open_sequences(config, network(4, 3, 24))[0].features) == 30


@pytest.mark.parametrize(("compat", "center"), [("none", 6), ("upstream", 7)])
def test_mice_are_aligned_on_the_body_centre(mice, compat, center):
    config = DataConfig(dataset="mabe22", path=mice, centeralign=True, compat=compat)
    features = open_sequences(config, network(20, 3, 28))[0].features
    scaled = (mice_clip(3) - 425) / 425
    for t, mouse in ((0, 0), (7, 2)):
        points = scaled[t, mouse]
        axis = points[9] - points[3]
        a = np.arctan2(axis[0], axis[1])
        rotation = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        expected = [*points[center], np.sin(a), np.cos(a)]
        expected += [value for p in points for value in rotation @ (p - points[center])]
        np.testing.assert_allclose(features[t, mouse], expected, atol=1e-6)


def test_zeros_become_missing_only_for_a_network_that_takes_them(mice):
    config = DataConfig(dataset="mabe22", path=mice, zeros_missing=True)
    with pytest.raises(UserError, match=r"model\.missing=true"):
        build_training_data(config, network(20, 3, 24))
    features = open_sequences(config, network(20, 3, 24, missing=True))[0].features
    zeros = (mice_clip(3) == 0).reshape(30, 3, 24)
    np.testing.assert_array_equal(np.isnan(features), zeros)


def test_mice_augmentation_is_in_pixels_and_then_scaled(mice):
    plain = build_training_data(DataConfig(dataset="mabe22", path=mice), network(20, 3, 24))
    config = DataConfig(dataset="mabe22", path=mice, data_augment=True)
    training = build_training_data(config, network(20, 3, 24))
    index = np.arange(120) % len(training)
    torch.testing.assert_close(training.batch(index), plain.batch(index), atol=1e-6, rtol=0)
    change = (training.batch(index, np.arange(120)) - plain.batch(index)).flatten(1).abs().amax(1)
    # These mice use the whole arena: no rotation fits, noise or reflection come in 3 of 4 windows.
    assert 0.6 < (change > 1e-3).float().mean() < 0.9
    assert training.batch(index, index).abs().max() < 1.2


def test_mice_refuse_another_layout_by_file_and_clip(tmp_path):
    path = tmp_path / "mouse_triplet_train.npy"
    config = DataConfig(dataset="mabe22", path=str(path))
    save_dictionary(path, {"sequences": {"odd": {"keypoints": np.zeros((5, 2, 12, 2))}}})
    with pytest.raises(UserError, match=r"train\.npy: clip 'odd' has key points of shape \(5, 2"):
        build_training_data(config, network(4, 3, 24))
    save_dictionary(path, {"frames": {}})
    with pytest.raises(UserError, match=r"of MABe22, found the keys \['frames'\]"):
        build_training_data(config, network(4, 3, 24))


def test_sequences_of_unequal_length_are_allowed(tmp_path):
    clips = {f"m{n}": {"keypoints": mice_clip(n, frames=20 + 5 * n)} for n in range(3)}
    save_dictionary(tmp_path / "mouse_triplet_train.npy", {"sequences": clips})
    config = DataConfig(dataset="mabe22", path=str(tmp_path), sliding_window=10)
    training = build_training_data(config, network(20, 3, 24))
    lengths = np.bincount(training.window_ids[:, 0])
    assert lengths.tolist() == [(20 + 5 * n + 19 - 20) // 10 + 1 for n in range(3)]


def test_a_test_split_is_wanted_only_where_there_is_one(mice, tmp_path):
    assert has_split(DataConfig(dataset="mabe22", path=mice), "test")
    only = tmp_path / "only"
    only.mkdir()
    save_dictionary(
        only / "mouse_triplet_train.npy", {"sequences": {"a": {"keypoints": mice_clip(1)}}}
    )
    for path in (only, only / "mouse_triplet_train.npy"):
        assert not has_split(DataConfig(dataset="mabe22", path=str(path)), "test")
    both = DataConfig(dataset="mabe22", path=mice, include_test_data=True)
    names = build_training_data(both, network(20, 3, 24)).sequence_names
    assert names == ["train1", "train2", "test3"]


def test_options_of_recordings_are_refused_for_the_benchmarks(mice):
    config = DataConfig(dataset="mabe22", path=mice, keypoints=["nose"])
    with pytest.raises(UserError, match=r"data\.keypoints applies to recordings only"):
        build_training_data(config, network(20, 3, 24))


def test_code_in_a_pose_file_does_not_run(tmp_path):
    trap = tmp_path / "trap"

    class Touch:
        def __reduce__(self):
            return Path.touch, (trap,)

    path = tmp_path / "mouse_triplet_train.npy"
    np.save(path, np.array({"sequences": {"a": {"keypoints": Touch()}}}, dtype=object))
    with pytest.raises(UserError, match=r"mouse_triplet_train\.npy"):
        build_training_data(DataConfig(dataset="mabe22", path=str(path)), network(4, 3, 24))
    assert not trap.exists()
