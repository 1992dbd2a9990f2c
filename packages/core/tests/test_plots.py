"""Figures show what they are given; helpers behind them are right."""

from __future__ import annotations

from itertools import pairwise

import matplotlib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from behaviorzoo import plots
from behaviorzoo.errors import UserError
from behaviorzoo.missing import missing_report
from behaviorzoo.palette import CLASSES, class_colours, individual_colours, level_colours
from behaviorzoo.plots.timelines import runs
from behaviorzoo.projection import fit_projection
from behaviorzoo.recordings import make_recording
from behaviorzoo.score_table import (
    OVERALL,
    add_baseline,
    compare_levels,
    main_metric,
    read_scores,
    with_overall,
)
from behaviorzoo.skeleton import skeleton_edges
from behaviorzoo.synthetic import SKELETON, make_behaviour


def texts(figure) -> str:
    return " | ".join(item.get_text() for item in figure.findobj(matplotlib.text.Text))


def make_scores(values: dict[tuple[str, str], float]) -> pd.DataFrame:
    rows = [
        (level, task, "", "macro F1", value, "chance", 0.2)
        for (level, task), value in values.items()
    ]
    rows += [
        (level, task, "rear", "F1", value / 2, "chance", 0.1)
        for (level, task), value in values.items()
    ]
    columns = ["level", "task", "label", "metric", "value", "baseline", "baseline_value"]
    return pd.DataFrame(rows, columns=columns)


# ---- colours ----


@given(st.integers(1, 60))
def test_every_class_has_its_own_colour(n):
    colours = class_colours([f"class {i}" for i in range(n)])
    assert len(set(colours.values())) == n
    assert all(len(c) == 7 and int(c[1:], 16) >= 0 for c in colours.values())


def test_levels_run_along_a_ramp_and_all_together_stand_apart():
    colours = level_colours(["level_1", "level_2", "level_3", "combined"])
    assert len(set(colours.values())) == 4
    assert level_colours(["level_1", "level_2", "level_3"]).items() <= colours.items()
    assert level_colours(["only"])
    assert len(individual_colours([str(i) for i in range(9)])) == 9


def test_classes_can_be_told_apart_in_common_colour_blindness():
    # Machado et al. 2009, severity 1: protanopia and deuteranopia, on linear RGB.
    machado = {
        "protan": "0.152286 1.052583 -0.204868 0.114503 0.786281 0.099216 "
        "-0.003882 -0.048116 1.051998",
        "deutan": "0.367322 0.860646 -0.227968 0.280085 0.672501 0.047413 "
        "-0.011820 0.042940 0.968881",
    }
    rgb = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in CLASSES])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    for numbers in machado.values():
        matrix = np.array(numbers.split(), dtype=float).reshape(3, 3)
        seen = np.clip(linear @ matrix.T, 0, 1) ** (1 / 2.4)
        apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
        assert apart[np.triu_indices(len(CLASSES), 1)].min() > 0.1


# ---- projection ----


@given(st.integers(0, 2**31), st.integers(3, 60), st.integers(1, 8))
def test_projection_is_that_of_a_singular_value_decomposition(seed, n, d):
    values = np.random.default_rng(seed).normal(size=(n, d)) * np.arange(1, d + 1)
    projection = fit_projection(values)
    centred = values - values.mean(axis=0)
    _, singular, vectors = np.linalg.svd(centred, full_matrices=False)
    points = projection(values)
    for i in range(min(2, d)):
        np.testing.assert_allclose(np.abs(points[:, i]), np.abs(centred @ vectors[i]), atol=1e-3)
        assert projection.shares[i] == pytest.approx(singular[i] ** 2 / (singular**2).sum())
    if d == 1:
        assert (points[:, 1] == 0).all()


def test_projection_leaves_missing_rows_out_and_keeps_them_missing():
    values = np.random.default_rng(0).normal(size=(50, 4))
    clean = fit_projection(values[10:])
    values[:10] = np.nan
    projection = fit_projection(values)
    np.testing.assert_allclose(projection.components, clean.components)
    assert np.isnan(projection(values)[:10]).all()
    with pytest.raises(UserError, match="two complete frames"):
        fit_projection(np.full((5, 3), np.nan))


# ---- skeleton ----


def pose_recording(points: dict[str, tuple[float, float]]):
    position = np.array(list(points.values())).T[None, :, :, None].repeat(3, axis=0)
    return make_recording(position, keypoints=list(points), individuals=["a"], fps=30, name="r")


