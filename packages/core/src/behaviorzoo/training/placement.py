"""Where the training data are kept while a run trains on a GPU."""

from __future__ import annotations

from typing import Any, Protocol

import lightning
import torch

from behaviorzoo.batches import BatchLoader

# A data set goes to the device if it takes no more than this share of what is free there.
_SHARE_OF_DEVICE = 0.25


class Movable(Protocol):
    """A data set that can be kept on a device."""

    @property
    def nbytes(self) -> int:
        """Size of its arrays."""
        ...

    def to(self, device: torch.device) -> Any:
        """Move its arrays."""
        ...


class DataNearDevice(lightning.Callback):
    """Keeps the data set on the GPU where it fits, else fetches batches ahead, pinned.

    Args:
        loader: The training batches.
        data: What they are fetched from.
    """

    def __init__(self, loader: BatchLoader[Any], data: Movable):
        self.loader = loader
        self.data = data

    def on_fit_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Decide when the network is on its device and before the first batch is fetched."""
        if pl_module.device.type != "cuda":
            return
        free, _ = torch.cuda.mem_get_info(pl_module.device)
        if self.data.nbytes <= _SHARE_OF_DEVICE * free:
            self.data.to(pl_module.device)
        else:
            self.loader.prefetch, self.loader.pin_memory = 2, True
