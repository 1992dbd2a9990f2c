"""The words of a command line that say where it runs, apart from those that say what it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.launch.config import LaunchConfig
from behaviorzoo.schema import from_dict
from behaviorzoo.schema_keys import describe

_LAUNCHERS = ("local", "slurm")


@dataclass(frozen=True)
class Given:
    """A command line taken apart.

    Attributes:
        settings: Where to run.
        words: What to run: everything else, in order.
        asked: Whether anything was said about where to run.
        wait: Follow the job until it ends.
        sweep: Words with several values mean one run for each.
    """

    settings: LaunchConfig
    words: list[str]
    asked: bool = False
    wait: bool = False
    sweep: bool = False


def take_apart(words: Sequence[str]) -> Given:
    """Separate ``launch=slurm launch.nodes=2 --wait --sweep`` from the rest.

    ``launch=FILE.yaml`` reads the keys from a file, for what a group always asks its cluster
    for; ``--launch slurm`` is the same as ``launch=slurm``.

    Raises:
        UserError: An unknown key or launcher, or a wrong value.
    """
    rest: list[str] = []
    values: dict[str, Any] = {}
    flags = {"--wait": False, "--sweep": False}
    asked = False
    queue = list(words)
    while queue:
        word = queue.pop(0)
        key, equals, value = word.partition("=")
        key = key.lstrip("+")
        if word in flags:
            flags[word] = True
        elif key in ("launch", "--launch", "launch.launcher"):
            if not equals:
                if not queue:
                    raise UserError("--launch: local, slurm or a .yaml file must follow")
                value = queue.pop(0)
            values |= _choice(value)
            asked = True
        elif key.startswith("launch.") and equals:
            _set(values, key.removeprefix("launch."), _parsed(value))
            asked = True
        else:
            rest.append(word)
    settings = from_dict(LaunchConfig, values, where="launch")
    given = Given(settings, rest, asked, flags["--wait"], flags["--sweep"])
    _check(given)
    return given


def trainer_words(nodes: int, tasks: int) -> list[str]:
    """Words that tell a verb with ``trainer.*`` keys how many processes train together."""
    return [f"trainer.devices={tasks}", f"trainer.num_nodes={nodes}"]


def help_text() -> str:
    """Every ``launch.*`` key with its type, default and meaning."""
    lines = describe(LaunchConfig).splitlines()
    return "\n".join(line if line.startswith(" ") else f"launch.{line}" for line in lines)


def _check(given: Given) -> None:
    settings = given.settings
    if settings.launcher == "slurm":
        return
    if given.wait:
        raise UserError("--wait: only a job can be waited for; add launch=slurm, or leave it out")
    for name in ("nodes", "partition", "account", "qos", "constraint", "extra"):
        if getattr(settings, name) != getattr(LaunchConfig(), name):
            raise UserError(
                f"launch.{name}: only a scheduler can give this, launch=local runs on this "
                "machine; add launch=slurm, or leave it out"
            )


def _choice(value: str) -> dict[str, Any]:
    if value in _LAUNCHERS:
        return {"launcher": value}
    if value.endswith((".yaml", ".yml")):
        # Only here, because reading yaml files brings the whole of the configuration with it.
        from behaviorzoo.config import read_yaml

        content = read_yaml(Path(value).expanduser())
        from_dict(LaunchConfig, content, where=value)  # complains in the name of the file
        return {"launcher": "slurm", **content}
    raise UserError(f"launch={value}: no launcher or .yaml file; {suggest(value, _LAUNCHERS)}")


def _parsed(value: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        return value


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    section, _, rest = key.partition(".")
    if rest:
        values.setdefault(section, {})
        if not isinstance(values[section], dict):
            raise UserError(f"launch.{key}: {section} has no keys of its own")
        values[section] = {**values[section], rest: value}
    else:
        values[section] = value
