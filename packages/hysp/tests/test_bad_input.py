"""What users do wrong: every mistake ends with exit code 2 and one line that names it."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
from argparse import Namespace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from behaviorzoo.recordings import make_recording, save_recording
from behaviorzoo.weights import load_torch_file
from hysp.cli import main
from hysp.convert import to_authors

TINY = [
    "model.encoder.hidden_channels=2",
    "model.encoder.out_channels=4",
    "model.projection_hidden_size=[4]",
    "model.predictor_hidden_size=[4]",
    "trainer.accelerator=cpu",
    "trainer.progress=false",
    "data.clips.window=20",
    "data.clips.stride=20",
    "optim.epochs=1",
    "optim.batch_size=2",
]
KEYPOINTS = ["nose", "body", "tail"]


def write_recording(path: Path, frames: int = 60, seed: int = 0, keypoints=KEYPOINTS, **changes):
    position = np.random.default_rng(seed).normal(size=(frames, 2, len(keypoints), 1))
    position = position.cumsum(axis=0) + 100
    for where, value in changes.values():
        position[where] = value
    recording = make_recording(
        position, keypoints=keypoints, individuals=["one"], fps=30.0, name=path.stem
    )
    save_recording(recording, path)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    for number in range(2):
        write_recording(folder / f"r{number}.nc", seed=number)
    return folder


@pytest.fixture(scope="module")
def run(recordings, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert main(["pretrain", f"data.path={recordings}", f"out={folder}", *TINY]) == 0
    return folder


@pytest.fixture(scope="module")
def prepared(recordings, tmp_path_factory) -> Path:
    """A folder of `hysp prepare`."""
    folder = tmp_path_factory.mktemp("prepared") / "clips"
    clips = ["data.clips.window=20"]
    assert (
        main(["prepare", "recordings", *clips, "--raw", f"{recordings}", "--out", f"{folder}"]) == 0
    )
    return folder


@pytest.fixture
def fails(capsys, tmp_path):
    """Runs a command line that must fail; gives what it said, without ``error:``."""

    def fails(*argv: object) -> str:
        assert main([str(word) for word in argv]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("error: "), error
        return error.removeprefix("error: ")

    return fails


@pytest.fixture
def refused(fails, tmp_path):
    """Trains on data that must be refused before a run folder is made."""

    def refused(path: Path, *words: str, experiment: str = "recordings") -> str:
        out = tmp_path / "refused"
        what = [f"experiment={experiment}", f"data.path={path}", f"out={out}", *TINY]
        error = fails("pretrain", *what, *words)
        assert not out.exists()
        return error

    return refused


# ------------------------------------------------------------------ recordings


def test_a_folder_without_recordings(refused, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert str(empty) in refused(empty)


@pytest.mark.parametrize("content", [b"", b"frame,x,y\n1,2,3\n", b"\x89HDF\r\n\x1a\n"])
def test_a_file_that_is_no_recording(refused, tmp_path, content):
    (tmp_path / "a.nc").write_bytes(content)
    assert f"{tmp_path}/a.nc" in refused(tmp_path / "a.nc")


def test_a_truncated_file(refused, recordings, tmp_path):
    content = (recordings / "r0.nc").read_bytes()
    (tmp_path / "cut.nc").write_bytes(content[: len(content) // 2])
    assert f"{tmp_path}/cut.nc" in refused(tmp_path / "cut.nc")


def test_a_recording_that_is_not_there(refused, recordings):
    assert "r7" in refused(recordings, "data.clips.recordings=[r7]")


def test_recordings_shorter_than_the_window(refused, recordings):
    assert "500" in refused(recordings, "data.clips.window=500")


def test_missing_points_where_none_are_allowed(refused, tmp_path):
    write_recording(tmp_path / "a.nc", gone=((slice(30, 32), slice(None), 1), np.nan))
    words = ["data.clips.missing=error", "data.clips.max_gap=null"]
    error = refused(tmp_path / "a.nc", *words)
    assert "a.nc" in error
    assert "body" in error


def test_everything_missing(refused, tmp_path):
    write_recording(tmp_path / "a.nc", gone=(slice(None), np.nan))
    assert "a.nc" in refused(tmp_path / "a.nc")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("data.clips.keypoints=[noze]", "did you mean 'nose'"),
        ("data.clips.heading=[tail,noze]", "did you mean 'nose'"),
        ("data.clips.edges=[[nose,bdy]]", "bdy"),
        ("data.clips.centre=bdy", "bdy"),
        ("data.clips.mirror_pairs=[[nose,bdy]]", "bdy"),
    ],
)
def test_a_key_point_by_a_wrong_name(refused, recordings, word, expected):
    assert expected in refused(recordings, word)


def test_recordings_with_other_key_points(refused, tmp_path):
    write_recording(tmp_path / "a.nc")
    write_recording(tmp_path / "b.nc", keypoints=["nose", "body", "paw"])
    assert "b.nc" in refused(tmp_path)


def test_fewer_windows_than_a_batch(refused, recordings):
    error = refused(recordings, "optim.drop_last=true", "optim.batch_size=64")
    assert "cannot fill one batch of 64" in error


def test_validation_without_a_split_is_left_out(recordings, tmp_path):
    words = [f"data.path={recordings}", f"out={tmp_path}/run", *TINY]
    assert main(["pretrain", *words, "optim.validate_every_epochs=1"]) == 0


def test_a_benchmark_that_the_data_do_not_have(refused, prepared):
    assert "xsbu" in refused(prepared, "data.benchmark=xsbu")


# ------------------------------------------------------------------ prepared folders and arrays


@pytest.mark.parametrize("file", ["clips.npy", "samples.csv", "dataset.json"])
@pytest.mark.parametrize("how", ["cut", "empty", "gone"])
def test_a_damaged_prepared_folder(refused, prepared, tmp_path, file, how):
    copy = Path(shutil.copytree(prepared, tmp_path / "copy"))
    content = (copy / file).read_bytes()
    (copy / file).unlink()
    if how != "gone":
        (copy / file).write_bytes(content[: len(content) // 2] if how == "cut" else b"")
    error = refused(copy)
    assert str(copy) in error
    assert file in error or (file, how) == ("dataset.json", "gone")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_prepared_clips_that_are_no_numbers(refused, prepared, tmp_path, value):
    copy = Path(shutil.copytree(prepared, tmp_path / "copy"))
    clips = np.load(copy / "clips.npy")
    clips[1, 0, 3, 1] = value
    np.save(copy / "clips.npy", clips)
    name = pd.read_csv(copy / "samples.csv")["name"][1]
    error = refused(copy)
    assert f"sample {name} holds NaN or infinite coordinates" in error


def test_a_published_recipe_on_another_skeleton(refused, prepared):
    error = refused(prepared, "data.benchmark=", experiment="ntu60_xview")
    assert "graph has 25 joints (ntu-rgb+d), the data have 3 (nose, body, tail" in error


def test_more_channels_than_the_data_have(refused, prepared):
    assert "in_channels = 3, the data have 2" in refused(prepared, "model.encoder.in_channels=3")


def test_arrays_of_another_shape(refused, tmp_path):
    np.save(tmp_path / "train_position.npy", np.zeros((4, 3, 50, 25), dtype=np.float32))
    assert "train_position.npy" in refused(tmp_path)
    np.save(tmp_path / "train_position.npy", np.zeros((4, 3, 50, 7, 1), dtype=np.float32))
    assert "7 joints" in refused(tmp_path)


def test_arrays_with_fewer_labels(refused, tmp_path):
    np.save(tmp_path / "train_position.npy", np.zeros((4, 3, 50, 25, 2), dtype=np.float32))
    np.save(tmp_path / "train_label.npy", np.zeros((3, 1), dtype=np.int64))
    assert "4 samples, but 3 labels" in refused(tmp_path)


# ------------------------------------------------------------------ run folders and checkpoints


def test_a_run_folder_that_is_a_file(fails, recordings, tmp_path):
    (tmp_path / "file").write_text("x")
    assert "file" in fails("pretrain", f"data.path={recordings}", f"out={tmp_path}/file", *TINY)


def test_full_disk_while_saving(fails, recordings, tmp_path, monkeypatch):
    original, count = Path.write_bytes, iter(range(100))

    def write_bytes(self, content):
        # Two files for each checkpoint: the second one has no room for its trainer's state.
        if next(count) >= 3:
            original(self, bytes(content)[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(self, content)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    words = [f"data.path={recordings}", f"out={tmp_path}/run", *TINY, "optim.epochs=3"]
    error = fails("pretrain", *words, "trainer.checkpoint_every_epochs=1")
    assert "step-00000006: no space left" in error
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000003"]
    assert main(["pretrain", "--resume", *words]) == 0


@pytest.fixture
def checkpoint(run, tmp_path) -> Path:
    """A copy of the run's checkpoint, to be damaged."""
    newest = sorted((run / "checkpoints").iterdir())[-1]
    return Path(shutil.copytree(newest, tmp_path / "copy"))


