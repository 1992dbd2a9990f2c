"""S-GEAR: figures of an evaluation, and storing what they are computed from."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import torch
from measure import Table, best_seconds

from sgear.evaluate import evaluate_scores
from sgear.evaluation_set import EvaluationSet
from sgear.marginalise import mapping_matrix
from sgear.results import ResultsWriter, read_results
from sgear.scores import accuracy_table

ITEMS, ACTIONS, VERBS, NOUNS = 9_668, 3_806, 97, 300
"""EPIC-Kitchens-100, validation."""

CLIPS, WIDTH, BATCH = 15, 768, 16

AUTHORS_SECONDS = 6.3
"""Their table of accuracies of this size, on the machine of the reference yardstick."""

SCALE = 1.0
"""Speed of this machine over that one."""


def original_accuracy(scores: np.ndarray, labels: np.ndarray) -> tuple[float, ...]:
    """Top-1, top-5, class-mean recall at 5, mean class top-1: the original's way.

    The five best of all rows for the accuracies, rows sorted class by class for the recall, and
    one-hot matrices of labels and predictions multiplied for the confusion matrix.
    """
    classes = set(range(labels.max() + 1))
    known = np.array([label in classes for label in labels])
    _, best = torch.from_numpy(scores[known]).topk(5)
    hits = best.numpy() == labels[known][:, None]
    top1, top5 = hits[:, :1].any(1).mean(), hits.any(1).mean()
    recalls = []
    for code in np.intersect1d(sorted(classes), np.unique(labels)):
        own = labels == code
        best = scores[own].argsort()[:, ::-1][:, :5]
        recalls.append((best == code).any(1).mean())
    eye = np.eye(scores.shape[1])
    confusion = eye[labels].T @ eye[scores.argmax(1)]
    per_class = np.diag(confusion) / (confusion.sum(1) + 1e-15)
    figures = (top1, top5, np.mean(recalls), per_class.mean())
    return tuple(100.0 * float(value) for value in figures)


def accuracy(table: Table, quick: bool) -> None:
    """One table of accuracies."""
    items, actions = (600, 300) if quick else (ITEMS, ACTIONS)
    table.section(f"One table of accuracies, {items:,} items, {actions:,} classes, float64")
    scores, labels = _scores(items, actions)
    found = accuracy_table(scores, labels)
    ours = (found.top1, found.top5, found.recall5, found.top1_class_mean)
    theirs = original_accuracy(scores, labels)
    table.row("largest difference of a figure", f"{np.abs(np.subtract(ours, theirs)).max():.1e}")
    seconds = best_seconds(lambda: accuracy_table(scores, labels), 5)
    original = best_seconds(lambda: original_accuracy(scores, labels), 1)
    goal = None if quick else 100.0
    table.row("seconds", f"{seconds:.4f}", f"{original:.2f}", original / seconds, goal)
    if not quick:
        elsewhere = AUTHORS_SECONDS / SCALE
        table.row(
            "against the authors' code elsewhere, scaled",
            f"{seconds:.4f}",
            f"{elsewhere:.2f}",
            elsewhere / seconds,
            goal,
        )


def tables(table: Table, quick: bool) -> None:
    """All figures of an evaluation: three spaces, each with its tail and unseen items."""
    items, actions = (600, 300) if quick else (ITEMS, ACTIONS)
    table.section(
        "All figures of EPIC-100: verb, noun, action, each with tail, unseen and many-shot",
        "The original computes a table for each of these; its verb and noun tables are small.",
    )
    rng = np.random.default_rng(1)
    verbs, nouns = rng.integers(VERBS, size=actions), rng.integers(NOUNS, size=actions)
    scores = {"verb": VERBS, "noun": NOUNS, "action": actions}
    given = {space: _scores(items, number)[0] for space, number in scores.items()}
    labels = rng.integers(actions, size=items)
    with tempfile.TemporaryDirectory() as folder:
        lists = Path(folder)
        names = [f"P01_{row}" for row in range(items)]
        for part in ("verb", "noun", "action"):
            (lists / f"validation_tail_{part}s_ids.csv").write_text("\n".join(names[::3]))
        (lists / "validation_unseen_participants_ids.csv").write_text("\n".join(names[::9]))
        frame = pd.DataFrame(
            {"narration_id": names, "verb_class": verbs[labels], "noun_class": nouns[labels]}
        ).assign(action_class=labels)
        mappings = {
            ("verb", "action"): mapping_matrix(verbs, VERBS),
            ("noun", "action"): mapping_matrix(nouns, NOUNS),
        }
        evaluation_set = EvaluationSet(frame, {}, mappings, 0.2, lists=lists)
        seconds = best_seconds(lambda: evaluate_scores(given, evaluation_set), 3)
    truth = {"verb": verbs[labels], "noun": nouns[labels], "action": labels}
    thirds, ninths = slice(None, None, 3), slice(None, None, 9)

    def original() -> None:
        for space, values in given.items():
            for rows in (slice(None), slice(None), thirds, ninths):  # all, many-shot, tail, unseen
                original_accuracy(values[rows], truth[space][rows])

    theirs = best_seconds(original, 1) if quick else _once(original)
    table.row(
        "seconds", f"{seconds:.3f}", f"{theirs:.1f}", theirs / seconds, None if quick else 100
    )


def results(table: Table, quick: bool) -> None:
    """Storing results, per batch of 16 items."""
    batches = 4 if quick else 40
    items = batches * BATCH
    table.section(
        f"Storing results, batches of {BATCH} items, {ACTIONS:,} classes, {CLIPS} clips",
        "The original keeps the unreduced loss of the features (clips - 1, 768) of every item.",
    )
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(BATCH, ACTIONS)).astype(np.float32)
    feat = rng.random((BATCH, CLIPS - 1, WIDTH)).astype(np.float32)
    past = rng.random(BATCH * CLIPS).astype(np.float32)
    cls = rng.random(BATCH).astype(np.float32)

    def ours(folder: Path) -> None:
        losses = {"feat": feat, "past_cls_action": past, "cls_action": cls}
        with ResultsWriter(folder) as writer:
            for number in range(batches):
                idx = number * BATCH + np.arange(BATCH)
                writer.append(
                    {"logits/action": logits}, idx=idx, uid=idx, target={"action": idx},
                    losses=losses,
                )  # fmt: skip

    def original(folder: Path) -> None:
        for number in range(batches):
            idx = number * BATCH + np.arange(BATCH)
            rows = {"logits/action": logits, "idx": idx, "uid": idx, "target/action": idx}
            rows |= {"loss/feat": feat, "loss/past_cls_action": past, "loss/cls_action": cls}
            rows["epoch"] = np.zeros(BATCH)
            _append(folder / "0.h5", rows)

    with tempfile.TemporaryDirectory() as name:
        folders = {work: Path(name) / work.__name__ for work in (ours, original)}
        (Path(name) / "original").mkdir()

        def again(work: object) -> None:
            file = folders[work] / "0.h5"
            file.unlink(missing_ok=True)
            work(folders[work])

        seconds = {work: best_seconds(lambda w=work: again(w), 1) for work in folders}
        sizes = {work: (folder / "0.h5").stat().st_size for work, folder in folders.items()}
        milliseconds = {work: 1e3 * value / batches for work, value in seconds.items()}
        table.row(
            "milliseconds per batch",
            f"{milliseconds[ours]:.1f}",
            f"{milliseconds[original]:.1f}",
            milliseconds[original] / milliseconds[ours],
        )
        scale = ITEMS / items / 1e6
        table.row(
            "MB of the validation set",
            f"{sizes[ours] * scale:.0f}",
            f"{sizes[original] * scale:.0f}",
            sizes[original] / sizes[ours],
        )
        read = {work: best_seconds(lambda f=f: read_results(f), 3) for work, f in folders.items()}
        table.row(
            "milliseconds of reading, per 1,000 items",
            f"{1e6 * read[ours] / items:.0f}",
            f"{1e6 * read[original] / items:.0f}",
            read[original] / read[ours],
        )


def _scores(items: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores that are right now and then, and labels that favour low classes."""
    rng = np.random.default_rng(0)
    labels = np.minimum(rng.geometric(4.0 / classes, size=items) - 1, classes - 1)
    scores = rng.normal(size=(items, classes))
    scores[np.arange(items), labels] += 2.5
    return scores, labels


def _append(path: Path, rows: dict[str, np.ndarray]) -> None:
    """Open, append, close: once a batch, gzip 9."""
    with h5py.File(path, "a") as file:
        for name, value in rows.items():
            if name not in file:
                file.create_dataset(
                    name, data=value, maxshape=(None, *value.shape[1:]),
                    compression="gzip", compression_opts=9,
                )  # fmt: skip
                continue
            data = file[name]
            data.resize(len(data) + len(value), axis=0)
            data[-len(value) :] = value


def _once(work: object) -> float:
    """Seconds of a single run, for what takes minutes."""
    start = time.process_time()
    work()
    return time.process_time() - start
