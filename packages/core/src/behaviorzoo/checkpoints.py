"""Checkpoints: folders of ours, written so that a kill never leaves half of one.

A checkpoint of ours is a folder::

    step-00000100/
      model.safetensors   the weights, under the network's own key names
      config.yaml         the resolved configuration of the run
      metadata.json       package versions, data fingerprint, step, epoch, metrics
      trainer.ckpt        optimiser, loops and data position, only needed to resume

It is written under a temporary name and renamed when every byte is on the disk: a kill at any
moment leaves the old checkpoints and maybe a hidden temporary folder, which readers ignore.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import save as to_safetensors

from behaviorzoo import __version__
from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path, existing_file
from behaviorzoo.weights import load_safetensors, load_torch_file, strict_load

__all__ = [
    "Checkpoint",
    "checkpoint_name",
    "clean_leftovers",
    "find_checkpoints",
    "fingerprint",
    "incompleteness",
    "load_checkpoint",
    "load_safetensors",
    "load_torch_file",
    "read_config",
    "read_metadata",
    "resolve_checkpoint",
    "save_checkpoint",
    "strict_load",
]

MODEL_FILE = "model.safetensors"
CONFIG_FILE = "config.yaml"
METADATA_FILE = "metadata.json"
TRAINER_FILE = "trainer.ckpt"
CHECKPOINTS_FOLDER = "checkpoints"

_STEP_NAME = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True)
class Checkpoint:
    """What :func:`load_checkpoint` gives.

    Attributes:
        path: The checkpoint folder.
        state: Parameter and buffer name -> tensor on the CPU.
        config: The configuration the run was started with, plain containers.
        metadata: Versions, data fingerprint, step, epoch, metrics.
    """

    path: Path
    state: dict[str, torch.Tensor]
    config: dict[str, Any]
    metadata: dict[str, Any]


def save_checkpoint(
    folder: str | Path,
    state: Mapping[str, torch.Tensor],
    config: Mapping[str, Any],
    metadata: Mapping[str, Any],
    trainer_state_writer: Callable[[Path], None] | None = None,
) -> Path:
    """Write one checkpoint folder; it exists completely or not at all.

    Args:
        folder: Final name of the folder.
        state: Parameter and buffer name -> tensor.
        config: Resolved configuration, plain containers.
        metadata: Anything JSON can hold; the core's version and the file sizes are added.
        trainer_state_writer: Writes what a resume needs to the path it is given.

    Returns:
        ``folder`` as a path.

    Raises:
        UserError: The folder holds something already, or the file system refuses.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"{folder}: exists already; choose another name or move it away")
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        # Through bytes of ours: a full disk is then an OSError and not a library's own error.
        (temporary / MODEL_FILE).write_bytes(to_safetensors(_independent_tensors(state)))
        if trainer_state_writer is not None:
            trainer_state_writer(temporary / TRAINER_FILE)
        text = yaml.safe_dump(dict(config), sort_keys=False, default_flow_style=None)
        (temporary / CONFIG_FILE).write_text(text, encoding="utf-8")
        sizes = {
            name: (temporary / name).stat().st_size
            for name in (MODEL_FILE, TRAINER_FILE)
            if (temporary / name).exists()
        }
        content = {"behaviorzoo": __version__, **metadata, "files": sizes}
        text = json.dumps(content, indent=2, allow_nan=True) + "\n"
        (temporary / METADATA_FILE).write_text(text, encoding="utf-8")
    return folder


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint folder, or the newest complete one of a run folder.

    Args:
        path: See :func:`resolve_checkpoint`.

    Raises:
        UserError: Nothing there, or a file in it is missing, truncated or not what it should be.
    """
    folder = resolve_checkpoint(path)
    return Checkpoint(
        path=folder,
        state=load_safetensors(folder / MODEL_FILE),
        config=read_config(folder),
        metadata=read_metadata(folder),
    )


def resolve_checkpoint(path: str | Path) -> Path:
    """Find the checkpoint folder that ``path`` means.

    Args:
        path: A checkpoint folder, the ``model.safetensors`` in it, a folder of checkpoints, or a
            run folder; of several checkpoints the newest complete one is taken.

    Raises:
        UserError: No such path, or no complete checkpoint under it.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise UserError(f"{path}: no such checkpoint; check the path")
    if path.is_file():
        if path.name == MODEL_FILE:
            return resolve_checkpoint(path.parent)
        raise UserError(f"{path}: expected a checkpoint folder (with {MODEL_FILE}), got a file")
    if (path / MODEL_FILE).exists():
        problem = incompleteness(path)
        if problem:
            raise UserError(f"{path}: incomplete checkpoint, {problem}; copy it again")
        return path
    parent = path / CHECKPOINTS_FOLDER if (path / CHECKPOINTS_FOLDER).is_dir() else path
    complete = find_checkpoints(parent)
    if not complete:
        raise UserError(
            f"{path}: no complete checkpoint here; expected a folder with {MODEL_FILE}, "
            f"{CONFIG_FILE} and {METADATA_FILE}, or a run folder with {CHECKPOINTS_FOLDER}/step-*"
        )
    return complete[-1]


