"""HYSP: linear evaluation on cached features, and the search for the weights of an ensemble."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from measure import Table, best_seconds, compete
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hysp.data.dataset import Batch, SkeletonData
from hysp.data.skeleton import named_skeleton
from hysp.evaluate.config import ProbeOptim
from hysp.evaluate.features import extract_features
from hysp.evaluate.fitting import Samples, fit
from hysp.evaluate.protocols import classifier_on
from hysp.fusion import original_candidates, search_weights
from hysp.model import STGCN, EncoderConfig

AUTHORS_EPOCHS = 100
AUTHORS_LOOKS = 20
"""Passes of their evaluation: over the training samples, and over the test samples."""

TRAIN, TEST = 40_091, 16_487
"""Samples of NTU-60, cross-subject."""


def linear_evaluation(table: Table, quick: bool) -> None:
    """Encoder passes and time of a linear evaluation, one person in two present."""
    table.section(
        "Linear evaluation, 100 epochs, a look at the test samples every 5",
        "Passes: sequences through the encoder for NTU-60 xsub. Time: a small encoder and few "
        "samples, all epochs of the head; the original's is that of the same passes in training "
        "mode, timed over one epoch and multiplied.",
    )
    original = AUTHORS_EPOCHS * TRAIN + AUTHORS_LOOKS * TEST
    goal = None if quick else 50.0
    ours = TRAIN + TEST
    table.row("encoder passes, NTU-60 xsub", f"{ours:,}", f"{original:,}", original / ours, goal)
    n, test = (32, 16) if quick else (288, 120)
    encoder = STGCN(EncoderConfig(hidden_channels=8, out_channels=128, dropout=0.5)).eval()
    train_data, test_data = _clips(n, 0), _clips(test, 1)
    epochs = 5 if quick else AUTHORS_EPOCHS
    optim = ProbeOptim(epochs=epochs, batch_size=32 if quick else 96)

    def cached() -> None:
        features = [extract_features(encoder, d, progress=False) for d in (train_data, test_data)]
        model = classifier_on(encoder, 60, hyper=False, frozen=True)
        sides = [_samples(f, d) for f, d in zip(features, (train_data, test_data), strict=True)]
        fit(model, *sides, optim, lr=1.0, on_features=True)

    model = classifier_on(encoder, 60, hyper=False, frozen=True)
    optimizer = torch.optim.SGD(model.online_projector.parameters(), lr=1.0, momentum=0.9)
    seconds = {
        "ours": best_seconds(cached, 1 if quick else 3),
        "train": best_seconds(lambda: _original_epoch(model, optimizer, train_data), 1),
        "test": best_seconds(lambda: _original_test(model, test_data), 1),
    }
    theirs = epochs * seconds["train"] + epochs // 5 * seconds["test"]
    table.row(
        f"seconds, {n} + {test} samples",
        f"{seconds['ours']:.2f}",
        f"{theirs:.1f}",
        theirs / seconds["ours"],
        goal,
    )


def ensemble_search(table: Table, quick: bool) -> None:
    """Seconds of the search among the original's 507 sets of weights."""
    n = 400 if quick else 18_932
    rng = np.random.default_rng(0)
    labels = rng.integers(60, size=n)
    right = np.arange(60) == labels[:, None]
    scores = [(rng.normal(size=(n, 60)) + 2 * right).astype(np.float32) for _ in range(3)]
    candidates = original_candidates(0)
    few = candidates[: 3 if quick else 5]
    table.section(f"Weights of three streams, {n} samples, 60 classes, {len(candidates)} sets, s")
    works: dict[str, Callable[[], object]] = {
        "ours": lambda: search_weights(scores, labels, candidates),
        "original": lambda: [_original_accuracy(scores, labels, w) for w in few],
    }
    expected = [_original_accuracy(scores, labels, w)[0] for w in few]
    np.testing.assert_allclose(search_weights(scores, labels, few).top1, expected)
    seconds = compete(works, 1 if quick else 3)
    theirs = seconds["original"] * len(candidates) / len(few)
    table.row(
        "beside a script in its style (a few sets, multiplied)",
        f"{seconds['ours']:.2f}",
        f"{theirs:.0f}",
        theirs / seconds["ours"],
        None if quick else 50.0,
    )


PARTS: dict[str, Callable[[Table, bool], None]] = {
    "linear": linear_evaluation,
    "ensemble": ensemble_search,
}


def _original_accuracy(
    scores: list[np.ndarray], labels: np.ndarray, weights: np.ndarray
) -> tuple[float, float]:
    """One sample after the other."""
    top1 = top5 = 0
    for i, label in enumerate(labels):
        row = scores[0][i] * weights[0] + scores[1][i] * weights[1] + scores[2][i] * weights[2]
        top5 += int(label in row.argsort()[-5:])
        top1 += int(np.argmax(row) == label)
    return top1 / len(labels), top5 / len(labels)


def _original_epoch(model: nn.Module, optimizer: torch.optim.Optimizer, data: SkeletonData) -> None:
    """A frozen encoder in training mode, recomputed, and its head."""
    model.train()
    for batch in _batches(data):
        optimizer.zero_grad()
        assert batch.labels is not None
        cross_entropy(model(batch.x), batch.labels).backward()
        optimizer.step()


@torch.no_grad()
def _original_test(model: nn.Module, data: SkeletonData) -> None:
    model.eval()
    for batch in _batches(data):
        model(batch.x)


def _batches(data: SkeletonData) -> list[Batch]:
    return [data.batch(rows) for rows in np.array_split(np.arange(len(data)), -(-len(data) // 96))]


def _samples(features: Tensor, data: SkeletonData) -> Samples:
    assert data.labels is not None
    return Samples(lambda i: features[torch.from_numpy(i)], torch.from_numpy(data.labels))


def _clips(n: int, seed: int) -> SkeletonData:
    """Random clips; the second person is there in every other one."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3, 50, 25, 2)).astype(np.float32)
    x[::2, ..., 1] = 0
    classes = [f"A{c:03d}" for c in range(1, 61)]
    names = [f"clip_{i}" for i in range(n)]
    labels = np.array(classes)[rng.integers(60, size=n)]
    table = pd.DataFrame({"name": names, "group": names, "action": labels})
    return SkeletonData(x, table, named_skeleton("ntu-rgb+d"), {"action": classes})
