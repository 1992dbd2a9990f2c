"""The command line: every verb on tiny data, exit codes, what it says to a mistake."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import joblib
import numpy as np
import pytest

from behaviorzoo.embeddings import open_embeddings
from behaviorzoo.mabe import save_dictionary
from behaviorzoo.recordings import make_recording, save_recording
from hbehavemae.cli import VERBS, main
from hbehavemae.embed_inputs import open_inputs

TINY_NET = [
    "model.stages=[1,1,1]",
    "model.init_embed_dim=4",
    "model.out_embed_dims=[2,3,4]",
    "model.decoder_embed_dim=4",
    "trainer.progress=false",
    "trainer.accelerator=cpu",
]
TINY_SHOT = [
    "experiment=shot7m2",
    *TINY_NET,
    "data.window=40",
    "model.input_size=[40,1,72]",
    "optim.epochs=2",
    "optim.warmup_epochs=1",
    "optim.batch_size=2",
    "optim.validate_every_epochs=0",
    "trainer.log_every_n_steps=1",
]
TINY_RECORDINGS = [
    *TINY_NET,
    "data.window=30",
    "layout.pooling=[{frames: 5}, {frames: 1, token: all}]",
    "layout.patch=3",
    "model.mask_ratio=0.5",
    "optim.epochs=1",
    "optim.warmup_epochs=0",
    "optim.batch_size=2",
]
EPISODE_FRAMES = 60


@pytest.fixture(scope="module")
def shot(tmp_path_factory) -> Path:
    """Two training and two test episodes in the layout of Shot7M2."""
    folder = tmp_path_factory.mktemp("shot7m2")
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        episodes = {
            f"{split}_{number}": rng.normal(size=(EPISODE_FRAMES, 1, 26, 3)).astype(np.float32)
            for number in range(2)
        }
        (folder / split).mkdir()
        save_dictionary(
            folder / split / f"{split}_dictionary_poses.npy",
            {"sequences": {"keypoints": episodes}},
        )
    return folder


@pytest.fixture(scope="module")
def run(shot, tmp_path_factory) -> Path:
    """A training run on them."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    words = [f"data.path={shot}/train/train_dictionary_poses.npy", f"out={folder}"]
    assert main(["pretrain", *TINY_SHOT, *words]) == 0
    return folder


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    """Two recordings of two animals with missing points, one starting at frame 155."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(1)
    for name, first, frames in (("a", 0, 90), ("b", 155, 70)):
        position = rng.normal(size=(frames, 2, 3, 2)).cumsum(axis=0) + 100
        position[5:12, :, 1, 0] = np.nan
        recording = make_recording(
            position,
            keypoints=["nose", "body", "tail"],
            individuals=["one", "two"],
            fps=30.0,
            name=name,
            first_frame=first,
        )
        save_recording(recording, folder / f"{name}.nc")
    return folder


def fails(capsys, *argv: str) -> str:
    """Run a command line that must fail with exit code 2; what it printed to stderr."""
    assert main(list(argv)) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert "Traceback" not in captured.err
    return captured.err


# ------------------------------------------------------------------ help and mistakes


def test_help_of_every_verb_has_an_example(capsys):
    assert main(["--help"]) == 0
    overview = capsys.readouterr().out
    for verb in VERBS:
        assert re.search(rf"^  {verb} +\w+", overview, re.MULTILINE)
        assert main([verb, "--help"]) == 0
        assert f"example:\n  hbehavemae {verb} " in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert re.fullmatch(r"hbehavemae \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


def test_help_config_lists_keys_with_types(capsys):
    assert main(["pretrain", "--help-config"]) == 0
    listing = capsys.readouterr().out
    assert "optim.batch_size (int, default 512)\n    windows per batch" in listing
    assert "layout.patch (int, default 1)" in listing


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["pretrian"], "no verb 'pretrian'; did you mean 'pretrain'?"),
        (["pretrain", "--resum"], "has no option '--resum'; did you mean '--resume'?"),
        (["pretrain", "optim.epoch=3"], "unknown key; did you mean 'optim.epochs'?"),
        (["pretrain", "epochs"], "'epochs' is not of the form key=value"),
        (["pretrain"], "data.path is empty: give data.path="),
        (["pretrain", "data.path=/no/where"], "/no/where"),
        (["pretrain", "experiment=shot7m2", "data.path=/no/where.npy"], "/no/where.npy"),
        (["pretrain", "experiment=shot7m2", "model.input_size=[401,1,72]"], "401"),
        (["pretrain", "experiment=mabe22", "launch=slrm", "data.path=x"], "did you mean 'slurm'"),
        (["embed", "/no/where", "--out", "x.nc", "data.path=x"], "/no/where: no such checkpoint"),
        (["embed", "x"], "--out"),
        (["embed", "x", "--out", "y", "--mode", "quick"], "invalid choice: 'quick'"),
        (["info", "/no/where"], "/no/where: no such checkpoint"),
        (["info", "experiment=mabe2"], "did you mean 'mabe22'?"),
        (["prepare", "hbabel-poses", "/no/where"], "/no/where"),
        (["prepare", "hbabel"], "hbabel"),
        (["convert", "/no/where", "out", "--to", "ours"], "/no/where: no such checkpoint"),
        (["download", "shot7m"], "did you mean 'shot7m2'?"),
        (["download", "shot7m2"], "give --out FOLDER for the 5 files"),
        (["download", "hbabel"], "hbabel cannot be downloaded by a program"),
    ],
)
def test_mistakes_are_one_message_and_exit_code_2(capsys, tmp_path, monkeypatch, argv, expected):
    monkeypatch.chdir(tmp_path)
    assert expected in fails(capsys, *argv)
    assert list(tmp_path.iterdir()) == []


def test_download_list_needs_no_network(capsys):
    assert main(["download", "list"]) == 0
    listing = capsys.readouterr().out
    assert "hBehaveMAE_Shot7M2.pth" in listing
    assert "Shot7M2/test/benchmark_labels.npy" in listing
    assert "hbabel (by hand)" in listing


# ------------------------------------------------------------------ the verbs on tiny data


def test_info_of_a_published_recipe(capsys):
    assert main(["info", "experiment=mabe22"]) == 0
    told = capsys.readouterr().out
    assert "parameters: 20,359,080, of which encoder and projections 19,433,408" in told
    assert "level 3 (coarsest)" in told
    assert "input_size 900 3 24  patch_kernel 3 1 24  q_strides 5,1,1;1,3,1" in told


def test_dry_run_shows_and_writes_nothing(capsys, shot, tmp_path):
    out = tmp_path / "run"
    path = f"data.path={shot}/train/train_dictionary_poses.npy"
    assert main(["pretrain", *TINY_SHOT, path, f"out={out}", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "input_size: [40, 1, 72]" in told
    assert "level 1 (finest): one token = 2 frames" in told
    assert not out.exists()


def test_pretrain_writes_a_run_that_info_and_convert_read(run, capsys, tmp_path):
    assert (run / "config.yaml").is_file()
    assert (run / "metrics.csv").is_file()
    assert main(["info", str(run)]) == 0
    told = capsys.readouterr().out
    assert f"checkpoint: {run}/checkpoints/step-" in told
    assert "parameters: " in told

    theirs = tmp_path / "checkpoint-00002.pth"
    assert main(["convert", str(run), str(theirs), "--to", "authors"]) == 0
    assert main(["convert", str(theirs), str(tmp_path / "ours"), "--to", "ours"]) == 0
    assert main(["info", str(tmp_path / "ours")]) == 0


def test_resume_of_a_finished_run_keeps_its_settings(run, capsys):
    before = (run / "config.yaml").read_text()
    newest = sorted((run / "checkpoints").iterdir())[-1].name
    assert main(["pretrain", "--resume", f"out={run}"]) == 0
    assert (run / "config.yaml").read_text() == before
    assert sorted((run / "checkpoints").iterdir())[-1].name == newest


def test_a_second_run_into_the_same_folder_is_refused(run, shot, capsys):
    path = f"data.path={shot}/train/train_dictionary_poses.npy"
    assert "--resume" in fails(capsys, "pretrain", *TINY_SHOT, path, f"out={run}")


@pytest.mark.parametrize("source", ["run", "authors' file"])
def test_embed_from_a_run_and_from_a_file_of_the_authors(run, shot, tmp_path, source):
    checkpoint = run
    if source != "run":
        checkpoint = tmp_path / "weights.pth"
        assert main(["convert", str(run), str(checkpoint), "--to", "authors"]) == 0
    out, submissions = tmp_path / "e.nc", tmp_path / "submissions"
    options = ["--stride", "5", "--device", "cpu", "--submissions", str(submissions)]
    path = f"data.path={shot}/test/test_dictionary_poses.npy"
    assert main(["embed", str(checkpoint), "--out", str(out), *options, path]) == 0
    with open_embeddings(out) as embeddings:
        assert embeddings.levels == ["level_1", "level_2", "level_3"]
        assert list(embeddings.table.recording) == ["test_0", "test_1"]
        widths = [embeddings.read(level).shape for level in embeddings.levels]
    assert widths == [(120, 48), (120, 18), (120, 4)]
    assert {path.name for path in submissions.iterdir()} == {
        f"test_submission_{level}.npy" for level in range(3)
    }


def test_embed_reads_just_the_path_that_is_given(run, shot, recordings, tmp_path):
    """Not the test twin of a training file, and not what the training left out."""
    train = shot / "train" / "train_dictionary_poses.npy"
    assert open_inputs(run, [f"data.path={train}"]).names == ["train_0", "train_1"]
    assert open_inputs(run, [f"data.path={shot}"]).names == ["test_0", "test_1"]
    assert open_inputs(run, [f"data.path={shot}"], split="train").names == ["train_0", "train_1"]
    assert open_inputs(run).names == ["test_0", "test_1"]

    rats = tmp_path / "run"
    words = [*TINY_RECORDINGS, f"data.path={recordings}", "data.exclude=[b]", f"out={rats}"]
    assert main(["pretrain", *words]) == 0
    assert open_inputs(rats).names == ["a"]
    assert open_inputs(rats, [f"data.path={recordings}"]).names == ["a", "b"]
    assert open_inputs(rats, [f"data.path={recordings}", "data.exclude=[a]"]).names == ["b"]


def test_embed_takes_no_words_about_the_network(run, capsys, tmp_path):
    error = fails(capsys, "embed", str(run), "--out", str(tmp_path / "e.nc"), "model.stages=[1]")
    assert "only data.* can be set here" in error


def test_recordings_from_training_to_embeddings(recordings, tmp_path, capsys):
    run, out = tmp_path / "run", tmp_path / "e.nc"
    words = [*TINY_RECORDINGS, f"data.path={recordings}", f"out={run}"]
    assert main(["pretrain", *words]) == 0
    assert main(["embed", str(run), "--out", str(out), f"data.path={recordings}"]) == 0
    with open_embeddings(out) as embeddings:
        table = embeddings.table.set_index("recording")
        assert table.loc["b", "first_frame"] == 155
        for level in embeddings.levels:
            values = embeddings.read(level)
            assert len(values) == 160
            assert np.isfinite(values).all()
    capsys.readouterr()
    assert main(["info", str(run)]) == 0  # knows the names without the recordings
    assert "key points: nose, body, tail\n" in capsys.readouterr().out


def test_hbabel_from_preparation_to_training(tmp_path, capsys):
    """Poses and labels as BABEL and TEACH give them, two motions a split."""
    babel, rng = tmp_path / "babel", np.random.default_rng(0)
    for folder in ("babel-smplh-30fps-male", "babel-teach"):
        (babel / folder).mkdir(parents=True)
    for split in ("train", "val", "test"):
        motions = [
            {
                "babel_id": f"{split}{number}",
                "poses": np.zeros((50, 3)),
                "joint_positions": rng.normal(size=(50, 73, 3)),
            }
            for number in range(4)
        ]
        joblib.dump(motions, babel / "babel-smplh-30fps-male" / f"{split}.pth.tar")
        walk = {"labels": [{"act_cat": ["walk"], "start_t": 0.1, "end_t": 0.8}]}
        labels = {
            motion["babel_id"]: {"seq_ann": {"labels": [{"act_cat": ["walk"]}]}, "frame_ann": walk}
            for motion in motions
        }
        (babel / "babel-teach" / f"{split}.json").write_text(json.dumps(labels))
    assert main(["prepare", "hbabel-poses", str(babel)]) == 0
    assert main(["prepare", "hbabel-labels", str(babel), "--out", str(tmp_path / "labels")]) == 0
    written = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert all(path.is_file() for path in written)
    assert len(list((tmp_path / "labels").iterdir())) >= 8

    small = ["data.window=45", "model.input_size=[45,1,75]", "model.mask_ratio=0.5"]
    small += ["model.patch_kernel=[3,1,75]", "optim.epochs=1", "optim.batch_size=2"]
    words = ["experiment=hbabel", *TINY_NET, *small, f"data.path={babel}", f"out={tmp_path}/run"]
    # The published units of 45 frames would leave a single one in so short a window.
    words += ["model.q_strides=[[3,1,1],[1,1,1]]", "optim.validate_every_epochs=0"]
    assert main(["pretrain", *words]) == 0
    out = tmp_path / "e.nc"
    assert main(["embed", f"{tmp_path}/run", "--out", str(out), "--device", "cpu"]) == 0
    with open_embeddings(out) as embeddings:
        assert list(embeddings.table.recording) == [f"val{number}" for number in range(4)]


# ------------------------------------------------------------------ as processes


def test_help_is_quick_because_nothing_heavy_is_imported():
    code = (
        "import sys\n"
        "from hbehavemae.cli import main\n"
        "for argv in (['--help'], ['pretrain', '--help'], ['download', 'list']):\n"
        "    assert main(argv) == 0\n"
        "heavy = {'torch', 'lightning', 'hydra', 'pandas', 'xarray', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_mistake_leaves_with_code_2_and_no_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "hbehavemae.cli", "pretrain", "nonsense=1"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        line for line in done.stderr.splitlines() if line.startswith("error: ")
    ]


def test_ctrl_c_saves_and_leaves_with_code_130(shot, tmp_path):
    run = tmp_path / "run"
    words = [*TINY_SHOT, "optim.epochs=100000", f"out={run}"]
    words += [f"data.path={shot}/train/train_dictionary_poses.npy"]
    process = subprocess.Popen(
        [sys.executable, "-m", "hbehavemae.cli", "pretrain", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        deadline = time.monotonic() + 120
        metrics = run / "metrics.csv"
        while not (metrics.exists() and metrics.stat().st_size > 100):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline, "training did not start"
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert sorted((run / "checkpoints").glob("step-*"))
