"""Forward pass, losses, gradients and training steps, number by number."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sgear.checkpoints import load_checkpoint
from sgear.losses import AnticipationLoss
from sgear.model import ModelConfig
from sgear.optim import OptimizerConfig, build_optimizer, load_optimizer, parameter_groups
from sgear.schedule import SchedulerConfig, WarmupConfig, build_scheduler
from sgear.step import Step, run_step

ROOT = Path(__file__).resolve().parents[3]
GOLDENS = Path(os.environ.get("BEHAVIORZOO_GOLDENS", ROOT.parent / "shared" / "goldens"))
KINDS = ("sgear_features_forward", "sgear_video_forward")


def read_case(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "case.json").read_text())


def cases(*kinds: str) -> list[Any]:
    folders = sorted(GOLDENS.glob("sgear_*")) if GOLDENS.is_dir() else []
    found = [folder for folder in folders if read_case(folder)["kind"] in kinds]
    absent = pytest.mark.skip(reason="no folder 'goldens': set $BEHAVIORZOO_GOLDENS")
    return [pytest.param(f, id=f.name) for f in found] or [pytest.param(None, marks=absent)]


def tolerance(name: str, case: dict[str, Any]) -> tuple[float, float]:
    """Relative and absolute tolerance that the case declares for an array."""
    rules, kind = case["tolerance"], "outputs"
    if name.startswith("trace/"):
        kind = "trace"
    elif name.startswith(("grad_norm/", "grad/")):
        kind = "grad_norm"
    elif "/loss/" in name or name.endswith("/total"):
        kind = "losses"
    numbers = dict(re.findall(r"(rtol|atol)\s+([\d.e-]+)", rules.get(kind, rules["outputs"])))
    return float(numbers.get("rtol", 0)), float(numbers.get("atol", 0))


def check(name: str, found: Any, expected: np.ndarray, case: dict[str, Any]) -> None:
    value = found.detach().numpy() if isinstance(found, torch.Tensor) else np.asarray(found)
    assert value.shape == expected.shape, name
    rtol, atol = tolerance(name, case)
    if name.startswith("grad/"):  # entries of one gradient cancel: as exact as its norm
        atol += rtol * float(np.linalg.norm(expected)) / max(expected.size, 1) ** 0.5
    if name.endswith("/loss/feat"):
        # Squares of differences, some next to 0: the differences are as exact as the outputs.
        np.testing.assert_allclose(value.mean(), expected.mean(), rtol=rtol, err_msg=name)
        value, expected = np.sqrt(value), np.sqrt(expected)
        rtol, atol = tolerance("out/", case)
    if "/param_sum/" in name:
        # Entries cancel: a sum can only be as exact as what is added up.
        norms = np.load(case["folder"] / "expected.npz")
        atol += 1e-5 * float(norms[name.replace("_sum/", "_norm/")])
    np.testing.assert_allclose(value, expected, rtol=rtol, atol=atol, err_msg=name)


def options_of(case: dict[str, Any]) -> ModelConfig:
    cfg = dict(case["model_cfg"])
    cfg["backbone"] = {**cfg["backbone"], **(case.get("vit_override") or {})}
    return ModelConfig.from_authors(cfg)


def labels_of(inputs: Any, name: str, types: list[str]) -> dict[str, torch.Tensor]:
    """Labels by type; one array without a type is of the only type."""
    if name in inputs:
        return {types[0]: torch.from_numpy(inputs[name])}
    return {t: torch.from_numpy(inputs[f"{name}/{t}"]) for t in types if f"{name}/{t}" in inputs}


class Case:
    """A case in memory: network with the stored weights, loss, batch."""

    def __init__(self, folder: Path) -> None:
        self.case = {**read_case(folder), "folder": folder}
        self.inputs = np.load(folder / "inputs.npz")
        self.expected = np.load(folder / "expected.npz")
        types = list(self.case["num_classes"])
        self.target = labels_of(self.inputs, "target", types)
        self.past_target = labels_of(self.inputs, "past_target", types)
        similarities = torch.from_numpy(self.inputs["similarities"])
        self.criterion = AnticipationLoss(similarities, compat="upstream")
        self.read = load_checkpoint(
            folder / "checkpoint.pth", options_of(self.case), num_classes=self.case["num_classes"]
        )

    def network(self) -> torch.nn.Module:
        return self.read.build()

    def step(self, model: torch.nn.Module, video: str = "x", **options: Any) -> Step:
        batch = {
            "video": {"mod_0": torch.from_numpy(self.inputs[video])},
            "target": self.target,
            "past_target": self.past_target,
        }
        return run_step(model, self.criterion, batch, self.case["loss_weights"], **options)

    def compare(self, prefix: str, found: dict[str, Any]) -> set[str]:
        """Check every expected array under a prefix; their names."""
        names = {name for name in self.expected.files if name.startswith(prefix)}
        for name in names:
            assert name.removeprefix(prefix) in found, f"{name} was not computed"
            check(name, found[name.removeprefix(prefix)], self.expected[name], self.case)
        return names


def everything(step: Step) -> dict[str, Any]:
    found: dict[str, Any] = {f"out/{name}": value for name, value in step.outputs.items()}
    found |= {f"loss/{name}": value for name, value in step.losses.items()}
    return found | step.accuracies | {"total": step.loss}


@pytest.mark.parametrize("folder", cases(*KINDS))
def test_forward_pass_and_losses(folder):
    case = Case(folder)
    model = case.network()
    checked = set()
    for mode in ("eval", "train"):
        model.train(mode == "train")
        crops = "x_eval_crops" in case.inputs.files and mode == "eval"
        with torch.no_grad():
            step = case.step(model, "x_eval_crops" if crops else "x", all_outputs=True)
        checked |= case.compare(f"{mode}/", everything(step))
    rest = {name for name in case.expected.files if not name.startswith(("grad", "no_grad", "tr"))}
    assert rest <= checked


@pytest.mark.parametrize("folder", cases(*KINDS))
def test_gradients(folder):
    case = Case(folder)
    model = case.network().train()
    case.step(model).loss.backward()
    norms = {n: p.grad.norm() for n, p in model.named_parameters() if p.grad is not None}
    grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    without = {n: 1 for n, p in model.named_parameters() if p.grad is None}
    assert len(case.compare("grad_norm/", norms)) == len(norms)
    case.compare("grad/", grads)
    expected = {name.removeprefix("no_grad/") for name in case.compare("no_grad/", without)}
    # Frozen parameters may be listed or not.
    assert expected >= {n for n in without if model.get_parameter(n).requires_grad}


@pytest.mark.parametrize("folder", cases(*KINDS))
def test_training_steps(folder):
    """The authors' optimiser and scheduler states go on, gradients of several batches add up."""
    case = Case(folder)
    options = case.case["optimiser"]
    model = case.network().train()
    groups = parameter_groups(
        model, [["__all__", options["lr"], options["weight_decay"]]], options["bias_bn_wd_scale"]
    )
    kind = {"SGD": "sgd", "Adam": "adam", "AdamW": "adamW"}[options["kind"]]
    optimizer = build_optimizer(OptimizerConfig(kind, options.get("momentum", 0.9)), groups)
    course = options["scheduler"]
    scheduler = build_scheduler(
        SchedulerConfig("cosine", course["cosine_epochs"], course["eta_min"]),
        WarmupConfig(course["init_lr_ratio"], course["warmup_epochs"]),
        optimizer,
        course["iters_per_epoch"],
        course["cosine_epochs"] + course["warmup_epochs"],
    )
    load_optimizer(optimizer, case.read.training["optimizer"])
    scheduler.load_state_dict(case.read.training["lr_scheduler"])

    found: dict[str, Any] = {}
    for i in range(options["steps"]):
        found[f"lr/{i}"] = [group["lr"] for group in optimizer.param_groups]
        step = case.step(model)
        found[f"total/{i}"] = step.loss
        found |= {f"loss/{name}/{i}": value for name, value in step.means.items()}
        step.loss.backward()
        if (i + 1) % max(options["accumulate"], 1) == 0:
            optimizer.step()
            optimizer.zero_grad()
        scheduler.step()
    for name, parameter in model.named_parameters():
        found[f"param_norm/{name}"] = parameter.norm()
        found[f"param_sum/{name}"] = parameter.double().sum()
    assert case.compare("trace/", found)
