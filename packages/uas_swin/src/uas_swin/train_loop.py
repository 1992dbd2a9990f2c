"""Epochs that save and end when asked to, in the middle of one if need be, and go on there.

mmengine saves and resumes between epochs. An epoch of a large data set takes hours, and a cluster
that takes a machine away leaves minutes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dataset import DefaultSampler
from mmengine.dist import all_reduce, barrier, get_rank, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import DATA_SAMPLERS, HOOKS, LOOPS
from mmengine.runner import EpochBasedTrainLoop

from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path
from behaviorzoo.launch import tell
from behaviorzoo.training.signals import StopRequest, StopTraining
from uas_swin.runner import LAST, newest_checkpoint


@DATA_SAMPLERS.register_module()
class ResumableSampler(DefaultSampler):
    """mmengine's sampler, which can leave out what an interrupted epoch has seen already.

    Attributes:
        skip: Samples of this process that the next round leaves out.
    """

    skip = 0

    def __iter__(self) -> Iterator[int]:
        """Indices of this process, in the order of the epoch."""
        skip, self.skip = self.skip, 0
        return islice(super().__iter__(), skip, None)


@HOOKS.register_module()
class SeedIterations(Hook):
    """Begins every iteration with random numbers that follow from seed, iteration and process.

    Dropout and stochastic depth then go on in a resumed run as if it had not stopped.
    """

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Seed torch."""
        words = np.random.SeedSequence([runner.seed or 0, runner.iter, get_rank()])
        torch.manual_seed(int(words.generate_state(1)[0]))


@HOOKS.register_module()
class EndValidation(Hook):
    """Lets a validation that is asked to end do so: what it follows on is saved."""

    def after_val_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """End, if asked to."""
        loop = runner.train_loop
        if isinstance(loop, InterruptibleEpochs):
            loop.end_if_asked()


@HOOKS.register_module()
class ResumeChecks(Hook):
    """Lets a run go on only where its epochs have the iterations that they had.

    Otherwise the place in the epoch, the order of the samples and the learning rate would be those
    of another run: an epoch could pass without a step.
    """

    _KEY = "epoch_length"

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Note the length of an epoch."""
        checkpoint["meta"][self._KEY] = len(runner.train_dataloader)

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Compare what the checkpoint and the configuration say.

        Raises:
            UserError: The epochs have other lengths.
        """
        meta, now = checkpoint.get("meta", {}), len(runner.train_dataloader)
        if {"epoch", "iter"} <= set(meta):
            self._check_length(meta, now, runner._load_from)
        if "optimizer" in checkpoint:
            self._tell_of_rates(runner, checkpoint["optimizer"].get("param_groups", []))

    def _check_length(self, meta: dict[str, Any], now: int, where: str) -> None:
        done = meta["iter"] - meta["epoch"] * now  # in its epoch; old files do not tell its length
        before = meta.get(self._KEY, now if 0 <= done < now else None)
        if before != now:
            told = "another number of" if before is None else before
            raise UserError(
                f"{where}: its epochs have {told} iterations, those of this configuration {now}; "
                "resume with the list, batch size and number of processes of the run, or start a "
                "new one from its weights with --cfg-options load_from=FILE"
            )

    def _tell_of_rates(self, runner: Any, groups: list[dict[str, Any]]) -> None:
        before, now = (
            max((group.get("initial_lr", group["lr"]) for group in some), default=None)
            for some in (groups, runner.optim_wrapper.param_groups)
        )
        if before is not None and before != now:
            tell(
                f"note: {runner._load_from} goes on with the learning rate that it began with, "
                f"{before:g}; {now:g} would need a new run (load_from)"
            )


