"""The step, its randomness and its optimiser, and runs on tiny data of every kind."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bams.annotation_files import save_annotations
from bams.checkpoints import build_model
from bams.config import configure
from bams.data import Batch, Scaling, build_training_data
from bams.losses.config import LossConfig, PairConfig
from bams.losses.draws import Draws, Pairs
from bams.model.bams import BAMS
from bams.model.config import EncoderConfig, ModelConfig
from bams.optim import OptimConfig
from bams.training import DrawnSequences, TrainModule, parameter_groups, train
from behaviorzoo.batches import BatchLoader, EpochBatches
from behaviorzoo.checkpoints import load_checkpoint
from behaviorzoo.errors import UserError
from behaviorzoo.synthetic import write_behaviour
from behaviorzoo.training import TrainerConfig, build_trainer

TINY = ModelConfig(
    n_inputs=6,
    n_targets=3,
    encoders={
        "short_term": EncoderConfig(channels=(4, 4)),
        "long_term": EncoderConfig(channels=(4, 4), dilation_base=4),
    },
    predictor_hidden=(8,),
    hoa_bins=5,
)
TINY_NET = [
    "model.encoders.short_term.channels=[6,6]",
    "model.encoders.long_term.channels=[6,6]",
    "model.predictor_hidden=[8]",
    "trainer.accelerator=cpu",
    "trainer.progress=false",
    "trainer.log_every_n_steps=1",
]


@pytest.fixture(scope="module")
def arrays(tmp_path_factory) -> Path:
    """Twelve walks of three values, some of them missing, and labels of both levels."""
    folder = tmp_path_factory.mktemp("arrays")
    rng = np.random.default_rng(0)
    speed = np.repeat([0.3, 3.0], 6)
    walks = (rng.normal(size=(12, 90, 3)) * speed[:, None, None]).cumsum(axis=1)
    walks[3, 20:30, 1] = np.nan
    np.save(folder / "walks.npy", walks)
    labels = {"fast": (speed > 1).astype(np.int64), "speed": speed}
    labels["moment"] = np.tile(np.arange(90) // 45, (12, 1))
    save_annotations(
        folder / "labels.npz",
        labels,
        {"classification_tags": ["fast", "moment"], "regression_tags": ["speed"]}
        | {"sequence_level_dict": {"fast": True, "speed": True, "moment": False}},
    )
    return folder


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("behaviour")
    write_behaviour(folder, 3, 240, seed=0, missing=0.1)
    return folder / "recordings"


def small(arrays: Path, out: Path, *words: str):
    return configure(
        [
            "experiment=custom",
            f"data.path={arrays}/walks.npy",
            f"out={out}",
            *TINY_NET,
            "loss.skip_frames=20",
            "optim.epochs=2",
            "optim.batch_size=4",
            *words,
        ]
    )


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as handle:
        return list(csv.DictReader(handle))


def batch_of(n: int, length: int = 40, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    return Batch(
        torch.from_numpy(rng.normal(size=(n, length, 6)).astype(np.float32)),
        torch.from_numpy(rng.integers(0, 5, size=(n, length, 3)).astype(np.uint8)),
        torch.from_numpy(rng.random((n, length)) < 0.2),
    )


class Fixed:
    """A data set of random sequences."""

    length = 40

    def __init__(self, n: int):
        self.n = n
        self.all = batch_of(n)

    def batch(self, indices: np.ndarray) -> Batch:
        chosen = torch.from_numpy(indices)
        return Batch(self.all.inputs[chosen], self.all.bins[chosen], self.all.ignored[chosen])


def run(folder: Path, optim: OptimConfig, epochs: int = 2, seed: int = 4, **trainer):
    """Losses, rates and final weights of a short run without a run folder."""
    network = BAMS(TINY, generator=torch.Generator().manual_seed(0))
    losses, rates = [], []

    class Recorder(TrainModule):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            losses.append({name: float(value) for name, value in self.measured.items()})
            rates.append([group["lr"] for group in self.optimizers().param_groups])
            return loss

    cfg = TrainerConfig(accelerator="cpu", max_epochs=epochs, progress=False, **trainer)
    data, loss = Fixed(9), LossConfig(hoa_window=5, skip_frames=3)
    batches = EpochBatches(9, optim.batch_size, seed=1, group=cfg.accumulate)
    loader = BatchLoader(batches, DrawnSequences(data, loss, list(TINY.encoders)))
    build_trainer(cfg, folder).fit(Recorder(network, loss, optim, seed), loader)
    return losses, rates, {k: v.clone() for k, v in network.state_dict().items()}


# ------------------------------------------------------------------ the step


@torch.no_grad()
def slow_loss(model: BAMS, batch: Batch, draws: Draws, config: LossConfig) -> dict[str, float]:
    """The paper's objective, frame by frame."""
    out = model(batch.inputs)
    n_sequences, length, n_targets = batch.bins.shape
    logits = out.hoa_logits.view(n_sequences, length, n_targets, -1)
    total = weight_sum = 0.0
    for b in range(n_sequences):
        for t in range(config.skip_frames, length):
            after = [
                s
                for s in range(t + 1, min(t + 1 + config.hoa_window, length))
                if not batch.ignored[b, s]
            ]
            weight = len(after) / config.hoa_window
            for m in range(n_targets if after else 0):
                wanted = torch.bincount(batch.bins[b, after, m].long(), minlength=5) / len(after)
                found = logits[b, t, m].softmax(0)
                distance = (wanted.cumsum(0) - found.cumsum(0)).square().mean()
                total += weight * float(distance)
                weight_sum += weight
    values = {"hoa_loss": total / weight_sum}
    for name, pairs in draws.pairs.items():
        every = torch.arange(n_sequences)
        target = out.embeddings[name][every, pairs.partners]
        guess = out.latent_predictions[name][every, pairs.anchors]
        values[f"latent_loss_{name}"] = float(1 - torch.cosine_similarity(guess, target).mean())
    latent = sum(value for name, value in values.items() if name != "hoa_loss")
    values["loss"] = config.hoa_weight * values["hoa_loss"] + config.latent_weight * latent
    return values


