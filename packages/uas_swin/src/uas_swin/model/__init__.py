"""The network, to be read beside the papers.

``lora`` low-rank branches; ``kernels`` fused attention; ``attention`` windows with one additive
mask; ``block`` a block with both; ``backbone`` mmaction2's Video Swin with these blocks;
``recognizer`` with a head; ``inflate`` weights of pictures for videos; ``freeze`` what is left to
train.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uas_swin.model.backbone import UASSwinTransformer3D
    from uas_swin.model.recognizer import UASRecognizer3D

__all__ = ["UASRecognizer3D", "UASSwinTransformer3D"]

_HOMES = {"UASSwinTransformer3D": "backbone", "UASRecognizer3D": "recognizer"}


def __getattr__(name: str) -> Any:
    # mmaction2 is imported where a network is built, not where options are checked.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"uas_swin.model.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
