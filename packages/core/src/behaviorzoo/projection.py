"""Two-dimensional views of embeddings: principal components, with nothing to tune."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from behaviorzoo.errors import UserError

_BLOCK_ROWS = 1 << 16


@dataclass(frozen=True)
class Projection:
    """The plane of the largest variance.

    Attributes:
        mean: Mean of the features (D,).
        components: Unit vectors (2, D); the largest entry of each is positive, so that a
            picture does not flip between runs.
        shares: Share of the variance along each (2,).
    """

    mean: np.ndarray
    components: np.ndarray
    shares: np.ndarray

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Project values (N, D) to points (N, 2), float32; NaN stays NaN."""
        blocks = [
            (values[start : start + _BLOCK_ROWS] - self.mean) @ self.components.T
            for start in range(0, len(values), _BLOCK_ROWS)
        ]
        return np.concatenate([np.empty((0, 2)), *blocks]).astype(np.float32)


def fit_projection(values: np.ndarray, max_rows: int = 50_000) -> Projection:
    """Fit the plane of the largest variance.

    Args:
        values: Embeddings (N, D). Rows with NaN are left out.
        max_rows: More rows than this are thinned evenly.

    Returns:
        The projection.

    Raises:
        UserError: Fewer than two complete rows.
    """
    step = max(1, -(-len(values) // max_rows))
    rows = np.asarray(values[::step], dtype=np.float64)
    rows = rows[np.isfinite(rows).all(axis=1)]
    if len(rows) < 2:
        raise UserError(f"an embedding map needs two complete frames or more, found {len(rows)}")
    mean = rows.mean(axis=0)
    variance, vectors = np.linalg.eigh(np.cov(rows - mean, rowvar=False).reshape(rows.shape[1], -1))
    components, shares = np.zeros((2, rows.shape[1])), np.zeros(2)
    for i in range(min(2, rows.shape[1])):
        vector = vectors[:, -1 - i]
        components[i] = vector * np.sign(vector[np.abs(vector).argmax()])
        shares[i] = max(variance[-1 - i], 0) / max(variance.sum(), 1e-300)
    return Projection(mean, components, shares)
