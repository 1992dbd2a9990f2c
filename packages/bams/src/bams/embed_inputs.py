"""What an extraction reads: the data, treated as in the training of the checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from bams.checkpoints import load_checkpoint
from bams.config import Compat, configure
from bams.convert import settings_of
from bams.data import Scaling, Sequences, open_sequences
from bams.data.sequences import Split
from bams.submission import find_map
from behaviorzoo.config import keys_of_section
from behaviorzoo.errors import UserError


class Inputs(NamedTuple):
    """Recordings for a checkpoint.

    Attributes:
        sequences: The recordings, prepared as in training.
        compat: By whose rules.
        frame_map: The benchmark's frame map beside the data, where there is one.
    """

    sequences: Sequences
    compat: Compat
    frame_map: Path | None


def open_inputs(
    checkpoint: str | Path,
    words: Sequence[str] = (),
    split: Split = "all",
    compat: Compat | None = None,
) -> Inputs:
    """Recordings for a checkpoint, prepared exactly as its training data were.

    Args:
        checkpoint: Run folder, checkpoint folder, or an authors' ``.pt`` file.
        words: ``data.key=value`` words that change the settings of the training. With
            ``data.path`` just that is read: the training's choice of recordings does not apply.
        split: Which split of a benchmark.
        compat: By whose rules; those of the training where not given.

    Raises:
        UserError: Wrong checkpoint, words that are not about data, or data that do not fit.
    """
    given = keys_of_section(words, "data", "the network is the checkpoint's")
    loaded = load_checkpoint(checkpoint)
    settings = configure(words, start=settings_of(loaded))
    data, compat = settings.data, compat or settings.compat
    if "path" in given:
        training = {"test_path": None, "recordings": [], "exclude": [], "cache": None}
        data = replace(data, **{key: v for key, v in training.items() if key not in given})
    if not data.path:
        raise UserError("data.path is empty: give data.path=FILE or FOLDER with the data to embed")
    state = loaded.metadata.get("data_state")
    scaling = Scaling.from_dict(state) if state else None
    sequences = open_sequences(data, compat, scaling, split=split)
    paths = [data.path] if isinstance(data.path, str) else data.path
    return Inputs(sequences, compat, find_map(paths, data.dataset))
