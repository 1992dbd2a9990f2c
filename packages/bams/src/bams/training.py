"""Training: histograms of future actions and latents of other frames, AdamW, rate in steps.

Letters: B sequences of a batch, L frames, N features of a frame, M actions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bams.config import TrainConfig, checked, sized
from bams.data import Batch, BehaviorDataset, build_training_data
from bams.label_reading import label_reading
from bams.losses.config import Compat, LossConfig
from bams.losses.draws import Draws, draw
from bams.losses.objective import objective
from bams.model.bams import BAMS
from bams.optim import OptimConfig
from behaviorzoo.batches import BatchLoader, EpochBatches, sample_seeds
from behaviorzoo.errors import UserError
from behaviorzoo.launch import tell
from behaviorzoo.schema import to_dict
from behaviorzoo.training import TrainingModule, fit
from behaviorzoo.training.placement import DataNearDevice
from behaviorzoo.training.run_folder import find_start, versions, within_schedule

# Other files with the same content are the same data: the fingerprint decides.
_MAY_CHANGE = ("out", "name", "data.path", "data.cache", "data.annotations", "labels.*")
# Sizes that the data decide are not known before these are read.
_FROM_DATA = ("model.n_inputs", "model.n_targets")


class TrainModule(TrainingModule):
    """BAMS with its objective, optimiser and schedule.

    Several processes with a part of a batch each do what one does with all of it (weights of frames
    and batch norms of the latent predictors are shared), but for dropout, whose masks are drawn for
    the sequences of a process together.

    Args:
        model: The network.
        loss: Weights and windows of the objective.
        optim: Learning rates, weight decay, schedule.
        seed: Source of the dropout masks.
        compat: Whose objective.
    """

    def __init__(
        self,
        model: BAMS,
        loss: LossConfig,
        optim: OptimConfig,
        seed: int = 0,
        compat: Compat = "paper",
    ):
        super().__init__()
        self.model: BAMS = model
        self.loss = loss
        self.optim = optim
        self.seed = seed
        self.compat: Compat = compat
        encoders = list(model.config.encoders)
        self.val_measures = ()
        self.train_measures = ("loss", "hoa_loss", *(f"latent_loss_{name}" for name in encoders))
        self.board_tags = {
            "train_loss": "train/total_loss",
            "train_hoa_loss": "train/hoa_loss",
            **{f"train_latent_loss_{name}": f"train/byol_loss_{name}" for name in encoders},
        }

    def training_step(self, batch: tuple[Batch, Draws], batch_idx: int) -> Tensor:
        """Loss of one batch.

        Args:
            batch: Sequences and their random choices.
            batch_idx: Number of the batch in its epoch.
        """
        self._seed_dropout(batch_idx)
        losses = objective(self.model, *batch, self.loss, self.compat)
        latent = {f"latent_loss_{name}": value for name, value in losses.latent.items()}
        self.measure(loss=losses.total, hoa_loss=losses.hoa, **latent)
        return losses.total

    def configure_optimizers(self) -> torch.optim.AdamW:
        """AdamW over two groups; the learning rates are set before each step."""
        return torch.optim.AdamW(
            parameter_groups(self.model),
            lr=self.optim.lr,
            betas=self.optim.betas,
            eps=self.optim.eps,
            weight_decay=self.optim.weight_decay,
            fused=self.fused_optimizer,
        )

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set the learning rates of this epoch."""
        rate = self.optim.rate(self.current_epoch)
        main, latent = self.trainer.optimizers[0].param_groups
        main["lr"], latent["lr"] = rate, rate * self.optim.latent_lr_factor

    def _seed_dropout(self, batch_idx: int) -> None:
        """Draw the masks of a step from its own place, so that a resume has no state to restore."""
        place = np.array([batch_idx * self.trainer.world_size + self.global_rank])
        torch.manual_seed(int(sample_seeds(self.seed, self.current_epoch, place)[0]))


class DrawnSequences:
    """Batches of sequences with the random choices of their losses; for a ``BatchLoader``.

    Args:
        data: The sequences.
        loss: Which choices.
        encoders: Names of the network's encoders.
    """

    def __init__(self, data: BehaviorDataset, loss: LossConfig, encoders: list[str]):
        self.data = data
        self.loss = loss
        self.encoders = encoders

    def __call__(self, indices: np.ndarray, seeds: np.ndarray) -> tuple[Batch, Draws]:
        """Indices and seeds (B,) to sequences (B, L, N) and their choices."""
        batch = self.data.batch(indices)
        return batch, draw(self.loss, self.encoders, self.data.length, seeds)


def parameter_groups(model: BAMS) -> list[dict[str, Any]]:
    """Two optimiser groups: everything else, and the predictors of the latents."""
    groups: list[list[torch.nn.Parameter]] = [[], []]
    for name, parameter in model.named_parameters():
        groups["byol" in name].append(parameter)
    return [{"params": group} for group in groups]


def train(cfg: TrainConfig, resume: bool = False) -> Path:
    """Train a model as the configuration says.

    Args:
        cfg: All settings.
        resume: Go on from the newest complete checkpoint of the run folder.

    Returns:
        The run folder: ``checkpoints/``, ``metrics.csv``, ``tensorboard/``, ``config.yaml``.

    Raises:
        UserError: Data or run folder do not allow it, and whatever
            :func:`behaviorzoo.training.fit` refuses.
    """
    # Quick checks first: reading the data may take minutes.
    checked(cfg)
    find_start(cfg.out, to_dict(cfg), resume, (*_MAY_CHANGE, *_FROM_DATA))
    data = build_training_data(cfg.data, cfg.compat, cfg.model.hoa_bins)
    tell(
        f"{len(data)} sequences of {data.length} frames from {len(data.names)} recordings: "
        f"{data.n_inputs} features, {data.n_targets} actions"
    )
    if data.ignored.all():
        raise UserError(
            f"{cfg.data.path}: in every frame something is missing, so there is nothing to learn "
            "from; check the data, or leave out what is never seen"
        )
    cfg = sized(cfg, data.n_inputs, data.n_targets)
    model = BAMS(cfg.model, generator=torch.Generator().manual_seed(cfg.seed))
    optim, trainer = cfg.optim, within_schedule(cfg.trainer, cfg.optim.epochs)
    batches = EpochBatches(
        len(data),
        optim.batch_size,
        seed=cfg.seed,
        shuffle=optim.shuffle,
        drop_last=optim.drop_last,
        group=trainer.accumulate,
    )
    loader = BatchLoader(batches, DrawnSequences(data, cfg.loss, list(cfg.model.encoders)))
    fit(
        TrainModule(model, cfg.loss, optim, cfg.seed, cfg.compat),
        loader,
        trainer,
        cfg.out,
        config=to_dict(cfg),
        metadata=_metadata(data),
        resume=resume,
        may_change=_MAY_CHANGE,
        callbacks=[DataNearDevice(loader, data), *label_reading(cfg, data)],
    )
    return Path(cfg.out)


def _metadata(data: BehaviorDataset) -> dict[str, Any]:
    """What an embedding run and a resume must know of the training data."""
    return {
        "method": "bams",
        "versions": versions("bams"),
        "data_fingerprint": data.fingerprint(),
        "data_state": data.scaling.to_dict(),
        "sequence_frames": data.length,
        "training_sequences": len(data),
        "training_recordings": len(data.names),
    }
