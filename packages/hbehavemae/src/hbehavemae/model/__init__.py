"""The network of hBehaveMAE, to be read beside the paper (Stoffl et al., ECCV 2024).

``geometry`` what the configuration implies; ``embedding`` poses to tokens; ``unroll`` the order
of tokens; ``attention`` the blocks; ``encoder`` the hierarchy; ``fusion``, ``masking`` and
``mae`` what pretraining adds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hbehavemae.model.geometry import BlockSpec, Geometry, ModelConfig

if TYPE_CHECKING:
    from hbehavemae.model.encoder import HBehaveEncoder
    from hbehavemae.model.mae import HBehaveMAE, MAEOutput
    from hbehavemae.model.masking import mask_from_noise

__all__ = [
    "BlockSpec",
    "Geometry",
    "HBehaveEncoder",
    "HBehaveMAE",
    "MAEOutput",
    "ModelConfig",
    "mask_from_noise",
]


def __getattr__(name: str) -> Any:
    # Configurations and geometry are needed where torch is not: command lines, data checks.
    if name == "HBehaveEncoder":
        from hbehavemae.model.encoder import HBehaveEncoder

        return HBehaveEncoder
    if name in ("HBehaveMAE", "MAEOutput"):
        from hbehavemae.model import mae

        return getattr(mae, name)
    if name == "mask_from_noise":
        from hbehavemae.model.masking import mask_from_noise

        return mask_from_noise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
