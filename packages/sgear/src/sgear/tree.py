"""The configuration tree of :mod:`sgear.conf`, composed by Hydra from the words of a user.

Words are those of the TXT files: ``key=value``, ``+key=value``, ``~key``, ``group=option``,
``group@key=option``. Every key of the tree is regular, so ``+`` changes nothing for them; whether
a key exists is checked afterwards, in :mod:`sgear.config`, where the nearest name is known.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from behaviorzoo.errors import UserError, suggest

CONF = "sgear.conf"

ALIASES = {
    "model.mod_attn": "model.prot_attn",
    "model.freeze_gamma": "model.freeze_prototypes",
    "model.greeze_prototypes": "model.freeze_prototypes",
    "model.pretrain_blocks": "pretrain_blocks",
}
"""Keys of older files of the authors -> the names of this tree."""

DATASETS = ("dataset_train", "dataset_eval")
"""Every key at the top that begins so is a data set."""


@dataclass(frozen=True)
class Tree:
    """A composed configuration, its interpolations still in place.

    Attributes:
        config: The tree without Hydra's own section.
        hydra: Hydra's own section: folders and launcher.
        overrides: The words it came from.
    """

    config: Any
    hydra: Any
    overrides: tuple[str, ...]

    def resolved(self) -> dict[str, Any]:
        """The tree as plain containers without interpolations.

        Raises:
            UserError: An interpolation of something that is not there.
        """
        return _resolved(self.config, self.hydra)

    def launcher(self) -> dict[str, Any]:
        """Hydra's launcher section without interpolations."""
        return _resolved(self.hydra.hydra.launcher, self.hydra)


@dataclass(frozen=True)
class _Word:
    """A word taken apart: ``+``, ``~`` or nothing, key or group, package after ``@``, value."""

    sign: str
    key: str
    package: str | None
    value: str | None

    @property
    def place(self) -> str:
        return self.key if self.package is None else f"{self.key}@{self.package}"


def compose(words: Sequence[str], run_dir: str | None = None, job: int = 0) -> Tree:
    """Compose the tree.

    Args:
        words: Of one run, no sweeps.
        run_dir: Folder of the experiment, default that of the tree.
        job: Number of the run within it.

    Raises:
        UserError: A word that cannot be read, a group or option that is not there.
    """
    from hydra import compose as hydra_compose
    from hydra.errors import HydraException
    from omegaconf import OmegaConf, open_dict
    from omegaconf.errors import OmegaConfBaseException

    _register_resolvers()
    with _hydra():
        given, later = _behind_links([_hydra_word(word) for word in words])
        if run_dir is not None:
            given.insert(0, f"hydra.run.dir={_quoted(run_dir)}")
        try:
            _check_deletions(given, hydra_compose)
            everything = hydra_compose("config", overrides=given, return_hydra_config=True)
            with open_dict(everything):
                for link, changes in later.items():
                    _change_linked(everything, link, changes)
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(f"configuration: {_one_line(error)}") from error
    with open_dict(everything):
        everything.hydra.job.num = job
        everything.hydra.job.id = str(job)
        everything.hydra.overrides.task = [word for word in words if not _is_hydra(word)]
        everything.hydra.overrides.hydra = [word for word in words if _is_hydra(word)]
        config = OmegaConf.masked_copy(everything, [str(k) for k in everything if k != "hydra"])
        if OmegaConf.is_interpolation(config, "cwd") and "hydra:" in str(config._get_node("cwd")):
            # The saved file can then be read without Hydra, and from anywhere.
            config.cwd = os.getcwd()
            everything.cwd = config.cwd
    return Tree(config, everything, tuple(words))


def groups_loader() -> Any:
    """Hydra's view of the groups of the tree."""
    from hydra.core.global_hydra import GlobalHydra

    with _hydra():
        return GlobalHydra.instance().config_loader()


def _hydra_word(word: str) -> str:
    """The word as Hydra must get it, so that it is accepted with and without ``+``."""
    parsed = _take_apart(word)
    if parsed.key.startswith("hydra.launcher.") and parsed.sign != "~":
        return f"++{parsed.key}={parsed.value}"  # keys are checked when it is known which launcher
    if parsed.key.startswith(("hydra.", "hydra/")):
        return word
    options = _options(parsed.key)
    if not options:
        return _value_word(parsed, word)
    if parsed.sign == "~":
        return f"~{parsed.place}"
    if parsed.value not in options and parsed.value != "null":
        raise UserError(
            f"{parsed.place}={parsed.value}: no such option of the group {parsed.key!r}; "
            f"{suggest(str(parsed.value), options)}"
        )
    new = parsed.place not in _defaults_list()
    if new and (parsed.package is None or not parsed.package.startswith(DATASETS)):
        known = sorted(place for place in _defaults_list() if "/common" not in place)
        raise UserError(f"{parsed.place}: no such group; {suggest(parsed.place, known)}")
    return f"{'+' if new else ''}{parsed.place}={parsed.value}"


