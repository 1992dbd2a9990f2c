"""Visual prototypes: the mean of what the network made of some clips of each class.

The original trains recognition, runs once more to store up to 20 outputs per class, and leaves the
step from stored outputs to prototypes to the reader. Here it is one mean, and classes without any
clip get their language encoding, which is said.

Letters: B clips of a batch, N classes, C features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from behaviorzoo.errors import UserError
from sgear.model.sgear import resized
from sgear.prototypes.files import ClassVectors

CAPACITY = 20
"""Vectors that are kept of a class, the first ones that come."""


class EmbeddingStore:
    """Keeps the first vectors of every class; later ones are passed by.

    Args:
        n_classes: N.
        capacity: Vectors per class.
    """

    def __init__(self, n_classes: int, capacity: int = CAPACITY) -> None:
        if n_classes < 1 or capacity < 1:
            raise ValueError(f"{n_classes} classes and {capacity} vectors per class")
        self.capacity = capacity
        self.vectors: list[list[Tensor]] = [[] for _ in range(n_classes)]
        self.width = 0

    def add(self, vectors: Tensor, labels: Tensor) -> None:
        """Take what is still wanted of a batch.

        Args:
            vectors: (B, C).
            labels: int (B,); negative ones (unlabelled clips) are passed by.

        Raises:
            UserError: A label beyond the classes, or vectors of another length than before.
        """
        vectors, labels = vectors.detach().float().cpu(), labels.cpu()
        if vectors.ndim != 2 or self.width not in (0, vectors.shape[1]):
            raise UserError(f"embeddings {tuple(vectors.shape)}, expected (B, {self.width or 'C'})")
        self.width = vectors.shape[1]
        if len(labels) and int(labels.max()) >= len(self.vectors):
            raise UserError(f"label {int(labels.max())}, but {len(self.vectors)} classes")
        for vector, label in zip(vectors, labels.tolist(), strict=True):
            if label >= 0 and len(self.vectors[label]) < self.capacity:
                self.vectors[label].append(vector.clone())

    @property
    def full(self) -> bool:
        """Whether no class wants more."""
        return all(len(kept) == self.capacity for kept in self.vectors)

    def stored(self) -> dict[int, Tensor]:
        """Class id -> float32 (K, C) of all classes, for ``write_stored``."""
        return {
            code: torch.stack(kept) if kept else torch.empty(0, self.width)
            for code, kept in enumerate(self.vectors)
        }


@dataclass(frozen=True)
class VisualPrototypes:
    """Prototypes of all classes, and where each comes from.

    Attributes:
        vectors: float32 (N, C), in the order of the class ids.
        counts: int64 (N,), clips behind each; 0 where it is the language encoding.
        notes: What the user should know.
    """

    vectors: ClassVectors
    counts: np.ndarray
    notes: list[str] = field(default_factory=list)


def visual_prototypes(
    stored: Mapping[int, Tensor],
    language: ClassVectors | None = None,
    names: Sequence[str] | None = None,
    about: Mapping[str, Any] | None = None,
) -> VisualPrototypes:
    """Mean of the stored vectors of each class.

    Args:
        stored: Class id -> (K, C), K may be 0.
        language: Encodings that stand in for classes without a vector; brought to C features as
            the network does it (bilinear along the features).
        names: Class names, for the notes.
        about: Origin, for the file.

    Raises:
        UserError: There is no vector at all, or a class without one and no encoding for it.
    """
    widths = {rows.shape[1] for rows in stored.values() if len(rows)}
    if not widths:
        raise UserError(
            "no class has a stored vector; were the clips evaluated, are they labelled?"
        )
    if len(widths) > 1:
        raise UserError(f"stored vectors of different lengths: {sorted(widths)}")
    width = widths.pop()
    ids = sorted({*stored, *(language.ids.tolist() if language is not None else ())})
    counts = np.array([len(stored.get(code, ())) for code in ids], dtype=np.int64)
    empty = [code for code, count in zip(ids, counts, strict=True) if not count]
    rows = {code: stored[code].float().mean(dim=0) for code in ids if code not in set(empty)}
    notes = []
    if empty:
        rows |= _encodings(empty, language, width)
        shown = ", ".join(_name(code, names) for code in empty[:8])
        more = f" and {len(empty) - 8} more" if len(empty) > 8 else ""
        notes.append(
            f"{len(empty)} of {len(ids)} classes have no clip and get their language encoding: "
            f"{shown}{more}"
        )
    vectors = torch.stack([rows[code] for code in ids])
    if not torch.isfinite(vectors).all():
        bad = ids[int((~torch.isfinite(vectors).all(dim=1)).int().argmax())]
        raise UserError(f"the vectors of class {_name(bad, names)} are not finite")
    origin = {"kind": "visual", "counts": counts.tolist(), **(about or {})}
    return VisualPrototypes(ClassVectors(np.array(ids), vectors, origin), counts, notes)


def _encodings(
    codes: Sequence[int], language: ClassVectors | None, width: int
) -> dict[int, Tensor]:
    if language is None:
        raise UserError(
            f"{len(codes)} classes have no clip (the first is {codes[0]}); give the language "
            "encodings that stand in for them (--language FILE)"
        )
    place = {int(code): row for row, code in enumerate(language.ids)}
    missing = [code for code in codes if code not in place]
    if missing:
        raise UserError(f"class {missing[0]} has neither a clip nor a language encoding")
    vectors = resized(language.vectors, width)
    return {code: vectors[place[code]] for code in codes}


def _name(code: int, names: Sequence[str] | None) -> str:
    return f"{code} ({names[code]})" if names is not None and code < len(names) else str(code)
