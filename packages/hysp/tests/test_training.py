"""The step, its order and randomness, and runs on tiny data of every kind."""

from __future__ import annotations

import csv
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from behaviorzoo.batches import BatchLoader, EpochBatches
from behaviorzoo.checkpoints import load_checkpoint
from behaviorzoo.errors import UserError
from behaviorzoo.synthetic import write_behaviour
from behaviorzoo.training import TrainerConfig, build_trainer
from hysp.augment import AugmentConfig, views
from hysp.checkpoints import build_encoder, build_network
from hysp.config import CurriculumConfig, PretrainConfig, configure
from hysp.convert import to_authors
from hysp.curriculum import hyper_weight
from hysp.data.dataset import SkeletonData
from hysp.data.skeleton import Skeleton
from hysp.hyperbolic import distance, exp_map
from hysp.model import EncoderConfig, GraphConfig, ModelConfig, build_model
from hysp.optim import OptimConfig, build_optimizer
from hysp.streams import apply_stream
from hysp.training import PretrainModule, Sequences, initial_network, pretrain

MIRROR = (0, 1, 3, 2, 4)
EDGES = ((0, 1), (1, 2), (1, 3), (1, 4))
ENCODER = EncoderConfig(3, 2, 6, GraphConfig("custom", n_joints=5, edges=EDGES, centre=1))
TINY = ModelConfig(
    encoder=ENCODER,
    projection_hidden_size=(6, 4),
    predictor_hidden_size=(6, 4),
    moving_average_decay=0.9,
    queue_size=16,
)
TINY_NET = [
    "model.encoder.hidden_channels=2",
    "model.encoder.out_channels=8",
    "model.projection_hidden_size=[6,6]",
    "model.predictor_hidden_size=[6,6]",
    "model.queue_size=16",
    "trainer.accelerator=cpu",
    "trainer.progress=false",
    "trainer.log_every_n_steps=1",
    "optim.epochs=2",
    "optim.batch_size=4",
    "optim.validate_every_epochs=1",
]
CHAIN = Skeleton(("head", "neck", "left", "right", "tail"), EDGES, 1, MIRROR)


def skeleton_data(n: int, coordinates: int = 3, seed: int = 0) -> SkeletonData:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, coordinates, 12, 5, 1)).cumsum(axis=2).astype(np.float32)
    names = [f"clip{number}" for number in range(n)]
    return SkeletonData(x, pd.DataFrame({"name": names, "group": names}), CHAIN, {})


def config(model: ModelConfig = TINY, **changes) -> PretrainConfig:
    start = PretrainConfig(
        seed=4,
        model=model,
        curriculum=CurriculumConfig(True, 1, 4),
        optim=OptimConfig(optimizer="SGD", lr=0.1, epochs=3, milestones=(2,), batch_size=4),
    )
    return replace(start, **changes)


