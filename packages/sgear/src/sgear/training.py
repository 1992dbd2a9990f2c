"""Training, from the first batch or from where the run was: the loop of the authors, made whole.

Every random number of a step comes from seed, epoch and batch (data: :mod:`sgear.loader`; dropout
and mixup: from the number of the step), so a run that was stopped anywhere ends as one that was
not.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from behaviorzoo.errors import UserError
from behaviorzoo.training.signals import StopTraining
from sgear.assembly import DataSets, loss_weights, mixup_of
from sgear.checkpoints import SGearCheckpoint
from sgear.config import Config
from sgear.distributed import Processes, wrapped
from sgear.evaluating import Evaluated, evaluate_sets
from sgear.loader import Batch, n_clips, names_of, to_device
from sgear.logs import RunLog
from sgear.losses import AnticipationLoss
from sgear.meters import Meter
from sgear.optim import build_optimizer, load_optimizer, parameter_groups, read_optimizer
from sgear.precision import Precision, autocast, choose_precision, grad_scaler
from sgear.run_state import BEST, CHECKPOINT, Progress, RunState, write_state
from sgear.schedule import build_scheduler, read_scheduler, read_warmup
from sgear.sources import sources_of
from sgear.step import Step, run_step
from sgear.stopping import RunStop


class Trainer:
    """A training run.

    Args:
        config: Settings.
        model: The network on its device, weights in place.
        criterion: Its losses.
        data: The data sets, one for training among them.
        processes: Who trains together.
        folder: Run folder.
    """

    def __init__(
        self,
        config: Config,
        model: nn.Module,
        criterion: AnticipationLoss,
        data: DataSets,
        processes: Processes,
        folder: Path,
    ):
        settings, size = config.settings, processes.place.world_size
        self.config, self.settings, self.model = config, settings, model
        self.criterion, self.data = criterion, data
        self.processes, self.folder = processes, folder
        self.sources = sources_of(config, data, processes)
        self.precision: Precision = choose_precision(settings.precision, processes.device)
        scale = settings.train.batch_size if settings.opt.scale_lr_by_bs else 1
        if settings.opt.classifier_only:
            model.requires_grad_(False)
            model.get_submodule("classifiers").requires_grad_(True)
        groups = parameter_groups(
            model, settings.opt.lr_wd, settings.opt.bias_bn_wd_scale, size, scale
        )
        self.optimizer = build_optimizer(read_optimizer(settings.opt.optimizer), groups)
        self.scheduler = build_scheduler(
            read_scheduler(settings.opt.scheduler),
            read_warmup(asdict(settings.opt.warmup)),
            self.optimizer,
            len(self.sources[0].plan),
            settings.train.num_epochs,
            size,
        )
        self.scaler = grad_scaler(self.precision)
        self.mixup = mixup_of(config, data)
        self.weights = loss_weights(config)
        self.wrapped = wrapped(
            model, processes, sync_bn=settings.sync_bn, data_parallel=settings.data_parallel
        )
        self.progress, self.meter = Progress(), Meter()
        self.stop = RunStop()
        self.log: RunLog | None = None
        self._saved_at = time.monotonic()

    @property
    def batches_per_epoch(self) -> int:
        """Batches of an epoch, those of evaluation sets (``transductive``) too."""
        return sum(len(source.plan) for source in self.sources)

    def fit(self, state: RunState | None = None) -> None:
        """Train to the end.

        Args:
            state: Where to go on.

        Raises:
            UserError: A loss that is no number, a disk that is full, clips that cannot be read.
            KeyboardInterrupt: Ctrl-C; the state has been saved.
            SystemExit: 143 after SIGTERM; the state has been saved.
        """
        if state is not None:
            self._restore(state)
        if self.processes.is_main:
            self.log = RunLog(self.folder, self.progress.rows, self.progress.step)
        # One clock for all processes starts here, not where the data were opened.
        self._saved_at = time.monotonic()
        try:
            with self.stop, warnings.catch_warnings():
                # The schedule counts batches, the optimiser updates: that is meant.
                warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*before.*")
                try:
                    self._epochs()
                except StopTraining as end:
                    self.processes.tell(
                        f"stopped; {self.folder / CHECKPOINT}: the same command goes on"
                    )
                    self.stop.leave(end.signal or 0)
        finally:
            if self.log is not None:
                self.log.close()

    # ------------------------------------------------------------------ epochs

    def _epochs(self) -> None:
        n_epochs = self.settings.train.num_epochs
        if self.progress.evaluated < self.progress.epoch and not self.progress.batch:
            self._evaluate_if_due()  # the run was stopped in the middle of it
        while self.progress.epoch < n_epochs:
            self._epoch()
            self._save(CHECKPOINT)
            self._save_numbered()
            self._evaluate_if_due()
        if n_epochs:
            self._save(CHECKPOINT)  # with the last evaluation

    def _epoch(self) -> None:
        """The rest of the epoch that is under way."""
        progress, total = self.progress, self.batches_per_epoch
        began, clips = time.monotonic(), 0
        for batch in self._batches():
            clips += n_clips(batch)
            stop, late = self._step(batch)
            if progress.batch % self.settings.train.train_one_epoch_fn.print_freq == 0 or (
                progress.batch == total
            ):
                seconds = time.monotonic() - began
                self._write_row(clips * self.processes.place.world_size / max(seconds, 1e-9))
                began, clips = time.monotonic(), 0
            if stop:
                self._save(CHECKPOINT)
                raise StopTraining(stop)
            if progress.batch < total and (late or self._is_share_of_epoch()):
                self._save_inside()
        progress.epoch, progress.batch = progress.epoch + 1, 0

    def _batches(self) -> Iterator[Batch]:
        """Batches of this epoch that are still to come."""
        first = 0
        for source in self.sources:
            start = max(self.progress.batch - first, 0)
            first += len(source.plan)
            if start < len(source.plan):
                yield from source.batches(self.progress.epoch, start)

    # ------------------------------------------------------------------ steps

    def _step(self, batch: Batch) -> tuple[int, bool]:
        """One batch; the signal that asked all processes to end, and whether to save by time."""
        for clip in batch["broken"]:
            self.processes.tell(f"note: {clip.message}; another clip takes its place")
        self._seed_step()
        self.wrapped.train()
        device = self.processes.device
        with autocast(self.precision, device):
            step = run_step(
                self.wrapped, self.criterion, to_device(batch, device), self.weights, self.mixup
            )
        bad, stop, late = self.processes.largest(
            [int(not torch.isfinite(step.loss)), self.stop.signal or 0, int(self._is_late())]
        )
        if bad:
            self._refuse(step, batch)
        self.meter.add({"loss": step.loss.detach(), **step.means, **step.accuracies})
        self._update(step.loss)
        self.progress.batch += 1
        self.progress.step += 1
        return stop, bool(late)

    def _update(self, loss: torch.Tensor) -> None:
        """Gradients of a batch; an update when enough of them are summed."""
        clip, scaler = self.settings.train.train_one_epoch_fn.grad_clip_params, self.scaler
        scaler.scale(loss).backward()
        if clip.max_norm is not None:
            trained = [p for group in self.optimizer.param_groups for p in group["params"]]
            # After every batch, as published; scaled gradients have a scaled limit.
            limit = clip.max_norm * (scaler.get_scale() if scaler.is_enabled() else 1.0)
            nn.utils.clip_grad_norm_(trained, limit, clip.norm_type)
        if (self.progress.step + 1) % self.settings.opt.accumulate == 0:
            scaler.step(self.optimizer)
            scaler.update()
            self.optimizer.zero_grad(set_to_none=True)
        self.scheduler.step()

    def _seed_step(self) -> None:
        """Dropout and mixup of a step depend on the seed and the step alone."""
        place = self.processes.place
        number = self.progress.step * place.world_size + place.rank
        torch.manual_seed((self.settings.seed * 1_000_003 + number) % 2**63)

    def _refuse(self, step: Step, batch: Batch) -> None:
        where = f"epoch {self.progress.epoch + 1}, batch {self.progress.batch + 1}"
        if torch.isfinite(step.loss):
            raise UserError(f"{where}: the loss of another process is not a number")
        parts = [name for name, value in step.means.items() if not torch.isfinite(value)]
        raise UserError(
            f"{where} (clips {names_of(batch)}): the loss is not a number "
            f"({', '.join(parts) or 'their sum'}); lower the learning rate, clip gradients "
            "(opt.grad_clip.max_norm), or look for NaN in the features"
        )

    def _write_row(self, clips_per_second: float) -> None:
        """A row of numbers, means over the batches since the last one and over processes."""
        numbers = self.meter.means(self.processes)
        numbers["lr"] = self.optimizer.param_groups[0]["lr"]
        numbers["clips_per_sec"] = clips_per_second
        progress, total = self.progress, self.batches_per_epoch
        epoch = progress.epoch + progress.batch / total
        progress.rows += 1
        if self.log is not None:
            self.log.training(progress.step, epoch, numbers)
            parts = [
                f"epoch {epoch:.2f}/{self.settings.train.num_epochs}",
                f"batch {progress.batch}/{total}",
                f"loss {numbers['loss']:.4g}",
                f"lr {numbers['lr']:.3g}",
                f"{clips_per_second:.1f} clips/s",
            ]
            print("  ".join(parts), flush=True)

    # ------------------------------------------------------------------ evaluation

    def _evaluate_if_due(self) -> None:
        finished, train = self.progress.epoch, self.settings.train
        due = (finished - 1) % train.eval_freq == 0 or finished == train.num_epochs
        if not finished or not due or not self.data.evals:
            return
        found = evaluate_sets(
            self.model,
            self.criterion,
            self.data.evals,
            self.config,
            self.processes,
            self.folder,
            epoch=finished,
            between_batches=self._leave_if_asked,
        )
        for suffix, evaluated in found.items():
            self.progress.rows += 1
            if self.log is not None:
                self.log.evaluation(self.progress.step, finished, evaluated.metrics, suffix)
        self._judge(found.get("", next(iter(found.values()))))
        self.progress.evaluated = finished

    def _judge(self, main: Evaluated) -> None:
        """What follows from the figure that counts."""
        if main.value != main.value:  # no labels
            return
        self.scheduler.step_metric(main.value)
        if self.progress.best is None or main.value > self.progress.best:
            self.progress.best = main.value
            if self.settings.train.store_best:
                self._save(BEST)

    def _leave_if_asked(self) -> None:
        """End an evaluation; it is repeated when the run goes on."""
        [stop] = self.processes.largest([self.stop.signal or 0])
        if stop:
            raise StopTraining(stop)

    # ------------------------------------------------------------------ checkpoints

    def _is_late(self) -> bool:
        minutes = self.settings.train.train_one_epoch_fn.save_freq_min
        return bool(minutes) and time.monotonic() - self._saved_at >= 60 * minutes

    def _is_share_of_epoch(self) -> bool:
        """Whether another share ``save_freq`` of the epoch is done."""
        share = self.settings.train.train_one_epoch_fn.save_freq
        if not 0 < share < 1:
            return False
        total, done = self.batches_per_epoch, self.progress.batch
        return int(done / total / share + 1e-9) > int((done - 1) / total / share + 1e-9)

    def _save_inside(self) -> None:
        self._save(CHECKPOINT)
        if self.settings.train.train_one_epoch_fn.save_intermediates:
            epoch = self.progress.epoch + self.progress.batch / self.batches_per_epoch
            self._save(f"checkpoint_ep{epoch:.8f}.pth")

    def _save_numbered(self) -> None:
        """The checkpoint that stays, every ``save_freq`` epochs."""
        every = self.settings.train.train_one_epoch_fn.save_freq
        finished = self.progress.epoch
        if every >= 1 and (finished - 1) % round(every) == 0:
            self._save(f"checkpoint_{finished}.pth")

    def _save(self, name: str) -> None:
        self._saved_at = time.monotonic()
        self.meter.gather(self.processes)
        if not self.processes.is_main:
            return
        if self.log is not None:
            self.log.flush()
        waiting = {n: p.grad for n, p in self.model.named_parameters() if p.grad is not None}
        under_way = self.progress.step % self.settings.opt.accumulate != 0
        state = RunState(
            model=self.model.state_dict(),
            optimizer=self.optimizer.state_dict(),
            lr_scheduler=self.scheduler.state_dict(),
            scaler=self.scaler.state_dict(),
            gradients=waiting if under_way else {},
            progress=self.progress,
            meter=self.meter.state(),
            config=self.config.plain,
            classes=self.data.main.classes,
            num_classes=self.data.main.num_classes,
            world_size=self.processes.place.world_size,
            data=self.data.fingerprint(),
        )
        write_state(self.folder / name, state, self.batches_per_epoch)

    def state_of_authors(self, found: SGearCheckpoint) -> RunState | None:
        """Where a run of the authors' code was; None where the file has only weights.

        Their file does not say how many clips were seen since the last update, and a part of an
        epoch is a share of its batches.
        """
        if not {"optimizer", "lr_scheduler"} <= set(found.training):
            return None
        epoch = int(found.epoch)
        batch = round((found.epoch - epoch) * self.batches_per_epoch)
        progress = Progress(epoch, batch, epoch * self.batches_per_epoch + batch, evaluated=epoch)
        return RunState(
            model=found.state,
            optimizer=found.training["optimizer"],
            lr_scheduler=found.training["lr_scheduler"],
            scaler={},
            gradients={},
            progress=progress,
            meter=[{"sums": {}, "batches": {}}] * self.processes.place.world_size,
            config=self.config.plain,
            classes=self.data.main.classes,
            num_classes=self.data.main.num_classes,
            world_size=self.processes.place.world_size,
            data=self.data.fingerprint(),
        )

    def _restore(self, state: RunState) -> None:
        """Everything but the weights, which the network has already."""
        load_optimizer(self.optimizer, state.optimizer)
        self.scheduler.load_state_dict(state.lr_scheduler)
        if state.scaler:
            self.scaler.load_state_dict(state.scaler)
        for name, gradient in state.gradients.items():
            parameter = self.model.get_parameter(name)
            parameter.grad = gradient.to(parameter.device)
        self.progress = state.progress
        self.meter.load(state.meter, self.processes)
        total = self.settings.train.num_epochs
        done = state.progress.epoch + state.progress.batch / self.batches_per_epoch
        self.processes.tell(f"going on from epoch {done:.2f} of {total}")
