"""The words of each class, as a sentence encoder gets them: verb and noun, nothing else.

Each data set writes its classes in another way; the rules are those of the original. Where they
turn names into nonsense (50 Salads goes through the rules of EGTEA), ``compat`` decides.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.files import existing_file


@dataclass(frozen=True)
class Prompt:
    """What a class is called.

    Attributes:
        verb: Such as ``"take"``.
        noun: Such as ``"plastic wrap"``; may be empty.
    """

    verb: str
    noun: str

    @property
    def text(self) -> str:
        """What is encoded."""
        return f"{self.verb} {self.noun}" if self.noun else self.verb


OWN = "own"
"""Data set of anybody's videos, see :mod:`sgear.data.own_table`."""

Parser = Callable[[str], tuple[int, Prompt]]
"""Takes a line of a file of labels; ValueError or IndexError for a line of another form."""


def read_prompts(path: str | Path, dataset: str, compat: str = "corrected") -> dict[int, Prompt]:
    """Classes of a file of labels, in its order; a header is skipped.

    Args:
        path: ``actions.csv`` of RULSTM, ``mapping.txt`` of 50 Salads, or the table of own videos.
        dataset: ``epic100``, ``epic55``, ``egtea``, ``50salads`` or ``own``.
        compat: ``upstream`` reads 50 Salads by the rules of EGTEA.

    Raises:
        UserError: An unknown data set, no such file, a line that cannot be understood, or
            numbers where names should be.
    """
    prompts = _own(path) if short_name(dataset) == OWN else _published(path, dataset, compat)
    texts = [prompt.text for prompt in prompts.values()]
    if all(text.replace(" ", "").isdigit() for text in texts):
        raise UserError(
            f"{path}: its classes would be called {', '.join(map(repr, texts[:3]))}: numbers, not "
            f"words; is --dataset {dataset} right?"
        )
    return prompts


def short_name(dataset: str) -> str:
    """Name of a data set as files bear it: ``EPIC-100`` is ``epic100``."""
    return dataset.lower().replace("_", "").replace("-", "").replace(" ", "")


def file_ending(dataset: str) -> str:
    """What names of a data set's prototype files end with: ``_epic100``; nothing for own videos."""
    name = short_name(dataset)
    return "" if name in ("", OWN) else f"_{name}"


def _published(path: str | Path, dataset: str, compat: str) -> dict[int, Prompt]:
    """Classes line by line, by the rule of the data set."""
    parse = _parser(dataset, compat)
    path = existing_file(path, "file of labels")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file ({error})") from error
    prompts: dict[int, Prompt] = {}
    written = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    for number, line in written:
        try:
            code, prompt = parse(line)
        except (ValueError, IndexError) as error:
            if number == written[0][0]:  # a header, which the original cannot read
                continue
            raise UserError(
                f"{path}: line {number}, {line!r}, is no class of {dataset} ({error})"
            ) from error
        prompts[code] = prompt
    if not prompts:
        raise UserError(f"{path}: no class of {dataset} in it; is --dataset right?")
    return prompts


def _own(path: str | Path) -> dict[int, Prompt]:
    """Classes of a table of own videos: verb and noun where it has them, else the label."""
    from sgear.data.own_table import own_classes

    classes = own_classes(path)
    prompts = {
        code: Prompt(*label.replace("_", " ").partition(" ")[::2])
        for label, code in classes.names["action"].items()
    }
    verbs, nouns = (list(classes.names.get(kind, ())) for kind in ("verb", "noun"))
    pairs = {code: Prompt(verbs[v], nouns[n]) for (v, n), code in classes.pairs.items()}
    return prompts | pairs


def _parser(dataset: str, compat: str) -> Parser:
    name = short_name(dataset)
    parsers: dict[str, Parser] = {
        "epic100": _epic100,
        "epic55": _epic55,
        "egtea": _egtea,
        "50salads": _egtea if compat == "upstream" else _salads,
    }
    if name not in parsers:
        raise UserError(f"data set {dataset!r}: {suggest(dataset, [*parsers, OWN])}")
    return parsers[name]


def _epic100(line: str) -> tuple[int, Prompt]:
    """``0,0,3,take wrap:plastic``: the first two words of the last field."""
    fields = _fields(line)
    verb, *rest = fields[-1].split()
    return int(fields[0]), Prompt(verb, _noun(rest[0]) if rest else "")


def _epic55(line: str) -> tuple[int, Prompt]:
    """``0, take_pan,0,3``: the second field; the verb keeps its leading blank."""
    fields = _fields(line)
    verb, *rest = fields[1].split("_")
    return int(fields[0]), Prompt(verb, _noun(rest[0]) if rest else "")


def _egtea(line: str) -> tuple[int, Prompt]:
    """``0, 0_0, Inspect/Read_recipe``: ``Inspect recipe``; the first character is a blank."""
    fields = _fields(line)
    verb, noun, *_ = fields[-1].split("_")
    return int(fields[0]), Prompt(verb.split("/")[0][1:], noun.replace(":", " "))


def _salads(line: str) -> tuple[int, Prompt]:
    """``17 add_oil``: ``add oil``."""
    code, name = line.replace(",", " ").split()
    verb, _, noun = name.replace("_", " ").partition(" ")
    return int(code), Prompt(verb, noun)


def _fields(line: str) -> list[str]:
    return next(csv.reader([line]))


def _noun(text: str) -> str:
    """``bottle:water:hot`` -> ``hot bottle``: the last part, then the first; others are dropped."""
    parts = text.split(":")
    return parts[0] if len(parts) == 1 else f"{parts[-1]} {parts[0]}"
