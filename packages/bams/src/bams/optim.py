"""Optimiser settings and the learning-rate schedule.

No torch in here, so that the command line can show and check the settings quickly.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from behaviorzoo.errors import UserError


@dataclass
class OptimConfig:
    """AdamW with a learning rate that falls in steps; latent predictors learn faster.

    The decay is on every parameter, biases and norms too, as in the original.

    Raises:
        UserError: A number out of its range.
    """

    epochs: int = field(default=500, metadata={"help": "passes over the training sequences"})
    batch_size: int = field(default=32, metadata={"help": "sequences per batch and process"})
    shuffle: bool = field(default=True, metadata={"help": "draw a new order every epoch"})
    drop_last: bool = field(
        default=True, metadata={"help": "leave out an incomplete batch at the end of an epoch"}
    )
    lr: float = field(default=1e-3, metadata={"help": "learning rate"})
    latent_lr_factor: float = field(
        default=10.0, metadata={"help": "how much faster the predictors of the latents learn"}
    )
    milestones: tuple[int, ...] = field(
        default=(200,), metadata={"help": "epochs before which the rate is multiplied by gamma"}
    )
    gamma: float = field(default=0.1, metadata={"help": "factor on the rate at each milestone"})
    weight_decay: float = field(default=4e-5, metadata={"help": "AdamW decay of all parameters"})
    betas: tuple[float, float] = field(
        default=(0.9, 0.999), metadata={"help": "AdamW moment decay rates"}
    )
    eps: float = field(default=1e-8, metadata={"help": "AdamW's term against division by zero"})

    def __post_init__(self) -> None:
        wrong = [
            f"{name} = {getattr(self, name)} must be at least {limit}"
            for name, limit in {"epochs": 1, "batch_size": 1, "weight_decay": 0}.items()
            if getattr(self, name) < limit
        ]
        wrong += [
            f"{name} = {getattr(self, name)} must be positive"
            for name in ("lr", "latent_lr_factor", "gamma", "eps")
            if not getattr(self, name) > 0
        ]
        if not all(0 <= beta < 1 for beta in self.betas):
            wrong.append(f"betas = {list(self.betas)} must lie in [0, 1)")
        if any(milestone < 1 for milestone in self.milestones):
            wrong.append(f"milestones = {list(self.milestones)} must be at least 1")
        if wrong:
            raise UserError("; ".join(wrong))

    def rate(self, epoch: int) -> float:
        """Learning rate of everything but the latent predictors in an epoch, counted from 0."""
        return self.lr * self.gamma ** sum(epoch >= milestone for milestone in self.milestones)
