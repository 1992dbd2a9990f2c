"""The authors' evaluation of embeddings by labels: one split at random, one readout for each tag.

What their ``test`` does during training on custom data with labels, see :mod:`bams.readouts` for
the readouts themselves. Letters: S sequences, L frames of a sequence, E features of an embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bams.annotations import Annotations, Tag
from bams.data.config import Compat
from bams.readout_fitting import Start, default_start
from bams.readouts import (
    ClassResult,
    ValueResult,
    read_classes,
    read_values,
    weighted_f1,
)
from behaviorzoo import metrics
from behaviorzoo.errors import UserError

Read = Callable[[str, int], np.ndarray]

COMBINED = "combined"
WEIGHTED_F1 = "weighted F1"


@dataclass(frozen=True)
class OriginalReadout:
    """Settings of the authors' ``test``.

    Attributes:
        train: Share of the sequences that train. ``0.8`` is what the script for custom data does,
            ``0.2`` what the description of the quadruped data says; both are halves of one draw.
        split_seed: Decides the draw.
        lr: Learning rate.
        weight_decay: Weight decay.
        seed: Decides the initial weights.
        compat: ``upstream``: features without any spread become NaN instead of zero.
    """

    train: float = 0.8
    split_seed: int = 42
    lr: float = 1e-2
    weight_decay: float = 1e-4
    seed: int = 0
    compat: Compat = "paper"

    def split(self, n_sequences: int) -> tuple[list[int], list[int]]:
        """Sequences that train, and those that test.

        Raises:
            UserError: Fewer than two sequences, or another share than 0.2 or 0.8.
        """
        from sklearn.model_selection import train_test_split

        if self.train not in (0.2, 0.8):
            raise UserError(f"train={self.train}: the original's split trains on 0.8 or 0.2")
        if n_sequences < 2:
            raise UserError(
                f"{n_sequences} labelled sequence: at least 2 are needed, to train and to test"
            )
        order = np.arange(n_sequences)
        parts = train_test_split(order, test_size=0.8, random_state=self.split_seed)
        few, many = (np.asarray(part).tolist() for part in parts)
        return (many, few) if self.train == 0.8 else (few, many)


@dataclass(frozen=True)
class TagScore:
    """What a readout says about one tag.

    Attributes:
        level: Timescale, or ``combined``.
        tag: The tag.
        result: The readout and its score.
        train: Training labels (n,).
        test: Test labels (n,).
    """

    level: str
    tag: Tag
    result: ClassResult | ValueResult
    train: np.ndarray
    test: np.ndarray

    def rows(self) -> list[dict[str, Any]]:
        """Rows of the score table, with what a guess without the data reaches."""
        if isinstance(self.result, ClassResult):
            return self._class_rows(self.result)
        train, test = (labels[~np.isnan(labels)] for labels in (self.train, self.test))
        guess = np.full(len(test), train.mean())
        rows = []
        for name, value in (("MSE", self.result.mse), ("R2", self.result.r2)):
            score = metrics.mean_squared_error if name == "MSE" else metrics.r2_score
            limit = score(test, guess) if len(test) else float("nan")
            rows.append(self._row("", name, value, "training mean", limit, len(train), len(test)))
        return rows

    def _class_rows(self, result: ClassResult) -> list[dict[str, Any]]:
        n = len(result.counts)
        counts = np.bincount(self.train[self.train >= 0], minlength=n)
        actual = result.counts.sum(axis=1)
        guess = np.zeros((n, n), dtype=np.int64)
        guess[:, counts.argmax()] = actual
        rows = []
        for name, score in (
            (WEIGHTED_F1, weighted_f1),
            ("accuracy", metrics.accuracy),
            ("balanced accuracy", metrics.balanced_accuracy),
            ("macro F1", metrics.macro_f1),
        ):
            found, limit = score(result.counts), score(guess)
            sizes = (int(counts.sum()), int(actual.sum()))
            rows.append(self._row("", name, found, "majority", limit, *sizes))
        per_class, guessed = metrics.class_scores(result.counts).f1, metrics.class_scores(guess).f1
        for c, label in enumerate(self.tag.classes):
            scores = (float(per_class[c]), "majority", float(guessed[c]))
            rows.append(self._row(label, "F1", *scores, int(counts[c]), int(actual[c])))
        return rows

    def _row(self, label: str, metric: str, value: float, kind: str, limit: float, *n: int) -> dict:
        keys = ("level", "task", "label", "metric", "value", "baseline", "baseline_value")
        values = (self.level, self.tag.name, label, metric, value, kind, limit, *n)
        return dict(zip((*keys, "n_train", "n_test"), values, strict=True))


def score_tags(
    read: Read,
    levels: Mapping[str, Sequence[str]],
    annotations: Annotations,
    settings: OriginalReadout,
    *,
    start: Start | None = None,
    device: str = "cpu",
) -> list[TagScore]:
    """Train and test a readout of every tag on every choice of levels.

    Labels of frames are read from frames, labels of sequences from the mean over all frames. All
    tags of a kind are trained together, see :mod:`bams.readouts`.

    Args:
        read: Embedding (L, E) of a level (first argument) and sequence (second).
        levels: Name of a choice -> the levels that are laid side by side.
        annotations: The labels.
        settings: Split and readouts.
        start: Tag -> initial weight and bias, for a single choice of levels.
        device: Where to train.

    Returns:
        Scores, choice by choice, tags in the order of the annotations.

    Raises:
        UserError: Too few sequences, a tag without labels in the training part, or embeddings
            that are not finite (``compat="upstream"`` goes on with them).
    """
    train, test = settings.split(annotations.n_sequences)
    scores: list[TagScore] = []
    for name, parts in levels.items():
        found: dict[str, TagScore] = {}
        width = sum(read(part, 0).shape[1] for part in parts)
        outputs = {tag.name: max(len(tag.classes), 1) for tag in annotations.tags}
        begin = start or default_start(width, outputs, settings.seed)
        for whole in (True, False):
            tags = [tag for tag in annotations.tags if tag.sequence_level == whole]
            if not tags:
                continue
            rows = [_rows(read, parts, part, whole) for part in (train, test)]
            if settings.compat != "upstream" and not all(np.isfinite(x).all() for x in rows):
                raise UserError(
                    f"{name}: embeddings that are not finite; a readout needs a number for every "
                    "frame"
                )
            for tag, result, labels in _trained(tags, rows, (train, test), begin, settings, device):
                found[tag.name] = TagScore(name, tag, result, *labels)
        scores += [found[tag.name] for tag in annotations.tags]
    return scores


def _trained(
    tags: Sequence[Tag],
    rows: Sequence[np.ndarray],
    parts: tuple[list[int], list[int]],
    start: Start,
    settings: OriginalReadout,
    device: str,
) -> list[tuple[Tag, ClassResult | ValueResult, list[np.ndarray]]]:
    """Readouts of tags that share their rows, with the labels of training and test."""
    labels = {tag.name: [tag.of(part) for part in parts] for tag in tags}
    options: dict[str, Any] = {
        "lr": settings.lr,
        "weight_decay": settings.weight_decay,
        "start": start,
        "compat": settings.compat,
    }
    results: dict[str, ClassResult | ValueResult] = {}
    for kind in ("class", "value"):
        own = [tag for tag in tags if tag.kind == kind]
        if not own:
            continue
        train, test = (
            (x, {tag.name: labels[tag.name][side] for tag in own}) for side, x in enumerate(rows)
        )
        if kind == "class":
            sizes = {tag.name: len(tag.classes) for tag in own}
            results |= read_classes(train, test, sizes, device=device, **options)
        else:
            results |= read_values(train, test, **options)
    return [(tag, results[tag.name], labels[tag.name]) for tag in tags]


def _rows(read: Read, levels: Sequence[str], sequences: Sequence[int], whole: bool) -> np.ndarray:
    """Features (n, sum of E) float32: all frames of the sequences, or one mean for each."""
    blocks = []
    for index in sequences:
        parts = [read(level, index) for level in levels]
        values = np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]
        blocks.append(values.mean(axis=0, keepdims=True) if whole else values)
    return np.concatenate(blocks).astype(np.float32, copy=False)
