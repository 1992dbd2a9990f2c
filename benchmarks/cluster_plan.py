# ruff: noqa: E402  (the import path is set first, see below)
"""Sizes of the published trainings on a cluster, computed before anything is asked for.

    python benchmarks/cluster_plan.py                  # the table of docs/cluster.md
    python benchmarks/cluster_plan.py --only hysp bams

Every recipe's step is run twice on the CPU at a small batch, its operations are recorded, and the
roofline (see ``support/operation_costs.py``) says what they cost on a device; the same roofline
with the CPU's figures is printed beside the measured seconds, to show how far it can be trusted.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

# Files here bear the names of packages: this folder must not come first.
sys.path[0] = str(Path(__file__).resolve().parent / "support")

import recipe_steps
import torch
from measure import best_seconds, yardstick
from operation_costs import Costs, Device, costs

A100 = Device("A100 80 GB", operations=0.5 * 156e12, bandwidth=0.7 * 2.0e12, launch=6e-6)
"""Half of the TF32 peak, 70 % of the bandwidth, 6 microseconds for a launch."""
DEVICES_PER_NODE = 8
INSIDE, BETWEEN = 250e9, 25e9
"""Bytes per second between devices of a node, and between nodes (one link of 200 Gbit/s)."""
HIDDEN = 0.5
"""Share of a step behind which gradients travel."""
CORES_PER_DEVICE = 8
COUNTS = (1, 8, 64)


@dataclass(frozen=True)
class Recipe:
    """A published training.

    Attributes:
        name: As in the README of its package.
        step: Its step at a small batch.
        samples: Of an epoch.
        epochs: Of the training.
        batch: Samples of an update, over all devices; of each device with ``per_device``.
        cpu: Seconds of a core that a sample takes to be read and prepared (this project's
            benchmarks, one core).
        data: Bytes of what training reads, as prepared.
        checkpoint: Copies of the weights in a checkpoint: the optimiser has one or two.
        per_device: The batch is per device, so more devices make a larger update.
    """

    name: str
    step: Callable[[], recipe_steps.Step]
    samples: int
    epochs: int
    batch: int
    cpu: float
    data: float
    checkpoint: int = 3
    per_device: bool = False


def mice_bytes(clips: int) -> float:
    """Of MABe's mice as they come: 1,800 frames, 3 mice, 12 points."""
    return clips * 1800 * 3 * 12 * 2 * 4


NTU = 3 * 50 * 25 * 2 * 4
"""Bytes of a sequence of 50 frames, two persons."""
RECIPES = [
    Recipe("hbehavemae shot7m2", partial(recipe_steps.behave_mae, "shot7m2"),
           115_200, 200, 512, 1 / 11_000, 719e6),
    Recipe("hbehavemae mabe22", partial(recipe_steps.behave_mae, "mabe22"),
           96_000, 200, 768, 1 / 4_000, mice_bytes(1600)),
    Recipe("hbehavemae hbabel (100,000 windows)", partial(recipe_steps.behave_mae, "hbabel"),
           100_000, 200, 512, 1 / 11_000, 1e9),
    Recipe("bams mouse_triplets", partial(recipe_steps.bams, "mice"),
           16_008, 500, 32, 0.046e-3, mice_bytes(5336)),
    Recipe("bams fruit_flies", partial(recipe_steps.bams, "flies"),
           10_659, 500, 32, 0.19e-3, 969 * 4500 * 11 * 24 * 2 * 4),
    Recipe("hysp ntu60_xsub", recipe_steps.hysp, 40_091, 400, 512, 20e-6, 56_578 * NTU, 2),
    Recipe("hysp ntu60_xview", recipe_steps.hysp, 37_646, 600, 512, 20e-6, 56_578 * NTU, 2),
    Recipe("hysp ntu120_xsub (63,026)", recipe_steps.hysp, 63_026, 400, 512, 20e-6,
           113_945 * NTU, 2),
    Recipe("sgear ek100 tsn", recipe_steps.sgear_features, 67_217, 20, 16, 0.65e-3,
           67_217 * 15 * 1024 * 4, 2, per_device=True),
    Recipe("sgear ek100 vit", recipe_steps.sgear_video, 67_217, 50, 3, 0.25, 0, 2,
           per_device=True),
    Recipe("uas-swin probe, ChimpBehave", partial(recipe_steps.uas, "probe"),
           7_352, 30, 16, 0.08, 0, 2, per_device=True),
    Recipe("uas-swin LoRA (10,000 clips)", partial(recipe_steps.uas, "lora"),
           10_000, 30, 8, 0.08, 0, 2, per_device=True),
    Recipe("uas-swin full (10,000 clips)", partial(recipe_steps.uas, "full"),
           10_000, 30, 8, 0.08, 0, 3, per_device=True),
]  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """A recipe on so many devices: samples per second, hours, and what the time goes into."""

    rate: float
    hours: float
    limit: str


