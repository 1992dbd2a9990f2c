"""Names in state dicts: the authors', ours, with and without low-rank branches.

Ours are those of mmaction2. One entry is called differently: the final norm of the backbone is
``norm`` in the authors' files and ``norm<last stage>`` in mmaction2, such as ``norm3``. Low-rank
branches have the same names on both sides. Wrappers put ``module.`` before everything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

Value = TypeVar("Value")

_OURS = re.compile(r"^(backbone\.)norm(\d+)(?=\.)")
_AUTHORS = re.compile(r"^(backbone\.)norm(?=\.)")
_STAGE = re.compile(r"^backbone\.layers\.(\d+)\.")
_WRAPPER = re.compile(r"^(?:module\.)+")
_BRANCH = re.compile(r"\.lora_\w+\.lora_[AB]\.weight$")


def layout_of(names: Mapping[str, object]) -> str:
    """``authors``, ``ours``, or ``unknown`` where there is no final norm.

    Args:
        names: A state dict, wrappers stripped or not.
    """
    bare = [_WRAPPER.sub("", name) for name in names]
    if any(_AUTHORS.match(name) for name in bare):
        return "authors"
    return "ours" if any(_OURS.match(name) for name in bare) else "unknown"


def to_ours(state: Mapping[str, Value]) -> dict[str, Value]:
    """A recognizer's state dict under the names of mmaction2, whatever it had before."""
    bare = {_WRAPPER.sub("", name): value for name, value in state.items()}
    last = max((int(m[1]) for name in bare if (m := _STAGE.match(name))), default=0)
    return {_AUTHORS.sub(rf"\g<1>norm{last}", name): value for name, value in bare.items()}


def to_authors(state: Mapping[str, Value]) -> dict[str, Value]:
    """A recognizer's state dict under the names of the authors' code."""
    bare = {_WRAPPER.sub("", name): value for name, value in state.items()}
    return {_OURS.sub(r"\g<1>norm", name): value for name, value in bare.items()}


def is_branch(name: str) -> bool:
    """Whether an entry belongs to a low-rank branch."""
    return bool(_BRANCH.search(name))


def is_head(name: str) -> bool:
    """Whether an entry belongs to the classifier on top."""
    return name.startswith("cls_head.")
