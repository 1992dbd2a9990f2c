"""Reading pickled arrays and containers without being able to run anything.

A pickle is a program for a small stack machine. This module interprets the part of its language
that writes plain values, containers and numpy arrays. Names of Python objects are only compared
with a fixed list: nothing is imported and nothing that a file names is called, so a hostile file
can at worst be refused. Large arrays are read straight into place, or left on disk and mapped.
"""

from __future__ import annotations

import os
import pickletools
from collections.abc import Callable, Collection
from typing import Any, BinaryIO

import numpy as np

from behaviorzoo.pickled_values import (
    ALLOWED,
    CONSTRUCTORS,
    MARK,
    Arguments,
    DamagedPickleError,
    ForbiddenGlobalError,
    Global,
    Payload,
    Record,
    Unbuilt,
    built_array,
    built_dtype,
    checked,
    keys,
    pairs,
    value,
)

# Payloads of at least this many bytes are not copied through ``bytes`` objects.
LARGE = 1 << 16

_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}


def load(handle: BinaryIO, mapped: np.ndarray | None = None, records: Collection[str] = ()) -> Any:
    """Interpret the pickle at the current position of a file.

    Args:
        handle: File opened for reading bytes, at the first byte of the pickle.
        mapped: The bytes of the whole file as a memory map (uint8). If given, large arrays are
            read-only views of it instead of copies in memory.
        records: Further names (``module.name``) that may occur. What the file wants to do with
            them is not done but written down as :class:`~behaviorzoo.pickled_values.Record`.

    Returns:
        The value: numbers, strings, bytes, lists, tuples, dicts, sets, numpy arrays and scalars,
        and records.

    Raises:
        ForbiddenGlobalError: The file names anything else; the message is ``module.name``.
        DamagedPickleError: Truncated, or not a well-formed pickle of such values.
    """
    return _Machine(handle, mapped, records).run()


class _Machine:
    """The stack machine of the pickle format, reduced to plain values."""

    def __init__(
        self, handle: BinaryIO, mapped: np.ndarray | None, records: Collection[str] = ()
    ) -> None:
        self.handle = handle
        self.mapped = mapped
        self.records = records
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        try:
            while (code := self.handle.read(1)) != b".":
                self._step(code.decode("latin-1"))
            return value(self.stack.pop())
        except (ForbiddenGlobalError, DamagedPickleError):
            raise
        except (
            ValueError,
            TypeError,
            IndexError,
            KeyError,
            AttributeError,
            OverflowError,
            MemoryError,
            EOFError,
        ) as error:
            raise DamagedPickleError(str(error) or type(error).__name__) from error

    def _step(self, code: str) -> None:
        opcode = _OPCODES.get(code)
        if opcode is None:
            what = (
                f"unknown instruction {code!r}" if code else "it ends before its last instruction"
            )
            raise DamagedPickleError(what)
        name = opcode.name
        if name in _PAYLOAD_LENGTH:
            self.stack.append(self._payload(_PAYLOAD_LENGTH[name]))
            return
        # The readers of the standard library parse numbers and strings; they call nothing.
        argument = opcode.arg.reader(self.handle) if opcode.arg is not None else None
        action = _ACTIONS.get(name)
        if action is None:
            raise DamagedPickleError(f"instruction {name} does not belong to arrays and containers")
        action(self, argument)

    def _payload(self, length_bytes: int) -> bytes | Payload:
        """Bytes as ``bytes`` when short, as a uint8 array (mapped if possible) when long."""
        length = int.from_bytes(self.handle.read(length_bytes), "little")
        start = self.handle.tell()
        end = self.handle.seek(0, os.SEEK_END)
        self.handle.seek(start)
        # Seen before anything is allocated: a false length must not reserve the whole memory.
        if start + length > end:
            raise DamagedPickleError(f"{length} bytes announced, {end - start} are left")
        if length < LARGE:
            return self.handle.read(length)
        if self.mapped is not None:
            self.handle.seek(start + length)
            return Payload(self.mapped[start : start + length])
        data = np.empty(length, dtype=np.uint8)
        self.handle.readinto(data.data)  # type: ignore[attr-defined]
        return Payload(data)

    # -- stack and memo ----------------------------------------------------------------------

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        """Top of the stack as a value fit for a container."""
        return value(self.stack.pop())

    def pop_to_mark(self) -> list[Any]:
        for position in range(len(self.stack) - 1, -1, -1):
            if self.stack[position] is MARK:
                items = self.stack[position + 1 :]
                del self.stack[position:]
                return items
        raise DamagedPickleError("a list without a beginning")

    def values_to_mark(self) -> list[Any]:
        return [value(item) for item in self.pop_to_mark()]

    def top(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise DamagedPickleError(f"a {kind.__name__} was expected")
        return self.stack[-1]

    def memoize(self, key: int) -> None:
        top = self.stack[-1]
        if isinstance(top, Unbuilt):
            top.memo_keys.append(key)
        self.memo[key] = top

    def extend(self, values: list[Any]) -> None:
        self.top(list).extend(values)

    def update(self, keys_and_values: list[Any]) -> None:
        self.top(dict).update(pairs(keys_and_values))

    def add(self, values: list[Any]) -> None:
        self.top(set).update(keys(values))

    def make_tuple(self, items: list[Any]) -> None:
        """A tuple is a value, or made for a call when it holds a name or a payload."""
        if any(isinstance(item, Global | Payload) for item in items):
            self.push(Arguments(i if isinstance(i, Payload | Global) else value(i) for i in items))
        else:
            self.push(tuple(map(value, items)))

    def make_short_tuple(self, length: int) -> None:
        items = self.stack[-length:]
        if len(items) != length:
            raise DamagedPickleError("a tuple with too few values")
        del self.stack[-length:]
        self.make_tuple(items)

    # -- the names of numpy ------------------------------------------------------------------

    def name_global(self, module: str, name: str) -> None:
        full = f"{module}.{name}".replace("__builtin__.", "builtins.", 1)
        full = full.replace("numpy._core.", "numpy.core.", 1)
        if full not in ALLOWED and full not in self.records:
            raise ForbiddenGlobalError(f"{module}.{name}")
        self.push(Global(full))

    def stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.name_global(checked(module, str), checked(name, str))

    def reduce(self) -> None:
        """What the file wants called is one of our own constructors, or refused."""
        arguments, called = self.stack.pop(), self.stack.pop()
        if not isinstance(called, Global) or not isinstance(arguments, tuple):
            raise DamagedPickleError("a call of something that is not a name")
        if called.name in self.records:
            self.push(Record(called.name, arguments))
            return
        constructor = CONSTRUCTORS.get(called.name)
        if constructor is None:
            raise ForbiddenGlobalError(f"{called.name} (called)")
        self.push(constructor(*arguments))

    def new_object(self) -> None:
        """A class made without its constructor: written down like a call, or refused."""
        arguments, made = self.stack.pop(), self.stack.pop()
        if not isinstance(made, Global) or not isinstance(arguments, tuple):
            raise DamagedPickleError("an object of something that is not a name")
        if made.name not in self.records:
            raise ForbiddenGlobalError(f"{made.name} (made)")
        self.push(Record(made.name, arguments))

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack.pop()
        if isinstance(target, Record):
            target.state = value(state)
            self.push(target)
            return
        if not isinstance(target, Unbuilt):
            raise DamagedPickleError("a state for something that is not an array")
        built = built_dtype(target, state) if target.kind == "dtype" else built_array(state)
        for key in target.memo_keys:
            self.memo[key] = built
        self.push(built)


# -- the instructions -----------------------------------------------------------------------------

_ARGUMENT_IS_VALUE = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
)
_PAYLOAD_LENGTH = {"SHORT_BINBYTES": 1, "BINBYTES": 4, "BINBYTES8": 8, "BYTEARRAY8": 8}