def test_known_points_get_the_known_skeleton_whatever_their_writing():
    ds, _ = make_behaviour(1, 50, seed=0)[0]
    names = ds["keypoints"].to_numpy().tolist()
    expected = {tuple(sorted((names.index(a), names.index(b)))) for a, b in SKELETON}
    assert set(skeleton_edges(ds)) == expected
    loud = ds.assign_coords(keypoints=[name.upper().replace("_", " ") for name in names])
    assert set(skeleton_edges(loud)) == expected


def test_unknown_points_are_joined_by_the_shortest_tree():
    line = pose_recording({"top": (0, 0), "m": (20, 0), "body": (10, 1), "end": (33, 0)})
    assert skeleton_edges(line) == [(0, 2), (1, 2), (1, 3)]
    assert skeleton_edges(line, "none") == []
    assert skeleton_edges(line, "top-end") == [(0, 3)]


def test_points_on_top_of_each_other_or_never_seen_are_joined_too():
    both = pose_recording({"a": (5, 5), "b": (5, 5), "c": (6, 5)})
    assert len(skeleton_edges(both)) == 2
    both["position"][:, :, 2] = np.nan
    assert len(skeleton_edges(both)) == 2


def test_edges_by_name_accept_dashes_and_refuse_unknown_points():
    ds = pose_recording({"tail-m": (0, 0), "tail-e": (1, 0), "body": (2, 0)})
    assert skeleton_edges(ds, "body-tail-m, tail-m-tail-e") == [(0, 2), (0, 1)]
    with pytest.raises(UserError, match="did you mean 'body'"):
        skeleton_edges(ds, "bodi-tail-m")


# ---- scores ----


def test_the_best_level_is_a_single_one_and_baselines_stand_aside():
    values = {("level_1", "fine"): 0.7, ("level_2", "fine"): 0.6, ("combined", "fine"): 0.8}
    scores = with_overall(make_scores(values))
    hand = with_overall(make_scores({("hand", "fine"): 0.65}))
    comparison = compare_levels(add_baseline(scores, hand, "hand features"))
    assert comparison.best_level("fine") == ("level_1", 0.7)
    assert comparison.best_baseline("fine") == ("hand features", 0.65)
    assert comparison.baselines["chance"] == {"fine": 0.2}
    assert list(comparison.levels) == ["level_1", "level_2", "combined"]
    only = compare_levels(with_overall(make_scores({("combined", "fine"): 0.8})))
    assert only.best_level("fine") == ("combined", 0.8)


def test_baselines_of_several_levels_keep_their_names():
    scores = with_overall(make_scores({("level_1", "fine"): 0.7}))
    other = with_overall(make_scores({("a", "fine"): 0.1, ("b", "fine"): 0.3}))
    comparison = compare_levels(add_baseline(scores, other, "old"))
    assert comparison.baselines == {
        "chance": {"fine": 0.2}, "old a": {"fine": 0.1}, "old b": {"fine": 0.3},
    }  # fmt: skip


