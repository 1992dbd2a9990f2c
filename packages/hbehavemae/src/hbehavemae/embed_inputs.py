"""What an extraction reads: the data, treated as in the training of the checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from behaviorzoo.errors import UserError
from hbehavemae.checkpoints import load_checkpoint
from hbehavemae.config import configure
from hbehavemae.convert import settings_of
from hbehavemae.data import Sequences, open_sequences


def open_inputs(
    checkpoint: str | Path,
    words: Sequence[str] = (),
    split: Literal["train", "test"] = "test",
    compat: bool = False,
) -> Sequences:
    """Sequences for a checkpoint, prepared exactly as its training data were.

    Args:
        checkpoint: Run folder, checkpoint folder, or the authors' file.
        words: ``data.key=value`` words that change the settings of the training, such as
            ``data.path=other/``.
        split: Which split of the data.
        compat: Reproduce the defects of the original code.

    Raises:
        UserError: Wrong checkpoint, words that are not about data, or data that do not fit.
    """
    others = [word for word in words if not word.lstrip("+").startswith(("data.", "data="))]
    if others:
        raise UserError(
            f"{', '.join(others)}: only data.* can be set here, the network is the checkpoint's"
        )
    loaded = load_checkpoint(checkpoint)
    data = configure(words, start=settings_of(loaded)).data
    if compat:
        data = replace(data, compat="upstream")
    if not data.path:
        raise UserError("data.path is empty: give data.path=FILE or FOLDER with the data to embed")
    return open_sequences(data, loaded.config, split, loaded.metadata.get("data_state"))
