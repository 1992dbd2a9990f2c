"""Pretraining: hide mask units, predict them, AdamW with warm-up and cosine.

Letters: B windows of a batch, T frames, I individuals, F features, M mask units.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from behaviorzoo.batches import BatchLoader, EpochBatches, sample_seeds
from behaviorzoo.checkpoints import fingerprint
from behaviorzoo.draws import uniform
from behaviorzoo.schema import to_dict
from behaviorzoo.training import HeldOut, TrainingModule, fit
from behaviorzoo.training.placement import DataNearDevice
from behaviorzoo.training.run_folder import find_start, versions, within_schedule
from hbehavemae.config import PretrainConfig, resolve
from hbehavemae.data import WindowDataset, build_training_data, has_split
from hbehavemae.model import HBehaveMAE
from hbehavemae.optim import OptimConfig, learning_rate

__all__ = [
    "MaskedWindows",
    "OptimConfig",
    "PretrainModule",
    "learning_rate",
    "parameter_groups",
    "parameter_names",
    "pretrain",
]

# Which draw of a window's seed the mask is; the augmentations have the small numbers.
_MASK_STREAM = 1000
# Other files with the same content are the same data: the fingerprint decides.
_MAY_CHANGE = ("out", "name", "data.path", "data.test_path")
# Added to the run's seed for the held-out windows, so that their masks are others.
_HELD_OUT = 1
_WINDOWS_IN_FINGERPRINT = 256


class PretrainModule(TrainingModule):
    """hBehaveMAE with its optimiser and schedule.

    Args:
        model: The masked autoencoder.
        optim: Learning rate, weight decay, schedule.
        seed: Source of the masks where a batch brings no noise of its own.
    """

    def __init__(self, model: HBehaveMAE, optim: OptimConfig, seed: int = 0):
        super().__init__()
        self.model: HBehaveMAE = model
        self.optim = optim
        self.seed = seed

    def training_step(self, batch: Tensor | tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Loss of one batch.

        Args:
            batch: Windows (B, T, I, F), alone or with the noise (B, M) whose smallest values stay
                visible.
            batch_idx: Number of the batch in its epoch.
        """
        x, noise = batch if isinstance(batch, tuple | list) else (batch, None)
        if noise is None:
            noise = self._noise(len(x), batch_idx)
        loss = self.model(x, noise=noise).loss
        self.measure(loss=loss)
        return loss

    def held_out(self, batch: object) -> dict[str, Tensor]:
        """Loss of a batch of held-out windows with masks of their own."""
        x, noise = cast(tuple[Tensor, Tensor], batch)
        return {"loss": self.model(x, noise=noise).loss}

    def configure_optimizers(self) -> torch.optim.AdamW:
        """AdamW over two groups; the learning rate is set before each update."""
        return torch.optim.AdamW(
            parameter_groups(self.model, self.optim.weight_decay, self.optim.bias_wd),
            lr=0.0,
            betas=self.optim.betas,
            eps=1e-8,
            fused=self.fused_optimizer,
        )

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set the learning rate at the first batch of each accumulation group."""
        trainer = self.trainer
        if batch_idx % trainer.accumulate_grad_batches:
            return
        # Batches that are left out at the end of an epoch count for the schedule.
        per_epoch = cast(BatchLoader[Any], trainer.train_dataloader).sampler.batches_per_epoch
        optim = self.optim
        lr = learning_rate(
            trainer.current_epoch + batch_idx / per_epoch,
            peak=optim.peak_lr(trainer.accumulate_grad_batches, trainer.world_size),
            warmup_epochs=optim.warmup_epochs,
            epochs=optim.epochs,
            minimum=optim.min_lr,
        )
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = lr

    def _noise(self, n_windows: int, batch_idx: int) -> Tensor:
        place = np.arange(n_windows) + self.global_rank * n_windows
        batch_seed = int(sample_seeds(self.seed, self.current_epoch, np.array([batch_idx]))[0])
        return mask_noise(sample_seeds(batch_seed, 0, place), self.model.geometry.n_units)


class MaskedWindows:
    """Batches of windows with the noise of their masks; callable, for a ``BatchLoader``.

    Args:
        data: The windows.
        n_units: Mask units M of a window.
        augment: Draw augmentations.
    """

    def __init__(self, data: WindowDataset, n_units: int, augment: bool):
        self.data = data
        self.n_units = n_units
        self.augment = augment

    def __call__(self, indices: np.ndarray, seeds: np.ndarray) -> tuple[Tensor, Tensor]:
        """Indices and seeds (B,) to windows (B, T, I, F) and noise (B, M)."""
        windows = self.data.batch(indices, seeds if self.augment else None)
        return windows, mask_noise(seeds, self.n_units).to(windows.device)


def mask_noise(seeds: np.ndarray, n_units: int) -> Tensor:
    """Noise in [0, 1) that depends on each window's seed alone.

    Args:
        seeds: int64 (B,).
        n_units: Mask units M.

    Returns:
        float32 (B, M).
    """
    return uniform(torch.from_numpy(seeds), _MASK_STREAM, n_units).float()


def parameter_names(model: nn.Module, bias_wd: bool = False) -> tuple[list[str], list[str]]:
    """Names of the parameters without and with weight decay, in the order of the network.

    Without: everything called ``.bias``, and what has one dimension (norm weights) unless
    ``bias_wd``. Position embeddings and the mask token have three, hence are decayed.
    """
    without, decayed = [], []
    for name, parameter in model.named_parameters():
        spared = (parameter.ndim == 1 and not bias_wd) or name.endswith(".bias")
        (without if spared else decayed).append(name)
    return without, decayed


def parameter_groups(
    model: nn.Module, weight_decay: float, bias_wd: bool = False
) -> list[dict[str, Any]]:
    """The two optimiser groups of :func:`parameter_names`, first the one without decay."""
    parameters = dict(model.named_parameters())
    decays = (0.0, weight_decay)
    return [
        {"params": [parameters[name] for name in names], "weight_decay": decay}
        for names, decay in zip(parameter_names(model, bias_wd), decays, strict=True)
    ]


def pretrain(cfg: PretrainConfig, resume: bool = False) -> Path:
    """Train a model as the configuration says.

    Args:
        cfg: All settings.
        resume: Go on from the newest complete checkpoint of the run folder.

    Returns:
        The run folder: ``checkpoints/``, ``metrics.csv``, ``tensorboard/``, ``config.yaml``.

    Raises:
        UserError: Data, geometry or run folder do not allow it, and whatever
            :func:`behaviorzoo.training.fit` refuses.
    """
    cfg = resolve(cfg)
    config = to_dict(cfg)
    find_start(cfg.out, config, resume, _MAY_CHANGE)
    model = HBehaveMAE(cfg.model, generator=torch.Generator().manual_seed(cfg.seed))
    data = build_training_data(cfg.data, cfg.model, "train")
    trainer = within_schedule(cfg.trainer, cfg.optim.epochs)
    n_units = model.geometry.n_units
    batches = EpochBatches(len(data), cfg.optim.batch_size, seed=cfg.seed, group=trainer.accumulate)
    loader = BatchLoader(batches, MaskedWindows(data, n_units, augment=True))
    fit(
        PretrainModule(model, cfg.optim, cfg.seed),
        loader,
        trainer,
        cfg.out,
        config=config,
        metadata=_metadata(data),
        held_out=_held_out(cfg, n_units, data.state_dict()),
        resume=resume,
        may_change=_MAY_CHANGE,
        callbacks=[DataNearDevice(loader, data)],
    )
    return Path(cfg.out)


def _held_out(cfg: PretrainConfig, n_units: int, state: dict[str, Any]) -> HeldOut | None:
    """The test split where the data have one, treated as the training data are."""
    every = cfg.optim.validate_every_epochs
    if not every or not has_split(cfg.data, "test"):
        return None
    data = build_training_data(cfg.data, cfg.model, "test", state)
    batches = EpochBatches(
        len(data), cfg.optim.batch_size, seed=cfg.seed + _HELD_OUT, shuffle=False, drop_last=False
    )
    return HeldOut(BatchLoader(batches, MaskedWindows(data, n_units, augment=False)), every)


def _metadata(data: WindowDataset) -> dict[str, Any]:
    """What an embedding run and a resume must know of the training data."""
    picked = np.unique(np.linspace(0, len(data) - 1, _WINDOWS_IN_FINGERPRINT).astype(np.int64))
    content = fingerprint(data.sequence_names, data.window_ids, data.gather(picked).cpu())
    return {
        "method": "hbehavemae",
        "versions": versions("hbehavemae"),
        "data_fingerprint": content,
        "data_state": data.state_dict(),
        "training_windows": len(data),
        "training_sequences": len(data.sequence_names),
    }
