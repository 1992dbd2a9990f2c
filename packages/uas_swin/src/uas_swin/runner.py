"""mmengine's runner with strict weights, processes without GPUs, and runs that resume exactly."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import MMLogger
from mmengine.model import MMDistributedDataParallel, is_model_wrapper
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch import nn

from behaviorzoo.errors import UserError
from behaviorzoo.launch import tell

LAST = "last_checkpoint"
"""File in a run's folder that names the newest checkpoint, as mmengine has it."""


@RUNNERS.register_module()
class UasRunner(Runner):
    """mmengine's runner; three things differ.

    Weights are loaded strictly (:func:`uas_swin.checkpoints.load_weights`), where mmengine's only
    warns of what does not fit. Several processes train together on the CPU too. And the screen
    shows what happens; what mmengine tells of itself is in the log file alone.
    """

    def build_logger(self, *args: Any, **options: Any) -> MMLogger:
        """Log all to the file, and to the screen what is about the run."""
        logger = super().build_logger(*args, **options)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(is_about_the_run)
        return logger

    def load_or_resume(self) -> None:
        """Load the weights of ``load_from``, or go on from a checkpoint."""
        source = self._load_from
        if self._has_loaded or self._resume or source is None:
            super().load_or_resume()
            return
        from uas_swin.checkpoints import load_weights
        from uas_swin.heads import read_weights

        model: Any = self.model
        network = model.module if is_model_wrapper(model) else model
        testing = self._train_loop is None
        for note in load_weights(network, read_weights(source), whole=testing):
            tell(f"note: {note}")
        self._has_loaded = True

    def load_checkpoint(
        self,
        filename: str,
        map_location: Any = "cpu",
        strict: bool = True,
        revise_keys: Iterable[Any] = ((r"^module.", ""),),
    ) -> Any:
        """Load a checkpoint to go on from; every weight must fit.

        Raises:
            UserError: It was trained with another network, or is no checkpoint of a training.
        """
        try:
            content = super().load_checkpoint(filename, map_location, strict, list(revise_keys))
        except RuntimeError as error:
            first = str(error).strip().splitlines()
            raise UserError(
                f"{filename}: cannot go on from it, the network differs ({first[-1].strip()}); "
                "resume with the configuration that it was trained with"
            ) from error
        if "optimizer" not in content or "epoch" not in content.get("meta", {}):
            raise UserError(
                f"{filename}: holds weights, but no state of a training; start a new one from it "
                "with --cfg-options load_from=FILE"
            )
        return content

    def wrap_model(self, model_wrapper_cfg: dict[str, Any] | None, model: nn.Module) -> nn.Module:
        """Let several processes share the gradients; also where there is no GPU."""
        if not self.distributed or torch.cuda.is_available() or is_model_wrapper(model):
            return super().wrap_model(model_wrapper_cfg, model)
        unused = bool(self.cfg.get("find_unused_parameters", False))
        return MMDistributedDataParallel(
            module=model, broadcast_buffers=False, find_unused_parameters=unused
        )


OF_THE_LIBRARY = (
    *("-" * 20, "Config:", "Hooks will be executed", "Exp name:", "Checkpoints will be saved"),
    *("Distributed training is not used", '"FileClient" will be', '"HardDiskBackend" is the'),
)
"""How records begin that a reader of the screen has no use for."""


def is_about_the_run(record: logging.LogRecord) -> bool:
    """Whether a record of mmengine tells of the run, not of mmengine."""
    return not record.getMessage().lstrip().startswith(OF_THE_LIBRARY)


def newest_checkpoint(work_dir: str | Path) -> Path | None:
    """The checkpoint that a run wrote last; None where there is none."""
    work_dir = Path(work_dir)
    note = work_dir / LAST
    if note.is_file():
        path = Path(note.read_text(encoding="utf-8").strip())
        for candidate in (work_dir / path.name, path):  # a folder may have been moved, or copied
            if candidate.is_file():
                return candidate
    return None
