"""Which rows play which part: fitted by which seeds, tested as public or private.

Clips that every seed treats alike form one set of rows. With three seeds there are at most
2^3 sets to fit on, and the sums of a seed are the sums of its sets: no row is multiplied twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hieras_eval.benchmarks import Benchmark
from hieras_eval.inner_splits import InnerSplit, inner_split

_PUBLIC, _PRIVATE = 1, 2


@dataclass(frozen=True, eq=False)
class RowSet:
    """Rows that play the same part.

    Attributes:
        seeds: Indices of the seeds that fit on them.
        public: They belong to the public test.
        private: They belong to the private test.
        ranges: Rows [start, stop) in ascending order without overlap (R, 2).
    """

    seeds: tuple[int, ...]
    public: bool
    private: bool
    ranges: np.ndarray

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return int((self.ranges[:, 1] - self.ranges[:, 0]).sum())

    @property
    def parts(self) -> tuple[int, ...]:
        """Indices of the test parts: 0 = public, 1 = private."""
        return tuple(np.flatnonzero([self.public, self.private]).tolist())

    def blocks(self, size: int) -> Iterator[list[slice]]:
        """Portions of ``size`` to 2 ``size`` rows (the last may be smaller), as lists of slices.

        A clip of so many rows comes alone: what is constant over a clip is then constant over
        the portion.
        """
        pending: list[slice] = []
        filled = 0
        for start, stop in self.ranges.tolist():
            for first in range(start, stop, 2 * size):
                rows = slice(first, min(first + 2 * size, stop))
                length = rows.stop - rows.start
                if pending and filled + length > 2 * size:
                    yield pending
                    pending, filled = [], 0
                pending.append(rows)
                filled += length
                if filled >= size:
                    yield pending
                    pending, filled = [], 0
        if pending:
            yield pending


def inner_splits(benchmark: Benchmark) -> dict[int, InnerSplit]:
    """Inner split of every seed."""
    return {
        seed: inner_split(benchmark.train, benchmark.inner_test_size, seed)
        for seed in benchmark.seeds
    }


def row_sets(benchmark: Benchmark) -> list[RowSet]:
    """Sets of rows that are fitted or tested, without those that every seed sets aside.

    Raises:
        UserError: Too few training clips.
    """
    roles: dict[str, int] = {}
    for clip in benchmark.public:
        roles[clip] = roles.get(clip, 0) | _PUBLIC
    for clip in benchmark.private:
        roles[clip] = roles.get(clip, 0) | _PRIVATE
    splits = inner_splits(benchmark)
    for s, seed in enumerate(benchmark.seeds):
        for clip in splits[seed].fit:
            roles[clip] = roles.get(clip, 0) | 4 << s
    ranges = _by_role(np.array([(*benchmark.clips[clip], role) for clip, role in roles.items()]))
    n_seeds = len(benchmark.seeds)
    return [
        RowSet(
            seeds=tuple(s for s in range(n_seeds) if role & 4 << s),
            public=bool(role & _PUBLIC),
            private=bool(role & _PRIVATE),
            ranges=np.array(pieces),
        )
        for role, pieces in sorted(ranges.items())
    ]


def _by_role(clips: np.ndarray) -> dict[int, list[tuple[int, int]]]:
    """Disjoint pieces of the clips (start, stop, role), in ascending order for each role.

    Where clips overlap, their rows play all of their parts.
    """
    edges = np.unique(clips[:, :2])
    roles = np.zeros(len(edges) - 1, dtype=np.int64)
    for start, stop, role in clips.tolist():
        first, last = np.searchsorted(edges, (start, stop))
        roles[first:last] |= role
    pieces: dict[int, list[tuple[int, int]]] = {}
    for start, stop, role in zip(
        edges[:-1].tolist(), edges[1:].tolist(), roles.tolist(), strict=True
    ):
        if role:
            pieces.setdefault(role, []).append((start, stop))
    return pieces
