"""The authors' training loop, number by number (cases of kind ``hbm_train_steps``)."""

from __future__ import annotations

import json
import math
import os
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from behaviorzoo.batches import BatchLoader, EpochBatches
from behaviorzoo.checkpoints import load_torch_file, strict_load
from behaviorzoo.training import TrainerConfig, build_trainer
from hbehavemae.model import HBehaveMAE, ModelConfig, mask_from_noise
from hbehavemae.optim import OptimConfig, learning_rate
from hbehavemae.training import PretrainModule, parameter_groups

ROOT = Path(__file__).resolve().parents[3]
GOLDENS = Path(os.environ.get("BEHAVIORZOO_GOLDENS", ROOT.parent / "shared" / "goldens"))


def find_cases() -> list[Path]:
    folders = sorted(GOLDENS.glob("hbm_*")) if GOLDENS.is_dir() else []
    kinds = {folder: json.loads((folder / "case.json").read_text())["kind"] for folder in folders}
    return [folder for folder, kind in kinds.items() if kind == "hbm_train_steps"]


CASES = [pytest.param(folder, id=folder.name) for folder in find_cases()] or [
    pytest.param(
        None, marks=pytest.mark.skip(reason="no folder 'goldens': set $BEHAVIORZOO_GOLDENS")
    )
]


class Case:
    def __init__(self, folder: Path):
        self.case = json.loads((folder / "case.json").read_text())
        self.inputs = {k: torch.from_numpy(v) for k, v in np.load(folder / "inputs.npz").items()}
        self.expected = dict(np.load(folder / "expected.npz"))
        self.train = self.case["train"]
        self.dtype = getattr(torch, self.case["compute_dtype"])
        self.tolerance = self.case["tolerance"][self.case["compute_dtype"]]
        self.state = load_torch_file(folder / "checkpoint_start.pth")["model"]

    def model(self) -> HBehaveMAE:
        names = {field.name for field in fields(ModelConfig)}
        options = {**self.case["config"], "mask_ratio": self.train["mask_ratio"]}
        model = HBehaveMAE(ModelConfig(**{k: v for k, v in options.items() if k in names}))
        strict_load(model, self.state, "checkpoint_start.pth")
        return model.to(self.dtype)

    def optim(self) -> OptimConfig:
        given = self.train
        optional = {
            "bias_wd": given.get("bias_wd"),
            "betas": given.get("beta") or given.get("betas"),
        }
        return OptimConfig(
            epochs=given["epochs"],
            batch_size=given["batch_size"],
            blr=given["blr"],
            min_lr=given["min_lr"],
            warmup_epochs=given["warmup_epochs"],
            weight_decay=given["weight_decay"],
            **{key: value for key, value in optional.items() if value is not None},
        )

    def peak(self) -> float:
        """The highest learning rate; a case may give it instead of its blr."""
        found = self.optim().peak_lr(self.train["accum_iter"], self.train.get("world_size", 1))
        return found if math.isclose(found, self.train["lr"], rel_tol=1e-12) else self.train["lr"]

    def assert_equal(self, name: str, found) -> None:
        np.testing.assert_allclose(found, self.expected[name], **self.tolerance, err_msg=name)

    def assert_parameters(self, model: HBehaveMAE) -> None:
        stats = self.case["final_param_stats"]["rows"]
        found = {f"param.{name}": p.detach().numpy() for name, p in model.named_parameters()}
        assert set(found) == set(stats)
        for name, value in found.items():
            start = self.state[name.removeprefix("param.")].to(self.dtype).numpy()
            numbers = [np.linalg.norm(value), value.sum(), np.abs(value - start).sum()]
            # A sum of n entries collects n of their tolerances.
            slack = {**self.tolerance, "atol": self.tolerance["atol"] * value.size}
            np.testing.assert_allclose(numbers, stats[name], **slack, err_msg=name)
            if name in self.expected:
                self.assert_equal(name, value)
        assert {name for name in self.expected if name.startswith("param.")} <= set(found)


