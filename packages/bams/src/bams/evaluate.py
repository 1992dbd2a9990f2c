"""How much of the labels can be read from the embeddings, at each timescale and together.

:func:`evaluate` is the command: by the core's linear probes, or by the authors' readouts.
:func:`evaluate_labels` is what training calls between two epochs.

Letters: S sequences, L frames of a sequence, E features of an embedding.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from bams.annotation_files import read_annotations
from bams.annotations import Annotations, Spans
from bams.label_scores import COMBINED, OriginalReadout, TagScore, score_tags
from bams.readout_fitting import Start
from bams.readouts import ClassResult
from behaviorzoo.embeddings import Embeddings, open_embeddings, save_embeddings
from behaviorzoo.errors import UserError
from behaviorzoo.labels import COLUMNS as LABEL_COLUMNS
from behaviorzoo.labels import classes_of, dense_labels, read_labels
from behaviorzoo.metrics import confusion_matrix
from behaviorzoo.probes import ProbeResult, ProbeSettings, probe
from behaviorzoo.probes.scores import score_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bams.model.bams import BAMS

Readout = Literal["probes", "original"]


def evaluate(
    embeddings: str | Path,
    labels: str | Path,
    out: str | Path,
    *,
    readout: Readout = "probes",
    tasks: Sequence[str] | None = None,
    regression: Sequence[str] = (),
    probes: ProbeSettings | None = None,
    original: OriginalReadout | None = None,
    device: str = "cpu",
) -> ProbeResult:
    """Score every timescale, and all of them together, against every task of the labels.

    Writes ``scores.csv``, ``probe.json``, ``predictions.csv`` (probes of frames) and a picture
    ``confusion_TASK_LEVEL.png`` of every classification. The folder can be given to
    ``behaviorzoo report --probe``.

    Args:
        embeddings: Embedding file of :func:`bams.embed.embed`.
        labels: Label table (.csv, .parquet) or annotation file (.npz), see
            :mod:`bams.annotations`.
        out: Folder for the results.
        readout: ``probes``: the core's, penalties chosen among the training recordings, split by
            ``probes``. ``original``: the authors' recipe and split.
        tasks: Which tasks; default all.
        regression: Tasks whose labels are numbers.
        probes: Settings of the probes; tasks and regression are set from here.
        original: Settings of the authors' recipe.
        device: Where the authors' readouts are trained.

    Returns:
        Scores, predictions and details, as written.

    Raises:
        UserError: Files that are missing, damaged or do not fit each other; too few recordings.
    """
    out = Path(out)
    if readout not in ("probes", "original"):
        raise UserError(f"readout={readout}: choose probes or original")
    with open_latents(embeddings) as source:
        spans = {name: source.span(name) for name in source.recordings}
        if readout == "original":
            found = read_annotations(labels, spans, regression=regression, tasks=tasks)
            result, scores = _original(source, found, original or OriginalReadout(), device)
            pictures = _pictures(scores)
        else:
            table, values = _table(labels, spans, tasks, regression)
            settings = replace(probes or ProbeSettings(), tasks=tasks, regression=tuple(values))
            result = _probed(source, table, settings)
            result.details = {"readout": readout, "settings": asdict(settings), **result.details}
            pictures = _probe_pictures(result, table, spans)
    result.details = {
        "embeddings": Path(embeddings).name,
        "labels": Path(labels).name,
        **result.details,
    }
    _write(result, pictures, out)
    return result


def evaluate_labels(
    model: BAMS,
    dataset: Any,
    annotations: Annotations,
    *,
    settings: OriginalReadout | None = None,
    separate: bool = False,
    start: Start | None = None,
    device: str | None = None,
    batch_size: int = 4,
) -> tuple[dict[str, float], dict[str, Figure]]:
    """Read the labels of a data set from a network in training, as the authors' ``test`` does.

    The network is left in the mode it was in. No histogram is made, and the data set is passed
    through in batches.

    Args:
        model: The network.
        dataset: ``bams.data.BehaviorDataset``.
        annotations: Labels of its sequences.
        settings: Split and readouts.
        separate: Also read every timescale by itself.
        start: Tag -> initial weight and bias.
        device: Where to work; default: where the network is.
        batch_size: Sequences at a time.

    Returns:
        Scalars ``test/f1_TAG_short_term_long_term`` and ``test/mse_TAG_short_term_long_term``, and
        figures ``TAG_short_term_long_term``, with the names of the encoders that were read.

    Raises:
        UserError: See :func:`bams.label_scores.score_tags`.
    """
    from bams.encoding import compute_representations

    found = compute_representations(model, dataset, device=device, batch_size=batch_size)
    names = list(found)
    levels = {"_".join(names): names}
    if separate:
        levels |= {name: [name] for name in names}
    scores = score_tags(
        lambda level, index: found[level][index],
        levels,
        annotations,
        settings or OriginalReadout(),
        start=start,
        device=str(device or next(model.parameters()).device),
    )
    scalars, figures = {}, {}
    for score in scores:
        title = f"{score.tag.name}_{score.level}"
        if isinstance(score.result, ClassResult):
            scalars[f"test/f1_{title}"] = score.result.f1
            figures[title] = _picture(score.result.counts, score.tag.classes, title)
        else:
            scalars[f"test/mse_{title}"] = score.result.mse
    return scalars, figures


def open_latents(path: str | Path) -> Embeddings:
    """Open an embedding file.

    Raises:
        UserError: Not such a file; a checkpoint is told what to do first.
    """
    if Path(path).is_dir() or Path(path).suffix in (".pt", ".pth"):
        raise UserError(
            f"{path}: this is a checkpoint; make its embeddings first, "
            f"`bams embed {path} --out embeddings.nc`, and give that file"
        )
    return open_embeddings(path)


def confusions(
    labels: pd.DataFrame, predictions: pd.DataFrame, task: str, spans: Spans
) -> tuple[np.ndarray, list[str]]:
    """Frames (or recordings) by label and prediction.

    Args:
        labels: Label table.
        predictions: Label table of one level; recordings without it are not counted.
        task: The task.
        spans: Recording -> (first frame, frames).

    Returns:
        Counts (C, C), rows = labels, and the names of the classes.
    """
    own = predictions.loc[predictions["task"] == task]
    classes = list(dict.fromkeys([*classes_of(labels, task), *sorted(set(own["label"]))]))
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    whole = bool(own["start"].isna().all())
    for name in dict.fromkeys(own["recording"]):
        first, n = spans[name]
        span = (first, 1 if whole else n)
        truth, predicted = (
            dense_labels(table, name, task, *span, classes)[0] for table in (labels, own)
        )
        both = (truth >= 0) & (predicted >= 0)
        counts += confusion_matrix(truth[both], predicted[both], len(classes))
    return counts, classes


def _table(
    labels: str | Path, spans: Spans, tasks: Sequence[str] | None, regression: Sequence[str]
) -> tuple[pd.DataFrame, list[str]]:
    """The label table, and which of its tasks are numbers."""
    if Path(labels).suffix != ".npz":
        return read_labels(labels), list(regression)
    found = read_annotations(labels, spans, regression=regression, tasks=tasks)
    return found.table(spans), [tag.name for tag in found.tags if tag.kind == "value"]


def _original(
    source: Embeddings, annotations: Annotations, settings: OriginalReadout, device: str
) -> tuple[ProbeResult, list[TagScore]]:
    labelled = annotations.labelled()
    names = [source.recordings[index] for index in labelled]
    levels = {level: [level] for level in source.levels}
    if len(levels) > 1:
        levels[COMBINED] = source.levels
    scores = score_tags(
        lambda level, index: source.read(level, names[index]),
        levels,
        annotations.of(labelled),
        settings,
        device=device,
    )
    train, test = settings.split(len(names))
    notes = []
    if len(names) < len(source.recordings):
        total = len(source.recordings)
        notes.append(f"left out for want of labels: {total - len(names)} of {total} recordings")
    details = {
        "readout": "original",
        "settings": asdict(settings),
        "split": f"{len(train)} recordings train, {len(test)} test, drawn as the authors do",
        "train": [names[index] for index in train],
        "test": [names[index] for index in test],
        "notes": notes,
    }
    table = score_table([row for score in scores for row in score.rows()])
    return ProbeResult(table, pd.DataFrame(columns=[*LABEL_COLUMNS, "level"]), details), scores


def _probed(source: Embeddings, labels: pd.DataFrame, settings: ProbeSettings) -> ProbeResult:
    """Probe labels of frames by frames, and labels of recordings by the mean of their frames."""
    framed = set(labels.loc[labels["start"].notna(), "task"])
    whole = set(labels["task"]) - framed
    chosen = list(settings.tasks or dict.fromkeys(labels["task"]))
    results = []
    for is_whole in (False, True):
        tasks = tuple(task for task in chosen if (task in whole) == is_whole)
        if not tasks:
            continue
        own = replace(
            settings,
            tasks=tasks,
            regression=tuple(task for task in settings.regression if task in tasks),
            every=1 if is_whole else settings.every,
            context=() if is_whole else settings.context,
        )
        if not is_whole:
            results.append(probe([source.path], labels, own))
            continue
        with tempfile.TemporaryDirectory() as folder:
            means = save_embeddings(Path(folder) / source.path.name, dict(_means(source)))
            result = probe([means], labels, own)
        result.predictions[["start", "stop"]] = pd.NA
        results.append(result)
    return _joined(results)


def _means(source: Embeddings) -> Iterator[tuple[str, tuple[int, dict[str, np.ndarray]]]]:
    for name in source.recordings:
        values = {level: source.read(level, name) for level in source.levels}
        means = {level: v.mean(axis=0, keepdims=True) for level, v in values.items()}
        yield name, (source.span(name)[0], means)


def _joined(results: Sequence[ProbeResult]) -> ProbeResult:
    """Results of other tasks on the same recordings as one."""
    first = results[0]
    for other in results[1:]:
        penalties = first.details["penalties"]
        for level, found in other.details["penalties"].items():
            penalties.setdefault(level, {}).update(found)
        first.scores = pd.concat([first.scores, other.scores], ignore_index=True)
        first.predictions = pd.concat([first.predictions, other.predictions], ignore_index=True)
        first.details["notes"] += [
            n for n in other.details["notes"] if n not in first.details["notes"]
        ]
    return first


def _probe_pictures(
    result: ProbeResult, labels: pd.DataFrame, spans: Spans
) -> Iterator[tuple[str, Figure]]:
    found = result.predictions
    for task, level in found[["task", "level"]].drop_duplicates().itertuples(index=False):
        counts, classes = confusions(labels, found.loc[found["level"] == level], task, spans)
        yield f"confusion_{task}_{level}", _picture(counts, classes, f"{task}, {level}")


def _pictures(scores: Sequence[TagScore]) -> Iterator[tuple[str, Figure]]:
    for score in scores:
        if isinstance(score.result, ClassResult):
            name, level = score.tag.name, score.level
            figure = _picture(score.result.counts, score.tag.classes, f"{name}, {level}")
            yield f"confusion_{name}_{level}", figure


def _picture(counts: np.ndarray, classes: Sequence[str], title: str) -> Figure:
    from behaviorzoo.plots import confusion_matrix as draw

    return draw(counts, classes, title=title)


def _write(result: ProbeResult, pictures: Iterator[tuple[str, Figure]], out: Path) -> None:
    from behaviorzoo.plots import save_figure
    from behaviorzoo.probe_command import write_result

    write_result(result, out)
    for name, figure in pictures:
        save_figure(figure, out / f"{file_name(name)}.png")


def file_name(text: str) -> str:
    """A task may be named with what no file name can hold."""
    return re.sub(r"[^\w.+-]+", "-", text)
