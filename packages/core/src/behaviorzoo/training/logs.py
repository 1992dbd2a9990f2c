"""What a run writes while it trains: ``metrics.csv`` and TensorBoard, and the check for NaN."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO, cast

import lightning
import torch

from behaviorzoo.batches import BatchLoader
from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path
from behaviorzoo.training.module import TrainingModule

METRICS_FILE = "metrics.csv"
TENSORBOARD_FOLDER = "tensorboard"


class MetricsLog(lightning.Callback):
    """Writes one row every few updates, and stops the run when the loss is no number.

    Columns: ``step`` (updates so far), ``epoch`` (passes over the data so far, a fraction),
    ``train_*`` (means over all batches since the row before), ``val_*`` (in rows of their own),
    ``lr``, ``grad_norm`` (of this update, before clipping), ``samples_per_second`` (all processes).

    On a CUDA device nothing here waits for the device except where a row is written.

    Args:
        run_dir: The run folder.
        every: Updates from one row to the next.
        loader: The training batches, for their size.

    Attributes:
        latest: The numbers of the latest rows, by column.
    """

    def __init__(self, run_dir: Path, every: int, loader: BatchLoader[Any]):
        self.run_dir = run_dir
        self.every = every
        self.loader = loader
        self.latest: dict[str, float] = {}
        self._sums: list[float] | torch.Tensor = []
        self._batches = 0
        self._batches_timed = 0
        self._bad_step: torch.Tensor | None = None
        self._rows = 0
        self._since = time.monotonic()
        self._columns: list[str] = []
        self._file: TextIO | None = None
        self._board: Any = None

    def state_dict(self) -> dict[str, Any]:
        """Rows written, and the sums of the row under way."""
        sums = self._sums.tolist() if isinstance(self._sums, torch.Tensor) else list(self._sums)
        return {
            "rows": self._rows,
            "batches": self._batches,
            "sums": sums,
            "latest": dict(self.latest),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the row under way."""
        self._rows = int(state_dict["rows"])
        self._batches = int(state_dict["batches"])
        self._sums = list(state_dict["sums"])
        self.latest.update(state_dict["latest"])

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Open the logs; after a resume without the rows that came after the checkpoint."""
        module = cast(TrainingModule, pl_module)
        sums = [float(value) for value in self._sums] or [0.0] * len(module.train_measures)
        self._sums = sums
        if module.device.type == "cuda":
            self._sums = torch.tensor(sums, dtype=torch.float64, device=module.device)
            self._bad_step = torch.tensor(-1, device=module.device)
        self._columns = [
            "step",
            "epoch",
            *(f"train_{name}" for name in module.train_measures),
            *(f"val_{name}" for name in module.val_measures),
            "lr",
            "grad_norm",
            "samples_per_second",
        ]
        self._since = time.monotonic()
        if trainer.is_global_zero:
            self._open(trainer.global_step)

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Add the batch; write a row after the update if it is time to."""
        module = cast(TrainingModule, pl_module)
        self._add(trainer, module)
        updated = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if updated and trainer.global_step % self.every == 0:
            self.check_finite(trainer)
            self._write_train_row(trainer, module, batch_idx)

    def on_validated(
        self, trainer: lightning.Trainer, epoch: int, results: Mapping[str, float]
    ) -> None:
        """Write the row of the validation after ``epoch``."""
        self._write(trainer, {"epoch": epoch + 1, **results})

    def check_finite(self, trainer: lightning.Trainer) -> None:
        """Refuse to go on, or to save, after a loss that is no number.

        Raises:
            UserError: It names the update where it happened.
        """
        if self._bad_step is not None and (step := int(self._bad_step)) >= 0:
            raise self._not_a_number(trainer, step)

    @property
    def board(self) -> Any:
        """The ``SummaryWriter`` of the run; None in all processes but the first."""
        return self._board

    def teardown(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str
    ) -> None:
        """Close the logs."""
        self._close()

    def on_exception(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        exception: BaseException,
    ) -> None:
        """Close the logs of a run that ends early: Lightning calls no ``teardown`` then."""
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._board.close()
            self._file = self._board = None

    def _add(self, trainer: lightning.Trainer, module: TrainingModule) -> None:
        self._batches += 1
        self._batches_timed += 1
        measured = [module.measured[name] for name in module.train_measures]
        if isinstance(self._sums, torch.Tensor):
            row = torch.stack(measured).double()
            self._sums += row
            bad_step = cast(torch.Tensor, self._bad_step)
            first = ~row[0].isfinite() & (bad_step < 0)
            self._bad_step = bad_step.masked_fill(first, trainer.global_step)
            return
        values = [value.item() for value in measured]
        if not math.isfinite(values[0]):
            raise self._not_a_number(trainer, trainer.global_step)
        self._sums = [total + value for total, value in zip(self._sums, values, strict=True)]

    def _not_a_number(self, trainer: lightning.Trainer, step: int) -> UserError:
        return UserError(
            f"the loss is not a finite number at step {step} (epoch {trainer.current_epoch}); the "
            f"checkpoints in {self.run_dir} are from before. Look for NaN or huge values in the "
            "data, or lower the learning rate"
        )

    def _write_train_row(
        self, trainer: lightning.Trainer, module: TrainingModule, batch_idx: int
    ) -> None:
        means = self._means(trainer, module)
        now = time.monotonic()
        samples = self._batches_timed * self.loader.sampler.batch_size * trainer.world_size
        rate = samples / max(now - self._since, 1e-9)
        self._since, self._batches_timed = now, 0
        row = {f"train_{name}": value for name, value in means.items()}
        row["epoch"] = trainer.current_epoch + (batch_idx + 1) / len(self.loader)
        row["lr"] = trainer.optimizers[0].param_groups[0]["lr"]
        if module.grad_norm is not None:
            row["grad_norm"] = float(module.grad_norm)
        row["samples_per_second"] = rate
        self._write(trainer, row)

    def _means(self, trainer: lightning.Trainer, module: TrainingModule) -> dict[str, float]:
        """Means over the batches of all processes since the latest row; starts new sums."""
        count, sums = self._batches, self._sums
        self._batches = 0
        self._sums = torch.zeros_like(sums) if isinstance(sums, torch.Tensor) else [0.0] * len(sums)
        if trainer.world_size > 1:
            totals = torch.as_tensor(sums, dtype=torch.float64, device=module.device)
            sums = cast(torch.Tensor, trainer.strategy.reduce(totals, reduce_op="mean"))
        values = sums.tolist() if isinstance(sums, torch.Tensor) else sums
        return {
            name: value / count for name, value in zip(module.train_measures, values, strict=True)
        }

    def _write(self, trainer: lightning.Trainer, row: Mapping[str, float]) -> None:
        self.latest.update({name: value for name, value in row.items() if name != "epoch"})
        self._rows += 1
        if self._file is None:
            return
        step = trainer.global_step
        tags = cast(TrainingModule, trainer.lightning_module).board_tags
        cells = {"step": str(step), **{name: f"{value:.9g}" for name, value in row.items()}}
        self._file.write(_line([cells.get(name, "") for name in self._columns]))
        # A kill must not take a row that a later checkpoint counts.
        self._file.flush()
        for name, value in row.items():
            self._board.add_scalar(tags.get(name, name), value, step)

    def _open(self, step: int) -> None:
        # tensorboard costs a second to import: only where something is written.
        from torch.utils.tensorboard.writer import SummaryWriter

        path = self.run_dir / METRICS_FILE
        with atomic_path(path) as temporary:
            temporary.write_text(_first_rows(path, self._columns, self._rows), encoding="utf-8")
        self._file = path.open("a", encoding="utf-8", newline="")
        folder = str(self.run_dir / TENSORBOARD_FOLDER)
        self._board = SummaryWriter(folder, purge_step=step + 1)


def _first_rows(path: Path, columns: Sequence[str], n_rows: int) -> str:
    """Header and the first ``n_rows`` rows of a log; later ones are of a future that never was."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    header = _line(columns)
    rows = lines[1 : 1 + n_rows] if lines[:1] == [header] else []
    return header + "".join(row for row in rows if row.endswith("\n"))


def _line(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
