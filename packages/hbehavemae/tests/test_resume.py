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
"""A small run of everything: augmentation, masks, accumulation, validation, warm-up."""
import os
import sys
import time

import numpy as np
import torch

from behaviorzoo import commands
from behaviorzoo.mabe import save_dictionary
from behaviorzoo.training import TrainerConfig
from hbehavemae import training
from hbehavemae.config import PretrainConfig
from hbehavemae.data.config import DataConfig
from hbehavemae.model.geometry import ModelConfig
from hbehavemae.optim import OptimConfig

STEPS = 4 * 6


def write_poses(folder):
    for split, seed, episodes in [("train", 0, 4), ("test", 1, 2)]:
        walks = np.random.default_rng(seed).normal(size=(episodes, 36, 1, 26, 3)).cumsum(axis=1)
        keypoints = {f"e{i}": walk for i, walk in enumerate(walks.astype(np.float32) / 10)}
        path = folder / f"{split}_dictionary_poses.npy"
        save_dictionary(path, {"sequences": {"keypoints": keypoints}})


def config(data, out, batch_size=4, **trainer):
    return PretrainConfig(
        out=str(out),
        seed=3,
        data=DataConfig(
            dataset="shot7m2",
            path=str(data / "train_dictionary_poses.npy"),
            sliding_window=3,
            data_augment=True,
        ),
        model=ModelConfig(
            input_size=(16, 1, 72),
            stages=(1, 1, 1),
            init_embed_dim=8,
            init_num_heads=1,
            out_embed_dims=(4, 4, 4),
            decoder_embed_dim=8,
            mask_ratio=0.5,
        ),
        optim=OptimConfig(
            epochs=4, warmup_epochs=1, batch_size=batch_size, blr=0.1, validate_every_epochs=2
        ),
        trainer=TrainerConfig(
            **{
                "accelerator": "cpu",
                "accumulate": 2,
                "clip_norm": 0.1,
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
        step = training.PretrainModule.training_step
        training.PretrainModule.training_step = waiting_for(errors.with_suffix(".go"), step)
    cfg = config(data, out, **settings)
    sys.exit(commands.run(lambda: training.pretrain(cfg)))
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("resume")


@pytest.fixture(scope="module")
def small_run(folder):
    (folder / "small_run.py").write_text(SCRIPT)
    sys.path.insert(0, str(folder))
    module = importlib.import_module("small_run")
    module.write_poses(folder)
    yield module
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def start(folder, small_run):
    """Starts runs as processes, forked from one that has everything imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hbehavemae.training", "torch.utils.tensorboard"])
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
    return small_run.training.pretrain(small_run.config(folder, folder / "whole"))


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
        small_run.training.pretrain(small_run.config(folder, run))
    small_run.training.pretrain(small_run.config(folder, run), resume=True)
    assert f"step-{stopped_at:08d}" in capsys.readouterr().err
    assert_same_end(run, whole)


def start_two(start, name: str, out: str, wait: bool = False) -> list:
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
        )
        for rank in range(2)
    ]


def test_two_processes_equal_one(folder, small_run, start, whole):
    """Half the batch on each of two processes: the same samples, masks and updates."""
    for rank, process in enumerate(start_two(start, "rank", "processes")):
        process.join(120)
        assert process.exitcode == 0, (folder / f"rank{rank}.err").read_text()
    found, expected = rows(folder / "processes"), rows(whole)
    assert [row["step"] for row in found] == [row["step"] for row in expected]
    for ours, theirs in zip(found, expected, strict=True):
        for name in ("train_loss", "val_loss", "lr", "grad_norm"):
            assert bool(ours[name]) == bool(theirs[name])
            if ours[name]:
                assert float(ours[name]) == pytest.approx(float(theirs[name]), rel=2e-4), name


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
    small_run.training.pretrain(small_run.config(folder, whole), resume=True)
    assert "nothing to resume" in capsys.readouterr().err
    assert (whole / "metrics.csv").read_bytes() == before


def test_resume_with_other_settings_is_refused(folder, small_run, whole):
    other = small_run.config(folder, whole)
    other.optim.weight_decay = 0.1
    with pytest.raises(UserError, match=r"optim\.weight_decay 0\.05 -> 0\.1"):
        small_run.training.pretrain(other, resume=True)


def test_resume_with_other_data_is_refused(folder, small_run, whole, tmp_path):
    small_run.write_poses(tmp_path)
    same = small_run.config(tmp_path, whole)
    small_run.training.pretrain(same, resume=True)
    poses = small_run.save_dictionary
    walk = small_run.np.zeros((36, 1, 26, 3), dtype="float32")
    poses(tmp_path / "train_dictionary_poses.npy", {"sequences": {"keypoints": {"e0": walk}}})
    same.optim.batch_size = 4
    with pytest.raises(UserError, match="other data"):
        small_run.training.pretrain(same, resume=True)


def test_what_a_checkpoint_tells(whole, small_run):
    saved = checkpoints.load_checkpoint(whole)
    assert saved.config["model"]["input_size"] == [16, 1, 72]
    assert saved.config["seed"] == 3
    told = saved.metadata
    assert (told["method"], told["step"], told["epoch"]) == ("hbehavemae", small_run.STEPS, 4)
    assert set(told["versions"]) == {"hbehavemae", "torch", "lightning", "numpy", "python"}
    assert {"train_loss", "val_loss"} <= set(told["metrics"])
    assert told["data_state"] == {}
