"""Weights to start from: parts of other networks into ours, with a list of what was taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from behaviorzoo.errors import UserError, suggest
from sgear.weight_names import our_name, read_weights

_SHOWN = 6


@dataclass
class LoadReport:
    """What became of the weights of a file.

    Attributes:
        path: The file.
        taken: Names that were loaded, as our network has them.
        misshapen: Names that both have, with other shapes.
        missing: Names that the network has and the file has not.
        unused: Names in the file that the network has not.
    """

    path: Path
    taken: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """A line of numbers, and one for each kind of what was left."""
        left = {"other shape": self.misshapen, "not in it": self.missing, "unused": self.unused}
        lines = [f"{self.path}: {len(self.taken)} weights taken"]
        for kind, names in left.items():
            if names:
                more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
                lines.append(f"  {kind}: {', '.join(names[:_SHOWN])}{more}")
        return lines


def load_init(model: nn.Module, entries: Sequence[Any] | str | None) -> list[LoadReport]:
    """Start from weights of other files (``train.init_from_model``).

    Weights whose shape is another one stay as they are; what is taken and what not is reported.

    Args:
        model: The network, not wrapped.
        entries: A path, or entries ``[path]``, ``[module, path]`` or ``[module, prefixes, path]``:
            the module to load into, and the beginnings of names (separated by commas) that are
            kept and cut off.

    Raises:
        UserError: Entries of another form, unknown modules, files that cannot be read, or a file
            of which nothing fits.
    """
    return [_load_entry(model, *_entry(entry)) for entry in _entries(entries)]


def load_pretrained_blocks(model: nn.Module, path: str | Path, blocks: Sequence[str]) -> LoadReport:
    """Take parts of another run of S-GEAR (``pre_train``).

    Args:
        model: The network, not wrapped.
        path: Checkpoint of the other run.
        blocks: Weights whose name contains one of these are taken where shapes are equal;
            ``classifier`` means the classifiers. Old names are read.

    Raises:
        UserError: No blocks, blocks the network does not have, or nothing that fits.
    """
    wanted = [our_name(block) for block in blocks]
    own = model.state_dict()
    if not wanted:
        raise UserError("pretrain_blocks: nothing to take; name parts such as [future_predictor]")
    for block, name in zip(blocks, wanted, strict=True):
        if not any(name in key for key in own):
            parts = {key.partition(".")[0] for key in own}
            raise UserError(
                f"pretrain_blocks: the network has no {block!r}; {suggest(name, parts)}"
            )
    state = {k: v for k, v in read_weights(path).items() if any(b in k for b in wanted)}
    return _load(model, state, Path(path), [k for k in own if any(b in k for b in wanted)])


def _entries(entries: Sequence[Any] | str | None) -> list[Any]:
    if not entries:
        return []
    if isinstance(entries, str):
        return [[entries]]
    # One entry may stand without the outer list.
    flat = all(isinstance(item, str) for item in entries)
    return [list(entries)] if flat and not _all_files(entries) else list(entries)


def _all_files(entries: Sequence[str]) -> bool:
    return len(entries) > 1 and all(Path(item).expanduser().exists() for item in entries)


def _entry(entry: Any) -> tuple[str, tuple[str, ...], str]:
    words = [entry] if isinstance(entry, str) else list(entry)
    if not 1 <= len(words) <= 3 or not all(isinstance(word, str) for word in words):
        raise UserError(
            f"train.init_from_model: got {entry!r}, expected [path], [module, path] or "
            "[module, prefixes, path]"
        )
    module = words[0] if len(words) > 1 else ""
    prefixes = tuple(words[1].split(",")) if len(words) == 3 else ()
    return module, prefixes, words[-1]


def _load_entry(model: nn.Module, module: str, prefixes: tuple[str, ...], path: str) -> LoadReport:
    target = _module(model, our_name(module)) if module else model
    state = read_weights(path)
    if prefixes:
        cut = [our_name(prefix.strip()) for prefix in prefixes]
        state = {
            name[len(prefix) :].lstrip("."): tensor
            for name, tensor in state.items()
            for prefix in cut
            if name.startswith(prefix)
        }
    report = _load(target, state, Path(path), list(target.state_dict()))
    if module:
        prefix = our_name(module)
        report.taken = [f"{prefix}.{name}" for name in report.taken]
        report.missing = [f"{prefix}.{name}" for name in report.missing]
        report.misshapen = [f"{prefix}.{name}" for name in report.misshapen]
    return report


def _module(model: nn.Module, path: str) -> nn.Module:
    try:
        return model.get_submodule(path)
    except AttributeError as error:
        names = [name for name, _ in model.named_modules() if name]
        raise UserError(
            f"train.init_from_model: the network has no {path!r}; {suggest(path, names)}"
        ) from error


def _load(
    module: nn.Module, state: Mapping[str, Tensor], path: Path, expected: Sequence[str]
) -> LoadReport:
    own = module.state_dict()
    report = LoadReport(path)
    for name in expected:
        if name not in state:
            report.missing.append(name)
        elif state[name].shape != own[name].shape:
            shapes = f"{tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
            report.misshapen.append(f"{name} {shapes}")
        else:
            report.taken.append(name)
    report.unused = [name for name in state if name not in own]
    if not report.taken:
        raise UserError(
            f"{path}: none of its {len(state)} weights fits; "
            f"{'; '.join(line.strip() for line in report.lines()[1:]) or 'it has none of them'}"
        )
    with torch.no_grad():
        for name in report.taken:
            own[name].copy_(state[name])
    return report
