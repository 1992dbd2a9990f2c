"""The training of linear readouts of several tags at once, see :mod:`bams.readouts`.

AdamW works on each weight by itself, so the readouts of all tags are rows of one matrix: a step is
one product for the outputs of all tags and one for their gradients, over features that were
normalised once. The squared error needs the features only through their products, which are
collected in one pass.

Letters: n rows (frames, or sequences), d features, C classes of a tag, K outputs of all tags.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

Start = Mapping[str, tuple[np.ndarray, np.ndarray]]

CLASS_STEPS = 1000
VALUE_STEPS = 100
# A piece of the features is used for the outputs and again for the gradient while it is in cache.
_ROWS_AT_ONCE = 1024
_GRAM_ROWS = 1 << 14


@dataclass(frozen=True)
class Linear:
    """A trained linear layer.

    Attributes:
        weight: float32 (outputs, d).
        bias: float32 (outputs,).
    """

    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Outputs (n, outputs) of normalised features (n, d)."""
        return x @ self.weight.T + self.bias


def default_start(
    n_features: int, n_outputs: Mapping[str, int], seed: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Initial weights as a row of ``nn.Linear`` layers draws them after ``manual_seed(seed)``.

    Args:
        n_features: d.
        n_outputs: Tag -> outputs, in the order of drawing.
        seed: The seed.
    """
    generator = torch.Generator().manual_seed(seed)
    bound = n_features**-0.5
    return {
        tag: (
            torch.empty(size, n_features).uniform_(-bound, bound, generator=generator).numpy(),
            torch.empty(size).uniform_(-bound, bound, generator=generator).numpy(),
        )
        for tag, size in n_outputs.items()
    }


def fit_classes(
    x: np.ndarray,
    codes: Mapping[str, np.ndarray],
    start: Start,
    *,
    lr: float,
    weight_decay: float,
    steps: int = CLASS_STEPS,
    device: str | torch.device = "cpu",
) -> dict[str, Linear]:
    """Train classifiers of several tags together, full batch.

    Loss of a tag: sum_i w_i CE_i / sum_i w_i with w_i = 1 / (rows with the label of row i).

    Args:
        x: Normalised features float32 (n, d).
        codes: Tag -> codes (n,); negative = unlabelled.
        start: Tag -> initial weight (C, d) and bias (C,).
        lr: Learning rate of AdamW.
        weight_decay: Weight decay of AdamW.
        steps: Number of steps.
        device: Where to train.

    Returns:
        Tag -> layer.
    """
    # Tags with as many classes as each other lie together: one softmax for all of them.
    tags = sorted(codes, key=lambda tag: len(start[tag][1]))
    sizes = [len(start[tag][1]) for tag in tags]
    weight = torch.from_numpy(np.concatenate([start[tag][0] for tag in tags])).float().to(device)
    bias = torch.from_numpy(np.concatenate([start[tag][1] for tag in tags])).float().to(device)
    labels = np.stack([codes[tag] for tag in tags])
    pieces = _pieces(x, labels, weight.device)
    groups = [(sizes.count(size), size) for size in sorted(set(sizes))]
    optimizer = torch.optim.AdamW([weight, bias], lr=lr, weight_decay=weight_decay)
    weight.grad, bias.grad = torch.zeros_like(weight), torch.zeros_like(bias)
    with torch.no_grad():
        for _ in range(steps):
            weight.grad.zero_()
            bias.grad.zero_()
            for piece in pieces:
                outputs = torch.addmm(bias[:, None], weight, piece.rows.T)  # (K, n')
                error = _error(outputs, piece, groups)
                weight.grad.addmm_(error, piece.rows)
                bias.grad.add_(error.sum(dim=1))
            optimizer.step()
    return _split(tags, sizes, weight, bias)


def fit_values(
    x: np.ndarray,
    values: Mapping[str, np.ndarray],
    start: Start,
    *,
    lr: float,
    weight_decay: float,
    steps: int = VALUE_STEPS,
) -> dict[str, Linear]:
    """Train regressors of several tags together, full batch.

    With a column of ones appended to x, the gradient of the mean squared error is
    2 (X'X w - X'y) / n: only the products X'X and X'y are needed, in float64.

    Args:
        x: Normalised features float32 (n, d).
        values: Tag -> numbers (n,); NaN = unlabelled.
        start: Tag -> initial weight (1, d) and bias (1,).
        lr: Learning rate of AdamW.
        weight_decay: Weight decay of AdamW.
        steps: Number of steps.

    Returns:
        Tag -> layer.
    """
    out: dict[str, Linear] = {}
    labelled = {tag: ~np.isnan(numbers) for tag, numbers in values.items()}
    groups: dict[bytes, list[str]] = {}
    for tag, rows in labelled.items():
        groups.setdefault(rows.tobytes(), []).append(tag)
    for tags in groups.values():  # tags that are labelled in the same rows share the products
        rows = np.flatnonzero(labelled[tags[0]])
        gram, products = _products(x, np.stack([values[tag] for tag in tags], axis=1), rows)
        initial = [np.concatenate([start[tag][0][0], start[tag][1]]) for tag in tags]
        layers = torch.from_numpy(np.stack(initial)).double()  # (tags, d + 1)
        optimizer = torch.optim.AdamW([layers], lr=lr, weight_decay=weight_decay)
        for _ in range(steps):
            layers.grad = (layers @ gram - products) * (2 / len(rows))
            optimizer.step()
        trained = layers.numpy().astype(np.float32)
        out |= {
            tag: Linear(row[None, :-1], row[-1:]) for tag, row in zip(tags, trained, strict=True)
        }
    return {tag: out[tag] for tag in values}


class _Piece(NamedTuple):
    """Some rows of the training: features (n', d), labels int64 and weights (tags, n')."""

    rows: Tensor
    labels: Tensor
    weights: Tensor


def _pieces(x: np.ndarray, labels: np.ndarray, device: torch.device) -> list[_Piece]:
    """The rows in blocks that fit the processor's cache; in one block on an accelerator."""
    parts = [
        torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)).to(device),
        torch.from_numpy(np.maximum(labels, 0).astype(np.int64)).to(device),
        torch.from_numpy(np.stack([_row_weights(codes) for codes in labels])).to(device),
    ]
    size = _ROWS_AT_ONCE if device.type == "cpu" else len(x)
    blocks = (part.split(size, dim=axis) for part, axis in zip(parts, (0, 1, 1), strict=True))
    # Contiguous: a block of the labels of all tags shall not be read in strides every step.
    return [_Piece(*(part.contiguous() for part in block)) for block in zip(*blocks, strict=True)]


