"""Steps on the picture: resize, crop, mirror. Frames stay uint8 (F, H, W, 3) in ``imgs``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS
from numpy.typing import NDArray

from behaviorzoo.errors import UserError
from uas_swin.data import pixels
from uas_swin.data.draws import Draws

Results = dict[str, Any]


@TRANSFORMS.register_module()
class UasResize(BaseTransform):
    """Resize every frame.

    Args:
        scale: With ``keep_ratio`` a factor, or the bounds of the long and the short side, -1 for
            no bound: ``(-1, 256)`` makes the short side 256. Otherwise width and height.
        keep_ratio: Keep the aspect ratio.
        interpolation: A key of :data:`uas_swin.data.pixels.INTERPOLATIONS`.
    """

    def __init__(
        self,
        scale: float | Sequence[float],
        keep_ratio: bool = True,
        interpolation: str = "bilinear",
    ) -> None:
        right = keep_ratio if isinstance(scale, (int, float)) else len(scale) == 2
        if not right:
            raise UserError(f"UasResize: scale={scale}: write two numbers, such as (-1, 256)")
        self.scale, self.keep_ratio, self.interpolation = scale, keep_ratio, interpolation

    def transform(self, results: Results) -> Results:
        """Resize; ``scale_factor`` keeps (width, height) factors of all steps so far."""
        height, width = size_of(results)
        if self.keep_ratio:
            new = pixels.resized_size(width, height, self.scale)
        else:
            new = _pair(self.scale, "UasResize: scale")
        results["imgs"] = pixels.resize(results["imgs"], *new, self.interpolation)
        results["img_shape"], results["keep_ratio"] = (new[1], new[0]), self.keep_ratio
        factor = np.array([new[0] / width, new[1] / height], dtype=np.float32)
        results["scale_factor"] = results.get("scale_factor", 1) * factor
        return results

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(scale={self.scale}, keep_ratio={self.keep_ratio}, "
            f"interpolation={self.interpolation!r})"
        )


@TRANSFORMS.register_module()
class UasRandomResizedCrop(BaseTransform):
    """Cut a random box of a random size and aspect ratio, the same out of every frame.

    Args:
        area_range: Smallest and largest share of the area.
        aspect_ratio_range: Smallest and largest width / height.
    """

    def __init__(
        self,
        area_range: Sequence[float] = (0.08, 1.0),
        aspect_ratio_range: Sequence[float] = (3 / 4, 4 / 3),
    ) -> None:
        if not 0 < area_range[0] <= area_range[1] <= 1:
            raise UserError(f"area_range={area_range}: two shares, 0 < low <= high <= 1")
        if not 0 < aspect_ratio_range[0] <= aspect_ratio_range[1]:
            raise UserError(f"aspect_ratio_range={aspect_ratio_range}: 0 < low <= high")
        self.area_range, self.aspect_ratio_range = tuple(area_range), tuple(aspect_ratio_range)

    def transform(self, results: Results) -> Results:
        """Draw the box and cut it out."""
        height, width = size_of(results)
        box = pixels.random_resized_box(
            width, height, Draws.of(results), self.area_range, self.aspect_ratio_range
        )
        return _cut(results, box)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(area_range={self.area_range}, "
            f"aspect_ratio_range={self.aspect_ratio_range})"
        )


@TRANSFORMS.register_module()
class UasCenterCrop(BaseTransform):
    """Cut out the middle.

    Args:
        crop_size: Side of a square, or width and height.
    """

    def __init__(self, crop_size: int | Sequence[int]) -> None:
        self.crop_size = _pair(crop_size, "UasCenterCrop: crop_size")

    def transform(self, results: Results) -> Results:
        """Cut.

        Raises:
            UserError: The frames are smaller.
        """
        height, width = size_of(results)
        return _cut(results, pixels.center_box(width, height, self.crop_size))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(crop_size={self.crop_size})"


@TRANSFORMS.register_module()
class UasThreeCrop(BaseTransform):
    """Cut three boxes along the long side: first, last, middle; all frames of one, then the next.

    Args:
        crop_size: Side of a square, or width and height.
    """

    def __init__(self, crop_size: int | Sequence[int]) -> None:
        self.crop_size = _pair(crop_size, "UasThreeCrop: crop_size")

    def transform(self, results: Results) -> Results:
        """Cut; ``imgs`` becomes (3 F, h, w, 3).

        Raises:
            UserError: No side of the frames has the size of the crop.
        """
        height, width = size_of(results)
        boxes = pixels.three_boxes(width, height, self.crop_size)
        frames = np.asarray(results["imgs"])
        results["imgs"] = np.concatenate([pixels.crop(frames, box) for box in boxes])
        results["crop_bbox"] = np.repeat(np.array(boxes), len(frames), axis=0)
        results["img_shape"] = (self.crop_size[1], self.crop_size[0])
        results["num_crops"] = results.get("num_crops", 1) * 3
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(crop_size={self.crop_size})"


@TRANSFORMS.register_module()
class UasFlip(BaseTransform):
    """Mirror all frames of a sample, or none.

    Args:
        flip_ratio: Probability.
        direction: ``horizontal`` or ``vertical``.
        flip_label_map: Class of a mirrored sample for classes that change ("turn left").
    """

    def __init__(
        self,
        flip_ratio: float = 0.5,
        direction: str = "horizontal",
        flip_label_map: Mapping[int, int] | None = None,
    ) -> None:
        if direction not in ("horizontal", "vertical"):
            raise UserError(f"direction={direction!r}: horizontal or vertical")
        self.flip_ratio, self.direction = flip_ratio, direction
        self.flip_label_map = dict(flip_label_map or {})

    def transform(self, results: Results) -> Results:
        """Draw one number and mirror or not."""
        flipped = bool(Draws.of(results).numpy.rand() < self.flip_ratio)
        results["flip"], results["flip_direction"] = flipped, self.direction
        if flipped:
            results["imgs"] = pixels.flip(np.asarray(results["imgs"]), self.direction)
            if self.flip_label_map:
                results["label"] = self._mirrored(results["label"])
        return results

    def _mirrored(self, label: int | NDArray[np.float32]) -> int | NDArray[np.float32]:
        if isinstance(label, int):
            return self.flip_label_map.get(label, label)
        source = np.arange(len(label))
        for old, new in self.flip_label_map.items():
            source[new] = old
        return label[source]

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(flip_ratio={self.flip_ratio}, direction={self.direction!r}, "
            f"flip_label_map={self.flip_label_map})"
        )


def size_of(results: Results) -> tuple[int, int]:
    """Height and width of the frames of a sample."""
    height, width = results["imgs"][0].shape[:2]
    return height, width


def _cut(results: Results, box: pixels.Box) -> Results:
    left, top, right, bottom = box
    results["imgs"] = pixels.crop(np.asarray(results["imgs"]), box)
    results["crop_bbox"] = np.array(box)
    results["img_shape"] = (bottom - top, right - left)
    return results


def _pair(value: Any, where: str) -> tuple[int, int]:
    """Width and height from one number or two."""
    pair = (value, value) if isinstance(value, (int, float)) else tuple(value)
    if len(pair) != 2 or not all(isinstance(part, int) and part > 0 for part in pair):
        raise UserError(f"{where}={value}: one whole number, or width and height")
    return int(pair[0]), int(pair[1])
