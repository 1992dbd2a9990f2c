"""One way to run a training: the Lightning trainer of the house and its run folder."""

from __future__ import annotations

import logging
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import lightning
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from behaviorzoo.batches import BatchLoader
from behaviorzoo.checkpoints import CHECKPOINTS_FOLDER, find_checkpoints, read_metadata
from behaviorzoo.errors import UserError
from behaviorzoo.launch.processes import launched_together
from behaviorzoo.training.checkpointing import CheckpointWriter, FolderCheckpointIO
from behaviorzoo.training.config import TrainerConfig
from behaviorzoo.training.logs import MetricsLog
from behaviorzoo.training.module import TrainingModule
from behaviorzoo.training.progress import Progress
from behaviorzoo.training.run_folder import check_data, clean_and_write, find_start
from behaviorzoo.training.signals import StopRequest, StopTraining, leave
from behaviorzoo.training.validation import Validator


@dataclass(frozen=True)
class HeldOut:
    """Data on which the run is measured and not trained.

    Attributes:
        loader: The batches, in a fixed order.
        every_epochs: Measured after the epochs 0, ``every_epochs``, ...
    """

    loader: BatchLoader[Any]
    every_epochs: int


def build_trainer(
    cfg: TrainerConfig, run_dir: str | Path, callbacks: Sequence[lightning.Callback] = ()
) -> lightning.Trainer:
    """Build the Lightning trainer that the configuration describes.

    Args:
        cfg: Devices, precision, length; ``max_epochs`` must be set.
        run_dir: The run folder.
        callbacks: What happens between the batches. Loggers, checkpoints and progress bars of
            Lightning's own are off.

    Raises:
        UserError: The machine has not what the configuration asks for.
    """
    processes = cfg.devices * cfg.num_nodes
    strategy: Any = cfg.strategy
    if strategy == "auto" and processes > 1:
        strategy = DDPStrategy(find_unused_parameters=False, gradient_as_bucket_view=True)
    plugins: list[Any] = [FolderCheckpointIO()]
    if launched_together():
        # The variables of torch's own launcher, whoever started the processes.
        plugins.append(TorchElasticEnvironment())
    with _quiet():
        if not launched_together() and SLURMEnvironment.detect():
            # Saving and requeueing on a signal is done here, not by Lightning.
            plugins.append(SLURMEnvironment(auto_requeue=False))
        try:
            return lightning.Trainer(
                accelerator=cfg.accelerator,
                devices=cfg.devices,
                num_nodes=cfg.num_nodes,
                strategy=strategy,
                precision=cfg.precision,
                max_epochs=cfg.max_epochs,
                accumulate_grad_batches=cfg.accumulate,
                gradient_clip_val=cfg.clip_norm,
                deterministic=cfg.deterministic,
                callbacks=list(callbacks),
                plugins=plugins,
                default_root_dir=str(run_dir),
                logger=False,
                enable_checkpointing=any(isinstance(c, CheckpointWriter) for c in callbacks),
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
                use_distributed_sampler=False,
            )
        except (MisconfigurationException, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"trainer: this machine cannot do accelerator={cfg.accelerator} "
                f"devices={cfg.devices} precision={cfg.precision} ({reason})"
            ) from error


def fit(
    module: TrainingModule,
    loader: BatchLoader[Any],
    cfg: TrainerConfig,
    run_dir: str | Path,
    *,
    config: Mapping[str, Any],
    metadata: Mapping[str, Any] | None = None,
    held_out: HeldOut | None = None,
    resume: bool = False,
    may_change: Sequence[str] = (),
    callbacks: Sequence[lightning.Callback] = (),
) -> Path:
    """Train, with logs and checkpoints in the run folder, from the start or from where it was.

    Args:
        module: The method.
        loader: The training batches; their ``group`` must be the accumulation.
        cfg: How to run; ``max_epochs`` must be set.
        run_dir: The run folder. A fresh run wants one without checkpoints.
        config: The resolved configuration, stored beside every checkpoint.
        metadata: Stored in every checkpoint; a ``data_fingerprint`` in it must be
            equal at a resume.
        held_out: Data to validate on.
        resume: Go on from the newest complete checkpoint; where there is none, start.
        may_change: Patterns of configuration keys that may differ at a resume (``data.path``),
            besides those of where and how to run.
        callbacks: More that happens between the batches, before logs and checkpoints.

    Returns:
        The folder of the last checkpoint.

    Raises:
        UserError: There are checkpoints already, the configuration or the data are not those of the
            run to resume, the loss is no number, or the disk is full.
        KeyboardInterrupt: Ctrl-C; the state has been saved.
        SystemExit: With code 143 after SIGTERM; the state has been saved.
    """
    run_dir, metadata = Path(run_dir), dict(metadata or {})
    if cfg.max_epochs is None:
        raise ValueError("cfg.max_epochs must be set: the caller knows the length of its schedule")
    start = find_start(run_dir, config, resume, may_change)
    if start is not None:
        check_data(start, metadata)
        position = read_metadata(start)
        if position["epoch"] >= cfg.max_epochs:
            _say(f"{start}: all {cfg.max_epochs} epochs are done, nothing to resume")
            return start
        _say(f"resuming from {start} (epoch {position['epoch']:.2f} of {cfg.max_epochs})")
    elif resume:
        _say(f"{run_dir}: no complete checkpoint to resume from, starting from scratch")
    if cfg.compile:
        cast(torch.nn.Module, module.model).compile()
    stop = StopRequest()
    log = MetricsLog(run_dir, cfg.log_every_n_steps, loader)
    parts: list[lightning.Callback] = [_Processes(loader, stop), *callbacks, log]
    if cfg.progress:
        parts.append(Progress(loader))
    if held_out is not None:
        parts.append(Validator(held_out.loader, held_out.every_epochs, stop, log.on_validated))
    parts.append(CheckpointWriter(cfg, run_dir, config, metadata, log, stop))
    trainer = build_trainer(cfg, run_dir, parts)
    clean_and_write(run_dir, config)
    asked: StopTraining | None = None
    with stop, _quiet():
        try:
            trainer.fit(module, loader, ckpt_path=None if start is None else str(start))
        except StopTraining as end:
            asked = end
        except SIGTERMException:  # it came before the first batch, when Lightning still listened
            asked = StopTraining(signal.SIGTERM)
    if asked is not None:
        _end_early(asked, run_dir)
    return find_checkpoints(run_dir / CHECKPOINTS_FOLDER)[-1]


class _Processes(lightning.Callback):
    """Tells the loader which process it serves, and takes signals over from Lightning."""

    def __init__(self, loader: BatchLoader[Any], stop: StopRequest):
        self.loader = loader
        self.stop = stop

    def setup(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str
    ) -> None:
        self.loader.sampler.shard(trainer.global_rank, trainer.world_size)

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        # Lightning has just put a handler of its own on SIGTERM, which ends without saving.
        self.stop.listen()
        # With several processes it would also ask all of them about SIGTERM before every batch and
        # wait for the device each time; the vote of the checkpoint writer asks once a second.
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None


def _end_early(end: StopTraining, run_dir: Path) -> None:
    saved = find_checkpoints(run_dir / CHECKPOINTS_FOLDER)
    where = saved[-1] if saved else "no checkpoint was written yet"
    _say(f"stopped; {where}; go on with --resume")
    if end.signal is not None:
        leave(end.signal)


@rank_zero_only
def _say(text: str) -> None:
    print(text, file=sys.stderr)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what Lightning says about choices that are made on purpose here."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            warnings.filterwarnings("ignore", message=r".*num_workers.*|.*LeafSpec.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
