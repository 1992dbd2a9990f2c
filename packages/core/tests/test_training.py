"""A resumed run equals an uninterrupted one, wherever it was left."""

from __future__ import annotations

import csv
import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch

from behaviorzoo.batches import BatchLoader, EpochBatches
from behaviorzoo.checkpoints import find_checkpoints, load_checkpoint
from behaviorzoo.errors import UserError
from behaviorzoo.training import HeldOut, TrainerConfig, TrainingModule, fit
from behaviorzoo.training.logs import MetricsLog
from behaviorzoo.training.placement import DataNearDevice
from behaviorzoo.training.run_folder import versions, within_schedule

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
        self.losses: list[float] = []
        self.poison_at = poison_at

    def training_step(self, batch, batch_idx):
        x, y, indices = batch
        self.seen.append((batch_idx, indices.tolist()))
        loss = (self.model(x)[:, 0] - y).square().mean()
        if len(self.seen) - 1 == self.poison_at:
            loss = loss * float("nan")
        self.measure(loss=loss, size=torch.tensor(float(len(x))))
        self.losses.append(loss.item())
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


def train(
    run: Path,
    *,
    module=None,
    resume=False,
    validate=2,
    held_out_batch=4,
    prefetch=0,
    config=None,
    **settings,
):
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
    held_out = EpochBatches(N_SAMPLES, held_out_batch, seed=99, shuffle=False, drop_last=False)
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


def test_rows_are_means_of_all_batches_since_the_row_before(whole):
    run, module, _ = whole
    table = [row for row in rows(run) if row["train_loss"]]
    for row, first in zip(table, range(0, 16, 4), strict=True):
        # Two updates of two batches each.
        expected = np.mean(module.losses[first : first + 4])
        assert float(row["train_loss"]) == pytest.approx(expected, rel=1e-6)
        assert float(row["train_size"]) == BATCH
        assert float(row["epoch"]) == pytest.approx(int(row["step"]) / 3)
        assert float(row["lr"]) == 0.05
        assert float(row["grad_norm"]) > 0


def test_held_out_measure_is_the_mean_over_all_samples(tmp_path):
    """Batches of 4 do not divide 23 samples: a mean of batch means would differ."""
    module, _ = train(tmp_path / "run", max_epochs=1, validate=1)
    batches = EpochBatches(N_SAMPLES, 4, seed=99, shuffle=False, drop_last=False)
    squares = [
        ((module.model(x)[:, 0] - y).square()).tolist()
        for x, y, _ in (fetch(*batches.batch(0, n)) for n in range(len(batches)))
    ]
    expected = np.mean([value for part in squares for value in part])
    assert float(rows(tmp_path / "run")[-1]["val_loss"]) == pytest.approx(expected, rel=1e-5)


def test_clipping_is_by_the_norm_over_all_parameters(tmp_path):
    class Watch(Regression):
        after: list[float]

        def on_before_zero_grad(self, optimizer):
            grads = [p.grad for p in self.model.parameters() if p.grad is not None]
            if grads:
                self.after.append(float(torch.cat([g.flatten() for g in grads]).norm()))

    module = Watch()
    module.after = []
    train(tmp_path / "run", module=module, max_epochs=1, log_every_n_steps=1, clip_norm=0.1)
    before = [float(row["grad_norm"]) for row in rows(tmp_path / "run") if row["grad_norm"]]
    assert min(before) > 0.1
    np.testing.assert_allclose(module.after[-2:], 0.1, rtol=1e-4)


def test_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoints(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(UserError, match=r"not a finite number at step 4 \(epoch 1\)"):
        train(run, module=Regression(poison_at=8), accumulate=2)
    found = find_checkpoints(run / "checkpoints")
    assert [path.name for path in found] == [f"step-{n:08d}" for n in (1, 2, 3, 4)]
    for path in found:
        state = load_checkpoint(path).state
        assert all(value.isfinite().all() for value in state.values())
    resumed, _ = train(run, resume=True)
    assert np.isfinite(resumed.losses).all()


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    _, last = train(tmp_path / "run", keep_checkpoints=2)
    names = [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()]
    assert sorted(names) == ["step-00000008", "step-00000009"]
    assert last.name == "step-00000009"


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"checkpoint_every_steps": 4}, [4, 8, 9]),
        ({"checkpoint_every_epochs": 2}, [6, 9]),
        ({"checkpoint_every_minutes": 1e-9}, [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ({}, [9]),
    ],
)
def test_when_checkpoints_are_written(tmp_path, settings, steps):
    never = {"checkpoint_every_steps": None, "checkpoint_every_minutes": None}
    train(tmp_path / "run", **{**never, **settings})
    found = find_checkpoints(tmp_path / "run" / "checkpoints")
    assert [load_checkpoint(path).metadata["step"] for path in found] == steps


