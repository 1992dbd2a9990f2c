"""Optimiser settings and the learning-rate schedule of masked pretraining.

No torch in here, so that the command line can show and check the settings quickly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from behaviorzoo.errors import UserError


@dataclass
class OptimConfig:
    """AdamW with linear warm-up and half a cosine (the recipes share all but the batch size).

    The learning rate at the top of the warm-up is ``lr`` where given, else
    ``blr * effective batch / 256``; the effective batch counts accumulation and processes.

    Raises:
        UserError: A number out of its range.
    """

    epochs: int = field(default=200, metadata={"help": "passes over the training windows"})
    batch_size: int = field(default=512, metadata={"help": "windows per batch and process"})
    blr: float = field(
        default=1.6e-4, metadata={"help": "learning rate per 256 windows of effective batch"}
    )
    lr: float | None = field(
        default=None, metadata={"help": "absolute learning rate; null computes it from blr"}
    )
    min_lr: float = field(default=0.0, metadata={"help": "learning rate at the end"})
    warmup_epochs: int = field(default=40, metadata={"help": "epochs of linear warm-up"})
    weight_decay: float = field(
        default=0.05, metadata={"help": "AdamW decay of weights, position embeddings, mask token"}
    )
    betas: tuple[float, float] = field(
        default=(0.9, 0.95), metadata={"help": "AdamW moment decay rates"}
    )
    bias_wd: bool = field(
        default=False, metadata={"help": "decay the weights of norms as well (biases never)"}
    )
    validate_every_epochs: int = field(
        default=5, metadata={"help": "epochs between losses on held-out windows; 0 for never"}
    )

    def __post_init__(self) -> None:
        wrong = [
            f"{name} = {getattr(self, name)} must be at least {limit}"
            for name, limit in {
                "epochs": 1,
                "batch_size": 1,
                "min_lr": 0,
                "warmup_epochs": 0,
                "weight_decay": 0,
                "validate_every_epochs": 0,
            }.items()
            if getattr(self, name) < limit
        ]
        wrong += [
            f"{name} = {getattr(self, name)} must be positive"
            for name in ("blr", "lr")
            if getattr(self, name) is not None and not getattr(self, name) > 0
        ]
        if not all(0 <= beta < 1 for beta in self.betas):
            wrong.append(f"betas = {list(self.betas)} must lie in [0, 1)")
        if wrong:
            raise UserError("; ".join(wrong))

    def peak_lr(self, accumulate: int = 1, world_size: int = 1) -> float:
        """Learning rate at the end of the warm-up.

        Args:
            accumulate: Batches per update.
            world_size: Processes that train together.
        """
        if self.lr is not None:
            return self.lr
        return self.blr * self.batch_size * accumulate * world_size / 256


def learning_rate(
    epoch: float, *, peak: float, warmup_epochs: float, epochs: float, minimum: float = 0.0
) -> float:
    """Schedule at a fractional epoch: linear warm-up, then half a cosine.

    Args:
        epoch: Epoch number plus the share of its batches that are done; the first is 0.0.
        peak: Learning rate at the end of the warm-up.
        warmup_epochs: Length of the warm-up.
        epochs: Length of the whole training.
        minimum: Learning rate at the end.

    Returns:
        The learning rate; the very first step of a warm-up has 0.
    """
    if epoch < warmup_epochs:
        return peak * epoch / warmup_epochs
    if epochs <= warmup_epochs:
        return peak
    progress = (epoch - warmup_epochs) / (epochs - warmup_epochs)
    return minimum + (peak - minimum) * 0.5 * (1 + math.cos(math.pi * progress))
