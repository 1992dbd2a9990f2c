"""Fusing streams: the search, the folds, and what users give."""

from __future__ import annotations

import itertools
import json
import math
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behaviorzoo.errors import UserError
from hysp.data.splits import group_folds
from hysp.ensemble import command, ensemble
from hysp.fusion import (
    GRID,
    fuse,
    fused_accuracy,
    grid_candidates,
    original_candidates,
    search_weights,
)
from hysp.stream_scores import StreamScores, read_stream


def original(scores, labels, weights):
    """One sample after the other, as the original's script."""
    top1 = top5 = 0
    for i, label in enumerate(labels):
        row = sum(s[i] * w for s, w in zip(scores, weights, strict=True))
        top5 += int(label in row.argsort()[-5:])
        top1 += int(np.argmax(row) == label)
    return top1 / len(labels), top5 / len(labels)


def some_scores(seed, n=40, classes=7, streams=3, whole=False):
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    scores = []
    for strength in (1.5, 1.0, 0.3)[:streams]:
        values = rng.normal(size=(n, classes)) + strength * (np.arange(classes) == labels[:, None])
        scores.append((np.round(values) if whole else values).astype(np.float32))
    return scores, labels


@given(st.integers(0, 999), st.integers(1, 60), st.integers(2, 8), st.integers(1, 4), st.booleans())
@settings(max_examples=25, deadline=None)
def test_search_is_every_set_one_by_one(seed, n, classes, streams, whole):
    scores, labels = some_scores(seed, n, classes, min(streams, 3), whole)
    rng = np.random.default_rng(seed)
    candidates = rng.choice(GRID, size=(17, len(scores)))
    found = search_weights(scores, labels, candidates)
    expected = [original(scores, labels, np.array(w))[0] for w in candidates]
    assert found.top1.tolist() == pytest.approx(expected)
    assert found.weights == tuple(candidates[int(np.argmax(expected))])


@given(st.integers(0, 999), st.booleans())
@settings(max_examples=20, deadline=None)
def test_fused_accuracy_is_the_originals(seed, whole):
    scores, labels = some_scores(seed, whole=whole)
    for weights in ([0.6, 0.6, 0.4], [1, 0, 0]):
        assert fused_accuracy(fuse(scores, weights), labels) == original(scores, labels, weights)


def test_candidates():
    every = list(itertools.combinations(GRID * 3, 3))
    assert original_candidates().tolist() == [list(w) for w in every]
    drawn = original_candidates(0)
    assert len(drawn) == len(every) // 8
    assert not np.array_equal(drawn, original_candidates(1))
    ours = grid_candidates(3)
    assert ours[0].tolist() == [1, 1, 1]
    assert (ours.max(axis=1) == 1).all()
    directions = np.round(ours / np.linalg.norm(ours, axis=1, keepdims=True), 9)
    assert len(np.unique(directions, axis=0)) == len(ours)


def stream(scores, labels, name="x", names=True):
    n = len(labels)
    return StreamScores(
        scores,
        labels,
        np.array([f"clip{i}" for i in range(n)]) if names else np.array([], dtype=str),
        np.array([f"take{i // 3}" for i in range(n)]) if names else np.array([], dtype=str),
        np.array([], dtype=str),
        name,
    )


def test_folds_are_scored_with_weights_of_the_others():
    scores, labels = some_scores(1, n=90)
    streams = [stream(s, labels) for s in scores]
    found = ensemble(streams, folds=3, seed=5)
    fold = group_folds(streams[0].groups, 3, 5)
    for k in range(3):
        rest = fold != k
        weights = search_weights(
            [s[rest] for s in scores], labels[rest], grid_candidates(3)
        ).weights
        assert found.folds[k] == weights
        expected = sum(s[~rest].astype(float) * w for s, w in zip(scores, weights, strict=True))
        np.testing.assert_allclose(found.logits[~rest], expected)
    assert found.accuracy == fused_accuracy(found.logits, labels)
    assert not found.notes

    changed = labels.copy()
    changed[fold == 0] = (changed[fold == 0] + 1) % 7  # labels of a fold do not choose its weights
    again = ensemble([stream(s, changed) for s in scores], folds=3, seed=5)
    assert again.folds[0] == found.folds[0]


