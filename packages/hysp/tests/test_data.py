"""Data sets: skeletons, splits, the original's files, clips of recordings, opening."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from behaviorzoo.errors import UserError
from behaviorzoo.labels import write_labels
from behaviorzoo.recordings import make_recording, save_recording
from hysp.data import ClipConfig, DataConfig, has_split, open_data
from hysp.data.arrays import label_file_of, open_array, read_label_file, write_label_file
from hysp.data.bandai import bandai_clips
from hysp.data.mmaction import mmaction_clips
from hysp.data.skeleton import Skeleton, middle_joint, mirror_order, named_skeleton
from hysp.data.splits import (
    group_folds,
    semi_supervised,
    semi_supervised_per_class,
    uncertainty_halves,
)

JOINTS = ["nose", "left_ear", "right_ear", "neck", "tail_base"]


# -- skeletons --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "joints"), [("ntu-rgb+d", 25), ("openpose", 18), ("nw-ucla", 20)]
)
def test_named_skeletons(layout, joints):
    skeleton = named_skeleton(layout)
    assert len(set(skeleton.joints)) == joints
    assert Skeleton.from_dict(skeleton.to_dict()) == skeleton
    for joint, partner in enumerate(skeleton.mirror):
        assert skeleton.mirror[partner] == joint
        a, b = skeleton.joints[joint], skeleton.joints[partner]
        assert b == a or {a, b} == {a.replace("right", "left"), a.replace("left", "right")}
    bones = {frozenset(edge) for edge in skeleton.edges}
    # In a mirror image every bone is a bone again.
    assert {frozenset(skeleton.mirror[j] for j in bone) for bone in bones} == bones


def test_the_mirror_of_ntu_is_that_of_the_augmentation():
    from hysp.augment import NTU_MIRROR

    assert named_skeleton("ntu-rgb+d").mirror == NTU_MIRROR


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["nose", "left_ear", "right_ear"], (0, 2, 1)),
        (["Hand_L", "Head", "Hand_R"], (2, 1, 0)),
        (["LeftPaw", "RightPaw", "tail"], (1, 0, 2)),
        (["l_ear", "R_ear", "left_hip"], (1, 0, 2)),
        (["ear-left", "ear-right", "calf"], (1, 0, 2)),
        (["a", "b", "c"], (0, 1, 2)),
    ],
)
def test_left_and_right_by_name(names, order):
    assert mirror_order(names) == order


def test_left_and_right_as_told():
    assert mirror_order(["a", "b", "c"], [["a", "c"]]) == (2, 1, 0)
    with pytest.raises(UserError, match="no joint 'nosr'; did you mean 'nose'"):
        mirror_order(JOINTS, [["nosr", "neck"]])
    with pytest.raises(UserError, match="'neck' is in more than one pair"):
        mirror_order(JOINTS, [["nose", "neck"], ["tail_base", "neck"]])


def test_the_middle_joint():
    assert middle_joint(5, [(0, 1), (1, 2), (2, 3), (3, 4)]) == 2
    assert middle_joint(3, []) == 0


# -- splits -----------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    groups=st.lists(st.integers(0, 9), min_size=20, max_size=60),
    folds=st.integers(2, 5),
    seed=st.integers(0, 9),
)
def test_folds_keep_groups_together(groups, folds, seed):
    names = np.array([f"g{group}" for group in groups])
    if len(set(groups)) < folds:
        with pytest.raises(UserError, match=rf"^{folds} folds of {len(set(groups))} groups"):
            group_folds(names, folds, seed)
        return
    fold = group_folds(names, folds, seed)
    assert set(fold) == set(range(folds))
    for name in set(names):
        assert len(set(fold[names == name])) == 1
    np.testing.assert_array_equal(fold, group_folds(names, folds, seed))


def test_folds_of_single_samples_are_even():
    fold = group_folds([str(n) for n in range(23)], 5)
    assert sorted(np.bincount(fold)) == [4, 4, 5, 5, 5]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), fraction=st.sampled_from([0.01, 0.1, 0.5]))
def test_labelled_fractions(seed, fraction):
    labels = np.random.default_rng(seed).integers(0, 4, 300)
    drawn = semi_supervised(labels, fraction, seed)
    assert len(drawn) == int(fraction * 300)
    assert len(set(drawn.tolist())) == len(drawn)
    shares = np.bincount(labels[drawn], minlength=4) - fraction * np.bincount(labels, minlength=4)
    assert np.abs(shares).max() <= 1
    each = semi_supervised_per_class(labels, fraction, seed)
    assert (np.diff(each) > 0).all()
    expected = [round(fraction * int((labels == c).sum())) for c in range(4)]
    assert np.bincount(labels[each], minlength=4).tolist() == expected


@pytest.mark.parametrize("fraction", [0, 1.5, 0.001])
def test_impossible_fractions(fraction):
    with pytest.raises(UserError, match=f"a fraction of {fraction:g} of 100 samples"):
        semi_supervised(np.zeros(100, int), fraction)


def test_halves_of_odd_numbers():
    halves = uncertainty_halves(np.array([0.5, 0.1, 0.9, 0.5, 0.2]))
    assert halves.median == 0.5
    assert halves.low.tolist() == [1, 4]
    assert halves.high.tolist() == [0, 2, 3]


# -- the original's files ---------------------------------------------------------------------


def original(folder: Path, n: int = 6, part: str = "train", seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(n, 3, 10, 25, 2)).astype(np.float32)
    x[1:3, ..., 1] = 0
    folder.mkdir(exist_ok=True, parents=True)
    np.save(folder / f"{part}_position.npy", x)
    write_label_file(folder / f"{part}_label.pkl", [f"s{k}" for k in range(n)], np.arange(n) % 3)
    return x


def test_original_arrays(tmp_path):
    x, y = original(tmp_path / "xsub"), original(tmp_path / "xsub", 3, "val", seed=1)
    config = DataConfig(path=str(tmp_path), benchmark="xsub")
    assert has_split(config, "val")
    data = open_data(config)
    assert data.shape == (3, 10, 25, 2)
    assert isinstance(data.x, np.memmap)
    np.testing.assert_array_equal(data.x, x)
    assert data.names == ["s0", "s1", "s2", "s3", "s4", "s5"]
    assert data.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert (data.n_classes, data.classes[1]) == (3, "A002")
    assert data.present.tolist() == [[True, k not in (1, 2)] for k in range(6)]
    assert data.skeleton.layout == "ntu-rgb+d"
    got = data.batch([4, 0])
    assert torch.equal(got.x, torch.from_numpy(x[[4, 0]]))
    assert got.labels.tolist() == [1, 0]
    assert got.index.tolist() == [4, 0]
    assert got.to("cpu", non_blocking=True).x.shape == got.x.shape
    held_out = open_data(config, "val", data.state_dict())
    np.testing.assert_array_equal(held_out.x, y)
    file = DataConfig(path=str(tmp_path / "xsub" / "val_position.npy"), folds=3, fold=1)
    assert len(open_data(file)) + len(open_data(file, "val")) == 3
    assert len(open_data(DataConfig(path=file.path), "all")) == 3
    assert not has_split(DataConfig(path=file.path), "val")


def test_original_labels(tmp_path):
    array = tmp_path / "train_position.npy"
    with pytest.raises(UserError, match=r"no labels beside it \(looked for train_label.pkl and"):
        label_file_of(array)
    np.save(tmp_path / "train_label.npy", np.array([[2], [0]]))
    assert read_label_file(label_file_of(array))[1].tolist() == [2, 0]
    write_label_file(tmp_path / "train_label.pkl", ["a", "b"], [1, 0])
    assert label_file_of(array).suffix == ".pkl"
    with (tmp_path / "train_label.pkl").open("rb") as handle:
        assert pickle.load(handle) == (["a", "b"], [1, 0])
    (tmp_path / "bare.pkl").write_bytes(pickle.dumps(np.array([3, 1])))
    names, labels = read_label_file(tmp_path / "bare.pkl")
    assert names is None
    assert labels.tolist() == [3, 1]


class Hostile:
    def __reduce__(self):
        return (print, ("run",))


def test_hostile_and_damaged_label_files(tmp_path, capsys):
    file = tmp_path / "train_label.pkl"
    file.write_bytes(pickle.dumps((["a"], Hostile())))
    with pytest.raises(
        UserError, match=r"train_label\.pkl: refused, it wants .*print.*nothing was"
    ):
        read_label_file(file)
    assert capsys.readouterr().out == ""
    file.write_bytes(pickle.dumps((["a"], [1]))[:-4])
    with pytest.raises(UserError, match="truncated or damaged"):
        read_label_file(file)
    file.write_bytes(pickle.dumps((["a", "b"], [1])))
    with pytest.raises(UserError, match="2 names, but 1 labels"):
        read_label_file(file)
    file.write_bytes(pickle.dumps(["x", 1.5]))
    with pytest.raises(UserError, match="expected \\(names, labels\\)"):
        read_label_file(file)


def test_arrays_that_do_not_fit(tmp_path):
    original(tmp_path)
    np.save(tmp_path / "odd.npy", np.zeros((2, 3, 4)))
    with pytest.raises(UserError, match=r"odd\.npy: array \(2, 3, 4\) of float64, expected"):
        open_array(tmp_path / "odd.npy")
    whole = (tmp_path / "train_position.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:-100])
    with pytest.raises(UserError, match=r"cut\.npy: truncated"):
        open_array(tmp_path / "cut.npy")
    np.save(tmp_path / "val_position.npy", np.zeros((2, 3, 4, 7, 1), np.float32))
    write_label_file(tmp_path / "val_label.pkl", ["a", "b"], [0, 1])
    with pytest.raises(UserError, match=r"val_position\.npy: 7 joints; arrays of the original"):
        open_data(DataConfig(path=str(tmp_path)), "val")
    write_label_file(tmp_path / "train_label.pkl", ["a", "b"], [0, 1])
    with pytest.raises(UserError, match="6 samples, but 2 labels"):
        open_data(DataConfig(path=str(tmp_path)))


def test_nan_is_named(tmp_path):
    x = original(tmp_path)
    x[4, 0, 3, 2, 0] = np.nan
    np.save(tmp_path / "train_position.npy", x)
    data = open_data(DataConfig(path=str(tmp_path)))
    data.batch([0, 1])
    with pytest.raises(UserError, match="sample s4 holds NaN"):
        data.batch([5, 4])


# -- recordings -------------------------------------------------------------------------------


def mice(folder: Path, n: int = 3, frames: int = 60, space: int = 2, first: int = 100) -> None:
    """Recordings with two mice of five points; frame numbers begin at ``first``."""
    for number in range(n):
        rng = np.random.default_rng(number)
        body = 10 * np.random.default_rng(99).normal(size=(1, space, 5, 1))
        way = rng.normal(size=(frames, space, 1, 2)).cumsum(axis=0) * 5
        position = body + way + rng.normal(size=(frames, space, 5, 2)) * 0.1
        ds = make_recording(
            position.astype(np.float32),
            keypoints=JOINTS,
            individuals=["a", "b"],
            fps=30,
            name=f"day{number}",
            first_frame=first,
        )
        save_recording(ds, folder / f"day{number}.nc")


def table(rows: list[tuple]) -> pd.DataFrame:
    columns = ["recording", "task", "start", "stop", "label", "part"]
    return pd.DataFrame([(*row, *[""] * (6 - len(row))) for row in rows], columns=columns)


LABELS = [
    ("day0", "act", 100, 120, "run", "train"),
    ("day0", "act", 120, 150, "rest", "train"),
    ("day1", "act", 110, 130, "rest", "val"),
    ("day2", "act", 100, 101, "run", "val"),
    ("day2", "act", 300, 310, "run", "val"),
]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    mice(folder)
    return folder


@pytest.fixture
def labelled(recordings, tmp_path):
    """Configuration of the three recordings with their labels; arguments are clip settings."""
    write_labels(table(LABELS), tmp_path / "labels.csv")
    return lambda **clips: DataConfig(
        path=str(recordings),
        labels=str(tmp_path / "labels.csv"),
        clips=ClipConfig(**{"frames": 8} | clips),
    )


def test_clips_of_a_label_table(labelled):
    config = labelled()
    data = open_data(config, "all")
    assert data.names == ["day0@100-120", "day0@120-150", "day1@110-130"]
    assert data.shape == (2, 8, 5, 2)
    assert data.classes == ["rest", "run"]
    assert data.labels.tolist() == [1, 0, 0]
    assert data.groups.tolist() == ["day0", "day0", "day1"]
    assert data.dropped["reason"].tolist() == ["shorter than 2 frames", "outside the recording"]
    assert data.skeleton.joints == tuple(JOINTS)
    assert data.skeleton.mirror == (0, 2, 1, 3, 4)
    train, val = open_data(config), open_data(config, "val")
    assert (train.names, val.names) == (data.names[:2], data.names[2:])
    assert has_split(config, "val")


def test_a_clip_is_the_plain_resize_of_its_frames(labelled, recordings):
    config = labelled(scale=1.0, centre="neck")
    data = open_data(config, "all")
    from behaviorzoo.recordings import load_recording

    position = load_recording(recordings / "day0.nc")["position"].to_numpy()  # (T, S, K, I)
    part = position[20:50] - position[20:50, :, 3:4]
    for i in range(8):
        at = (i + 0.5) * 30 / 8 - 0.5
        low = int(at)
        expected = part[low] * (1 - at + low) + part[low + 1] * (at - low)
        np.testing.assert_allclose(data.x[1][:, i], expected, atol=1e-4)


def test_centring_and_heading(labelled):
    frame = open_data(labelled(centre="neck", heading=["tail_base", "nose"]), "all")
    np.testing.assert_allclose(frame.x[:, :, :, 3], 0, atol=1e-6)
    line = frame.x[:, :, :, 0] - frame.x[:, :, :, 4]
    assert (line[:, 0] > 0).all()
    np.testing.assert_allclose(line[:, 1], 0, atol=1e-5)
    squares = (frame.x.astype(float) ** 2).sum(axis=1).mean()
    assert np.sqrt(squares) == pytest.approx(0.5, rel=1e-3)
    config = labelled(centre="neck", heading=["tail_base", "nose"])
    config.clips.centring = config.clips.align = "clip"
    clip = open_data(config, "all")
    np.testing.assert_allclose(clip.x[:, :, :, 3].mean(axis=2), 0, atol=1e-4)
    assert np.abs(clip.x[:, :, :, 3]).max() > 1e-3
    first = clip.x[:, :, 0, 0] - clip.x[:, :, 0, 4]
    np.testing.assert_allclose(first[:, 1], 0, atol=1e-4)


def test_a_reference_keeps_the_distance_between_individuals(labelled):
    config = labelled(centre="neck", reference="b", scale=1.0)
    own = open_data(labelled(centre="neck", scale=1.0), "all").x
    both = open_data(config, "all").x
    np.testing.assert_allclose(both[..., 1], own[..., 1], atol=1e-4)
    assert np.abs(both[:, :, :, 3, 0]).max() > 1
    config.clips.reference = "c"
    with pytest.raises(
        UserError, match=r"data\.clips\.reference: no individual 'c'; choose one of"
    ):
        open_data(config, "all")


def test_other_data_are_treated_as_the_training_data(labelled, recordings, tmp_path):
    config = labelled()
    trained = open_data(config)
    bigger = tmp_path / "bigger"
    from behaviorzoo.recordings import load_recording

    ds = load_recording(recordings / "day0.nc")
    save_recording(ds.assign(position=ds["position"] * 3), bigger / "day0.nc")
    others = DataConfig(path=str(bigger), labels=config.labels, clips=config.clips)
    again = open_data(others, "all", trained.state_dict())
    np.testing.assert_allclose(again.x, 3 * trained.x, rtol=1e-4, atol=1e-4)
    fresh = open_data(others, "all")
    np.testing.assert_allclose(fresh.x, trained.x, rtol=1e-3, atol=1e-3)
    write_labels(table([("day0", "act", 100, 110, "rum")]), tmp_path / "more.csv")
    others.labels = str(tmp_path / "more.csv")
    with pytest.raises(UserError, match="act 'rum' is no class of the training data; did you mean"):
        open_data(others, "all", trained.state_dict())


def test_sliding_windows(labelled):
    config = labelled(window=20, stride=10)
    data = open_data(config, "all")
    per_day = {f"day{n}": [k for k in data.names if k.startswith(f"day{n}")] for n in range(3)}
    assert [len(names) for names in per_day.values()] == [5, 5, 5]
    assert per_day["day0"][0] == "day0@100-120"
    codes = dict(zip(data.names, data.labels.tolist(), strict=True))
    assert codes["day0@100-120"] == 1
    assert codes["day0@110-130"] == -1  # half and half
    assert codes["day0@120-140"] == 0
    assert codes["day2@100-120"] == -1
    config.labels = None
    without = open_data(config)
    assert without.labels is None
    assert without.batch([0]).labels is None
    assert len(without) == 15
    with pytest.raises(UserError, match="nothing says which samples are for validation"):
        open_data(config, "val")
    assert not has_split(config, "val")
    config.folds = 3
    held_out = open_data(config, "val")
    assert len(set(held_out.groups)) == 1
    assert not set(held_out.groups) & set(open_data(config).groups)


def test_missing_points(tmp_path):
    mice(tmp_path / "rec", n=1)
    from behaviorzoo.recordings import load_recording

    file = tmp_path / "rec" / "day0.nc"
    ds = load_recording(file)
    whole = ds["position"].to_numpy().copy()
    position = whole.copy()
    position[5, :, 1, 0] = np.nan  # one frame of one point
    position[30:, :, :, 1] = np.nan  # b leaves
    position[40:, :, 2, 0] = np.nan  # a point that is not seen any more
    save_recording(ds.assign(position=(ds["position"].dims, position)), file)
    config = DataConfig(path=str(file), clips=ClipConfig(frames=10, window=10, scale=1.0))
    with pytest.raises(UserError) as caught:
        open_data(config)
    message = str(caught.value)
    assert "left_ear of a is missing at frame 105 (1.0% of the points of this clip" in message
    config.clips.missing = "drop"
    dropped = open_data(config)
    assert dropped.names == ["day0@110-120", "day0@120-130", "day0@130-140"]
    assert dropped.dropped["reason"].tolist() == ["missing points"] * 3
    assert dropped.present.tolist() == [[True, True], [True, True], [True, False]]
    config.clips.missing, config.clips.max_gap = "interpolate", 2
    assert open_data(config).names[0] == "day0@100-110"
    config.clips.missing, config.clips.max_gap = "fill", None
    filled = open_data(config)
    assert filled.dropped["reason"].tolist() == ["right_ear is never seen in it"] * 2
    config.clips.centring = "none"
    first = open_data(config).x[0]
    line = (whole[4, :, 1, 0] + whole[6, :, 1, 0]) / 2
    np.testing.assert_allclose(first[:, 5, 1, 0], line, rtol=1e-4)
    config.clips.keypoints = ["right_ear"]
    assert open_data(config).shape[2] == 1


def test_three_dimensions_and_chosen_points(tmp_path):
    mice(tmp_path, n=1, space=3)
    clips = ClipConfig(
        frames=6,
        window=12,
        keypoints=["nose", "neck", "tail_base"],
        individuals=["b"],
        edges=[["nose", "neck"], ["neck", "tail_base"]],
        heading=["tail_base", "nose"],
        up="z",
    )
    data = open_data(DataConfig(path=str(tmp_path), clips=clips))
    assert data.shape == (3, 6, 3, 1)
    assert data.skeleton.edges == ((0, 1), (1, 2))
    assert data.skeleton.centre == 1
    np.testing.assert_allclose(data.x[:, 1, :, 0] - data.x[:, 1, :, 2], 0, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": 500}, "no recording is as long as one window of 500 frames"),
        ({"centre": "neckk"}, r"data\.clips\.centre: no joint 'neckk'; did you mean 'neck'"),
        ({"edges": [["nose", "nek"]]}, r"data\.clips\.edges: no joint 'nek'; did you mean 'neck'"),
        ({"heading": ["nose", "x"]}, r"data\.clips\.heading: no joint 'x'"),
        ({"missing": "zero"}, r"data\.clips\.missing=zero: "),
        ({"max_gap": 3}, r"max_gap belongs to data\.clips\.missing=interpolate"),
        ({"stride": 3}, r"data\.clips\.stride needs data\.clips\.window"),
        ({"frames": 0, "scale": -1}, r"frames=0 must be at least 1; data\.clips\.scale=-1"),
        ({"exclude": ["day*"]}, "all 3 recordings are left out"),
    ],
)
def test_wrong_settings_of_clips(labelled, change, message):
    with pytest.raises(UserError, match=message) as caught:
        open_data(labelled(**change), "all")
    assert "\n" not in str(caught.value)


def test_wrong_settings_of_the_split(labelled, tmp_path):
    config = labelled()
    with pytest.raises(UserError, match=r"data\.path is empty"):
        open_data(DataConfig())
    config.benchmark = "prt"
    with pytest.raises(UserError, match="no such benchmark; did you mean 'part'"):
        open_data(config)
    config.folds = 2
    with pytest.raises(UserError, match="both say who trains"):
        open_data(config)
    config.benchmark, config.fold = "", 2
    with pytest.raises(UserError, match=r"data\.fold=2 must be below data\.folds=2"):
        open_data(config)
    config.fold, config.task = 0, "actt"
    with pytest.raises(UserError, match=r"data\.task=actt: no such labels; did you mean 'act'"):
        open_data(config)
    write_labels(table([("other", "act", 1, 5, "run")]), tmp_path / "labels.csv")
    config.task = ""
    with pytest.raises(UserError, match=r"no row for any of the recordings \(day0, day1, day2\)"):
        open_data(config)


def test_every_key_has_its_help():
    import dataclasses

    for schema in (DataConfig, ClipConfig):
        assert all(field.metadata["help"] for field in dataclasses.fields(schema))


# -- motion capture and detected poses --------------------------------------------------------


def test_real_motion_capture(real_data_dir):
    file = real_data_dir / "bandai_mocap" / "dataset2_subset.npz"
    clips = bandai_clips(file)
    assert clips.array.shape == (280, 3, 50, 21, 1)
    assert len(clips.dropped) == 0
    assert {task: len(names) for task, names in clips.description.tasks.items()} == {
        "action": 10,
        "style": 7,
    }
    assert clips.table["group"].nunique() == 280
    skeleton = clips.description.skeleton
    assert len(skeleton.edges) == 20
    assert skeleton.joints[skeleton.centre] == "Chest"
    assert skeleton.joints[skeleton.mirror[skeleton.joints.index("Foot_L")]] == "Foot_R"
    # Bones of a mocap skeleton have one length; 0.05 cm of rounding and the blend remain.
    bones = np.stack([clips.array[:, :, :, a] - clips.array[:, :, :, b] for a, b in skeleton.edges])
    lengths = np.linalg.norm(bones[..., 0], axis=2)  # (bones, N, T)
    assert 0.02 < lengths.mean() < 1
    assert lengths.std(axis=2).mean() < 0.01
    shoulders = (
        clips.array[:, :, 0, skeleton.joints.index("Shoulder_R"), 0]
        - (clips.array[:, :, 0, skeleton.joints.index("Shoulder_L"), 0])
    )
    np.testing.assert_allclose(shoulders[:, 2], 0, atol=1e-5)


def bandai_file(path: Path, **changes) -> Path:
    arrays = {
        "positions_q": np.arange(9 * 3 * 3, dtype=np.int16).reshape(9, 3, 3),
        "scale_cm": np.float32(0.05),
        "offsets": np.array([0, 4, 9]),
        "content": np.array(["walk", "run"]),
        "style": np.array(["old", "old"]),
        "joint_names": np.array(["Hips", "Shoulder_L", "Shoulder_R"]),
        "parents": np.array([-1, 0, 0]),
    }
    np.savez(path, **{key: value for key, value in (arrays | changes).items() if value is not None})
    return path


def test_motion_files_of_the_same_layout(tmp_path):
    config = ClipConfig(frames=4, centring="none", scale=0.01)
    clips = bandai_clips(bandai_file(tmp_path / "m.npz"), config)
    assert clips.table["name"].tolist() == ["walk_old_000@0-4", "run_old_001@0-5"]
    expected = np.arange(9 * 9).reshape(9, 3, 3)[:4].transpose(2, 0, 1) * 0.05 * 0.01
    np.testing.assert_allclose(clips.array[0, ..., 0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"style": None}, "no array 'style'"),
        ({"offsets": np.array([0, 4, 8])}, "offsets do not cut 9 frames into 2 clips"),
        ({"joint_names": np.array(["Hips"])}, r"positions_q has shape \(9, 3, 3\), expected"),
        ({"parents": np.array([-1, 0])}, "parents has 2 entries, expected 3"),
    ],
)
def test_damaged_motion_files(tmp_path, changes, message):
    with pytest.raises(UserError, match=rf"m\.npz: {message}"):
        bandai_clips(bandai_file(tmp_path / "m.npz", **changes), ClipConfig())
    whole = bandai_file(tmp_path / "m.npz").read_bytes()
    (tmp_path / "m.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="truncated, or not an npz"):
        bandai_clips(tmp_path / "m.npz")


def annotation(name: str, persons: int, frames: int, label: int | None, seed: int) -> dict:
    rng = np.random.default_rng(seed)
    found = {
        "frame_dir": name,
        "total_frames": frames,
        "keypoint": (rng.normal(size=(persons, frames, 17, 2)) + 9).astype(np.float16),
        "keypoint_score": np.full((persons, frames, 17), 0.9, np.float16),
    }
    return found if label is None else found | {"label": label}


def test_annotations_of_mmaction(tmp_path):
    file = tmp_path / "poses.pkl"
    listed = [annotation("a", 1, 20, 3, 0), annotation("b", 3, 9, 0, 1)]
    listed[1]["keypoint_score"][0] = 0  # the first of three is never seen: the others are kept
    split = {"xsub_train": ["a"], "xsub_val": ["b"]}
    file.write_bytes(pickle.dumps({"split": split, "annotations": listed}))
    clips = mmaction_clips(file)
    assert clips.array.shape == (2, 2, 50, 18, 2)
    assert clips.description.skeleton.layout == "openpose"
    assert clips.description.tasks == {"action": ["000", "003"]}
    assert clips.table["xsub"].tolist() == ["train", "val"]
    assert (clips.array != 0).any(axis=(1, 2, 3)).tolist() == [[True, False], [True, True]]
    np.testing.assert_allclose(clips.array[:, :, :, 1], 0, atol=1e-6)  # centred on the neck
    x = listed[0]["keypoint"][0].astype(np.float64)
    neck = (x[:, 5] + x[:, 6]) / 2
    expected = (x[0, 10] - neck[0]) * clips.description.state["scale"]  # right wrist: 10, then 4
    np.testing.assert_allclose(clips.array[0, :, 0, 4, 0], expected, rtol=0.02, atol=0.01)
    file.write_bytes(pickle.dumps([annotation("a", 1, 5, None, 0)]))
    assert mmaction_clips(file).description.tasks == {}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "no list of annotations"),
        ([{"frame_dir": "a"}], "annotation 0: no frame_dir or no keypoint"),
        (
            [{"frame_dir": "a", "keypoint": np.zeros((1, 4, 13, 2))}],
            r"annotation 0 \(a\): keypoint has shape \(1, 4, 13, 2\)",
        ),
        ([Hostile()], "refused, it wants"),
    ],
)
def test_other_pickles_are_refused(tmp_path, value, message):
    file = tmp_path / "poses.pkl"
    file.write_bytes(pickle.dumps(value))
    with pytest.raises(UserError, match=message):
        mmaction_clips(file)
