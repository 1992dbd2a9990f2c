"""Linear readouts as the authors of BAMS train them, for any number of tags at once.

A classifier reads the direction of an embedding, x - mean over its own length, and is trained by
1000 full-batch AdamW steps of class-balanced cross-entropy; a regressor reads standardised
features and is trained by 100 steps of squared error. There is no schedule and no stopping.

All tags are trained at once (:mod:`bams.readout_fitting`).

``compat="upstream"`` divides by a length or a deviation of zero, which gives NaN, where the default
leaves a zero. The original indexes its class weights by the label's value and stops where a class
below the largest is absent from training; here each class is weighted by its own count, which is
the same wherever the original works.

Letters: n rows (frames, or sequences), d features, C classes of a tag.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from bams.data.config import Compat
from bams.readout_fitting import Linear, Start, default_start, fit_classes, fit_values
from behaviorzoo import metrics
from behaviorzoo.errors import UserError


@dataclass(frozen=True)
class ClassResult:
    """A classifier and what it says about the test rows.

    Attributes:
        readout: The layer, C outputs.
        counts: Test rows by truth (rows) and prediction (columns), int64 (C, C).
    """

    readout: Linear
    counts: np.ndarray

    @property
    def f1(self) -> float:
        """F1 of the classes, weighted by how often each is true."""
        return weighted_f1(self.counts)

    @property
    def confusion(self) -> np.ndarray:
        """Shares of each true class, of the classes that are true or predicted anywhere."""
        seen = (self.counts.sum(axis=0) + self.counts.sum(axis=1)) > 0
        counts = self.counts[np.ix_(seen, seen)]
        return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


@dataclass(frozen=True)
class ValueResult:
    """A regressor and its error.

    Attributes:
        readout: The layer, one output.
        mse: Mean squared error of the test rows.
        r2: Share of the variance of the test rows that is explained.
    """

    readout: Linear
    mse: float
    r2: float


def read_classes(
    train: tuple[np.ndarray, Mapping[str, np.ndarray]],
    test: tuple[np.ndarray, Mapping[str, np.ndarray]],
    n_classes: Mapping[str, int],
    *,
    lr: float = 1e-2,
    weight_decay: float = 1e-5,
    start: Start | None = None,
    seed: int = 0,
    compat: Compat = "paper",
    device: str | torch.device = "cpu",
) -> dict[str, ClassResult]:
    """Train a classifier for each tag and test it.

    Args:
        train: Features (n, d), and for each tag codes int (n,); negative = unlabelled.
        test: The same for the test rows.
        n_classes: Tag -> C.
        lr: Learning rate of AdamW.
        weight_decay: Weight decay of AdamW, on weights and biases.
        start: Tag -> initial weight (C, d) and bias (C,); default: drawn as ``nn.Linear`` does.
        seed: Decides the default start.
        compat: ``upstream``: a feature vector of length zero becomes NaN instead of zero.
        device: Where to train.

    Returns:
        Tag -> classifier and its confusions.

    Raises:
        UserError: A tag has no labelled row in training, or a code beyond its classes.
    """
    x, codes = train
    for tag, values in codes.items():
        _check_codes(tag, values, n_classes[tag])
    mean = _mean(x)
    directions = to_directions(x, mean, compat)
    start = start or default_start(x.shape[1], {tag: n_classes[tag] for tag in codes}, seed)
    layers = fit_classes(directions, codes, start, lr=lr, weight_decay=weight_decay, device=device)
    del directions
    tested = to_directions(test[0], mean, compat)
    out = {}
    for tag, layer in layers.items():
        # Where every output is NaN, the first class is named, as torch does.
        predicted = layer(tested).argmax(axis=1)
        counts = metrics.confusion_matrix(test[1][tag], predicted, n_classes[tag])
        out[tag] = ClassResult(layer, counts)
    return out


def read_values(
    train: tuple[np.ndarray, Mapping[str, np.ndarray]],
    test: tuple[np.ndarray, Mapping[str, np.ndarray]],
    *,
    lr: float = 1e-4,
    weight_decay: float = 1e-4,
    start: Start | None = None,
    seed: int = 0,
    compat: Compat = "paper",
) -> dict[str, ValueResult]:
    """Train a regressor for each tag and test it.

    Args:
        train: Features (n, d), and for each tag numbers (n,); NaN = unlabelled.
        test: The same for the test rows.
        lr: Learning rate of AdamW.
        weight_decay: Weight decay of AdamW, on weights and biases.
        start: Tag -> initial weight (1, d) and bias (1,); default: drawn as ``nn.Linear`` does.
        seed: Decides the default start.
        compat: ``upstream``: a constant feature becomes NaN instead of zero.

    Returns:
        Tag -> regressor and its error; the error is NaN where no test row is labelled.

    Raises:
        UserError: A tag has no labelled row in training.
    """
    x, values = train
    for tag, numbers in values.items():
        if np.isnan(numbers).all():
            raise UserError(f"{tag}: no training row has a value; change the split or leave it out")
    mean, deviation = _mean(x), _deviation(x)
    start = start or default_start(x.shape[1], dict.fromkeys(values, 1), seed)
    scaled = standardise(x, mean, deviation, compat)
    layers = fit_values(scaled, values, start, lr=lr, weight_decay=weight_decay)
    del scaled
    tested = standardise(test[0], mean, deviation, compat)
    out = {}
    for tag, layer in layers.items():
        labelled = ~np.isnan(test[1][tag])
        truth, predicted = test[1][tag][labelled], layer(tested[labelled])[:, 0]
        scores = [float("nan")] * 2
        if len(truth):
            scores = [f(truth, predicted) for f in (metrics.mean_squared_error, metrics.r2_score)]
        out[tag] = ValueResult(layer, *scores)
    return out


def to_directions(x: np.ndarray, mean: np.ndarray, compat: Compat = "paper") -> np.ndarray:
    """Features (n, d) less ``mean`` (d,), divided by the length of each row; float32."""
    centred = (x - mean).astype(np.float32)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    return _divided(centred, lengths, compat)


def standardise(
    x: np.ndarray, mean: np.ndarray, deviation: np.ndarray, compat: Compat = "paper"
) -> np.ndarray:
    """Features (n, d) less ``mean`` (d,), divided by ``deviation`` (d,); float32."""
    centred = (x - mean).astype(np.float32)
    return _divided(centred, deviation.astype(np.float32), compat)


def weighted_f1(counts: np.ndarray) -> float:
    """Mean F1 of the classes, each weighted by its true rows; 0 without rows."""
    actual = counts.sum(axis=1)
    return float(metrics.class_scores(counts).f1 @ actual / max(actual.sum(), 1))


def _check_codes(tag: str, codes: np.ndarray, n_classes: int) -> None:
    if not len(codes) or codes.max() < 0:
        raise UserError(f"{tag}: no training row has a label; change the split or leave it out")
    if codes.max() >= n_classes:
        raise UserError(f"{tag}: label {codes.max()} is beyond the {n_classes} classes")


def _mean(x: np.ndarray) -> np.ndarray:
    return x.mean(axis=0, dtype=np.float64)


def _deviation(x: np.ndarray) -> np.ndarray:
    """Population deviation, exactly 0 for a constant column."""
    deviation = x.std(axis=0, dtype=np.float64)
    return np.where(x.max(axis=0) == x.min(axis=0), 0.0, deviation)


def _divided(values: np.ndarray, by: np.ndarray, compat: Compat) -> np.ndarray:
    if compat == "upstream":  # 0 / 0 is NaN there
        with np.errstate(divide="ignore", invalid="ignore"):
            return values / by
    return np.divide(values, by, out=np.zeros_like(values), where=by != 0)
