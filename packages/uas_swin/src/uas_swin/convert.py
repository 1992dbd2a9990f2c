"""Checkpoints of the authors' layout <-> ours, which is that of mmaction2.

Both are ``torch.save`` files with ``meta`` and ``state_dict``; :mod:`uas_swin.layout` has the
names. The optimiser's state is not carried over: its order of parameters is the trainer's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path
from uas_swin.layout import to_authors

if TYPE_CHECKING:
    from uas_swin.checkpoints import Checkpoint


def convert(
    source: str | Path,
    out: str | Path,
    *,
    to: Literal["ours", "authors"],
    lora_alpha: float | None = None,
) -> list[str]:
    """Write a checkpoint in the other layout.

    Args:
        source: Checkpoint to read.
        out: File to write.
        to: The layout to write.
        lora_alpha: Scaling of low-rank branches, where the file does not tell.

    Returns:
        Lines that tell what was assumed.

    Raises:
        UserError: Not a checkpoint, weights that do not fit each other, a file that has the
            layout already, or ``out`` cannot be written.
    """
    from uas_swin.checkpoints import network_of, read_checkpoint

    out = target_file(out, source)
    checkpoint = read_checkpoint(source, lora_alpha)
    if checkpoint.layout == to:
        whose = {"ours": "mmaction2's", "authors": "the authors'"}[to]
        raise UserError(f"{checkpoint.path}: has {whose} layout already")
    state = network_of(checkpoint).state_dict()  # every name and shape is checked
    with atomic_path(out) as temporary:
        content = {
            "meta": plain_meta(checkpoint),
            "state_dict": to_authors(state) if to == "authors" else dict(state),
        }
        torch.save(content, temporary)
    return checkpoint.notes


def plain_meta(checkpoint: Checkpoint, keep_config: bool = True) -> dict[str, Any]:
    """What a new file tells about itself: as the old one, and where it comes from.

    Args:
        checkpoint: The old one.
        keep_config: Also its configuration, as text.
    """
    from uas_swin import __version__
    from uas_swin.checkpoints import CONFIG_KEYS

    plain: dict[str, Any] = {
        name: value
        for name, value in checkpoint.meta.items()
        if isinstance(value, str | int | float | bool) and name not in CONFIG_KEYS
    }
    texts = [checkpoint.meta[key] for key in CONFIG_KEYS if key in checkpoint.meta]
    if keep_config and texts:
        plain["cfg"] = texts[0]
    if classes := checkpoint.meta.get("CLASSES"):
        plain["CLASSES"] = list(classes)
    return {**plain, "converted_from": checkpoint.path.name, "uas_swin_version": __version__}


def target_file(out: str | Path, source: str | Path) -> Path:
    """The file to write.

    Args:
        out: As it was given.
        source: The checkpoint it is made of.

    Raises:
        UserError: It is a folder, or the checkpoint itself: what is not carried over, such as the
            state of the optimiser or the branches, would be lost.
    """
    out = Path(out).expanduser()
    if out.is_dir():
        raise UserError(f"{out}: this is a folder, give the name of a file to write")
    if out.resolve() == Path(source).expanduser().resolve():
        raise UserError(f"{out}: is the checkpoint to read; give another file to write")
    return out
