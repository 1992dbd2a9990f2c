"""Training runs: the shared trainer, its run folder, its checkpoints and logs."""

from behaviorzoo.training.config import TrainerConfig

__all__ = ["TrainerConfig"]