class Recorder(PretrainModule):
    """Keeps what every step was given, measured, and left behind."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.steps: list[SimpleNamespace] = []

    def training_step(self, batch, batch_idx):
        before = deepcopy(self.model.state_dict())
        loss = super().training_step(batch, batch_idx)
        self.steps.append(
            SimpleNamespace(
                x=batch[0],
                seeds=batch[1],
                epoch=self.current_epoch,
                loss=float(loss.detach()),
                measured={name: float(value) for name, value in self.measured.items()},
                before=before,
                within=deepcopy(self.model.state_dict()),
                rate=self.optimizers().param_groups[0]["lr"],
                weight=self.hyper_weight,
            )
        )
        return loss


def run(cfg: PretrainConfig, folder: Path, n: int = 9, data=None, **trainer) -> Recorder:
    """A short run without a run folder."""
    data = data or skeleton_data(n)
    module = Recorder(initial_network(cfg), cfg, MIRROR)
    settings = TrainerConfig(
        accelerator="cpu", max_epochs=cfg.optim.epochs, progress=False, **trainer
    )
    batches = EpochBatches(
        len(data), cfg.optim.batch_size, seed=cfg.seed, group=settings.accumulate
    )
    build_trainer(settings, folder).fit(module, BatchLoader(batches, Sequences(data)))
    return module


# ------------------------------------------------------------------ the step


def without_dropout(model: ModelConfig) -> ModelConfig:
    return replace(model, encoder=replace(model.encoder, dropout=0.0))


def test_a_step_in_the_order_of_the_authors(tmp_path):
    """Forward with the old target, target towards the old weights, then the optimiser."""
    cfg = config(without_dropout(TINY))
    module = run(cfg, tmp_path, precision="64-true")
    model = build_model(cfg.model).double()
    model.load_state_dict(module.steps[0].before)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = build_optimizer("SGD", trained, 0.1, 1e-4)
    for step, next_step in pairwise(module.steps):
        optimizer.param_groups[0]["lr"] = step.rate
        strong, weak = views(step.x, step.seeds, cfg.augment, "paper", MIRROR)
        lam = hyper_weight(step.epoch, 1, 4)
        output = model(strong, weak, lam)
        assert step.weight == lam
        assert step.loss == pytest.approx(output.loss.mean().item())
        with torch.no_grad():
            for target, online in (
                (model.target_encoder, model.online_encoder),
                (model.target_projector, model.online_projector),
            ):
                for slow, fast in zip(target.parameters(), online.parameters(), strict=True):
                    slow.mul_(0.9).add_(0.1 * fast)
        optimizer.zero_grad()
        output.loss.mean().backward()
        optimizer.step()
        for name, value in model.state_dict().items():
            torch.testing.assert_close(value, next_step.before[name], msg=name)


def test_the_target_lags_one_step_behind(tmp_path):
    first, second = run(config(), tmp_path).steps[:2]
    name = "projector.net.0.weight"
    # It was a copy: the first move is none, although the weights then change.
    assert torch.equal(first.within[f"target_{name}"], first.before[f"target_{name}"])
    assert not torch.equal(second.before[f"online_{name}"], first.before[f"online_{name}"])
    expected = 0.9 * first.before[f"target_{name}"] + 0.1 * second.before[f"online_{name}"]
    torch.testing.assert_close(second.within[f"target_{name}"], expected)


def test_batches_of_one_update_see_one_target(tmp_path):
    steps = run(config(), tmp_path, accumulate=2).steps
    name = "target_encoder.data_bn.weight"
    moved = [not torch.equal(s.within[name], s.before[name]) for s in steps]
    assert moved == [False, False, False, True, False, True]
    online = "online_encoder.data_bn.weight"
    changes = [not torch.equal(a.before[online], b.before[online]) for a, b in pairwise(steps)]
    assert changes == [False, True, False, True, False]


@pytest.mark.parametrize("compat", ["paper", "upstream"])
def test_the_target_of_skeletonclr_moves_within_the_network(tmp_path, compat):
    model = replace(TINY, method="skeletonclr")
    steps = run(config(model, compat=compat), tmp_path).steps
    name = "projector.net.0.weight"
    second = steps[1]
    expected = second.before[f"target_{name}"]
    if compat == "paper":  # once, not twice
        expected = 0.9 * expected + 0.1 * second.before[f"online_{name}"]
    torch.testing.assert_close(second.within[f"target_{name}"], expected)
    assert not torch.equal(steps[0].before["queue"], steps[-1].within["queue"])


def test_a_step_measures_what_the_paper_logs(tmp_path):
    cfg = config(without_dropout(TINY), augment=AugmentConfig(), compat="upstream")
    step = run(cfg, tmp_path).steps[-1]
    model = build_model(cfg.model, "upstream").train()
    model.load_state_dict(step.before)
    output = model(*views(step.x, step.seeds, cfg.augment, "upstream", MIRROR), step.weight)
    q, k = output.q.detach().double(), output.k.double()
    x, y = exp_map(q), exp_map(k)
    cosine = nn.functional.cosine_similarity(q, k)
    expected = {
        "loss": output.loss.mean(),
        "loss_euc": output.loss_euc.mean(),
        "loss_hyp": output.loss_hyp.mean(),
        "mse": (q - k).square().mean(),
        "cosine_dist": (2 - 2 * cosine).mean(),
        "radius_x": x.norm(dim=1).mean(),
        "radius_y": y.norm(dim=1).mean(),
        "ang_e": cosine.acos().rad2deg().mean(),
        "poincare_dist": distance(x, y, 1.0, "upstream").mean(),
        "lambda_hyper": torch.tensor(step.weight),
    }
    assert list(step.measured) == list(expected)
    for name, value in expected.items():
        assert step.measured[name] == pytest.approx(float(value), rel=1e-4), name


@pytest.mark.parametrize("stream", ["joint", "motion", "bone", "2s", "3s"])
def test_streams_come_after_the_augmentation(stream):
    parts = {"2s": 2, "3s": 3}.get(stream, 1)
    model = replace(TINY, encoder=replace(ENCODER, in_channels=3 * parts))
    module = PretrainModule(build_model(model), config(model, stream=stream), MIRROR)
    x, seeds = skeleton_data(4).batch(range(4)).x, torch.arange(4)
    augmented = views(x, seeds, AugmentConfig(), "paper", MIRROR)
    parents = (1, 1, 1, 1, 1)
    for found, plain in zip(module.views(x, seeds), augmented, strict=True):
        assert torch.equal(found, apply_stream(plain, stream, parents))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**62), st.permutations(range(6)))
def test_the_views_depend_on_the_sequence_and_its_seed_alone(seed, order):
    module = PretrainModule(build_model(TINY), config(), MIRROR)
    x, seeds = skeleton_data(6).batch(range(6)).x, seed // 3 + torch.arange(6) * 7919
    ours, shuffled = module.views(x, seeds), module.views(x[list(order)], seeds[list(order)])
    for found, expected in zip(shuffled, ours, strict=True):
        torch.testing.assert_close(found, expected[list(order)], rtol=1e-5, atol=1e-5)


def test_views_keep_their_digits_under_autocast():
    module = PretrainModule(build_model(TINY), config(), MIRROR)
    x, seeds = skeleton_data(4).batch(range(4)).x, torch.arange(4)
    with torch.autocast("cpu", torch.bfloat16):
        half = module.views(x, seeds)
        loss = module.model(*half, 0.5).loss
    for found, expected in zip(half, module.views(x, seeds), strict=True):
        assert torch.equal(found, expected)
    assert loss.dtype == torch.float64  # the ball has no room for half precision


def test_rates_and_lambda_follow_the_epochs(tmp_path):
    steps = run(config(), tmp_path).steps
    assert [step.rate for step in steps] == pytest.approx([0.1] * 4 + [0.01] * 2)
    assert [step.weight for step in steps] == pytest.approx([0.0] * 2 + [1 / 3] * 2 + [2 / 3] * 2)
    plain = config(curriculum=CurriculumConfig(enabled=False))
    assert {step.weight for step in run(plain, tmp_path).steps} == {1.0}


def test_cosine_stays_high_while_the_curriculum_lasts(tmp_path):
    optim = OptimConfig("SGD", 0.1, scheduler="cosine", epochs=5, warmup_epochs=2, batch_size=4)
    with_course = run(config(optim=optim, curriculum=CurriculumConfig(True, 1, 3)), tmp_path)
    rates = [step.rate for step in with_course.steps[::2]]
    assert rates[:4] == pytest.approx([0.1] * 4)
    assert rates[4] < 0.1
    without = run(config(optim=optim, curriculum=CurriculumConfig(False)), tmp_path)
    assert without.steps[0].rate == pytest.approx(0.01)


def test_held_out_sequences_are_not_augmented_and_change_nothing():
    cfg = config()
    module = PretrainModule(build_model(cfg.model), cfg, MIRROR)
    module.hyper_weight = 0.25
    x, seeds = skeleton_data(5).batch(range(5)).x, torch.arange(5)
    before = deepcopy(module.model.state_dict())
    found = module.held_out((x, seeds))
    assert tuple(found) == module.val_measures
    assert module.model.training
    assert all(torch.equal(before[k], v) for k, v in module.model.state_dict().items())
    network = deepcopy(module.model).eval()
    assert float(found["loss"]) == pytest.approx(float(network(x, x, 0.25).loss.mean()))
    upstream = PretrainModule(network.train(), replace(cfg, compat="upstream"), MIRROR)
    upstream.hyper_weight = 0.25
    augmented = views(x, seeds, cfg.augment, "upstream", MIRROR)
    expected = deepcopy(network).eval()(*augmented, 0.25).loss.mean()
    assert float(upstream.held_out((x, seeds))["loss"]) == pytest.approx(float(expected))


def test_the_same_seed_gives_the_same_run_and_another_one_another(tmp_path):
    torch.manual_seed(1)
    first = run(config(), tmp_path)
    torch.manual_seed(2)
    again, other = run(config(), tmp_path), run(config(seed=5), tmp_path)
    losses = [[step.loss for step in module.steps] for module in (first, again, other)]
    assert losses[0] == losses[1] != losses[2]
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name


@pytest.mark.parametrize("method", ["hysp", "simsiam", "skeletonclr"])
def test_training_lowers_the_loss(tmp_path, method):
    optim = OptimConfig("SGD", 0.1, epochs=30, milestones=(30,), batch_size=8)
    model = replace(without_dropout(TINY), method=method, queue_size=32)
    course = CurriculumConfig(enabled=False)
    cfg = config(model, optim=optim, curriculum=course, augment=AugmentConfig(shear=0.1))
    losses = [step.loss for step in run(cfg, tmp_path, n=8, data=skeleton_data(8)).steps]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


@pytest.mark.parametrize(
    ("world_size", "device", "shared"), [(2, "cuda", True), (2, "cpu", False), (1, "cuda", False)]
)
def test_devices_share_batch_statistics(monkeypatch, world_size, device, shared):
    """On several GPUs; nothing of the state's names changes."""
    module = PretrainModule(build_model(TINY), config(), MIRROR)
    names = list(module.model.state_dict())
    root = SimpleNamespace(root_device=torch.device(device))
    monkeypatch.setattr(
        PretrainModule, "trainer", SimpleNamespace(world_size=world_size, strategy=root)
    )
    module.setup("fit")
    kinds = {
        type(m) for m in module.model.modules() if isinstance(m, nn.modules.batchnorm._NormBase)
    }
    assert (kinds == {nn.SyncBatchNorm}) == shared
    assert list(module.model.state_dict()) == names


