"""The latent space as pictures: each timescale and all together, by PCA and UMAP.

Frames are shown as they are, recordings by the mean of their frames (the authors' notebook shows
the latter). Letters: P points, E features of an embedding.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bams.annotation_files import read_annotations
from bams.annotations import Spans, Tag
from bams.evaluate import file_name, open_latents
from bams.label_scores import COMBINED
from bams.latent_maps import (
    FEWEST_FOR_UMAP,
    METHODS,
    Colouring,
    Map,
    Method,
    latent_panels,
    notebook_panels,
    project,
    require_umap,
    umap_is_installed,
)
from behaviorzoo.embeddings import Embeddings
from behaviorzoo.errors import UserError, suggest
from behaviorzoo.files import atomic_path
from behaviorzoo.plots import save_figure
from behaviorzoo.report.page import Report

log = logging.getLogger("bams")

Maps = dict[Method, dict[str, Map]]

UNITS = ("frames", "recordings")
RECORDING = "recording"


def visualize(
    embeddings: str | Path,
    out: str | Path,
    *,
    labels: str | Path | None = None,
    tasks: Sequence[str] | None = None,
    regression: Sequence[str] = (),
    methods: Sequence[Method] | None = None,
    max_points: int = 5000,
    neighbours: int = 15,
    seed: int = 0,
    notebook: bool = False,
    formats: Sequence[str] = ("png", "svg"),
) -> list[Path]:
    """Draw maps of the latent space.

    Writes for frames and for recordings ``points_UNIT.csv`` (every point with its place in every
    map and its labels) and a picture ``latents_UNIT_COLOUR`` for each task of the labels and for
    the recordings themselves, and ``latents.html`` with all of them. Recordings need at least two;
    UMAP needs four points.

    Args:
        embeddings: Embedding file.
        out: Folder for the results.
        labels: Label table (.csv, .parquet) or annotation file (.npz).
        tasks: Tasks to colour by; default all.
        regression: Tasks whose labels are numbers.
        methods: ``pca``, ``umap``; default both, where umap-learn is installed.
        max_points: Frames drawn, taken evenly from all recordings.
        neighbours: Points that UMAP takes for near each other.
        seed: Decides UMAP's chance.
        notebook: Also draw ``latents_notebook_TASK``, the picture of the authors' notebook.
        formats: Formats of the pictures.

    Returns:
        The files.

    Raises:
        UserError: Files that are missing, damaged or do not fit each other; an unknown method;
            UMAP is asked for and not installed.
    """
    out = Path(out)
    if max_points < 2:
        raise UserError(f"max_points={max_points} must be at least 2")
    chosen, notes = _methods(methods, notebook)
    with open_latents(embeddings) as source:
        spans = {name: source.span(name) for name in source.recordings}
        tags: Sequence[Tag] = ()
        if labels is not None:
            tags = read_annotations(labels, spans, regression=regression, tasks=tasks).tags
        sizes = ", ".join(f"{level} ({source.features(level)} features)" for level in source.levels)
        report = Report("Latent space", f"Made from {source.path.name}: {sizes}.")
        written: list[Path] = []
        for unit in UNITS:
            sample = _sample(source, unit, max_points)
            n_points = len(sample.places)
            if n_points < 2:
                notes.append(f"No map of {unit}: there is only one.")
                continue
            possible: list[Method] = [
                m for m in chosen if m != "umap" or n_points >= FEWEST_FOR_UMAP
            ]
            if possible != chosen:
                notes.append(f"No UMAP of {unit}: {n_points} points are too few.")
            maps: Maps = {
                method: {
                    level: project(values, method, neighbours=neighbours, seed=seed)
                    for level, values in sample.values.items()
                }
                for method in possible
            }
            colourings = [*_colourings(tags, sample, spans), _by_recording(sample, spans)]
            written.append(_write_points(out / f"points_{unit}.csv", sample, maps, colourings))
            report.section(unit.capitalize())
            for colouring in colourings:
                figure = latent_panels(maps, colouring, title=f"{colouring.name}, {unit}")
                stem = f"latents_{unit}_{file_name(colouring.name)}"
                written += [save_figure(figure, out / f"{stem}.{suffix}") for suffix in formats]
                about = f"{n_points:,} {unit}, coloured by {colouring.name}"
                report.add_figure(figure, f"Maps of {about}", f"{about}.")
            if notebook and unit == "recordings":
                written += _notebook(maps, colourings, out, formats)
        for note in notes:
            report.add_text(note, "note")
            log.warning("%s", note)
        written.append(report.write(out / "latents.html"))
    return written


@dataclass(frozen=True)
class _Sample:
    """The points of a map.

    Attributes:
        places: Columns recording, row (its place in the recording), frame; (P, 3). Of a
            recording as a whole, row and frame are its first ones.
        values: Level -> embeddings (P, E); also all levels together.
        whole: Points are recordings.
    """

    places: pd.DataFrame
    values: dict[str, np.ndarray]
    whole: bool


def _sample(source: Embeddings, unit: str, max_points: int) -> _Sample:
    whole = unit == "recordings"
    total = sum(source.span(name)[1] for name in source.recordings)
    step = -(-total // max_points)
    places, parts = [], {level: [] for level in source.levels}
    for name in source.recordings:
        first, n = source.span(name)
        rows = np.arange(0, 1 if whole else n, step)
        places.append(pd.DataFrame({RECORDING: name, "row": rows, "frame": first + rows}))
        for level, found in parts.items():
            values = source.read(level, name)
            found.append(values.mean(axis=0, keepdims=True) if whole else values[rows])
    joined = {level: np.concatenate(found) for level, found in parts.items()}
    if len(joined) > 1:
        joined[COMBINED] = np.concatenate(list(joined.values()), axis=1)
    return _Sample(pd.concat(places, ignore_index=True), joined, whole)


def _methods(asked: Sequence[Method] | None, notebook: bool) -> tuple[list[Method], list[str]]:
    """The projections to make, and what to say about one that is left out."""
    if asked is None:
        if umap_is_installed():
            return list(METHODS), []
        return ["pca"], ["UMAP is left out; with it: pip install 'behaviorzoo-bams[umap]'"]
    for method in asked:
        if method not in METHODS:
            raise UserError(f"methods={method}: {suggest(method, METHODS)}")
    if not asked:
        raise UserError("methods is empty; choose pca, umap or both")
    require_umap(asked)
    # The notebook's picture is one of principal components.
    return [m for m in METHODS if m in asked or (notebook and m == "pca")], []


def _colourings(tags: Sequence[Tag], sample: _Sample, spans: Spans) -> Iterator[Colouring]:
    """Labels as colours; labels of recordings colour their frames too, not the other way round."""
    number = {name: index for index, name in enumerate(spans)}
    for tag in tags:
        if sample.whole and not tag.sequence_level:
            continue
        parts = [
            np.broadcast_to(tag.values[number[str(name)]], len(rows))
            if tag.sequence_level
            else tag.values[number[str(name)]][rows["row"].to_numpy()]
            for name, rows in sample.places.groupby(RECORDING, sort=False)
        ]
        classes = tag.classes if tag.kind == "class" else None
        yield Colouring(tag.name, np.concatenate(parts), classes)


def _by_recording(sample: _Sample, spans: Spans) -> Colouring:
    codes = pd.Index(list(spans)).get_indexer(sample.places[RECORDING].to_numpy())
    return Colouring(RECORDING, np.asarray(codes), list(spans))


def _write_points(path: Path, sample: _Sample, maps: Maps, colourings: Sequence[Colouring]) -> Path:
    """Every point with its place in every map and its labels."""
    table = sample.places.drop(columns="row")
    if sample.whole:
        table = table.drop(columns="frame")
    for colouring in colourings:
        if colouring.name != RECORDING:
            table[colouring.name] = _as_text(colouring)
    for method, found in maps.items():
        for level, mapped in found.items():
            for axis, column in zip("xy", mapped.points.T, strict=True):
                table[f"{level}_{method}_{axis}"] = column
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)
    return path


def _as_text(colouring: Colouring) -> np.ndarray:
    if colouring.classes is None:
        return colouring.values
    return np.array([*colouring.classes, ""], dtype=object)[colouring.values]


def _notebook(
    maps: Maps, colourings: Sequence[Colouring], out: Path, formats: Sequence[str]
) -> list[Path]:
    written = []
    for colouring in colourings:
        if colouring.classes is None:
            continue
        figure = notebook_panels(maps["pca"], colouring.values, title=colouring.name)
        stem = f"latents_notebook_{file_name(colouring.name)}"
        written += [save_figure(figure, out / f"{stem}.{suffix}") for suffix in formats]
    return written
