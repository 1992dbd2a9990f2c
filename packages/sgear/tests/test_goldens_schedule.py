"""Learning rates and mixup, number by number."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sgear.mixup import Mixup
from sgear.schedule import SchedulerConfig, WarmupConfig, build_scheduler

ROOT = Path(__file__).resolve().parents[3]
GOLDENS = Path(os.environ.get("BEHAVIORZOO_GOLDENS", ROOT.parent / "shared" / "goldens"))
KIND = "sgear_schedule_mixup_transforms"


def cases() -> list[Any]:
    folders = sorted(GOLDENS.glob("sgear_*")) if GOLDENS.is_dir() else []
    found = [f for f in folders if json.loads((f / "case.json").read_text())["kind"] == KIND]
    absent = pytest.mark.skip(reason="no folder 'goldens': set $BEHAVIORZOO_GOLDENS")
    return [pytest.param(f, id=f.name) for f in found] or [pytest.param(None, marks=absent)]


def rates(scheduler_options, warmup, lr, iters, n, epochs) -> list[float]:
    """Rates in force before each iteration."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = build_scheduler(scheduler_options, warmup, optimizer, iters, epochs)
    found = []
    for _ in range(n):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("folder", cases())
def test_learning_rates(folder):
    case = json.loads((folder / "case.json").read_text())
    expected = np.load(folder / "expected.npz")
    found = {}
    for i, o in enumerate(case.get("lr", [])):
        course = SchedulerConfig("cosine", o["ce"], o.get("eta_min", 0.0))
        warmup = WarmupConfig(o["r"], o["we"])
        found[f"lr/{i}"] = rates(course, warmup, o["lr"], o["it"], o["n"], o["we"] + o["ce"])
    for i, o in enumerate(case.get("multistep", [])):
        course = SchedulerConfig(
            "warmup_multi_step",
            milestone_epochs=tuple(o["milestone_epochs"]),
            gamma=o["gamma"],
            warmup_factor=o["warmup_factor"],
            warmup_epochs=o["warmup_epochs"],
        )
        found[f"multistep/{i}"] = rates(course, WarmupConfig(), o["lr"], o["it"], o["n"], 1)
    names = {n for n in expected.files if n.startswith(("lr/", "multistep/"))}
    assert names == set(found)
    for name in names:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("folder", cases())
def test_mixup(folder):
    case = json.loads((folder / "case.json").read_text())["mixup"]
    inputs, expected = np.load(folder / "inputs.npz"), np.load(folder / "expected.npz")
    x, y, past = (torch.from_numpy(inputs[name]) for name in ("mix_x", "mix_y", "mix_past"))
    mixup = Mixup({"action": case["num_classes"]}, label_smoothing=case["label_smoothing"])
    mixed = mixup(x, {"action": y}, {"action": past}, lam=case["lam"])
    found = {
        "mix/x": mixed.video,
        "mix/target": mixed.target["action"],
        "mix/past": mixed.past_target["action"],
    }
    names = {name for name in expected.files if name.startswith("mix/")}
    assert names == set(found)
    for name in names:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, atol=1e-6, err_msg=name)