def test_sequences_are_the_same_from_the_device():
    data = skeleton_data(7)
    near, far = Sequences(data), Sequences(data)
    assert near.nbytes == data.x.nbytes
    near.to(torch.device("cpu"))
    indices, seeds = np.array([5, 0, 3]), np.array([1, 2, 3])
    for ours, theirs in zip(near(indices, seeds), far(indices, seeds), strict=True):
        assert torch.equal(ours, theirs)


def test_initial_weights_come_from_the_seed():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, again, other = (initial_network(config(seed=s)).state_dict() for s in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    name = "online_encoder.st_gcn_networks.0.gcn.conv.weight"
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])


# ------------------------------------------------------------------ runs


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    """Three recordings, short of points, with labels and a column that says who trains."""
    folder = tmp_path_factory.mktemp("behaviour")
    write_behaviour(folder, 3, 240, seed=0, missing=0.02)
    return folder


def small(recordings: Path, out: Path, *words: str) -> PretrainConfig:
    return configure([f"data.path={recordings}/recordings", f"out={out}", *TINY_NET, *words])


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as handle:
        return list(csv.DictReader(handle))


def test_a_run_on_recordings(recordings, tmp_path, capsys):
    cfg = small(recordings, tmp_path / "run", "data.folds=3")
    folder = pretrain(cfg)
    told = capsys.readouterr().out
    assert "sequences of 50 frames from 2 sources: " in told
    table = rows(folder)
    trained = [row for row in table if row["train_loss"]]
    validated = [row for row in table if row["val_loss"]]
    assert len(validated) == 2
    assert {"train_loss_hyp", "train_lambda_hyper", "val_ang_e", "lr"} <= set(table[0])
    assert np.isfinite([float(row["train_loss"]) for row in trained]).all()
    saved = load_checkpoint(folder)
    encoder = saved.config["model"]["encoder"]
    assert encoder["graph"]["layout"] == "custom"
    assert saved.metadata["method"] == "hysp"
    assert set(saved.metadata["versions"]) == {"hysp", "torch", "lightning", "numpy", "python"}
    joints = saved.metadata["data_state"]["skeleton"]["joints"]
    assert len(joints) == encoder["graph"]["n_joints"]
    assert build_encoder(folder).config.out_channels == 8
    assert (folder / "tensorboard").is_dir()


