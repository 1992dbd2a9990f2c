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
from behaviorzoo.schema_keys import (
    MAPPINGS,
    defaults,
    describe,
    keys,
    nearest_key,
    type_name,
    type_of,
)

__all__ = [
    "compose",
    "compose_run",
    "describe",
    "from_dict",
    "keys_of_section",
    "read_yaml",
    "to_dict",
    "to_yaml",
]

T = TypeVar("T")


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
    ``data=mice``). A choice may also be the path of a yaml file of the user's
    (``experiment=mine.yaml``), for example the resolved ``config.yaml`` of an earlier run; a
    recipe lies over the one that is chosen by default, unless it has a ``defaults`` list.
    Later words win; words win over files; files win over the dataclass's defaults. A mapping
    of free names (``encoders``) in a file of the user's replaces the one below it as a list
    does; ``encoders.NAME=null`` takes one entry out.

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
                    base = _default_choice(conf_module, config_name, override.key)
                    if _is_file(override.value):
                        given.append(Path(override.value).expanduser())
                        words.append(_file_word(override.key, given, Path(folder), schema, base))
                    elif override.value != "null":
                        words.append(_choice_word(override, choices))
                    elif base is not None:
                        words.append(f"~{override.key}")
                else:
                    words.append(_value_word(override, schema))
            except UserError as error:
                problems.append(Problem(override.key, str(error)))
        search = f"hydra.searchpath=[file://{folder}]"
        try:
            composed = hydra_compose(config_name, overrides=[search, *words])
            # The defaults lie below, so that a file may refer to any key: out: runs/${name}
            merged = OmegaConf.merge(defaults(schema), composed)
            plain = cast(dict[str, Any], OmegaConf.to_container(merged, resolve=True))
        except (HydraException, OmegaConfBaseException) as error:
            problems.append(Problem("", _one_line(error)))
            raise UserError(report(problems)) from error
    _settle_mappings(schema, plain, given, overrides)
    config, misfits = convert(schema, plain)
    problems += [_located(problem, given) for problem in misfits]
    if problems or config is None:
        raise UserError(report(problems))
    return config


def compose_run(
    schema: type[T],
    conf_module: str,
    words: Sequence[str] = (),
    start: T | None = None,
    resume: bool = False,
) -> T:
    """Compose the settings of a run, over those of another one where that is asked for.

    Args:
        schema: The dataclass to fill; it has ``out``, the run folder.
        conf_module: Import name of the package with the yaml files.
        words: The user's words, see :func:`compose`.
        start: Settings that the words change; the default experiment where not given.
        resume: Start from the settings saved in the run folder that the words mean, unless
            they name an experiment.

    Raises:
        UserError: Everything that is wrong, in one message.
    """
    words = list(words)
    if resume and not any(word.startswith("experiment=") for word in words):
        naming = [word for word in words if word.startswith(("out=", "name="))]
        folder = cast(Any, compose(schema, conf_module, naming)).out
        saved = Path(folder).expanduser() / "config.yaml"
        if saved.is_file():
            return compose(schema, conf_module, [f"experiment={saved}", *words])
    if start is None:
        return compose(schema, conf_module, words)
    with tempfile.TemporaryDirectory(prefix="behaviorzoo-") as folder:
        file = Path(folder) / "settings.yaml"
        file.write_text(to_yaml(start), encoding="utf-8")
        return compose(schema, conf_module, [f"experiment={file}", *words])


def keys_of_section(words: Sequence[str], section: str, why: str) -> set[str]:
    """Keys within one section that words set, such as ``path`` for ``data.path=x``.

    Args:
        words: The user's words.
        section: The only section that they may change.
        why: End of the message for other words.

    Raises:
        UserError: Words about something else.
    """
    given = {word: word.lstrip("+").partition("=")[0] for word in words}
    others = [word for word, key in given.items() if key.partition(".")[0] != section]
    if others:
        raise UserError(f"{', '.join(others)}: only {section}.* can be set here, {why}")
    return {key.partition(".")[2] for key in given.values()}


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
    folder = files(conf_module).joinpath(*group.split("."))
    if not folder.is_dir():
        return []
    return sorted(file.name[:-5] for file in folder.iterdir() if file.name.endswith(".yaml"))


def _split(words: Sequence[str], problems: list[Problem]) -> Iterator[_Override]:
    for word in words:
        key, equals, value = word.partition("=")
        key = key.strip().lstrip("+")  # Hydra's `+key=value` means the same here
        if not equals or not key or key.startswith("~"):
            problems.append(Problem("", f"{word!r} is not of the form key=value"))
        else:
            yield _Override(key, value.strip())


