"""The command line: verbs on tiny data, exit codes, what it says to a mistake."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from behaviorzoo.checkpoints import load_checkpoint
from behaviorzoo.synthetic import write_behaviour
from hysp.cli import VERBS, main

TINY_NET = [
    "model.encoder.hidden_channels=2",
    "model.encoder.out_channels=8",
    "model.projection_hidden_size=[6,6]",
    "model.predictor_hidden_size=[6,6]",
    "trainer.accelerator=cpu",
    "trainer.progress=false",
    "trainer.log_every_n_steps=1",
    "optim.epochs=2",
    "optim.batch_size=4",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Three labelled recordings of one animal."""
    folder = tmp_path_factory.mktemp("behaviour")
    write_behaviour(folder, 3, 240, seed=0, missing=0.02)
    return folder


@pytest.fixture(scope="module")
def run(data, tmp_path_factory) -> Path:
    """A training run on them."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    words = [f"data.path={data}/recordings", f"out={folder}", *TINY_NET]
    assert main(["pretrain", *words]) == 0
    return folder


@pytest.fixture(scope="module")
def kinect_run(tmp_path_factory) -> Path:
    """A run on arrays of the original's layout, whose graph the authors' code knows."""
    folder = tmp_path_factory.mktemp("kinect")
    clips = np.random.default_rng(0).normal(size=(8, 3, 10, 25, 2)).astype(np.float32)
    for part in ("train", "val"):
        np.save(folder / f"{part}_position.npy", clips)
        np.save(folder / f"{part}_label.npy", np.arange(8)[:, None] % 2)
    words = ["experiment=ntu60_xsub", "data.benchmark=", *TINY_NET, "stream=3s"]
    assert main(["pretrain", *words, f"data.path={folder}", f"out={folder}/run"]) == 0
    return folder / "run"


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
        assert f"example:\n  hysp {verb} " in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert re.fullmatch(r"hysp \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


def test_help_config_lists_keys_with_types(capsys):
    assert main(["pretrain", "--help-config"]) == 0
    listing = capsys.readouterr().out
    assert "optim.batch_size (int, default 512)\n    sequences per batch" in listing
    assert "curriculum.final_epoch (int, default 100)" in listing


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["pretrian"], "no verb 'pretrian'; did you mean 'pretrain'?"),
        (["pretrain", "--resum"], "has no option '--resum'; did you mean '--resume'?"),
        (["pretrain", "optim.epoch=3"], "unknown key; did you mean 'optim.epochs'?"),
        (["pretrain", "epochs"], "'epochs' is not of the form key=value"),
        (["pretrain"], "data.path is empty: give data.path="),
        (
            ["pretrain", "--resume", "out=runs/gone"],
            "runs/gone: no run to resume there; check out=",
        ),
        (["pretrain", "data.path=/no/where"], "/no/where"),
        (["pretrain", "experiment=ntu60_xview", "data.path=/no/where"], "/no/where"),
        (["pretrain", "experiment=simsiam", "data.path=x", "weights=/no/where"], "/no/where"),
        (["pretrain", "launch=slrm", "data.path=x"], "did you mean 'slurm'"),
        (["info", "/no/where"], "/no/where: no such checkpoint"),
        (["info", "experiment=ntu60_xviwe"], "did you mean 'ntu60_xview'?"),
        (["convert", "/no/where", "out", "--to", "ours"], "/no/where: no such checkpoint"),
        (["convert", "x", "y", "--to", "theirs"], "invalid choice: 'theirs'"),
        (["prepare", "ntv"], "hysp prepare"),
    ],
)
def test_mistakes_are_one_message_and_exit_code_2(capsys, tmp_path, monkeypatch, argv, expected):
    monkeypatch.chdir(tmp_path)
    error = fails(capsys, *argv)
    assert expected in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------ the verbs on tiny data


def test_info_of_the_published_recipe(capsys):
    assert main(["info", "experiment=ntu60_xview"]) == 0
    told = capsys.readouterr().out
    sizes = "encoder 12,791,956, projector 2,101,248, predictor 2,101,248"
    assert f"parameters: 16,994,452, of which {sizes}" in told
    assert "graph: 25 joints, 24 bones, 3 matrices, centre spine_shoulder" in told


def test_info_of_settings_asks_the_data(capsys, data):
    assert main(["info", f"data.path={data}/recordings", *TINY_NET]) == 0
    told = capsys.readouterr().out
    assert "joints: nose, " in told
    assert re.search(r"parameters: [\d,]+, of which encoder [\d,]+, projector", told)
    assert main(["info", *TINY_NET]) == 0
    assert "parameters: known with the joints" in capsys.readouterr().out


def test_dry_run_shows_and_writes_nothing(capsys, data, tmp_path):
    out = tmp_path / "run"
    words = [f"data.path={data}/recordings", f"out={out}", *TINY_NET]
    assert main(["pretrain", *words, "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "hidden_channels: 2" in told
    assert "hysp on joints of the data, stream joint, in Poincare ball" in told
    assert not out.exists()


def test_pretrain_writes_a_run_that_info_reads(run, capsys):
    assert (run / "config.yaml").is_file()
    assert (run / "metrics.csv").is_file()
    assert main(["info", str(run)]) == 0
    told = capsys.readouterr().out
    assert f"checkpoint: {run}/checkpoints/step-" in told
    assert "training_sequences: 20" in told
    assert "joints: nose, " in told


def test_convert_to_the_authors_and_back(kinect_run, capsys, tmp_path):
    theirs, ours = tmp_path / "epoch-2.ckpt", tmp_path / "ours"
    assert main(["convert", str(kinect_run), str(theirs), "--to", "authors"]) == 0
    assert main(["convert", str(theirs), str(ours), "--to", "ours"]) == 0
    first, back = load_checkpoint(kinect_run), load_checkpoint(ours)
    assert all(np.array_equal(first.state[n], value) for n, value in back.state.items())
    assert set(first.state) == set(back.state)
    assert back.config["compat"] == "upstream"  # whoever reads their file does as they do
    for key in ("stream", "model", "curriculum"):
        assert back.config[key] == first.config[key], key
    optim = ("optimizer", "lr", "epochs", "milestones", "weight_decay")
    assert [back.config["optim"][k] for k in optim] == [first.config["optim"][k] for k in optim]
    capsys.readouterr()
    assert main(["info", str(theirs)]) == 0
    assert "in_channels: 9" in capsys.readouterr().out


def test_resume_of_a_finished_run_keeps_its_settings(run, capsys):
    before = (run / "config.yaml").read_text()
    newest = sorted((run / "checkpoints").iterdir())[-1].name
    assert main(["pretrain", "--resume", f"out={run}"]) == 0
    assert "nothing to resume" in capsys.readouterr().err
    assert (run / "config.yaml").read_text() == before
    assert sorted((run / "checkpoints").iterdir())[-1].name == newest


def test_a_second_run_into_the_same_folder_is_refused(run, data, capsys):
    words = [f"data.path={data}/recordings", f"out={run}", *TINY_NET]
    assert "--resume" in fails(capsys, "pretrain", *words)


def test_words_about_clips_that_are_cut_already_are_told_to_do_nothing(run, data, capsys, tmp_path):
    recordings, labels = f"data.path={data}/recordings", f"data.labels={data}/labels.csv"
    out = tmp_path / "clips"
    words = [recordings, labels, "data.clips.missing=fill", "--out", str(out)]
    assert main(["prepare", "recordings", *words]) == 0
    told = f"note: data.clips.centring: without effect, {out} holds clips that are cut already"
    for data_word, word in itertools.product([recordings, f"data.path={out}"], ["centring", ""]):
        clips = [data_word, *([f"data.clips.{word}=none"] if word else [])]
        assert main(["pretrain", *clips, *TINY_NET, "--dry-run"]) == 0
        assert (told in capsys.readouterr().out) == (data_word != recordings and bool(word))
    clips = [f"data.path={out}", "data.clips.centring=none", "--no-progress"]
    assert main(["embed", str(run), *clips, "--out", str(tmp_path / "e.nc")]) == 0
    assert told in capsys.readouterr().out
    evaluation = ["protocol=knn", "baselines=[]", "--folds", "3", f"out={tmp_path / 'eval'}"]
    assert main(["evaluate", str(run), *clips, *evaluation]) == 0
    assert told in capsys.readouterr().out


def test_rows_of_the_label_table_instead_of_the_windows_of_the_training(run, data, tmp_path):
    rows = len(pd.read_csv(data / "labels.csv").drop_duplicates(["recording", "start", "stop"]))
    words = [f"data.path={data}/recordings", f"data.labels={data}/labels.csv"]
    words += ["data.clips.window=null", "data.clips.missing=fill", "data.clips.max_gap=null"]
    assert main(["embed", str(run), *words, "--out", str(tmp_path / "e.nc"), "--no-progress"]) == 0
    assert len(pd.read_csv(tmp_path / "e_sequences.csv")) == rows


def test_info_of_a_checkpoint_takes_no_settings(run, capsys):
    error = fails(capsys, "info", str(run), "optim.lr=3")
    assert error == "error: optim.lr=3: a checkpoint has its settings; give it alone\n"


def test_prepared_clips_of_real_people(real_data_dir, tmp_path, capsys):
    """The recipe for motion clips, on a network small enough for a test."""
    raw = real_data_dir / "bandai_mocap" / "dataset2_subset.npz"
    if not raw.is_file():
        pytest.skip("no bandai_mocap/dataset2_subset.npz among the real data")
    clips = tmp_path / "bandai"
    assert main(["prepare", "bandai", "--raw", str(raw), "--out", str(clips)]) == 0
    words = ["experiment=bandai", f"data.path={clips}", f"out={tmp_path}/run", *TINY_NET]
    words += ["optim.batch_size=70", "optim.epochs=1", "model.encoder.dropout=0"]
    assert main(["pretrain", *words]) == 0
    assert "280 sequences of 50 frames from 280 sources: 21 joints" in capsys.readouterr().out
    assert len((tmp_path / "run" / "metrics.csv").read_text().splitlines()) == 5


# ------------------------------------------------------------------ as processes


def test_help_is_quick_because_nothing_heavy_is_imported():
    code = (
        "import sys\n"
        "from hysp.cli import VERBS, main\n"
        "assert main(['--help']) == 0\n"
        "for verb in ('prepare', 'pretrain', 'convert', 'info'):\n"
        "    assert main([verb, '--help']) == 0\n"
        "heavy = {'torch', 'lightning', 'hydra', 'pandas', 'xarray', 'numpy', 'geoopt'}\n"
        "heavy &= set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_settings_are_checked_without_torch():
    code = (
        "import sys\n"
        "from hysp.cli import main\n"
        "assert main(['pretrain', '--help-config']) == 0\n"
        "assert main(['pretrain', 'optim.epoch=1']) == 2\n"
        "assert main(['pretrain', 'data.path=x', '--dry-run']) == 0\n"
        "heavy = {'torch', 'lightning', 'pandas', 'xarray', 'geoopt'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_mistake_leaves_with_code_2_and_no_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "hysp.cli", "pretrain", "nonsense=1"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: [^\n]*nonsense: unknown key[^\n]*\n", done.stderr)


def test_ctrl_c_saves_and_leaves_with_code_130(data, tmp_path):
    run = tmp_path / "run"
    words = [f"data.path={data}/recordings", *TINY_NET, "optim.epochs=100000", f"out={run}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "hysp.cli", "pretrain", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        deadline = time.monotonic() + 120
        metrics = run / "metrics.csv"
        while not (metrics.exists() and metrics.stat().st_size > 600):
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
