"""Windows over rows, MABe files, own arrays, feature files, and whole recordings."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bams.data import DataConfig, Scaling, build_training_data, open_sequences
from bams.data.dataset import Batch, BehaviorDataset, Rows
from bams.data.keypoints import keypoint_features
from bams.data.mouse import mouse_features
from bams.data.quantise import fit_scaling
from behaviorzoo.errors import UserError
from behaviorzoo.mabe import save_dictionary


def dataset(lengths: list[int], **given) -> BehaviorDataset:
    """Frame f of the whole holds (f, -f), bin f mod 200, and is ignored where 3 divides f."""
    total = sum(lengths)
    frame = np.arange(total, dtype=np.float32)
    numbers = np.arange(len(lengths), dtype=np.int64)
    rows = Rows(np.array(lengths), numbers, np.zeros_like(numbers), numbers % 2 == 0)
    scaling = fit_scaling(np.ones((2, 2)), np.ones((2, 1)), 4)
    return BehaviorDataset(
        np.stack([frame, -frame], axis=1),
        (np.arange(total) % 200).astype(np.uint8)[:, None],
        np.arange(total) % 3 == 0,
        rows,
        [f"r{n}" for n in numbers],
        scaling,
        **given,
    )


@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), st.integers(1, 8), st.integers(1, 5))
def test_windows_equal_plain_slices(lengths, window, stride):
    frames = np.split(np.arange(sum(lengths)), np.cumsum(lengths)[:-1])
    expected = [
        (row, one[start : start + window])
        for row, one in enumerate(frames)
        for start in range(0, len(one) - window + 1, stride)
    ]
    if not expected:
        with pytest.raises(UserError, match="shorter than the window"):
            dataset(lengths, window=window, stride=stride)
        return
    data = dataset(lengths, window=window, stride=stride)
    assert len(data) == len(expected)
    order = np.random.default_rng(0).permutation(len(data))
    batch = data.batch(order)
    assert (batch.inputs.shape, batch.bins.dtype) == ((len(data), window, 2), torch.uint8)
    for place, number in enumerate(order):
        row, slice_ = expected[number]
        assert (data.source[number], data.is_train[number]) == (row, row % 2 == 0)
        np.testing.assert_array_equal(batch.inputs[place, :, 0], slice_)
        np.testing.assert_array_equal(batch.inputs[place, :, 1], -slice_)
        np.testing.assert_array_equal(batch.bins[place, :, 0], slice_ % 200)
        np.testing.assert_array_equal(batch.ignored[place], slice_ % 3 == 0)
    for name in ("inputs", "bins", "ignored"):
        in_order = getattr(data.batch(np.arange(len(data))), name)
        assert torch.equal(getattr(data, name), in_order)


def test_whole_rows_are_a_view_of_the_frames():
    data = dataset([6, 6, 6])
    assert (len(data), data.length, data.n_inputs, data.n_targets) == (3, 6, 2, 1)
    data.inputs[1, 0, 0] = 99
    assert data.batch(np.array([1])).inputs[0, 0, 0] == 99
    assert data.nbytes == 18 * (8 + 1 + 1)


def test_unequal_rows_need_a_window():
    with pytest.raises(UserError, match=r"6 to 9 frames cannot lie in one batch.*data\.window"):
        dataset([6, 9])


def test_short_rows_are_named():
    data = dataset([3, 8, 8], window=8)
    assert "1 of 3 sequences are shorter than the window of 8 frames" in data.notes[0]
    assert "r0 (3 frames)" in data.notes[0]


def test_fingerprint_follows_the_data():
    same = dataset([6, 9], window=4).fingerprint()
    assert same == dataset([6, 9], window=4).fingerprint()
    assert same != dataset([6, 9], window=5).fingerprint()
    assert same != dataset([9, 6], window=4).fingerprint()


def test_batches_move_as_a_whole():
    batch = dataset([6, 6]).batch(np.array([1])).to("meta")
    assert isinstance(batch, Batch)
    assert {x.device.type for x in (batch.inputs, batch.bins, batch.ignored)} == {"meta"}
    assert len(batch) == 1


def test_a_batch_of_mice_takes_a_memory_copy():
    """The original needs 17 ms for each of these sequences."""
    frames = 64 * 1800
    rows = Rows(np.full(64, 1800), np.arange(64), np.zeros(64, np.int64), np.ones(64, bool))
    scaling = fit_scaling(np.ones((2, 67)), np.ones((2, 9)), 32)
    data = BehaviorDataset(
        np.zeros((frames, 67), np.float32),
        np.zeros((frames, 9), np.uint8),
        np.zeros(frames, bool),
        rows,
        [str(n) for n in range(64)],
        scaling,
    )
    indices, seconds = np.arange(0, 64, 2), []
    for _ in range(9):
        start = time.perf_counter()
        data.batch(indices)
        seconds.append((time.perf_counter() - start) / len(indices))
    assert min(seconds) < 17e-3 / 20


# -- MABe ---------------------------------------------------------------------------------------


def write_mice(folder: Path, seed: int = 0, frames: int = 40) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    clips = {}
    for split, count in (("train", 2), ("test", 1)):
        walk = 400 + np.cumsum(rng.integers(-5, 6, (count, frames, 3, 12, 2)), axis=1)
        walk[0, 5, 0, 2] = 0
        for n in range(count):
            clips[f"{split}{n}"] = walk[n].astype(np.int32)
        content = {name: {"keypoints": clips[name]} for name in clips if split in name}
        save_dictionary(folder / f"mouse_triplet_{split}.npy", {"sequences": content})
    return clips


def test_mice_are_rows_of_their_own_in_file_order(tmp_path):
    clips = write_mice(tmp_path)
    data = build_training_data(DataConfig(dataset="mice", path=str(tmp_path)))
    assert data.names == list(clips)
    assert data.source.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert data.animal.tolist() == [0, 1, 2] * 3
    assert data.is_train.tolist() == [True] * 6 + [False] * 3
    assert (data.n_inputs, data.n_targets, data.length) == (67, 9, 40)
    rows = np.concatenate([clip.swapaxes(0, 1) for clip in clips.values()])
    expected = mouse_features(rows)
    flat = expected.inputs.reshape(-1, 67).astype(np.float32)
    scaled = flat / np.abs(flat).max(0)
    np.testing.assert_allclose(data.inputs.numpy().reshape(-1, 67), scaled, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(data.ignored, expected.ignored)
    scaling = fit_scaling(expected.inputs.reshape(-1, 67), expected.targets.reshape(-1, 9), 32)
    np.testing.assert_array_equal(data.bins, scaling.bins(expected.targets))


def test_test_clips_can_be_left_out(tmp_path):
    write_mice(tmp_path)
    config = DataConfig(dataset="mice", path=str(tmp_path), include_test_data=False)
    data = build_training_data(config)
    assert data.names == ["train0", "train1"]
    held_out = open_sequences(config, "paper", data.scaling, split="test")
    assert held_out.names == ["test0"]


def test_files_can_be_named_one_by_one(tmp_path):
    write_mice(tmp_path)
    files = [str(tmp_path / f"mouse_triplet_{split}.npy") for split in ("train", "test")]
    whole = build_training_data(DataConfig(dataset="mice", path=str(tmp_path)))
    for config in (
        DataConfig(dataset="mice", path=files),
        DataConfig(dataset="mice", path=files[0], test_path=files[1]),
    ):
        assert build_training_data(config).fingerprint() == whole.fingerprint()
    alone = build_training_data(DataConfig(dataset="mice", path=files[1]))
    assert (alone.names, alone.is_train.any()) == (["test0"], np.False_)


def test_mice_without_a_missing_point_have_an_empty_flag(tmp_path):
    rng = np.random.default_rng(0)
    clip = 400 + np.cumsum(rng.normal(size=(40, 3, 12, 2)), axis=0)
    file = tmp_path / "mouse_triplet_train.npy"
    save_dictionary(file, {"sequences": {"a": {"keypoints": clip}}})
    config = DataConfig(dataset="mice", path=str(file))
    assert (build_training_data(config).inputs[..., 66] == 0).all()
    with pytest.raises(UserError, match=r"'a point is missing' is 0 in every frame.*compat=paper"):
        build_training_data(config, "upstream")
    original = build_training_data(config, "upstream", allow_nan=True)
    assert original.inputs[..., 66].isnan().all()


def test_a_sequence_embeds_exactly_as_it_trained(tmp_path):
    write_mice(tmp_path)
    config = DataConfig(dataset="mice", path=str(tmp_path))
    for compat in ("paper", "upstream"):
        data = build_training_data(config, compat)
        stored = Scaling.from_dict(json.loads(json.dumps(data.scaling.to_dict())))
        for scaling in (stored, None):  # None: learned anew from the same clips
            sequences = open_sequences(config, compat, scaling)
            assert len(sequences) == 3
            rows = np.concatenate([sequence.inputs for sequence in sequences])
            np.testing.assert_array_equal(rows, data.inputs)
        assert sequences[-1].name == "test0"
        assert sequences[0].individuals == ("mouse_1", "mouse_2", "mouse_3")
        assert (sequences[0].is_train, sequences[2].is_train) == (True, False)
        np.testing.assert_array_equal(sequences[1].ignored, data.ignored[3:6])


def test_flies_keep_their_gaps(tmp_path):
    rng = np.random.default_rng(0)
    flies = np.cumsum(rng.normal(size=(2, 30, 4, 5, 2)), axis=1).astype(np.float32)
    flies[0, :, 3] = np.nan
    flies[1, 4:9, 0, 2, 1] = np.nan
    content = {str(n): {"keypoints": one} for n, one in enumerate(flies)}
    save_dictionary(tmp_path / "fly_group_train.npy", {"sequences": content})
    data = build_training_data(DataConfig(dataset="flies", path=str(tmp_path)), n_bins=16)
    assert (len(data), data.n_inputs, data.n_targets) == (8, 20, 10)
    assert data.ignored[3].all()
    assert np.flatnonzero(data.ignored[4].numpy()).tolist() == [4, 5, 6, 7, 8]
    rows = flies.swapaxes(1, 2).reshape(8, 30, 10)
    expected = keypoint_features(rows)
    scaling = fit_scaling(expected.inputs.reshape(-1, 20), expected.targets.reshape(-1, 10), 16)
    np.testing.assert_array_equal(data.bins, scaling.bins(expected.targets))
    np.testing.assert_array_equal(data.inputs, scaling.scale_inputs(expected.inputs))
    assert data.scaling.input_names[1] == "y of point 1"
    assert data.scaling.state["fps"] == 150


@pytest.mark.parametrize(
    ("keypoints", "match"),
    [
        (np.ones((9, 3, 11, 2)), r"clip 'a' has key points of shape \(9, 3, 11, 2\), expected"),
        (np.ones((9, 3, 12)), r"'a' has key points of shape \(9, 3, 12\)"),
        (np.full((9, 3, 12, 2), np.nan), "a: 'head x' is not a finite number in 27 frames"),
    ],
)
def test_wrong_mice_name_file_and_clip(tmp_path, keypoints, match):
    file = tmp_path / "mouse_triplet_train.npy"
    save_dictionary(file, {"sequences": {"a": {"keypoints": keypoints}}})
    with pytest.raises(UserError, match=match):
        build_training_data(DataConfig(dataset="mice", path=str(tmp_path)))


def test_clips_must_agree_and_be_there(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match=r"no mouse_triplet_train\.npy or mouse_triplet_test\.npy"):
        build_training_data(DataConfig(dataset="mice", path=str(empty)))
    with pytest.raises(UserError, match=r"data\.path is empty"):
        build_training_data(DataConfig(dataset="flies"))
    clips = {"a": {"keypoints": np.ones((9, 4, 5, 2))}, "b": {"keypoints": np.ones((9, 3, 5, 2))}}
    save_dictionary(tmp_path / "fly_group_train.npy", {"sequences": clips})
    with pytest.raises(UserError, match=r"'b' has key points of shape \(9, 3, 5, 2\), 'a'"):
        build_training_data(DataConfig(dataset="flies", path=str(tmp_path)))


# -- own arrays ---------------------------------------------------------------------------------


def write_array(path: Path, samples: int = 3, frames: int = 20, values: int = 4, seed: int = 0):
    array = np.cumsum(np.random.default_rng(seed).normal(size=(samples, frames, values)), axis=1)
    array[1, 15:] = np.nan
    np.save(path, array)
    return array


def test_own_arrays_with_padding(tmp_path):
    array = write_array(tmp_path / "mine.npy")
    config = DataConfig(dataset="arrays", path=str(tmp_path / "mine.npy"))
    data = build_training_data(config, n_bins=8)
    assert data.names == ["sample_0", "sample_1", "sample_2"]
    assert (data.n_inputs, data.n_targets, data.length) == (8, 4, 20)
    np.testing.assert_array_equal(data.ignored, np.isnan(array).any(-1))
    expected = keypoint_features(array)
    scaling = fit_scaling(expected.inputs.reshape(-1, 8), expected.targets.reshape(-1, 4), 8)
    np.testing.assert_array_equal(data.bins, scaling.bins(expected.targets))
    assert torch.isfinite(data.inputs).all()


def test_archives_have_names_and_files_are_joined(tmp_path):
    array = write_array(tmp_path / "a.npy")
    np.savez(tmp_path / "b.npz", keypoints=array, names=["x", "y", "z"])
    paths = [str(tmp_path / "a.npy"), str(tmp_path / "b.npz")]
    data = build_training_data(DataConfig(dataset="arrays", path=paths))
    assert data.names == ["sample_0", "sample_1", "sample_2", "x", "y", "z"]
    np.save(tmp_path / "c.npy", array)
    paths = [str(tmp_path / "a.npy"), str(tmp_path / "c.npy")]
    data = build_training_data(DataConfig(dataset="arrays", path=paths))
    assert data.names[0] == "a_sample_0"
    config = DataConfig(dataset="arrays", path=paths[0], test_path=paths[1])
    assert len(build_training_data(config)) == 3
    whole = build_training_data(replace(config, include_test_data=True))
    assert whole.is_train.tolist() == [True] * 3 + [False] * 3


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.ones((4, 5)), r"an array \(4, 5\) of float64, expected numbers \(samples, frames"),
        (np.ones((4, 5, 2, 2)), "side by side"),
        (np.ones((0, 5, 2)), "is empty"),
        (np.array([["a"]]), "expected numbers"),
        (np.array([{}], dtype=object), "it holds Python objects, which are not read"),
        (np.where(np.arange(20).reshape(2, 5, 2) == 14, np.inf, 1.0), "sample 1 has an infinite"),
    ],
)
def test_wrong_arrays_are_named(tmp_path, array, match):
    path = tmp_path / "mine.npy"
    np.save(path, array, allow_pickle=True)
    with pytest.raises(UserError, match=match) as error:
        build_training_data(DataConfig(dataset="arrays", path=str(path)))
    assert str(path) in str(error.value)


def test_wrong_archives_are_named(tmp_path):
    np.savez(tmp_path / "two.npz", a=np.ones((1, 4, 2)), b=np.ones((1, 4, 2)))
    np.savez(tmp_path / "names.npz", keypoints=np.ones((2, 4, 2)), names=["x"])
    np.savez(tmp_path / "twice.npz", keypoints=np.ones((2, 4, 2)), names=["x", "x"])
    (tmp_path / "junk.npz").write_bytes(b"PK\x03\x04 no archive")
    for name, match in (
        ("two.npz", "no array 'keypoints' among a, b"),
        ("names.npz", "1 names for 2 samples"),
        ("twice.npz", "two samples are named 'x'"),
        ("junk.npz", "damaged or no array"),
        ("none.npy", "no such array"),
    ):
        with pytest.raises(UserError, match=match):
            build_training_data(DataConfig(dataset="arrays", path=str(tmp_path / name)))


@pytest.mark.parametrize("compat", ["paper", "upstream"])
def test_keypoints_in_unit_scale_have_no_jump(tmp_path, compat):
    np.save(tmp_path / "unit.npy", np.random.default_rng(0).random((2, 30, 3)) * 0.05)
    config = DataConfig(dataset="arrays", path=str(tmp_path / "unit.npy"))
    if compat == "upstream":
        with pytest.raises(UserError, match=r"change of value 1: no value exceeds 0\.1"):
            build_training_data(config, compat)
    else:
        bins = build_training_data(config, compat, n_bins=8).bins
        assert len(bins.unique()) == 8


def test_a_constant_zero_value_stays_zero(tmp_path):
    array = write_array(tmp_path / "a.npy")
    array[..., 2] = 0
    np.save(tmp_path / "a.npy", array)
    config = DataConfig(dataset="arrays", path=str(tmp_path / "a.npy"))
    data = build_training_data(config)
    assert (data.inputs[..., [2, 6]] == 0).all()
    assert torch.isfinite(data.inputs).all()


@pytest.mark.parametrize("frames", [1, 2, 3, 50])
def test_short_sequences_work(tmp_path, frames):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(3, frames, 2)))
    data = build_training_data(DataConfig(dataset="arrays", path=str(tmp_path / "a.npy")))
    assert data.length == frames
    assert torch.isfinite(data.inputs).all()


def test_other_features_than_the_training_data_had(tmp_path):
    write_array(tmp_path / "a.npy")
    write_array(tmp_path / "b.npy", values=5)
    config = DataConfig(dataset="arrays", path=str(tmp_path / "a.npy"))
    scaling = build_training_data(config).scaling
    with pytest.raises(UserError, match=r"b\.npy: 10 features in a frame, the training data had 8"):
        open_sequences(replace(config, path=str(tmp_path / "b.npy")), "paper", scaling)
    with pytest.raises(UserError, match=r"b\.npy: 5 values in a frame, .*a\.npy has 4"):
        build_training_data(
            replace(config, path=[str(tmp_path / "a.npy"), str(tmp_path / "b.npy")])
        )


# -- feature files ------------------------------------------------------------------------------


def test_features_are_read_back_as_they_were(tmp_path, monkeypatch):
    write_mice(tmp_path)
    config = DataConfig(dataset="mice", path=str(tmp_path), cache=str(tmp_path / "f.npz"))
    made = build_training_data(config, "upstream")

    def forbidden(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr("bams.data.build.process", forbidden)
    read = build_training_data(config, "upstream")
    assert read.fingerprint() == made.fingerprint()
    assert torch.equal(read.inputs, made.inputs)
    assert read.is_train.tolist() == made.is_train.tolist()
    without_files = replace(config, path="")
    assert build_training_data(without_files, "upstream").fingerprint() == made.fingerprint()
    for change, match in (
        ({"compat": "paper"}, "made with compat = upstream, this run has paper"),
        ({"compat": "upstream", "n_bins": 8}, "made with hoa_bins = 32, this run has 8"),
    ):
        with pytest.raises(UserError, match=match):
            build_training_data(config, **change)
    write_mice(tmp_path, frames=41)
    with pytest.raises(UserError, match="made with files"):
        build_training_data(config, "upstream")


def test_a_damaged_feature_file_is_named(tmp_path):
    write_mice(tmp_path)
    cache = tmp_path / "f.npz"
    config = DataConfig(dataset="mice", path=str(tmp_path), cache=str(cache))
    build_training_data(config)
    cache.write_bytes(cache.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"f\.npz: damaged, or not a feature file.*delete it"):
        build_training_data(config)


# -- configuration ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"dataset": "array"}, r"data\.dataset=array: did you mean 'arrays'"),
        ({"animals": "alone"}, r"data\.animals=alone: choose one of"),
        ({"window": 0}, r"data\.window=0 must be at least 1"),
        ({"targets": ["chanches"]}, r"data\.targets=chanches: did you mean 'changes'"),
        ({"targets": []}, r"data\.targets is empty"),
        ({"targets": ["speeds"]}, r"data\.targets has speeds, data\.features has not"),
        ({"normalisation": "window"}, r"data\.normalisation=window depends on the window"),
        ({"features": ["distances"]}, r"name the pairs in data\.distances_within"),
        ({"dataset": "mice", "keypoints": ["nose"]}, r"data\.keypoints applies to recordings only"),
        ({"annotations": "a.csv"}, r"data\.annotations is for arrays and quadrupeds"),
        ({"cache": "c.npz"}, r"data\.cache is not for recordings"),
    ],
)
def test_wrong_settings_are_told(changes, match):
    with pytest.raises(UserError, match=match):
        DataConfig(path="x", **changes).check()


def test_all_problems_come_in_one_line():
    with pytest.raises(UserError) as error:
        DataConfig(window=0, targets=["speeds"], features=[]).check()
    assert str(error.value).count(";") >= 2
    assert "\n" not in str(error.value)
