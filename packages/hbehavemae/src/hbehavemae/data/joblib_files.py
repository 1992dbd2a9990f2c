"""Files of joblib, read and written without running anything that a file names.

``joblib.load`` executes whatever the file says. Here only lists, dicts, strings and numbers and
plain numeric arrays are read; any other name in the file is refused before it is looked up.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from behaviorzoo.errors import UserError
from behaviorzoo.files import existing_file

_CONTAINERS = {
    ("collections", "OrderedDict"): dict,
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): np.ndarray,
}
_SCALAR_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")


class _ForbiddenError(Exception):
    """The file names something that is not data."""


class _Array:
    """Stand-in for joblib's array wrapper: the array's bytes follow it in the file."""

    def __setstate__(self, state: Any) -> None:
        self.state = dict(state)

    def read(self, handle: BinaryIO) -> np.ndarray:
        dtype, shape = self.state["dtype"], self.state["shape"]
        if not isinstance(dtype, np.dtype) or dtype.hasobject:
            # joblib would unpickle these freely.
            raise _ForbiddenError("an array of Python objects")
        if self.state.get("numpy_array_alignment_bytes") is not None:
            handle.read(int.from_bytes(handle.read(1), "little"))
        count = int(np.prod(shape, dtype=np.int64))
        data = handle.read(count * dtype.itemsize)
        if len(data) != count * dtype.itemsize:
            raise EOFError
        # A copy, because `frombuffer` gives read-only memory.
        flat = np.frombuffer(data, dtype).copy()
        return flat.reshape(shape, order=self.state.get("order", "C"))


# The unpickler that is written in Python, because the arrays' bytes stand between the
# instructions of the file; the one in C reads ahead. Type checkers do not know its insides.
_PythonUnpickler: Any = pickle._Unpickler  # type: ignore[attr-defined]


class _Reader(_PythonUnpickler):
    """Reads arrays where they stand, and refuses every name that is not on the list."""

    def __init__(self, handle: BinaryIO):
        super().__init__(handle)
        self.handle = handle
        self.dispatch = dict(self.dispatch)
        self.dispatch[pickle.BUILD[0]] = _Reader._build

    def find_class(self, module: str, name: str) -> Any:
        if module == "joblib.numpy_pickle" and name == "NumpyArrayWrapper":
            return _Array
        if module in _SCALAR_MODULES and name == "scalar":
            return _scalar
        if (module, name) in _CONTAINERS:
            return _CONTAINERS[module, name]
        raise _ForbiddenError(f"{module}.{name}")

    def _build(self) -> None:
        _PythonUnpickler.load_build(self)
        if isinstance(self.stack[-1], _Array):
            self.stack.append(self.stack.pop().read(self.handle))


def load_joblib(path: str | Path) -> Any:
    """Read a joblib file of lists, dicts, plain values and numeric arrays.

    Raises:
        UserError: No such file, damaged, or it names anything else (the name is told; nothing
            of it was executed).
    """
    path = existing_file(path, "joblib")
    try:
        with path.open("rb") as raw:
            return _Reader(_decompressed(raw)).load()
    except _ForbiddenError as error:
        raise UserError(
            f"{path}: refused, it holds {error} besides plain arrays; nothing was executed. "
            "Use the file only as its authors publish it"
        ) from error
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise UserError(f"{path}: the file is truncated or damaged; download it again") from error
    except Exception as error:  # a damaged pickle can fail in any way
        raise UserError(f"{path}: not a joblib file of poses ({type(error).__name__})") from error


def save_joblib(path: Path, value: Any) -> None:
    """Write a joblib file as the original does (not compressed)."""
    import joblib

    joblib.dump(value, path)


def _decompressed(raw: BinaryIO) -> BinaryIO:
    start = raw.read(6)
    raw.seek(0)
    if start[:2] == b"\x1f\x8b":
        return io.BufferedReader(gzip.GzipFile(fileobj=raw))  # type: ignore[arg-type]
    if start[:3] == b"BZh":
        return io.BufferedReader(bz2.BZ2File(raw))  # type: ignore[arg-type]
    if start[:6] == b"\xfd7zXZ\x00" or start[:3] == b"\x5d\x00\x00":
        return io.BufferedReader(lzma.LZMAFile(raw))  # type: ignore[arg-type]
    if start[:1] == b"\x78":  # joblib's default compression
        return io.BytesIO(zlib.decompress(raw.read()))
    return raw


def _scalar(dtype: np.dtype, data: bytes) -> Any:
    if not isinstance(dtype, np.dtype) or dtype.hasobject:
        raise _ForbiddenError("a Python object as a scalar")
    return np.frombuffer(data, dtype)[0]
