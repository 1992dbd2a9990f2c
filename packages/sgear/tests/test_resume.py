"""Runs that are killed, terminated, interrupted or spread over processes end as if nothing was."""

from __future__ import annotations

import csv
import multiprocessing
import os
import random
import shutil
import signal
import socket
import sys
import time
from pathlib import Path

import pytest
import torch

from behaviorzoo.errors import UserError

STEPS = 4 * 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("resume")


@pytest.fixture(scope="module")
def small():
    """The module beside this file, under a name that child processes can import."""
    sys.path.insert(0, str(Path(__file__).parent))
    import sgear_small_run

    yield sgear_small_run
    sys.path.remove(str(Path(__file__).parent))


@pytest.fixture(scope="module")
def data(folder, small):
    return small.write_features(folder / "data")


@pytest.fixture(scope="module")
def start(folder, small, data):
    """Starts runs as processes, forked from one that has everything imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [
            "sgear.run",
            "sgear.config",
            "torch.utils.tensorboard",
            "transformers.models.gpt2.modeling_gpt2",
        ]
    )
    started = []

    def start(name, out, words=(), wait=True, environment=None, resume=False):
        errors = folder / f"{name}.err"
        given = small.words(data, *words)
        arguments = (folder / out, given, errors, wait, environment or {}, resume)
        process = context.Process(target=small.work, args=arguments)
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


@pytest.fixture(scope="module")
def whole(folder, small, data):
    return small.start(folder / "whole", small.words(data))


def rows(run: Path) -> list[dict[str, str]]:
    path = run / "metrics.csv"
    if not path.exists():
        return []
    with path.open() as handle:
        return list(csv.DictReader(handle))


def timeless(table: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if k != "samples_per_second"} for row in table]


def checkpoint(run: Path, name: str = "checkpoint.pth"):
    """Readable without running anything."""
    return torch.load(run / name, weights_only=True)


def end(process, run: Path, number: int, errors: Path) -> int:
    """Send a signal somewhere between the third batch and the last but a few."""
    errors.with_suffix(".go").touch()
    wanted = random.Random().randint(3, 16)
    limit = time.monotonic() + 120
    # Who is killed cannot save any more: there must be something to go on from.
    saved = number != signal.SIGKILL
    while len(rows(run)) < wanted or not (saved or (run / "checkpoint.pth").exists()):
        assert process.is_alive(), errors.read_text()
        assert time.monotonic() < limit, "the run does not train"
        time.sleep(0.01)
    time.sleep(random.Random().uniform(0, 0.05))
    os.kill(process.pid, number)
    process.join(120)
    return process.exitcode


def assert_same(ours, expected, where: str = "") -> None:
    """Equal bit for bit, tensors in nested containers too."""
    assert type(ours) is type(expected), where
    if isinstance(ours, dict):
        assert list(ours) == list(expected), where
        for key, value in expected.items():
            assert_same(ours[key], value, f"{where}.{key}")
    elif isinstance(ours, list | tuple):
        assert len(ours) == len(expected), where
        for number, value in enumerate(expected):
            assert_same(ours[number], value, f"{where}[{number}]")
    elif isinstance(ours, torch.Tensor):
        assert torch.equal(ours, expected), where
    else:
        assert ours == expected, where


def assert_same_end(run: Path, whole: Path) -> None:
    ours, expected = checkpoint(run), checkpoint(whole)
    for part in ("model", "optimizer", "lr_scheduler", "epoch", "progress", "gradients", "meter"):
        assert_same(ours[part], expected[part], part)
    assert timeless(rows(run)) == timeless(rows(whole))


@pytest.mark.parametrize(("name", "code"), [("SIGKILL", -9), ("SIGTERM", 143), ("SIGINT", 130)])
def test_stopped_run_ends_as_the_whole_run(folder, small, data, start, whole, capsys, name, code):
    run, errors = folder / name, folder / f"{name}.err"
    process = start(name, name, ["train.train_one_epoch_fn.save_freq=0.34"])
    exitcode = end(process, run, getattr(signal, name), errors)
    assert exitcode == code, errors.read_text()
    stopped = checkpoint(run)
    assert 0 < stopped["progress"]["step"] < STEPS
    if name != "SIGKILL":
        # It saved on the signal: nothing that was logged is lost.
        assert stopped["progress"]["step"] == max(int(row["step"]) for row in rows(run))
        assert "saving" in errors.read_text()
        assert "checkpoint.pth: the same command goes on" in errors.read_text()
    words = small.words(data)
    with pytest.raises(UserError, match="--resume"):
        small.start(run, words)
    small.start(run, words, resume=True)
    assert "going on from epoch" in capsys.readouterr().out
    assert_same_end(run, whole)


def test_a_run_may_be_stopped_between_gradients_of_one_update(folder, small, data, start, whole):
    run = folder / "odd"
    for _ in range(20):  # where it stops is chance; anew each time, for a run that is nearly over
        shutil.rmtree(run, ignore_errors=True)
        end(start("odd", "odd"), run, signal.SIGTERM, folder / "odd.err")
        if checkpoint(run)["progress"]["step"] % 2:
            break
    assert checkpoint(run)["gradients"]
    small.start(run, small.words(data), resume=True)
    assert_same_end(run, whole)


def start_two(
    start, name: str, out: str, words=(), wait: bool = False, in_file: bool = False
) -> list:
    """Two processes of one run, as torchrun starts them; or they meet in a file of its folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = {} if in_file else {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    address["WORLD_SIZE"] = "2"
    return [
        start(
            f"{name}{rank}",
            out,
            words=words,
            wait=wait,
            environment={**address, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]


# What mixes clips of a batch (the published selection of prototypes) is off, and dropout.
ALONE = ["compat=corrected", "model.dropout=0"] + [
    f"model.future_predictor.{name}_pdrop=0" for name in ("attn", "embd", "resid")
]


def test_two_processes_equal_one(folder, small, data, start):
    """Half the batch on each of two: the same clips and updates. Rates grow with processes."""
    out = "two of 100%20 #1"  # a folder may be called anything
    more = ["train.batch_size=2", "opt.lr_wd=[[__all__,0.02,0.0001]]"]
    two = start_two(start, "rank", out, [*ALONE, *more], in_file=True)
    for rank, process in enumerate(two):
        process.join(120)
        assert process.exitcode == 0, (folder / f"rank{rank}.err").read_text()
    one = small.start(
        folder / "one", small.words(data, *ALONE, "opt.lr_wd=[[__all__,0.04,0.0001]]")
    )
    assert not list((folder / out).glob("sync_file_init*"))
    found, expected = rows(folder / out), rows(one)
    assert [row["step"] for row in found] == [row["step"] for row in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            if name != "samples_per_second" and value:
                assert float(ours[name]) == pytest.approx(float(value), rel=2e-3, abs=1e-5), name
    ours, theirs = checkpoint(folder / out)["model"], checkpoint(one)["model"]
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=2e-3, atol=2e-4)
    from sgear.results import read_results

    both = [read_results(run / "results") for run in (folder / out, one)]
    assert both[0].idx.tolist() == both[1].idx.tolist()
    assert both[0].stored.max() == 1 or len(both[0].idx) % 2
    assert abs(both[0].logits["action"] - both[1].logits["action"]).max() < 1e-2


def test_signal_to_one_process_stops_all_of_them(folder, start):
    """A scheduler may tell one process only; the others must save and leave with it."""
    run = folder / "told"
    first, second = start_two(start, "told", "told", wait=True)
    (folder / "told0.go").touch()
    (folder / "told1.go").touch()
    limit = time.monotonic() + 120
    while len(rows(run)) < 3:
        assert first.is_alive(), (folder / "told0.err").read_text()
        assert time.monotonic() < limit
        time.sleep(0.01)
    os.kill(second.pid, signal.SIGTERM)
    for process in (first, second):
        process.join(120)
        assert process.exitcode == 143
    assert checkpoint(run)["progress"]["step"] == max(int(row["step"]) for row in rows(run))


def test_other_settings_data_or_processes_are_refused(folder, small, data, whole, tmp_path):
    with pytest.raises(UserError, match=r"other settings: .*opt\.accumulate 2 -> 1"):
        small.start(whole, small.words(data, "opt.accumulate=1"), resume=True)
    other = small.write_features(tmp_path / "data", actions=10)
    with pytest.raises(UserError, match="cannot go on with other data"):
        small.start(whole, small.words(other), resume=True)


def test_what_is_refused_does_not_replace_the_settings(folder, small, data, whole, tmp_path):
    """`sgear train --resume` and `sgear test` read them."""
    files = sorted((whole / ".hydra").iterdir())
    before = [file.read_bytes() for file in files]
    other = small.write_features(tmp_path / "data", actions=10)
    for words in (small.words(data, "opt.accumulate=1"), small.words(other)):
        with pytest.raises(UserError, match="cannot go on"):
            small.start(whole, words, resume=True)
    assert [file.read_bytes() for file in files] == before
    with pytest.raises(UserError, match="no checkpoint to evaluate"):
        small.start(tmp_path / "new", small.words(data, "test_only=true"))
    assert not (tmp_path / "new" / ".hydra").exists()


def test_the_same_data_may_lie_elsewhere(folder, small, data, whole, tmp_path, capsys):
    moved = small.write_features(tmp_path / "moved")
    before = (whole / "metrics.csv").read_bytes()
    more = ["data_train.workers=1", "train.train_one_epoch_fn.print_freq=7"]
    small.start(whole, small.words(moved, *more), resume=True)
    assert "all 4 epochs are done, nothing to go on with" in capsys.readouterr().out
    assert (whole / "metrics.csv").read_bytes() == before


def test_workers_load_the_same_batches(folder, small, data, whole):
    run = small.start(
        folder / "workers", small.words(data, "data_train.workers=2", "data_eval.workers=1")
    )
    assert_same_end(run, whole)
