"""Plain containers <-> typed dataclasses, with every problem told at once.

A configuration is a dataclass: its fields are the keys, their annotations the types, their
``metadata={"help": ...}`` the descriptions. What comes from a yaml file or a command line is
nested dicts and lists; :func:`from_dict` turns these into the dataclass and refuses what does
not fit. OmegaConf's structured configs know neither tuples of tuples nor ``Literal`` nor
the second mistake after the first, which is why this small converter exists.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.schema_keys import (
    MAPPINGS,
    SEQUENCES,
    default_of,
    is_union,
    keys,
    nearest_key,
    plain,
    show,
    type_name,
)

T = TypeVar("T")


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
    return plain(config)


def to_yaml(config: Any) -> str:
    """Yaml text of a dataclass instance; lists stay on one line. Read by :func:`from_dict`."""
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    Dumper.add_representer(
        list, lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, True)
    )
    return yaml.dump(to_dict(config), Dumper=Dumper, sort_keys=False, allow_unicode=True)


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
                # The keys of a list's items stand in no table of dotted keys.
                known = [dotted + field for field in fields] if "[" in path else self.known
                unknown = f"unknown key; {nearest_key(f'{dotted}{name}', known)}"
                self.problems.append(Problem(f"{dotted}{name}", unknown))
        for name, field in fields.items():
            if name not in given and default_of(field) is dataclasses.MISSING:
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
        if is_union(origin):
            return self._union(args, value, path)
        if origin in SEQUENCES or hint in SEQUENCES:
            return self._sequence(hint, value, path)
        if origin in MAPPINGS or hint in MAPPINGS:
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
        expected = " or ".join(show(choice) for choice in choices)
        hint = f"; {suggest(value, choices)}" if isinstance(value, str) else ""
        return self._problem(path, f"{show(value)} is not one of {expected}{hint}")

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
        self._problem(path, f"got {show(value)}, expected {expected}")

    def _problem(self, path: str, message: str) -> None:
        self.problems.append(Problem(path, message))


def _field_names(schema: type) -> str:
    return ", ".join(field.name for field in dataclasses.fields(schema) if field.init)
