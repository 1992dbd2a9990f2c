"""What an evaluation writes.

    scores.csv         a row per level, task and label: top-1, top-5, macro F1, recall of classes
    predictions.csv    a row per tested sample: name, true and predicted label, fold
    scores/*.npz       logits (samples, classes) with names, labels and classes: for `hysp ensemble`
    confusion_*.png    labels against predictions
    training.csv       loss and accuracy of the test samples in the course of the training
    heads/*            the trained network (one split), or the heads of all folds
    evaluation.json    split, notes
    config.yaml        all settings
    report.html        a page with all of it

Letters: N samples, C classes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from behaviorzoo import metrics
from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path
from behaviorzoo.probes.scores import score_table
from behaviorzoo.schema import to_dict, to_yaml
from hysp import __version__
from hysp.data.dataset import SkeletonData
from hysp.evaluate.accuracy import batch_mean_accuracy, top5_share
from hysp.evaluate.config import EvaluateConfig
from hysp.evaluate.levels import CONFIG, EVALUATION
from hysp.evaluate.protocols import Outcome

TOP1, TOP5 = "accuracy", "top-5 accuracy"


@dataclass(frozen=True)
class Round:
    """One training and its test.

    Attributes:
        train_counts: Training samples of each class (C,).
        rows: Tested samples, int64 (n,).
        outcome: What came out.
    """

    train_counts: np.ndarray
    rows: np.ndarray
    outcome: Outcome


@dataclass(frozen=True)
class Level:
    """What was read, and how: one line of the results.

    Attributes:
        name: Protocol or baseline.
        task: Kind of labels.
        data: The tested samples.
        rounds: Of every fold.
    """

    name: str
    task: str
    data: SkeletonData
    rounds: list[Round]

    @property
    def rows(self) -> np.ndarray:
        """Tested samples in the order of the folds."""
        return np.concatenate([r.rows for r in self.rounds])

    @property
    def logits(self) -> np.ndarray:
        """(N, C), as ``rows``."""
        return np.concatenate([r.outcome.logits for r in self.rounds])

    @property
    def folds(self) -> np.ndarray:
        """Fold of each tested sample."""
        return np.repeat(np.arange(len(self.rounds)), [len(r.rows) for r in self.rounds])

    @property
    def labels(self) -> np.ndarray:
        """int64 (N,), -1 = unlabelled."""
        assert self.data.labels is not None
        return self.data.labels[self.rows]

    @property
    def predicted(self) -> np.ndarray:
        """int64 (N,)."""
        return self.logits.argmax(axis=1)

    @property
    def confusion(self) -> np.ndarray:
        """Counts (C, C), rows = truth."""
        return metrics.confusion_matrix(self.labels, self.predicted, self.data.n_classes)


@dataclass
class Evaluation:
    """A finished evaluation.

    Attributes:
        scores: Table of ``scores.csv``.
        levels: What was evaluated.
        details: Split, notes.
        folder: Where it was written.
    """

    scores: pd.DataFrame
    levels: list[Level]
    details: dict[str, Any]
    folder: Path


def score_rows(level: Level, batch_size: int | None = None) -> list[dict[str, Any]]:
    """Rows of the score table for one level.

    Args:
        level: The level.
        batch_size: Accuracies are means over batches of this size, as the public code has them;
            None = over samples.
    """
    labels, logits, confusion = level.labels, level.logits, level.confusion
    n_train = int(np.mean([r.train_counts.sum() for r in level.rounds]))
    actual = confusion.sum(axis=1)
    top1, top5 = metrics.accuracy(confusion), top5_share(logits, labels)
    if batch_size is not None and (labels >= 0).any():
        import torch

        known = [torch.from_numpy(part[labels >= 0]) for part in (logits, labels)]
        top1, top5 = batch_mean_accuracy(known[0], known[1], batch_size)
    counts = np.mean([r.train_counts for r in level.rounds], axis=0)
    chance = 1 / max(int((actual > 0).sum()), 1)
    guessed = metrics.chance_f1(counts / max(counts.sum(), 1), actual / max(actual.sum(), 1))
    overall = [
        (TOP1, top1, "majority", _majority(level)),
        (TOP5, top5, "chance", min(1.0, 5 * chance)),
        ("balanced accuracy", metrics.balanced_accuracy(confusion), "chance", chance),
        ("macro F1", metrics.macro_f1(confusion), "chance", float(guessed[actual > 0].mean())),
    ]
    rows = [_row(level, "", *entry, n_train, int(actual.sum())) for entry in overall]
    found = metrics.class_scores(confusion)
    for c, name in enumerate(level.data.classes):
        sizes = (round(float(counts[c])), int(actual[c]))
        share = float(counts[c] / max(counts.sum(), 1))
        rows.append(_row(level, name, "recall", float(found.recall[c]), "chance", share, *sizes))
        f1, guess = float(found.f1[c]), float(guessed[c])
        rows.append(_row(level, name, "F1", f1, "chance", guess, *sizes))
    return rows


def _majority(level: Level) -> float:
    """Accuracy of always guessing the class with the most training samples."""
    assert level.data.labels is not None
    hits = sum(
        int((level.data.labels[r.rows] == r.train_counts.argmax()).sum()) for r in level.rounds
    )
    return hits / max(int((level.labels >= 0).sum()), 1)


def check_folder(config: EvaluateConfig) -> None:
    """Refuse a folder whose results would be lost or mixed with others; to be asked first.

    The same evaluation may be done again: its files have the same names.

    Raises:
        UserError: The folder holds another evaluation, or is a file.
    """
    folder = Path(config.out)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: this is a file, give a folder as out=")
    saved, found = folder / CONFIG, folder / EVALUATION
    if not found.is_file() or (saved.is_file() and saved.read_text("utf-8") == to_yaml(config)):
        return
    raise UserError(
        f"{folder}: holds an evaluation with other settings ({CONFIG} in it); choose another "
        "folder with out=, or delete this one"
    )


def write_evaluation(
    config: EvaluateConfig, levels: Sequence[Level], details: dict[str, Any]
) -> Evaluation:
    """Write the folder of an evaluation.

    Raises:
        UserError: It cannot be written.
    """
    from hysp.evaluate.page import write_page

    folder = Path(config.out)
    batch_size = config.optim.test_batch_size if config.compat == "upstream" else None
    rows = [row for level in levels for row in score_rows(level, batch_size)]
    notes = {}
    for level in levels:
        found = list(dict.fromkeys(note for r in level.rounds for note in r.outcome.notes))
        if found:
            notes[f"{level.task}, {level.name}"] = found
    details = {
        "protocol": config.protocol,
        "head": config.head,
        "compat": config.compat,
        **details,
        "folds": _spread(levels),
        "notes": notes,
        "versions": {"hysp": __version__},
    }
    result = Evaluation(score_table(rows), list(levels), details, folder)
    _write_text(folder / CONFIG, to_yaml(config))
    _write_text(folder / EVALUATION, json.dumps(details, indent=1, default=str) + "\n")
    _write_table(result.scores, folder / "scores.csv")
    _write_table(predictions(levels), folder / "predictions.csv")
    course = training_course(levels)
    if len(course):
        _write_table(course, folder / "training.csv")
    for level in levels:
        write_logits(level, folder / "scores" / f"{file_name(level)}.npz")
    _write_heads(config, levels, folder / "heads")
    write_page(result, course)
    return result


def predictions(levels: Sequence[Level]) -> pd.DataFrame:
    """A row per tested sample, level and task."""
    tables = []
    for level in levels:
        table, rows = level.data.table, level.rows
        classes = np.array([*level.data.classes, ""], dtype=object)
        own = table.iloc[rows]
        tables.append(
            pd.DataFrame(
                {
                    "level": level.name,
                    "recording": own.get("recording", own["name"]).to_numpy(),
                    "task": level.task,
                    "start": own["start"].to_numpy() if "start" in own else "",
                    "stop": own["stop"].to_numpy() if "stop" in own else "",
                    "label": classes[level.predicted],
                    "truth": classes[level.labels],
                    "name": own["name"].to_numpy(),
                    "fold": level.folds,
                    "probability": _softmax(level.logits).max(axis=1).round(6),
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def training_course(levels: Sequence[Level]) -> pd.DataFrame:
    """Loss and accuracy of the test samples after epochs, of every level and fold."""
    rows = [
        {"level": level.name, "task": level.task, "fold": fold, **asdict(look)}
        for level in levels
        for fold, r in enumerate(level.rounds)
        if r.outcome.fitted is not None
        for look in r.outcome.fitted.looks
    ]
    return pd.DataFrame(rows)


def write_logits(level: Level, path: Path) -> None:
    """Logits of the tested samples in the order of the data, with what is needed to fuse them."""
    order = np.argsort(level.rows, kind="stable")
    rows = level.rows[order]
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary,
            logits=level.logits[order],
            labels=level.labels[order],
            names=np.array(level.data.names)[rows],
            groups=level.data.groups[rows],
            classes=np.array(level.data.classes),
            fold=level.folds[order],
        )


def file_name(level: Level) -> str:
    """Task and level as a file may be named."""
    return re.sub(r"[^\w.+-]+", "-", f"{level.task}_{level.name}")


def _write_heads(config: EvaluateConfig, levels: Sequence[Level], folder: Path) -> None:
    """One split: the network with its head. Folds: the heads alone, the encoder is the same."""
    from safetensors.numpy import save_file

    from behaviorzoo.checkpoints import save_checkpoint

    for level in levels:
        models = [r.outcome.model for r in level.rounds if r.outcome.model is not None]
        if not models:
            continue
        path = folder / file_name(level)
        if len(models) == 1:
            content = {"compat": config.compat, "classifier": to_dict(models[0].config)}
            state_of_data = level.data.state_dict() | {"task": level.task}
            metadata = {"method": "hysp", "versions": {"hysp": __version__}}
            with atomic_path(path) as temporary:
                save_checkpoint(
                    temporary,
                    models[0].state_dict(),
                    content,
                    metadata | {"data_state": state_of_data},
                )
            continue
        heads = {
            f"fold_{fold}.{name}": tensor.cpu().numpy()
            for fold, model in enumerate(models)
            for name, tensor in model.online_projector.state_dict().items()
        }
        with atomic_path(path.with_name(path.name + ".safetensors")) as temporary:
            save_file(
                {name: np.ascontiguousarray(value) for name, value in heads.items()}, temporary
            )


def _spread(levels: Sequence[Level]) -> dict[str, list[float]]:
    """Accuracy of every fold."""
    found = {}
    for level in levels:
        if len(level.rounds) > 1:
            right = (level.labels == level.predicted)[level.labels >= 0]
            folds = level.folds[level.labels >= 0]
            key = f"{level.task}, {level.name}"
            found[key] = [round(float(right[folds == fold].mean()), 4) for fold in np.unique(folds)]
    return found


def _row(level: Level, label: str, metric: str, value: float, baseline: str, limit: float,
         n_train: int, n_test: int) -> dict[str, Any]:  # fmt: skip
    return {
        "level": level.name,
        "task": level.task,
        "label": label,
        "metric": metric,
        "value": value,
        "baseline": baseline,
        "baseline_value": limit,
        "n_train": n_train,
        "n_test": n_test,
    }


def _softmax(logits: np.ndarray) -> np.ndarray:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def _write_text(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _write_table(table: pd.DataFrame, path: Path) -> None:
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)
