"""Principal components of embeddings that do not fit into memory.

One pass sums X^T X and X, one eigendecomposition gives the components, a second pass projects.
Memory is one block of rows plus two D x D matrices, however many frames there are.

Letters: N frames, D features of a level, K components that are kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

from behaviorzoo.errors import UserError

EXACT_ROWS = 100_000
"""Up to this many rows products are float64. Beyond, they are float32 within blocks, twice as fast:
their rounding errors (about 1e-7 of the largest entry) average out over the many float64 sums."""

BLOCK_ROWS = 4096
"""Rows multiplied at once: long enough for the matrix product, short enough for the cache."""

UPSTREAM_FULL_BELOW = 100
UPSTREAM_CHUNK = 320_000


@dataclass(frozen=True)
class Projection:
    """An affine map from D features to K components.

    Attributes:
        mean: float64 (D,), subtracted first.
        components: float64 (K, D), orthonormal rows, largest variance first.
        variance: float64 (K,), variance of each component (divided by N - 1).
        total_variance: Sum of the variances of all D features.
    """

    mean: np.ndarray
    components: np.ndarray
    variance: np.ndarray
    total_variance: float

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Project features (N, D) to components, float32 (N, K)."""
        centred = x - self.mean.astype(x.dtype)
        return (centred @ self.components.T.astype(x.dtype)).astype(np.float32, copy=False)

    @property
    def explained(self) -> float:
        """Share of the total variance that the components keep."""
        return float(self.variance.sum() / self.total_variance) if self.total_variance else 1.0


class Moments:
    """Sums of rows and of their products, block by block.

    Rows are shifted by the mean of the first block before they are multiplied: features far from
    zero would otherwise lose their variance to rounding.

    Args:
        features: D.
        exact: float64 products; else float32 products within a block, summed in float64.
    """

    def __init__(self, features: int, *, exact: bool = True):
        self.rows = 0
        self._dtype = np.float64 if exact else np.float32
        self._shift: np.ndarray | None = None
        self._sum = np.zeros(features)
        self._products = np.zeros((features, features))

    def add(self, x: np.ndarray) -> None:
        """Add rows (n, D)."""
        if self._shift is None and len(x):
            self._shift = x.mean(axis=0, dtype=np.float64).astype(self._dtype)
        for start in range(0, len(x), BLOCK_ROWS):
            block = x[start : start + BLOCK_ROWS] - self._shift
            self._sum += block.sum(axis=0, dtype=np.float64)
            self._products += block.T @ block  # numpy sees the symmetry and does half the work
            self.rows += len(block)

    def components(self, k: int) -> Projection:
        """Principal components of all rows so far.

        The sign of a component is chosen so that its largest entry (by absolute value) is
        positive, as scikit-learn does.

        Args:
            k: K, at most D and at most the number of rows.

        Returns:
            The projection to the K directions of largest variance.

        Raises:
            ValueError: ``k`` out of range.
        """
        features = len(self._sum)
        if not 1 <= k <= min(features, self.rows):
            raise ValueError(f"{k} components of {self.rows} rows with {features} features")
        mean = self._sum / self.rows
        scatter = self._products - self.rows * np.outer(mean, mean)
        covariance = scatter / max(self.rows - 1, 1)
        variance, vectors = eigh(covariance, subset_by_index=[features - k, features - 1])
        components = vectors[:, ::-1].T
        largest = np.abs(components).argmax(axis=1)
        components = components * np.sign(components[np.arange(k), largest])[:, None]
        shift = np.zeros(features) if self._shift is None else self._shift
        return Projection(
            mean=mean + shift,
            components=components,
            variance=np.maximum(variance[::-1], 0.0),
            total_variance=float(np.trace(covariance)),
        )


def fit(blocks: Iterable[np.ndarray], rows: int, features: int, k: int, where: str) -> Projection:
    """Fit principal components to blocks of rows, each seen once.

    Args:
        blocks: Arrays (n, D), together all N rows.
        rows: N, known beforehand: it decides whether products are float64 or float32.
        features: D.
        k: K.
        where: The level's name, for the message.

    Returns:
        The projection.

    Raises:
        UserError: Fewer rows than components, or missing values among the rows.
    """
    _enough_rows(rows, k, where)
    moments = Moments(features, exact=rows <= EXACT_ROWS)
    for block in blocks:
        moments.add(_finite(block, where))
    return moments.components(k)


def fit_upstream(
    blocks: Iterable[np.ndarray], rows: int, features: int, k: int, where: str
) -> Projection:
    """Fit as the original does: full PCA below 100 features, else incremental PCA.

    Incremental PCA sees chunks of 320 000 rows in order. Slower by an order of magnitude, and an
    approximation as soon as there is more than one chunk.

    Args:
        blocks: Arrays (n, D), together all N rows.
        rows: N.
        features: D.
        k: K.
        where: The level's name, for the message.

    Returns:
        The projection.

    Raises:
        UserError: Fewer rows than components in the data or in the last chunk.
    """
    from sklearn.decomposition import PCA, IncrementalPCA

    _enough_rows(rows, k, where)
    if features < UPSTREAM_FULL_BELOW:
        model = PCA(k, svd_solver="full")
        model.fit(np.concatenate([_finite(block, where) for block in blocks]))
    else:
        rest = rows % UPSTREAM_CHUNK
        if 0 < rest < k:
            raise UserError(
                f"{where}: incremental PCA cannot use a last chunk of {rest} frames for {k} "
                f"components; use compat=none"
            )
        model = IncrementalPCA(k)
        for chunk in rechunk(blocks, UPSTREAM_CHUNK):
            model.partial_fit(_finite(chunk, where))
    variance = np.asarray(model.explained_variance_, dtype=np.float64)
    ratio = float(np.sum(np.asarray(model.explained_variance_ratio_)))
    return Projection(
        mean=np.asarray(model.mean_, dtype=np.float64),
        components=np.asarray(model.components_, dtype=np.float64),
        variance=variance,
        total_variance=float(variance.sum() / ratio) if ratio else 0.0,
    )


def rechunk(blocks: Iterable[np.ndarray], size: int) -> Iterable[np.ndarray]:
    """Regroup blocks of rows into chunks of exactly ``size`` rows (the last may be shorter)."""
    held: list[np.ndarray] = []
    count = 0
    for block in blocks:
        while count + len(block) >= size:
            head, block = block[: size - count], block[size - count :]
            yield np.concatenate([*held, head])
            held, count = [], 0
        if len(block):
            held.append(block)
            count += len(block)
    if held:
        yield np.concatenate(held)


def _enough_rows(rows: int, k: int, where: str) -> None:
    if rows < k:
        raise UserError(
            f"{where}: {rows} frames are too few for {k} principal components; "
            f"ask for at most pca={rows} or embed more recordings"
        )


def _finite(block: np.ndarray, where: str) -> np.ndarray:
    if not np.isfinite(block).all():
        raise UserError(f"{where}: embeddings with missing values have no principal components")
    return block
