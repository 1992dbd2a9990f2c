"""Typed configuration from yaml files and ``key=value`` words, composed by Hydra.

A method has a package of yaml files (``hbehavemae.conf``) with a ``config.yaml`` and groups:
the folder ``experiment`` holds one file per published recipe, and ``experiment=shot7m2`` picks
one. Hydra composes the files, :mod:`behaviorzoo.schema` turns the result into the method's
dataclass, and every mistake of the user (unknown key, wrong type, bad syntax, unknown file)
is told in one message.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.files import existing_file
from behaviorzoo.schema import Problem, convert, from_dict, report, to_dict, to_yaml
from behaviorzoo.schema_keys import defaults, describe, keys, nearest_key, type_name, type_of

__all__ = ["compose", "describe", "from_dict", "read_yaml", "to_dict", "to_yaml"]

T = TypeVar("T")

SHARED_GROUPS = "behaviorzoo.conf"
"""Package with the groups that all methods share, such as ``launch``."""


@dataclass(frozen=True)
class _Override:
    """One ``key=value`` word of the user, taken apart."""

    key: str
    value: str


def compose(
    schema: type[T],
    conf_module: str,
    overrides: Sequence[str] = (),
    config_name: str = "config",
) -> T:
    """Compose the yaml files of a package with the user's words into a typed configuration.

    A word is ``key=value`` with a dotted key of the schema (``optim.batch_size=8``, lists as
    ``[1,2,3]``) or ``group=choice`` with a group of the package (``experiment=shot7m2``,
    ``launch=local``). A choice may also be the path of a yaml file of the user's
    (``experiment=mine.yaml``), for example the resolved ``config.yaml`` of an earlier run.
    Later words win; words win over files; files win over the dataclass's defaults.

    Args:
        schema: The dataclass to fill.
        conf_module: Import name of the package with the yaml files.
        overrides: The user's words.
        config_name: The yaml file to start from, without suffix.

    Returns:
        An instance of ``schema``.

    Raises:
        UserError: Everything that is wrong, in one message.
    """
    from hydra import compose as hydra_compose
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    problems: list[Problem] = []
    words: list[str] = []
    given: list[Path] = []
    with tempfile.TemporaryDirectory(prefix="behaviorzoo-") as folder, _hydra(conf_module):
        for override in _split(overrides, problems):
            choices = _choices(conf_module, override.key)
            try:
                if choices:
                    words.append(_choice_word(override, choices, schema, Path(folder), given))
                else:
                    words.append(_value_word(override, schema))
            except UserError as error:
                problems.append(Problem(override.key, str(error)))
        search = f"hydra.searchpath=[pkg://{SHARED_GROUPS},file://{folder}]"
        try:
            composed = hydra_compose(config_name, overrides=[search, *words])
            # The defaults lie below, so that a file may refer to any key: out: runs/${name}
            merged = OmegaConf.merge(defaults(schema), composed)
            plain = OmegaConf.to_container(merged, resolve=True)
        except (HydraException, OmegaConfBaseException) as error:
            problems.append(Problem("", _one_line(error)))
            raise UserError(report(problems)) from error
    config, misfits = convert(schema, cast(dict[str, Any], plain))
    problems += [_located(problem, given) for problem in misfits]
    if problems or config is None:
        raise UserError(report(problems))
    return config


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a yaml file with a mapping at its top, such as the ``config.yaml`` of a run.

    Raises:
        UserError: No such file, not yaml, or not a mapping.
    """
    import yaml

    path = existing_file(path, "configuration")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a yaml file ({_one_line(error)})") from error
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: expected 'key: value' lines, got {type(content).__name__}")
    return {str(key): value for key, value in content.items()}