def test_a_step_measures_the_objective_of_the_paper():
    config = replace(TINY, encoders={n: replace(e, dropout=0.0) for n, e in TINY.encoders.items()})
    model = BAMS(config, generator=torch.Generator().manual_seed(1))
    loss = LossConfig(hoa_window=6, skip_frames=4)
    module = TrainModule(model, loss, OptimConfig())
    module._seed_dropout = lambda batch_idx: None  # needs a trainer; there is no dropout here
    data = Fixed(4)
    batch, draws = DrawnSequences(data, loss, list(TINY.encoders))(np.arange(4), np.arange(4) * 99)
    value = module.training_step((batch, draws), 0)
    expected = slow_loss(model, batch, draws, loss)
    assert {name: float(v) for name, v in module.measured.items()} == pytest.approx(
        expected, rel=1e-4
    )
    assert float(value) == pytest.approx(expected["loss"], rel=1e-4)


def test_curves_have_the_names_of_the_authors():
    module = TrainModule(BAMS(TINY), LossConfig(), OptimConfig())
    assert set(module.board_tags.values()) == {
        "train/total_loss",
        "train/hoa_loss",
        "train/byol_loss_short_term",
        "train/byol_loss_long_term",
    }
    assert {f"train_{name}" for name in module.train_measures} == set(module.board_tags)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**62), st.permutations(range(9)), st.integers(1, 4))
def test_what_is_drawn_depends_on_the_sequence_alone(seed, order, every):
    loss = LossConfig(hoa_every=every, pairs={"short_term": PairConfig(start=5, reach=4)})
    fetch = DrawnSequences(Fixed(9), loss, list(TINY.encoders))
    seeds = seed // 3 + np.arange(9) * 7919
    _, draws = fetch(np.arange(9), seeds)
    _, shuffled = fetch(np.array(order), seeds[np.array(order)])
    assert torch.equal(draws.phases[list(order)], shuffled.phases)
    for name, pairs in draws.pairs.items():
        for ours, theirs in zip(pairs, shuffled.pairs[name], strict=True):
            assert torch.equal(ours[list(order)], theirs)
        assert isinstance(pairs, Pairs)
        assert (pairs.partners < 40).all()
    near = draws.pairs["short_term"]
    assert (near.anchors >= 5).all()
    assert ((near.partners - near.anchors >= 0) & (near.partners - near.anchors < 4)).all()
    assert (draws.phases < every).all()


