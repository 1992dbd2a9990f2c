"""Which row an index of an epoch stands for: repeated sets and classes drawn equally often."""

from __future__ import annotations

import numpy as np

from sgear.data.sampling import Draws


class RowChoice:
    """Index of an epoch -> row of the table.

    Args:
        n_rows: Rows of the table.
        repeat: An epoch is this many times the set; below 1 every index stands for several
            neighbouring rows, one of which is drawn.
        labels: Main label of each row where classes are to be drawn equally often, else None.
            Rows with label -1 are not drawn then.
    """

    def __init__(self, n_rows: int, repeat: float = 1.0, labels: np.ndarray | None = None):
        self.n_rows, self.repeat = n_rows, repeat
        self._by_class: list[np.ndarray] = []
        if labels is not None:
            classes = np.unique(labels[labels >= 0])
            self._by_class = [np.flatnonzero(labels == label) for label in classes]

    def __len__(self) -> int:
        return max(int(self.n_rows * self.repeat), 1)

    def row(self, index: int, draws: Draws) -> int:
        """Row of an index; random only where it has to be."""
        row = self._repeated(index, draws) if self.repeat != 1.0 else index
        return self._balanced(row, draws) if self._by_class else row

    def _repeated(self, index: int, draws: Draws) -> int:
        row = int(index / self.repeat)
        if self.repeat < 1:
            row += draws.integer(max(int(1 / self.repeat), 1))
        return row % self.n_rows

    def _balanced(self, row: int, draws: Draws) -> int:
        """Spread the rows over a set in which every class is as large as the largest."""
        largest = max(map(len, self._by_class))
        n_spread = largest * len(self._by_class)
        place = round(row * (n_spread - 1) / max(self.n_rows - 1, 1))
        rows = self._by_class[place // largest]
        return int(rows[draws.integer(len(rows))])
