"""The one door to mmaction2: its models, without the warnings that concern nobody here.

Importing mmaction2 takes seconds; import this where a network is built, not at the top of a
command line.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_KNOWN = (
    # mmcv-lite has no compiled operators; the attention that misses them is not ours.
    "Fail to import ``MultiScaleDeformableAttention``",
    # mmaction2 means the order of indices that torch has by default.
    "torch.meshgrid: in an upcoming release",
)


@contextmanager
def without_known_warnings() -> Iterator[None]:
    """Leave out what mmaction2 is known to warn of; everything else is still told."""
    with warnings.catch_warnings():
        for message in _KNOWN:
            warnings.filterwarnings("ignore", message=message)
        yield


with without_known_warnings():
    import mmaction.models  # noqa: F401  (registers the heads and recognizers)
    from mmaction.models.backbones.swin import (
        Mlp,
        SwinTransformer3D,
        SwinTransformerBlock3D,
        WindowAttention3D,
    )
    from mmaction.models.recognizers import Recognizer3D
    from mmaction.registry import MODELS
    from mmaction.structures import ActionDataSample

__all__ = [
    "MODELS",
    "ActionDataSample",
    "Mlp",
    "Recognizer3D",
    "SwinTransformer3D",
    "SwinTransformerBlock3D",
    "WindowAttention3D",
    "without_known_warnings",
]