def _default_choice(conf_module: str, config_name: str, group: str) -> str | None:
    """What the first yaml file chooses for a group where the user does not."""
    import yaml

    text = files(conf_module).joinpath(f"{config_name}.yaml").read_text(encoding="utf-8")
    for entry in yaml.safe_load(text).get("defaults", []):
        if isinstance(entry, Mapping) and group in entry:
            return entry[group]
    return None


def _is_file(choice: str) -> bool:
    return choice.endswith((".yaml", ".yml")) or os.sep in choice


def _choice_word(override: _Override, choices: list[str]) -> str:
    if override.value not in choices:
        hint = suggest(override.value, choices)
        raise UserError(f"no choice or yaml file {override.value!r}; {hint}")
    return f"{override.key}={override.value}"


def _file_word(
    group: str, given: Sequence[Path], folder: Path, schema: type, base: str | None
) -> str:
    """Put the user's latest file where Hydra looks for choices of the group; Hydra's word for it.

    Args:
        group: Name of the group.
        given: Files of the user's, this one last.
        folder: Where Hydra looks besides the packages.
        schema: The dataclass.
        base: The group's choice by default.
    """
    content = read_yaml(given[-1])
    text = given[-1].read_text(encoding="utf-8")
    is_section = group in {field.name for field in fields(schema)}
    if not is_section and "defaults" not in content:
        above = f"defaults: [/{group}/{base}, _self_]\n" if base else ""
        text = f"# @package _global_\n{above}{text}"
    copy = folder / group / f"given_{len(given)}.yaml"
    copy.parent.mkdir(exist_ok=True)
    copy.write_text(text, encoding="utf-8")
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
    value = override.value
    if _is_text(hint, value):
        value = _quoted(value)
    elif _is_text_list(hint, value):
        items = [item.strip() for item in value[1:-1].split(",")]
        value = "[" + ",".join(_quoted(item) for item in items if item) + "]"
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
    scalars = [
        member
        for member in _members(hint)
        if get_origin(member) in (None, Literal) and member not in (NoneType, list, tuple, dict)
    ]
    return bool(scalars) and all(
        member in (str, Path) or all(isinstance(choice, str) for choice in get_args(member) or [0])
        for member in scalars
    )


def _is_text_list(hint: Any, value: str) -> bool:
    """Whether the value is a flat list whose items can only be text (``[14,27]``: two names)."""
    flat = value[:1] == "[" and value[-1:] == "]" and not set(value[1:-1]) & set("[]{}'\"")
    lists = [member for member in _members(hint) if get_origin(member) in (list, tuple)]
    return flat and bool(lists) and all(set(get_args(m)) <= {str, Ellipsis} for m in lists)


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _quoted(value: str) -> str:
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(text=value, quote=Quote.single).with_quotes()


def _settle_mappings(
    schema: type, plain: dict[str, Any], given: Sequence[Path], words: Sequence[str]
) -> None:
    """Mappings of free names hold what the user's latest file and words say, in that order.

    Hydra merges mappings: names of the recipe below the file would stay among those of the file.
    """
    changed = [word.partition("=")[0].strip().lstrip("+") + "." for word in words]
    contents = [read_yaml(file) for file in given]
    for key in keys(schema):
        section, _, last = key.path.rpartition(".")
        mapping = _at(plain, key.path)
        if get_origin(key.type) not in MAPPINGS or not isinstance(mapping, Mapping):
            continue
        stated = [at for content in contents if isinstance(at := _at(content, key.path), Mapping)]
        names = list(mapping)
        if stated:
            added = [n for n in names if any(w.startswith(f"{key.path}.{n}.") for w in changed)]
            names = list(dict.fromkeys([*stated[-1], *added]))
        may_be_null = NoneType in _members(get_args(key.type)[1])
        _at(plain, section)[last] = {
            name: mapping[name] for name in names if may_be_null or mapping[name] is not None
        }


def _at(tree: Any, path: str) -> Any:
    """What stands at a dotted path of nested mappings; ``_ABSENT`` where nothing does."""
    for name in path.split(".") if path else ():
        tree = tree.get(name, _ABSENT) if isinstance(tree, Mapping) else _ABSENT
    return tree


def _located(problem: Problem, given: Sequence[Path]) -> Problem:
    """Name the user's file that holds the key, if one does."""
    for file in given:
        if _at(read_yaml(file), problem.key.split("[")[0]) is not _ABSENT:
            return Problem(problem.key, f"{problem.message} (in {file})")
    return problem


_ABSENT = object()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