def _behind_links(words: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Words, and apart from them those that change a section which another word links.

    ``data_eval=${data_train}`` makes one section of two; ``data_eval.workers=0`` then changes a
    copy. Hydra would put a section with nothing but ``workers`` in its place.
    """
    links = [m[1] for word in words if (m := re.fullmatch(r"\+\+([\w.]+)=\$\{[\w.]+\}", word))]
    now: list[str] = []
    later: dict[str, list[str]] = {}
    for word in words:
        link = next((link for link in links if word.startswith(f"++{link}.")), None)
        if link is None:
            now.append(word)
        else:
            later.setdefault(link, []).append(word)
    return now, later


def _check_deletions(words: Sequence[str], hydra_compose: Any) -> None:
    """Name the nearest key where one is to be deleted that is not there."""
    from omegaconf import OmegaConf

    deleted = [word[1:] for word in words if word.startswith("~") and "/" not in word]
    if not deleted:
        return
    others = hydra_compose("config", overrides=[word for word in words if word[0] != "~"])
    for key in deleted:
        parent, _, last = key.rpartition(".")
        section = OmegaConf.select(others, parent) if parent else others
        if not OmegaConf.is_dict(section) or last not in section:
            near = [f"{parent}.{name}" for name in section] if OmegaConf.is_dict(section) else []
            raise UserError(f"~{key}: no such key; {suggest(key, near or map(str, others))}")


def _change_linked(everything: Any, link: str, words: Sequence[str]) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    section = OmegaConf.select(everything, link)
    OmegaConf.update(everything, link, copy.deepcopy(section), merge=False)
    for override in OverridesParser.create().parse_overrides(list(words)):
        OmegaConf.update(everything, override.key_or_group, override.value(), merge=True)


def _value_word(parsed: _Word, word: str) -> str:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    if parsed.package is not None or "/" in parsed.key:
        groups = sorted({place.partition("@")[0] for place in _defaults_list()})
        raise UserError(f"{word}: no group {parsed.key!r}; {suggest(parsed.key, groups)}")
    if parsed.value is None and parsed.sign != "~":
        raise UserError(f"{word!r} is not of the form key=value")
    key = _alias(parsed.key)
    if parsed.sign == "~":
        return f"~{key}"
    text = f"++{key}={parsed.value}"
    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException as error:
        raise UserError(f"cannot read the value of {word!r}: {_one_line(error)}") from error
    if override.is_sweep_override():
        raise UserError(
            f"{word}: several values make several runs, which `sgear launch` starts; "
            "a list is written in brackets, [1,2]"
        )
    return text


def _alias(key: str) -> str:
    for old, new in ALIASES.items():
        if key == old or key.startswith(f"{old}."):
            return new + key.removeprefix(old)
    return key


def _take_apart(word: str) -> _Word:
    match = re.fullmatch(r"\s*(\+\+|\+|~)?([^=@]+)(?:@([^=]*))?(?:=(.*))?", word, re.DOTALL)
    if match is None:
        raise UserError(f"{word!r} is not of the form key=value")
    sign, key, package, value = match.groups()
    if sign == "~" and value == "null":
        value = None  # how Hydra's sweeper writes a deletion back
    return _Word(sign or "", key.strip(), package, value if value is None else value.strip())


@cache
def _options(group: str) -> tuple[str, ...]:
    """Names that ``group=NAME`` may take, of files of the group and of folders in it."""
    folder = files(CONF).joinpath(*group.split("/"))
    if "." in group or not folder.is_dir():
        return ()
    names = []
    for entry in folder.iterdir():
        if entry.name.endswith(".yaml"):
            names.append(entry.name[:-5])
        elif entry.is_dir() and group == "dataset":
            names += [
                f"{entry.name}/{file.name[:-5]}"
                for file in entry.iterdir()
                if file.name.endswith(".yaml")
            ]
    return tuple(sorted(names))


@cache
def _defaults_list() -> frozenset[str]:
    """``group`` or ``group@package`` of every entry that the first file chooses."""
    import yaml

    text = files(CONF).joinpath("config.yaml").read_text(encoding="utf-8")
    entries = yaml.safe_load(text)["defaults"]
    return frozenset(
        key for entry in entries if isinstance(entry, dict) for key in entry if " " not in key
    )


def _is_hydra(word: str) -> bool:
    return word.lstrip("+~").startswith(("hydra.", "hydra/"))


def _register_resolvers() -> None:
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("minus", lambda a, b: a - b, replace=True)
    OmegaConf.register_new_resolver("times_int", lambda a, b: int(a * b), replace=True)


def _resolved(node: Any, everything: Any) -> dict[str, Any]:
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    _register_resolvers()
    holder: Any = HydraConfig.instance()
    before = holder.cfg
    try:
        holder.cfg = OmegaConf.masked_copy(everything, "hydra")
        plain = OmegaConf.to_container(node, resolve=True)
    except (OmegaConfBaseException, TypeError) as error:
        raise UserError(f"configuration: {_one_line(error)}") from error
    finally:
        holder.cfg = before
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


@contextmanager
def _hydra() -> Iterator[None]:
    """Hydra over the tree, leaving its global state as it was found."""
    from hydra import initialize_config_module
    from hydra.core.global_hydra import GlobalHydra
    from hydra.version import VersionBase

    before, version_before = GlobalHydra.instance().hydra, VersionBase.instance().version_base
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module(CONF, job_name="S-GEAR", version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = before
        VersionBase.instance().version_base = version_before


def _quoted(value: str) -> str:
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(text=value, quote=Quote.single).with_quotes()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()).partition(" See https")[0]
