"""Trainings that are stopped in the middle of an epoch, and go on there."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope

from behaviorzoo.synthetic_video import write_clips
from uas_swin.checkpoints import read_checkpoint
from uas_swin.cli import main
from uas_swin.runtime import load_from_local

STEPS = 9
"""Clips, and iterations of an epoch."""


@pytest.fixture(scope="module")
def config(tmp_path_factory, write_tiny_config) -> Path:
    folder = tmp_path_factory.mktemp("interrupted")
    write_clips(folder / "clips", ("circle", "left-right", "up-down"), 4, n_frames=6, size=36)
    words = ["prepare", "folder", str(folder / "clips"), "--out", str(folder), "--name", "v"]
    assert main([*words, "--val-share", "0.25"]) == 0
    return write_tiny_config(
        folder,
        drop_path_rate=0.3,
        train=folder / "v_train.txt",
        val=folder / "v_train.txt",
        classes=folder / "v_classes.txt",
        videos=folder / "clips",
    )


@pytest.fixture(scope="module")
def whole(config) -> dict[str, torch.Tensor]:
    """Weights of a training that nothing stopped."""
    folder = config.parent / "whole"
    assert main(["train", str(config), "--work-dir", str(folder)]) == 0
    return read_checkpoint(folder / "epoch_2.pth").state


@pytest.fixture
def signalled(monkeypatch):
    """Makes a training send itself a signal in given iterations."""
    from uas_swin.train_loop import SeedIterations

    seed, calls = SeedIterations.before_train_iter, itertools.count(1)

    def set_up(iterations: dict[int, int]) -> None:
        def before(self, runner, batch_idx, data_batch=None):
            number = iterations.get(next(calls))
            if number is not None:
                os.kill(os.getpid(), number)
            seed(self, runner, batch_idx, data_batch)

        monkeypatch.setattr(SeedIterations, "before_train_iter", before)

    return set_up


def assert_equal(found: dict, wanted: dict) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert torch.equal(value, found[name]), name


def test_stopped_in_an_epoch_it_goes_on_exactly_there(config, whole, signalled, capsys):
    """Ctrl-C in the first epoch, SIGTERM in the second; the step of two iterations is finished."""
    folder = config.parent / "stopped"
    words = ["train", str(config), "--work-dir", str(folder)]
    signalled({3: signal.SIGINT, 4 + 6 + 3: signal.SIGTERM})
    assert main(words) == 130
    told = capsys.readouterr()
    assert f"stopped; {folder / 'iter_4.pth'}; go on with --resume" in told.out
    assert not (folder / "epoch_1.pth").exists()
    assert main([*words, "--resume"]) == 143
    assert sorted(p.name for p in folder.glob("*.pth")) == ["epoch_1.pth", "iter_14.pth"]
    assert main([*words, "--resume"]) == 0
    assert sorted(p.name for p in folder.glob("*.pth")) == ["epoch_1.pth", "epoch_2.pth"]
    assert_equal(read_checkpoint(folder / "epoch_2.pth").state, whole)


def test_a_schedulers_warning_is_handed_on_once_all_is_saved(config, whole, signalled):
    """As submitit has it: its handler puts the job back into the queue."""
    folder = config.parent / "requeued"
    words = ["train", str(config), "--work-dir", str(folder)]
    saved: list[list[str]] = []

    def requeue(number, frame):
        saved.append([path.name for path in folder.glob("*.pth")])

    signalled({5: signal.SIGUSR2})
    before = signal.signal(signal.SIGUSR2, requeue)
    try:
        assert main(words) == 0
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert saved == [["iter_6.pth"]]
    assert main([*words, "--resume"]) == 0
    assert_equal(read_checkpoint(folder / "epoch_2.pth").state, whole)


def test_inside_an_epoch_it_saves_every_so_many_minutes(config, whole, monkeypatch):
    """The newest such file is enough to go on from when the machine breaks."""
    from uas_swin.train_loop import InterruptibleEpochs

    folder = config.parent / "broken"
    words = ["train", str(config), "--work-dir", str(folder)]
    run_iter = InterruptibleEpochs.run_iter

    def breaks(self, index, batch):
        if self._iter == STEPS + 7:
            raise OSError("the machine broke")
        run_iter(self, index, batch)

    with monkeypatch.context() as patch:
        patch.setattr(InterruptibleEpochs, "run_iter", breaks)
        with pytest.raises(OSError, match="broke"):
            main([*words, "--cfg-options", "train_cfg.save_minutes=1e-9"])
    assert sorted(p.name for p in folder.glob("*.pth")) == ["epoch_1.pth", "iter_16.pth"]
    assert main([*words, "--resume"]) == 0
    assert_equal(read_checkpoint(folder / "epoch_2.pth").state, whole)


@pytest.mark.parametrize("iteration", [STEPS, STEPS + 1, STEPS + 3])
def test_where_not_every_epoch_is_saved_nothing_is_lost(config, whole, signalled, iteration):
    """Asked to end at the end of the first epoch, or in the second."""
    folder = config.parent / f"seldom{iteration}"
    words = ["train", str(config), "--work-dir", str(folder)]
    words += ["--cfg-options", "default_hooks.checkpoint.interval=2"]
    signalled({iteration: signal.SIGINT})
    assert main(words) == 130
    assert len(list(folder.glob("iter_*.pth"))) == 1
    assert main([*words, "--resume"]) == 0
    assert_equal(read_checkpoint(folder / "epoch_2.pth").state, whole)


def test_a_partial_checkpoint_stays_until_an_epoch_has_its_own(config, whole, signalled):
    folder = config.parent / "kept"
    words = ["train", str(config), "--work-dir", str(folder), "--cfg-options"]
    words += ["default_hooks.checkpoint.interval=2"]
    from uas_swin.runner import newest_checkpoint

    signalled({3: signal.SIGINT, 4 + STEPS: signal.SIGTERM})
    assert main(words) == 130
    assert newest_checkpoint(folder) == folder / "iter_4.pth"
    assert main([*words, "--resume"]) == 143
    assert newest_checkpoint(folder) is not None
    assert main([*words, "--resume"]) == 0
    assert_equal(read_checkpoint(folder / "epoch_2.pth").state, whole)


def test_a_validation_that_was_stopped_is_done_again(config, whole, monkeypatch, capsys):
    from uas_swin.train_loop import EndValidation

    folder = config.parent / "validated"
    words = ["train", str(config), "--work-dir", str(folder), "--validate"]
    after = EndValidation.after_val_iter

    def interrupt(self, runner, batch_idx, data_batch=None, outputs=None):
        os.kill(os.getpid(), signal.SIGINT)
        after(self, runner, batch_idx, data_batch, outputs)

    with monkeypatch.context() as patch:
        patch.setattr(EndValidation, "after_val_iter", interrupt)
        assert main(words) == 130
    assert not list(folder.glob("evaluation*"))
    assert main([*words, "--resume"]) == 0
    log = "\n".join(path.read_text() for path in folder.glob("*/*.log"))
    assert "Epoch(val) [1][9/9]" in log
    assert "Epoch(val) [2][9/9]" in log
    assert_equal(read_checkpoint(folder / "epoch_2.pth").state, whole)


def test_epochs_of_another_length_are_refused(config, whole, signalled, capsys):
    """Also where the place in the epoch would fit: its samples would be others."""
    folder = config.parent / "changed"
    words = ["train", str(config), "--work-dir", str(folder)]
    signalled({STEPS + 4: signal.SIGINT})
    assert main(words) == 130
    capsys.readouterr()
    changes = ["--cfg-options", "train_dataloader.batch_size=2"]
    for source in ((), (str(folder / "epoch_1.pth"),)):
        assert main([*words, "--resume", *source, *changes]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert "its epochs have 9 iterations, those of this configuration 5" in error
    assert main([*words, "--resume"]) == 0
    assert_equal(read_checkpoint(folder / "epoch_2.pth").state, whole)


def test_a_checkpoint_that_does_not_tell_the_length_must_fit(config, whole, tmp_path, capsys):
    content = load_from_local(config.parent / "whole" / "epoch_1.pth")
    assert content["meta"].pop("epoch_length") == STEPS
    torch.save(content, tmp_path / "old.pth")
    words = ["train", str(config), "--work-dir", str(tmp_path), "--resume"]
    words += [str(tmp_path / "old.pth")]
    assert main([*words, "--cfg-options", "train_dataloader.batch_size=4"]) == 2
    assert "another number of iterations" in capsys.readouterr().err
    assert main(words) == 0
    assert_equal(read_checkpoint(tmp_path / "epoch_2.pth").state, whole)


def test_a_copied_run_goes_on_from_its_own_checkpoints(config, whole, tmp_path):
    from uas_swin.runner import newest_checkpoint

    copy = tmp_path / "copy"
    shutil.copytree(config.parent / "whole", copy)
    assert newest_checkpoint(copy) == copy / "epoch_2.pth"
    (copy / "epoch_2.pth").unlink()
    assert newest_checkpoint(copy) == config.parent / "whole" / "epoch_2.pth"


def test_what_a_resumed_run_does_not_take_over_is_told(config, whole, tmp_path, capsys):
    source = str(config.parent / "whole" / "epoch_1.pth")
    words = ["train", str(config), "--work-dir", str(tmp_path), "--resume", source]
    capsys.readouterr()
    assert main([*words, "--cfg-options", "optim_wrapper.optimizer.lr=0.5"]) == 0
    told = capsys.readouterr().out
    assert "epoch_1.pth goes on with the learning rate that it began with, 0.0003; 0.5 " in told
    assert_equal(read_checkpoint(tmp_path / "epoch_2.pth").state, whole)
    assert main([*words[:4], "--resume"]) == 0
    told = capsys.readouterr().out
    assert "nothing is left to train: 2 of 2 epochs are done" in told
    assert "goes on with the learning rate" not in told


def test_nothing_saved_yet_is_a_fresh_start(config, whole, capsys):
    """As where a job was taken away in its first minute."""
    folder = config.parent / "early"
    assert main(["train", str(config), "--work-dir", str(folder), "--resume"]) == 0
    assert "no checkpoint to resume from, starting from scratch" in capsys.readouterr().out
    assert_equal(read_checkpoint(folder / "epoch_2.pth").state, whole)


def test_an_overwritten_run_is_not_gone_on_from(config, whole, signalled, capsys):
    folder = config.parent / "anew"
    words = ["train", str(config), "--work-dir", str(folder)]
    assert main([*words, "--seed", "8"]) == 0
    interval = ["--cfg-options", "default_hooks.checkpoint.interval=2"]
    signalled({STEPS: signal.SIGINT})
    assert main([*words, "--overwrite", *interval]) == 130
    assert main([*words, "--resume", *interval]) == 0
    assert_equal(read_checkpoint(folder / "epoch_2.pth").state, whole)


def test_mistakes_are_seen_before_a_job_waits(config, tmp_path, capsys, monkeypatch):
    # As in a new process: no run has said yet whose names are meant.
    monkeypatch.setattr(DefaultScope, "_instance_dict", OrderedDict())
    words = ["train", str(config), "--work-dir", str(tmp_path / "run"), "--dry-run"]
    assert main(words) == 0
    assert "nothing is in the way" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()
    (tmp_path / "bad.txt").write_text("circle/none.mp4\n")
    assert main([*words, "--cfg-options", f"lists.train={tmp_path / 'bad.txt'}"]) == 2
    assert "bad.txt" in capsys.readouterr().err
    assert main([*words, "--cfg-options", "load_from=nowhere.pth"]) == 2
    assert "nowhere.pth" in capsys.readouterr().err
    assert main([*words, "--cfg-options", "train_cfg.save_minutes=-1"]) == 2
    assert "save_minutes = -1 must be positive" in capsys.readouterr().err