@pytest.mark.parametrize(
    ("file", "how"),
    [
        ("model.safetensors", "cut"),
        ("model.safetensors", "empty"),
        ("model.safetensors", "gone"),
        ("metadata.json", "cut"),
        ("metadata.json", "gone"),
        ("config.yaml", "empty"),
        ("config.yaml", "gone"),
    ],
)
def test_a_damaged_checkpoint(fails, refused, checkpoint, recordings, file, how):
    path = checkpoint / file
    content = path.read_bytes()
    path.unlink()
    if how != "gone":
        path.write_bytes(content[: len(content) // 2] if how == "cut" else b"")
    assert str(checkpoint) in fails("info", checkpoint)
    assert str(checkpoint) in refused(recordings, f"weights={checkpoint}")


def test_a_checkpoint_whose_weights_are_of_another_network(refused, checkpoint, recordings):
    error = refused(recordings, f"weights={checkpoint}", "model.encoder.out_channels=5")
    assert str(checkpoint) in error
    assert "online_encoder.st_gcn_networks.9" in error


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 cut"])
def test_a_damaged_file_of_the_authors(fails, tmp_path, content):
    (tmp_path / "epoch-300.ckpt").write_bytes(content)
    for argv in (
        ["info", tmp_path / "epoch-300.ckpt"],
        ["convert", tmp_path / "epoch-300.ckpt", tmp_path / "ours", "--to", "ours"],
        ["pretrain", "data.path=x", f"weights={tmp_path}/epoch-300.ckpt", f"out={tmp_path}/run"],
    ):
        assert "epoch-300.ckpt" in fails(*argv)


class _Shell:
    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self):
        return os.system, (f"touch {self.trace}",)


def test_a_checkpoint_that_wants_to_run_code(fails, tmp_path):
    trace = tmp_path / "ran"
    torch.save({"state_dict": _Shell(trace)}, tmp_path / "zip.ckpt")
    (tmp_path / "pickle.ckpt").write_bytes(pickle.dumps(_Shell(trace)))
    for name in ("zip.ckpt", "pickle.ckpt"):
        assert name in fails("info", tmp_path / name)
    assert not trace.exists()


def test_a_configuration_of_the_authors_that_cannot_be(fails, tmp_path):
    words = ["experiment=ntu60_xsub", "data.benchmark=", *TINY]
    clips = np.random.default_rng(0).normal(size=(4, 3, 10, 25, 1)).astype(np.float32)
    np.save(tmp_path / "train_position.npy", clips)
    np.save(tmp_path / "train_label.npy", np.zeros((4, 1), dtype=np.int64))
    words += [f"data.path={tmp_path}", f"out={tmp_path}/run", "optim.validate_every_epochs=0"]
    assert main(["pretrain", *words]) == 0
    theirs = to_authors(tmp_path / "run", tmp_path / "epoch-1.ckpt")
    content = load_torch_file(theirs)
    content["hyper_parameters"]["cfg"] = Namespace(
        **{**vars(content["hyper_parameters"]["cfg"]), "optimizer": "Sgd", "lr": -1.0}
    )
    torch.save(content, theirs)
    error = fails("convert", theirs, tmp_path / "ours", "--to", "ours")
    assert "epoch-1.ckpt" in error
    assert "unknown 'Sgd'" in error


def test_resume_after_the_data_changed(fails, recordings, tmp_path):
    mine = shutil.copytree(recordings, tmp_path / "mine")
    words = [f"data.path={mine}", f"out={tmp_path}/run", *TINY]
    assert main(["pretrain", *words]) == 0
    write_recording(mine / "r1.nc", seed=9)
    assert "other data" in fails("pretrain", "--resume", f"out={tmp_path}/run")
    for name in ("r0", "r1"):
        write_recording(mine / f"{name}.nc", keypoints=["left", "right"])
    assert "joints" in fails("pretrain", "--resume", f"out={tmp_path}/run")
