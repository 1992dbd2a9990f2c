"""Linear probes and neighbours on extracted features: scores, confusion, and a head to keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from behaviorzoo.errors import UserError
from uas_swin.extract_plan import RANDOM
from uas_swin.feature_store import FeatureStore, Views, write_json, write_table
from uas_swin.linear_probe import Heads, ProbeSettings, Problem, fit_heads, nearest_neighbours
from uas_swin.metrics import DEFAULT_METRICS, Evaluation, evaluate
from uas_swin.probe_folds import folds_of

NEIGHBOURS = (1, 5, 20)


@dataclass(frozen=True)
class Readout:
    """Scores of the samples of a split by one probe, or by neighbours.

    Attributes:
        name: ``probe`` or ``5 neighbours``.
        split: What was scored; ``folds`` where every sample was left out once.
        lr: Learning rate; NaN for neighbours.
        seed: -1 for neighbours.
        scores: (n, K).
    """

    name: str
    split: str
    lr: float
    seed: int
    scores: NDArray[np.float32]


@dataclass
class ProbeResult:
    """What a probe gives.

    Attributes:
        table: Every readout and metric.
        readouts: With their scores.
        labels: Split -> class ids.
        names: Split -> videos.
        classes: Names.
        counts: Split -> samples of each class.
        lr: The learning rate that was chosen.
        best: Evaluation of the chosen probe (its first seed) by split.
        head: Weight and bias of it; None for folds.
        notes: What the user should know.
    """

    table: pd.DataFrame
    readouts: list[Readout]
    labels: dict[str, NDArray[np.int64]]
    names: dict[str, list[str]]
    classes: list[str]
    counts: dict[str, list[int]]
    lr: float
    best: dict[str, Evaluation]
    head: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        """For the screen."""
        shown = self.table.pivot_table(
            index=["split", "readout", "lr"],
            columns="metric",
            values="value",
            aggfunc="mean",
            sort=False,
            dropna=False,
        ).dropna(how="all")
        lines = [shown.round(4).to_string(na_rep="")]
        for split, found in self.best.items():
            lines += ["", f"{split}, probe at lr {self.lr:g}:", found.table()]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def settings_of(about: dict[str, Any], **changes: Any) -> ProbeSettings:
    """How the configuration of an extraction trains its head, and what differs from it.

    Args:
        about: Of the :class:`~uas_swin.feature_store.FeatureStore`.
        **changes: Fields of the settings; None leaves them.
    """
    from uas_swin.heads import WEIGHT
    from uas_swin.optim import group_settings

    own = about["training"]
    schedule = {
        key: value
        for key, value in own["schedule"].items()
        if key in ("warmup_epochs", "warmup_ratio", "min_lr")
    }
    optimizer = own["optimizer"]
    lr, decay = group_settings(
        WEIGHT, optimizer["lr"], optimizer.get("weight_decay", 0.01), own["custom_keys"]
    )
    settings = ProbeSettings(
        lrs=(lr,),
        epochs=own["epochs"],
        batch_size=own["batch_size"],
        accumulate=own["accumulate"],
        weight_decay=decay,
        dropout=own["dropout"],
        init_std=own["init_std"],
        **schedule,
    )
    return replace(settings, **{key: v for key, v in changes.items() if v is not None})


def probe(
    store: FeatureStore,
    settings: ProbeSettings,
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
    compat: str = "upstream",
) -> ProbeResult:
    """Train on the training list, score the others.

    The learning rate, where there are several, is chosen by the mean class accuracy on the
    validation list; where that is also the test list, the first one is taken: a choice on the test
    data would flatter it.

    Raises:
        UserError: No training samples, or nothing to score.
    """
    train = store.views("train")
    others = [split for split in ("val", "test") if split in store.splits]
    if not others:
        raise UserError(f"{store.folder}: only train was extracted; use --folds")
    tests = {split: store.views(split) for split in others}
    twice = len(others) == 2 and tests["val"].names == tests["test"].names
    if twice:
        del tests["val"]
    features = store.in_memory()
    settings.check_steps(len(train))
    problems = [Problem(train.rows, train.labels, seed) for seed in settings.seeds]
    heads = fit_heads(features, problems, len(store.classes), settings)
    readouts: list[Readout] = []
    for split, views in tests.items():
        for place, seed in enumerate(settings.seeds):
            shares = heads.probabilities(features, views.rows, place)
            readouts += [
                Readout("probe", split, lr, seed, shares[i]) for i, lr in enumerate(settings.lrs)
            ]
        readouts += _neighbours(train, views, split, len(store.classes))
    result = _scored(store, readouts, tests, settings, metrics, compat)
    result.counts = {"train": _counts(train, store), **result.counts}
    if twice:
        result.notes.append("the validation list is the test list: nothing was chosen by it")
    place = settings.lrs.index(result.lr)
    result.head = heads.weight[0, place], heads.bias[0, place]
    return result


def cross_validate(
    store: FeatureStore,
    settings: ProbeSettings,
    *,
    folds: int | None = None,
    split: str = "train",
    group: str | None = None,
    metrics: Sequence[str] = DEFAULT_METRICS,
    compat: str = "upstream",
) -> ProbeResult:
    """Leave samples out in turn, train on the others, score those.

    Args:
        store: The features.
        settings: How heads are trained.
        folds: Number of folds, drawn by the first seed; None leaves out one sample at a time.
        split: Whose samples.
        group: Regular expression on the names of the videos; samples for which it finds the same
            (its first group, if it has one) are left out together.
        metrics: See :func:`uas_swin.metrics.evaluate`.
        compat: See :func:`uas_swin.metrics.evaluate`.

    Raises:
        UserError: Too few samples or groups.
    """
    kinds = store.kinds(split)
    fixed = [kind for kind in kinds if not kind.startswith(RANDOM)] or kinds
    train, test = store.views(split), store.views(split, fixed)
    parts = folds_of(train, folds, group, settings.seeds[0])
    settings.check_steps(len(train) - max(map(len, parts)))
    features, k = store.in_memory(), len(store.classes)
    shape = (len(settings.seeds), len(settings.lrs), len(train), k)
    shares = np.zeros(shape, dtype=np.float32)
    near = {n: np.zeros((len(train), k), dtype=np.float32) for n in NEIGHBOURS}
    everything = np.arange(len(train))
    by_size: dict[int, list[NDArray[np.int64]]] = {}
    for out in parts:  # folds of one size are trained together
        by_size.setdefault(len(out), []).append(out)
    for outs in by_size.values():
        kept = [np.setdiff1d(everything, out) for out in outs]
        problems = [
            Problem([train.rows[i] for i in rest], train.labels[rest], seed)
            for rest in kept
            for seed in settings.seeds
        ]
        heads: Heads = fit_heads(features, problems, k, settings)
        for place, (out, rest) in enumerate(zip(outs, kept, strict=True)):
            for s in range(len(settings.seeds)):
                rows = [test.rows[i] for i in out]
                own = heads.probabilities(features, rows, place * len(settings.seeds) + s)
                shares[s][:, out] = own
            for readout in _neighbours(test.of(rest), test.of(out), "folds", k):
                near[int(readout.name.split()[0])][out] = readout.scores
    readouts = [
        Readout("probe", "folds", lr, seed, shares[s, i])
        for s, seed in enumerate(settings.seeds)
        for i, lr in enumerate(settings.lrs)
    ]
    readouts += [
        Readout(_neighbour_name(n), "folds", float("nan"), -1, near[n])
        for n in NEIGHBOURS
        if n < len(train)
    ]
    result = _scored(store, readouts, {"folds": test}, settings, metrics, compat)
    what = f"{len(parts)} folds" if folds else "one sample at a time"
    what = f"{len(parts)} groups by {group!r}" if group and not folds else what
    result.notes.append(f"left out: {what}, of {len(train)} samples of {split}")
    return result


def refuse_used(out: str | Path) -> Path:
    """The folder of a new probe.

    Raises:
        UserError: It has a probe already, or is no folder.
    """
    out = Path(out)
    if (out / "probe.json").exists() or (out / "head").exists():
        raise UserError(f"{out}: has a probe already; give another --out")
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; give a folder as --out")
    return out


def write_result(
    result: ProbeResult, store: FeatureStore, settings: ProbeSettings, out: str | Path
) -> Path:
    """Write tables, confusion, settings and the head.

    Raises:
        UserError: The folder has a head already, or cannot be written.
    """
    import torch

    from uas_swin.heads import save_head

    out = refuse_used(out)
    details = {
        "features": str(store.folder.resolve()),
        "fingerprint": store.about["fingerprint"],
        "checkpoint": store.about["checkpoint"],
        "config": store.about["config"],
        "settings": asdict(settings),
        "chosen_lr": result.lr,
        "classes": result.classes,
        "class_counts": result.counts,
        "notes": result.notes,
    }
    if result.head is not None:
        weight, bias = (torch.from_numpy(np.ascontiguousarray(part)) for part in result.head)
        backbone = {
            "checkpoint": store.about["checkpoint"],
            "fingerprint": store.about["weights"],
        }
        named = result.classes if store.about.get("classes") else None
        save_head(out / "head", weight, bias, backbone, named, {"probe": details})
    for split, evaluation in result.best.items():
        evaluation.write(out, f"evaluation_{split}")
    write_table(result.table, out / "scores.csv")
    write_table(_predictions(result), out / "predictions.csv")
    write_json(details, out / "probe.json")
    return out


def _scored(
    store: FeatureStore,
    readouts: list[Readout],
    tests: dict[str, Views],
    settings: ProbeSettings,
    metrics: Sequence[str],
    compat: str,
) -> ProbeResult:
    rows: list[dict[str, Any]] = []
    found: dict[tuple[str, float, int], Evaluation] = {}
    for readout in readouts:
        evaluation = evaluate(
            readout.scores,
            tests[readout.split].labels,
            metrics,
            class_names=store.classes,
            num_classes=len(store.classes),
            compat=compat,
        )
        if readout.name == "probe":
            found[readout.split, readout.lr, readout.seed] = evaluation
        rows += [
            {
                "split": readout.split,
                "readout": readout.name,
                "lr": readout.lr,
                "seed": readout.seed,
                "metric": metric,
                "value": value,
            }
            for metric, value in evaluation.scores.items()
        ]
    for split, views in tests.items():
        rows.append(_majority(split, views, len(store.classes)))
    lr = _chosen(found, settings)
    return ProbeResult(
        pd.DataFrame(rows),
        readouts,
        {split: views.labels for split, views in tests.items()},
        {split: views.names for split, views in tests.items()},
        store.classes,
        {split: _counts(views, store) for split, views in tests.items()},
        lr,
        {split: found[split, lr, settings.seeds[0]] for split in tests},
    )


def _chosen(found: dict[tuple[str, float, int], Evaluation], settings: ProbeSettings) -> float:
    """The rate with the highest mean class accuracy on the validation list, if there is one."""
    splits = {split for split, _, _ in found}
    if "val" not in splits or len(settings.lrs) == 1:
        return settings.lrs[0]

    def quality(lr: float) -> float:
        own = [found["val", lr, seed] for seed in settings.seeds]
        return float(np.mean([np.nanmean(evaluation.class_recall) for evaluation in own]))

    return max(settings.lrs, key=quality)


def _majority(split: str, views: Views, n_classes: int) -> dict[str, Any]:
    share = np.bincount(views.labels, minlength=n_classes).max() / len(views)
    return {"split": split, "readout": "most frequent class", "lr": float("nan"), "seed": -1,
            "metric": "top1", "value": float(share)}  # fmt: skip


def _neighbours(train: Views, test: Views, split: str, n_classes: int) -> list[Readout]:
    own, others = train.means(), test.means()
    return [
        Readout(
            _neighbour_name(n),
            split,
            float("nan"),
            -1,
            nearest_neighbours(own, train.labels, others, n, n_classes),
        )
        for n in NEIGHBOURS
        if n <= len(train)
    ]


def _neighbour_name(n: int) -> str:
    return f"{n} neighbour" + "s" * (n > 1)


def _counts(views: Views, store: FeatureStore) -> list[int]:
    return np.bincount(views.labels, minlength=len(store.classes)).tolist()


def _predictions(result: ProbeResult) -> pd.DataFrame:
    """A row per scored sample, of the chosen probe."""
    parts = []
    chosen: dict[str, Readout] = {}
    for readout in result.readouts:
        if readout.name == "probe" and readout.lr == result.lr:
            chosen.setdefault(readout.split, readout)
    classes = np.array(result.classes, dtype=object)
    for split, readout in chosen.items():
        guess = readout.scores.argmax(axis=1)
        parts.append(
            pd.DataFrame(
                {
                    "split": split,
                    "video": result.names[split],
                    "label": classes[result.labels[split]],
                    "predicted": classes[guess],
                    "probability": readout.scores.max(axis=1).round(6),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)
