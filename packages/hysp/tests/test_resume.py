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
"""A small run of everything: dropout, views, curriculum, accumulation, milestone, validation."""
import os
import sys
import time

import numpy as np
import pandas as pd
import torch

from behaviorzoo import commands
from behaviorzoo.training import TrainerConfig
from hysp import training
from hysp.augment import AugmentConfig
from hysp.config import CurriculumConfig, PretrainConfig
from hysp.data import DataConfig, Skeleton
from hysp.data.prepared import Description, write_prepared
from hysp.model import EncoderConfig, GraphConfig, ModelConfig
from hysp.optim import OptimConfig

STEPS = 4 * 6
PLAIN = AugmentConfig(
    padding_ratio=0, shear=0, flip=0, rotation=0, rotation_others=0, noise=0, blur=0,
    axis_mask=0, time_flip=0,
)


def write_clips(folder, seed=0, repeated=False, n_joints=4):
    """57 clips of a chain of joints, a column that says who trains: 49."""
    x = np.random.default_rng(seed).normal(size=(57, 3, 10, n_joints, 1)).cumsum(axis=2)
    if repeated:  # both halves of every eight clips are the same
        x = x[:56].reshape(7, 8, *x.shape[1:])
        x[:, 4:] = x[:, :4]
        x = x.reshape(56, *x.shape[2:])
    names = [f"clip{number:02d}" for number in range(len(x))]
    side = ["train" if number < 48 + (not repeated) else "val" for number in range(len(x))]
    table = pd.DataFrame({"name": names, "group": names, "side": side})
    edges = tuple((joint, joint + 1) for joint in range(n_joints - 1))
    joints = tuple("abcdefgh"[:n_joints])
    skeleton = Skeleton(joints, edges, 1, tuple(range(n_joints)))
    about = Description("test", skeleton, {}, ["side"])
    dropped = pd.DataFrame({"name": [], "reason": [], "file": []})
    write_prepared(folder, x.astype(np.float32), table, dropped, about)


def config(data, out, batch_size=4, dropout=0.3, augment=None, method="hysp", **trainer):
    return PretrainConfig(
        out=str(out),
        seed=3,
        data=DataConfig(path=str(data)),
        augment=augment or AugmentConfig(),
        model=ModelConfig(
            method=method,
            encoder=EncoderConfig(0, 2, 6, GraphConfig("data"), dropout=dropout),
            projection_hidden_size=(6, 4),
            predictor_hidden_size=(6, 4),
            moving_average_decay=0.9,
            queue_size=16,
        ),
        curriculum=CurriculumConfig(True, 1, 3),
        optim=OptimConfig(
            epochs=4, batch_size=batch_size, lr=0.02, milestones=(2,), val_batch_size=4
        ),
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


def in_their_order(*arguments, **options):
    return ORIGINAL_BATCHES(*arguments, **{**options, "shuffle": False})


ORIGINAL_BATCHES = training.EpochBatches


def work(data, out, errors, wait, environment, ordered, settings):
    """A run in a process of its own, standard error in a file."""
    os.environ.update(environment)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT), 2)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    torch.set_num_threads(1)
    if wait:
        step = training.PretrainModule.training_step
        training.PretrainModule.training_step = waiting_for(errors.with_suffix(".go"), step)
    if ordered:
        training.EpochBatches = in_their_order
    cfg = config(data, out, **settings)
    sys.exit(commands.run(lambda: training.pretrain(cfg)))
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("resume")


