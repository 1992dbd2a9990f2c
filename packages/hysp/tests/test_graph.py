"""Graphs of joints and what the streams make of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from behaviorzoo.errors import UserError
from hysp.graph import LAYOUTS, STRATEGIES, Graph
from hysp.model import GraphConfig
from hysp.streams import PARTS, apply_stream, stream_channels

PUBLISHED_BONES = """
1-2 2-21 3-21 4-3 5-21 6-5 7-6 8-7 9-21 10-9 11-10 12-11 13-1 14-13 15-14 16-15 17-1 18-17 19-18
20-19 21-21 22-23 23-8 24-25 25-12
"""


@st.composite
def graphs(draw):
    n = draw(st.integers(1, 9))
    joint = st.integers(0, n - 1)
    edges = draw(st.lists(st.tuples(joint, joint), max_size=12))
    strategy = draw(st.sampled_from(STRATEGIES))
    hop, dilation = draw(st.integers(0, 3)), draw(st.integers(1, 2))
    return Graph.from_edges(n, edges, draw(joint), strategy, hop, dilation)


def distances_by_floyd(graph: Graph) -> np.ndarray:
    n = graph.n_joints
    d = np.full((n, n), np.inf)
    for a, b in graph.edges:
        d[a, b] = d[b, a] = 1
    np.fill_diagonal(d, 0)
    for k in range(n):
        d = np.minimum(d, d[:, k : k + 1] + d[k])
    return np.where(d <= graph.max_hop, d, np.inf)


def adjacency_by_definition(graph: Graph) -> np.ndarray:
    """The published rules, pair by pair."""
    n, d = graph.n_joints, distances_by_floyd(graph)
    hops = list(range(0, graph.max_hop + 1, graph.dilation))
    linked = np.array([[d[i, j] in hops for j in range(n)] for i in range(n)])
    weight = np.zeros((n, n))
    for j in range(n):
        if linked[:, j].sum() > 0:
            weight[:, j] = linked[:, j] / linked[:, j].sum()
    if graph.strategy == "uniform":
        return weight[None]
    matrices = []
    for hop in hops:
        root, close, further = np.zeros((3, n, n))
        for i in range(n):
            for j in range(n):
                if d[j, i] != hop:
                    continue
                rj, ri = d[j, graph.centre], d[i, graph.centre]
                part = root if rj == ri else close if rj > ri else further
                part[j, i] = weight[j, i]
        if graph.strategy == "distance":
            matrices.append(root + close + further)
        elif hop == 0:
            matrices.append(root)
        else:
            matrices += [root + close, further]
    return np.stack(matrices)


@given(graphs())
def test_matrices_follow_the_published_rules(graph):
    np.testing.assert_array_equal(graph.hop_distance, distances_by_floyd(graph))
    np.testing.assert_array_equal(graph.A, adjacency_by_definition(graph))


@given(graphs())
def test_every_joint_receives_one_unit_in_all(graph):
    np.testing.assert_allclose(graph.A.sum((0, 1)), 1)


@given(graphs())
def test_parents_lead_to_the_centre(graph):
    linked = {frozenset(edge) for edge in graph.edges}
    assert graph.parents[graph.centre] == graph.centre
    for joint in range(graph.n_joints):
        for _ in range(graph.n_joints):
            parent = graph.parents[joint]
            assert parent == joint or frozenset((joint, parent)) in linked
            joint = parent
        assert graph.parents[joint] == joint


def test_bones_of_ntu_are_the_published_ones():
    parents = {int(a) - 1: int(b) - 1 for a, b in (e.split("-") for e in PUBLISHED_BONES.split())}
    assert dict(enumerate(Graph("ntu-rgb+d").parents)) == parents


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_are_connected(layout):
    graph = Graph(layout, max_hop=30)
    assert np.isfinite(graph.hop_distance).all()
    assert graph.A.shape == (61, graph.n_joints, graph.n_joints)


def test_a_graph_by_edges_equals_its_layout():
    named = Graph("openpose", "spatial", 2)
    drawn = GraphConfig("custom", "spatial", 2, n_joints=18, edges=named.edges, centre=1).build()
    np.testing.assert_array_equal(drawn.A, named.A)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Graph("ntu_rgbd"), "unknown layout 'ntu_rgbd'; did you mean 'ntu-rgb.d'"),
        (lambda: Graph(strategy="spatia"), "unknown strategy 'spatia'; did you mean 'spatial'"),
        (lambda: Graph(dilation=0), "dilation = 0 must be at least 1"),
        (lambda: Graph.from_edges(3, [(0, 3)], 7), r"joints \[3, 7\] .* from 0 to 2"),
        (lambda: GraphConfig("custom"), "layout custom needs n_joints and centre"),
        (lambda: GraphConfig("openpos"), "graph.layout: unknown 'openpos'; did you mean"),
        (lambda: GraphConfig(centre=1), "centre given beside layout 'ntu-rgb\\+d'"),
        (lambda: apply_stream(torch.zeros(1, 3, 2, 4, 1), "bones", [0] * 4), "mean 'bone'"),
        (lambda: apply_stream(torch.zeros(1, 3, 2, 4, 1), "bone", [0]), "1 parents .* 4 joints"),
    ],
    ids=["layout", "strategy", "range", "edges", "custom", "config", "both", "stream", "bone"],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(UserError, match=message):
        make()


@pytest.mark.parametrize("stream", PARTS)
def test_streams_joint_by_joint(stream):
    x = torch.randn(2, 2, 4, 5, 3)
    parents = [1, 1, 1, 2, 0]
    parts = {"joint": x, "motion": torch.zeros_like(x), "bone": torch.zeros_like(x)}
    for t in range(3):
        parts["motion"][:, :, t] = x[:, :, t + 1] - x[:, :, t]
    for joint, parent in enumerate(parents):
        parts["bone"][:, :, :, joint] = x[:, :, :, joint] - x[:, :, :, parent]
    found = apply_stream(x, stream, parents)
    assert torch.equal(found, torch.cat([parts[name] for name in PARTS[stream]], dim=1))
    assert found.shape[1] == stream_channels(stream, 2)
