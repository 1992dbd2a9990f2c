"""What a restricted pickle may hold: arrays made from checked parts, and plain containers.

The functions here stand in for the numpy and builtin names that a pickle "calls". Each checks
its arguments; sizes are compared before anything is allocated.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_ARRAY_TYPES = {"numpy.ndarray", "numpy.memmap", "numpy.core.memmap.memmap"}
ALLOWED = _ARRAY_TYPES | {
    "numpy.dtype",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy.core.numeric._frombuffer",
    "_codecs.encode",
    "collections.OrderedDict",
    "collections.defaultdict",
    "builtins.bytearray",
    "builtins.bytes",
    "builtins.complex",
    "builtins.dict",
    "builtins.float",
    "builtins.frozenset",
    "builtins.int",
    "builtins.list",
    "builtins.set",
    "builtins.str",
    "builtins.tuple",
}
_DEEPEST_KEY = 8
_PLAIN_DTYPE = re.compile(r"[biufcSUVO?]\d*")


class ForbiddenGlobalError(Exception):
    """The pickle names something that is neither a numpy array nor a plain container."""


class DamagedPickleError(Exception):
    """The pickle is truncated or is not made of arrays and plain containers."""


@dataclass(frozen=True)
class Global:
    """A name in the file, never the object behind it."""

    name: str


@dataclass(frozen=True)
class Payload:
    """The bytes of a large array (uint8), in memory or mapped."""

    data: np.ndarray


@dataclass(eq=False)
class Record:
    """What a file says of an object that is not made: the caller reads it, nothing calls it.

    Attributes:
        name: ``module.name`` of what the file wants called, or the class it wants made.
        arguments: What with.
        state: What the file sets on the result, if anything.
    """

    name: str
    arguments: tuple
    state: Any = None


class Arguments(tuple):
    """A tuple that holds a ``Global`` or a ``Payload``: made for a call or a state."""

    __slots__ = ()


@dataclass
class Unbuilt:
    """An array or data type whose state is still to come."""

    kind: str
    dtype: np.dtype | None = None
    memo_keys: list[int] = field(default_factory=list)


class _Mark:
    pass


MARK = _Mark()


def value(item: Any) -> Any:
    """Refuse names and half-built arrays where a value belongs; return anything else."""
    if isinstance(item, Global):
        raise ForbiddenGlobalError(item.name)
    if isinstance(item, Payload):
        return item.data.tobytes()
    if isinstance(item, Arguments):
        return tuple(map(value, item))
    if isinstance(item, Unbuilt | _Mark):
        raise DamagedPickleError("an array that is not complete")
    return item


def pairs(keys_and_values: list[Any]) -> dict:
    """Dictionary of an alternating list key, value, key, value."""
    return dict(zip(keys(keys_and_values[0::2]), keys_and_values[1::2], strict=True))


def keys(items: Iterable[Any], depth: int = 0) -> list[Any]:
    """Items fit for a dictionary or set: Python crashes hashing tuples nested without end."""
    items = list(items)
    for item in items:
        if isinstance(item, tuple | frozenset):
            if depth == _DEEPEST_KEY:
                raise DamagedPickleError("a key nested too deep")
            keys(item, depth + 1)
    return items


def checked(item: Any, kind: type | tuple[type, ...]) -> Any:
    """Return ``item`` if it is of the kind, else call the file damaged."""
    if not isinstance(item, kind):
        raise DamagedPickleError(f"{type(item).__name__} found where it cannot be")
    return item


# -- constructors: the only "calls" there are -----------------------------------------------------


def _reconstruct(array_type: Any, *_: Any) -> Unbuilt:
    if not isinstance(array_type, Global) or array_type.name not in _ARRAY_TYPES:
        raise DamagedPickleError("an array of an unknown type")
    return Unbuilt("array")


def _new_dtype(text: Any, *_: Any) -> Unbuilt:
    if not isinstance(text, str) or not _PLAIN_DTYPE.fullmatch(text):
        raise DamagedPickleError(f"data type {text!r} is not a plain one")
    return Unbuilt("dtype", dtype=np.dtype(text))


def built_dtype(unbuilt: Unbuilt, state: Any) -> np.dtype:
    """Data type with its byte order and fields; numpy checks that fields lie inside."""
    _version, order, subarray, names, fields, item_size, *_ = checked(state, tuple)
    dtype = unbuilt.dtype
    if dtype is None or subarray is not None or order not in ("<", ">", "=", "|"):
        raise DamagedPickleError("a data type that is not a plain one")
    if names is None:
        return dtype if order == "|" else dtype.newbyteorder(order)
    formats = [checked(fields[name][0], np.dtype) for name in names]
    if any(part.hasobject for part in formats):
        raise DamagedPickleError("Python objects inside a structured array")
    offsets = [checked(fields[name][1], int) for name in names]
    return np.dtype(
        {"names": list(names), "formats": formats, "offsets": offsets, "itemsize": item_size}
    )


def built_array(state: Any) -> np.ndarray:
    """Array from the state (version, shape, dtype, Fortran order, data)."""
    # Version 0 of the state has no version number; every numpy of this century writes 1.
    _version, shape, dtype, fortran, data = checked(state, tuple)
    return _array(shape, dtype, data, "F" if fortran else "C")


def _array(shape: Any, dtype: Any, data: Any, order: str) -> np.ndarray:
    """Array (shape) of the bytes, or of the list of objects, in ``data``."""
    shape = tuple(checked(side, int) for side in checked(shape, tuple))
    if any(side < 0 for side in shape) or order not in ("C", "F"):
        raise DamagedPickleError(f"an array of shape {shape} and order {order!r}")
    size = math.prod(shape)
    if checked(dtype, np.dtype).hasobject:
        return _object_array(shape, size, data, order)
    if isinstance(data, str):  # written by Python 2
        data = data.encode("latin-1")
    data = data.data if isinstance(data, Payload) else checked(data, (bytes, bytearray))
    if len(data) != size * dtype.itemsize or (size and not dtype.itemsize):
        raise DamagedPickleError(f"array of shape {shape}: {len(data)} bytes of data do not fit")
    if size == 0:
        return np.empty(shape, dtype)
    # Short payloads are read-only ``bytes``: copied, so that callers may write. Long ones are ours.
    flat = data.view(dtype) if isinstance(data, np.ndarray) else np.frombuffer(data, dtype).copy()
    return flat.reshape(shape, order=order)  # type: ignore[call-overload]


def _object_array(shape: tuple[int, ...], size: int, data: Any, order: str) -> np.ndarray:
    if len(checked(data, list)) != size:
        raise DamagedPickleError(f"array of shape {shape}: {len(data)} objects do not fit")
    flat = np.empty(size, dtype=object)
    for position, item in enumerate(data):  # element-wise: numpy would unpack nested lists
        flat[position] = item
    return flat.reshape(shape, order=order)  # type: ignore[call-overload]


def _new_array(shape: Any, dtype: Any, *rest: Any) -> np.ndarray | Unbuilt:
    """``numpy.ndarray(shape, dtype, buffer, 0, None, order)``."""
    if not rest:
        return Unbuilt("array")
    buffer, *placement = rest
    if placement not in ([], [0, None, "C"], [0, None, "F"]):
        raise DamagedPickleError("an array with an offset into its buffer")
    return _array(shape, dtype, buffer, placement[-1] if placement else "C")


def _from_buffer(buffer: Any, dtype: Any, shape: Any, order: Any, *axes: Any) -> np.ndarray:
    if axes:
        raise DamagedPickleError("an array with permuted axes")
    return _array(shape, dtype, buffer, order)


def _scalar(dtype: Any, data: Any) -> Any:
    return _array((), dtype, data, "C")[()]


def _encode(text: Any, encoding: Any) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise DamagedPickleError(f"text encoding {encoding!r}")
    return checked(text, str).encode("latin-1")


def _new_mapping(*arguments: Any) -> dict:
    """Ordered and default dictionaries become plain ones; a default factory is dropped."""
    items = arguments[0] if arguments and isinstance(arguments[0], list) else []
    return pairs([part for key, item in items for part in (key, item)])


def _new_bytes(*arguments: Any) -> bytes:
    """Never from a number: that would reserve so many bytes."""
    if not arguments:
        return b""
    if isinstance(arguments[0], str):
        return _encode(*arguments)
    return bytes(checked(arguments[0], (bytes, bytearray)))


CONSTRUCTORS: dict[str, Callable[..., Any]] = {
    "numpy.core.multiarray._reconstruct": _reconstruct,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _from_buffer,
    "numpy.dtype": _new_dtype,
    "numpy.ndarray": _new_array,
    "_codecs.encode": _encode,
    "collections.OrderedDict": _new_mapping,
    "collections.defaultdict": _new_mapping,
    "builtins.bytearray": lambda *arguments: bytearray(_new_bytes(*arguments)),
    "builtins.bytes": _new_bytes,
    "builtins.set": lambda items=(): set(keys(checked(items, (list, tuple)))),
    "builtins.frozenset": lambda items=(): frozenset(keys(checked(items, (list, tuple)))),
    "builtins.complex": lambda real, imaginary: complex(
        checked(real, float), checked(imaginary, float)
    ),
}
