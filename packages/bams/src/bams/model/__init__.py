"""The network of BAMS, to be read beside the paper (Azabou et al., NeurIPS 2023).

``config`` the options; ``tcn`` an encoder; ``mlp`` the heads; ``bams`` the whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bams.model.config import EncoderConfig, ModelConfig

if TYPE_CHECKING:
    from bams.model.bams import BAMS, BAMSOutput

__all__ = ["BAMS", "BAMSOutput", "EncoderConfig", "ModelConfig"]


def __getattr__(name: str) -> Any:
    # Options are needed where torch is not: command lines, data checks.
    if name in ("BAMS", "BAMSOutput"):
        from bams.model import bams

        return getattr(bams, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