@pytest.mark.parametrize("method", ["hysp", "simsiam", "skeletonclr"])
@pytest.mark.parametrize("hyper", [True, False])
def test_every_method_trains_in_both_spaces(recordings, tmp_path, method, hyper):
    words = [f"model.method={method}", f"model.hyper={hyper}", "optim.validate_every_epochs=0"]
    folder = pretrain(small(recordings, tmp_path / "run", *words, "trainer.max_epochs=1"))
    found = [float(row["train_loss"]) for row in rows(folder)]
    assert np.isfinite(found).all()
    assert ("train_loss_hyp" in rows(folder)[0]) == hyper
    assert build_network(folder).config.method == method


@pytest.mark.parametrize("optimizer", ["RiemannianSGD", "RiemannianAdam", "Adam", "AdamW", "LARS"])
def test_every_optimiser_trains(tmp_path, optimizer):
    optim = replace(config().optim, optimizer=optimizer, lr=1e-3)
    losses = [step.loss for step in run(config(optim=optim), tmp_path).steps]
    assert np.isfinite(losses).all()


def test_flat_recordings_of_two_coordinates(tmp_path):
    module = PretrainModule(
        build_model(replace(TINY, encoder=replace(ENCODER, in_channels=2))), config(), MIRROR
    )
    x = skeleton_data(4, coordinates=2).batch(range(4)).x
    assert torch.isfinite(module.model(*module.views(x, torch.arange(4)), 1.0).loss).all()


