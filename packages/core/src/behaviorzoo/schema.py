"""Plain containers <-> typed dataclasses, with every problem told at once.

A configuration is a dataclass: its fields are the keys, their annotations the types, their
``metadata={"help": ...}`` the descriptions. What comes from a yaml file or a command line is
nested dicts and lists; :func:`from_dict` turns these into the dataclass and refuses what does
not fit. OmegaConf's structured configs know neither tuples of tuples nor ``Literal`` nor
the second mistake after the first, which is why this small converter exists.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from behaviorzoo.errors import UserError, suggest

T = TypeVar("T")

_SEQUENCES = (list, tuple, Sequence)
_MAPPINGS = (dict, Mapping)


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a configuration.

    Attributes:
        key: Dotted path of the key, such as ``optim.batch_size``.
        message: What is wrong and what would be right.
    """

    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.key}: {self.message}" if self.key else self.message


@dataclasses.dataclass(frozen=True)
class Key:
    """One leaf of a schema: a dotted path with its type, default and description."""

    path: str
    type: Any
    default: Any
    help: str


def from_dict(schema: type[T], mapping: Mapping[str, Any], where: str = "configuration") -> T:
    """Build the dataclass ``schema`` from nested plain containers.

    Args:
        schema: A dataclass; fields may be dataclasses, tuples, ``Literal``, ``X | None``, dicts.
        mapping: Key -> value; keys that are left out take the dataclass's default.
        where: Where the mapping came from, for the message (a file, for example).

    Raises:
        UserError: Unknown keys, wrong types or missing values: all of them in one message.
    """
    value, problems = convert(schema, mapping)
    if problems:
        raise UserError(report(problems, where))
    return typing.cast(T, value)


def convert(schema: type[T], mapping: Mapping[str, Any]) -> tuple[T | None, list[Problem]]:
    """Like :func:`from_dict`, but gives back the problems instead of raising.

    Returns:
        ``(instance, [])`` or ``(None, problems)``.
    """
    converter = _Converter([key.path for key in keys(schema)])
    value = converter.dataclass(schema, mapping, "")
    return (None if converter.problems else value), converter.problems


def report(problems: Sequence[Problem], where: str = "configuration") -> str:
    """One message for all problems: a single line, or a count and one line for each."""
    if len(problems) == 1:
        return f"{where}: {problems[0]}"
    lines = "\n".join(f"  {problem}" for problem in problems)
    return f"{where}: {len(problems)} problems\n{lines}"


def to_dict(config: Any) -> dict[str, Any]:
    """Nested plain containers (dict, list, str, numbers, bool, None) of a dataclass instance."""
    return {
        field.name: _plain(getattr(config, field.name))
        for field in dataclasses.fields(config)
        if field.init
    }


def to_yaml(config: Any) -> str:
    """Yaml text of a dataclass instance; lists stay on one line. Read by :func:`from_dict`."""
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    Dumper.add_representer(
        list, lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, True)
    )
    return yaml.dump(to_dict(config), Dumper=Dumper, sort_keys=False, allow_unicode=True)


def keys(schema: type, prefix: str = "") -> Iterator[Key]:
    """All leaves of a schema in the order of its fields, nested ones with their dotted path."""
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        if not field.init:
            continue
        path, hint = prefix + field.name, hints[field.name]
        nested = _dataclass_in(hint)
        if nested is not None:
            yield from keys(nested, path + ".")
        else:
            yield Key(path, hint, _default(field), field.metadata.get("help", ""))


def defaults(schema: type) -> dict[str, Any]:
    """Nested plain containers of all defaults; keys that must be given are left out."""
    hints = typing.get_type_hints(schema)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(schema):
        default, nested = _default(field), _dataclass_in(hints[field.name])
        if not field.init or (default is dataclasses.MISSING and nested is None):
            continue
        values[field.name] = _plain(default) if nested is None else defaults(nested)
        if nested is not None and default is not dataclasses.MISSING:
            values[field.name] = _plain(default)
    return values


