"""Features of views on the disk: a memory-mapped array with its tables.

A folder::

    extraction.json   what the features were made of and by, with a fingerprint
    features.npy      (R, C) float32, one row per view
    items.csv         video, region, kind of views, first row, number of rows
    samples.csv       line of a list: split, video, label, and its item per kind of views
    skipped.csv       videos that could not be decoded, and why
    parts/            while it is being made

Kinds of views: ``test`` as the test pipeline makes them, ``val`` likewise, ``random_0`` ... as the
training pipeline draws them. A video that stands in several lists is there once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.files import atomic_path, existing_file

ABOUT, ARRAY, ITEMS, SAMPLES, SKIPPED, PARTS = (
    "extraction.json",
    "features.npy",
    "items.csv",
    "samples.csv",
    "skipped.csv",
    "parts",
)


@dataclass(frozen=True)
class Views:
    """Views of the samples of a split.

    Attributes:
        features: (R, C), memory-mapped.
        rows: Of each sample, the rows of its views.
        labels: Class ids (n,).
        names: Videos as the list has them, with their region.
    """

    features: NDArray[np.float32]
    rows: list[NDArray[np.int64]]
    labels: NDArray[np.int64]
    names: list[str]

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, samples: Sequence[int] | NDArray[np.integer]) -> Views:
        """Some of the samples."""
        return Views(
            self.features,
            [self.rows[i] for i in samples],
            self.labels[np.asarray(samples, dtype=int)],
            [self.names[i] for i in samples],
        )

    def means(self) -> NDArray[np.float32]:
        """Mean feature of each sample (n, C)."""
        return np.stack([self.features[rows].mean(axis=0) for rows in self.rows])


class FeatureStore:
    """A finished extraction, opened for reading.

    Args:
        folder: See the module.

    Attributes:
        about: What ``extraction.json`` says.
        features: (R, C), memory-mapped.

    Raises:
        UserError: No extraction, or one that was not finished.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise UserError(f"{folder}: no such folder; make it with `uas-swin extract`")
        if (self.folder / PARTS).is_dir() and not (self.folder / ITEMS).is_file():
            raise UserError(f"{folder}: is not finished; call `uas-swin extract` again to go on")
        about = existing_file(self.folder / ABOUT, "description of an extraction")
        self.about: dict[str, Any] = json.loads(about.read_text(encoding="utf-8"))
        self.features = np.load(existing_file(self.folder / ARRAY, "features"), mmap_mode="r")
        self.items = pd.read_csv(self.folder / ITEMS, keep_default_na=False)
        self.samples = pd.read_csv(self.folder / SAMPLES, keep_default_na=False)

    @property
    def classes(self) -> list[str]:
        """Names of the classes; their ids without names."""
        names = self.about.get("classes")
        return list(names) if names else [str(i) for i in range(self.about["num_classes"])]

    @property
    def splits(self) -> list[str]:
        """Splits that were extracted."""
        return list(dict.fromkeys(self.samples["split"]))

    def in_memory(self, limit: int = 4 << 30) -> NDArray[np.float32]:
        """The features (R, C), read at once up to ``limit`` bytes: an epoch jumps about in them."""
        return np.array(self.features) if self.features.nbytes <= limit else self.features

    def kinds(self, split: str) -> list[str]:
        """Kinds of views that a split has."""
        self._check_split(split)
        own = set(self.samples.loc[self.samples["split"] == split, "kind"])
        return [kind for kind in dict.fromkeys(self.samples["kind"]) if kind in own]

    def views(self, split: str, kinds: Sequence[str] | None = None) -> Views:
        """Views of the samples of a split.

        Args:
            split: ``train``, ``val`` or ``test``.
            kinds: Kinds of views that are taken together; all by default.

        Raises:
            UserError: No such split or kind.
        """
        known = self.kinds(split)
        for kind in kinds or ():
            if kind not in known:
                raise UserError(
                    f"{self.folder}: {split} has no views {kind!r}; {suggest(kind, known)}"
                )
        table = self.samples.loc[self.samples["split"] == split]
        table = table.loc[table["kind"].isin(list(kinds or known))]
        table = table.merge(self.items[["item", "first", "count"]], on="item", how="inner")
        rows, labels, names = [], [], []
        for _, own in table.groupby("line", sort=True):
            pairs = zip(own["first"], own["count"], strict=True)
            rows.append(np.concatenate([np.arange(a, a + n) for a, n in pairs]))
            labels.append(str(own["label"].iloc[0]))
            names.append(str(own["video"].iloc[0]))
        if not rows:
            raise UserError(f"{self.folder}: {split} has no sample that could be decoded")
        if any(len(label.split()) != 1 for label in labels):
            raise UserError(f"{self.folder}: samples have several labels; a probe reads one")
        return Views(self.features, rows, np.array(labels, dtype=np.int64), names)

    def _check_split(self, split: str) -> None:
        if split not in self.splits:
            raise UserError(f"{self.folder}: no split {split!r}; {suggest(split, self.splits)}")


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as csv, at once or not at all."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)


def write_json(content: dict[str, Any], path: Path) -> None:
    """Write plain values, at once or not at all."""
    with atomic_path(path) as temporary:
        text = json.dumps(content, indent=1, ensure_ascii=False, default=str)
        temporary.write_text(text + "\n", encoding="utf-8")