def test_limited_time_saves_and_goes_on_later(whole, tmp_path):
    run = tmp_path / "run"
    settings = {"checkpoint_every_steps": None, "checkpoint_every_minutes": None}
    _, last = train(run, max_time_minutes=1e-9, **settings)
    assert last.name == "step-00000001"
    for _ in range(8):
        _, last = train(run, resume=True, max_time_minutes=1e-9, **settings)
    assert last.name == "step-00000009"
    assert rows(run) == rows(whole[0])
    for name, value in load_checkpoint(whole[0]).state.items():
        assert torch.equal(load_checkpoint(run).state[name], value)


class SignalAt(Regression):
    """Sends this very process a signal in a batch, or while it is validated."""

    def __init__(self, number: int, batch: int | None = None):
        super().__init__()
        self.number, self.batch, self.checked = number, batch, 0

    def training_step(self, batch, batch_idx):
        if len(self.seen) == self.batch:
            os.kill(os.getpid(), self.number)
        return super().training_step(batch, batch_idx)

    def held_out(self, batch):
        self.checked += 1
        if self.batch is None:
            os.kill(os.getpid(), self.number)
        return super().held_out(batch)


@pytest.mark.parametrize("batch", [6, 7, 11])
@pytest.mark.parametrize(
    ("number", "end"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)]
)
def test_signal_saves_at_the_next_update(whole, tmp_path, batch, number, end):
    run = tmp_path / "run"
    before = signal.getsignal(number)
    module = SignalAt(number, batch)
    with pytest.raises(end) as caught:
        train(run, module=module, checkpoint_every_steps=None)
    assert signal.getsignal(number) is before
    (log,) = [log for log in module.trainer.callbacks if isinstance(log, MetricsLog)]
    assert log.board is None  # closed, not left to the garbage collection
    if number == signal.SIGTERM:
        assert caught.value.code == 143
    assert load_checkpoint(run).metadata["step"] == batch // 2 + 1
    train(run, resume=True)
    assert rows(run) == rows(whole[0])


def test_signal_while_validating_ends_it_and_resume_repeats_it(tmp_path):
    """23 held-out batches: the wish is heard after 10 of them."""
    run, other = tmp_path / "run", tmp_path / "other"
    settings = {"max_epochs": 2, "validate": 1, "checkpoint_every_steps": None}
    train(other, held_out_batch=1, **settings)
    module = SignalAt(signal.SIGTERM)
    with pytest.raises(SystemExit):
        train(run, module=module, held_out_batch=1, **settings)
    assert module.checked == 10
    assert load_checkpoint(run).metadata["step"] == 3
    assert not any(row["val_loss"] for row in rows(run))
    train(run, resume=True, held_out_batch=1, **settings)
    assert rows(run) == rows(other)


def test_second_ctrl_c_ends_at_once(tmp_path):
    class Impatient(Regression):
        def training_step(self, batch, batch_idx):
            if len(self.seen) == 6:
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)
                raise AssertionError("the run went on")
            return super().training_step(batch, batch_idx)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", module=Impatient())
    assert load_checkpoint(tmp_path / "run").metadata["step"] == 3


