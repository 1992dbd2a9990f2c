"""The benchmark dictionaries: ``.npy`` files that hold one pickled Python dictionary.

MABe22, Shot7M2, hBABEL and CalMS21 ship poses, labels and submissions in this form. Plain numpy
would run any code hidden in such a file; here it is interpreted by
:mod:`behaviorzoo.restricted_pickle`, which knows arrays and plain containers only.
"""

from __future__ import annotations

import ast
import io
import mmap
import pickle
import struct
from collections.abc import Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

from behaviorzoo import restricted_pickle
from behaviorzoo.errors import UserError, suggest
from behaviorzoo.files import atomic_path, existing_file
from behaviorzoo.pickled_values import DamagedPickleError, ForbiddenGlobalError

_MAGIC = b"\x93NUMPY"
# The header is a short line of text; numpy refuses longer ones for safety too.
_LONGEST_HEADER = 10_000


def load_dictionary(
    path: str | Path, *, memory_map: bool = False, what: str = "a dictionary"
) -> dict[Any, Any]:
    """Read a dictionary from an ``.npy`` file (or a bare pickle) without running anything.

    Numbers, text, lists, tuples, dictionaries, sets and numpy arrays are read; ordered and
    default dictionaries come back as plain ones, numpy subclasses as plain arrays. Each large
    array is read straight into its own memory, so nothing is held twice.

    Args:
        path: The file.
        memory_map: Leave arrays of 64 KiB and more on the disk as read-only views that are
            read when used. Works for every file of pickle protocol 3 or later (what numpy has
            written under Python 3). The views need not be aligned in memory.
        what: What the file should be, for the message when it holds something else.

    Returns:
        The dictionary.

    Raises:
        UserError: No such file, empty, truncated, not an npy file, not a dictionary, or a file
            that names anything but arrays and plain containers (the name is given).
    """
    path = existing_file(path, "npy dictionary")
    mapped = np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray) if memory_map else None
    with path.open("rb") as handle:
        _skip_header(handle, path, what)
        try:
            value = restricted_pickle.load(handle, mapped)
        except ForbiddenGlobalError as error:
            raise UserError(
                f"{path}: refused, it wants {error} but only numpy arrays and plain containers "
                "are read; nothing was run; ask for the data in another form"
            ) from error
        except DamagedPickleError as error:
            raise UserError(
                f"{path}: truncated or damaged ({error}); download or write it again"
            ) from error
    if isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 0:
        value = value[()]
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds {_described(value)}, expected {what}")
    return value


def save_dictionary(path: str | Path, dictionary: Mapping[Any, Any]) -> Path:
    """Write a dictionary as ``.npy``, readable by plain numpy of any version.

    The file appears under its name only when it is complete. Arrays are written from where they
    are, without a copy in memory (pickle protocol 5, Python >= 3.8).

    Args:
        path: Target; it is used as given, no suffix is added.
        dictionary: Plain containers and numpy arrays.

    Returns:
        The path.

    Raises:
        UserError: The disk is full or the folder cannot be written.
    """
    path = Path(path)
    holder = np.empty((), dtype=object)
    holder[()] = dict(dictionary)
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "|O", "fortran_order": False, "shape": ()}
        )
        handle.write(header.getvalue())
        _ArrayPickler(handle, protocol=5).dump(holder)
    return path


