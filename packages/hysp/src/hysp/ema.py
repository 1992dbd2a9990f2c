"""The target follows the online network as a moving average of its weights."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


def update_average(targets: Iterable[Tensor], online: Iterable[Tensor], decay: float) -> None:
    """``target <- decay * target + (1 - decay) * online``, in place, for every pair.

    Args:
        targets: Parameters of the target.
        online: Parameters of the online network, in the same order.
        decay: Share that the target keeps.
    """
    get_ema_multi_avg_fn(decay)(list(targets), list(online), 0)
