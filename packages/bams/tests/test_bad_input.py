"""What users do wrong: every mistake ends with exit code 2 and one line that names it."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from bams.cli import main
from behaviorzoo.recordings import make_recording, save_recording

TINY = [
    "model.encoders.short_term.channels=[4]",
    "model.encoders.long_term.channels=[4]",
    "model.predictor_hidden=[4]",
    "trainer.accelerator=cpu",
    "trainer.progress=false",
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
    assert main(["train", f"data.path={recordings}", f"out={folder}", *TINY]) == 0
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
        error = fails("train", *what, *words)
        assert not out.exists()
        return error

    return refused


# ------------------------------------------------------------------ recordings


def test_a_folder_without_recordings(refused, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert str(empty) in refused(empty)


def test_an_empty_file(refused, tmp_path):
    (tmp_path / "a.nc").touch()
    assert f"{tmp_path}/a.nc" in refused(tmp_path / "a.nc")


def test_a_file_of_something_else(refused, tmp_path):
    (tmp_path / "a.nc").write_text("frame,x,y\n1,2,3\n")
    assert f"{tmp_path}/a.nc" in refused(tmp_path / "a.nc")


def test_a_truncated_file(refused, recordings, tmp_path):
    content = (recordings / "r0.nc").read_bytes()
    (tmp_path / "cut.nc").write_bytes(content[: len(content) // 2])
    assert f"{tmp_path}/cut.nc" in refused(tmp_path / "cut.nc")


def test_all_recordings_excluded(refused, recordings):
    assert "exclude" in refused(recordings, "data.exclude=['*']")


def test_a_recording_that_is_not_there(refused, recordings):
    assert "r7" in refused(recordings, "data.recordings=[r7]")


def test_recordings_shorter_than_the_window(refused, recordings):
    error = refused(recordings, "data.window=500")
    assert "500" in error
    assert "60" in error


def test_a_key_point_that_is_never_seen(refused, tmp_path):
    write_recording(tmp_path / "a.nc", gone=((slice(None), slice(None), 1), np.nan))
    error = refused(tmp_path / "a.nc")
    assert "body" in error
    assert "a.nc" in error


def test_everything_missing(refused, tmp_path):
    write_recording(tmp_path / "a.nc", gone=(slice(None), np.nan))
    assert "is never observed" in refused(tmp_path / "a.nc", "data.allow_unseen=true")


def test_a_key_point_by_a_wrong_name(refused, recordings):
    assert "did you mean 'nose'" in refused(recordings, "data.keypoints=[noze]")


def test_recordings_with_other_key_points(refused, tmp_path):
    write_recording(tmp_path / "a.nc")
    write_recording(tmp_path / "b.nc", keypoints=["nose", "body", "paw"])
    assert "b.nc" in refused(tmp_path)


def test_fewer_windows_than_a_batch(refused, recordings):
    error = refused(recordings, "optim.drop_last=true", "optim.batch_size=64")
    assert "cannot fill one batch of 64" in error


# ------------------------------------------------------------------ arrays and benchmark files


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (np.zeros((4, 30)), "30"),
        (np.zeros((0, 30, 4)), "0"),
        (np.full((4, 30, 2), np.inf), "infinite"),
        (np.full((4, 30, 2), np.nan), "missing"),
        (np.array([["a", "b"]]), "keypoints.npy"),
        (np.array([{"a": 1}]), "keypoints.npy"),
    ],
    ids=["two axes", "no sequences", "infinite", "all missing", "text", "objects"],
)
def test_arrays_that_are_no_key_points(refused, tmp_path, content, expected):
    path = tmp_path / "keypoints.npy"
    np.save(path, content, allow_pickle=True)
    assert expected in refused(path, experiment="custom")


@pytest.mark.parametrize("experiment", ["custom", "mouse_triplets", "fruit_flies", "quadrupeds"])
@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01", b"garbage"])
def test_damaged_files(refused, tmp_path, experiment, content):
    name = {"mouse_triplets": "mouse_triplet_train.npy", "fruit_flies": "fly_group_train.npy"}
    path = tmp_path / name.get(experiment, "data.npy")
    path.write_bytes(content)
    assert path.name in refused(path, experiment=experiment)


def test_a_benchmark_folder_without_its_files(refused, tmp_path):
    error = refused(tmp_path, experiment="mouse_triplets")
    assert "mouse_triplet" in error


def test_labels_of_other_sequences(refused, tmp_path):
    np.save(tmp_path / "walks.npy", np.random.default_rng(0).normal(size=(6, 40, 2)))
    (tmp_path / "labels.csv").write_text("recording,task,start,stop,label\nx,mood,,,good\n")
    words = [f"data.annotations={tmp_path}/labels.csv"]
    error = refused(tmp_path / "walks.npy", *words, experiment="custom")
    assert "none of which is a recording here" in error


def test_compat_upstream_without_any_jump(refused, tmp_path):
    np.save(tmp_path / "small.npy", np.random.default_rng(0).random((6, 40, 2)) / 100)
    error = refused(tmp_path / "small.npy", "compat=upstream", experiment="custom")
    assert "compat=paper" in error


# ------------------------------------------------------------------ run folders and checkpoints


def test_a_network_of_another_size_than_the_data(refused, recordings):
    assert "model.n_inputs = 3, the data have" in refused(recordings, "model.n_inputs=3")


def test_a_run_folder_that_is_a_file(fails, recordings, tmp_path):
    (tmp_path / "file").write_text("x")
    assert "file" in fails("train", f"data.path={recordings}", f"out={tmp_path}/file", *TINY)


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
    error = fails("train", *words, "trainer.checkpoint_every_epochs=1")
    assert "step-00000002: no space left" in error
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000001"]
    assert main(["train", "--resume", *words]) == 0


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
        ("trainer.ckpt", "cut"),
    ],
)
def test_a_damaged_checkpoint(fails, checkpoint, tmp_path, file, how):
    path = checkpoint / file
    content = path.read_bytes()
    path.unlink()
    if how != "gone":
        path.write_bytes(content[: len(content) // 2] if how == "cut" else b"")
    out = tmp_path / "e.nc"
    for argv in (["embed", checkpoint, "--out", out], ["info", checkpoint]):
        assert str(checkpoint) in fails(*argv)
    assert not out.exists()


def test_a_checkpoint_whose_weights_are_of_another_network(fails, checkpoint, tmp_path):
    config = checkpoint / "config.yaml"
    config.write_text(config.read_text().replace("channels: [4]", "channels: [5]"))
    error = fails("embed", checkpoint, "--out", tmp_path / "e.nc")
    assert str(checkpoint) in error
    assert "encoders.short_term" in error


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 cut"])
def test_a_damaged_file_of_the_authors(fails, tmp_path, content):
    (tmp_path / "bams.pt").write_bytes(content)
    for argv in (
        ["info", tmp_path / "bams.pt"],
        ["convert", tmp_path / "bams.pt", tmp_path / "ours", "--to", "ours"],
        ["embed", tmp_path / "bams.pt", "--out", tmp_path / "e.nc", "data.path=x"],
    ):
        assert "bams.pt" in fails(*argv)


class _Shell:
    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self):
        return os.system, (f"touch {self.trace}",)


def test_a_checkpoint_that_wants_to_run_code(fails, tmp_path):
    trace = tmp_path / "ran"
    torch.save({"weights": _Shell(trace)}, tmp_path / "zip.pt")
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps(_Shell(trace)))
    for name in ("zip.pt", "pickle.pt"):
        assert name in fails("info", tmp_path / name)
    assert not trace.exists()


def test_data_of_another_kind_than_in_training(fails, run, tmp_path):
    write_recording(tmp_path / "other.nc", keypoints=["left", "right"])
    error = fails("embed", run, "--out", tmp_path / "e.nc", f"data.path={tmp_path}/other.nc")
    assert "other.nc" in error
    np.save(tmp_path / "walks.npy", np.zeros((2, 40, 3)))
    words = ["data.dataset=arrays", f"data.path={tmp_path}/walks.npy"]
    assert "walks.npy" in fails("embed", run, "--out", tmp_path / "e.nc", *words)
    assert not (tmp_path / "e.nc").exists()


def test_resume_after_the_data_changed(fails, recordings, tmp_path):
    mine = shutil.copytree(recordings, tmp_path / "mine")
    words = [f"data.path={mine}", f"out={tmp_path}/run", *TINY]
    assert main(["train", *words]) == 0
    write_recording(mine / "r1.nc", seed=9)
    assert "other data" in fails("train", "--resume", f"out={tmp_path}/run")
    write_recording(mine / "r0.nc", keypoints=["left", "right"])
    write_recording(mine / "r1.nc", keypoints=["left", "right"])
    assert "model.n_inputs = " in fails("train", "--resume", f"out={tmp_path}/run")