def stage(recipe: Recipe, step: recipe_steps.Step, counted: Costs, count: int) -> Stage:
    """The recipe on a number of devices."""
    batch = recipe.batch if recipe.per_device else recipe.batch / count
    device = counted.seconds(A100, batch / step.batch)
    launches = len(counted.rows) * A100.launch
    link = INSIDE if count <= DEVICES_PER_NODE else BETWEEN
    sent = 0.0 if count == 1 else 2 * (count - 1) / count * step.gradient / link
    waiting = max(0.0, sent - HIDDEN * device)
    reading = batch * recipe.cpu / CORES_PER_DEVICE
    seconds = max(device + waiting, reading)
    rate = batch * count / seconds
    return Stage(rate, recipe.samples * recipe.epochs / rate / 3600, _limit(
        batch, reading > device + waiting, waiting > 0.2 * device, launches > 0.5 * device
    ))  # fmt: skip


def _limit(batch: float, reading: bool, waiting: bool, launching: bool) -> str:
    if batch < 1:
        return "less than a sample each"
    if reading:
        return "decoding"
    if waiting:
        return "gradients"
    return "launches" if launching else "arithmetic"


def plan(recipe: Recipe, cpu: Device) -> None:
    """Print a recipe's row, and how well the roofline does on this machine."""
    step = recipe.step()
    counted = costs(step.run)
    measured = best_seconds(step.run, repeats=1)
    stages = [stage(recipe, step, counted, count) for count in COUNTS]
    weights = step.gradient * recipe.checkpoint
    cells = [
        recipe.name,
        f"{counted.flops / step.batch / 1e9:.1f}",
        f"{step.batch / measured:.2f}",
        f"{step.batch / counted.seconds(cpu):.2f}",
        *(f"{s.rate:,.0f} / {s.hours:.2g} h / {s.limit}" for s in stages),
        f"{recipe.data / 1e9:.1f}" if recipe.data else "videos",
        f"{weights / 1e9:.2f}",
    ]
    print("| " + " | ".join(cells) + " |", flush=True)


def this_cpu() -> Device:
    """What one thread of this machine reaches: a matrix product, a copy, a small operation."""
    big, small = torch.randn(64_000_000), torch.randn(8)
    copying = best_seconds(lambda: big + 1)
    launching = best_seconds(lambda: [small + 1 for _ in range(1000)]) / 1000
    return Device("this CPU", 2 * 2048**3 / yardstick(), 2 * big.numel() * 4 / copying, launching)


def main() -> int:
    """Print the plan."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="WORD", help="recipes whose names hold these")
    wanted = parser.parse_args().only
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    start = time.perf_counter()
    cpu = this_cpu()
    print(f"CPU thread: {cpu.operations / 1e9:.0f} GFLOP/s, {cpu.bandwidth / 1e9:.0f} GB/s, "
          f"{cpu.launch * 1e6:.1f} us an operation")  # fmt: skip
    header = ["recipe", "GFLOP a sample", "CPU thread, samples/s", "the same, roofline"]
    header += [f"{count} x {A100.name}: samples/s / hours / limit" for count in COUNTS]
    header += ["data, GB", "checkpoint, GB"]
    for line in (header, ["---"] * len(header)):
        print("| " + " | ".join(line) + " |", flush=True)
    for recipe in RECIPES:
        if not wanted or any(word in recipe.name for word in wanted):
            plan(recipe, cpu)
    print(f"{time.perf_counter() - start:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
