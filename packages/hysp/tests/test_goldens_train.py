"""The authors' training loop, number by number, through our training module and trainer."""

from __future__ import annotations

import json
import os
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from behaviorzoo.batches import BatchLoader, EpochBatches
from behaviorzoo.training import TrainerConfig, build_trainer
from behaviorzoo.weights import load_torch_file, strict_load
from hysp.author_options import pretrain_options, strip_prefix
from hysp.config import CurriculumConfig, PretrainConfig
from hysp.graph import Graph
from hysp.model import build_model
from hysp.optim import OptimConfig
from hysp.training import PretrainModule

ROOT = Path(__file__).resolve().parents[3]
GOLDENS = Path(os.environ.get("BEHAVIORZOO_GOLDENS", ROOT.parent / "shared" / "goldens"))


def read_case(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "case.json").read_text())


def cases(kind: str) -> list[Any]:
    folders = sorted(GOLDENS.glob("hysp_*")) if GOLDENS.is_dir() else []
    found = [folder for folder in folders if read_case(folder)["kind"] == kind]
    absent = pytest.mark.skip(reason="no folder 'goldens': set $BEHAVIORZOO_GOLDENS")
    return [pytest.param(f, id=f.name) for f in found] or [pytest.param(None, marks=absent)]


def tolerance_of(name: str, rules: dict[str, Any]) -> tuple[float, float]:
    """The rule of the last pattern that fits, or the general one."""
    chosen = rules
    for pattern, rule in rules.items():
        if isinstance(rule, dict) and fnmatch(name, pattern):
            chosen = rule
    return chosen["rtol"], chosen["atol"]


class RecordedViews(PretrainModule):
    """Views as the authors' loader drew them; keeps the loss of every step."""

    def __init__(self, model, cfg, mirror):
        super().__init__(model, cfg, mirror)
        self.losses: list[torch.Tensor] = []

    def views(self, x, seeds):
        return self.streamed(x), self.streamed(seeds)

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.losses.append(loss.detach())
        return loss


class Pairs:
    """Batches of recorded views: the second takes the place of the seeds."""

    def __init__(self, first: np.ndarray, second: np.ndarray):
        self.first, self.second = first, second

    def __call__(self, indices, seeds):
        return torch.from_numpy(self.first[indices]), torch.from_numpy(self.second[indices])


def settings_of(case: dict[str, Any], content: dict[str, Any]) -> PretrainConfig:
    cfg = vars(content["hyper_parameters"]["cfg"])
    decay = float(case.get("weight_decay", cfg["weight_decay"]))
    return PretrainConfig(
        compat="upstream",
        stream=case.get("stream", "joint"),
        model=pretrain_options(case["model_args"], "hysp", True),
        curriculum=CurriculumConfig(True, 1, case["pl_epochs"]),
        optim=OptimConfig(
            optimizer="RiemannianSGD",
            lr=case["lr"],
            weight_decay=decay,
            epochs=case["pl_epochs"],
            milestones=tuple(case["milestones"]),
        ),
    )


@pytest.mark.parametrize("folder", cases("hysp_pretrain_step"))
def test_training_loop(folder, tmp_path):
    case, expected = read_case(folder), np.load(folder / "expected.npz")
    content = load_torch_file(folder / "checkpoint.pth")
    cfg = settings_of(case, content)
    model = build_model(cfg.model, "upstream")
    strict_load(model, strip_prefix(content["state_dict"]), folder.name)
    n = len(case["epochs"]) // 2 * case["batch"]
    inputs = np.load(folder / "inputs.npz")
    batches = EpochBatches(n, case["batch"], shuffle=False)
    loader = BatchLoader(batches, Pairs(inputs["view1"][:n], inputs["view2"][:n]))
    module = RecordedViews(model, cfg, range(Graph("ntu-rgb+d").n_joints))
    trainer = TrainerConfig(
        accelerator="cpu", precision="64-true", max_epochs=case["pl_epochs"], progress=False
    )
    build_trainer(trainer, tmp_path).fit(module, loader)

    found = {"loop.losses": torch.stack(module.losses)}
    found |= {f"loop.final.{name}": value for name, value in model.state_dict().items()}
    enforced = [name for name in expected.files if name.startswith("loop.")]
    assert enforced
    for name in enforced:
        rtol, atol = tolerance_of(name, case["tolerance"])
        value = found[name].numpy()
        np.testing.assert_allclose(value, expected[name], rtol=rtol, atol=atol, err_msg=name)
