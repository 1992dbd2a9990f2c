"""How a training runs, shared by every method; what it optimises is the method's own config.

No torch in here: command lines show their help and check their keys without waiting for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from behaviorzoo.errors import UserError


@dataclass
class TrainerConfig:
    """Devices, precision, length, checkpoints and logs of one training run.

    Raises:
        UserError: A number out of its range.
    """

    accelerator: str = field(
        default="auto", metadata={"help": "auto, cpu, gpu, mps; auto takes what the machine has"}
    )
    devices: int = field(default=1, metadata={"help": "processes per node, one device each"})
    num_nodes: int = field(default=1, metadata={"help": "machines that train together"})
    strategy: str = field(
        default="auto",
        metadata={
            "help": "auto: one process, or DDP when there are several; any name Lightning knows"
        },
    )
    precision: Literal["32-true", "64-true", "16-mixed", "bf16-mixed"] = field(
        default="32-true", metadata={"help": "number format of the network's arithmetic"}
    )
    max_epochs: int | None = field(
        default=None,
        metadata={"help": "stop after so many epochs; null for the whole schedule of the method"},
    )
    accumulate: int = field(
        default=1, metadata={"help": "batches whose gradients are averaged for one update"}
    )
    clip_norm: float | None = field(
        default=None,
        metadata={"help": "limit of the gradient's global L2 norm; null only measures it"},
    )
    checkpoint_every_minutes: float | None = field(
        default=5.0, metadata={"help": "wall time between checkpoints; null for none by time"}
    )
    checkpoint_every_epochs: int | None = field(
        default=None, metadata={"help": "epochs between checkpoints; null for none by epoch"}
    )
    checkpoint_every_steps: int | None = field(
        default=None, metadata={"help": "updates between checkpoints; null for none by step"}
    )
    keep_checkpoints: int = field(
        default=2, metadata={"help": "newest checkpoints that stay; 0 keeps all"}
    )
    log_every_n_steps: int = field(
        default=10, metadata={"help": "updates between two rows of metrics.csv and TensorBoard"}
    )
    progress: bool = field(default=True, metadata={"help": "show a progress bar"})
    compile: bool = field(default=False, metadata={"help": "torch.compile the network"})
    deterministic: bool = field(
        default=False, metadata={"help": "only deterministic kernels (slower on a GPU)"}
    )
    max_time_minutes: float | None = field(
        default=None, metadata={"help": "save and stop after this wall time; --resume goes on"}
    )

    def __post_init__(self) -> None:
        at_least = {
            "devices": 1,
            "num_nodes": 1,
            "accumulate": 1,
            "keep_checkpoints": 0,
            "log_every_n_steps": 1,
        }
        wrong = [
            f"{name} = {getattr(self, name)} must be at least {limit}"
            for name, limit in at_least.items()
            if getattr(self, name) < limit
        ]
        positive = (
            "max_epochs",
            "clip_norm",
            "checkpoint_every_minutes",
            "checkpoint_every_epochs",
            "checkpoint_every_steps",
            "max_time_minutes",
        )
        wrong += [
            f"{name} = {getattr(self, name)} must be positive, or null"
            for name in positive
            if getattr(self, name) is not None and not getattr(self, name) > 0
        ]
        if wrong:
            raise UserError("; ".join(wrong))
