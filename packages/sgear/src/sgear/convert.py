"""Checkpoints of a run (the authors' layout) <-> folders of ours.

The weights have the same names and shapes in both. The state of optimiser and scheduler goes along.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path
from sgear.checkpoints import SGearCheckpoint, load_checkpoint
from sgear.model.author_options import write_model


def to_ours(source: str | Path, out: str | Path) -> Path:
    """Write a checkpoint of a run as a folder of ours.

    Args:
        source: ``checkpoint.pth`` of the authors or of ours, or its run folder.
        out: Folder to make.

    Raises:
        UserError: Not a checkpoint of S-GEAR, weights that do not fit its options, or ``out`` is
            there already.
    """
    from behaviorzoo.checkpoints import fingerprint, save_checkpoint

    loaded = load_checkpoint(source)
    if loaded.path.is_dir():
        raise UserError(f"{loaded.path}: is a folder of ours already")
    network = loaded.build()  # refuses what does not fit before anything is written
    metadata = {
        "method": "sgear",
        "source": loaded.path.name,
        "source_fingerprint": fingerprint(loaded.path),
        "epoch": loaded.epoch,
        "num_classes": loaded.num_classes,
        "classes": loaded.classes,
    }
    return save_checkpoint(
        out,
        network.state_dict(),
        _settings(loaded),
        metadata,
        trainer_state_writer=_writer(loaded) if loaded.training else None,
    )


def to_authors(source: str | Path, out: str | Path) -> Path:
    """Write a checkpoint as one file that the authors' code reads too.

    Beside their keys it holds the options, which their code ignores and ours reads.

    Args:
        source: A folder of ours, or any other checkpoint.
        out: File to write.

    Raises:
        UserError: Not a checkpoint of S-GEAR, or weights that do not fit its options.
    """
    import torch

    loaded = load_checkpoint(source)
    content: dict[str, Any] = {"model": dict(loaded.build().state_dict()), **loaded.training}
    content |= {"epoch": loaded.epoch, "config": _settings(loaded)}
    content |= {"num_classes": loaded.num_classes, "classes": loaded.classes}
    buffer = io.BytesIO()  # a full disk is then an OSError and not an error of torch's
    torch.save(content, buffer)
    with atomic_path(out) as temporary:
        temporary.write_bytes(buffer.getvalue())
    return Path(out)


def _settings(loaded: SGearCheckpoint) -> dict[str, Any]:
    """The configuration with the network's options in the authors' form."""
    return {
        **(loaded.settings or {}),
        "compat": loaded.compat,
        "model": write_model(loaded.config),
    }


def _writer(loaded: SGearCheckpoint) -> Any:
    import torch

    def write(path: Path) -> None:
        buffer = io.BytesIO()
        torch.save(loaded.training, buffer)
        path.write_bytes(buffer.getvalue())

    return write
