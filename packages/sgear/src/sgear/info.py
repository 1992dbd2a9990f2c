"""A trained network in words and numbers: options, classes, sizes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from behaviorzoo.schema import to_yaml
from sgear.checkpoints import SGearCheckpoint, load_checkpoint
from sgear.model.author_options import write_model

_NAMES_SHOWN = 8
_PARTS = (
    *("backbone", "TCA", "ProtAttn", "vis_prototypes", "mapper_to_inter", "temporal_aggregator"),
    *("future_predictor", "temporal_aggregator_after_future_pred", "transform_features"),
    *("classifiers", "regression_head"),
)


def information(path: str | Path) -> str:
    """Text about a checkpoint.

    Args:
        path: See :func:`sgear.checkpoints.load_checkpoint`.

    Raises:
        UserError: Not a checkpoint of S-GEAR.
    """
    loaded = load_checkpoint(path)
    told = {key: value for key, value in loaded.metadata.items() if _is_short(value)}
    source = "as stated" if loaded.known_options else "from the shapes of the weights"
    lines = [
        f"checkpoint: {loaded.path}",
        f"epochs finished: {loaded.epoch:g}",
        *(f"{key}: {value}" for key, value in told.items()),
        f"compat: {loaded.compat}",
        f"optimiser and schedule: {'in it, a run can go on' if loaded.training else 'not in it'}",
        "",
        f"options ({source}):",
        to_yaml({"model": write_model(loaded.config)}),
        *_classes(loaded),
        _prototypes(loaded.state),
        _sizes(loaded.state),
    ]
    return "\n".join(lines)


def count_parameters(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Numbers of values in a state dict, part by part; ``all`` comes first.

    Class mappings are constants and do not count.
    """
    learned = {name: t.numel() for name, t in state.items() if not name.startswith("cls_map_")}
    parts = {
        part: sum(n for name, n in learned.items() if name == part or name.startswith(f"{part}."))
        for part in _PARTS
    }
    return {"all": sum(learned.values()), **{part: n for part, n in parts.items() if n}}


def _classes(loaded: SGearCheckpoint) -> list[str]:
    lines = []
    for kind, number in loaded.num_classes.items():
        names = [str(name).strip() for name in loaded.classes.get(kind, {})]
        more = ", ..." if len(names) > _NAMES_SHOWN else ""
        shown = f": {', '.join(names[:_NAMES_SHOWN])}{more}" if names else ""
        lines.append(f"classes: {number} {kind}s{shown}")
    return lines


def _prototypes(state: Mapping[str, Tensor]) -> str:
    n, dim = state["vis_prototypes"].shape
    return f"visual prototypes: {n} of {dim} features"


def _sizes(state: Mapping[str, Tensor]) -> str:
    numbers = count_parameters(state)
    parts = ", ".join(f"{name} {n:,}" for name, n in numbers.items() if name != "all")
    return f"parameters: {numbers['all']:,}, of which {parts}"


def _is_short(value: object) -> bool:
    return isinstance(value, str | int | float | bool) and len(str(value)) <= 100
