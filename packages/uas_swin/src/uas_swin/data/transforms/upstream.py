"""A pipeline as the original's configuration writes it, in the steps of this package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from behaviorzoo.errors import UserError

_RENAMED = {
    "SampleFrames": "UasSampleFrames",
    "Resize": "UasResize",
    "RandomResizedCrop": "UasRandomResizedCrop",
    "CenterCrop": "UasCenterCrop",
    "ThreeCrop": "UasThreeCrop",
    "Flip": "UasFlip",
    "Normalize": "UasNormalize",
    "FormatShape": "UasFormatShape",
    "LabelToMultiLabel": "LabelToMultiLabel",
    "DecordDecode": "UasDecode",
    "PyAVDecode": "UasDecode",
    "OpenCVDecode": "UasDecode",
}
_OPENING = {"DecordInit": "decord", "PyAVInit": "pyav", "OpenCVInit": "opencv"}
_ABSORBED = ("Collect", "ToTensor")
"""What ``PackActionInputs`` does today."""
_DROPPED = ("num_threads", "multi_thread", "mode", "io_backend", "lazy", "adjust_magnitude")
"""Arguments that say how fast, not what."""


def pipeline_from_upstream(
    steps: Sequence[Mapping[str, Any]], reader: str | None = None
) -> list[dict[str, Any]]:
    """Translate the ``train_pipeline``, ``val_pipeline`` or ``test_pipeline`` of an old file.

    Args:
        steps: Steps of mmaction2 0.x, each with its ``type``.
        reader: Decode with this library instead of the one named there.

    Returns:
        Steps for mmengine. Where the old pipeline collects, ``PackActionInputs`` ends this one.

    Raises:
        UserError: A step that changes what the network sees and has no equivalent here.
    """
    out: list[dict[str, Any]] = []
    for step in steps:
        arguments = {key: value for key, value in step.items() if key not in (*_DROPPED, "type")}
        name = str(step["type"])
        if step.get("lazy"):
            raise UserError(f"{name}: lazy steps are not supported; remove lazy=True and Fuse")
        if name in _OPENING:
            out.append({"type": "UasOpenVideo", "reader": reader or _OPENING[name]})
        elif name in _RENAMED:
            out.append({"type": _RENAMED[name], **arguments})
        elif name in _ABSORBED:
            if not any(done["type"] == "mmaction.PackActionInputs" for done in out):
                out.append({"type": "mmaction.PackActionInputs"})
        else:
            raise UserError(
                f"{name}: no such step here; steps of mmaction2 can be put into the new pipeline "
                "by hand"
            )
    return out
