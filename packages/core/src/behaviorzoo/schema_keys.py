"""What a schema (a configuration dataclass) says of its keys: types, defaults, descriptions."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

SEQUENCES = (list, tuple, Sequence)
MAPPINGS = (dict, Mapping)


@dataclasses.dataclass(frozen=True)
class Key:
    """One leaf of a schema: a dotted path with its type, default and description."""

    path: str
    type: Any
    default: Any
    help: str


def keys(schema: type, prefix: str = "") -> Iterator[Key]:
    """All leaves of a schema in the order of its fields, nested ones with their dotted path."""
    hints, documented = typing.get_type_hints(schema), _documented(schema)
    for field in dataclasses.fields(schema):
        if not field.init:
            continue
        path, hint = prefix + field.name, hints[field.name]
        nested = dataclass_in(hint)
        if nested is not None:
            yield from keys(nested, path + ".")
        else:
            text = field.metadata.get("help") or documented.get(field.name, "")
            yield Key(path, hint, default_of(field), text)


def defaults(schema: type) -> dict[str, Any]:
    """Nested plain containers of all defaults; keys that must be given are left out."""
    hints = typing.get_type_hints(schema)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(schema):
        default, nested = default_of(field), dataclass_in(hints[field.name])
        if not field.init or (default is dataclasses.MISSING and nested is None):
            continue
        values[field.name] = plain(default) if nested is None else defaults(nested)
        if nested is not None and default is not dataclasses.MISSING:
            values[field.name] = plain(default)
    return values


def describe(schema: type) -> str:
    """Table of every key with type, default and description, for ``--help-config``."""
    lines = []
    for key in keys(schema):
        default = (
            "required" if key.default is dataclasses.MISSING else f"default {show(key.default)}"
        )
        lines.append(f"{key.path} ({type_name(key.type)}, {default})")
        if key.help:
            lines.append(f"    {key.help}")
    return "\n".join(lines)


def type_of(schema: type, path: str) -> Any:
    """Annotation of the dotted key ``path``, a dataclass for a section.

    Raises:
        KeyError: The schema has no such key.
    """
    hint: Any = schema
    for name in path.split("."):
        nested = dataclass_in(hint)
        if nested is not None:
            hint = typing.get_type_hints(nested)[name]
        elif get_origin(hint) in MAPPINGS:
            hint = (get_args(hint) or (Any, Any))[1]
        else:
            raise KeyError(path)
    return hint


def nearest_key(path: str, known: Iterable[str]) -> str:
    """Sentence with the dotted key that ``path`` was probably meant to be.

    A close full path wins, then a key of that name in another section (``batch_size`` ->
    ``optim.batch_size``), then a close name anywhere; otherwise the keys beside it are listed.
    """
    known = list(known)
    last = path.rsplit(".", 1)[-1]
    names = {key.rsplit(".", 1)[-1] for key in known}
    full = difflib.get_close_matches(path, known, n=1, cutoff=0.8)
    same = [key for key in known if key.rsplit(".", 1)[-1] == last]
    near = difflib.get_close_matches(last, sorted(names), n=1, cutoff=0.7)
    if full and not same:
        return f"did you mean {full[0]!r}?"
    if same:
        best = difflib.get_close_matches(path, same, n=1, cutoff=0.0)
        return f"did you mean {best[0]!r}?"
    if near:
        candidates = [key for key in known if key.rsplit(".", 1)[-1] == near[0]]
        best = difflib.get_close_matches(path, candidates, n=1, cutoff=0.0)
        return f"did you mean {best[0]!r}?"
    section = path.rsplit(".", 1)[0] + "." if "." in path else ""
    # Nothing is close: list what stands beside it, or the sections when there is no such place.
    beside = {
        section + key[len(section) :].split(".")[0] for key in known if key.startswith(section)
    }
    return "choose one of: " + ", ".join(sorted(beside or {key.split(".")[0] for key in known}))


def type_name(hint: Any) -> str:
    """A type as a user reads it: ``int``, ``"a" or "b"``, ``list of int``, ``number or null``."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is None or hint is types.NoneType:
        return "null"
    if hint is Any:
        return "anything"
    if origin is Literal:
        return " or ".join(show(arg) for arg in args)
    if is_union(origin):
        return " or ".join(type_name(arg) for arg in args)
    if origin is tuple and args and args[-1] is not Ellipsis:
        return "list [" + ", ".join(type_name(arg) for arg in args) + "]"
    if origin in SEQUENCES or hint in SEQUENCES:
        return "list of " + type_name(args[0]) if args else "list"
    if origin in MAPPINGS or hint in MAPPINGS:
        return "mapping name -> " + type_name(args[1]) if args else "mapping"
    return {str: "text", Path: "path", float: "number", bool: "true or false"}.get(
        hint, getattr(hint, "__name__", str(hint))
    )


def is_union(origin: Any) -> bool:
    """Whether an annotation's origin is that of ``X | Y``."""
    return origin in (Union, types.UnionType)


def dataclass_in(hint: Any) -> type | None:
    """The dataclass of ``X`` or ``X | None``, else nothing."""
    members = get_args(hint) if is_union(get_origin(hint)) else (hint,)
    for member in members:
        if dataclasses.is_dataclass(member) and isinstance(member, type):
            return member
    return None


def default_of(field: dataclasses.Field) -> Any:
    """Default value of a field, ``dataclasses.MISSING`` where it must be given."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _documented(schema: type) -> dict[str, str]:
    """Descriptions in the section ``Attributes:`` of a docstring, name -> text."""
    lines = inspect.cleandoc(schema.__doc__ or "").splitlines()
    start = lines.index("Attributes:") + 1 if "Attributes:" in lines else len(lines)
    found: dict[str, str] = {}
    for line in lines[start:]:
        entry = re.fullmatch(r" {4}(\w+): (.*)", line)
        if entry:
            found[entry[1]] = entry[2]
        elif found and line.startswith(" " * 8):
            found[list(found)[-1]] += " " + line.strip()
        elif line.strip():
            break
    return found


def plain(value: Any) -> Any:
    """A value as yaml holds it: dataclasses as dicts, tuples as lists, paths as text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value) if field.init]
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def show(value: Any) -> str:
    """A value as it is written in yaml and on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(show(item) for item in value) + "]"
    return repr(value) if isinstance(value, str) else str(value)
