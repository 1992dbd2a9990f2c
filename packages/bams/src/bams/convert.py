"""Checkpoints of the authors' layout <-> ours.

Theirs is one ``torch.save`` file with nothing but weights, ours a folder of safetensors, yaml and
json. Their settings are not in their file: those of the recipe with the same network are taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path, new_file
from behaviorzoo.schema import from_dict, to_dict

if TYPE_CHECKING:
    from bams.checkpoints import LoadedModel
    from bams.config import TrainConfig

PUBLISHED = ("mouse_triplets", "custom")
"""Recipes to look for the network of a file; flies have the network of ``custom``."""


def convert(
    source: str | Path,
    out: str | Path,
    *,
    to: Literal["ours", "authors"],
    dilation_bases: Mapping[str, int] | None = None,
) -> Path:
    """Write a checkpoint in the other layout.

    Args:
        source: Checkpoint to read.
        out: Folder (ours) or file (authors) to write.
        to: The layout to write.
        dilation_bases: Encoder -> dilation base, where the authors' file needs it.

    Returns:
        ``out`` as a path.

    Raises:
        UserError: As :func:`to_ours` and :func:`to_authors`.
    """
    return to_ours(source, out, dilation_bases) if to == "ours" else to_authors(source, out)


def to_ours(
    source: str | Path, out: str | Path, dilation_bases: Mapping[str, int] | None = None
) -> Path:
    """Write the authors' checkpoint as a checkpoint folder of ours.

    Args:
        source: A ``.pt`` file of the authors.
        out: Folder to make.
        dilation_bases: Encoder -> dilation base, where the file needs it.

    Raises:
        UserError: Not a checkpoint of theirs, or the folder holds something.
    """
    from bams import __version__
    from bams.checkpoints import load_checkpoint, network_of
    from behaviorzoo.checkpoints import fingerprint, save_checkpoint

    loaded = load_checkpoint(source, dilation_bases=dilation_bases)
    if loaded.full_config is not None:
        raise UserError(f"{loaded.path}: is a checkpoint of ours already")
    metadata: dict[str, Any] = {
        "method": "bams",
        "versions": {"bams": __version__},
        "converted_from": loaded.path.name,
        "source_fingerprint": fingerprint(loaded.path),
        "not_in_the_source": ["dilation_base", "dropout", "hoa_bins"],
    }
    state = network_of(loaded).state_dict()
    return save_checkpoint(out, state, to_dict(published_settings(loaded)), metadata)


def to_authors(source: str | Path, out: str | Path) -> Path:
    """Write a checkpoint as the authors' code reads it: a state dict with every alias.

    Args:
        source: Checkpoint or run folder of ours.
        out: File to write.

    Raises:
        UserError: Not a checkpoint, or ``out`` is there already or cannot be written.
    """
    import torch

    from bams.author_layout import with_aliases
    from bams.checkpoints import build_model

    out = new_file(out)
    state = with_aliases(build_model(source).state_dict())
    with atomic_path(out) as temporary:
        torch.save(state, temporary)
    return out


def settings_of(loaded: LoadedModel) -> TrainConfig:
    """All settings of a checkpoint, whoever wrote it.

    Raises:
        UserError: Settings that ours do not allow.
    """
    from bams.config import TrainConfig

    if loaded.full_config is None:
        return published_settings(loaded)
    content = {**loaded.full_config, "model": to_dict(loaded.config)}
    return from_dict(TrainConfig, content, where=str(loaded.path))


def published_settings(loaded: LoadedModel) -> TrainConfig:
    """Settings for a checkpoint of the authors: those of the recipe with the same network."""
    from bams.config import configure

    recipes = [configure([f"experiment={name}", "compat=upstream"]) for name in PUBLISHED]
    same = [recipe for recipe in recipes if recipe.model.encoders == loaded.config.encoders]
    # What has no recipe of its own was trained by the script for own data, the last one.
    settings = (same or recipes[-1:])[0]
    return replace(settings, name=loaded.path.stem, model=loaded.config)