def find_checkpoints(parent: str | Path) -> list[Path]:
    """Complete checkpoints ``step-NNNNNNNN`` in a folder, oldest first."""
    found = [(step, path) for path, step in _step_folders(parent) if not incompleteness(path)]
    return [path for _, path in sorted(found)]


def checkpoint_name(step: int) -> str:
    """Folder name of the checkpoint after ``step`` optimiser steps."""
    return f"step-{step:08d}"


def clean_leftovers(parent: str | Path) -> list[str]:
    """Remove what a killed run left half-written in a folder of checkpoints.

    Only hidden temporary folders and incomplete ``step-*`` folders go; nothing else is touched.

    Returns:
        Names of what was removed.
    """
    parent = Path(parent)
    if not parent.is_dir():
        return []
    temporary = [path for path in parent.glob(".step-*") if path.is_dir()]
    incomplete = [path for path, _ in _step_folders(parent) if incompleteness(path)]
    for path in temporary + incomplete:
        shutil.rmtree(path, ignore_errors=True)
    return sorted(path.name for path in temporary + incomplete)


def incompleteness(folder: str | Path) -> str:
    """Say why a checkpoint folder is not complete; an empty text means that it is."""
    folder = Path(folder)
    for name in (METADATA_FILE, CONFIG_FILE, MODEL_FILE):
        if not (folder / name).is_file():
            return f"{name} is missing"
    try:
        sizes = read_metadata(folder).get("files", {})
    except UserError:
        return f"{METADATA_FILE} is unreadable"
    for name, size in sizes.items():
        found = (folder / name).stat().st_size if (folder / name).is_file() else 0
        if found != size:
            return f"{name} has {found} of {size} bytes"
    return ""


def read_config(folder: str | Path) -> dict[str, Any]:
    """The configuration in a checkpoint or run folder.

    Raises:
        UserError: Missing, empty, or not a yaml mapping.
    """
    path = existing_file(Path(folder) / CONFIG_FILE, "configuration")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a yaml file ({_one_line(error)})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected 'key: value' lines, got {type(content).__name__}")
    return content


def read_metadata(folder: str | Path) -> dict[str, Any]:
    """The metadata of a checkpoint folder.

    Raises:
        UserError: Missing, empty, or not a JSON object.
    """
    path = existing_file(Path(folder) / METADATA_FILE, "checkpoint metadata")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not a JSON file ({_one_line(error)})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a JSON object, got {type(content).__name__}")
    return content


def fingerprint(*parts: Any) -> str:
    """Short hash of data and settings: equal content gives an equal text on every machine.

    Args:
        *parts: Arrays, tensors, numbers, texts, bytes, None, nested mappings (order of keys is
            ignored) and sequences of these; a ``Path`` counts by the content of its file.

    Returns:
        32 hexadecimal digits.
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        _feed(digest, part)
    return digest.hexdigest()


def _feed(digest: Any, part: Any) -> None:
    if isinstance(part, torch.Tensor):
        part = part.detach().cpu().numpy()
    if isinstance(part, np.ndarray):
        digest.update(f"array {part.dtype.str} {part.shape}\0".encode())
        # Objects have no bytes of their own, only addresses.
        if part.dtype == object:
            _feed(digest, part.ravel().tolist())
        else:
            digest.update(np.ascontiguousarray(part).view(np.uint8).data)
    elif isinstance(part, Mapping):
        digest.update(f"mapping {len(part)}\0".encode())
        for key in sorted(part, key=str):
            _feed(digest, str(key))
            _feed(digest, part[key])
    elif isinstance(part, bytes):
        digest.update(f"bytes {len(part)}\0".encode() + part)
    elif isinstance(part, Path):
        with part.open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "blake2b").digest())
    elif isinstance(part, Sequence) and not isinstance(part, str):
        digest.update(f"sequence {len(part)}\0".encode())
        for item in part:
            _feed(digest, item)
    else:
        digest.update(f"{type(part).__name__} {part!r}\0".encode())


def _independent_tensors(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Contiguous CPU tensors with a storage each: safetensors refuses shared ones."""
    seen: set[int] = set()
    tensors = {}
    for name, tensor in state.items():
        tensor = tensor.detach().cpu().contiguous()
        pointer = tensor.untyped_storage().data_ptr()
        tensors[name] = tensor.clone() if pointer in seen else tensor
        seen.add(pointer)
    return tensors


def _step_folders(parent: str | Path) -> Iterable[tuple[Path, int]]:
    for path in Path(parent).iterdir() if Path(parent).is_dir() else ():
        match = _STEP_NAME.fullmatch(path.name)
        if match and path.is_dir():
            yield path, int(match[1])


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 160 else text[:157] + "..."