@pytest.mark.parametrize("folder", CASES)
def test_plain_loop(folder):
    """The documented order of one update, written out."""
    case = Case(folder)
    train, optim = case.train, case.optim()
    accumulate, per_epoch = train["accum_iter"], train["iterations_per_epoch"]
    model = case.model()
    groups = parameter_groups(model, optim.weight_decay, optim.bias_wd)
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=optim.betas, eps=1e-8)
    peak = case.peak()
    parameters = [p for group in groups for p in group["params"]]
    limit = float("inf") if train["clip_grad"] is None else train["clip_grad"]
    for step, (x, noise) in enumerate(zip(case.inputs["x"], case.inputs["noise"], strict=True)):
        epoch, iteration = divmod(step, per_epoch)
        epoch += train["start_epoch"]
        if iteration == 0:
            optimizer.zero_grad()
        if iteration % accumulate == 0:
            lr = learning_rate(
                epoch + iteration / per_epoch,
                peak=peak,
                warmup_epochs=train["warmup_epochs"],
                epochs=train["epochs"],
                minimum=train["min_lr"],
            )
            for group in optimizer.param_groups:
                group["lr"] = lr
        mask = mask_from_noise(noise, train["mask_ratio"])
        np.testing.assert_array_equal(mask, case.expected["mask"][step])
        loss = model(x.to(case.dtype), noise=noise).loss
        (loss / accumulate).backward()
        norm = float("nan")
        if (iteration + 1) % accumulate == 0:
            norm = torch.nn.utils.clip_grad_norm_(parameters, limit).item()
            optimizer.step()
            optimizer.zero_grad()
        for name, value in [("loss", loss.item()), ("lr", lr), ("grad_norm_before_clip", norm)]:
            np.testing.assert_allclose(
                value, case.expected[name][step], **case.tolerance, err_msg=f"{name}, step {step}"
            )
    case.assert_parameters(model)


class Recorder(PretrainModule):
    """The module of every run, which also writes down what the golden states."""

    def on_train_start(self):
        self.losses, self.rates, self.norms = [], [], []

    def training_step(self, batch, batch_idx):
        self.grad_norm = None
        loss = super().training_step(batch, batch_idx)
        self.losses.append(loss.item())
        self.rates.append(self.optimizers().param_groups[0]["lr"])
        return loss

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.norms.append(float("nan") if self.grad_norm is None else self.grad_norm.item())


@pytest.mark.parametrize("folder", CASES)
def test_lightning_run(folder, tmp_path):
    """The trainer of every run gives the authors' numbers as well."""
    case = Case(folder)
    train = case.train
    accumulate, per_epoch = train["accum_iter"], train["iterations_per_epoch"]
    steps = len(case.inputs["x"])
    if steps % per_epoch:
        pytest.skip(f"{folder.name} ends inside an epoch, a run does not")
    batches = EpochBatches(
        per_epoch * train["batch_size"], train["batch_size"], shuffle=False, group=accumulate
    )
    batches.epoch = train["start_epoch"]

    def fetch(indices, seeds):
        epoch, step = batches.epoch - train["start_epoch"], indices[0] // train["batch_size"]
        number = epoch * per_epoch + step
        return case.inputs["x"][number], case.inputs["noise"][number]

    model = case.model()
    module = Recorder(model, replace(case.optim(), lr=case.peak()))
    cfg = TrainerConfig(
        accelerator="cpu",
        precision="64-true" if case.dtype == torch.float64 else "32-true",
        max_epochs=train["start_epoch"] + steps // per_epoch,
        accumulate=accumulate,
        clip_norm=train["clip_grad"],
        progress=False,
    )
    trainer = build_trainer(cfg, tmp_path)
    progress = trainer.fit_loop.epoch_progress.current
    progress.processed = progress.completed = train["start_epoch"]
    trainer.fit(module, BatchLoader(batches, fetch))
    ours = [n for n in range(steps) if n % per_epoch < len(batches)]
    for name, values in [
        ("loss", module.losses),
        ("lr", module.rates),
        ("grad_norm_before_clip", module.norms),
    ]:
        np.testing.assert_allclose(
            values, case.expected[name][ours], **case.tolerance, err_msg=name
        )
    case.assert_parameters(model)
