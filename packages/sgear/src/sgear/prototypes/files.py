"""Files of class vectors: ours (safetensors) and the authors' (.pth).

The authors save a dictionary, class id -> value. The value is a vector (encodings, visual
prototypes), a row (1, N) of similarities, or a list of stored vectors (up to 20 per class). Ours
holds the same as tensors ``ids`` and ``vectors``, with its origin as text.

Letters: N classes, C features, K stored vectors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path, existing_file
from behaviorzoo.weights import load_torch_file

IDS, VECTORS, COUNTS = "ids", "vectors", "counts"
SUFFIXES = (".safetensors", ".pth")


@dataclass(frozen=True)
class ClassVectors:
    """A vector for each class.

    Attributes:
        ids: int64 (N,), class ids in the order of the file.
        vectors: float32 (N, C).
        about: Where they come from: dataset, model, prompts ...
    """

    ids: np.ndarray
    vectors: Tensor
    about: dict[str, Any] = field(default_factory=dict)

    def in_order(self, n_classes: int | None = None, where: str = "prototypes") -> Tensor:
        """Vectors (N, C) so that row k belongs to class k.

        Raises:
            UserError: A class from 0 to ``n_classes`` - 1 has none, or there are others.
        """
        number = len(self.ids) if n_classes is None else n_classes
        place = {int(code): row for row, code in enumerate(self.ids)}
        missing = [code for code in range(number) if code not in place]
        if missing or len(place) != number:
            what = f"class {missing[0]} has none" if missing else "there are more"
            raise UserError(
                f"{where}: {len(place)} vectors for {number} classes, {what}; were they made from "
                "another list of classes?"
            )
        return self.vectors[[place[code] for code in range(number)]]


def find_file(path: str | Path, what: str = "prototypes") -> Path:
    """The file itself, or the same name with the other layout's suffix.

    Configurations name ``.pth`` files, as the authors' do; ours are ``.safetensors``.

    Raises:
        UserError: Neither exists.
    """
    path = Path(path).expanduser()
    for candidate in (path, *(path.with_suffix(suffix) for suffix in SUFFIXES)):
        if candidate.is_file():
            return existing_file(candidate, what)
    raise UserError(f"{path}: no such {what}; make them with `sgear prototypes`")


def read_vectors(path: str | Path) -> ClassVectors:
    """Read encodings or prototypes; of several stored vectors of a class, their mean.

    Args:
        path: ``.safetensors`` of ours, or ``.pth`` of the authors (read without running it).

    Raises:
        UserError: Missing, damaged, not such a file, or a class without any vector.
    """
    path = find_file(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    entries = _entries(path)
    rows = []
    for code, value in entries.items():
        matrix = _matrix(value, path, code)
        if not len(matrix):
            raise UserError(
                f"{path}: class {code} has no stored vector; `sgear prototypes visual --stored "
                f"{path.name} --language FILE` fills such classes"
            )
        rows.append(matrix.mean(dim=0))
    widths = {len(row) for row in rows}
    if len(widths) != 1:
        raise UserError(f"{path}: vectors of different lengths, {sorted(widths)}")
    return ClassVectors(np.array(list(entries), dtype=np.int64), torch.stack(rows))


def read_similarities(path: str | Path, n_classes: int | None = None) -> Tensor:
    """Similarities of all classes with all classes, float32 (N, N) in the order of the ids.

    The columns of the authors' rows are in the order of their file; both axes are put in order.

    Raises:
        UserError: See :func:`read_vectors`, or not a square matrix.
    """
    found = read_vectors(path)
    number = len(found.ids)
    if found.vectors.shape != (number, number):
        raise UserError(
            f"{path}: {number} rows of {found.vectors.shape[1]} values; similarities are (N, N)"
        )
    rows = found.in_order(n_classes, str(path))
    return rows[:, torch.from_numpy(np.argsort(found.ids, kind="stable"))]


def write_vectors(path: str | Path, vectors: ClassVectors) -> Path:
    """Write class vectors; the suffix decides the layout.

    Args:
        path: ``.safetensors`` (ours) or ``.pth`` (the authors': id -> tensor (C,)).
        vectors: The vectors.

    Raises:
        UserError: Another suffix, or the file cannot be written.
    """
    path = Path(path)
    values = vectors.vectors.to(torch.float32).contiguous()
    with atomic_path(_known_suffix(path)) as temporary:
        if path.suffix == ".pth":
            rows = {int(code): values[row].clone() for row, code in enumerate(vectors.ids)}
            torch.save(rows, temporary)
        else:
            tensors = {IDS: torch.from_numpy(vectors.ids.astype(np.int64)), VECTORS: values}
            save_file(tensors, temporary, metadata=_metadata(vectors.about))
    return path


def write_similarities(
    path: str | Path, ids: np.ndarray, matrix: Tensor, about: Any = None
) -> Path:
    """Write similarities (N, N) in the order of ``ids``; in ``.pth`` as rows (1, N).

    Raises:
        UserError: Another suffix, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix != ".pth":
        return write_vectors(path, ClassVectors(ids, matrix, dict(about or {})))
    with atomic_path(path) as temporary:
        rows = {int(code): matrix[row : row + 1].clone() for row, code in enumerate(ids)}
        torch.save(rows, temporary)
    return path


def read_stored(path: str | Path) -> dict[int, Tensor]:
    """Stored embeddings: class id -> float32 (K, C), K = 0 for a class without samples.

    Args:
        path: The authors' ``.pth`` (lists of lists), or ours.

    Raises:
        UserError: Missing, damaged, or another kind of file.
    """
    path = find_file(path, "stored embeddings")
    if path.suffix == ".pth":
        return {code: _matrix(value, path, code) for code, value in _entries(path).items()}
    tensors, _ = _open_safetensors(path)
    if COUNTS not in tensors:
        raise UserError(f"{path}: one vector per class, not stored embeddings")
    ids, counts = tensors[IDS].tolist(), tensors[COUNTS].tolist()
    return dict(zip(ids, tensors[VECTORS].split(counts), strict=True))


def write_stored(path: str | Path, stored: Mapping[int, Tensor], width: int) -> Path:
    """Write stored embeddings, in ``.pth`` as the authors do: id -> list of lists.

    Args:
        path: ``.pth`` or ``.safetensors``.
        stored: Class id -> (K, C).
        width: C, for when there is no vector at all.

    Raises:
        UserError: Another suffix, or the file cannot be written.
    """
    path = Path(path)
    with atomic_path(_known_suffix(path)) as temporary:
        if path.suffix == ".pth":
            torch.save({int(code): rows.tolist() for code, rows in stored.items()}, temporary)
        else:
            rows = [rows.reshape(-1, width).float() for rows in stored.values()]
            tensors = {
                IDS: torch.tensor(list(stored), dtype=torch.int64),
                COUNTS: torch.tensor([len(part) for part in rows], dtype=torch.int64),
                VECTORS: torch.cat([torch.empty(0, width), *rows]).contiguous(),
            }
            save_file(tensors, temporary)
    return path


def _known_suffix(path: Path) -> Path:
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: prototypes are written as .safetensors or .pth")
    return path


def _metadata(about: Mapping[str, Any]) -> dict[str, str]:
    return {key: json.dumps(value, ensure_ascii=False) for key, value in about.items()}


def _open_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            about = {key: json.loads(text) for key, text in (file.metadata() or {}).items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: truncated or not a safetensors file ({error})") from error
    if IDS not in tensors or VECTORS not in tensors:
        raise UserError(f"{path}: no {IDS!r} and {VECTORS!r} in it, so it is not a prototypes file")
    return tensors, about


def _read_safetensors(path: Path) -> ClassVectors:
    tensors, about = _open_safetensors(path)
    if COUNTS in tensors:
        stored = read_stored(path)
        empty = [code for code, rows in stored.items() if not len(rows)]
        if empty:
            raise UserError(
                f"{path}: class {empty[0]} has no stored vector; `sgear prototypes visual --stored "
                f"{path.name} --language FILE` fills such classes"
            )
        means = torch.stack([rows.mean(dim=0) for rows in stored.values()])
        return ClassVectors(tensors[IDS].numpy(), means, about)
    return ClassVectors(tensors[IDS].numpy(), tensors[VECTORS].float(), about)


def _entries(path: Path) -> dict[int, Any]:
    content = load_torch_file(path)
    try:
        return {int(code): value for code, value in content.items()}
    except (TypeError, ValueError) as error:
        keys = ", ".join(map(str, list(content)[:3]))
        raise UserError(
            f"{path}: expected class ids as keys, found {keys}; is it a checkpoint?"
        ) from error


def _matrix(value: Any, path: Path, code: int) -> Tensor:
    """(K, C) float32 of a vector, of a row, or of a list of vectors."""
    try:
        if isinstance(value, Sequence) and any(isinstance(part, Tensor) for part in value):
            value = torch.stack([torch.as_tensor(part).reshape(-1) for part in value])
        tensor = torch.as_tensor(value, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: class {code} has no vectors ({error})") from error
    if tensor.ndim == 1 and len(tensor):
        return tensor[None]
    if tensor.ndim > 2 or tensor.ndim == 0:
        raise UserError(f"{path}: class {code} has the shape {tuple(tensor.shape)}, not (K, C)")
    return tensor.reshape(len(tensor), -1) if len(tensor) else torch.empty(0, 0)
