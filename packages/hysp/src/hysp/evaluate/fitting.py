"""The training loop of the protocols: SGD over a head, with or without its encoder.

Letters: N samples, B samples of a batch, C classes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm.auto import trange

from behaviorzoo.batches import EpochBatches
from behaviorzoo.errors import UserError
from hysp.evaluate.accuracy import accuracy, batch_mean_accuracy
from hysp.evaluate.config import ProbeOptim
from hysp.model.classifier import Classifier
from hysp.optim import build_optimizer, build_scheduler

if TYPE_CHECKING:
    from torch.optim import Optimizer

Inputs = Callable[[np.ndarray], Tensor]
"""Sample numbers (B,) to what the network takes."""


class Samples(NamedTuple):
    """Samples with labels.

    Attributes:
        inputs: Numbers (B,) to inputs of the network.
        labels: int64 (N,), on the network's device.
    """

    inputs: Inputs
    labels: Tensor


@dataclass
class Look:
    """What the test samples said after an epoch.

    Attributes:
        epoch: Counted from 1.
        loss: Mean over the test samples (``upstream``: over the batches).
        top1: Accuracy in [0, 1].
        top5: Accuracy in [0, 1].
        best: Highest ``top1`` so far.
    """

    epoch: int
    loss: float
    top1: float
    top5: float
    best: float


@dataclass
class Fitted:
    """A finished training; the network keeps the weights of its last epoch.

    Attributes:
        logits: (N, C) of the test samples, after the epoch that counts.
        epoch: The epoch that counts, from 1.
        losses: Of every batch.
        looks: At the test samples.
        state: State dict of the epoch that counts where that is not the last one.
    """

    logits: Tensor = field(default_factory=lambda: torch.empty(0, 0))
    epoch: int = 0
    losses: list[float] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    state: dict[str, Tensor] | None = None


def fit(
    model: Classifier,
    train: Samples,
    test: Samples,
    optim: ProbeOptim,
    *,
    lr: float,
    upstream: bool = False,
    on_features: bool = False,
    orders: Callable[[int], Iterable[np.ndarray]] | None = None,
    seed: int = 0,
    label: str = "",
) -> Fitted:
    """Train what of the network asks for gradients.

    Args:
        model: Encoder and head.
        train: Training samples.
        test: Test samples.
        optim: Rates, epochs, batches.
        lr: Learning rate of the head.
        upstream: The best epoch by the test samples counts, accuracies are means of batches, and
            incomplete batches are left out. Else the last epoch counts, and every sample.
        on_features: Inputs are embeddings (B, D): only the head runs. Else they are sequences.
        orders: Epoch -> numbers of the samples of each batch; drawn from ``seed`` by default.
        seed: See ``orders``.
        label: Of a bar over the epochs; empty for none.

    Returns:
        What came out.

    Raises:
        UserError: ``upstream`` and fewer samples than one batch; the loss is not finite.
    """
    forward = model.head if on_features else model
    rates = groups(model, lr, optim.encoder_lr)
    optimizer = build_optimizer("SGD", rates, lr, optim.weight_decay, optim.nesterov)
    scheduler = build_scheduler(optimizer, optim.schedule())
    orders = orders or drawn_orders(len(train.labels), optim.batch_size, seed, drop_last=upstream)
    fitted = Fitted()
    for epoch in trange(1, optim.epochs + 1, desc=label, unit="epoch", disable=not label):
        model.train()
        losses = _epoch(forward, train, list(orders(epoch - 1)), optimizer, optim.accumulate)
        if not np.isfinite(losses).all():
            raise UserError(
                f"epoch {epoch}: the loss is not finite; lower optim.head_lr (now {lr:g})"
                " or optim.encoder_lr"
            )
        fitted.losses += losses
        scheduler.step()
        last = epoch == optim.epochs
        if not last and epoch % optim.eval_interval:
            continue
        model.eval()
        logits = predict(forward, test, optim.test_batch_size)
        best = max((look.top1 for look in fitted.looks), default=-1.0)
        look = _look(logits, test.labels, optim.test_batch_size, upstream, epoch, best)
        fitted.looks.append(look)
        if look.top1 > best or not upstream:
            fitted.logits, fitted.epoch = logits, epoch
            fitted.state = copy.deepcopy(model.state_dict()) if upstream and not last else None
    model.eval()
    return fitted


def groups(model: Classifier, head_lr: float, encoder_lr: float) -> list[dict[str, Any]]:
    """The two groups of the optimiser: encoder and head, each with its rate."""
    return [
        {"params": list(model.online_encoder.parameters()), "lr": encoder_lr},
        {"params": list(model.online_projector.parameters()), "lr": head_lr},
    ]


def trainable_names(model: nn.Module) -> list[str]:
    """Names of the parameters that are trained."""
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def drawn_orders(
    n: int, batch_size: int, seed: int, drop_last: bool
) -> Callable[[int], Iterable[np.ndarray]]:
    """Shuffled batches that depend on seed and epoch alone."""
    size = batch_size if drop_last else min(batch_size, n)
    batches = EpochBatches(n, size, seed=seed, drop_last=drop_last)
    return lambda epoch: (batches.batch(epoch, i)[0] for i in range(len(batches)))


@torch.no_grad()
def predict(forward: Callable[[Tensor], Tensor], samples: Samples, batch_size: int) -> Tensor:
    """Logits (N, C) of all samples in their order."""
    n = len(samples.labels)
    parts = [
        forward(samples.inputs(np.arange(start, min(start + batch_size, n))))
        for start in range(0, n, batch_size)
    ]
    return torch.cat(parts)


def _epoch(
    forward: Callable[[Tensor], Tensor],
    train: Samples,
    batches: Sequence[np.ndarray],
    optimizer: Optimizer,
    accumulate: int,
) -> list[float]:
    """One pass; a step of the optimiser per ``accumulate`` batches, and for what is left."""
    losses = []
    for number, indices in enumerate(batches, start=1):
        if (number - 1) % accumulate == 0:
            optimizer.zero_grad()
        labels = train.labels[torch.from_numpy(indices).to(train.labels.device)]
        loss = cross_entropy(forward(train.inputs(indices)), labels)
        (loss / accumulate).backward()
        losses.append(loss.detach())
        if number % accumulate == 0 or number == len(batches):
            optimizer.step()
    return torch.stack(losses).tolist()


def _look(
    logits: Tensor, labels: Tensor, batch_size: int, upstream: bool, epoch: int, best: float
) -> Look:
    """Loss and accuracy of the labelled test samples."""
    known = labels >= 0
    logits, labels = logits[known], labels[known]
    if not len(labels):
        return Look(epoch, math.nan, 0.0, 0.0, max(best, 0.0))
    if upstream:
        parts = zip(logits.split(batch_size), labels.split(batch_size), strict=True)
        loss = float(torch.stack([cross_entropy(*part) for part in parts]).mean())
        found = batch_mean_accuracy(logits, labels, batch_size)
    else:
        loss, found = float(cross_entropy(logits, labels)), accuracy(logits, labels)
    return Look(epoch, loss, *found, max(best, found.top1))
