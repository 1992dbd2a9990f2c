from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.decomposition import PCA

from bams import latent_maps
from bams.latent_maps import Colouring, Map, latent_panels, notebook_panels, project
from bams.visualize import visualize
from behaviorzoo.embeddings import save_embeddings
from behaviorzoo.errors import UserError
from behaviorzoo.labels import write_labels

NAMES = [f"mouse_{k}" for k in range(5)]
L = 30


def texts(figure) -> str:
    return " | ".join(item.get_text() for item in figure.findobj(matplotlib.text.Text))


def files(folder: Path) -> tuple[Path, Path, dict[str, dict[str, np.ndarray]]]:
    """Embeddings, and labels of frames, of recordings, and numbers of recordings."""
    rng = np.random.default_rng(0)
    content = {
        name: {
            "short_term": rng.normal(size=(L, 4)).astype(np.float32),
            "long_term": rng.normal(size=(L, 3)).astype(np.float32) + k,
        }
        for k, name in enumerate(NAMES)
    }
    path = save_embeddings(folder / "e.nc", {name: (7, levels) for name, levels in content.items()})
    rows = []
    for k, name in enumerate(NAMES):
        rows += [(name, "sex", pd.NA, pd.NA, "fm"[k % 2]), (name, "age", pd.NA, pd.NA, str(k))]
        rows += [(name, "nose/tail", 7, 17, "still"), (name, "nose/tail", 17, 30, "run")]
    table = pd.DataFrame(rows, columns=["recording", "task", "start", "stop", "label"])
    write_labels(table, folder / "labels.csv")
    return path, folder / "labels.csv", content


class FakeUMAP:
    """Remembers how it was called and lays the points on a line."""

    calls: list[dict] = []  # noqa: RUF012

    def __init__(self, **options) -> None:
        self.calls.append(options)

    def fit_transform(self, values: np.ndarray) -> np.ndarray:
        return np.stack([np.arange(len(values)), values[:, 0]], axis=1)


@pytest.fixture
def fake_umap(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=FakeUMAP))
    monkeypatch.setattr(latent_maps, "umap_is_installed", lambda: True)
    monkeypatch.setattr("bams.visualize.umap_is_installed", lambda: True)
    FakeUMAP.calls.clear()
    return FakeUMAP.calls


def same_up_to_sign(found: np.ndarray, expected: np.ndarray) -> None:
    signs = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found, expected * signs, atol=1e-4)


def test_every_point_is_in_the_table(tmp_path: Path, fake_umap: list[dict]) -> None:
    path, labels, content = files(tmp_path)
    visualize(path, tmp_path / "out", labels=labels, regression=["age"], max_points=60, formats=())
    table = pd.read_csv(tmp_path / "out" / "points_frames.csv")
    rows = np.arange(0, L, 3)  # 150 frames thinned to at most 60
    assert list(table["recording"]) == np.repeat(NAMES, len(rows)).tolist()
    assert list(table["frame"]) == (rows + 7).tolist() * len(NAMES)
    assert list(table["nose/tail"][:10]) == ["still"] * 4 + ["run"] * 4 + [np.nan] * 2
    assert list(table["sex"]) == np.repeat(list("fmfmf"), len(rows)).tolist()
    assert list(table["age"]) == np.repeat(range(5), len(rows)).tolist()
    frames = {
        level: np.concatenate([content[name][level][rows] for name in NAMES])
        for level in ("short_term", "long_term")
    }
    frames["combined"] = np.concatenate(list(frames.values()), axis=1)
    for level, values in frames.items():
        found = table[[f"{level}_pca_x", f"{level}_pca_y"]].to_numpy()
        same_up_to_sign(found, PCA(2).fit_transform(values))
        np.testing.assert_allclose(table[f"{level}_umap_y"], values[:, 0], rtol=1e-5)
    assert [call["n_neighbors"] for call in fake_umap] == [15] * 3


def test_recordings_are_shown_by_their_mean(tmp_path: Path) -> None:
    path, labels, content = files(tmp_path)
    visualize(
        path, tmp_path / "out", labels=labels, regression=["age"], methods=["pca"], formats=()
    )
    table = pd.read_csv(tmp_path / "out" / "points_recordings.csv")
    assert list(table["recording"]) == NAMES
    assert "nose/tail" not in table  # a label of frames says nothing of a recording
    assert list(table["sex"]) == list("fmfmf")
    means = np.stack([content[name]["long_term"].mean(axis=0) for name in NAMES])
    found = table[["long_term_pca_x", "long_term_pca_y"]].to_numpy()
    same_up_to_sign(found, PCA(2).fit_transform(means))


def test_pictures_and_page(tmp_path: Path, fake_umap: list[dict]) -> None:
    path, labels, _ = files(tmp_path)
    out = tmp_path / "out"
    written = visualize(path, out, labels=labels, regression=["age"], notebook=True)
    assert sorted(written) == sorted(out.iterdir())
    stems = {
        *(f"latents_frames_{name}" for name in ("sex", "age", "nose-tail", "recording")),
        *(f"latents_recordings_{name}" for name in ("sex", "age", "recording")),
        *(f"latents_notebook_{name}" for name in ("sex", "recording")),
    }
    for suffix in (".png", ".svg"):
        assert {p.stem for p in written if p.suffix == suffix} == stems
    page = (out / "latents.html").read_text()
    assert page.count("<figure>") == 7
    assert "No UMAP of recordings: 5 points are too few." in page
    assert len(fake_umap) == 3


def test_without_labels_recordings_are_the_colours(tmp_path: Path) -> None:
    path, _, _ = files(tmp_path)
    written = visualize(path, tmp_path / "out", methods=["pca"], formats=["svg"])
    assert {path.name for path in written} == {
        "points_frames.csv",
        "points_recordings.csv",
        "latents_frames_recording.svg",
        "latents_recordings_recording.svg",
        "latents.html",
    }