def test_groups_hold_every_parameter_once():
    model = BAMS(TINY)
    main, latent = (group["params"] for group in parameter_groups(model))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert sorted(names.values()) == sorted(names[id(p)] for p in [*main, *latent])
    assert {names[id(p)].split(".")[0] for p in latent} == {"byol_predictors"}
    assert {names[id(p)].split(".")[0] for p in main} == {"encoders", "predictor"}


def test_rates_of_both_groups_follow_the_schedule(tmp_path):
    optim = OptimConfig(batch_size=4, lr=0.01, milestones=(1, 3), gamma=0.5)
    _, rates, _ = run(tmp_path, optim, epochs=4)
    main = [0.01, 0.01, 0.005, 0.005, 0.005, 0.005, 0.0025, 0.0025]
    np.testing.assert_allclose(rates, [[rate, 10 * rate] for rate in main], rtol=1e-12)


def test_the_same_seed_gives_the_same_run_and_another_one_another(tmp_path):
    optim = OptimConfig(batch_size=4)
    torch.manual_seed(1)
    first = run(tmp_path, optim)
    torch.manual_seed(2)
    again, other = run(tmp_path, optim), run(tmp_path, optim, seed=5)
    assert first[0] == again[0] != other[0]  # the seed decides the dropout masks
    assert all(torch.equal(first[2][name], value) for name, value in again[2].items())


def test_training_lowers_every_loss(tmp_path):
    losses, *_ = run(tmp_path, OptimConfig(batch_size=9, lr=1e-2), epochs=40)
    for name in ("hoa_loss", "latent_loss_short_term", "latent_loss_long_term"):
        values = [step[name] for step in losses]
        assert np.mean(values[-5:]) < np.mean(values[:5]), name


# ------------------------------------------------------------------ runs


def test_a_run_on_own_arrays(arrays, tmp_path, capsys):
    folder = train(small(arrays, tmp_path / "run"))
    table = rows(folder)
    assert [row["step"] for row in table] == ["1", "2", "3", "4", "5", "6"]
    assert list(table[0])[2:6] == [
        "train_loss",
        "train_hoa_loss",
        "train_latent_loss_short_term",
        "train_latent_loss_long_term",
    ]
    assert np.isfinite([float(row["train_loss"]) for row in table]).all()
    saved = load_checkpoint(folder)
    assert saved.config["model"]["n_inputs"] == 6
    assert saved.config["model"]["n_targets"] == 3
    told = saved.metadata
    assert (told["method"], told["step"], told["epoch"]) == ("bams", 6, 2)
    assert set(told["versions"]) == {"bams", "torch", "lightning", "numpy", "python"}
    assert (told["training_sequences"], told["sequence_frames"]) == (12, 90)
    # What the training learned of the data is there: an embedding needs nothing else.
    data = build_training_data(configure([f"experiment={folder}/config.yaml"]).data)
    assert Scaling.from_dict(told["data_state"]).to_dict() == data.scaling.to_dict()
    assert told["data_fingerprint"] == data.fingerprint()
    assert build_model(folder).receptive_fields == {"short_term": 13, "long_term": 21}


@pytest.mark.parametrize("compat", ["paper", "upstream"])
def test_both_rules_train_to_finite_numbers(arrays, tmp_path, compat):
    folder = train(small(arrays, tmp_path / "run", f"compat={compat}"))
    assert np.isfinite([float(row["train_loss"]) for row in rows(folder)]).all()
    assert load_checkpoint(folder).config["compat"] == compat