@contextmanager
def _hydra(conf_module: str) -> Iterator[None]:
    """Hydra over a package of yaml files, leaving its global state as it was found."""
    from hydra import initialize_config_module
    from hydra.core.global_hydra import GlobalHydra
    from hydra.version import VersionBase

    # Another Hydra program may be running in this process (a notebook, someone's own script).
    before, version_before = GlobalHydra.instance().hydra, VersionBase.instance().version_base
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module(conf_module, version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = before
        VersionBase.instance().version_base = version_before


def _choices(conf_module: str, group: str) -> list[str]:
    """Names that ``group=NAME`` may take: the yaml files of that folder."""
    names = set()
    for package in (conf_module, SHARED_GROUPS):
        folder = files(package).joinpath(*group.split("."))
        if folder.is_dir():
            names |= {file.name[:-5] for file in folder.iterdir() if file.name.endswith(".yaml")}
    return sorted(names)


def _split(words: Sequence[str], problems: list[Problem]) -> Iterator[_Override]:
    for word in words:
        key, equals, value = word.partition("=")
        key = key.strip().lstrip("+")  # Hydra's `+key=value` means the same here
        if not equals or not key or key.startswith("~"):
            problems.append(Problem("", f"{word!r} is not of the form key=value"))
        else:
            yield _Override(key, value.strip())


def _choice_word(
    override: _Override,
    choices: list[str],
    schema: type,
    folder: Path,
    given: list[Path],
) -> str:
    """Hydra's word for ``group=choice``, where the choice may be a file of the user's."""
    group, choice = override.key, override.value
    if choice in choices or choice == "null":
        return f"{group}={choice}"
    if not choice.endswith((".yaml", ".yml")) and os.sep not in choice:
        raise UserError(f"no choice or yaml file {choice!r}; {suggest(choice, choices)}")
    file = Path(choice).expanduser()
    read_yaml(file)
    text = file.read_text(encoding="utf-8")
    if "@package" not in text and group not in {field.name for field in fields(schema)}:
        # Not a section of the schema but a recipe: its keys start at the top.
        text = "# @package _global_\n" + text
    copy = folder / group / f"given_{len(given)}.yaml"
    copy.parent.mkdir(exist_ok=True)
    copy.write_text(text, encoding="utf-8")
    given.append(file)
    return f"{group}={copy.stem}"


def _value_word(override: _Override, schema: type) -> str:
    """Hydra's word for ``key=value``: text is quoted so that any path can be written bare."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        hint = type_of(schema, override.key)
    except KeyError:
        nearest = nearest_key(override.key, (key.path for key in keys(schema)))
        raise UserError(f"unknown key; {nearest}") from None
    value = _quoted(override.value) if _is_text(hint, override.value) else override.value
    word = f"++{override.key}={value}"
    try:
        parsed = OverridesParser.create().parse_override(word)
    except HydraException as error:
        expected = type_name(hint)
        raise UserError(f"cannot read the value {override.value!r}, expected {expected}") from error
    if parsed.is_sweep_override():
        raise UserError(
            f"{override.value!r} is several values, expected {type_name(hint)}; "
            "a list is written in brackets, [1,2]"
        )
    return word


def _is_text(hint: Any, value: str) -> bool:
    """Whether the value can only be meant as text, whatever it looks like (``2024``, ``a=b``)."""
    if value == "null" or value.startswith(("[", "{", "'", '"')):
        return False
    members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    scalars = [
        member
        for member in members
        if get_origin(member) in (None, Literal) and member not in (NoneType, list, tuple, dict)
    ]
    return bool(scalars) and all(
        member in (str, Path) or all(isinstance(choice, str) for choice in get_args(member) or [0])
        for member in scalars
    )


def _quoted(value: str) -> str:
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(text=value, quote=Quote.single).with_quotes()


def _located(problem: Problem, given: Sequence[Path]) -> Problem:
    """Name the user's file that holds the key, if one does."""
    for file in given:
        node: Any = read_yaml(file)
        for name in problem.key.split("[")[0].split("."):
            node = node.get(name, _ABSENT) if isinstance(node, Mapping) else _ABSENT
        if node is not _ABSENT:
            return Problem(problem.key, f"{problem.message} (in {file})")
    return problem


_ABSENT = object()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