@LOOPS.register_module()
class InterruptibleEpochs(EpochBasedTrainLoop):
    """mmengine's loop over epochs; Ctrl-C, SIGTERM and a scheduler's warning end it, saved.

    A checkpoint in the middle of an epoch is written between two steps of the optimiser, as
    ``iter_N.pth``; only the newest such file is kept, and none once an epoch's own is there.

    Args:
        runner: The runner.
        dataloader: Loader of the training set, or its configuration.
        save_minutes: Save so often inside an epoch, too; None: only where it is asked to end.
        **options: ``max_epochs``, ``val_begin``, ``val_interval``, ``dynamic_intervals``.
    """

    def __init__(
        self, runner: Any, dataloader: Any, save_minutes: float | None = 30.0, **options: Any
    ):
        super().__init__(runner, dataloader, **options)
        self._seconds = None if save_minutes is None else 60 * save_minutes
        self._saved_at = time.monotonic()
        self._stop = StopRequest()

    def run(self) -> torch.nn.Module:
        """Train.

        Raises:
            StopTraining: The run was asked to end, and has saved.
        """
        if self._epoch >= self._max_epochs:
            tell(f"nothing is left to train: {self._epoch} of {self._max_epochs} epochs are done")
        with self._stop:
            if self._epoch and self._iter == self._epoch * len(self.dataloader):
                self._decide_current_val_interval()
                self._validate()  # whoever goes on here may have been stopped before or in it
            return super().run()

    def run_epoch(self) -> None:
        """One epoch, or what is left of it."""
        runner = self.runner
        done = self._iter - self._epoch * len(self.dataloader)
        runner.call_hook("before_train_epoch")
        runner.model.train()
        for index, batch in enumerate(self._batches(done), start=done):
            self.run_iter(index, batch)
            if index + 1 < len(self.dataloader):
                self._save_or_stop()
        runner.call_hook("after_train_epoch")
        self._epoch += 1
        if self._epoch_is_saved():
            self._saved_at = time.monotonic()
            self._remove_partial()
        self.end_if_asked()

    def end_if_asked(self) -> None:
        """End between two epochs.

        Raises:
            StopTraining: The run was asked to end.
        """
        signal, _ = self._agreed(0)
        if signal:
            self._save()
            raise StopTraining(signal)

    def _epoch_is_saved(self) -> bool:
        """Whether the epoch that has just ended has a checkpoint; not all need one."""
        newest = newest_checkpoint(self.runner.work_dir)
        return newest is not None and newest.name == f"epoch_{self._epoch}.pth"

    def _validate(self) -> None:
        due = self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs
        if self.runner.val_loop is not None and self._epoch >= self.val_begin and due:
            self.runner.val_loop.run()

    def _batches(self, done: int) -> Iterator[Any]:
        sampler = self.dataloader.sampler
        size = self.dataloader.batch_size
        if isinstance(sampler, ResumableSampler) and size is not None:
            sampler.skip = done * size
            return iter(self.dataloader)
        return islice(self.dataloader, done, None)  # loads what it leaves out

    def _save_or_stop(self) -> None:
        wrapper = self.runner.optim_wrapper
        # Between two steps: gradients that wait for theirs are not shared among processes yet.
        if self._iter % getattr(wrapper, "_accumulative_counts", 1):
            return
        late = self._seconds is not None and time.monotonic() - self._saved_at > self._seconds
        signal, late = self._agreed(int(late))
        if signal or late:
            self._save()
        if signal:
            raise StopTraining(signal)

    def _agreed(self, late: int) -> tuple[int, int]:
        """Signal and clock, as the processes together see them."""
        wishes = torch.tensor([self._stop.signal or 0, late])
        if get_world_size() > 1:
            all_reduce(wishes, "max")
        signal, late = wishes.tolist()
        return int(signal), int(late)

    def _save(self) -> None:
        between_epochs = self._iter == self._epoch * len(self.dataloader)
        if is_main_process() and not (between_epochs and self._epoch_is_saved()):
            final = Path(self.runner.work_dir) / f"iter_{self._iter}.pth"
            place = {"epoch": self._epoch, "iter": self._iter}
            with atomic_path(final) as path:
                self.runner.save_checkpoint(str(path.parent), path.name, meta=place)
            with atomic_path(final.with_name(LAST)) as path:
                path.write_text(str(final), encoding="utf-8")
            self._remove_partial(but=final)
        barrier()
        self._saved_at = time.monotonic()

    def _remove_partial(self, but: Path | None = None) -> None:
        if is_main_process():
            for path in Path(self.runner.work_dir).glob("iter_*.pth"):
                if path != but:
                    path.unlink()


def interruptible(settings: Any) -> None:
    """Let a configuration's training be interrupted; loops of the user's own stay as they are.

    Args:
        settings: The configuration, changed in place.

    Raises:
        UserError: ``train_cfg.save_minutes`` is not positive.
    """
    loop = settings.train_cfg
    minutes = loop.get("save_minutes")
    if minutes is not None and minutes <= 0:
        raise UserError(f"train_cfg.save_minutes = {minutes} must be positive, or None")
    if loop.get("type", "EpochBasedTrainLoop") == "EpochBasedTrainLoop" and loop.get(
        "by_epoch", True
    ):
        loop.pop("by_epoch", None)
        loop["type"] = "InterruptibleEpochs"
    sampler = settings.train_dataloader.get("sampler")
    if sampler is not None and sampler.get("type") == "DefaultSampler":
        sampler["type"] = "ResumableSampler"
