"""The filter of hBABEL: clips with hardly any label are left out of the splits."""

from __future__ import annotations

import numpy as np

from behaviorzoo.errors import UserError
from hieras_eval.benchmarks import Clips, Compat
from hieras_eval.definitions.hbabel import SEGMENT_SUFFIX
from hieras_eval.label_files import LabelFile

_LEAST_FRAME_LABELS = 0.2


def kept_clips(clips: Clips, labels: LabelFile, compat: Compat = "upstream") -> set[str]:
    """Clips with a segment label, and with frame labels on more than a fifth of their length.

    ``corrected`` takes the rows whose names end in ``_seg`` as segment labels, all others as
    frame labels, and counts labels of 1. ``upstream`` is the published rule, off by some: rows
    1..61 are the segment labels and 62.. the frame labels, so that with 60 segment rows the first
    is ignored and two frame rows count as segments; it sums whatever numbers stand there.

    Args:
        clips: Clip -> rows [start, stop).
        labels: The label file; rows in the order of its vocabulary.
        compat: Which rule.

    Raises:
        UserError: A clip ends behind the labels.
    """
    segment = np.array([name.endswith(SEGMENT_SUFFIX) for name in labels.vocabulary])
    kept = set()
    for clip, (start, stop) in clips.items():
        values = labels.values[:, start:stop]
        if values.shape[1] != stop - start:
            raise UserError(
                f"{labels.path}: {labels.values.shape[1]} frames, "
                f"but clip {clip!r} has the rows [{start}, {stop})"
            )
        if compat == "upstream":
            segments, frames = values[1:62].sum(), values[62:].sum()
        else:
            positive = (values == 1).sum(axis=1)
            segments, frames = positive[segment].sum(), positive[~segment].sum()
        if segments != 0 and frames > _LEAST_FRAME_LABELS * (stop - start):
            kept.add(clip)
    return kept
