"""Training runs: the shared trainer, its run folder, its checkpoints and logs.

``behaviorzoo.training.config`` alone imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from behaviorzoo.training.config import TrainerConfig

if TYPE_CHECKING:
    from behaviorzoo.training.module import TrainingModule
    from behaviorzoo.training.trainer import HeldOut, build_trainer, fit

__all__ = ["HeldOut", "TrainerConfig", "TrainingModule", "build_trainer", "fit"]


def __getattr__(name: str) -> Any:
    # Lightning costs seconds: it is imported when a trainer is asked for, not for a config.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "module" if name == "TrainingModule" else "trainer"
    return getattr(import_module(f"{__name__}.{home}"), name)
