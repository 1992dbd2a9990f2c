"""A resumed run equals an uninterrupted one, wherever it was left."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from behaviorzoo.batches import BatchLoader, EpochBatches
from behaviorzoo.checkpoints import find_checkpoints, load_checkpoint
from behaviorzoo.errors import UserError
from behaviorzoo.training import HeldOut, TrainerConfig, TrainingModule, build_trainer, fit

N_SAMPLES, BATCH = 23, 3


class Regression(TrainingModule):
    """The least that can be trained; it remembers which samples it saw."""

    train_measures = ("loss", "size")

    def __init__(self, poison_at: int | None = None):
        super().__init__()
        torch.manual_seed(0)
        self.model = torch.nn.Sequential(
            torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)
        )
        self.seen: list[tuple[int, list[int]]] = []
        self.poison_at = poison_at

    def training_step(self, batch, batch_idx):
        x, y, indices = batch
        self.seen.append((batch_idx, indices.tolist()))
        loss = (self.model(x)[:, 0] - y).square().mean()
        if len(self.seen) - 1 == self.poison_at:
            loss = loss * float("nan")
        self.measure(loss=loss, size=torch.tensor(float(len(x))))
        return loss

    def held_out(self, batch):
        x, y, _ = batch
        return {"loss": (self.model(x)[:, 0] - y).square().mean()}

    def configure_optimizers(self):
        return torch.optim.AdamW(self.model.parameters(), lr=0.05)


def data() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.from_numpy(np.random.default_rng(1).normal(size=(N_SAMPLES, 2)).astype(np.float32))
    return x, x[:, 0] * 2 - x[:, 1]


def fetch(indices, seeds):
    x, y = data()
    noise = torch.from_numpy((seeds % 1000) / 10000).float()
    return x[indices] + noise[:, None], y[indices], torch.from_numpy(indices)


def train(run: Path, *, module=None, resume=False, validate=2, prefetch=0, config=None, **settings):
    cfg = TrainerConfig(
        **{
            "accelerator": "cpu",
            "max_epochs": 3,
            "accumulate": 2,
            "clip_norm": 0.5,
            "log_every_n_steps": 2,
            "progress": False,
            "checkpoint_every_steps": 1,
            "keep_checkpoints": 0,
            **settings,
        }
    )
    module = module or Regression()
    loader = BatchLoader(
        EpochBatches(N_SAMPLES, BATCH, seed=5, group=cfg.accumulate), fetch, prefetch=prefetch
    )
    held_out = EpochBatches(N_SAMPLES, 4, seed=99, shuffle=False, drop_last=False)
    last = fit(
        module,
        loader,
        cfg,
        run,
        config=config or {"optim": {"lr": 0.05}},
        metadata={"data_fingerprint": "abc"},
        held_out=HeldOut(BatchLoader(held_out, fetch), validate) if validate else None,
        resume=resume,
    )
    return module, last


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as handle:
        table = list(csv.DictReader(handle))
    return [{k: v for k, v in row.items() if k != "samples_per_second"} for row in table]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run = tmp_path_factory.mktemp("whole") / "run"
    module, last = train(run)
    return run, module, last


def test_run_folder(whole):
    run, module, last = whole
    steps = 3 * (N_SAMPLES // BATCH // 2)
    assert last.name == f"step-{steps:08d}"
    assert [p.name for p in find_checkpoints(run / "checkpoints")] == [
        f"step-{step:08d}" for step in range(1, steps + 1)
    ]
    table = rows(run)
    assert [row["step"] for row in table if row["train_loss"]] == ["2", "4", "6", "8"]
    assert [(row["step"], row["epoch"]) for row in table if row["val_loss"]] == [
        ("3", "1"),
        ("9", "3"),
    ]
    assert (run / "config.yaml").exists()
    assert list((run / "tensorboard").iterdir())
    saved = load_checkpoint(run)
    assert saved.metadata["step"] == steps
    assert saved.metadata["epoch"] == 3
    assert saved.metadata["metrics"]["val_loss"] == pytest.approx(float(table[-1]["val_loss"]))
    for name, value in module.model.state_dict().items():
        torch.testing.assert_close(saved.state[name], value, rtol=0, atol=0)


@pytest.mark.parametrize("step", range(1, 9))
def test_resume_at_every_step(whole, tmp_path, step):
    run, module, last = whole
    import shutil

    part = tmp_path / "run"
    shutil.copytree(run, part)
    for path in find_checkpoints(part / "checkpoints")[step:]:
        shutil.rmtree(path)
    resumed, end = train(part, resume=True, prefetch=2)
    assert resumed.seen == module.seen[2 * step :]
    assert end.name == last.name
    for name, value in module.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name
    assert rows(part) == rows(run)
