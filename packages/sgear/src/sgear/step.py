"""One step of training or evaluation, without optimiser and loop: from a batch to its loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from behaviorzoo.errors import UserError
from sgear.losses import AnticipationLoss, Targets
from sgear.mixup import Mixup
from sgear.model.sgear import MODALITY

WEIGHTS_KEY = "train.train_one_epoch_fn.loss_wts"


@dataclass(frozen=True)
class Step:
    """What a batch gave.

    Attributes:
        loss: Weighted sum of the means of the losses, with its graph.
        means: Name -> mean of every loss, those without weight too, without a graph.
        accuracies: ``acc1/<type>`` and ``acc5/<type>``, percent of the batch.
        outputs: Of the network.
        losses: Name -> loss without a mean.
    """

    loss: Tensor
    means: dict[str, Tensor]
    accuracies: dict[str, Tensor]
    outputs: dict[str, Tensor]
    losses: dict[str, Tensor]


def run_step(
    model: nn.Module,
    criterion: AnticipationLoss,
    batch: Mapping[str, Any],
    weights: Mapping[str, float],
    mixup: Mixup | None = None,
    **options: Any,
) -> Step:
    """Loss, accuracies and outputs of a batch.

    Args:
        model: The network, wrapped for several devices or not.
        criterion: Its losses.
        batch: ``video`` (a tensor, or a mapping with it under ``mod_0``), ``target`` and, where
            the past is labelled, ``past_target``: label type -> labels.
        weights: Name of a loss -> weight; those of 0 count for nothing.
        mixup: Mixes the batch before.
        **options: Of the network's forward pass.

    Raises:
        UserError: A loss without a weight, or shapes that do not fit.
    """
    video = batch["video"]
    video = video if isinstance(video, Tensor) else video[MODALITY]
    target, past = batch["target"], batch.get("past_target") or {}
    mixed = None if mixup is None else mixup(video, target, past)
    video = video if mixed is None else mixed.video
    shape = tuple(next(iter(target.values())).shape) if target else None
    outputs, losses = model(video, shape, **options)
    prototypes = unwrapped(model).vis_prototypes
    more, accuracies = criterion(outputs, Targets(target, past, mixed), prototypes)
    losses = {**more, **losses}
    means = {name: _mean(value) for name, value in losses.items()}
    loss = total_loss(means, weights)
    means = {name: value.detach() for name, value in means.items()}
    return Step(loss, means, accuracies, outputs, losses)


def total_loss(means: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Sum of the losses whose weight is positive, times their weights.

    Args:
        means: Name -> mean.
        weights: Name -> weight.

    Raises:
        UserError: A loss without a weight, or none with a positive one.
    """
    absent = [name for name in means if name not in weights]
    if absent:
        raise UserError(
            f"no weight of the loss {', '.join(map(repr, absent))}; add "
            f"+{WEIGHTS_KEY}.{absent[0]}=0 to leave it out"
        )
    parts = [weights[name] * value for name, value in means.items() if weights[name] > 0]
    if not parts:
        raise UserError(f"{WEIGHTS_KEY}: no loss has a positive weight, nothing can be learned")
    return torch.stack(parts).sum()


def refuse_nan(step: Step, where: str) -> None:
    """Stop before a loss that is no number ruins the weights.

    Args:
        step: A step.
        where: Epoch and batch, for the message.

    Raises:
        UserError: The loss is NaN; it names the parts that are.
    """
    if not torch.isnan(step.loss):
        return
    parts = [name for name, value in step.means.items() if torch.isnan(value)]
    raise UserError(
        f"{where}: the loss is not a number ({', '.join(parts)}); lower the learning rate, clip "
        "gradients (opt.grad_clip.max_norm), or look for NaN in the features"
    )


def unwrapped(model: nn.Module) -> Any:
    """The network inside wrappers for several devices and for compilation."""
    while True:
        inner = getattr(model, "module", None) or getattr(model, "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def _mean(loss: Tensor) -> Tensor:
    # Of one clip there is no next one: nothing to learn from, where a mean would be NaN.
    return loss.mean() if loss.numel() else loss.sum()
