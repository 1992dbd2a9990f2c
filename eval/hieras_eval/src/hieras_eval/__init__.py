"""Hierarchical action segmentation probes for frame embeddings."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hieras_eval.benchmarks import Benchmark, Task, load_benchmark
    from hieras_eval.label_files import LabelFile, open_labels
    from hieras_eval.protocol import Evaluation, evaluate
    from hieras_eval.submissions import Submission, check_submission, open_submission
    from hieras_eval.truth import Truth, read_truth

try:
    __version__ = version("behaviorzoo-hieras-eval")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"

_HOMES = {
    "Benchmark": "benchmarks",
    "Task": "benchmarks",
    "load_benchmark": "benchmarks",
    "LabelFile": "label_files",
    "open_labels": "label_files",
    "Evaluation": "protocol",
    "evaluate": "protocol",
    "Submission": "submissions",
    "check_submission": "submissions",
    "open_submission": "submissions",
    "Truth": "truth",
    "read_truth": "truth",
}

__all__ = [  # noqa: RUF022 (in the order of use)
    "open_labels",
    "LabelFile",
    "load_benchmark",
    "Benchmark",
    "Task",
    "read_truth",
    "Truth",
    "open_submission",
    "check_submission",
    "Submission",
    "evaluate",
    "Evaluation",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for: the import of the package itself needs nothing."""
    if name in _HOMES:
        return getattr(import_module(f"hieras_eval.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
