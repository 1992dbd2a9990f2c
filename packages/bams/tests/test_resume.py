"""Runs that are killed, terminated, interrupted or spread over processes end as if nothing was."""

from __future__ import annotations

import csv
import importlib
import multiprocessing
import os
import random
import signal
import socket
import sys
import time
from pathlib import Path

import pytest
import torch

from behaviorzoo import checkpoints
from behaviorzoo.errors import UserError

SCRIPT = '''
"""A small run of everything: dropout, drawn pairs and phases, accumulation, milestone, labels."""
import os
import sys
import time

import numpy as np
import torch

from bams import training
from bams.annotation_files import save_annotations
from bams.config import LabelConfig, TrainConfig
from bams.data import DataConfig
from bams.losses.config import LossConfig
from bams.model.config import EncoderConfig, ModelConfig
from bams.optim import OptimConfig
from behaviorzoo import commands
from behaviorzoo.training import TrainerConfig

STEPS = 4 * 6


def write_walks(folder, seed=0):
    walks = np.random.default_rng(seed).normal(size=(49, 50, 3)).cumsum(axis=1)
    walks[5, :20, 1] = np.nan
    np.save(folder / "walks.npy", walks)
    utils = {"classification_tags": ["half"], "sequence_level_dict": {"half": True}}
    save_annotations(folder / "labels.npz", {"half": np.arange(49) % 2}, utils)


def config(data, out, batch_size=4, dropout=0.3, labels=2, **trainer):
    encoder = {"channels": (5, 4), "dropout": dropout}
    return TrainConfig(
        out=str(out),
        seed=3,
        data=DataConfig(
            dataset="arrays",
            path=str(data / "walks.npy"),
            annotations=str(data / "labels.npz") if labels else None,
        ),
        model=ModelConfig(
            encoders={
                "short_term": EncoderConfig(**encoder),
                "long_term": EncoderConfig(**encoder, dilation_base=4),
            },
            predictor_hidden=(6,),
            hoa_bins=8,
        ),
        loss=LossConfig(hoa_window=10, skip_frames=10, hoa_every=2),
        optim=OptimConfig(epochs=4, batch_size=batch_size, lr=0.01, milestones=(2,)),
        labels=LabelConfig(every_epochs=labels),
        trainer=TrainerConfig(
            **{
                "accelerator": "cpu",
                "accumulate": 2,
                "clip_norm": 1.0,
                "log_every_n_steps": 1,
                "checkpoint_every_steps": 2,
                "progress": False,
                **trainer,
            }
        ),
    )


def waiting_for(file, step):
    """A training step that waits until the test is ready to watch it, and is easy to hit."""

    def slow_step(*arguments):
        while not file.exists():
            time.sleep(0.01)
        time.sleep(0.02)
        return step(*arguments)

    return slow_step


def work(data, out, errors, wait, environment, settings):
    """A run in a process of its own, standard error in a file."""
    os.environ.update(environment)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT), 2)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    torch.set_num_threads(1)
    if wait:
        step = training.TrainModule.training_step
        training.TrainModule.training_step = waiting_for(errors.with_suffix(".go"), step)
    cfg = config(data, out, **settings)
    sys.exit(commands.run(lambda: training.train(cfg)))
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("resume")


@pytest.fixture(scope="module")
def small_run(folder):
    (folder / "small_bams_run.py").write_text(SCRIPT)
    sys.path.insert(0, str(folder))
    module = importlib.import_module("small_bams_run")
    module.write_walks(folder)
    yield module
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def start(folder, small_run):
    """Starts runs as processes, forked from one that has everything imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bams.training", "torch.utils.tensorboard"])
    started = []

    def start(name, out, wait=True, environment=None, **settings):
        errors = folder / f"{name}.err"
        arguments = (folder, folder / out, errors, wait, environment or {}, settings)
        process = context.Process(target=small_run.work, args=arguments)
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


@pytest.fixture(scope="module")
def whole(folder, small_run):
    return small_run.training.train(small_run.config(folder, folder / "whole"))


def rows(run: Path) -> list[dict[str, str]]:
    path = run / "metrics.csv"
    if not path.exists():
        return []
    with path.open() as handle:
        return list(csv.DictReader(handle))


def timeless(table: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if k != "samples_per_second"} for row in table]


def wait_for_rows(run: Path, number: int, process, errors: Path) -> None:
    limit = time.monotonic() + 120
    while len(rows(run)) < number:
        assert process.is_alive(), errors.read_text()
        assert time.monotonic() < limit, "the run does not train"
        time.sleep(0.01)


def end(process, run: Path, number: int) -> int:
    """Send a signal somewhere between the third update and the last but a few."""
    run.with_suffix(".go").touch()
    wait_for_rows(run, random.Random().randint(3, 16), process, run.with_suffix(".err"))
    time.sleep(random.Random().uniform(0, 0.05))
    os.kill(process.pid, number)
    process.join(120)
    return process.exitcode


def assert_same_end(run: Path, whole: Path) -> None:
    ours, expected = checkpoints.load_checkpoint(run), checkpoints.load_checkpoint(whole)
    assert ours.path.name == expected.path.name
    for name, value in expected.state.items():
        assert torch.equal(ours.state[name], value), name
    assert timeless(rows(run)) == timeless(rows(whole))
    scores = [
        {k: v for k, v in c.metadata["metrics"].items() if k.startswith("test/")}
        for c in (ours, expected)
    ]
    assert scores[0] == scores[1] != {}


@pytest.mark.parametrize(("name", "code"), [("SIGKILL", -9), ("SIGTERM", 143), ("SIGINT", 130)])
def test_stopped_run_ends_as_the_whole_run(folder, small_run, start, whole, capsys, name, code):
    run = folder / name
    exitcode = end(start(name, name), run, getattr(signal, name))
    errors = run.with_suffix(".err").read_text()
    assert exitcode == code, errors
    stopped_at = checkpoints.load_checkpoint(run).metadata["step"]
    assert 0 < stopped_at < small_run.STEPS
    if name != "SIGKILL":
        # It saved on the signal: nothing that was logged is lost.
        assert stopped_at == max(int(row["step"]) for row in rows(run))
        assert "saving" in errors
        assert "--resume" in errors
    with pytest.raises(UserError, match="--resume"):
        small_run.training.train(small_run.config(folder, run))
    small_run.training.train(small_run.config(folder, run), resume=True)
    assert f"step-{stopped_at:08d}" in capsys.readouterr().err
    assert_same_end(run, whole)


def start_two(start, name: str, out: str, wait: bool = False, **settings) -> list:
    """Two processes of one run, as a scheduler starts them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    return [
        start(
            f"{name}{rank}",
            out,
            wait=wait,
            environment={**address, "LOCAL_RANK": str(rank), "NODE_RANK": "0"},
            batch_size=2,
            devices=2,
            **settings,
        )
        for rank in range(2)
    ]


def test_two_processes_equal_one(folder, small_run, start):
    """Half the batch on each: the same pairs, weights of the frames, and batch norms.

    Dropout is off: its masks are drawn for all sequences of a process at once.
    """
    settings = {"dropout": 0.0, "labels": 0}
    one = small_run.training.train(small_run.config(folder, folder / "one", **settings))
    for rank, process in enumerate(start_two(start, "rank", "processes", **settings)):
        process.join(120)
        assert process.exitcode == 0, (folder / f"rank{rank}.err").read_text()
    found, expected = rows(folder / "processes"), rows(one)
    assert [row["step"] for row in found] == [row["step"] for row in expected]
    assert len(expected) == small_run.STEPS
    # Rounding grows over the steps; in old versions of torch a little more.
    rel = 5e-4 if torch.__version__ < (2, 6) else 2e-4
    for ours, theirs in zip(found, expected, strict=True):
        for name in theirs:
            if name != "samples_per_second":
                assert float(ours[name]) == pytest.approx(float(theirs[name]), rel=rel), name
    ours, theirs = (checkpoints.load_checkpoint(run).state for run in (folder / "processes", one))
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-3, atol=1e-5)


def test_signal_to_one_process_stops_all_of_them(folder, start):
    """A scheduler may tell one process only; the others must save and leave with it."""
    run = folder / "told"
    first, second = start_two(start, "told", "told", wait=True)
    (folder / "told0.go").touch()
    (folder / "told1.go").touch()
    wait_for_rows(run, 3, first, folder / "told0.err")
    os.kill(second.pid, signal.SIGTERM)
    for process in (first, second):
        process.join(120)
        assert process.exitcode == 143
    step = checkpoints.load_checkpoint(run).metadata["step"]
    assert step == max(int(row["step"]) for row in rows(run))


def test_finished_run_has_nothing_to_resume(folder, small_run, whole, capsys):
    before = (whole / "metrics.csv").read_bytes()
    small_run.training.train(small_run.config(folder, whole), resume=True)
    assert "nothing to resume" in capsys.readouterr().err
    assert (whole / "metrics.csv").read_bytes() == before


def test_resume_with_other_settings_is_refused(folder, small_run, whole):
    other = small_run.config(folder, whole)
    other.optim.weight_decay = 0.1
    with pytest.raises(UserError, match=r"optim\.weight_decay 4e-05 -> 0\.1"):
        small_run.training.train(other, resume=True)


def test_resume_with_other_data_is_refused(folder, small_run, whole, tmp_path):
    small_run.write_walks(tmp_path)
    small_run.training.train(small_run.config(tmp_path, whole), resume=True)  # the same content
    small_run.write_walks(tmp_path, seed=1)
    with pytest.raises(UserError, match="other data"):
        small_run.training.train(small_run.config(tmp_path, whole), resume=True)


def test_resume_with_another_number_of_values_is_refused(folder, small_run, whole, tmp_path):
    small_run.write_walks(tmp_path)
    walks = small_run.np.load(tmp_path / "walks.npy")
    small_run.np.save(tmp_path / "walks.npy", walks[..., :2])
    with pytest.raises(UserError, match=r"model\.n_inputs 6 -> 4"):
        small_run.training.train(small_run.config(tmp_path, whole), resume=True)
