"""Pre-training: two views of every sequence, a target that follows, and a self-paced curriculum.

Letters: B sequences of a batch, C coordinates, T frames, V joints, M persons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import SyncBatchNorm

from behaviorzoo.batches import BatchLoader, EpochBatches
from behaviorzoo.checkpoints import fingerprint
from behaviorzoo.errors import UserError
from behaviorzoo.launch import tell
from behaviorzoo.schema import to_dict
from behaviorzoo.together import share_batch_statistics
from behaviorzoo.training import HeldOut, TrainingModule, fit
from behaviorzoo.training.placement import DataNearDevice
from behaviorzoo.training.run_folder import find_start, versions, within_schedule
from behaviorzoo.weights import strict_load
from hysp.augment import views
from hysp.checkpoints import LoadedModel, load_checkpoint
from hysp.config import PretrainConfig, checked, sized
from hysp.curriculum import FIXED, hyper_weight
from hysp.data import SkeletonData, has_split, open_data
from hysp.hyperbolic import at_least_single
from hysp.losses import pair_metrics
from hysp.model import HYSP, PairOutput, SimSiam, SkeletonCLR, build_model
from hysp.optim import build_optimizer, rate_factor
from hysp.start import start_from_data
from hysp.streams import apply_stream

# Other files with the same content are the same data: the fingerprint decides.
_MAY_CHANGE = ("out", "name", "data.path", "data.labels")
# Joints and channels that the data decide are not known before these are read.
_FROM_DATA = ("model.encoder.in_channels", "model.encoder.graph.*")
# Added to the run's seed for the held-out sequences, so that their augmentation is another.
_HELD_OUT = 1
_SEQUENCES_IN_FINGERPRINT = 256
_SEQUENCES_AT_ONCE = 4096
_WEIGHT = "hyper_weight"

PAIR_METRICS = ("mse", "cosine_dist", "radius_x", "radius_y", "ang_e", "poincare_dist")


class PretrainModule(TrainingModule):
    """A network for pre-training with its views, curriculum, optimiser and schedule.

    Args:
        model: HYSP, SimSiam or SkeletonCLR.
        cfg: All settings.
        mirror: (V,) joint that takes the place of each in a mirror image.

    Attributes:
        hyper_weight: Lambda of the latest training batch.
    """

    def __init__(
        self, model: HYSP | SimSiam | SkeletonCLR, cfg: PretrainConfig, mirror: Sequence[int]
    ):
        super().__init__()
        self.model: HYSP | SimSiam | SkeletonCLR = model
        self.cfg = cfg
        self.mirror = tuple(mirror)
        self.parents = torch.from_numpy(model.online_encoder.graph.parents)
        self.hyper_weight = FIXED
        parts = ("loss_euc", "loss_hyp") if model.config.hyper else ()
        self.val_measures = ("loss", *parts, *PAIR_METRICS)
        self.train_measures = (*self.val_measures, "lambda_hyper")

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Loss of one batch; the target follows before the optimiser moves the online network.

        Args:
            batch: Sequences (B, C, T, V, M) and their seeds (B,).
            batch_idx: Number of the batch in its epoch.
        """
        self.seed_draws(self.cfg.seed, batch_idx)
        output = self.model(*self.views(*batch), self.hyper_weight)
        # All batches of one update see the same target, as a single large batch would. The
        # target of SkeletonCLR moves within its forward pass, SimSiam has none.
        if self.cfg.model.method == "hysp" and self._completes_update(batch_idx):
            self.model.update_target()
        weight = torch.tensor(self.hyper_weight, dtype=torch.float64, device=self.device)
        self.measure(**self._measures(output), lambda_hyper=weight)
        return output.loss.mean()

    def held_out(self, batch: object) -> dict[str, Tensor]:
        """Measures of held-out sequences, at the lambda of the latest training batch.

        They are not augmented; under ``compat: upstream`` they are, as in the public code.
        """
        x, seeds = cast(tuple[Tensor, Tensor], batch)
        augmented = self.cfg.compat == "upstream"
        strong, weak = self.views(x, seeds) if augmented else (self.streamed(x),) * 2
        self.model.eval()
        try:
            return self._measures(self.model(strong, weak, self.hyper_weight))
        finally:
            self.model.train()

    def views(self, x: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Strong and weak view of sequences (B, C, T, V, M), as the network sees them."""
        # Half precision is for the network: coordinates keep their digits.
        with torch.autocast(x.device.type, enabled=False):
            strong, weak = views(x, seeds, self.cfg.augment, self.cfg.compat, self.mirror)
            return self.streamed(strong), self.streamed(weak)

    def streamed(self, x: Tensor) -> Tensor:
        """Joints (B, C, T, V, M) to the stream."""
        self.parents = self.parents.to(x.device)
        return apply_stream(x, self.cfg.stream, self.parents)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimiser over everything that has a gradient; its rate is set before each step."""
        optim = self.cfg.optim
        trained = [p for p in self.model.parameters() if p.requires_grad]
        return build_optimizer(
            optim.optimizer, trained, optim.lr, optim.weight_decay, optim.nesterov
        )

    def setup(self, stage: str) -> None:
        """Share batch statistics among the processes; torch's own layer does so on GPUs only."""
        if self.trainer.world_size == 1:
            return
        if self.trainer.strategy.root_device.type != "cuda":
            share_batch_statistics(self.model)
            return
        for name, part in self.model.named_children():
            setattr(self.model, name, SyncBatchNorm.convert_sync_batchnorm(part))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set lambda and learning rate of this epoch."""
        epoch, cfg, course = self.current_epoch, self.cfg, self.cfg.curriculum
        self.hyper_weight = hyper_weight(
            epoch, course.initial_epoch, course.final_epoch, course.enabled
        )
        factor = rate_factor(epoch, cfg.optim, cfg.final_hyper_epoch)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = cfg.optim.lr * factor

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep lambda: held-out sequences may be next."""
        checkpoint[_WEIGHT] = self.hyper_weight

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the lambda of the saved run."""
        self.hyper_weight = float(checkpoint[_WEIGHT])

    def _completes_update(self, batch_idx: int) -> bool:
        return (batch_idx + 1) % self.trainer.accumulate_grad_batches == 0

    def _measures(self, output: PairOutput) -> dict[str, Tensor]:
        """Means over the batch, by the names of ``val_measures``."""
        q, k = at_least_single(output.q), at_least_single(output.k)
        values: dict[str, Tensor] = {"loss": output.loss}
        if output.loss_euc is not None and output.loss_hyp is not None:
            values |= {"loss_euc": output.loss_euc, "loss_hyp": output.loss_hyp}
        values |= pair_metrics(q, k, self.cfg.model.hyper_c, self.cfg.compat)
        return {name: value.detach().double().mean() for name, value in values.items()}


class Sequences:
    """Batches of sequences with their seeds, for a ``BatchLoader``; they may live on a device.

    Args:
        data: The sequences.
    """

    def __init__(self, data: SkeletonData):
        self.data = data
        self.kept: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Size of all sequences."""
        return 4 * len(self.data) * int(np.prod(self.data.shape))

    def to(self, device: torch.device) -> Sequences:
        """Keep them on a device."""
        parts = [
            np.arange(first, min(first + _SEQUENCES_AT_ONCE, len(self.data)))
            for first in range(0, len(self.data), _SEQUENCES_AT_ONCE)
        ]
        self.kept = torch.cat([self.data.batch(part).x.to(device) for part in parts])
        return self

    def __call__(self, indices: np.ndarray, seeds: np.ndarray) -> tuple[Tensor, Tensor]:
        """Indices and seeds (B,) to sequences (B, C, T, V, M) and the seeds, on one device."""
        if self.kept is None:
            return self.data.batch(indices).x, torch.from_numpy(seeds)
        device = self.kept.device
        rows = torch.from_numpy(indices).to(device)
        return self.kept.index_select(0, rows), torch.from_numpy(seeds).to(device)


def pretrain(cfg: PretrainConfig, resume: bool = False) -> Path:
    """Train a network as the configuration says.

    Args:
        cfg: All settings.
        resume: Go on from the newest complete checkpoint of the run folder.

    Returns:
        The run folder: ``checkpoints/``, ``metrics.csv``, ``tensorboard/``, ``config.yaml``.

    Raises:
        UserError: Data, weights or run folder do not allow it, and whatever
            :func:`behaviorzoo.training.fit` refuses.
    """
    # Quick checks first: reading the data may take minutes.
    checked(cfg)
    start = find_start(cfg.out, to_dict(cfg), resume, (*_MAY_CHANGE, *_FROM_DATA))
    weights = load_checkpoint(cfg.weights) if cfg.weights and start is None else None
    data = open_data(cfg.data, "train")
    _tell_data(data)
    cfg = sized(cfg, data.skeleton, data.shape[0])
    model = initial_network(cfg, weights)
    if weights is None and start is None:
        model = started(model, data, cfg.stream)
    trainer = within_schedule(cfg.trainer, cfg.optim.epochs)
    sequences = Sequences(data)
    loader = BatchLoader(_batches(cfg, len(data)), sequences)
    if trainer.compile:
        # Lambda changes from epoch to epoch and would make a compiled whole anew.
        for encoder in _encoders(model):
            encoder.compile()
    fit(
        PretrainModule(model, cfg, data.skeleton.mirror),
        loader,
        replace(trainer, compile=False),
        cfg.out,
        config=to_dict(cfg),
        metadata=_metadata(data),
        held_out=_held_out(cfg, data),
        resume=resume,
        may_change=_MAY_CHANGE,
        callbacks=[DataNearDevice(loader, sequences)],
    )
    return Path(cfg.out)


def initial_network(
    cfg: PretrainConfig, weights: LoadedModel | None = None
) -> HYSP | SimSiam | SkeletonCLR:
    """The network before the first step: random by the seed, or as another run left it.

    Args:
        cfg: Settings, joints and channels known.
        weights: Checkpoint of a network of the same method and sizes.

    Raises:
        UserError: A graph that cannot be, or weights of another network.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(cfg.seed)
        model = build_model(cfg.model, cfg.compat)
    if weights is not None:
        strict_load(model, weights.state, str(weights.path))
    return model


def started(
    model: HYSP | SimSiam | SkeletonCLR, data: SkeletonData, stream: str
) -> HYSP | SimSiam | SkeletonCLR:
    """A random network whose first norms start as its options say, see :mod:`hysp.start`.

    Args:
        model: Changed in place; online encoder and moving average start alike.
        data: The training sequences.
        stream: What is seen of them.
    """
    start_from_data(model.online_encoder, data, stream)
    if not isinstance(model, SimSiam):
        model.target_encoder.data_bn.load_state_dict(model.online_encoder.data_bn.state_dict())
    return model


def _encoders(model: torch.nn.Module) -> list[torch.nn.Module]:
    return [part for name, part in model.named_children() if name.endswith("_encoder")]


def _batches(cfg: PretrainConfig, n_samples: int) -> EpochBatches:
    size = cfg.optim.batch_size // (cfg.trainer.devices * cfg.trainer.num_nodes)
    if not cfg.optim.drop_last and n_samples % size == 1:
        raise UserError(
            f"{n_samples} sequences in batches of {size} (optim.batch_size) leave one alone, whose "
            "batch has no statistics; set optim.drop_last=true, or change the batch size by one"
        )
    return EpochBatches(
        n_samples,
        size,
        seed=cfg.seed,
        drop_last=cfg.optim.drop_last,
        group=cfg.trainer.accumulate,
    )


def _held_out(cfg: PretrainConfig, data: SkeletonData) -> HeldOut | None:
    """The sequences for validation where the data have some, treated as the others are."""
    every = cfg.optim.validate_every_epochs
    if not every or not has_split(cfg.data, "val"):
        return None
    others = open_data(cfg.data, "val", data.state_dict())
    size = max(cfg.optim.val_batch_size // (cfg.trainer.devices * cfg.trainer.num_nodes), 1)
    batches = EpochBatches(
        len(others), size, seed=cfg.seed + _HELD_OUT, shuffle=False, drop_last=False
    )
    return HeldOut(BatchLoader(batches, Sequences(others)), every)


def _tell_data(data: SkeletonData) -> None:
    C, T, V, M = data.shape
    tell(
        f"{len(data)} sequences of {T} frames from {len(np.unique(data.groups))} sources: "
        f"{V} joints in {C}-D, {M} person(s)"
    )
    for note in data.notes:
        tell(f"note: {note}")


def _metadata(data: SkeletonData) -> dict[str, Any]:
    """What an embedding run and a resume must know of the training data."""
    picked = np.unique(np.linspace(0, len(data) - 1, _SEQUENCES_IN_FINGERPRINT).astype(np.int64))
    content = fingerprint(data.names, list(data.shape), data.batch(picked).x)
    return {
        "method": "hysp",
        "versions": versions("hysp"),
        "data_fingerprint": content,
        "data_state": data.state_dict(),
        "training_sequences": len(data),
    }
