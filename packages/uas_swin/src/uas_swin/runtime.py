"""What mmengine has to know before it builds or loads something of ours.

:func:`register` is called once by every command that uses mmengine: it registers the network, the
schedule, the optimiser's parts, and a loader of checkpoints that runs nothing in them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from behaviorzoo.weights import load_torch_file

_STATISTICS = ("min", "max", "current", "mean")


def register() -> None:
    """Make our parts known to mmengine, and its local checkpoints safe to load.

    ``torch.load`` of today refuses the logs that mmengine keeps in its own checkpoints, and
    loading them without its check would run what a stranger's file asks for. The loader of local
    files is replaced for the whole process, through mmengine's own register of loaders.
    """
    from mmengine.runner.checkpoint import CheckpointLoader

    import uas_swin.model.backbone
    import uas_swin.model.recognizer
    import uas_swin.optim
    import uas_swin.schedule
    import uas_swin.train_loop  # noqa: F401

    CheckpointLoader.register_scheme(prefixes="", loader=load_from_local, force=True)


def load_from_local(filename: str | os.PathLike[str], map_location: Any = None) -> dict[str, Any]:
    """Read a checkpoint of mmengine, mmcv or torch; nothing in it is run.

    Args:
        filename: The file.
        map_location: Taken for the sake of mmengine; tensors come on the CPU, and go to their
            places as they are loaded.

    Returns:
        The dictionary in it. A configuration that mmcv left under ``meta.config`` is called
        ``meta.config_text``: mmengine would run it.

    Raises:
        UserError: Missing, damaged, or it asks for anything but weights, plain values and logs.
    """
    with torch.serialization.safe_globals(_globals_of_mmengine()):
        content = load_torch_file(Path(filename).expanduser())
    meta = content.get("meta")
    if isinstance(meta, dict) and "config" in meta:
        meta["config_text"] = meta.pop("config")
    return content


def _globals_of_mmengine() -> list[Any]:
    """What the logs in a training checkpoint are made of."""
    from mmengine.logging import HistoryBuffer

    reconstruct: Any = np.empty(0).__reduce__()[0]

    def named(function: Any, module: str, name: str) -> Any:
        # torch 2.5 goes by __name__, later ones by __qualname__.
        function.__module__, function.__name__, function.__qualname__ = module, name, name
        return function

    def array_of(package: str) -> Any:
        return named(lambda *given: reconstruct(*given), f"{package}.multiarray", "_reconstruct")

    def statistic(owner: Any, name: str) -> Any:
        # Stands in for ``getattr``, with which logs name their methods.
        if owner is not HistoryBuffer or name not in _STATISTICS:
            raise ValueError(f"getattr of {name!r}")
        return getattr(HistoryBuffer, name)

    return [
        HistoryBuffer,
        np.ndarray,
        *(type(np.dtype(code)) for code in "?bhilqBHILQefd"),
        *(array_of(package) for package in ("numpy.core", "numpy._core")),
        named(statistic, "builtins", "getattr"),
    ]
