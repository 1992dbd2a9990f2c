"""What an extraction reads: the data, treated as in the training of the checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from behaviorzoo.config import keys_of_section
from behaviorzoo.errors import UserError
from hbehavemae.checkpoints import load_checkpoint
from hbehavemae.config import configure
from hbehavemae.convert import settings_of
from hbehavemae.data import DataConfig, Sequences, open_sequences


def open_inputs(
    checkpoint: str | Path,
    words: Sequence[str] = (),
    split: Literal["train", "test"] = "test",
    compat: bool = False,
) -> Sequences:
    """Sequences for a checkpoint, prepared exactly as its training data were.

    Args:
        checkpoint: Run folder, checkpoint folder, or the authors' file.
        words: ``data.key=value`` words that change the settings of the training. With
            ``data.path`` just that is read: a file is not exchanged for its test twin, and the
            training's choice of recordings does not apply.
        split: Which split of the data, where the path is a folder or was not given.
        compat: Reproduce the defects of the original code.

    Raises:
        UserError: Wrong checkpoint, words that are not about data, or data that do not fit.
    """
    given = keys_of_section(words, "data", "the network is the checkpoint's")
    loaded = load_checkpoint(checkpoint)
    data = configure(words, start=settings_of(loaded)).data
    if "path" in given:
        data = _only_this_path(data, given)
    if compat:
        data = replace(data, compat="upstream")
    if not data.path:
        raise UserError("data.path is empty: give data.path=FILE or FOLDER with the data to embed")
    return open_sequences(data, loaded.config, split, loaded.metadata.get("data_state"))


def _only_this_path(data: DataConfig, given: set[str]) -> DataConfig:
    """The settings without what the training said about which files to take."""
    is_file = isinstance(data.path, str) and Path(data.path).expanduser().is_file()
    exact = is_file or data.dataset == "recordings"
    training: dict[str, Any] = {
        "test_path": data.path if exact else None,
        "recordings": [],
        "exclude": [],
    }
    return replace(data, **{key: value for key, value in training.items() if key not in given})
