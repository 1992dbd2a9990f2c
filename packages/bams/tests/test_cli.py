"""The command line: every verb on tiny data, exit codes, what it says to a mistake."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bams.cli import VERBS, main
from bams.embed_inputs import open_inputs
from behaviorzoo.embeddings import open_embeddings
from behaviorzoo.synthetic import write_behaviour

TINY_NET = [
    "model.encoders.short_term.channels=[6,6]",
    "model.encoders.long_term.channels=[6,6]",
    "model.predictor_hidden=[8]",
    "trainer.accelerator=cpu",
    "trainer.progress=false",
    "trainer.log_every_n_steps=1",
    "optim.epochs=2",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Four labelled recordings of one animal."""
    folder = tmp_path_factory.mktemp("behaviour")
    write_behaviour(folder, 4, 200, seed=0, missing=0.05)
    return folder


@pytest.fixture(scope="module")
def run(data, tmp_path_factory) -> Path:
    """A training run on them."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    words = [f"data.path={data}/recordings", f"out={folder}", *TINY_NET]
    assert main(["train", *words]) == 0
    return folder


@pytest.fixture(scope="module")
def embedded(run, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("embedded") / "e.nc"
    assert main(["embed", str(run), "--out", str(out), "--device", "cpu"]) == 0
    return out


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
        assert f"example:\n  bams {verb} " in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert re.fullmatch(r"bams \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


def test_help_config_lists_keys_with_types(capsys):
    assert main(["train", "--help-config"]) == 0
    listing = capsys.readouterr().out
    assert "optim.batch_size (int, default 32)\n    sequences per batch" in listing
    assert "loss.hoa_window (int, default 30)" in listing


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["trian"], "no verb 'trian'; did you mean 'train'?"),
        (["train", "--resum"], "has no option '--resum'; did you mean '--resume'?"),
        (["train", "optim.epoch=3"], "unknown key; did you mean 'optim.epochs'?"),
        (["train", "epochs"], "'epochs' is not of the form key=value"),
        (["train"], "data.path is empty: give data.path="),
        (["train", "data.path=/no/where"], "/no/where"),
        (["train", "experiment=mouse_triplets", "data.path=/no/where"], "/no/where"),
        (["train", "experiment=custom", "data.path=/no/where.npy"], "/no/where.npy"),
        (["train", "experiment=quadrupeds", "data.path=/no/where.npy"], "/no/where.npy"),
        (["train", "launch=slrm", "data.path=x"], "did you mean 'slurm'"),
        (["embed", "/no/where", "--out", "x.nc", "data.path=x"], "/no/where: no such checkpoint"),
        (["embed", "x"], "--out"),
        (["embed", "x", "--out", "y", "--aggregate", "sum"], "invalid choice: 'sum'"),
        (["evaluate", "/no/where.nc", "--labels", "l.csv", "--out", "o"], "/no/where.nc"),
        (["evaluate", "e.nc", "--labels", "l.csv"], "--out"),
        (["visualize", "/no/where.nc", "--out", "o"], "/no/where.nc"),
        (["visualize", "e.nc", "--out", "o", "--methods", "tsne"], "invalid choice: 'tsne'"),
        (["info", "/no/where"], "/no/where: no such checkpoint"),
        (["info", "experiment=mouse_triplet"], "did you mean 'mouse_triplets'?"),
        (["prepare", "quadrupeds", "/no/where"], "/no/where"),
        (["prepare", "quadruped", "x"], "quadrupeds"),
        (["convert", "/no/where", "out", "--to", "ours"], "/no/where: no such checkpoint"),
        (["convert", "x", "y", "--to", "ours", "--dilation-base", "a"], "write ENCODER=BASE"),
    ],
)
def test_mistakes_are_one_message_and_exit_code_2(capsys, tmp_path, monkeypatch, argv, expected):
    monkeypatch.chdir(tmp_path)
    error = fails(capsys, *argv)
    assert expected in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------ the verbs on tiny data


def test_info_of_a_published_recipe(capsys):
    assert main(["info", "experiment=mouse_triplets"]) == 0
    told = capsys.readouterr().out
    assert "parameters: 761,726, of which short_term 72,108, long_term 96,879" in told
    assert "long_term            32         1365     45.5" in told
    assert "actions (9): head speed, head direction, " in told


def test_info_of_settings_asks_the_data(capsys, data):
    assert main(["info", f"data.path={data}/recordings", *TINY_NET]) == 0
    told = capsys.readouterr().out
    assert "inputs (108): nose x, nose y, " in told
    assert re.search(r"parameters: [\d,]+, of which short_term [\d,]+, long_term [\d,]+", told)
    assert main(["info", *TINY_NET]) == 0
    assert "parameters: known with the data" in capsys.readouterr().out


def test_dry_run_shows_and_writes_nothing(capsys, data, tmp_path):
    out = tmp_path / "run"
    words = [f"data.path={data}/recordings", f"out={out}", *TINY_NET]
    assert main(["train", *words, "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "channels: [6, 6]" in told
    assert "long_term             6           21" in told
    assert not out.exists()


def test_train_writes_a_run_that_info_and_convert_read(run, capsys, tmp_path):
    assert (run / "config.yaml").is_file()
    assert (run / "metrics.csv").is_file()
    assert main(["info", str(run)]) == 0
    told = capsys.readouterr().out
    assert f"checkpoint: {run}/checkpoints/step-" in told
    assert "long_term             6           21      0.7" in told
    assert "inputs (108): nose x, " in told

    theirs, ours = tmp_path / "bams.pt", tmp_path / "ours"
    assert main(["convert", str(run), str(theirs), "--to", "authors"]) == 0
    assert main(["convert", str(theirs), str(ours), "--to", "ours"]) == 0
    assert main(["info", str(ours)]) == 0
    sizes = [line for line in told.splitlines() if line.startswith("parameters")]
    assert sizes[0] in capsys.readouterr().out


def test_resume_of_a_finished_run_keeps_its_settings(run, capsys):
    before = (run / "config.yaml").read_text()
    newest = sorted((run / "checkpoints").iterdir())[-1].name
    assert main(["train", "--resume", f"out={run}"]) == 0
    assert "nothing to resume" in capsys.readouterr().err
    assert (run / "config.yaml").read_text() == before
    assert sorted((run / "checkpoints").iterdir())[-1].name == newest


def test_a_second_run_into_the_same_folder_is_refused(run, data, capsys):
    words = [f"data.path={data}/recordings", f"out={run}", *TINY_NET]
    assert "--resume" in fails(capsys, "train", *words)


def test_embeddings_have_a_level_for_each_timescale(embedded):
    with open_embeddings(embedded) as embeddings:
        assert embeddings.levels == ["short_term", "long_term"]
        assert len(embeddings.table) == 4
        for level in embeddings.levels:
            values = embeddings.read(level)
            assert values.shape == (800, 6)
            assert np.isfinite(values).all()


def test_embed_reads_just_the_path_that_is_given(run, data, tmp_path):
    names = [f"synthetic_{number:03d}" for number in range(4)]
    assert open_inputs(run).sequences.names == names
    one = [f"data.path={data}/recordings/{names[2]}.nc"]
    assert open_inputs(run, one).sequences.names == names[2:3]
    left_out = [f"data.path={data}/recordings", f"data.exclude=[{names[0]}]"]
    folder = tmp_path / "run"
    assert main(["train", *left_out, f"out={folder}", *TINY_NET]) == 0
    assert open_inputs(folder).sequences.names == names[1:]
    assert open_inputs(folder, left_out[:1]).sequences.names == names


def test_embed_goes_by_the_rules_of_the_training(run):
    assert open_inputs(run).compat == "paper"
    assert open_inputs(run, compat="upstream").compat == "upstream"


def test_embed_takes_no_words_about_the_network(run, capsys, tmp_path):
    error = fails(capsys, "embed", str(run), "--out", str(tmp_path / "e.nc"), "optim.lr=1")
    assert "only data.* can be set here" in error


def test_arrays_and_their_labels_from_files_to_scores(tmp_path, capsys):
    """The way of the original's script for own data with labels."""
    rng = np.random.default_rng(0)
    (tmp_path / "tables").mkdir()
    for number in range(8):
        walk = rng.normal(size=(60 + number, 4)).cumsum(axis=0) * (1 + number % 2)
        np.savetxt(tmp_path / "tables" / f"walk{number}.csv", walk, delimiter=",")
    arrays = tmp_path / "keypoints.npz"
    assert main(["prepare", "arrays", str(tmp_path / "tables"), "--out", str(arrays)]) == 0
    lines = ["recording,task,start,stop,label"]
    lines += [f"walk{number},fast,,,{'yes' if number % 2 else 'no'}" for number in range(8)]
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(lines) + "\n")

    words = ["experiment=custom", *TINY_NET, f"data.path={arrays}", f"data.annotations={labels}"]
    words += ["optim.batch_size=4", "labels.every_epochs=1", f"out={tmp_path}/run"]
    assert main(["train", *words]) == 0
    out = tmp_path / "e.nc"
    assert main(["embed", f"{tmp_path}/run", "--out", str(out), "--device", "cpu"]) == 0
    capsys.readouterr()
    scores = [str(out), "--labels", str(labels), "--readout", "original"]
    assert main(["evaluate", *scores, "--out", str(tmp_path / "scores")]) == 0
    assert "combined" in capsys.readouterr().out
    assert (tmp_path / "scores" / "scores.csv").is_file()


