"""Preparation of hBABEL, and the reader of joblib files."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from types import SimpleNamespace

import joblib
import numpy as np
import pytest

from behaviorzoo.errors import UserError
from hbehavemae.data import DataConfig, build_training_data, has_split, open_sequences
from hbehavemae.data.joblib_files import load_joblib
from hbehavemae.prepare import hbabel_labels, hbabel_poses
from hbehavemae.prepare.labels import frame_labels
from hbehavemae.prepare.poses import JOINTS, align, normalise, read_motions, rotation_onto


def motion(rng: np.random.Generator, frames: int) -> np.ndarray:
    body = rng.normal(size=(1, 73, 3))
    return (body + 0.1 * rng.normal(size=(frames, 73, 3))).astype(np.float32)


def write_split(folder: Path, split: str, lengths: list[int], seed: int = 0) -> list[dict]:
    rng = np.random.default_rng(seed)
    samples = [
        {
            "babel_id": f"{split}{number}",
            "poses": np.zeros((length, 5), np.float32),
            "joint_positions": motion(rng, length),
            "fname": "walk.npz",
        }
        for number, length in enumerate(lengths)
    ]
    joblib.dump(samples, folder / f"{split}.pth.tar")
    return samples


# -- poses ------------------------------------------------------------------------------------


def test_normalised_bodies_stand_upright_and_face_forward():
    rng = np.random.default_rng(0)
    x = normalise(motion(rng, 6) + 10).astype(np.float64)
    shoulders = x[0, [8, 16]].mean(0) - x[0, [4, 12]].mean(0)
    np.testing.assert_array_equal(x[:, 1], 0)
    # The second rotation may tilt the spine again: it is the shoulders that are exact.
    np.testing.assert_allclose(shoulders[1:], 0, atol=1e-5)
    assert shoulders[0] > 0


def test_normalisation_keeps_the_shape_of_the_body_in_every_frame():
    positions = motion(np.random.default_rng(1), 5)
    x = normalise(positions)
    chosen = positions[:, list(JOINTS)]
    distances = lambda p: np.linalg.norm(p[:, :, None] - p[:, None], axis=-1)  # noqa: E731
    np.testing.assert_allclose(distances(x), distances(chosen), atol=1e-4)


def test_missing_joints_stay_zero():
    positions = motion(np.random.default_rng(2), 4)
    positions[2, JOINTS[5]] = 0
    assert (normalise(positions)[2, 5] == 0).all()


@pytest.mark.parametrize("target", [[0, 0, 1], [1, 0, 0]])
def test_rotation_onto_its_target(target):
    rng = np.random.default_rng(3)
    for vector in rng.normal(size=(20, 3)):
        rotation = rotation_onto(vector, np.array(target, float))
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        np.testing.assert_allclose(rotation @ vector / np.linalg.norm(vector), target, atol=1e-12)
    np.testing.assert_array_equal(rotation_onto(np.zeros(3), np.array(target)), np.eye(3))
    np.testing.assert_array_equal(
        rotation_onto(2.0 * np.array(target), np.array(target)), np.eye(3)
    )


def test_alignment_undoes_a_rotation_and_removes_translation():
    rng = np.random.default_rng(4)
    body = rng.normal(size=(1, 25, 3))
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    same, turned = np.repeat(body, 3, 0), np.repeat(body, 3, 0) @ q + 5
    first, second = align([same.astype(np.float32), turned.astype(np.float32)])
    np.testing.assert_allclose(first, second, atol=1e-5)
    np.testing.assert_allclose(first[0].mean(0), first[2].mean(0), atol=1e-6)


def test_both_layouts_give_the_same_windows_and_keep_other_fields(tmp_path):
    for split in ("train", "val"):
        write_split(tmp_path, split, [12, 7])
    arrays, original = tmp_path / "arrays", tmp_path / "original"
    assert len(hbabel_poses(tmp_path, arrays, ["train", "val"], "arrays")) == 2
    written = hbabel_poses(tmp_path, original, ["train", "val"], "original")
    assert load_joblib(written[0])[0]["fname"] == "walk.npz"
    network = SimpleNamespace(input_size=(10, 1, 75), missing=False)
    for procrustes in (True, False):
        batches = []
        for folder in (arrays, original):
            config = DataConfig(dataset="hbabel", path=str(folder), joints3d_procrustes=procrustes)
            data = build_training_data(config, network)
            assert data.window_ids.tolist() == [[0, 0], [0, 1], [0, 2], [1, 0]]
            batches.append(data.batch(np.arange(4)))
            lengths = [len(s.features) for s in open_sequences(config, network)]
            assert lengths == [12, 7]
        np.testing.assert_allclose(batches[0], batches[1], atol=1e-6)
        np.testing.assert_array_equal(batches[0][3, 7], batches[0][3, 6])  # the last one again


def test_training_on_the_test_split_too_appends_it(tmp_path):
    for split in ("train", "val", "test"):
        write_split(tmp_path, split, [6, 8])
    hbabel_poses(tmp_path)
    network = SimpleNamespace(input_size=(6, 1, 75), missing=False)
    config = DataConfig(dataset="hbabel", path=str(tmp_path), include_test_data=True)
    names = build_training_data(config, network).sequence_names
    assert names == ["train0", "train1", "test0", "test1"]
    assert has_split(config, "test")
    (tmp_path / "hbabel_val_poses.npz").unlink()
    assert has_split(config, "test")
    (tmp_path / "val_proc_realigned_procrustes.pth.tar").rename(tmp_path / "kept")
    assert not has_split(config, "test")
    (tmp_path / "kept").rename(tmp_path / "val_proc_realigned_procrustes.pth.tar")
    assert build_training_data(config, network, "test").sequence_names == ["val0", "val1"]


def test_augmentation_of_motions_works(tmp_path):
    write_split(tmp_path, "train", [20])
    hbabel_poses(tmp_path, splits=["train"])
    network = SimpleNamespace(input_size=(20, 1, 75), missing=False)
    config = DataConfig(dataset="hbabel", path=str(tmp_path), data_augment=True)
    data = build_training_data(config, network)
    plain, drawn = data.batch(np.zeros(300, int)), data.batch(np.zeros(300, int), np.arange(300))
    assert drawn.shape == (300, 20, 1, 75)
    moved = (plain != drawn).flatten(1).any(1).float().mean()
    # A motion without empty frames has no room for the shift: only the drift shows (p = 0.4),
    # and one in 5 * 3 * 5 * 5 squared of the drifts changes nothing.
    assert moved.item() == pytest.approx(0.4, abs=0.09)


def test_preparation_without_any_split_names_the_files(tmp_path):
    with pytest.raises(UserError, match=r"found none of train\.pth\.tar, val\.pth\.tar"):
        hbabel_poses(tmp_path)


def test_bad_samples_are_named(tmp_path):
    joblib.dump(
        [{"babel_id": "7", "poses": np.zeros(3), "joint_positions": np.zeros((3, 25, 3))}],
        tmp_path / "train.pth.tar",
    )
    with pytest.raises(UserError, match=r"sample 7 has joint_positions of shape \(3, 25, 3\)"):
        hbabel_poses(tmp_path)


def test_unprepared_data_say_what_to_run(tmp_path):
    with pytest.raises(UserError, match="hbehavemae prepare hbabel-poses"):
        read_motions(tmp_path, "train", aligned=True)


def test_truncated_arrays_are_named(tmp_path):
    write_split(tmp_path, "train", [6])
    (path,) = hbabel_poses(tmp_path, splits=["train"], layout="arrays")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"hbabel_train_poses\.npz: damaged"):
        read_motions(tmp_path, "train", aligned=True)


# -- labels -----------------------------------------------------------------------------------


def annotation(frame: list | None, sequence: list) -> dict:
    label = lambda entry: dict(zip(("act_cat", "start_t", "end_t"), entry, strict=False))  # noqa: E731
    return {
        "seq_ann": {"labels": [label(entry) for entry in sequence]},
        "frame_ann": None if frame is None else {"labels": [label(entry) for entry in frame]},
    }


def test_frame_labels_end_with_their_sequence_unless_parity_is_asked():
    table = {
        "a": annotation([(["walk"], 0.0, 0.5)], [(["go"],)]),
        "b": annotation([(["sit"], 0.0, 0.1)], [(["rest"],)]),
    }
    poses = [("a", 10), ("b", 6)]
    ours, theirs = (frame_labels(table, poses, compat=compat) for compat in ("none", "upstream"))
    walk = ours.vocabulary.index("walk_frame")
    assert ours.label_array[walk].tolist() == [1] * 10 + [0] * 6
    assert theirs.label_array[walk].tolist() == [1] * 15 + [0] * 1
    assert ours.vocabulary == ["go_seg", "rest_seg", "walk_frame", "sit_frame"]


def test_unannotated_stays_unannotated_unless_parity_is_asked():
    table = {"a": annotation([(None, 0, 0.1), (["walk"], 0.0, 0.1)], [(["go"],)])}
    ours, theirs = (
        frame_labels(table, [("a", 4)], compat=compat) for compat in ("none", "upstream")
    )
    assert (ours.label_array == -1).all()
    assert (theirs.label_array == 1).sum() == 3 + 4
    assert ours.frame_number_map == theirs.frame_number_map == {}


def test_vocabulary_keeps_the_most_frequent_and_breaks_ties_by_first_occurrence():
    table = {
        "a": annotation([([c], 0, 1) for c in "xyyz/"], [(["s"],)]),
        "b": annotation(None, [(["t"],), (None,)]),
    }
    labels = frame_labels(table, [("a", 3), ("b", 2)], top_frame=3, top_sequence=1)
    assert labels.vocabulary == ["t_seg", "z_frame", "#_frame", "y_frame"]
    assert labels.clip_lengths == {"a": 3, "b": 2}


def test_labels_from_the_prepared_poses_equal_those_from_the_motions(tmp_path):
    teach = tmp_path / "babel-teach"
    teach.mkdir()
    write_split(tmp_path, "val", [9, 12])
    hbabel_poses(tmp_path, tmp_path / "arrays", ["val"], "arrays")
    table = {f"val{n}": annotation([(["walk"], 0, 0.2)], [(["go"],)]) for n in range(2)}
    (teach / "val.json").write_text(json.dumps(table))
    one = hbabel_labels(tmp_path, tmp_path / "one", ["val"])
    two = hbabel_labels(tmp_path, tmp_path / "two", ["val"], poses=tmp_path / "arrays")
    assert [path.name for path in one] == [path.name for path in two]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"a": {}}'])
def test_bad_annotations_are_named(tmp_path, content):
    (tmp_path / "val.json").write_text(content)
    with pytest.raises(UserError, match=r"val\.json"):
        hbabel_labels(tmp_path, modes=["val"])


# -- joblib files -----------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [0, "zlib", "gzip", "bz2", "lzma", "xz"])
def test_joblib_files_are_read_as_joblib_reads_them(tmp_path, compress):
    rng = np.random.default_rng(0)
    value = [
        {
            "id": "a",
            "n": 3,
            "x": rng.normal(size=(4, 5)),
            "fortran": np.asfortranarray(rng.normal(size=(3, 4)).astype(np.float32)),
            "scalar": np.float32(2.5),
            "empty": np.zeros((0, 3)),
            "nested": {"k": [True, None, 1.5, (1, 2)], "i": np.arange(7, dtype=np.int16)},
        }
    ]
    path = tmp_path / "file.pth.tar"
    joblib.dump(value, path, compress=compress)
    found = load_joblib(path)[0]
    assert found.keys() == value[0].keys()
    for key in ("x", "fortran", "empty", "scalar"):
        np.testing.assert_array_equal(found[key], value[0][key])
        assert found[key].dtype == value[0][key].dtype
    assert found["nested"]["k"] == value[0]["nested"]["k"]
    np.testing.assert_array_equal(found["nested"]["i"], np.arange(7))
    found["x"][:] = 0  # ours to write


class _Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("hidden", [False, True])
def test_code_in_a_joblib_file_is_refused_by_name_and_does_not_run(tmp_path, hidden):
    trap, path = tmp_path / "trap", tmp_path / "train.pth.tar"
    payload = _Touch(trap)
    # joblib unpickles the members of an object array without any check of its own.
    value = np.array([payload, 1], dtype=object) if hidden else payload
    joblib.dump([{"babel_id": "a", "poses": value}], path)
    with pytest.raises(UserError, match=r"train\.pth\.tar: refused.*nothing was executed"):
        load_joblib(path)
    assert not trap.exists()
    joblib.load(path)
    assert trap.exists(), "the trap would not have worked"


@pytest.mark.parametrize("command", ["os.system", "builtins.eval", "builtins.getattr"])
def test_the_offending_name_is_told(tmp_path, command):
    module, name = command.split(".")
    path = tmp_path / "bad.pth.tar"
    path.write_bytes(f"c{module}\n{name}\n(S'1'\ntR.".encode())
    with pytest.raises(UserError, match=command):
        load_joblib(path)


def test_every_truncation_is_a_clear_error(tmp_path):
    path = tmp_path / "cut.pth.tar"
    joblib.dump([{"a": np.arange(20.0), "b": "text"}], path)
    whole = path.read_bytes()
    for size in range(1, len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"cut\.pth\.tar"):
            load_joblib(path)


def test_plain_pickles_of_other_things_are_errors(tmp_path):
    path = tmp_path / "other.pth.tar"
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(UserError, match="expected a list of samples, found dict"):
        hbabel_poses(_renamed(path, "train.pth.tar"))


def _renamed(path: Path, name: str) -> Path:
    path.rename(path.with_name(name))
    return path.parent