def describe(schema: type) -> str:
    """Table of every key with type, default and description, for ``--help-config``."""
    lines = []
    for key in keys(schema):
        default = (
            "required" if key.default is dataclasses.MISSING else f"default {_show(key.default)}"
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
        nested = _dataclass_in(hint)
        if nested is not None:
            hint = typing.get_type_hints(nested)[name]
        elif get_origin(hint) in _MAPPINGS:
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
        return " or ".join(_show(arg) for arg in args)
    if _is_union(origin):
        return " or ".join(type_name(arg) for arg in args)
    if origin is tuple and args and args[-1] is not Ellipsis:
        return "list [" + ", ".join(type_name(arg) for arg in args) + "]"
    if origin in _SEQUENCES or hint in _SEQUENCES:
        return "list of " + type_name(args[0]) if args else "list"
    if origin in _MAPPINGS or hint in _MAPPINGS:
        return "mapping name -> " + type_name(args[1]) if args else "mapping"
    return {str: "text", Path: "path", float: "number", bool: "true or false"}.get(
        hint, getattr(hint, "__name__", str(hint))
    )


class _Converter:
    """Walks value and annotation together and gathers what does not fit."""

    def __init__(self, known: list[str]):
        self.known = known
        self.problems: list[Problem] = []

    def dataclass(self, schema: type, value: Any, path: str) -> Any:
        if isinstance(value, schema):
            return value
        if not isinstance(value, Mapping):
            return self._wrong(path, value, f"a section with the keys {_field_names(schema)}")
        hints = typing.get_type_hints(schema)
        fields = {field.name: field for field in dataclasses.fields(schema) if field.init}
        dotted = path + "." if path else ""
        before = len(self.problems)
        given = {}
        for name, item in value.items():
            if name in fields:
                given[name] = self.value(hints[name], item, dotted + name)
            else:
                unknown = f"unknown key; {nearest_key(f'{dotted}{name}', self.known)}"
                self.problems.append(Problem(f"{dotted}{name}", unknown))
        for name, field in fields.items():
            if name not in given and _default(field) is dataclasses.MISSING:
                self._problem(dotted + name, f"missing; expected {type_name(hints[name])}")
        if len(self.problems) > before:
            return None
        try:
            return schema(**given)
        except (UserError, ValueError, TypeError) as error:
            # A dataclass may check relations between its fields; its sentence is the message.
            return self._problem(path, str(error))

    def value(self, hint: Any, value: Any, path: str) -> Any:
        origin, args = get_origin(hint), get_args(hint)
        if dataclasses.is_dataclass(hint):
            return self.dataclass(typing.cast(type, hint), value, path)
        if hint is Any:
            return value
        if origin is Literal:
            return self._literal(args, value, path)
        if _is_union(origin):
            return self._union(args, value, path)
        if origin in _SEQUENCES or hint in _SEQUENCES:
            return self._sequence(hint, value, path)
        if origin in _MAPPINGS or hint in _MAPPINGS:
            return self._mapping(args, value, path)
        return self._scalar(hint, value, path)

    def _scalar(self, hint: Any, value: Any, path: str) -> Any:
        if hint is Path and isinstance(value, str | Path):
            return Path(value)
        if hint is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        # bool is an int to Python, but `epochs=true` is a mistake.
        fits = isinstance(value, hint) and not (hint is not bool and isinstance(value, bool))
        if hint is types.NoneType:
            fits = value is None
        return value if fits else self._wrong(path, value, type_name(hint))

    def _literal(self, choices: tuple[Any, ...], value: Any, path: str) -> Any:
        for choice in choices:
            if value == choice and type(value) is type(choice):
                return value
        expected = " or ".join(_show(choice) for choice in choices)
        hint = f"; {suggest(value, choices)}" if isinstance(value, str) else ""
        return self._problem(path, f"{_show(value)} is not one of {expected}{hint}")

    def _union(self, members: tuple[Any, ...], value: Any, path: str) -> Any:
        if value is None and types.NoneType in members:
            return None
        members = tuple(member for member in members if member is not types.NoneType)
        attempts = []
        # The exact type first, so that an int stays an int under `float | int`.
        for member in sorted(members, key=lambda member: member is not type(value)):
            attempt = _Converter(self.known)
            converted = attempt.value(member, value, path)
            if not attempt.problems:
                return converted
            attempts.append(attempt.problems)
        if len(attempts) == 1:
            self.problems += attempts[0]
            return None
        return self._wrong(path, value, " or ".join(type_name(member) for member in members))

    def _sequence(self, hint: Any, value: Any, path: str) -> Any:
        origin, args = get_origin(hint) or hint, get_args(hint)
        if not isinstance(value, list | tuple):
            return self._wrong(path, value, type_name(hint))
        if origin is tuple and args and args[-1] is not Ellipsis:
            if len(value) != len(args):
                return self._wrong(path, value, f"{type_name(hint)}, {len(args)} values")
            members = args
        else:
            members = (args[0] if args else Any,) * len(value)
        items = [
            self.value(member, item, f"{path}[{index}]")
            for index, (member, item) in enumerate(zip(members, value, strict=True))
        ]
        return items if origin is list else tuple(items)

    def _mapping(self, args: tuple[Any, ...], value: Any, path: str) -> Any:
        if not isinstance(value, Mapping):
            return self._wrong(path, value, "a mapping name -> value")
        key_hint, value_hint = args or (Any, Any)
        return {
            self.value(key_hint, key, f"{path}.{key}"): self.value(
                value_hint, item, f"{path}.{key}"
            )
            for key, item in value.items()
        }

    def _wrong(self, path: str, value: Any, expected: str) -> None:
        self._problem(path, f"got {_show(value)}, expected {expected}")

    def _problem(self, path: str, message: str) -> None:
        self.problems.append(Problem(path, message))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_dict(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _is_union(origin: Any) -> bool:
    return origin in (Union, types.UnionType)


def _dataclass_in(hint: Any) -> type | None:
    """The dataclass of ``X`` or ``X | None``, else nothing."""
    members = get_args(hint) if _is_union(get_origin(hint)) else (hint,)
    for member in members:
        if dataclasses.is_dataclass(member) and isinstance(member, type):
            return member
    return None


def _default(field: dataclasses.Field) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _field_names(schema: type) -> str:
    return ", ".join(field.name for field in dataclasses.fields(schema) if field.init)


def _show(value: Any) -> str:
    """A value as it is written in yaml and on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_show(item) for item in value) + "]"
    return repr(value) if isinstance(value, str) else str(value)