@pytest.fixture(scope="module")
def small_run(folder):
    (folder / "small_hysp_run.py").write_text(SCRIPT)
    sys.path.insert(0, str(folder))
    module = importlib.import_module("small_hysp_run")
    module.write_clips(folder / "clips")
    module.write_clips(folder / "repeated", repeated=True)
    yield module
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def start(folder, small_run):
    """Starts runs as processes, forked from one that has everything imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hysp.training", "geoopt", "torch.utils.tensorboard"])
    started = []

    def start(name, out, wait=True, environment=None, data="clips", ordered=False, **settings):
        errors = folder / f"{name}.err"
        arguments = (folder / data, folder / out, errors, wait, environment or {}, ordered)
        process = context.Process(target=small_run.work, args=(*arguments, settings))
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


@pytest.fixture(scope="module")
def whole(folder, small_run):
    return small_run.training.pretrain(small_run.config(folder / "clips", folder / "whole"))


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
    assert len(rows(whole)) == 24 + 4  # updates and looks at held-out clips


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
    cfg = small_run.config(folder / "clips", run)
    with pytest.raises(UserError, match="--resume"):
        small_run.training.pretrain(cfg)
    small_run.training.pretrain(cfg, resume=True)
    assert f"step-{stopped_at:08d}" in capsys.readouterr().err
    assert_same_end(run, whole)


class StoppedError(Exception):
    """The machine went away."""


@pytest.mark.parametrize("method", ["simsiam", "skeletonclr"])
def test_a_run_that_dies_in_the_middle_of_an_epoch(folder, small_run, monkeypatch, method):
    """The queue and its target are part of what is saved."""
    settings = {"method": method}
    full = small_run.training.pretrain(
        small_run.config(folder / "clips", folder / f"full_{method}", **settings)
    )
    cfg = small_run.config(folder / "clips", folder / f"dead_{method}", **settings)
    step, count = small_run.training.PretrainModule.training_step, iter(range(99))

    def dying(*arguments):
        if next(count) == 17:
            raise StoppedError
        return step(*arguments)

    monkeypatch.setattr(small_run.training.PretrainModule, "training_step", dying)
    with pytest.raises(StoppedError):
        small_run.training.pretrain(cfg)
    monkeypatch.undo()
    assert checkpoints.load_checkpoint(cfg.out).metadata["epoch"] % 1 > 0
    small_run.training.pretrain(cfg, resume=True)
    assert_same_end(Path(cfg.out), full)


def test_a_validation_that_was_cut_short_is_made_up_for(folder, small_run, monkeypatch, whole):
    """It sees the lambda of its own epoch, not of the next one."""
    cfg = small_run.config(folder / "clips", folder / "unseen")
    original, count = small_run.training.PretrainModule.held_out, iter(range(99))

    def dying(*arguments):
        if next(count) == 3:  # two batches a validation: in the second epoch's
            raise StoppedError
        return original(*arguments)

    monkeypatch.setattr(small_run.training.PretrainModule, "held_out", dying)
    with pytest.raises(StoppedError):
        small_run.training.pretrain(cfg)
    monkeypatch.undo()
    small_run.training.pretrain(cfg, resume=True)
    assert_same_end(Path(cfg.out), whole)


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
            devices=2,
            **settings,
        )
        for rank in range(2)
    ]


@pytest.mark.parametrize("method", ["hysp", "skeletonclr"])
def test_two_processes_equal_one(folder, small_run, start, monkeypatch, method):
    """Half the batch on each: loss, gradients, target, and the queue with the keys of both.

    On CPUs every process has batch statistics of its own (GPUs share them). Both halves of a
    batch hold the same clips here, so that the statistics are those of the whole; only the
    running variances know how many there were. Dropout is off: masks are drawn per process.
    """
    settings = {"dropout": 0.0, "augment": small_run.PLAIN, "method": method}
    settings |= {"batch_size": 8, "precision": "64-true"}
    monkeypatch.setattr(small_run.training, "EpochBatches", small_run.in_their_order)
    one = small_run.training.pretrain(
        small_run.config(folder / "repeated", folder / f"one_{method}", **settings)
    )
    out = f"processes_{method}"
    processes = start_two(start, f"rank_{method}", out, data="repeated", ordered=True, **settings)
    for rank, process in enumerate(processes):
        process.join(120)
        assert process.exitcode == 0, (folder / f"rank_{method}{rank}.err").read_text()
    found, expected = rows(folder / out), rows(one)
    assert [row["step"] for row in found] == [row["step"] for row in expected]
    assert len(expected) == small_run.STEPS // 2 + 4
    for ours, theirs in zip(found, expected, strict=True):
        # Angles between equal directions are rounding.
        # Held-out clips go through the running variances.
        for name in (n for n in theirs if n.startswith("train_") or n in ("lr", "grad_norm")):
            if theirs[name]:
                rounding = 1e-6 if name == "train_ang_e" else 1e-9
                value = pytest.approx(float(theirs[name]), rel=1e-6, abs=rounding)
                assert float(ours[name]) == value, name
    ours, theirs = (checkpoints.load_checkpoint(run).state for run in (folder / out, one))
    for name, value in theirs.items():
        if not name.endswith("running_var"):
            torch.testing.assert_close(ours[name], value, rtol=1e-6, atol=1e-9, msg=name)


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
    small_run.training.pretrain(small_run.config(folder / "clips", whole), resume=True)
    assert "nothing to resume" in capsys.readouterr().err
    assert (whole / "metrics.csv").read_bytes() == before


def test_resume_with_other_settings_is_refused(folder, small_run, whole):
    other = small_run.config(folder / "clips", whole)
    other.stream = "motion"
    with pytest.raises(UserError, match=r"stream joint -> motion"):
        small_run.training.pretrain(other, resume=True)


def test_resume_with_other_data_is_refused(small_run, whole, tmp_path):
    small_run.write_clips(tmp_path / "same")
    small_run.training.pretrain(small_run.config(tmp_path / "same", whole), resume=True)
    small_run.write_clips(tmp_path / "other", seed=1)
    with pytest.raises(UserError, match="other data"):
        small_run.training.pretrain(small_run.config(tmp_path / "other", whole), resume=True)


def test_resume_with_other_joints_is_refused(small_run, whole, tmp_path):
    small_run.write_clips(tmp_path / "more", n_joints=5)
    with pytest.raises(UserError, match=r"graph\.n_joints 4 -> 5"):
        small_run.training.pretrain(small_run.config(tmp_path / "more", whole), resume=True)
