"""The steps from a line of a list to the pixels of its clips, registered with mmengine.

Importing this module registers them. A pipeline in the order of the original::

    UasOpenVideo -> UasSampleFrames -> UasDecode -> UasResize -> UasRandomResizedCrop ->
    UasResize -> UasFlip -> UasFormatShape -> PackActionInputs

Frames that occur several times (a short clip that loops, overlapping clips) are decoded and
resized once: between ``UasDecode`` and ``UasFormatShape`` the key ``imgs`` holds every distinct
frame once and ``frame_order`` says which stands where. Pixels stay uint8; the data preprocessor of
the network normalises them, on its device (``UasNormalize`` does it here, as the original did).
"""

from uas_swin.data.transforms.decode import UasDecode, UasOpenVideo, UasSampleFrames
from uas_swin.data.transforms.pack import LabelToMultiLabel, UasFormatShape, UasNormalize
from uas_swin.data.transforms.picture import (
    UasCenterCrop,
    UasFlip,
    UasRandomResizedCrop,
    UasResize,
    UasThreeCrop,
)
from uas_swin.data.transforms.upstream import pipeline_from_upstream

__all__ = [
    "LabelToMultiLabel",
    "UasCenterCrop",
    "UasDecode",
    "UasFlip",
    "UasFormatShape",
    "UasNormalize",
    "UasOpenVideo",
    "UasRandomResizedCrop",
    "UasResize",
    "UasSampleFrames",
    "UasThreeCrop",
    "pipeline_from_upstream",
]