def test_a_second_stage_starts_from_the_weights_of_the_first(recordings, tmp_path):
    """SimSiam: Euclidean first, then in the ball; from our checkpoint or the authors' file."""
    joints = np.random.default_rng(0).normal(size=(8, 3, 10, 25, 2)).astype(np.float32)
    np.save(tmp_path / "train_position.npy", joints)
    np.save(tmp_path / "train_label.npy", np.zeros((8, 1), dtype=np.int64))
    words = ["model.method=simsiam", "optim.validate_every_epochs=0", "trainer.max_epochs=1"]
    words += [f"data.path={tmp_path}"]
    first = pretrain(small(recordings, tmp_path / "first", "model.hyper=false", *words))
    theirs = to_authors(first, tmp_path / "first.ckpt")
    expected = load_checkpoint(first).state
    ends = []
    for source in (first, theirs):
        weights = [f"weights={source}", "optim.lr=1e-12", "optim.weight_decay=0"]
        folder = tmp_path / f"second_{source.name}"
        ends.append(load_checkpoint(pretrain(small(recordings, folder, *words, *weights))).state)
    for name, value in expected.items():
        if name.endswith("weight"):
            torch.testing.assert_close(ends[0][name], value)
        assert torch.equal(ends[0][name], ends[1][name])
    with pytest.raises(UserError, match=r"second_first: holds a run already"):
        pretrain(small(recordings, tmp_path / "second_first", *words))


def test_weights_of_another_network_are_refused(recordings, tmp_path):
    words = ["optim.validate_every_epochs=0", "trainer.max_epochs=1"]
    first = pretrain(small(recordings, tmp_path / "first", *words))
    for other, what in (
        ("model.method=simsiam", "unexpected: target_encoder"),
        ("model.encoder.out_channels=9", "of another shape"),
    ):
        with pytest.raises(UserError, match=what):
            pretrain(small(recordings, tmp_path / "next", *words, other, f"weights={first}"))
    with pytest.raises(UserError, match="/no/where"):
        pretrain(small(recordings, tmp_path / "next", "weights=/no/where"))
    assert not (tmp_path / "next").exists()


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_other_number_formats(recordings, tmp_path, precision):
    words = [f"trainer.precision={precision}", "trainer.max_epochs=1"]
    folder = pretrain(small(recordings, tmp_path / "run", *words))
    assert np.isfinite([float(row["train_loss"]) for row in rows(folder)]).all()


def test_compiling_reaches_the_encoders(recordings, tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(
        nn.Module, "compile", lambda self, *a, **k: compiled.append(type(self).__name__)
    )
    pretrain(small(recordings, tmp_path / "run", "trainer.compile=true", "trainer.max_epochs=1"))
    assert compiled == ["STGCN", "STGCN"]


def test_a_loss_that_is_no_number_stops_the_run(recordings, tmp_path):
    with pytest.raises(UserError, match="the loss is not a finite number at step"):
        pretrain(small(recordings, tmp_path / "run", "optim.lr=1e30", "optim.epochs=5"))


def test_a_sequence_left_alone_is_told_before_training(recordings, tmp_path):
    cfg = small(recordings, tmp_path / "run")
    size = len_of(cfg) - 1
    with pytest.raises(UserError, match="leave one alone"):
        pretrain(small(recordings, tmp_path / "run", f"optim.batch_size={size}"))
    assert not (tmp_path / "run").exists()


def len_of(cfg: PretrainConfig) -> int:
    from hysp.data import open_data

    return len(open_data(cfg.data))


def test_a_run_folder_in_use_is_told_before_the_data_are_read(recordings, tmp_path):
    cfg = small(recordings, tmp_path / "run", "trainer.max_epochs=1")
    pretrain(cfg)
    cfg.data.path = str(tmp_path / "gone")
    with pytest.raises(UserError, match="holds a run already"):
        pretrain(cfg)
