"""What a run writes while it trains: ``metrics.csv`` and TensorBoard in ``logs/``."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from behaviorzoo.files import atomic_path

METRICS_FILE = "metrics.csv"
BOARD_FOLDER = "logs"


class RunLog:
    """Rows of numbers, and the same for TensorBoard under the original's tags.

    ``train_per_iter/<name>`` has the training: ``loss``, every loss by its name, ``lr``,
    ``clips_per_sec``, ``acc1/<type>``, ``acc5/<type>``; ``eval_per_epoch<suffix>/<name>`` has the
    evaluations. ``metrics.csv`` has a row for each with the columns ``step`` (batches so far),
    ``epoch`` (passes over the data so far), ``train_<name>``, ``val_<name>``.

    Args:
        folder: Run folder.
        rows: Rows of ``metrics.csv`` that count; later ones came after the checkpoint from which
            the run goes on, and are removed.
        step: Batches so far: TensorBoard forgets what it has of later ones.
    """

    def __init__(self, folder: Path, rows: int = 0, step: int = 0):
        from torch.utils.tensorboard.writer import SummaryWriter

        self.path = folder / METRICS_FILE
        self.rows = rows
        self._table = self._kept(rows)
        self._columns = list(dict.fromkeys(key for row in self._table for key in row))
        self._rewrite()
        self._board = SummaryWriter(str(folder / BOARD_FOLDER), purge_step=step)

    def training(self, step: int, epoch: float, numbers: Mapping[str, float]) -> None:
        """Numbers of the batches since the row before."""
        names = {"clips_per_sec": "samples_per_second", "lr": "lr"}
        row = {names.get(key, f"train_{key}"): value for key, value in numbers.items()}
        self._write(step, epoch, row)
        for name, value in numbers.items():
            self._board.add_scalar(f"train_per_iter/{name}", value, step)

    def evaluation(
        self, step: int, epoch: float, numbers: Mapping[str, float], suffix: str = ""
    ) -> None:
        """Numbers of an evaluation; ``suffix`` names the data set."""
        self._write(step, epoch, {f"val{suffix}_{name}": v for name, v in numbers.items()})
        for name, value in numbers.items():
            self._board.add_scalar(f"eval_per_epoch{suffix}/{name}", value, step)

    def close(self) -> None:
        """Put everything on the disk."""
        self._board.close()

    def flush(self) -> None:
        """Put what TensorBoard keeps on the disk."""
        self._board.flush()

    def _write(self, step: int, epoch: float, numbers: Mapping[str, float]) -> None:
        row = {"step": str(step), "epoch": f"{epoch:.6g}"}
        row |= {name: f"{value:.8g}" for name, value in numbers.items()}
        self._table.append(row)
        self.rows += 1
        new = [name for name in row if name not in self._columns]
        if new:
            self._columns += new
            self._rewrite()
            return
        with self.path.open("a", encoding="utf-8", newline="") as handle:
            csv.DictWriter(handle, self._columns, restval="").writerow(row)

    def _kept(self, rows: int) -> list[dict[str, str]]:
        if not rows or not self.path.exists():
            return []
        with self.path.open(encoding="utf-8", newline="") as handle:
            table = [
                {key: value for key, value in row.items() if value}
                for row in csv.DictReader(handle)
            ]
        return table[:rows]

    def _rewrite(self) -> None:
        text = io.StringIO()
        writer: Any = csv.DictWriter(text, self._columns or ["step", "epoch"], restval="")
        writer.writeheader()
        writer.writerows(self._table)
        with atomic_path(self.path) as temporary:
            temporary.write_text(text.getvalue(), encoding="utf-8", newline="")
