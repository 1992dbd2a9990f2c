"""Stored results of an evaluation: one HDF5 file per process, in the authors' layout.

``results<suffix>/<rank>.h5`` has a row per evaluated item in ``idx``, ``uid``,
``logits/<space>``, ``loss/<name>``, ``target/<type>`` and ``epoch``. Two of the authors' data sets
are laid out otherwise here, and both layouts are read: losses of past frames are (items, T), where
theirs are B*T rows that no longer fit to ``idx``; the loss of the features is one mean per item,
where theirs (items, T-1, D) is half of the file.

Letters: B items of a batch, N items, C classes, T frames.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from behaviorzoo.errors import UserError, suggest

_BLOCK = 256
"""Rows that are compressed together."""

_UID_BYTES = 64

_GZIP = 1
"""With bytes shuffled first this is smaller than gzip 9 without, and many times faster."""


class ResultsWriter:
    """Streams the results of one process into its file, which appears when it is complete.

    Use as a context manager, or call :meth:`close`; leaving by an exception writes nothing.

    Args:
        folder: Results folder, such as ``run/results``.
        rank: Number of the process.
        store: Outputs whose name begins so are stored.
    """

    def __init__(self, folder: str | Path, rank: int = 0, store: str = "logits") -> None:
        self.path = Path(folder) / f"{rank}.h5"
        self.store = store
        self._rows: dict[str, list[np.ndarray]] = {}
        self._waiting = 0
        self._written = 0
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=f".{rank}.", suffix=".h5", dir=self.path.parent)
            os.close(handle)
            self._temporary = Path(name)
            self._file = h5py.File(name, "w")
        except OSError as error:
            raise UserError(f"{self.path}: cannot write ({error.strerror or error})") from error

    def append(
        self,
        outputs: Mapping[str, Any],
        *,
        idx: Any,
        uid: Any,
        target: Mapping[str, Any],
        losses: Mapping[str, Any] | None = None,
        epoch: float = 0.0,
    ) -> None:
        """Add a batch.

        Args:
            outputs: Outputs of the model, tensors or arrays (B, ...); see ``store``.
            idx: int (B,), row of each item in its data set.
            uid: (B,) numbers or texts.
            target: Label type -> int (B,).
            losses: Loss name -> unreduced (B, ...) or (B*T,); one number counts for all items.
            epoch: When this was.
        """
        rows = {"idx": _array(idx).astype(np.int64), "uid": _uids(uid, self.path)}
        number = len(rows["idx"])
        stored = {name: value for name, value in outputs.items() if name.startswith(self.store)}
        if not stored:
            raise UserError(
                f"{self.path}: no output of the model begins with {self.store!r} "
                f"(eval.eval_fn.store_endpoint); {suggest(self.store, outputs)}"
            )
        rows.update({name: _array(value) for name, value in stored.items()})
        for name, value in (losses or {}).items():
            rows[f"loss/{name}"] = _per_item(_array(value), number)
        rows.update({f"target/{name}": _array(value) for name, value in target.items()})
        rows["epoch"] = np.full(number, epoch, dtype=np.float64)
        for name, value in rows.items():
            if len(value) != number:
                raise ValueError(f"{name}: {len(value)} rows in a batch of {number}")
            self._rows.setdefault(name, []).append(value)
        self._waiting += number
        if self._waiting >= _BLOCK:
            self._flush()

    def _flush(self) -> None:
        for name, parts in self._rows.items():
            block = np.concatenate(parts) if parts else None
            if block is None:
                continue
            if name not in self._file:
                self._file.create_dataset(
                    name,
                    data=block,
                    maxshape=(None, *block.shape[1:]),
                    chunks=(_BLOCK, *block.shape[1:]),
                    compression="gzip",
                    compression_opts=_GZIP,
                    shuffle=True,
                )
            else:
                data: Any = self._file[name]
                data.resize(self._written + len(block), axis=0)
                data[self._written :] = block
        self._rows = {name: [] for name in self._rows}
        self._written += self._waiting
        self._waiting = 0

    def close(self) -> Path:
        """Write what waits and give the file its name.

        Raises:
            UserError: The disk refuses.
        """
        try:
            self._flush()
            self._file.close()
            os.replace(self._temporary, self.path)
        except OSError as error:
            raise UserError(f"{self.path}: cannot write ({error.strerror or error})") from error
        finally:
            self._temporary.unlink(missing_ok=True)
        return self.path

    def __enter__(self) -> ResultsWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
            return
        self._file.close()
        self._temporary.unlink(missing_ok=True)


@dataclass(frozen=True)
class Results:
    """Results of all processes, a row per item, in the order of ``idx``.

    Attributes:
        idx: int64 (N,), ascending; rows of the data set.
        uid: (N,) numbers or texts; empty where the file has none.
        logits: Space -> float64 (N, C).
        targets: Label type -> int64 (N,).
        losses: Name -> float64 (N,) or (N, T).
        stored: int64 (N,), how many copies were averaged (data sets are padded among processes).
        epoch: Of the last item; None where the file has none.
        where: The folder.
        notes: What was repaired.
    """

    idx: np.ndarray
    uid: np.ndarray
    logits: dict[str, np.ndarray]
    targets: dict[str, np.ndarray] = field(default_factory=dict)
    losses: dict[str, np.ndarray] = field(default_factory=dict)
    stored: np.ndarray = field(default_factory=lambda: np.array([], dtype=np.int64))
    epoch: float | None = None
    where: Path = Path()
    notes: list[str] = field(default_factory=list)


def read_results(folder: str | Path) -> Results:
    """Read the files of all processes; items that occur several times are averaged.

    Args:
        folder: Results folder, with ``0.h5``, ``1.h5`` ... by this package or by the authors.

    Raises:
        UserError: No such folder, no file in it, a damaged file, or rows that do not fit.
    """
    folder = Path(folder).expanduser()
    files = result_files(folder)
    if not files:
        what = "has no stored results (0.h5, 1.h5, ...)" if folder.is_dir() else "no such folder"
        raise UserError(f"{folder}: {what}; `sgear test` with eval.eval_fn.store=true makes them")
    notes: list[str] = []
    parts = [_read_file(file, notes) for file in files]
    for file, part in zip(files, parts, strict=True):
        for name in parts[0].keys() ^ part.keys():
            raise UserError(f"{file}: {name!r} is only in some of the files of {folder}")
    if not any(name.startswith("logits/") for name in parts[0]):
        raise UserError(f"{files[0]}: no scores ('logits/...') in it; is it a file of results?")
    rows = {name: _joined([part[name] for part in parts], name, folder) for name in parts[0]}
    idx = rows.pop("idx")
    if not len(idx):
        raise UserError(f"{folder}: the files of results have no item")
    if idx.min() < 0:
        raise UserError(f"{folder}: idx {int(idx.min())} is no row of a data set")
    groups = _Groups(idx)
    epoch = rows.pop("epoch", None)
    return Results(
        idx=groups.idx,
        uid=groups.first(rows.pop("uid", np.array([])), "uid", folder),
        logits=_within("logits/", rows, groups.mean),
        targets=_within("target/", rows, lambda v: groups.first(v, "target", folder)),
        losses=_within("loss/", rows, groups.mean),
        stored=groups.counts,
        epoch=None if epoch is None or not len(epoch) else float(np.ravel(epoch)[-1]),
        where=folder,
        notes=list(dict.fromkeys(notes)),
    )


def result_files(folder: str | Path) -> list[Path]:
    """``<rank>.h5`` of a results folder, in the order of the ranks."""
    files = [file for file in Path(folder).glob("*.h5") if file.stem.isdigit()]
    return sorted(files, key=lambda file: int(file.stem))


class _Groups:
    """Rows with the same index, to be averaged or checked."""

    def __init__(self, idx: np.ndarray) -> None:
        self.idx, self.inverse, self.counts = np.unique(
            idx.astype(np.int64), return_inverse=True, return_counts=True
        )
        self.order = np.argsort(self.inverse, kind="stable")
        self.starts = np.cumsum(self.counts) - self.counts

    def mean(self, rows: np.ndarray) -> np.ndarray:
        """Mean of each group, float64."""
        if len(self.idx) == len(rows):
            found = np.empty(rows.shape, dtype=np.float64)
            found[self.inverse] = rows
            return found
        sums = np.add.reduceat(rows[self.order].astype(np.float64), self.starts, axis=0)
        return sums / self.counts.reshape(-1, *[1] * (rows.ndim - 1))

    def first(self, rows: np.ndarray, name: str, folder: Path) -> np.ndarray:
        """The value of each group, which must be one."""
        if not len(rows):
            return rows
        found = rows[self.order][self.starts]
        differs = rows != found[self.inverse]
        if differs.any():
            at = int(differs.argmax())
            raise UserError(
                f"{folder}: item {int(self.idx[self.inverse[at]])} is stored twice with different "
                f"values of {name}; are files of different evaluations mixed?"
            )
        return found


def _read_file(path: Path, notes: list[str]) -> dict[str, np.ndarray]:
    try:
        with h5py.File(path, "r") as file:
            rows: dict[str, np.ndarray] = {}

            def take(name: str, item: Any) -> None:
                if isinstance(item, h5py.Dataset):
                    rows[name] = np.asarray(item[()])

            file.visititems(take)
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise UserError(f"{path}: truncated, or not a file of results (HDF5)") from error
    if "idx" not in rows:
        raise UserError(f"{path}: no data set 'idx', so it is not a file of results")
    number = len(rows["idx"])
    if "uid" in rows:
        rows["uid"] = _texts(rows["uid"])
    for name, value in rows.items():
        if value.ndim and len(value) == number:
            continue
        if name.startswith("loss/") and value.ndim and number and not len(value) % number:
            # Flattened frames of the past, batch after batch: T rows for each item.
            rows[name] = value.reshape(number, len(value) // number, *value.shape[1:])
            notes.append(f"{name}: rows of frames were put back to their items")
        elif name != "epoch":
            raise UserError(f"{path}: {name!r} has {value.shape} rows for {number} items")
    return rows


def _joined(parts: list[np.ndarray], name: str, folder: Path) -> np.ndarray:
    try:
        return np.concatenate([np.atleast_1d(part) for part in parts])
    except ValueError as error:
        raise UserError(f"{folder}: {name!r} differs in shape among the files") from error


def _within(prefix: str, rows: Mapping[str, np.ndarray], work: Any) -> dict[str, np.ndarray]:
    return {
        name.removeprefix(prefix): work(value)
        for name, value in rows.items()
        if name.startswith(prefix)
    }


def _per_item(loss: np.ndarray, number: int) -> np.ndarray:
    """A loss as (B,) or (B, T): what is wider is averaged, flattened frames get their item."""
    if loss.ndim == 0:
        return np.full(number, loss, dtype=np.float32)
    if loss.ndim == 1 and len(loss) != number and number and len(loss) % number == 0:
        return loss.reshape(number, -1)
    if loss.ndim > 2:
        return loss.reshape(len(loss), -1).mean(axis=1)
    return loss


def _uids(values: Any, path: Path) -> np.ndarray:
    """Numbers as they are, texts as bytes of the authors' fixed length."""
    array = np.asarray(values) if isinstance(values, (list, tuple)) else _array(values)
    if array.dtype.kind not in "USO":
        return array
    texts = [v if isinstance(v, bytes) else str(v).encode("utf-8") for v in array.tolist()]
    longest = max(texts, key=len, default=b"")
    if len(longest) > _UID_BYTES:
        raise UserError(f"{path}: uid {longest.decode()!r} is longer than {_UID_BYTES} bytes")
    return np.array(texts, dtype=f"S{_UID_BYTES}")


def _texts(values: np.ndarray) -> np.ndarray:
    """Bytes as texts; numbers stay."""
    if values.dtype.kind == "S":
        return np.char.decode(values, "utf-8")
    if values.dtype.kind == "O":
        texts = [v.decode("utf-8") if isinstance(v, bytes) else str(v) for v in values.tolist()]
        return np.array(texts, dtype=str)
    return values


def _array(value: Any) -> np.ndarray:
    """An array on the CPU; half precisions become float32, which HDF5 readers know."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if value.is_floating_point() else value
        return value.numpy()
    return np.asarray(value)
