"""One training step of every published recipe, at a batch that a CPU can hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import bams_parts
import hysp_network_parts
import numpy as np
import sgear_network_parts
import torch
import uas_network_parts
from torch import nn

from bams.losses.config import LossConfig
from bams.losses.draws import draw
from bams.losses.objective import objective
from hbehavemae.config import configure
from hbehavemae.model import HBehaveMAE
from hbehavemae.training import parameter_groups
from hysp.model import temporal
from sgear.losses import AnticipationLoss
from sgear.model import BackboneConfig, FuturePredictorConfig, ModelConfig, SGear
from sgear.optim import OptimizerConfig, build_optimizer
from sgear.optim import parameter_groups as sgear_groups
from sgear.step import run_step
from uas_swin.model.freeze import freeze_backbone


@dataclass(frozen=True)
class Step:
    """A step to be counted.

    Attributes:
        run: The step.
        batch: Samples in it.
        gradient: Bytes of the gradients that devices exchange.
    """

    run: Callable[[], None]
    batch: int
    gradient: int


def gradient_bytes(model: nn.Module) -> int:
    """Of the trained parameters."""
    return sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)


def behave_mae(experiment: str) -> Step:
    """HBehaveMAE of an experiment."""
    config = configure([f"experiment={experiment}", "data.path=unused"]).model
    model = HBehaveMAE(config, generator=torch.Generator().manual_seed(0)).train()
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.05), lr=1e-4, fused=True)
    x = torch.randn(4, *config.input_size)

    def run() -> None:
        optimizer.zero_grad()
        model(x, noise=torch.rand(len(x), model.geometry.n_units)).loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.02)
        optimizer.step()

    return Step(run, len(x), gradient_bytes(model))


def bams(animal: str) -> Step:
    """BAMS on sequences as long as the data set's."""
    mice = animal == "mice"
    model = bams_parts.mouse_network() if mice else bams_parts.fly_network()
    batch, frames, settings = (
        (4, 1800, LossConfig(skip_frames=60)) if mice else (1, 4500, LossConfig(skip_frames=100))
    )
    data = bams_parts.random_batch(batch, frames, model.config)
    draws = draw(settings, model.encoders, frames, np.arange(batch))

    def loss() -> torch.Tensor:
        return objective(model, data, draws, settings, "paper").total

    run = bams_parts.step(model.parameters(), loss, fused=True)
    return Step(run, batch, gradient_bytes(model))


def hysp() -> Step:
    """HYSP of the published sizes; two persons in every sequence."""
    temporal.GAIN_NEEDED = float("inf")  # the way by the spectrum is for CPUs
    model = hysp_network_parts.network(quick=False)
    return Step(hysp_network_parts.step(model, 4), 4, gradient_bytes(model))


def sgear_features() -> Step:
    """S-GEAR on stored features."""
    model = sgear_network_parts.network(quick=False)
    batch = sgear_network_parts.batch_of(4, quick=False)
    return Step(sgear_network_parts.ours_step(model, batch, False), 4, gradient_bytes(model))


def sgear_video() -> Step:
    """S-GEAR on frames: ViT-B/16 at 384, two blocks of context aggregation."""
    predictor = FuturePredictorConfig(
        kind="tcd",
        inter_dim=2048,
        n_layer=6,
        return_past_too=True,
        avg_last_n=1,
        future_pred_loss="mse",
    )
    config = ModelConfig(
        backbone=BackboneConfig(kind="vit"),
        backbone_dim=768,
        backbone_last_n_modules_to_drop=0,
        intermediate_featdim=768,
        tmp_frames=15,
        backbone_add_ts_blocks=2,
        prot_attn=True,
        future_predictor=predictor,
        dropout=0.2,
        classifier_on_past=True,
    )
    n = 3806
    model = SGear(config, {"action": n}, torch.randn(n, 768)).train()
    batch = {
        "video": torch.randn(1, 15, 3, 1, 384, 384),
        "target": {"action": torch.zeros(1, dtype=torch.long)},
        "past_target": {"action": torch.zeros(1, 15, 1, dtype=torch.long)},
    }
    losses = AnticipationLoss(torch.rand(n, n))
    groups = sgear_groups(model, [["__all__", 1e-4, 1e-5]])
    optimizer = build_optimizer(OptimizerConfig("sgd"), groups)
    weights = {"cls_action": 1, "past_cls_action": 1, "feat": 1, "target_distance": 1}
    weights |= {"global_simContrast": 4, "past_target_global_simContrast": 0}

    def run() -> None:
        run_step(model, losses, batch, weights).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return Step(run, 1, gradient_bytes(model))


def uas(way: str) -> Step:
    """Swin-B on 32 frames; ``probe``, ``lora`` or ``full``."""
    options = uas_network_parts.LORA if way == "lora" else {}
    model = uas_network_parts.network("base", drop_path_rate=0.2, **options)
    if way != "full":
        freeze_backbone(model)
    run = uas_network_parts.step(model.train(), torch.randn(1, 1, 3, 32, 224, 224))
    return Step(run, 1, gradient_bytes(model))