def test_evaluate_scores_every_timescale(embedded, data, tmp_path, capsys):
    words = [str(embedded), "--labels", f"{data}/labels.csv", "--out", str(tmp_path / "scores")]
    assert main(["evaluate", *words, "--folds", "2", "--tasks", "activity"]) == 0
    told = capsys.readouterr().out
    assert all(f"\n{level} " in told for level in ("short_term", "long_term", "combined"))
    assert (tmp_path / "scores" / "probe.json").is_file()


def test_visualize_draws_maps(embedded, data, tmp_path, capsys):
    words = [str(embedded), "--labels", f"{data}/labels.csv", "--out", str(tmp_path / "maps")]
    options = ["--tasks", "activity", "--methods", "pca", "--max-points", "50"]
    assert main(["visualize", *words, *options]) == 0
    written = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert tmp_path / "maps" / "latents.html" in written
    assert all(path.is_file() for path in written)


# ------------------------------------------------------------------ as processes


def test_help_is_quick_because_nothing_heavy_is_imported():
    code = (
        "import sys\n"
        "from bams.cli import VERBS, main\n"
        "for argv in (['--help'], *([verb, '--help'] for verb in VERBS)):\n"
        "    assert main(argv) == 0\n"
        "heavy = {'torch', 'lightning', 'hydra', 'pandas', 'xarray', 'numpy', 'sklearn'}\n"
        "heavy &= set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_settings_are_checked_without_torch():
    code = (
        "import sys\n"
        "from bams.cli import main\n"
        "assert main(['train', '--help-config']) == 0\n"
        "assert main(['train', 'optim.epoch=1']) == 2\n"
        "assert main(['train', 'data.path=x', '--dry-run']) == 0\n"
        "heavy = {'torch', 'lightning', 'pandas', 'xarray'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_mistake_leaves_with_code_2_and_no_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "bams.cli", "train", "nonsense=1"],
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
        [sys.executable, "-m", "bams.cli", "train", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        deadline = time.monotonic() + 120
        metrics = run / "metrics.csv"
        while not (metrics.exists() and metrics.stat().st_size > 200):
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
