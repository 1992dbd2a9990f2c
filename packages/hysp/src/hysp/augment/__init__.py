"""Random changes of skeleton sequences: whole batches on their device, and the original's draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hysp.augment.config import AugmentConfig
from hysp.lazy import lazy_names

if TYPE_CHECKING:
    from hysp.augment.applying import NTU_MIRROR, apply
    from hysp.augment.drawn import Drawn, draw_strong, draw_weak
    from hysp.augment.two_views import views

__all__ = ["NTU_MIRROR", "AugmentConfig", "Drawn", "apply", "draw_strong", "draw_weak", "views"]

# Imported on first use: the settings alone must not wait for torch.
__getattr__ = lazy_names(
    __name__,
    {
        "NTU_MIRROR": "applying",
        "apply": "applying",
        "Drawn": "drawn",
        "draw_strong": "drawn",
        "draw_weak": "drawn",
        "views": "two_views",
    },
)
