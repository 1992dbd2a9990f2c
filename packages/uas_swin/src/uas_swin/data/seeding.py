"""Random clips and crops that depend on seed, epoch and sample only."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner


@HOOKS.register_module()
class SeedSamples(Hook):
    """Tells the training data set which epoch begins, and the seed of the run.

    Left to mmengine, workers begin every epoch with the same random numbers and a resumed run
    begins anew; with this hook each sample of each epoch has draws of its own, however many
    workers load it.
    """

    def before_train_epoch(self, runner: Runner) -> None:
        """Pass on seed and epoch to a data set that takes them (the one in a wrapper, too)."""
        data = getattr(runner.train_dataloader, "dataset", None)
        while data is not None and not hasattr(data, "begin_epoch"):
            data = getattr(data, "dataset", None)
        if data is not None:
            data.begin_epoch(runner.epoch, runner.seed)