def test_score_files_are_read_and_foreign_ones_refused(tmp_path):
    path = tmp_path / "scores.csv"
    make_scores({("level_1", "fine"): 0.7}).to_csv(path, index=False)
    scores = read_scores(path)
    assert scores["label"].tolist() == [OVERALL, "rear"]
    assert main_metric(scores, "fine") == "macro F1"
    assert main_metric(scores, "fine", "rear") == "F1"
    assert main_metric(scores, "coarse") is None
    path.write_text("level,task\na,b\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"scores.csv.*'label' is missing"):
        read_scores(path)


def test_scores_show_every_level_label_and_drawn_baseline():
    scores = make_scores({(f"level_{i}", task): 0.2 * i for i in (1, 2) for task in "abcd"})
    extra = scores.assign(metric="accuracy", baseline="majority")
    figure = plots.scores_by_level(with_overall(pd.concat([scores, extra])))
    shown = texts(figure)
    for word in ("level_1", "level_2", "rear", OVERALL, "baseline: chance", "macro F1, F1"):
        assert word in shown
    assert "majority" not in shown, "its metric is not drawn"
    with pytest.raises(UserError, match="no score"):
        plots.scores_by_level(with_overall(scores.head(0)))


def test_scores_below_zero_stay_in_view():
    scores = with_overall(make_scores({("level_1", "speed"): -0.4}).assign(metric="R2"))
    axes = plots.scores_by_level(scores).axes[0]
    assert axes.get_xlim()[0] < -0.4
    hopeless = scores.assign(value=-50.0)
    assert plots.scores_by_level(hopeless).axes[0].get_xlim()[0] == pytest.approx(-1.02)


# ---- figures ----


@given(st.lists(st.booleans(), max_size=40))
def test_runs_are_the_stretches_of_true(mask):
    covered = [False] * len(mask)
    found = runs(np.array(mask, dtype=bool))
    for start, stop in found:
        assert start < stop
        covered[start:stop] = [True] * (stop - start)
    assert covered == mask
    assert all(b < c for (_, b), (c, _) in pairwise(found))


def test_ethogram_counts_agreement_on_labelled_frames_only():
    labels = np.array([0] * 50 + [1] * 40 + [-1] * 10)
    predicted = np.array([0] * 100)
    rows = {"labels": labels, "level_1": predicted}
    figure = plots.ethogram(rows, ["rest", "run"], first_frame=155, fps=25, title="action")
    shown = texts(figure)
    assert "56%" in shown  # 50 of 90
    assert "4 s shown" in shown
    assert figure.axes[0].get_xlim() == (155, 255)


def test_embedding_map_has_a_panel_for_each_level_and_task():
    rng = np.random.default_rng(0)
    points = {f"level_{i}": rng.normal(size=(200, 2)) for i in (1, 2)}
    codes = {
        "fine": (rng.integers(-1, 2, 200), ["a", "b"]),
        "coarse": (np.full(200, -1), ["c"]),
        "other": (np.zeros(200, dtype=int), ["d"]),
    }
    shares = {level: np.array([0.5, 0.25]) for level in points}
    figure = plots.embedding_map(points, codes, shares=shares)
    assert len(figure.axes) == 6
    assert "PC 1 50%, PC 2 25% of variance" in texts(figure)
    assert len(plots.embedding_map(points, {}).axes) == 2
    drawn = [len(c.get_offsets()) for c in figure.axes[0].collections]
    assert sum(drawn) == 200


def test_confusion_matrix_names_classes_and_counts():
    figure = plots.confusion_matrix(np.array([[30, 10], [0, 12345]]), ["rest", "run"])
    shown = texts(figure)
    for word in ("75%\n30", "25%\n10", "100%\n12.3k", "rest", "labelled", "predicted"):
        assert word in shown
    with pytest.raises(UserError, match="3 classes"):
        plots.confusion_matrix(np.zeros((2, 2)), ["a", "b", "c"])


def test_loss_curves_skip_empty_cells_and_name_the_last_value():
    metrics = pd.DataFrame(
        {
            "step": range(0, 100, 2),
            "train_loss": np.linspace(2, 1, 50),
            "val_loss": [1.5 if i % 10 == 0 else np.nan for i in range(50)],
            "lr": 1e-3,
        }
    )
    figure = plots.loss_curves(metrics)
    shown = texts(figure)
    assert "train loss, last 1" in shown
    assert "val loss, last 1.5" in shown
    assert "lr" not in shown
    with pytest.raises(UserError, match="no loss was logged; the columns are step"):
        plots.loss_curves(pd.DataFrame({"step": [1], "loss": [np.nan]}))


def test_missing_points_fall_back_to_the_worst_recordings():
    report = pd.concat(
        [missing_report(ds) for ds, _ in make_behaviour(3, 60, seed=0, missing=0.3, individuals=2)]
    )
    assert "synthetic_000  animal_2" in texts(plots.missing_points(report))
    assert "animal_2" not in texts(plots.missing_points(report, max_rows=5))
    shown = texts(plots.missing_points(report, max_rows=1))
    shares = report.groupby("recording")["share"].mean()
    assert shares.idxmax() in shown
    assert shares.idxmin() not in shown


def test_poses_are_drawn_even_where_everything_is_missing():
    ds, _ = make_behaviour(1, 40, seed=0, individuals=2, dimensions=3)[0]
    ds = ds.assign_coords(time=ds["time"] + 155)
    ds["position"][10] = np.nan
    figure = plots.pose_snapshots(ds, [155, 165, 194])
    assert "frame 165" in texts(figure)
    with pytest.raises(
        UserError, match="frame 0 is not in the recording, which has the frames 155"
    ):
        plots.pose_snapshots(ds, [0])


def test_matplotlib_is_left_as_it_was_and_pyplot_unused(tmp_path):
    before = dict(matplotlib.rcParams)
    figure = plots.confusion_matrix(np.eye(2), ["a", "b"])
    plots.save_figure(figure, tmp_path / "a.png")
    plots.save_figure(figure, tmp_path / "a.svg")
    # No time of drawing, no random names inside: files can be compared.
    plots.save_figure(figure, tmp_path / "again.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "again.svg").read_bytes()
    assert b"<dc:date>" not in (tmp_path / "a.svg").read_bytes()
    assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "a.png").stat().st_size > 1000
    with pytest.raises(UserError, match=r"a.xyz: cannot draw this format"):
        plots.save_figure(figure, tmp_path / "a.xyz")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "a.svg", "again.svg"]
