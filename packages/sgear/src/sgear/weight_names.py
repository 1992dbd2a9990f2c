"""Names of weights in files of the authors, old and new, and ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from behaviorzoo import checkpoints as folders
from behaviorzoo.errors import UserError
from behaviorzoo.weights import load_safetensors, load_torch_file

OLD_NAMES = {
    "org_gamma": "vis_prototypes",
    "mod_attn": "ProtAttn",
    "CrossModAttn": "ProtAttn",
    "TimeShift": "TCA",
}
"""Parts of the network under the names of older files -> today's."""

CONTAINERS = ("model", "state_dict", "classy_state_dict")
"""Where a file keeps its weights, in the order of search; else it is the weights."""

_WRAPPERS = re.compile(r"^(?:module\.|_orig_mod\.)+")
_MASKS = re.compile(r"(?:^|\.)gpt_model\.h\.\d+\.attn\.(?:bias|masked_bias)$")
_CLASSY = ("base_model", "model", "trunk")


def our_name(name: str) -> str:
    """A name, or the beginning of one, as our network has it."""
    name = _WRAPPERS.sub("", name).replace("_orig_mod.", "")
    first, dot, rest = name.partition(".")
    return OLD_NAMES.get(first, first) + dot + rest


def our_names(state: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Weights under our names.

    Wrappers are taken off, old names are replaced; the causal masks that transformers before 4.31
    stored as ``attn.bias`` and ``attn.masked_bias`` are no weights and left out.

    Args:
        state: Name -> tensor.
        where: File they come from, for messages.

    Raises:
        UserError: Two names mean the same.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        new = our_name(name)
        if _MASKS.search(new):
            continue
        if new in found:
            raise UserError(f"{where}: holds {new!r} twice, once under an old name ({name!r})")
        found[new] = tensor
    return found


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Weights of any file or folder of theirs or ours, under our names.

    Args:
        path: A ``torch.save`` file (weights under ``model``, ``state_dict``,
            ``classy_state_dict``, or bare), a safetensors file, or a folder with a checkpoint.

    Raises:
        UserError: Nothing there, damaged, or no weights in it.
    """
    path = Path(path).expanduser()
    if path.is_dir() and not (path / "checkpoint.pth").is_file():
        return our_names(folders.load_checkpoint(path).state, str(path))
    if path.is_dir():
        path = path / "checkpoint.pth"
    if path.suffix == ".safetensors":
        return our_names(load_safetensors(path), str(path))
    return our_names(weights_in(load_torch_file(path), str(path)), str(path))


def weights_in(content: Mapping[str, Any], where: str) -> dict[str, Tensor]:
    """The weights in the content of a file.

    Args:
        content: What was read.
        where: The file, for messages.

    Raises:
        UserError: There are none.
    """
    inside: Any = content
    for key in CONTAINERS:
        if isinstance(content.get(key), Mapping):
            inside = content[key]
            for step in _CLASSY if key == "classy_state_dict" else ():
                inside = inside.get(step, {}) if isinstance(inside, Mapping) else {}
            break
    state = {str(k): v for k, v in inside.items() if isinstance(v, Tensor)}
    if not state:
        keys = ", ".join(map(str, list(content)[:5])) or "nothing"
        raise UserError(
            f"{where}: no weights in it (found {keys}), neither under {', '.join(CONTAINERS)} "
            "nor bare"
        )
    return state
