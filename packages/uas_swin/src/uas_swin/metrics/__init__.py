"""How good predictions are, by the original's rules and by mended ones.

The evaluator for mmengine is :class:`uas_swin.metrics.evaluator.UasAccuracy`; importing that
module registers it (and needs mmengine, which this one does not).
"""

from uas_swin.metrics.accuracy import (
    Confusion,
    confusion_matrix,
    in_top_k,
    macro_top_k_accuracy,
    mean_class_accuracy,
    micro_macro_accuracy,
    micro_top_k_accuracy,
    top_k_accuracy,
)
from uas_swin.metrics.evaluate import (
    DEFAULT_METRICS,
    METRICS,
    Evaluation,
    check_metrics,
    check_metrics_fit,
    evaluate,
)
from uas_swin.metrics.precision import (
    PrecisionRecall,
    average_precisions,
    mean_average_precision,
    mmit_mean_average_precision,
    precision_recall_curve,
)

__all__ = [
    "DEFAULT_METRICS",
    "METRICS",
    "Confusion",
    "Evaluation",
    "PrecisionRecall",
    "average_precisions",
    "check_metrics",
    "check_metrics_fit",
    "confusion_matrix",
    "evaluate",
    "in_top_k",
    "macro_top_k_accuracy",
    "mean_average_precision",
    "mean_class_accuracy",
    "micro_macro_accuracy",
    "micro_top_k_accuracy",
    "mmit_mean_average_precision",
    "precision_recall_curve",
    "top_k_accuracy",
]
