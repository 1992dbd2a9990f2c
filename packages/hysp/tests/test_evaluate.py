"""Protocols on small data: what is trained, what is tested, and what is written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from behaviorzoo.checkpoints import save_checkpoint
from behaviorzoo.errors import UserError
from behaviorzoo.schema import to_dict
from hysp.checkpoints import build_network, load_checkpoint
from hysp.cli import main
from hysp.data import DataConfig, SkeletonData
from hysp.data.opening import open_data
from hysp.data.prepared import Description, write_prepared
from hysp.data.skeleton import Skeleton
from hysp.data.splits import group_folds
from hysp.evaluate.accuracy import accuracy, batch_mean_accuracy, top5_share
from hysp.evaluate.command import command
from hysp.evaluate.config import EvaluateConfig, ProbeOptim, configure
from hysp.evaluate.features import extract_features
from hysp.evaluate.fitting import Samples, fit
from hysp.evaluate.hand import hand_features
from hysp.evaluate.neighbours import neighbour_votes
from hysp.evaluate.protocols import Side, StreamInputs, classifier_on, run_round
from hysp.evaluate.run import evaluate, open_sets, random_encoder
from hysp.hyperbolic import distance, exp_map
from hysp.model import STGCN, EncoderConfig, GraphConfig, ModelConfig, build_model

JOINTS = ("hip", "knee", "foot", "head", "hand")
EDGES = ((0, 1), (1, 2), (0, 3), (3, 4))
N, T, CLASSES = 48, 8, ("jump", "run", "walk")
GRAPH = GraphConfig(layout="custom", n_joints=5, edges=EDGES, centre=0)
ENCODER = EncoderConfig(hidden_channels=4, out_channels=12, graph=GRAPH, dropout=0.0)


def write_clips(folder: Path) -> Path:
    """Clips of three actions; the second person is absent in most."""
    rng = np.random.default_rng(0)
    labels = np.arange(N) % 3
    t = np.linspace(0, 1, T)
    x = rng.normal(0, 0.05, (N, 3, T, 5, 2))
    wave = np.sin(2 * np.pi * (labels[:, None] + 1) * t)[:, :, None]
    x[:, 0, :, 1:, 0] += wave * np.array([0.2, 0.5, 0.3, 0.6])
    x[rng.random(N) < 0.7, ..., 1] = 0
    table = pd.DataFrame(
        {
            "name": [f"clip_{i:02d}" for i in range(N)],
            "group": [f"take_{i // 2}" for i in range(N)],
            "action": np.array(CLASSES)[labels],
            "mood": np.where(np.arange(N) % 5 == 0, "", np.where(np.arange(N) % 4 < 2, "a", "b")),
            "subjects": np.where(np.arange(N) < 32, "train", "val"),
        }
    )
    description = Description(
        "test",
        Skeleton(JOINTS, EDGES, 0, (0, 1, 2, 3, 4)),
        {"action": list(CLASSES), "mood": ["a", "b"]},
        ["subjects"],
    )
    write_prepared(folder, x.astype(np.float32), table, pd.DataFrame(), description)
    return folder


def write_network(folder: Path, data: SkeletonData) -> Path:
    config = ModelConfig(
        encoder=ENCODER, projection_hidden_size=(8, 8), predictor_hidden_size=(8, 8)
    )
    torch.manual_seed(1)
    model = build_model(config).train()
    x = torch.from_numpy(np.array(data.x))
    with torch.no_grad():  # running statistics that are not those of the start
        model(x, x, 0.5)
    content = {"compat": "paper", "stream": "joint", "model": to_dict(config)}
    return save_checkpoint(folder, model.state_dict(), content, {"data_state": data.state_dict()})


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    return write_clips(tmp_path_factory.mktemp("data") / "clips")


@pytest.fixture(scope="module")
def data(clips) -> SkeletonData:
    return open_data(DataConfig(path=str(clips), task="action"), "all")


@pytest.fixture(scope="module")
def network(tmp_path_factory, data) -> Path:
    return write_network(tmp_path_factory.mktemp("run") / "network", data)


@pytest.fixture(scope="module")
def encoder(network) -> STGCN:
    from hysp.checkpoints import build_encoder

    return build_encoder(network)


def settings_of(clips: Path, network: Path | str, out: Path, **changes) -> EvaluateConfig:
    optim = ProbeOptim(
        epochs=6, milestones=(4,), batch_size=16, test_batch_size=10, eval_interval=2
    )
    given = {
        "checkpoint": str(network),
        "out": str(out),
        "data": DataConfig(path=str(clips)),
        "tasks": ["action"],
        "optim": optim,
        "device": "cpu",
    }
    return EvaluateConfig(**(given | changes))


def test_training_on_cached_features_is_training_on_recomputed_ones(encoder, data):
    rows = np.arange(32)
    features = extract_features(encoder, data, progress=False)
    optim = ProbeOptim(epochs=2, milestones=(1,), batch_size=12, accumulate=2, eval_interval=2)
    for hyper in (False, True):
        found = []
        for cached in (True, False):
            torch.manual_seed(3)
            model = classifier_on(encoder, 3, hyper, frozen=True)
            train, test = (Side(data, part, features) for part in (rows, np.arange(32, N)))
            model.train = lambda mode=True, model=model: torch.nn.Module.train(model, False)
            sides = [
                Samples(
                    (lambda i, side=side: side.embedded[i])
                    if cached
                    else StreamInputs(side, "joint", encoder),
                    torch.from_numpy(side.labels),
                )
                for side in (train, test)
            ]
            result = fit(model, *sides, optim, lr=1.0, on_features=cached, seed=4)
            found.append((result, model.online_projector.state_dict()))
        (one, head), (other, again) = found
        np.testing.assert_allclose(one.losses, other.losses, rtol=1e-5)
        torch.testing.assert_close(one.logits, other.logits, rtol=1e-4, atol=1e-6)
        for name, value in head.items():
            torch.testing.assert_close(value, again[name], rtol=1e-4, atol=1e-6)


def test_accumulated_batches_are_one_large_batch(encoder, data):
    features = extract_features(encoder, data, progress=False)
    side = Side(data, np.arange(N), features)
    samples = Samples(lambda i: side.embedded[i], torch.from_numpy(side.labels))
    order = np.random.default_rng(0).permutation(N)
    heads = []
    for size, accumulate in ((24, 1), (6, 4)):
        torch.manual_seed(0)
        model = classifier_on(encoder, 3, hyper=False, frozen=True)
        optim = ProbeOptim(epochs=3, milestones=(2,), accumulate=accumulate)
        fit(
            model, samples, samples, optim, lr=0.5, on_features=True,
            orders=lambda epoch, size=size: np.split(order, N // size),
        )  # fmt: skip
        heads.append(model.online_projector.net[0].weight.detach())
    torch.testing.assert_close(*heads)


def test_features_are_those_of_single_clips_whatever_the_batch(encoder, data):
    together = extract_features(encoder, data, stream="joint", batch_size=20, progress=False)
    alone = [encoder(data.batch([i]).x)[0] for i in range(N)]
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-5, atol=1e-6)
    assert not together.requires_grad
    with pytest.raises(UserError, match="evaluation mode"):
        extract_features(STGCN(ENCODER).train(), data, progress=False)


@given(st.integers(1, 30), st.integers(2, 9), st.integers(1, 7), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_accuracies(n, classes, batch, seed):
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(n, classes)), rng.integers(classes, size=n)
    best = [np.argsort(-row)[:5].tolist() for row in logits]
    one = np.array([row[0] == label for row, label in zip(best, labels, strict=True)])
    five = np.array([label in row for row, label in zip(best, labels, strict=True)])
    tensors = torch.from_numpy(logits), torch.from_numpy(labels)
    assert accuracy(*tensors) == pytest.approx((one.mean(), five.mean()))
    assert top5_share(logits, labels) == pytest.approx(five.mean())
    starts = range(0, n, batch)
    means = [np.mean([part[s : s + batch].mean() for s in starts]) for part in (one, five)]
    assert batch_mean_accuracy(*tensors, batch) == pytest.approx(tuple(means))


@pytest.mark.parametrize("hyper", [False, True])
def test_neighbours_vote(hyper):
    rng = torch.Generator().manual_seed(0)
    known, asked = (torch.randn(n, 6, generator=rng) for n in (20, 7))
    labels = torch.arange(20) % 4
    votes = neighbour_votes(known, labels, asked, 5, neighbours=6, temperature=0.3, hyper=hyper)
    for q in range(7):
        if hyper:
            near = -distance(exp_map(known), exp_map(asked[q])).numpy()
        else:
            near = torch.cosine_similarity(known.double(), asked[q].double(), dim=1).numpy()
        expected = np.zeros(5)
        for i in np.argsort(-near)[:6]:
            expected[int(labels[i])] += np.exp(near[i] / 0.3)
        voted = expected > 0
        np.testing.assert_allclose(votes[q][voted], np.log(expected[voted]), rtol=1e-6)
        assert torch.isfinite(votes).all()
        assert votes[q][~voted].max() < votes[q][voted].min()
    one = neighbour_votes(known, labels, known, 4, hyper=hyper)
    assert (one.argmax(1) == labels).all()
    with pytest.raises(UserError, match="neighbours=21"):
        neighbour_votes(known, labels, asked, 4, neighbours=21)


def test_hand_features_clip_by_clip(data):
    found = hand_features(data)
    x = data.batch([5]).x[0].numpy().astype(np.float64)
    expected = []
    for what in ("mean", "std", "speed"):
        for c in range(3):
            for v in range(5):
                for m in range(2):
                    series = x[c, :, v, m] - x[c, :, 0, m]
                    step = np.abs(series[1:] - series[:-1])
                    values = {"mean": series, "speed": step}
                    expected.append(series.std() if what == "std" else values[what].mean())
    np.testing.assert_allclose(found[5], expected, atol=1e-12)
    assert found.shape == (N, 3 * 3 * 5 * 2)


def test_folds_of_groups_and_all_that_is_written(clips, network, tmp_path):
    config = settings_of(
        clips, network, tmp_path, folds=4, tasks=["action", "mood"],
        baselines=["hand", "hand_rows", "rows", "random", "scratch"], scratch_epochs=1,
        head="logistic", penalties=[1.0],
    )  # fmt: skip
    result = evaluate(config, progress=False)
    files = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    wanted = {"scores.csv", "predictions.csv", "evaluation.json", "config.yaml", "report.html"}
    wanted |= {"accuracy.png", "confusion_action_linear.png", "scores/mood_linear.npz"}
    wanted |= {"heads/action_linear.safetensors", "training.csv"}
    assert wanted <= files

    table = pd.read_csv(tmp_path / "predictions.csv", keep_default_na=False)
    own = table[(table["level"] == "linear") & (table["task"] == "action")]
    assert sorted(own["name"]) == [f"clip_{i:02d}" for i in range(N)]
    groups = own["name"].str[5:].astype(int) // 2
    assert own.groupby(groups)["fold"].nunique().max() == 1

    scores = pd.read_csv(tmp_path / "scores.csv", keep_default_na=False)
    whole = scores[(scores["label"] == "") & (scores["metric"] == "accuracy")]
    by_level = whole.set_index(["task", "level"])["value"].astype(float)
    assert by_level["action", "linear"] == pytest.approx((own["label"] == own["truth"]).mean())
    assert by_level["action", "hand features"] > 0.5

    data = open_data(DataConfig(path=str(clips), task="action"), "all")
    pipe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    reference = cross_val_predict(pipe, hand_features(data), data.labels, cv=4)
    rows = table[
        (table["level"] == "hand features, folds of rows") & (table["task"] == "action")
    ].sort_values("name")
    assert rows["label"].tolist() == np.array(CLASSES)[reference].tolist()

    plain = {level.name: level for level in result.levels if level.task == "action"}
    by_rows, born = plain["linear, folds of rows"], plain["random encoder"]
    cv = StratifiedKFold(4).split(data.labels, data.labels)
    for r, (_, test) in zip(by_rows.rounds, cv, strict=True):
        assert r.rows.tolist() == test.tolist()
    assert (
        by_rows.rounds[0].train_counts.tolist() != plain["linear"].rounds[0].train_counts.tolist()
    )
    options = plain["linear"].rounds[0].outcome.model.config.encoder
    features = extract_features(
        random_encoder(options, config.seed, data, "joint"), data, progress=False
    )
    chosen = born.rounds[0].outcome.model
    with torch.no_grad():
        logits = chosen.head(features[torch.from_numpy(born.rounds[0].rows)])
    np.testing.assert_allclose(born.rounds[0].outcome.logits, logits, rtol=1e-3, atol=1e-3)

    mood = whole[whole["task"] == "mood"]
    assert (mood["n_test"].astype(int) == (np.arange(N) % 5 != 0).sum()).all()
    with np.load(tmp_path / "scores" / "action_linear.npz") as saved:
        assert saved["names"].tolist() == data.names
        assert (saved["labels"] == data.labels).all()
        assert (saved["logits"].argmax(1) == data.labels).mean() == by_level["action", "linear"]
        fold = group_folds(data.groups, 4, 0)
        assert (saved["fold"] == fold).all()
    assert json.loads((tmp_path / "evaluation.json").read_text())["split"].startswith("4 folds")
    assert len(result.levels) == 12
    page = (tmp_path / "report.html").read_text()
    assert "Recall of every class, action" in page
    assert str(tmp_path) not in page.replace(f"out: {tmp_path}", "").replace(str(clips), "")


@pytest.mark.parametrize("head", ["euclidean", "hyperbolic", "logistic"])
def test_the_saved_network_predicts_what_was_tested(clips, network, tmp_path, head):
    config = settings_of(clips, network, tmp_path, head=head)
    result = evaluate(config, progress=False)
    model = build_network(tmp_path / "heads" / "action_linear")
    test = open_data(replace(config.data, task="action"), "val")
    logits = model(test.batch(np.arange(len(test))).x).detach().numpy()
    expected = result.levels[0].logits
    # The head is kept in single precision; a fully converged one has large opposite weights.
    np.testing.assert_allclose(logits, expected, atol=1e-3 * np.abs(expected).max())
    assert (logits.argmax(1) == expected.argmax(1)).all()
    state = load_checkpoint(tmp_path / "heads" / "action_linear").metadata["data_state"]
    assert state["tasks"]["action"] == list(CLASSES)


def test_same_seed_same_result(clips, network, tmp_path):
    tables = []
    for name in ("a", "b"):
        evaluate(settings_of(clips, network, tmp_path / name), progress=False)
        tables.append((tmp_path / name / "predictions.csv").read_text())
    assert tables[0] == tables[1]
    evaluate(settings_of(clips, network, tmp_path / "c", seed=5), progress=False)
    assert (tmp_path / "c" / "predictions.csv").read_text() != tables[0]


def test_semi_takes_the_fraction_and_trains_the_encoder(clips, encoder, data):
    config = EvaluateConfig(
        checkpoint="x", protocol="semi", fraction=0.25,
        optim=ProbeOptim(epochs=1, batch_size=6, eval_interval=1),
    )  # fmt: skip
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    sides = (Side(data, np.arange(32)), Side(data, np.arange(32, N)))
    outcome = run_round(config, encoder, "joint", *sides, seed=0)
    assert outcome.fitted is not None
    assert len(outcome.fitted.losses) == 2  # int(0.25 * 32) = 8 samples in batches of 6
    assert outcome.model is not None
    weight = "st_gcn_networks.3.gcn.conv.weight"
    trained = outcome.model.online_encoder.state_dict()
    assert not torch.equal(trained[weight], before[weight])
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    with pytest.raises(UserError, match="fewer than one for each"):
        run_round(replace(config, fraction=0.05), encoder, "joint", *sides, seed=0)


def test_upstream_trains_beside_drifting_statistics_and_keeps_the_best(clips, network, tmp_path):
    config = settings_of(clips, network, tmp_path, compat="upstream")
    result = evaluate(config, progress=False)
    (outcome,) = [r.outcome for r in result.levels[0].rounds]
    assert outcome.model is not None
    assert outcome.fitted is not None
    frozen = load_checkpoint(network).state
    drifted = outcome.model.online_encoder.state_dict()
    assert not torch.equal(
        drifted["data_bn.running_mean"], frozen["online_encoder.data_bn.running_mean"]
    )
    name = "st_gcn_networks.0.gcn.conv.weight"
    assert torch.equal(drifted[name], frozen[f"online_encoder.{name}"])
    best = max(look.top1 for look in outcome.fitted.looks)
    labels = torch.from_numpy(result.levels[0].labels)
    logits = torch.from_numpy(outcome.logits)
    assert batch_mean_accuracy(logits, labels, 10).top1 == pytest.approx(best)
    assert result.scores["value"][0] == pytest.approx(best)
    assert "test labels took part" in outcome.notes[0]
    large = replace(config.optim, batch_size=40)
    with pytest.raises(UserError, match="incomplete batches"):
        evaluate(replace(config, optim=large, out=str(tmp_path / "large")), progress=False)


def test_knn_and_transfer(clips, network, tmp_path):
    for protocol, head in (("knn", "euclidean"), ("knn", "hyperbolic"), ("transfer", "euclidean")):
        out = tmp_path / f"{protocol}-{head}"
        config = settings_of(clips, network, out, protocol=protocol, head=head)
        result = evaluate(config, progress=False)
        assert result.levels[0].logits.shape == (16, 3)
        assert result.scores["level"][0] == protocol


def test_supervised_from_scratch_needs_no_checkpoint(clips, tmp_path):
    encoder = EncoderConfig(
        in_channels=0, hidden_channels=4, out_channels=8, graph=GraphConfig(layout="data")
    )
    config = settings_of(clips, "", tmp_path, protocol="supervised", encoder=encoder)
    result = evaluate(config, progress=False)
    assert result.details["checkpoint"] == "random weights"
    model = build_network(tmp_path / "heads" / "action_supervised")
    assert model.config.encoder.graph.n_joints == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["protocol=linera"], "linera"),
        (["protocol=linear"], "needs an encoder"),
        (["checkpoint=x", "fold=3"], "fold"),
        (["checkpoint=x", "fraction=2"], "fraction = 2"),
        (["checkpoint=x", "folds=5", "data.benchmark=xsub"], "both say who tests"),
        (["checkpoint=x", "optim.epochs=0"], "epochs = 0"),
        (["checkpoint=x", "optim.head_lr=nan"], "head_lr = nan must be positive"),
        (["checkpoint=x", "optim.weight_decay=nan"], "weight_decay must not be negative"),
        (["checkpoint=x", "baselines=[hand_rows]"], "give folds=5"),
        (["checkpoint=x", "protocol=semi", "baselines=[random]"], "take scratch"),
        (["checkpoint=x", "precision=16", "protocol=semi", "head=euclidean"], "precision=16"),
    ],
)
def test_wrong_settings_are_told(words, message):
    with pytest.raises(UserError, match=message):
        configure(words)


def test_published_recipes_compose():
    from importlib.resources import files

    names = [f.name[:-5] for f in files("hysp.evaluate.conf").joinpath("experiment").iterdir()]
    found = {name: configure([f"experiment={name}", "checkpoint=x"]) for name in sorted(names)}
    rates = {name: config.optim.head_lr for name, config in found.items()}
    assert rates["ntu60_xview"] == 1.0
    assert rates["ntu60_xsub"] == rates["ntu120_xsub"] == rates["pkummd1_to_2"] == 10.0
    assert found["pkummd1_to_2"].optim.milestones == (150, 200)
    assert found["ntu60_xview"].optim.accumulate * 256 == 1024


def test_command(clips, network, tmp_path, capsys):
    words = [f"data.path={clips}", f"out={tmp_path}", "tasks=[action]", "optim.epochs=2"]
    command([str(network), *words, "head=euclidean", "--folds", "3", "--no-progress"])
    shown = capsys.readouterr().out
    assert "split: 3 folds" in shown
    assert "hand features" in shown
    command(["--help-config"])
    assert "protocol" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"data\.path is empty"):
        command([str(network)])
    with pytest.raises(UserError, match="one checkpoint"):
        command(["a", "b"])
    with pytest.raises(UserError, match="no such labels"):
        command([str(network), f"data.path={clips}", f"out={tmp_path}/x", "tasks=[actoin]"])
    with pytest.raises(UserError, match="folds = 0 must be at least 2"):
        command([str(network), f"data.path={clips}", f"out={tmp_path}/x", "--folds", "0"])


def test_results_of_another_evaluation_are_not_lost(clips, network, tmp_path, monkeypatch, capsys):
    config = settings_of(clips, network, tmp_path / "out")
    evaluate(config, progress=False)
    files = sorted((tmp_path / "out").rglob("*"))
    evaluate(config, progress=False)  # the same again: the same files
    assert sorted((tmp_path / "out").rglob("*")) == files
    monkeypatch.setattr("hysp.evaluate.run.open_sets", pytest.fail)  # told before the data are read
    with pytest.raises(UserError, match=r"out: holds an evaluation with other settings"):
        evaluate(replace(config, protocol="knn"), progress=False)
    assert sorted((tmp_path / "out").rglob("*")) == files
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="file: this is a file, give a folder"):
        evaluate(replace(config, out=str(tmp_path / "file")), progress=False)
    assert main(["ensemble", str(tmp_path / "out"), "--out", str(tmp_path / "out")]) == 2
    assert "holds an evaluation; give the fused scores another" in capsys.readouterr().err


def test_no_features_for_a_task_that_is_not_there(clips, network, tmp_path, monkeypatch):
    monkeypatch.setattr("hysp.evaluate.run.extract_features", pytest.fail)
    with pytest.raises(UserError, match="no such labels; did you mean 'action'"):
        evaluate(settings_of(clips, network, tmp_path, tasks=["actoin"]), progress=False)


def test_the_authors_other_name_of_the_linear_protocol():
    config = configure(["checkpoint=x", "protocol=unsupervised"])
    assert config.protocol == "linear"
    assert config.frozen


def test_data_that_do_not_fit(clips, network, tmp_path):
    config = settings_of(clips, network, tmp_path, data=DataConfig(path=str(clips), benchmark="x"))
    with pytest.raises(UserError, match="no such benchmark"):
        evaluate(config, progress=False)
    with pytest.raises(UserError, match="folds"):
        open_sets(settings_of(clips, network, tmp_path, folds=40), {})