def test_a_single_recording_has_a_map_of_frames(tmp_path: Path) -> None:
    one = save_embeddings(tmp_path / "e.nc", {"a": (0, {"level": np.eye(6, dtype=np.float32)})})
    visualize(one, tmp_path / "out", methods=["pca"], formats=["png"])
    table = pd.read_csv(tmp_path / "out" / "points_frames.csv")
    # One level alone is not shown twice.
    assert list(table) == ["recording", "frame", "level_pca_x", "level_pca_y"]
    page = (tmp_path / "out" / "latents.html").read_text()
    assert "No map of recordings: there is only one." in page


def test_umap_that_is_not_there_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for where in ("bams.latent_maps", "bams.visualize"):
        monkeypatch.setattr(f"{where}.umap_is_installed", lambda: False)
    path, _, _ = files(tmp_path)
    with pytest.raises(UserError, match=r"UMAP needs umap-learn: pip install 'behaviorzoo-bams"):
        visualize(path, tmp_path / "out", methods=["umap"])
    assert not (tmp_path / "out").exists()
    visualize(path, tmp_path / "out", formats=["png"])
    assert caplog.text.count("pip install 'behaviorzoo-bams[umap]'") == 1
    assert "umap" not in (tmp_path / "out" / "points_frames.csv").read_text()


@pytest.fixture
def quick_umap(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """UMAP without compiling, which takes longer than a few points do."""
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    threads = torch.get_num_threads()
    yield
    # Its parallel loops change the number of threads of the whole process.
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("quick_umap")
def test_umap_keeps_groups_apart_and_repeats() -> None:
    pytest.importorskip("umap", reason="the extra [umap] is not installed")
    values = np.random.default_rng(0).normal(size=(18, 3)).astype(np.float32)
    values[9:] += 20
    found = project(values, "umap", neighbours=5)
    assert found.explained is None
    assert found.points.shape == (18, 2)
    one, other = found.points[:9], found.points[9:]
    within = max(np.ptp(one, axis=0).max(), np.ptp(other, axis=0).max())
    assert np.linalg.norm(one.mean(axis=0) - other.mean(axis=0)) > within
    np.testing.assert_array_equal(project(values, "umap", neighbours=5).points, found.points)


def test_explained_variance_is_in_the_titles() -> None:
    values = np.random.default_rng(0).normal(size=(50, 4)) * [3, 2, 1, 1]
    maps = {"pca": {"short_term": project(values, "pca")}}
    share = PCA(2).fit(values).explained_variance_ratio_.sum()
    figure = latent_panels(maps, Colouring("sex", np.zeros(50, int), ["f"]))  # type: ignore
    assert f"short_term, {share:.0%} of variance" in texts(figure)
    figure = notebook_panels(maps["pca"], np.zeros(50, int), title="sex")
    assert f"short_term: {round(100 * share)}% of variance" in texts(figure)
    assert tuple(figure.get_size_inches()) == (15, 5)


def drawn_points(axes) -> np.ndarray:
    return np.concatenate([part.get_offsets() for part in axes.collections])


@pytest.mark.parametrize(
    "colouring",
    [
        Colouring("sex", np.array([0, 1, -1, 1]), ["f", "m"]),
        Colouring("age", np.array([1.0, np.nan, 3.0, 2.0]), None),
        Colouring("recording", np.arange(4), [f"r{k}" for k in range(40)]),
    ],
    ids=["classes", "numbers", "many"],
)
def test_every_point_is_drawn_in_every_panel(colouring: Colouring) -> None:
    points = np.array([[0, 0], [1, 0], [0, 1], [2, 2]], np.float32)
    panel = {"short_term": Map(points, 0.5), "long_term": Map(-points, 0.5)}
    figure = latent_panels({"pca": panel, "umap": panel}, colouring)
    shown = [axes for axes in figure.axes if axes.collections and axes.get_title(loc="left")]
    assert len(shown) == 4
    for axes, mapped in zip(shown, [*panel.values()] * 2, strict=True):
        found = drawn_points(axes)
        assert sorted(map(tuple, found)) == sorted(map(tuple, mapped.points))
    words = texts(figure)
    if colouring.name == "sex":
        assert "| f | m" in words
    if colouring.name == "recording":
        assert "40 colours" in words


def test_the_notebook_has_the_authors_colours() -> None:
    points = np.random.default_rng(0).normal(size=(14, 2))
    codes = np.array([*range(13), -1])
    figure = notebook_panels({"all": Map(points, 1.0)}, codes)
    found = figure.axes[0].collections[0].get_facecolors()
    wanted = [*latent_maps.AUTHORS_COLOURS, "r", "lightgray"]
    np.testing.assert_allclose(found, [matplotlib.colors.to_rgba(c) for c in wanted])


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    path, labels, _ = files(tmp_path)
    out = tmp_path / "out"
    with pytest.raises(UserError, match="methods=tsne: choose one of: pca, umap"):
        visualize(path, out, methods=["tsne"])  # type: ignore[list-item]
    with pytest.raises(UserError, match="methods is empty"):
        visualize(path, out, methods=[])
    with pytest.raises(UserError, match="max_points=1 must be at least 2"):
        visualize(path, out, max_points=1)
    with pytest.raises(UserError, match="no task 'sx'; did you mean 'sex'"):
        visualize(path, out, labels=labels, tasks=["sx"])
    assert not out.exists()


@pytest.mark.usefixtures("fake_umap")
def test_too_few_points_for_umap() -> None:
    with pytest.raises(UserError, match="UMAP of 9 points: at least 16 are needed"):
        project(np.eye(9), "umap")