def _ignore(machine: _Machine, argument: Any) -> None:
    """Protocol number and frame lengths carry no value."""


def _push_constant(value: Any) -> Callable[[_Machine, Any], object]:
    return lambda machine, _: machine.push(value)


def _push_argument(machine: _Machine, argument: Any) -> None:
    machine.push(argument)


def _global(machine: _Machine, argument: str) -> None:
    machine.name_global(*argument.split(" ", 1))


_ACTIONS: dict[str, Callable[[_Machine, Any], object]] = {
    **dict.fromkeys(("PROTO", "FRAME"), _ignore),
    **dict.fromkeys(_ARGUMENT_IS_VALUE, _push_argument),
    "NONE": _push_constant(None),
    "NEWTRUE": _push_constant(True),
    "NEWFALSE": _push_constant(False),
    "MARK": _push_constant(MARK),
    "EMPTY_TUPLE": _push_constant(()),
    "EMPTY_LIST": lambda m, _: m.push([]),
    "EMPTY_DICT": lambda m, _: m.push({}),
    "EMPTY_SET": lambda m, _: m.push(set()),
    "LIST": lambda m, _: m.push(m.values_to_mark()),
    "FROZENSET": lambda m, _: m.push(frozenset(keys(m.values_to_mark()))),
    "DICT": lambda m, _: m.push(pairs(m.values_to_mark())),
    "TUPLE": lambda m, _: m.make_tuple(m.pop_to_mark()),
    "TUPLE1": lambda m, _: m.make_short_tuple(1),
    "TUPLE2": lambda m, _: m.make_short_tuple(2),
    "TUPLE3": lambda m, _: m.make_short_tuple(3),
    "APPEND": lambda m, _: m.extend([m.pop()]),
    "APPENDS": lambda m, _: m.extend(m.values_to_mark()),
    "SETITEM": lambda m, _: m.update([m.pop(), m.pop()][::-1]),
    "SETITEMS": lambda m, _: m.update(m.values_to_mark()),
    "ADDITEMS": lambda m, _: m.add(m.values_to_mark()),
    "POP": lambda m, _: m.stack.pop(),
    "POP_MARK": lambda m, _: m.pop_to_mark(),
    "MEMOIZE": lambda m, _: m.memoize(len(m.memo)),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), lambda m, key: m.memoize(int(key))),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda m, key: m.push(m.memo[int(key)])),
    "GLOBAL": _global,
    "STACK_GLOBAL": lambda m, _: m.stack_global(),
    "REDUCE": lambda m, _: m.reduce(),
    "NEWOBJ": lambda m, _: m.new_object(),
    "BUILD": lambda m, _: m.build(),
}
