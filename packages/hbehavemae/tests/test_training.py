"""The optimiser's groups, the schedule, the masks, and a run on recordings."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from behaviorzoo.batches import BatchLoader, EpochBatches
from behaviorzoo.checkpoints import load_checkpoint
from behaviorzoo.errors import UserError
from behaviorzoo.synthetic import write_behaviour
from behaviorzoo.training import TrainerConfig, build_trainer
from hbehavemae.config import configure
from hbehavemae.data import WindowDataset
from hbehavemae.model import HBehaveMAE, ModelConfig
from hbehavemae.optim import OptimConfig, learning_rate
from hbehavemae.training import (
    MaskedWindows,
    PretrainModule,
    mask_noise,
    parameter_groups,
    parameter_names,
    pretrain,
)

TINY = ModelConfig(
    input_size=(8, 1, 6),
    patch_kernel=(2, 1, 3),
    stages=(1, 1),
    q_strides=((2, 1, 2),),
    mask_unit_attn=(True, False),
    init_embed_dim=8,
    init_num_heads=1,
    out_embed_dims=(4, 4),
    decoder_embed_dim=8,
    decoding_strategy="multi",
    mask_ratio=0.5,
)
UNITS = 2


def slow_rate(epoch: float, peak: float, warmup: float, epochs: float, minimum: float) -> float:
    if epoch < warmup:
        return peak * epoch / warmup
    share = (epoch - warmup) / (epochs - warmup)
    return minimum + (peak - minimum) * 0.5 * (1.0 + math.cos(math.pi * share))


@given(
    st.floats(0, 1), st.floats(1e-6, 1), st.integers(0, 40), st.integers(1, 200), st.floats(0, 1e-6)
)
def test_schedule(share, peak, warmup, after, minimum):
    epochs = warmup + after
    found = learning_rate(
        share * epochs, peak=peak, warmup_epochs=warmup, epochs=epochs, minimum=minimum
    )
    assert found == pytest.approx(slow_rate(share * epochs, peak, warmup, epochs, minimum))
    assert 0 <= found <= peak * (1 + 1e-12)


def test_schedule_at_its_corners():
    options = {"peak": 2.0, "warmup_epochs": 40, "epochs": 200, "minimum": 0.5}
    assert learning_rate(0, **options) == 0
    assert learning_rate(40, **options) == 2.0
    assert learning_rate(120, **options) == pytest.approx(1.25)
    assert learning_rate(200, **options) == pytest.approx(0.5)


def test_learning_rate_of_the_effective_batch():
    """The published example: 2 GPUs, 512 windows on each."""
    published = OptimConfig(blr=1.6e-4, batch_size=512)
    assert published.peak_lr(world_size=2) == pytest.approx(6.4e-4)
    assert replace(published, batch_size=64).peak_lr(accumulate=8, world_size=2) == pytest.approx(
        6.4e-4
    )
    assert replace(published, lr=3e-3).peak_lr(8, 2) == 3e-3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_size": 0}, "batch_size = 0 must be at least 1"),
        ({"blr": -1.0}, "blr = -1.0 must be positive"),
        ({"betas": (0.9, 1.0)}, r"betas = \[0.9, 1.0\] must lie in"),
    ],
)
def test_settings_out_of_range(wrong, message):
    with pytest.raises(UserError, match=message):
        OptimConfig(**wrong)


def test_groups_of_the_published_models(goldens_dir):
    folder = goldens_dir / "hbm_paper_state_dicts"
    for name, model in json.loads((folder / "case.json").read_text())["models"].items():
        known = {field.name for field in fields(ModelConfig)}
        config = ModelConfig(**{k: v for k, v in model["config"].items() if k in known})
        with torch.device("meta"):
            network = HBehaveMAE(config)
        groups = model["weight_decay_groups"]
        assert parameter_names(network) == (groups["no_decay"], groups["decay"]), name


@pytest.mark.parametrize("bias_wd", [False, True])
def test_groups_hold_every_parameter_once(bias_wd):
    network = HBehaveMAE(TINY)
    without, decayed = parameter_groups(network, 0.05, bias_wd)
    assert (without["weight_decay"], decayed["weight_decay"]) == (0.0, 0.05)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    assert sorted(names.values()) == sorted(
        names[id(p)] for group in (without, decayed) for p in group["params"]
    )
    spared = {names[id(p)] for p in without["params"]}
    assert "blocks.0.attn.qkv.bias" in spared
    assert ("blocks.0.norm1.weight" in spared) is not bias_wd
    assert not {"pos_embed_spatial", "mask_token", "decoder_pos_embed"} & spared


def test_masks_depend_on_the_window_alone():
    seeds = np.arange(50) * 12345
    noise = mask_noise(seeds, 7)
    assert noise.shape == (50, 7)
    assert noise.dtype == torch.float32
    order = np.random.default_rng(0).permutation(50)
    assert torch.equal(mask_noise(seeds[order], 7), noise[order])
    assert len(noise.unique()) == noise.numel()


def test_masks_are_uniform():
    noise = mask_noise(np.arange(4000), 10)
    kept = noise.argsort(dim=1)[:, :3].flatten().bincount(minlength=10)
    # 12 000 draws among 10 units: five standard deviations are 164.
    assert (kept - 1200).abs().max() < 164
    assert noise.min() >= 0
    assert noise.max() < 1


def windows(n_frames: int = 40) -> WindowDataset:
    walk = np.random.default_rng(0).normal(size=(n_frames, 1, 6)).astype(np.float32)
    return WindowDataset([walk], ["walk"], window=8, stride=1)


def run(folder, fetch, optim, **settings):
    """Losses and learning rates of a short run."""
    network = HBehaveMAE(TINY, generator=torch.Generator().manual_seed(0))
    losses, rates = [], []

    class Recorder(PretrainModule):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            losses.append(loss.item())
            rates.append([group["lr"] for group in self.optimizers().param_groups])
            return loss

    cfg = TrainerConfig(accelerator="cpu", max_epochs=2, progress=False, **settings)
    batches = EpochBatches(len(windows()), optim.batch_size, seed=1, group=cfg.accumulate)
    trainer = build_trainer(cfg, folder)
    trainer.fit(Recorder(network, optim, seed=4), BatchLoader(batches, fetch))
    return losses, rates


def test_learning_rate_counts_batches_that_are_left_out(tmp_path):
    """33 windows make 8 batches; groups of 3 use 6 of them, the schedule still counts 8."""
    data = windows()
    assert len(data) == 33
    optim = OptimConfig(epochs=5, warmup_epochs=1, batch_size=4, lr=0.5, min_lr=0.1)
    _, rates = run(tmp_path, MaskedWindows(data, UNITS, augment=False), optim, accumulate=3)
    expected = [
        slow_rate(epoch + first / 8, 0.5, 1, 5, 0.1)
        for epoch in range(2)
        for first in (0, 0, 0, 3, 3, 3)
    ]
    np.testing.assert_allclose(rates, np.repeat(expected, 2).reshape(-1, 2), rtol=1e-12)


def test_windows_without_noise_get_masks_that_repeat(tmp_path):
    data, optim = windows(), OptimConfig(epochs=2, batch_size=4, warmup_epochs=1)
    losses = [run(tmp_path, lambda i, s: data.batch(i), optim)[0] for _ in range(2)]
    assert losses[0] == losses[1]
    assert len(set(losses[0])) == len(losses[0])


def test_learning_lowers_the_loss(tmp_path):
    data = windows()
    optim = OptimConfig(epochs=2, batch_size=4, warmup_epochs=1, lr=0.05)
    losses, _ = run(tmp_path, MaskedWindows(data, UNITS, augment=False), optim, clip_norm=1.0)
    assert np.mean(losses[-4:]) < np.mean(losses[:4])


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    write_behaviour(folder, 3, 600, seed=0, missing=0.1)
    return folder / "recordings"


def small(recordings, out, *words):
    return configure(
        [
            "experiment=demo",
            f"data.path={recordings}",
            f"out={out}",
            "data.window=120",
            "model.init_embed_dim=8",
            "model.init_num_heads=1",
            "model.mask_ratio=0.5",
            "optim.epochs=2",
            "optim.warmup_epochs=1",
            "optim.batch_size=4",
            "trainer.accelerator=cpu",
            "trainer.progress=false",
            "trainer.log_every_n_steps=1",
            *words,
        ]
    )


def test_recordings_with_missing_points(recordings, tmp_path):
    """NaN goes in, finite numbers come out, and the checkpoint knows how the data were treated."""
    folder = pretrain(small(recordings, tmp_path / "run"))
    with (folder / "metrics.csv").open() as handle:
        table = list(csv.DictReader(handle))
    assert np.isfinite([float(row["train_loss"]) for row in table]).all()
    saved = load_checkpoint(folder)
    assert saved.metadata["data_state"]
    assert saved.config["model"]["input_size"][0] == 120
    assert saved.metadata["epoch"] == 2


def test_held_out_recordings(recordings, tmp_path):
    words = [f"data.test_path={recordings}", "optim.validate_every_epochs=1"]
    folder = pretrain(small(recordings, tmp_path / "run", *words))
    with (folder / "metrics.csv").open() as handle:
        measured = [float(row["val_loss"]) for row in csv.DictReader(handle) if row["val_loss"]]
    assert len(measured) == 2
    assert np.isfinite(measured).all()


def test_batch_larger_than_the_data(recordings, tmp_path):
    with pytest.raises(UserError, match=r"samples cannot fill one batch of 5000"):
        pretrain(small(recordings, tmp_path / "run", "optim.batch_size=5000"))
    assert not (tmp_path / "run").exists()


def test_a_run_folder_in_use_is_told_before_the_data_are_read(recordings, tmp_path):
    cfg = small(recordings, tmp_path / "run", "trainer.max_epochs=1")
    pretrain(cfg)
    cfg.layout = None
    cfg.data.path = str(tmp_path / "gone")
    with pytest.raises(UserError, match="holds a run already"):
        pretrain(cfg)


def test_settings_without_torch():
    code = "import sys, hbehavemae.optim; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
