"""Where the first norm of an encoder starts: coordinate by coordinate, and in a run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from behaviorzoo.errors import UserError
from hysp import start as starts
from hysp.config import CurriculumConfig, PretrainConfig
from hysp.data.dataset import SkeletonData
from hysp.data.skeleton import Skeleton
from hysp.model import STGCN, EncoderConfig, GraphConfig, ModelConfig
from hysp.optim import OptimConfig
from hysp.start import start_from_data
from hysp.streams import apply_stream
from hysp.training import initial_network, started

EDGES = ((0, 1), (1, 2), (1, 3))
GRAPH = GraphConfig("custom", n_joints=4, edges=EDGES, centre=1)
SKELETON = Skeleton(("head", "neck", "left", "right"), EDGES, 1, (0, 1, 3, 2))
N = 7


@pytest.fixture
def data() -> SkeletonData:
    rng = np.random.default_rng(0)
    places = rng.normal(0, 2, (3, 1, 4, 1))
    x = (places + rng.normal(0, 0.3, (N, 3, 6, 4, 2)) * rng.uniform(0.1, 2, (3, 1, 4, 1))).astype(
        np.float32
    )
    x[:, :, :, 1] = 0.0  # the centre, as it is after centring
    x[[1, 4], ..., 1] = 0.0  # a second person who is not there
    names = [f"clip{number}" for number in range(N)]
    return SkeletonData(x, pd.DataFrame({"name": names, "group": names}), SKELETON, {})


def encoder(stream: str = "joint", first_norm: str = "data") -> STGCN:
    channels = {"joint": 3, "3s": 9}[stream]
    return STGCN(EncoderConfig(channels, 2, 8, GRAPH, dropout=0.0, first_norm=first_norm))


def by_hand(data: SkeletonData, stream: str) -> dict[str, np.ndarray]:
    """Mean, deviation and unit of every coordinate, one at a time: (V, C) each."""
    x = apply_stream(
        torch.from_numpy(data.x), stream, STGCN(EncoderConfig(graph=GRAPH)).graph.parents
    )
    persons = [
        x[n, ..., m].double().numpy() for n in range(N) for m in range(2) if x[n, ..., m].any()
    ]
    V, C = 4, x.shape[1]
    found = {name: np.zeros((V, C)) for name in ("mean", "std", "unit")}
    for c in range(C):
        for v in range(V):
            values = np.concatenate([person[c, :, v] for person in persons])
            found["mean"][v, c], found["std"][v, c] = values.mean(), values.std()
    for part in range(C // 3):
        axes = range(3 * part, 3 * part + 3)
        spreads = [np.concatenate([p[c].ravel() for p in persons]).var() for c in axes]
        found["unit"][:, list(axes)] = np.sqrt(np.mean(spreads))
    return found


@pytest.mark.parametrize("stream", ["joint", "3s"])
def test_start_is_that_of_every_coordinate(data, stream, monkeypatch):
    monkeypatch.setattr(starts, "_AT_ONCE", 3)
    net = encoder(stream)
    start_from_data(net, data, stream)
    expected = by_hand(data, stream)
    norm = net.data_bn
    for found, values in (
        (norm.weight, expected["std"] / expected["unit"]),
        (norm.bias, expected["mean"] / expected["unit"]),
        (norm.running_mean, expected["mean"]),
        (norm.running_var, expected["std"] ** 2),
    ):
        np.testing.assert_allclose(found.detach().numpy(), values.ravel(), rtol=1e-5, atol=1e-6)


def test_joints_keep_their_places(data):
    net = encoder()
    start_from_data(net, data, "joint")
    x = data.batch(np.arange(N)).x
    rows = net.eval().normalise(net.persons(x))
    unit = by_hand(data, "joint")["unit"][0, 0]
    there = x.permute(0, 4, 1, 2, 3).flatten(0, 1)  # (N * M, C, T, V)
    torch.testing.assert_close(rows, there / unit, rtol=1e-2, atol=1e-2)  # eps of the norm


def test_the_published_start_is_left_alone(data):
    net = encoder(first_norm="unit")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    start_from_data(net, data, "joint")
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_an_even_sample_of_many_sequences(data, monkeypatch):
    monkeypatch.setattr(starts, "MOST_SEQUENCES", 3)
    few, all_of_them = encoder(), encoder()
    start_from_data(few, data, "joint")
    monkeypatch.undo()
    start_from_data(all_of_them, data.select([0, 3, 6]), "joint")
    torch.testing.assert_close(few.data_bn.bias, all_of_them.data_bn.bias)


@pytest.mark.parametrize("method", ["hysp", "simsiam", "skeletonclr"])
def test_both_branches_of_a_run_start_alike(data, method):
    options = replace(encoder().config, first_norm="data")
    widths = {"projection_hidden_size": (4, 4), "predictor_hidden_size": (4, 4)}
    cfg = PretrainConfig(
        model=ModelConfig(method, options, queue_size=8, **widths),
        curriculum=CurriculumConfig(False),
        optim=OptimConfig(epochs=1),
    )
    model = started(initial_network(cfg), data, "joint")
    expected = encoder()
    start_from_data(expected, data, "joint")
    branches = ["online", "target"] if method != "simsiam" else ["online"]
    for branch in branches:
        norm = getattr(model, f"{branch}_encoder").data_bn
        assert torch.equal(norm.weight, expected.data_bn.weight)
        assert torch.equal(norm.running_var, expected.data_bn.running_var)


def test_unknown_start():
    with pytest.raises(UserError, match="first_norm: unknown 'dat'; did you mean 'data'"):
        EncoderConfig(first_norm="dat")