def _row_weights(codes: np.ndarray) -> np.ndarray:
    """w_i / sum_i w_i (n,) float32 with w_i = 1 / (rows with the label of row i)."""
    labelled = codes >= 0
    counts = np.bincount(codes[labelled])
    weights = np.zeros(len(codes), dtype=np.float32)
    weights[labelled] = 1.0 / (counts[codes[labelled]] * np.count_nonzero(counts))
    return weights


def _error(outputs: Tensor, piece: _Piece, groups: Sequence[tuple[int, int]]) -> Tensor:
    """Gradient of the loss by the outputs (K, n'); groups: (tags, classes) in row order."""
    parts, row, tag = [], 0, 0
    for n_tags, size in groups:
        labels = piece.labels[tag : tag + n_tags, None]
        weights = piece.weights[tag : tag + n_tags, None]
        own = outputs[row : row + n_tags * size].unflatten(0, (n_tags, size))
        error = own.softmax(dim=1).mul_(weights)
        parts.append(error.scatter_add_(1, labels, -weights).flatten(0, 1))
        row, tag = row + n_tags * size, tag + n_tags
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _products(x: np.ndarray, y: np.ndarray, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """X'X (d + 1, d + 1) and y'X (tags, d + 1) over some rows, float64, X with a one at its end."""
    d = x.shape[1] + 1
    gram, products = np.zeros((d, d)), np.zeros((y.shape[1], d))
    for begin in range(0, len(rows), _GRAM_ROWS):
        chosen = rows[begin : begin + _GRAM_ROWS]
        block = np.ones((len(chosen), d))
        block[:, :-1] = x[chosen]
        gram += block.T @ block
        products += y[chosen].T @ block
    return torch.from_numpy(gram), torch.from_numpy(products)


def _split(
    tags: Sequence[str], sizes: Sequence[int], weight: Tensor, bias: Tensor
) -> dict[str, Linear]:
    edges = np.cumsum([0, *sizes]).tolist()
    weights, biases = weight.cpu().numpy(), bias.cpu().numpy()
    return {
        tag: Linear(weights[a:b], biases[a:b])
        for tag, (a, b) in zip(tags, pairwise(edges), strict=True)
    }
