"""hBABEL: segment and frame labels of BABEL over motion capture."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from behaviorzoo.errors import UserError
from hieras_eval.benchmarks import Clips
from hieras_eval.definitions.rules import Rules, Sizes

if TYPE_CHECKING:
    from hieras_eval.label_files import LabelFile

SEGMENT_SUFFIX = "_seg"
_TEST_SHARE = 0.25
_SPLIT_SEED = 123


def clips(labels: LabelFile | None) -> Clips:
    """The clips with labels, which the label file lists itself."""
    if labels is None or not labels.clips:
        where = "hBABEL" if labels is None else f"{labels.path}: no 'frame_number_map'"
        raise UserError(
            f"{where}: the clips of hBABEL are those of the label file's frame map; "
            "give such a label file, or --metadata"
        )
    return labels.clips


def split(clips: Clips) -> tuple[list[str], list[str], list[str]]:
    """A quarter at random tests; public and private are the same."""
    names = list(clips)
    n_test = math.ceil(_TEST_SHARE * len(names))
    n_train = math.floor((1 - _TEST_SHARE) * len(names))
    # The split is defined by the legacy generator.
    order = np.random.RandomState(_SPLIT_SEED).permutation(len(names))
    test = [names[i] for i in order[:n_test]]
    return [names[i] for i in order[n_test : n_test + n_train]], test, test


HBABEL = Rules(
    title="hBABEL",
    max_width=64,
    seeds=(41, 42, 43),
    inner_test_size=0.1,
    group=lambda task, sequence_level: "segment" if task.endswith(SEGMENT_SUFFIX) else "frame",
    clips=clips,
    split=split,
    sizes=Sizes(1159, 869, 290, 290),
)
