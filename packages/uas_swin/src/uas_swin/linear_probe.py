"""The head of the network, trained on cached features: many heads at once, as batched matrices.

The arithmetic of a training step is that of ``uas-swin train`` with a frozen backbone: dropout,
softmax cross-entropy, gradients of several iterations added, AdamW with the rates of the schedule.
Letters: P problems (a choice of samples and a seed each), L learning rates, K classes, C features,
S samples of a step, n samples of a problem, R rows of features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from behaviorzoo.errors import UserError

Float = NDArray[np.float32]
BETAS, EPSILON = (0.9, 0.999), 1e-8
_AT_ONCE = 1 << 26
"""Numbers of the heads that are trained at once, for memory."""


@dataclass(frozen=True)
class ProbeSettings:
    """How heads are trained; the defaults are the published ones.

    Attributes:
        lrs: Learning rates.
        seeds: Of the start, the order and dropout.
        epochs: Passes over the samples.
        batch_size: Samples of an iteration.
        accumulate: Iterations of a step.
        weight_decay: Of weight and bias.
        dropout: Share of the features that is left out.
        init_std: Standard deviation of the weights at the start.
        warmup_epochs: Of the schedule.
        warmup_ratio: Of the schedule.
        min_lr: Of the schedule.
    """

    lrs: tuple[float, ...] = (3e-4,)
    seeds: tuple[int, ...] = (0,)
    epochs: int = 30
    batch_size: int = 1
    accumulate: int = 8
    weight_decay: float = 0.05
    dropout: float = 0.5
    init_std: float = 0.01
    warmup_epochs: float = 2.5
    warmup_ratio: float = 0.1
    min_lr: float = 0.0

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size, self.accumulate) < 1:
            raise UserError("epochs, batch_size and accumulate are at least 1")
        if not self.lrs or not all(0 < lr < np.inf for lr in self.lrs):
            raise UserError("at least one learning rate, all above 0")
        if not self.seeds or min(self.seeds) < 0:
            raise UserError("at least one seed, all from 0")
        if not (0 <= self.weight_decay < np.inf and 0 <= self.warmup_epochs < np.inf):
            raise UserError("weight decay and epochs of the warm-up are from 0")
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout {self.dropout}: a share from 0 to below 1")

    def check_steps(self, n_samples: int) -> None:
        """Refuse to train on so few samples that the optimiser takes no step.

        Raises:
            UserError: With what to change.
        """
        if -(-n_samples // self.batch_size) * self.epochs < self.accumulate:
            raise UserError(
                f"{n_samples} samples in {self.epochs} epochs make no step of {self.accumulate} x "
                f"{self.batch_size} samples; give more --epochs, or --accumulate 1"
            )


@dataclass(frozen=True)
class Problem:
    """What one head is trained on.

    Attributes:
        rows: Of each sample (n) the rows of its views; an epoch takes one of them at random.
        labels: Class ids (n,).
        seed: Decides start, order, views and dropout.
    """

    rows: Sequence[NDArray[np.int64]]
    labels: NDArray[np.int64]
    seed: int


@dataclass(frozen=True)
class Heads:
    """Trained heads.

    Attributes:
        weight: (P, L, K, C).
        bias: (P, L, K).
    """

    weight: Float
    bias: Float

    def probabilities(
        self, features: Float, rows: Sequence[NDArray[np.int64]], problem: int
    ) -> NDArray[np.float32]:
        """Mean over the views of the softmax, of every sample.

        Args:
            features: (R, C).
            rows: Of each sample (n) the rows of its views.
            problem: Whose heads.

        Returns:
            (L, n, K).
        """
        flat = np.concatenate(rows)
        ends = np.cumsum([len(own) for own in rows])
        weight, bias = self.weight[problem], self.bias[problem]
        wide = weight.reshape(-1, weight.shape[-1]).T
        shares = np.empty((len(flat), *bias.shape), dtype=np.float32)
        for start in range(0, len(flat), 4096):
            part = features[flat[start : start + 4096]] @ wide
            shares[start : start + 4096] = softmax(part.reshape(-1, *bias.shape) + bias)
        sums = np.add.reduceat(shares, np.concatenate([[0], ends[:-1]]), axis=0)
        sums /= np.diff(ends, prepend=0)[:, None, None].astype(np.float32)
        return sums.transpose(1, 0, 2)


def fit_heads(
    features: Float, problems: Sequence[Problem], n_classes: int, settings: ProbeSettings
) -> Heads:
    """Train a head for every problem and learning rate.

    Args:
        features: (R, C); may be memory-mapped.
        problems: P of them, all with equally many samples.
        n_classes: K.
        settings: How.

    Returns:
        The heads; the same whatever is trained beside them.

    Raises:
        UserError: No sample, a label out of range, or features that are not finite.
    """
    sizes = {len(problem.rows) for problem in problems}
    if len(sizes) != 1 or 0 in sizes:
        raise UserError(f"probes need samples, equally many of each problem; got {sorted(sizes)}")
    for problem in problems:
        if problem.labels.min() < 0 or problem.labels.max() >= n_classes:
            raise UserError(f"a label is out of range; class ids go from 0 to {n_classes - 1}")
    used = np.unique(np.concatenate([rows for p in problems for rows in p.rows]))
    if not np.isfinite(np.asarray(features[used]).sum(dtype=np.float64)):
        raise UserError("the features are not finite; check the checkpoint")
    numbers = len(settings.lrs) * n_classes * features.shape[1]
    group = max(1, _AT_ONCE // numbers)
    parts = [
        _Fit(features, problems[start : start + group], n_classes, settings).run()
        for start in range(0, len(problems), group)
    ]
    return Heads(np.concatenate([p.weight for p in parts]), np.concatenate([p.bias for p in parts]))


class _Fit:
    """Heads of some problems while they are trained."""

    def __init__(
        self, features: Float, problems: Sequence[Problem], n_classes: int, settings: ProbeSettings
    ) -> None:
        self.features, self.problems, self.settings = features, problems, settings
        self.n, self.k, self.c = len(problems[0].rows), n_classes, features.shape[1]
        self.draws = [np.random.default_rng([p.seed, 1]) for p in problems]
        shape = (len(problems), len(settings.lrs) * n_classes, self.c + 1)
        # Weight and bias side by side: the bias is the weight of a feature that is always 1.
        self.heads = np.zeros(shape, dtype=np.float32)
        for head, problem in zip(self.heads, problems, strict=True):
            start = np.random.default_rng([problem.seed, 0]).standard_normal((n_classes, self.c))
            head[:, :-1] = np.tile(start * settings.init_std, (len(settings.lrs), 1))
        self.moments = np.zeros((2, *shape), dtype=np.float32)
        self.work = np.empty(shape, dtype=np.float32)

    def run(self) -> Heads:
        """Train to the end."""
        settings = self.settings
        rows, labels = self._course()
        ends, weights = self._steps()
        rates = self._rates(len(ends))
        begin = 0
        for step, end in enumerate(ends):
            taken = slice(begin, end)
            gradient = self._gradient(rows[:, taken], labels[:, taken], weights[taken])
            self._update(gradient, rates[step], step + 1)
            begin = end
        shaped = self.heads.reshape(len(self.problems), len(settings.lrs), self.k, self.c + 1)
        return Heads(shaped[..., :-1].copy(), shaped[..., -1].copy())

    def _course(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and labels of all epochs in order, (P, epochs * n) each."""
        epochs = self.settings.epochs
        rows = np.empty((len(self.problems), epochs * self.n), dtype=np.int64)
        labels = np.empty_like(rows)
        for place, problem in enumerate(self.problems):
            draw = np.random.default_rng([problem.seed, 2])
            counts = np.array([len(own) for own in problem.rows])
            flat, first = np.concatenate(problem.rows), np.cumsum(counts) - counts
            for epoch in range(epochs):
                order = draw.permutation(self.n)
                view = (draw.random(self.n) * counts).astype(np.int64)
                part = slice(epoch * self.n, (epoch + 1) * self.n)
                rows[place, part] = flat[(first + view)[order]]
                labels[place, part] = problem.labels[order]
        return rows, labels

    def _steps(self) -> tuple[list[int], Float]:
        """Where each step ends, and what a sample counts in its step.

        An iteration counts its mean over ``accumulate``; the counter runs over the ends of epochs,
        and what is left at the very end makes no step.
        """
        size, settings = self.settings.batch_size, self.settings
        of_epoch = [min(size, self.n - start) for start in range(0, self.n, size)]
        sizes = np.tile(of_epoch, settings.epochs)
        whole = len(sizes) - len(sizes) % settings.accumulate
        ends = np.cumsum(sizes)[settings.accumulate - 1 : whole : settings.accumulate]
        weights = np.repeat(1 / (settings.accumulate * sizes), sizes)
        return ends.tolist(), weights.astype(np.float32)

    def _rates(self, n_steps: int) -> NDArray[np.float64]:
        """Learning rates in force at each step (steps, L)."""
        from uas_swin.schedule import learning_rate

        s = self.settings
        per_epoch = -(-self.n // s.batch_size)
        shape = (s.warmup_epochs, s.warmup_ratio, s.min_lr)
        return np.array(
            [
                [
                    learning_rate((step + 1) * s.accumulate - 1, lr, per_epoch, s.epochs, *shape)
                    for lr in s.lrs
                ]
                for step in range(n_steps)
            ]
        ).reshape(n_steps, len(s.lrs))

    def _gradient(
        self, rows: NDArray[np.int64], labels: NDArray[np.int64], weights: Float
    ) -> Float:
        """Of the loss of a step, (P, L * K, C + 1)."""
        p, s = rows.shape
        inputs = np.empty((p, s, self.c + 1), dtype=np.float32)
        inputs[..., -1] = 1
        for place in range(p):
            kept = self._kept(place, s)
            np.multiply(self.features[rows[place]], kept, out=inputs[place, :, :-1])
        logits = np.matmul(inputs, self.heads.transpose(0, 2, 1))
        shares = softmax(logits.reshape(p, s, -1, self.k))  # [P, S, L, K]
        places = np.ogrid[:p, :s]
        shares[places[0], places[1], :, labels] -= 1
        shares *= weights[:, None, None]
        error = shares.reshape(p, s, -1)
        return np.matmul(error.transpose(0, 2, 1), inputs)

    def _kept(self, place: int, samples: int) -> Float:
        """What dropout leaves of each feature, scaled; (S, C)."""
        share = self.settings.dropout
        if not share:
            return np.ones((1, 1), dtype=np.float32)
        size = samples * self.c
        if share == 0.5:  # a coin each: random bits are cheap
            coins = np.frombuffer(self.draws[place].bytes(-(-size // 8)), dtype=np.uint8)
            kept = np.unpackbits(coins, count=size)
        else:
            kept = self.draws[place].random(size, dtype=np.float32) >= share
        return (kept.astype(np.float32) * np.float32(1 / (1 - share))).reshape(samples, self.c)

    def _update(self, gradient: Float, rates: NDArray[np.float64], step: int) -> None:
        """AdamW, in place."""
        first, second = self.moments
        (b1, b2), work = BETAS, self.work
        rate = np.repeat(rates, self.k).astype(np.float32)[:, None] if len(rates) > 1 else rates[0]
        first *= np.float32(b1)
        np.multiply(gradient, np.float32(1 - b1), out=work)
        first += work
        np.multiply(gradient, gradient, out=work)
        work *= np.float32(1 - b2)
        second *= np.float32(b2)
        second += work
        np.sqrt(second, out=work)
        work *= np.float32((1 - b2**step) ** -0.5)
        work += np.float32(EPSILON)
        np.divide(first, work, out=work)
        work *= _single(rate / (1 - b1**step))
        self.heads *= _single(1 - rate * self.settings.weight_decay)
        self.heads -= work


def softmax(logits: Float) -> Float:
    """Over the last axis, in place."""
    logits -= logits.max(axis=-1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=-1, keepdims=True)
    return logits


def nearest_neighbours(
    train: Float, labels: NDArray[np.int64], test: Float, k: int, n_classes: int
) -> NDArray[np.float32]:
    """Share of each class among the k most similar training samples, by the cosine.

    Args:
        train: (n, C).
        labels: (n,).
        test: (m, C).
        k: Neighbours; all where there are fewer.
        n_classes: K.

    Returns:
        (m, K); equal shares are decided by the sum of the similarities.
    """
    train, test = _unit(train), _unit(test)
    k = min(k, len(train))
    scores = np.empty((len(test), n_classes), dtype=np.float32)
    own = np.eye(n_classes, dtype=np.float32)[labels]
    for start in range(0, len(test), 1024):
        similar = test[start : start + 1024] @ train.T
        near = np.argpartition(-similar, k - 1, axis=1)[:, :k]
        close = np.take_along_axis(similar, near, axis=1)[..., None]
        scores[start : start + 1024] = ((1 + 1e-3 * close) * own[near]).sum(axis=1) / k
    return scores


def _unit(features: Float) -> Float:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.maximum(lengths, np.float32(1e-12))


def _single(value: Any) -> Any:
    """A number or an array in single precision, so that products stay in it."""
    return np.float32(value) if np.ndim(value) == 0 else value.astype(np.float32)
