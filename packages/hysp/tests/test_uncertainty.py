"""Radius and uncertainty, the authors' halves, and the pictures of the disk."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from behaviorzoo.errors import UserError
from behaviorzoo.plots import save_figure
from hysp.data import DataConfig, SkeletonData
from hysp.data.opening import open_data
from hysp.data.skeleton import named_skeleton
from hysp.disk_plots import (
    disk_coordinates,
    hyperbolic_radius,
    poincare_disk,
    uncertainty_by_class,
)
from hysp.hyperbolic import distance
from hysp.uncertainty import check_halves, mapped, write_halves, write_uncertainty


def clips(n: int) -> SkeletonData:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 3, 6, 25, 2)).astype(np.float32)
    table = pd.DataFrame({"name": [f"c{i}" for i in range(n)], "action": (["a", "b", "c"] * n)[:n]})
    table["group"] = table["name"]
    return SkeletonData(x, table, named_skeleton("ntu-rgb+d"), {"action": ["a", "b", "c"]})


@pytest.mark.parametrize("c", [1.0, 0.3])
def test_radius_grows_to_the_rim_and_stays_inside(c):
    lengths = torch.tensor([0.0, 1e-15, 1e-3, 0.5, 3.0, 15.0, 1e3], dtype=torch.float64)
    direction = torch.nn.functional.normalize(torch.arange(1.0, 6.0).double(), dim=0)
    points, radius = mapped(lengths[:, None] * direction, c)
    expected = np.minimum(np.tanh(np.sqrt(c) * lengths.numpy()), 1 - 1e-5)
    np.testing.assert_allclose(radius, expected, rtol=1e-12, atol=1e-15)
    assert (radius.diff() >= 0).all()
    assert radius.max() < 1
    assert torch.isfinite(points).all()


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_the_disk_keeps_distances_from_the_middle(n, size, seed):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, size))
    points *= rng.uniform(0, 0.99999, (n, 1)) / np.linalg.norm(points, axis=1, keepdims=True)
    points[0] = 0
    flat = disk_coordinates(points)
    assert flat.shape == (n, 2)
    np.testing.assert_allclose(
        np.linalg.norm(flat, axis=1), np.linalg.norm(points, axis=1), atol=1e-12
    )


def test_a_plane_is_shown_as_it_is():
    rng = np.random.default_rng(0)
    angle, radius = rng.uniform(0, 2 * np.pi, 200), rng.uniform(0.2, 0.9, 200)
    plane = np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius[:, None]
    basis, _ = np.linalg.qr(rng.normal(size=(6, 2)))
    flat = disk_coordinates(plane @ basis.T)
    # Up to a turn of the plane: angles between pairs are kept, but for the mean's small shift.
    turned = np.exp(1j * angle) * np.conj(flat[:, 0] + 1j * flat[:, 1]) / radius
    mirrored = np.exp(1j * angle) * (flat[:, 0] + 1j * flat[:, 1]) / radius
    assert max(abs(turned.mean()), abs(mirrored.mean())) > 0.98


def test_hyperbolic_radius_is_the_distance_from_the_origin():
    point = torch.tensor([[0.3, 0.4], [0.6, 0.8 - 1e-5]], dtype=torch.float64)
    expected = distance(point, torch.zeros(1, 2), compat="upstream")
    np.testing.assert_allclose(hyperbolic_radius(point.norm(dim=1).numpy()), expected, rtol=1e-6)


@pytest.mark.parametrize("n", [8, 9])
@pytest.mark.parametrize("layout", ["ours", "authors"])
def test_halves_of_even_and_odd_data_are_read_again(tmp_path, n, layout):
    data = clips(n)
    uncertainty = np.random.default_rng(1).permutation(n) / n
    halves = write_halves(data, uncertainty, tmp_path, layout)
    assert sorted([*halves.low, *halves.high]) == list(range(n))
    assert (uncertainty[halves.low] < np.median(uncertainty)).all()
    assert (uncertainty[halves.high] >= np.median(uncertainty)).all()
    for name, rows in (("low", halves.low), ("high", halves.high)):
        if layout == "ours":
            part = open_data(DataConfig(path=str(tmp_path / name)), "all")
            assert part.names == [f"c{i}" for i in rows]
            written = part.table["uncertainty"].astype(float)
            np.testing.assert_allclose(written, uncertainty[rows])
        else:
            folder = tmp_path / "uncertainty" / name
            part = open_data(DataConfig(path=str(folder)), "train")
            with (folder / "train_label.pkl").open("rb") as handle:
                assert isinstance(pickle.load(handle), np.ndarray)
        np.testing.assert_array_equal(part.x, data.x[rows])
        assert part.labels is not None
        assert data.labels is not None
        assert part.labels.tolist() == data.labels[rows].tolist()


@pytest.mark.parametrize("layout", ["ours", "authors"])
def test_halves_are_not_written_over(tmp_path, layout):
    check_halves(tmp_path, layout)
    write_halves(clips(6), np.arange(6) / 6, tmp_path, layout)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    with pytest.raises(UserError, match="already; choose another"):
        check_halves(tmp_path, layout)
    with pytest.raises(UserError, match="already; choose another"):
        write_halves(clips(8), np.arange(8) / 8, tmp_path, layout)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == files


def test_the_authors_file(tmp_path):
    path = write_uncertainty(tmp_path / "u.pkl", np.array([0.5, 0.25]))
    with path.open("rb") as handle:
        assert pickle.load(handle) == {0: 0.5, 1: 0.25}


@pytest.mark.parametrize("n_classes", [0, 1, 40])
@pytest.mark.parametrize("spread", [0.0, 1e-7, 1.0])
def test_pictures_of_all_kinds(tmp_path, n_classes, spread):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(50, 5))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    points *= (1 - 1e-5 - 0.9 * spread * rng.random(50))[:, None]
    codes = rng.integers(-1, max(n_classes, 0), 50)
    classes = [f"class {i}" for i in range(n_classes)]
    uncertainty = 1 - np.linalg.norm(points, axis=1)
    for name, figure in {
        "disk": poincare_disk(points, codes, classes),
        "rows": uncertainty_by_class(uncertainty, codes, classes),
    }.items():
        assert save_figure(figure, tmp_path / f"{name}.png").stat().st_size > 3000


def test_classes_are_ordered_by_their_median_the_least_sure_on_top():
    uncertainty = np.array([0.1, 0.2, 0.8, 0.9, 0.4, 0.5])
    figure = uncertainty_by_class(uncertainty, np.array([0, 0, 1, 1, 2, 2]), ["x", "y", "z"])
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["y", "z", "x"]
