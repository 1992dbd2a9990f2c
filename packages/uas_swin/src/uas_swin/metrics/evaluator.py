"""The metrics as an evaluator of mmengine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.registry import METRICS as REGISTRY

from behaviorzoo.errors import UserError
from uas_swin.compat import check_compat
from uas_swin.metrics.evaluate import DEFAULT_METRICS, Evaluation, check_metrics, evaluate


@REGISTRY.register_module()
class UasAccuracy(BaseMetric):
    """Scores of recognisers; knows the class names of the data set (its ``metainfo``).

    Keys come out as ``acc/top1``, ``acc/top5``, ``acc/mean1`` and so on. The whole evaluation, with
    the confusion matrix and the class counts, stays in ``evaluation``.

    Args:
        metric_list: Some of :data:`uas_swin.metrics.evaluate.METRICS`.
        topk: The k of the top-k metrics.
        num_classes: See :func:`~uas_swin.metrics.evaluate.evaluate`.
        compat: ``upstream`` or ``corrected``.
        class_names: Instead of those of the data set.
        out_dir: Folder for ``evaluation.json`` and ``evaluation_confusion.csv``; None for none.
        collect_device: See mmengine.
        prefix: See mmengine.

    Raises:
        UserError: An unknown metric or ``compat``, or a k below 1.
    """

    default_prefix = "acc"

    def __init__(
        self,
        metric_list: str | Sequence[str] = DEFAULT_METRICS,
        topk: int | Sequence[int] = (1, 5),
        num_classes: int | None = None,
        compat: str = "upstream",
        class_names: Sequence[str] | None = None,
        out_dir: str | None = None,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.metrics = (metric_list,) if isinstance(metric_list, str) else tuple(metric_list)
        self.topk = (topk,) if isinstance(topk, int) else tuple(topk)
        if not self.topk or min(self.topk) < 1:
            raise UserError(f"topk={topk}: numbers of classes from 1, such as topk=1,5")
        check_metrics(self.metrics)
        check_compat(compat)
        self.num_classes, self.compat, self.class_names = num_classes, compat, class_names
        self.out_dir = out_dir
        self.evaluation: Evaluation | None = None

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Keep scores and labels of a batch.

        Both names of the fields are known: those of mmaction2 1.1 and of 1.2.
        """
        for sample in data_samples:
            scores = _field(sample, "pred_scores", "pred_score")
            label = _field(sample, "gt_labels", "gt_label")
            self.results.append((scores.astype(np.float32), label))

    def compute_metrics(self, results: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
        """Evaluate everything."""
        if not results:
            raise UserError("there is no sample to evaluate; check the list of the test data")
        scores = np.stack([score for score, _ in results])
        labels = np.stack([label for _, label in results])
        if labels.shape[1] == 1 and np.issubdtype(labels.dtype, np.integer):
            labels = labels[:, 0]
        meta = self.dataset_meta or {}
        self.evaluation = evaluate(
            scores,
            labels,
            self.metrics,
            topk=self.topk,
            class_names=self.class_names or meta.get("classes") or None,
            num_classes=self.num_classes or meta.get("num_classes"),
            compat=self.compat,
        )
        print_log("\n" + self.evaluation.table(), logger="current")
        if self.out_dir is not None:
            self.evaluation.write(self.out_dir)
        return dict(self.evaluation.scores)


def _field(sample: Mapping[str, Any], *names: str) -> np.ndarray:
    """The first of the fields that the sample has, as an array with one axis."""
    for name in names:
        if name in sample:
            value = sample[name]
            value = value["item"] if isinstance(value, Mapping) else value
            return np.atleast_1d(np.asarray(value.cpu()))
    raise UserError(f"a prediction has none of the fields {', '.join(names)}")
