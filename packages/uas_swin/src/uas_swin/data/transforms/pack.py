"""The last steps: normalise, arrange clips, labels as vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from behaviorzoo.errors import UserError
from uas_swin.data import pixels

Results = dict[str, Any]


@TRANSFORMS.register_module()
class UasNormalize(BaseTransform):
    """Subtract the mean and divide by the standard deviation: ``imgs`` becomes float32.

    Leave it out where the data preprocessor of the network normalises, as in the packaged
    configurations.

    Args:
        mean: Of the channels, in grey levels.
        std: Of the channels.
        to_bgr: Swap red and blue first; ``mean`` and ``std`` are of the swapped channels.
    """

    def __init__(
        self,
        mean: Sequence[float] = pixels.MEAN,
        std: Sequence[float] = pixels.STD,
        to_bgr: bool = False,
    ) -> None:
        if len(mean) != 3 or len(std) != 3 or not min(std) > 0:
            raise UserError(f"mean={mean}, std={std}: three numbers each, std positive")
        self.mean, self.std, self.to_bgr = tuple(mean), tuple(std), to_bgr

    def transform(self, results: Results) -> Results:
        """Normalise."""
        frames = np.asarray(results["imgs"])
        frames = frames[..., ::-1] if self.to_bgr else frames
        results["imgs"] = pixels.normalize(frames, self.mean, self.std)
        results["img_norm_cfg"] = {"mean": self.mean, "std": self.std, "to_bgr": self.to_bgr}
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(mean={self.mean}, std={self.std}, to_bgr={self.to_bgr})"


@TRANSFORMS.register_module()
class UasFormatShape(BaseTransform):
    """Put the frames in their places: ``imgs`` becomes (V, 3, T, h, w).

    V counts the views; crops are the outer loop and clips the inner one.

    Args:
        input_format: ``NCTHW``, the only one a network on clips needs.
        collapse: Drop the first axis; only where there is a single view.
    """

    def __init__(self, input_format: str = "NCTHW", collapse: bool = False) -> None:
        if input_format != "NCTHW":
            raise UserError(f"input_format={input_format!r}: clips are arranged as 'NCTHW'")
        self.input_format, self.collapse = input_format, collapse

    def transform(self, results: Results) -> Results:
        """Arrange.

        Raises:
            UserError: ``collapse`` with several views.
        """
        frames = np.asarray(results["imgs"])
        order = results.pop("frame_order", None)
        views = pixels.to_views(frames, results["clip_len"], order, results.get("num_crops", 1))
        if self.collapse:
            if len(views) != 1:
                raise UserError(f"collapse=True needs a single view, there are {len(views)}")
            views = views[0]
        results["imgs"], results["input_shape"] = views, views.shape
        return results

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(input_format={self.input_format!r}, collapse={self.collapse})"
        )


@TRANSFORMS.register_module()
class LabelToMultiLabel(BaseTransform):
    """A list of class ids to a float32 vector with 1 at each of them.

    Args:
        num_classes: Length of the vector.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes

    def transform(self, results: Results) -> Results:
        """Convert ``label``.

        Raises:
            UserError: A label is out of range.
        """
        results["label"] = multi_hot(results["label"], self.num_classes)
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_classes={self.num_classes})"


def multi_hot(labels: int | Sequence[int], num_classes: int) -> np.ndarray:
    """Class ids to a float32 vector (num_classes,) with 1 at each of them.

    Raises:
        UserError: A label is out of range.
    """
    ids = np.atleast_1d(np.asarray(labels, dtype=np.int64))
    if ids.size and not (ids.min() >= 0 and ids.max() < num_classes):
        raise UserError(f"labels {ids.tolist()}: class ids go from 0 to {num_classes - 1}")
    vector = np.zeros(num_classes, dtype=np.float32)
    vector[ids] = 1.0
    return vector