def test_validation_scores_choose_and_test_labels_only_under_upstream():
    scores, labels = some_scores(1)
    other, truth = some_scores(2, n=50)
    streams = [stream(s, labels) for s in scores]
    found = ensemble(streams, validation=[stream(s, truth) for s in other])
    assert found.weights == search_weights(other, truth, grid_candidates(3)).weights
    upstream = ensemble(streams, compat="upstream", seed=3)
    assert upstream.weights == search_weights(scores, labels, original_candidates(3)).weights
    assert "optimistic" in upstream.notes[0]
    fixed = ensemble(streams, weights=[0.9, 0.5, 0.6])
    assert fixed.logits.dtype == np.float32
    with pytest.raises(UserError, match="2 validation scores for 3"):
        ensemble(streams, validation=[stream(s, truth) for s in other[:2]])
    with pytest.raises(UserError, match="2 weights for 3"):
        ensemble(streams, weights=[1, 1])
    with pytest.raises(UserError, match="need no validation"):
        ensemble(streams, weights=[1, 1, 1], validation=streams)


def test_samples_meet_by_name_and_unlabelled_ones_are_left_out():
    scores, labels = some_scores(4, streams=2)
    labels[[3, 8]] = -1
    a, b = stream(scores[0], labels), stream(scores[1], labels)
    order = np.random.default_rng(0).permutation(len(labels))
    turned = StreamScores(
        b.logits[order], labels[order], b.names[order], b.groups[order], b.classes, "turned"
    )
    plain, found = ensemble([a, b], weights=[1, 1]), ensemble([a, turned], weights=[1, 1])
    np.testing.assert_array_equal(plain.logits, found.logits)
    assert len(plain.labels) == len(labels) - 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": np.zeros((40, 6), np.float32)}, "same samples and classes"),
        ({"labels": np.zeros(40, int)}, "another label of sample"),
        ({"names": np.array(["other"] * 40)}, "no sample 'clip0'"),
    ],
    ids=["shape", "labels", "names"],
)
def test_streams_that_do_not_belong_together(change, message):
    scores, labels = some_scores(0)
    first = stream(scores[0], labels)
    second = stream(scores[1], labels, "second")
    with pytest.raises(UserError, match=message):
        ensemble([first, StreamScores(**{**vars(second), **change})], weights=[1, 1])


@pytest.mark.parametrize("weights", [(1.0, math.nan), (math.inf, 1.0), (0.0, 0.0)])
def test_weights_that_weigh_nothing(weights):
    scores, labels = some_scores(0, streams=2)
    streams = [stream(values, labels) for values in scores]
    with pytest.raises(UserError, match="expected numbers, not all of them 0"):
        ensemble(streams, weights=weights)


def test_command_on_the_originals_files(tmp_path, capsys):
    scores, labels = some_scores(2, n=60)
    for name, values in zip("jbm", scores, strict=True):
        np.save(tmp_path / f"{name}.npy", values)
    names = [f"S001C001P001R001A{i:03d}" for i in range(60)]
    with (tmp_path / "label.pkl").open("wb") as handle:
        pickle.dump((names, labels.tolist()), handle)
    files = [str(tmp_path / f"{name}.npy") for name in "jbm"]
    with_labels = [*files, "--labels", str(tmp_path / "label.pkl")]
    out = tmp_path / "out"
    command([*with_labels, "--out", str(out)])
    assert "fold 4" in capsys.readouterr().out
    table = pd.read_csv(out / "scores.csv")
    assert table["level"].unique().tolist() == ["1 j", "2 b", "3 m", "fused"]
    content = json.loads((out / "ensemble.json").read_text())
    assert len(content["weights_of_folds"]) == 5
    fused = read_stream(out)
    assert fused.logits.shape == (60, 7)
    value = fused_accuracy(fused.logits, fused.labels).top1
    assert table["value"].iloc[-2] == pytest.approx(value)

    command([*with_labels, "--compat", "upstream", "--seed", "1"])
    assert "optimistic" in capsys.readouterr().out
    command([*with_labels, "--weights", "0.6", "0.6", "0.4"])
    top1, top5 = original(scores, labels, [0.6, 0.6, 0.4])
    assert f"top-1 {top1:.4f}  top-5 {top5:.4f}" in capsys.readouterr().out.splitlines()[-1]

    with pytest.raises(UserError, match="--labels"):
        command(files)
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(UserError, match=r"bad\.npy: truncated"):
        command([str(tmp_path / "bad.npy"), "--labels", str(tmp_path / "label.pkl")])
    np.save(tmp_path / "nan.npy", np.where(np.eye(60, 7) > 0, np.nan, scores[0]))
    with pytest.raises(UserError, match="sample 0 are not finite"):
        command([str(tmp_path / "nan.npy"), "--labels", str(tmp_path / "label.pkl")])
    with pytest.raises(UserError, match="hysp evaluate"):
        read_stream(tmp_path)