def pose_sequences(
    path: str | Path, *, memory_map: bool = False
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the pose sequences of a benchmark dictionary in file order.

    Two layouts are known: ``{"sequences": {"keypoints": {name: array}}}`` (Shot7M2) and
    ``{"sequences": {name: {"keypoints": array}}}`` (MABe).

    Args:
        path: The ``.npy`` file.
        memory_map: See :func:`load_dictionary`.

    Yields:
        Name, and key points as the file has them: (frames, individuals, keypoints, space).

    Raises:
        UserError: See :func:`load_dictionary`; also when the layout is neither of the two.
    """
    sequences = required(load_dictionary(path, memory_map=memory_map), "sequences", path)
    if isinstance(sequences, dict) and isinstance(sequences.get("keypoints"), dict):
        items = sequences["keypoints"].items()
    elif isinstance(sequences, dict):
        items = (
            (name, required(entry, "keypoints", f"{path}: sequence {name!r}"))
            for name, entry in sequences.items()
        )
    else:
        raise UserError(f"{path}: 'sequences' is {_described(sequences)}, expected a dictionary")
    for name, keypoints in items:
        if not isinstance(keypoints, np.ndarray) or keypoints.dtype.kind not in "fiu":
            raise UserError(
                f"{path}: key points of {name!r} are {_described(keypoints)}, "
                "expected an array of numbers"
            )
        yield str(name), keypoints


def load_submission(
    path: str | Path, *, memory_map: bool = True
) -> tuple[dict[str, tuple[int, int]], np.ndarray]:
    """Read a MABe submission ``{"frame_number_map", "embeddings"}``.

    Args:
        path: The ``.npy`` file.
        memory_map: Leave the embeddings on the disk, read when used; see
            :func:`load_dictionary`. A submission larger than the memory can be opened so.

    Returns:
        Frame ranges, clip -> (start, stop) with stop exclusive; embeddings (frames, features).

    Raises:
        UserError: See :func:`load_dictionary`; also for a missing part, embeddings that are not
            a 2-D array of numbers, or a range outside the embeddings.
    """
    dictionary = load_dictionary(path, memory_map=memory_map)
    embeddings = required(dictionary, "embeddings", path)
    if (
        not isinstance(embeddings, np.ndarray)
        or embeddings.dtype.kind != "f"
        or embeddings.ndim != 2
    ):
        raise UserError(
            f"{path}: 'embeddings' is {_described(embeddings)}, expected floats (frames, features)"
        )
    ranges = frame_ranges(required(dictionary, "frame_number_map", path), path)
    for name, (start, stop) in ranges.items():
        if not 0 <= start <= stop <= len(embeddings):
            raise UserError(
                f"{path}: clip {name!r} has frames [{start}, {stop}) "
                f"but there are {len(embeddings)} rows of embeddings"
            )
    return ranges, embeddings


def frame_ranges(frame_map: Any, path: str | Path) -> dict[str, tuple[int, int]]:
    """Clip -> (start, stop) of a ``frame_number_map``, stop exclusive.

    Args:
        frame_map: What stands in the file: pairs of any kind (tuples, lists, arrays).
        path: The file, for messages.

    Raises:
        UserError: Not a dictionary of pairs of whole numbers.
    """
    if not isinstance(frame_map, dict):
        raise UserError(f"{path}: 'frame_number_map' is {_described(frame_map)}, expected a dict")
    return {str(name): _frame_range(entry, name, path) for name, entry in frame_map.items()}


def release_pages(array: np.ndarray) -> None:
    """Let go of the memory that the read parts of a mapped array occupy.

    They are read from the file again when used again. Without effect on other arrays. A pass over
    a large mapped file counts as memory of the process until this is called.
    """
    owner: Any = array
    while isinstance(owner, np.ndarray):
        # Only what can be read again: pages of a writeable map may hold what the file does not.
        if owner.flags.writeable:
            return
        owner = owner.base
    if isinstance(owner, mmap.mmap) and hasattr(owner, "madvise"):
        owner.madvise(mmap.MADV_DONTNEED)


def required(dictionary: Any, key: str, where: str | Path) -> Any:
    """Return ``dictionary[key]``, or say in one line which keys there are instead.

    Raises:
        UserError: Not a dictionary, or no such key.
    """
    if not isinstance(dictionary, Mapping):
        raise UserError(f"{where}: {_described(dictionary)} found, expected a dict with {key!r}")
    if key not in dictionary:
        raise UserError(f"{where}: no key {key!r}; {suggest(key, dictionary)}")
    return dictionary[key]


def _skip_header(handle: BufferedReader, path: Path, what: str) -> None:
    """Check that the file is an npy of one Python object; stop at its first pickle byte."""
    magic = handle.read(len(_MAGIC))
    if magic[:1] == b"\x80":  # a bare pickle, as some label files are
        handle.seek(0)
        return
    if magic != _MAGIC:
        raise UserError(f"{path}: not an npy file (it does not begin with the npy signature)")
    version = handle.read(2)
    length_format = "<H" if version[:1] == b"\x01" else "<I"
    try:
        (length,) = struct.unpack(length_format, handle.read(struct.calcsize(length_format)))
        text = handle.read(min(length, _LONGEST_HEADER + 1))
        if not 0 < len(text) == length:
            raise ValueError(f"header of {length} bytes")
        header = ast.literal_eval(text.decode("latin-1").strip())
        kind, shape = header["descr"], header["shape"]
    except (struct.error, ValueError, SyntaxError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: damaged npy header ({error}); download it again") from error
    if kind not in ("|O", "O"):
        raise UserError(f"{path}: holds an array {shape} of type {kind!r}, expected {what}")


def _frame_range(entry: Any, name: Any, path: str | Path) -> tuple[int, int]:
    try:
        start, stop = entry
        return int(start), int(stop)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{path}: clip {name!r} has the frame range {entry!r}, expected (start, stop)"
        ) from error


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array {value.shape} of {value.dtype}"
    return f"a {type(value).__name__}"


class _ArrayPickler(pickle.Pickler):
    """Writes arrays as ``numpy.ndarray(shape, dtype, buffer)``.

    That name is the same in every numpy, while the usual ``numpy._core.multiarray._reconstruct``
    is unknown before numpy 1.26.
    """

    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, np.ndarray) or obj.dtype.hasobject or obj.dtype.kind in "Mm":
            return NotImplemented
        fortran = obj.flags.f_contiguous and not obj.flags.c_contiguous
        array = obj if obj.flags.forc else np.ascontiguousarray(obj)
        if not array.size:
            return np.ndarray, (array.shape, array.dtype, b"")
        # Read-only bytes would give the reader a read-only array.
        flat = array.reshape(-1, order="F" if fortran else "C").view(np.uint8)
        writeable = flat if flat.flags.writeable else flat.copy()
        order = (0, None, "F") if fortran else ()
        return np.ndarray, (array.shape, array.dtype, pickle.PickleBuffer(writeable.data), *order)
