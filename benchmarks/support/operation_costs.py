"""What the operations of a step cost on paper: arithmetic, memory traffic, and their number.

A device needs for each operation at least its arithmetic at the device's rate, its bytes at the
device's bandwidth, and the time of a launch; the largest of the three is counted (the roofline).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

_CPU_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_CPU_ATTENTION_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


@dataclass(frozen=True)
class Device:
    """What a device does in a second.

    Attributes:
        name: For the table.
        operations: Multiplications and additions of matrix products that are reached.
        bandwidth: Bytes to and from its memory that are reached.
        launch: Seconds that the smallest operation takes.
    """

    name: str
    operations: float
    bandwidth: float
    launch: float


@dataclass(frozen=True)
class Costs:
    """Operations of a step, (flops, bytes) each."""

    rows: list[tuple[float, float]]

    @property
    def flops(self) -> float:
        """Of the matrix products, convolutions and attention."""
        return sum(flops for flops, _ in self.rows)

    def seconds(self, device: Device, times: float = 1) -> float:
        """Least time of a step whose batch is so many times as large."""
        return sum(
            max(times * flops / device.operations, times * moved / device.bandwidth, device.launch)
            for flops, moved in self.rows
        )


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[float, float]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not func.is_view and func is not torch.ops.aten.detach.default:
            tensors = [t for t in tree_leaves((args, kwargs, out)) if isinstance(t, torch.Tensor)]
            moved = sum(t.numel() * t.element_size() for t in tensors)
            self.rows.append((_flops(func, args, kwargs or {}, out), moved))
        return out


def _flops(func: Any, args: Any, kwargs: Any, out: Any) -> float:
    packet = func._overloadpacket
    if packet in flop_registry:
        return float(flop_registry[packet](*args, **kwargs, out_val=out))
    # The counter of PyTorch knows the attention of GPUs only.
    if packet is _CPU_ATTENTION:
        return float(sdpa_flop_count(*(t.shape for t in args[:3])))
    if packet is _CPU_ATTENTION_BACKWARD:
        return 2.5 * sdpa_flop_count(*(t.shape for t in args[1:4]))
    return 0.0


def costs(step: Callable[[], object]) -> Costs:
    """Of one step, after one that is not counted."""
    step()
    with _Recorder() as recorder:
        step()
    return Costs(recorder.rows)