def test_recordings_with_missing_points(recordings, tmp_path, capsys, caplog):
    words = [f"data.path={recordings}", f"out={tmp_path}/run", "optim.epochs=2", *TINY_NET]
    folder = train(configure(words))
    table = rows(folder)
    assert len(table) == 2  # three windows do not fill a batch of 16, and are used all the same
    assert np.isfinite([float(row["train_loss"]) for row in table]).all()
    assert "points are missing" in caplog.text
    assert capsys.readouterr().out.startswith("3 sequences of 240 frames from 3 recordings: ")
    state = load_checkpoint(folder).metadata["data_state"]["state"]
    assert state["fps"] == 30.0


@pytest.mark.parametrize("frames", [12, 65, 101])
def test_recordings_shorter_than_the_published_offsets(tmp_path, frames):
    write_behaviour(tmp_path, 4, frames, seed=1)
    words = [f"data.path={tmp_path}/recordings", f"out={tmp_path}/run", "optim.epochs=2"]
    folder = train(configure([*words, *TINY_NET]))
    assert np.isfinite([float(row["train_loss"]) for row in rows(folder)]).all()


def test_labels_are_read_while_training(arrays, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = [f"data.annotations={arrays}/labels.npz", "labels.every_epochs=2", "optim.epochs=3"]
    plain = train(small(arrays, tmp_path / "plain", "optim.epochs=3"))
    folder = train(small(arrays, tmp_path / "labelled", *words))
    events = EventAccumulator(str(folder / "tensorboard"), {"images": 0})
    events.Reload()
    both = "short_term_long_term"
    for tag in (f"test/f1_fast_{both}", f"test/f1_moment_{both}", f"test/mse_speed_{both}"):
        assert [event.step for event in events.Scalars(tag)] == [3, 9]  # after epochs 1 and 3
    assert set(events.Tags()["images"]) == {f"fast_{both}", f"moment_{both}"}
    assert f"test/f1_fast_{both}" in load_checkpoint(folder).metadata["metrics"]
    # Reading labels changes nothing of the training.
    ours, expected = load_checkpoint(folder).state, load_checkpoint(plain).state
    assert all(torch.equal(ours[name], value) for name, value in expected.items())


def test_labels_of_windows_are_refused(arrays, tmp_path):
    words = [f"data.annotations={arrays}/labels.npz", "data.window=45"]
    with pytest.raises(UserError, match=r"12 labelled sequences were cut into 24 windows"):
        train(small(arrays, tmp_path / "run", *words))


def test_accumulation_takes_the_mean_over_batches(tmp_path):
    """Two batches of one update see the same weights."""
    optim = OptimConfig(batch_size=2, lr=1e-2)
    losses, *_ = run(tmp_path, optim, epochs=1, accumulate=2)
    single, *_ = run(tmp_path, optim, epochs=1)
    assert len(losses) == len(single) == 4
    assert losses[0] == single[0]
    assert losses[1] != single[1]


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_other_number_formats(arrays, tmp_path, precision):
    folder = train(small(arrays, tmp_path / "run", f"trainer.precision={precision}"))
    assert np.isfinite([float(row["train_loss"]) for row in rows(folder)]).all()


def test_compiling_reaches_the_parts_that_run(arrays, tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, *a, **k: compiled.append(type(self).__name__)
    )
    train(small(arrays, tmp_path / "run", "trainer.compile=true", "trainer.max_epochs=1"))
    assert compiled.count("TemporalConvNet") == 2
    assert "MLP" in compiled


def test_batch_larger_than_the_data(arrays, tmp_path):
    with pytest.raises(UserError, match=r"12 samples cannot fill one batch of 500"):
        train(small(arrays, tmp_path / "run", "optim.batch_size=500"))
    assert not (tmp_path / "run").exists()


def test_a_run_folder_in_use_is_told_before_the_data_are_read(arrays, tmp_path):
    cfg = small(arrays, tmp_path / "run", "trainer.max_epochs=1")
    train(cfg)
    cfg.data.path = str(tmp_path / "gone")
    with pytest.raises(UserError, match="holds a run already"):
        train(cfg)


def test_loss_that_is_no_number_stops_the_run(arrays, tmp_path):
    words = ["optim.lr=1e30", "optim.epochs=5"]
    with pytest.raises(UserError, match="the loss is not a finite number at step"):
        train(small(arrays, tmp_path / "run", *words))
