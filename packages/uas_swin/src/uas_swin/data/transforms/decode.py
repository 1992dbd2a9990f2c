"""Opening a video, choosing frames, decoding them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from behaviorzoo.errors import UserError, suggest
from uas_swin.data.draws import Draws
from uas_swin.data.readers import READERS, open_reader
from uas_swin.data.sampling import SamplingConfig, sample_frames

Results = dict[str, Any]


@TRANSFORMS.register_module()
class UasOpenVideo(BaseTransform):
    """Open ``filename``: adds ``video_reader``, ``total_frames`` and ``avg_fps``.

    Args:
        reader: Library that decodes, see :mod:`uas_swin.data.readers`.

    Raises:
        UserError: No such reader.
    """

    def __init__(self, reader: str = "pyav") -> None:
        if reader not in READERS:
            raise UserError(f"reader: unknown {reader!r}; {suggest(reader, READERS)}")
        self.reader = reader

    def transform(self, results: Results) -> Results:
        """Open the video.

        Raises:
            VideoError: It cannot be opened.
        """
        video = open_reader(results["filename"], self.reader)
        results["video_reader"] = video
        results["total_frames"] = video.n_frames
        results["avg_fps"] = video.fps
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(reader={self.reader!r})"


@TRANSFORMS.register_module()
class UasSampleFrames(BaseTransform):
    """Choose the frames of every clip: adds ``frame_inds`` (K * T,), clip after clip.

    The arguments are those of :class:`~uas_swin.data.sampling.SamplingConfig`; with its
    ``rule="0.x"``, which is the default, testing clips lie where the original lays them
    (``SampleFrames`` of the mmaction2 of today lays them elsewhere).
    """

    def __init__(self, **config: Any) -> None:
        known = SamplingConfig.__dataclass_fields__
        for key in config:
            if key not in known:
                raise UserError(f"UasSampleFrames has no argument {key!r}; {suggest(key, known)}")
        self.config = SamplingConfig(**config)

    def transform(self, results: Results) -> Results:
        """Choose frames; they count from ``start_index`` (0 for videos)."""
        frames = sample_frames(results["total_frames"], self.config, Draws.of(results).numpy)
        results["frame_inds"] = frames.reshape(-1) + results.get("start_index", 0)
        results["clip_len"] = self.config.clip_len
        results["frame_interval"] = self.config.frame_interval
        results["num_clips"] = len(frames)
        return results

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in asdict(self.config).items())
        return f"{type(self).__name__}({arguments})"


@TRANSFORMS.register_module()
class UasDecode(BaseTransform):
    """Decode the frames of ``frame_inds``: adds ``imgs`` (F, H, W, 3) and ``frame_order``.

    The region of the sample, if it has one, is cut out at once.

    Args:
        distinct: Keep every frame once and put them in order last (``UasFormatShape``). Without it
            ``imgs`` has the K * T frames in order, as mmaction2's own ``FormatShape`` needs.
    """

    def __init__(self, distinct: bool = True) -> None:
        self.distinct = distinct

    def transform(self, results: Results) -> Results:
        """Decode.

        Raises:
            VideoError: A frame cannot be decoded.
            UserError: The region reaches beyond the picture.
        """
        video = results.pop("video_reader")
        try:
            wanted, order = np.unique(results["frame_inds"], return_inverse=True)
            frames = video.frames(wanted - results.get("start_index", 0))
        finally:
            video.close()
        region = results.get("region")
        if region is not None:
            frames = region.cut(frames, str(results["filename"]))
        if self.distinct:
            results["imgs"], results["frame_order"] = frames, order.reshape(-1)
        else:
            results["imgs"] = frames[order.reshape(-1)]
        results["original_shape"] = results["img_shape"] = frames.shape[1:3]
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(distinct={self.distinct})"