def test_full_disk_ends_the_run_and_keeps_the_older_checkpoint(tmp_path, monkeypatch):
    run, original = tmp_path / "run", Path.write_bytes
    count = iter(range(100))

    def write_bytes(self, content):
        # Two files for each checkpoint: the fourth one has no room.
        if next(count) >= 6:
            original(self, bytes(content)[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(self, content)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(UserError, match=r"step-00000004: no space left"):
        train(run)
    names = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert names == ["step-00000001", "step-00000002", "step-00000003"]


def test_fresh_start_into_a_folder_with_a_run_is_refused(whole):
    run = whole[0]
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    with pytest.raises(UserError, match=r"holds a run already \(step-00000009\); add --resume"):
        train(run)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_resume_without_anything_to_resume_starts_and_says_so(tmp_path, capsys):
    leftover = tmp_path / "run" / "checkpoints" / ".step-00000003.abc"
    leftover.mkdir(parents=True)
    _, last = train(tmp_path / "run", resume=True, max_epochs=1)
    assert "no complete checkpoint to resume from, starting from scratch" in capsys.readouterr().err
    assert last.name == "step-00000003"
    assert not leftover.exists()


def test_resume_with_other_keys_is_refused_with_all_of_them(whole):
    other = {"optim": {"lr": 0.1}, "seed": 1}
    with pytest.raises(UserError, match=r"optim\.lr 0\.05 -> 0\.1; seed absent -> 1\. Set"):
        train(whole[0], resume=True, config=other)


def test_a_longer_run_goes_on_from_a_finished_one(whole, tmp_path):
    run = tmp_path / "run"
    train(run, max_epochs=1)
    _, last = train(run, resume=True, max_epochs=3)
    for name, value in load_checkpoint(whole[0]).state.items():
        assert torch.equal(load_checkpoint(last).state[name], value)


def test_progress_shows_samples_per_second_and_the_time_left(tmp_path, capsys):
    train(tmp_path / "run", progress=True)
    shown = capsys.readouterr().err
    assert "samples/s" in shown
    assert "54.0/54.0" in shown
    assert "loss=" in shown


def test_names_in_tensorboard_can_be_others(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    class Renamed(Regression):
        board_tags = MappingProxyType({"train_loss": "train/total_loss"})

    train(tmp_path / "run", module=Renamed(), max_epochs=1)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    tags = events.Tags()["scalars"]
    assert "train/total_loss" in tags
    assert "train_size" in tags
    assert "train_loss" not in tags
    assert rows(tmp_path / "run")[0]["train_loss"]


@pytest.mark.parametrize(
    ("device", "free", "expected"),
    [
        ("cpu", 100, (None, 0, False)),
        ("cuda", 100, ("cuda", 0, False)),
        ("cuda", 99, (None, 2, True)),
    ],
)
def test_data_go_to_a_gpu_where_they_fit(monkeypatch, device, free, expected):
    class Data:
        nbytes, device = 25, None

        def to(self, device):
            self.device = device

    module = Regression()
    monkeypatch.setattr(Regression, "device", place := torch.device(device), raising=False)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 1000))
    loader, kept = BatchLoader(EpochBatches(N_SAMPLES, BATCH), fetch), Data()
    DataNearDevice(loader, kept).on_fit_start(None, module)
    found = kept.device.type if kept.device else None
    assert (found, loader.prefetch, loader.pin_memory) == expected
    assert kept.device in (None, place)


@pytest.mark.parametrize(("asked", "length"), [(None, 7), (3, 3), (9, 7)])
def test_a_run_is_no_longer_than_the_schedule(asked, length):
    assert within_schedule(TrainerConfig(max_epochs=asked), 7).max_epochs == length


def test_versions_name_the_method_and_what_it_stands_on():
    told = versions("core")
    assert set(told) == {"core", "torch", "lightning", "numpy", "python"}
    assert told["torch"] == torch.__version__


def test_mixed_precision_runs(tmp_path):
    module, _ = train(tmp_path / "run", precision="bf16-mixed", max_epochs=1)
    assert module.model[0].weight.dtype == torch.float32
    assert np.isfinite(module.losses).all()


def test_compile_is_asked_for(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: asked.append(self))
    module, _ = train(tmp_path / "run", compile=True, max_epochs=1)
    assert asked == [module.model]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_missing_device_is_one_line(tmp_path):
    with pytest.raises(UserError, match="this machine cannot do accelerator=gpu") as caught:
        train(tmp_path / "run", accelerator="gpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["devices", "accumulate", "max_epochs", "clip_norm"])
def test_numbers_out_of_range(name):
    with pytest.raises(UserError, match=f"{name} = 0 must be"):
        TrainerConfig(**{name: 0})


def test_settings_without_torch():
    code = "import sys, behaviorzoo.training.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
