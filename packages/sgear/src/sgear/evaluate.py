"""From stored results to the figures of the tables.

Keys are those that training logs: ``final_acc/<type>/top1``, ``top1_meanOverClasses``, ``top5``,
``AR5`` (class-mean recall at 5), ``AR5_manyshot``, and for EPIC-100 ``AR5_tail`` and
``AR5_unseen``. All figures are percent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from behaviorzoo.errors import UserError
from sgear.ek_metrics import EPIC55, EPIC100, Subsets, epic100_subsets, many_shot_classes
from sgear.evaluation_set import EvaluationSet
from sgear.marginalise import ClassMappings, space_scores
from sgear.scores import Accuracy, Ranking, rank_true_classes

if TYPE_CHECKING:
    from sgear.results import Results

COLUMNS = {
    "top1": "top-1",
    "top5": "top-5",
    "top1_meanOverClasses": "class mean top-1",
    "AR5": "recall@5",
    "AR5_manyshot": "many-shot",
    "AR5_tail": "tail",
    "AR5_unseen": "unseen",
}
"""Key of a figure -> heading in the printed table."""


@dataclass
class Evaluation:
    """Figures of one set of scores.

    Attributes:
        metrics: ``final_acc/<type>/<figure>`` -> percent, nan where nothing counts.
        accuracies: Label type -> all figures, those of every class too.
        primary: Key of the figure that a data set is known by.
        n_items: Items with scores.
        notes: What the reader should know.
    """

    metrics: dict[str, float]
    accuracies: dict[str, Accuracy]
    primary: str
    n_items: int
    notes: list[str] = field(default_factory=list)

    @property
    def frame(self) -> pd.DataFrame:
        """A row per label type, a column per figure that occurs."""
        rows = []
        for space in self.accuracies:
            row: dict[str, Any] = {"": space}
            for key, heading in COLUMNS.items():
                row[heading] = self.metrics.get(f"final_acc/{space}/{key}", math.nan)
            rows.append(row)
        table = pd.DataFrame(rows)
        empty = [name for name in COLUMNS.values() if bool(table[name].isna().all())]
        return table.drop(columns=empty)

    @property
    def table(self) -> str:
        """The figures as text, one decimal; a sentence where there are none."""
        if not self.accuracies:
            return "no labels, no figures"
        frame = self.frame
        cells = [[str(name) for name in frame]]
        for row in frame.itertuples(index=False):
            cells.append([v if isinstance(v, str) else _decimal(v) for v in row])
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
            for row in cells
        ]
        return "\n".join(lines)


def evaluate(
    results: Results,
    dataset_table: pd.DataFrame,
    classes: Mapping[str, Mapping[str, int]],
    version: float | None = None,
    rulstm_dir: str | Path | None = None,
    *,
    class_mappings: ClassMappings | None = None,
) -> Evaluation:
    """Evaluate stored results against the items of a data set.

    Args:
        results: Of :func:`sgear.results.read_results`.
        dataset_table: The items; ``results.idx`` are its rows.
        classes: Label type -> {name: id}.
        version: 0.1 for EPIC-55, 0.2 for EPIC-100.
        rulstm_dir: Folder with the lists of tail, unseen and many-shot.
        class_mappings: ``("verb", "action")`` -> 0/1 matrix, for verbs and nouns of actions.

    Raises:
        UserError: Results that do not belong to the items.
    """
    items = EvaluationSet(
        table=dataset_table,
        classes={kind: dict(names) for kind, names in classes.items()},
        mappings={key: np.asarray(value) for key, value in (class_mappings or {}).items()},
        version=version,
        lists=None if rulstm_dir is None else Path(rulstm_dir),
    )
    return evaluate_results(results, items)


def evaluate_results(results: Results, items: EvaluationSet) -> Evaluation:
    """Evaluate stored results, see :func:`evaluate`."""
    chosen, notes = items_of(results, items)
    scores = space_scores(results.logits, items.mappings)
    evaluation = evaluate_scores(scores, chosen, heads=tuple(results.logits))
    evaluation.notes = [*results.notes, *notes, *evaluation.notes]
    return evaluation


def items_of(results: Results, items: EvaluationSet) -> tuple[EvaluationSet, list[str]]:
    """The items that results belong to, in their order; and a note where some have none.

    Raises:
        UserError: An index beyond the items, or other uids or targets than theirs.
    """
    number = len(items.table)
    if len(results.idx) and results.idx[-1] >= number:
        raise UserError(
            f"{results.where}: results of item {int(results.idx[-1])}, but the data set has "
            f"{number} items; were they made with other annotations?"
        )
    chosen = replace(items, table=items.table.iloc[results.idx].reset_index(drop=True))
    for space, target in results.targets.items():
        labels = chosen.labels(space)
        if labels is not None and not np.array_equal(labels, target):
            at = int((labels != target).argmax())
            raise UserError(
                f"{results.where}: item {int(results.idx[at])} was stored with the {space} "
                f"{int(target[at])}, the data set says {int(labels[at])}; were they made with "
                "other annotations?"
            )
    missing = number - len(results.idx)
    notes = [f"{missing} of {number} items have no stored result and do not count"] * bool(missing)
    return chosen, notes


def evaluate_scores(
    scores: Mapping[str, np.ndarray],
    items: EvaluationSet,
    *,
    heads: Sequence[str] | None = None,
    many_shot: Mapping[str, set[int]] | None = None,
    may_lack_labels: bool = False,
) -> Evaluation:
    """Evaluate scores of every space.

    Args:
        scores: Space -> (N, C), a row for each item.
        items: The items, with labels.
        heads: Spaces that the network has a head for (default: all); but for EPIC-55, the
            many-shot figure of a space that was marginalised is nan, as in the original.
        many_shot: Space -> its many-shot classes; default: of the lists for EPIC-55, else all.
        may_lack_labels: Give no figures where there is no label (test sets), instead of refusing.

    Raises:
        UserError: Scores and items do not fit, or there is no label at all.
    """
    heads = tuple(scores) if heads is None else heads
    notes: list[str] = []
    subsets = Subsets()
    if items.version == EPIC100:
        subsets = epic100_subsets(items.table, items.lists)
        notes += subsets.notes
    if many_shot is None and items.version == EPIC55:
        many_shot = _epic55_many_shot(items, notes)
    metrics: dict[str, float] = {}
    accuracies: dict[str, Accuracy] = {}
    for space, values in scores.items():
        labels = items.labels(space)
        if labels is None:
            notes.append(f"the items have no {space} labels")
            continue
        ranking = rank_true_classes(values, labels, f"{items.where}, {space}")
        if ranking.unlabelled:
            notes.append(f"{ranking.unlabelled} of {len(labels)} items have no {space} label")
        if not len(ranking.labels):
            continue
        accuracies[space] = ranking.accuracy()
        own = _figures(space, ranking, accuracies[space], labels, subsets)
        if many_shot is not None and items.version == EPIC55:
            chosen = many_shot.get(space)
            own["AR5_manyshot"] = math.nan if chosen is None else ranking.accuracy(chosen).recall5
        else:
            known = space in heads and items.version != EPIC55
            own["AR5_manyshot"] = accuracies[space].recall5 if known else math.nan
        metrics.update({f"final_acc/{space}/{name}": value for name, value in own.items()})
    if not accuracies and not may_lack_labels:
        raise UserError(f"{items.where}: no item has a label, so there is nothing to score")
    return Evaluation(metrics, accuracies, primary_metric(items.version), len(items.table), notes)


def primary_metric(version: float | None, space: str = "action") -> str:
    """The figure that chooses checkpoints: class-mean recall for EPIC-100, else top-1."""
    return f"final_acc/{space}/{'AR5' if version == EPIC100 else 'top1'}"


def mean_over_folds(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Figures averaged over folds, as 50 Salads and Breakfast are reported.

    A figure that is nan in a fold is nan.

    Raises:
        UserError: There is no fold, or the folds have other figures.
    """
    if not evaluations:
        raise UserError("no fold to average over")
    first = evaluations[0]
    for number, other in enumerate(evaluations[1:], start=2):
        if other.metrics.keys() != first.metrics.keys():
            raise UserError(f"fold {number} has other figures than fold 1")

    def mean(values: list[float]) -> float:
        return float(np.mean(values))

    metrics = {key: mean([e.metrics[key] for e in evaluations]) for key in first.metrics}
    accuracies = {
        space: Accuracy(
            top1=mean([e.accuracies[space].top1 for e in evaluations]),
            top5=mean([e.accuracies[space].top5 for e in evaluations]),
            recall5=mean([e.accuracies[space].recall5 for e in evaluations]),
            top1_class_mean=mean([e.accuracies[space].top1_class_mean for e in evaluations]),
            recall5_per_class={},
        )
        for space in first.accuracies
    }
    notes = [f"mean over {len(evaluations)} folds", *first.notes]
    return Evaluation(
        metrics, accuracies, first.primary, sum(e.n_items for e in evaluations), notes
    )


def _figures(
    space: str, ranking: Ranking, accuracy: Accuracy, labels: np.ndarray, subsets: Subsets
) -> dict[str, float]:
    found = {
        "top1": accuracy.top1,
        "top1_meanOverClasses": accuracy.top1_class_mean,
        "top5": accuracy.top5,
        "AR5": accuracy.recall5,
    }
    for (name, of), mask in subsets.masks.items():
        if of == space:
            chosen = ranking.select(mask[labels >= 0])
            found[f"AR5_{name}"] = chosen.accuracy().recall5
    return found


def _epic55_many_shot(items: EvaluationSet, notes: list[str]) -> dict[str, set[int]] | None:
    verbs, nouns = items.parts("verb"), items.parts("noun")
    if verbs is None or nouns is None:
        notes.append("no many-shot figures: the verbs and nouns of the actions are not known")
        return None
    found = many_shot_classes(items.lists, verbs, nouns)
    if found is None:
        notes.append("no many-shot figures: no EPIC_many_shot_verbs.csv and ..._nouns.csv")
    return found


def _decimal(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"
