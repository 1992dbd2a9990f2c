"""Linear probes from sufficient statistics.

A ridge probe needs its training frames only through sums: the Gram matrix, the sums of the
features and the counts, per class. :mod:`~behaviorzoo.probes.sums` collects them in one pass,
:mod:`~behaviorzoo.probes.ridge` solves every task, penalty and split from them,
:mod:`~behaviorzoo.probes.selection` chooses the penalties by F1 on left-out training recordings,
and :mod:`~behaviorzoo.probes.protocol` makes the whole comparison of levels and tasks.
"""

from behaviorzoo.probes.protocol import ProbeResult, probe
from behaviorzoo.probes.ridge import (
    LinearModels,
    choose_penalties,
    choose_value_penalty,
    fit_binary,
    fit_classes,
    fit_one_vs_rest,
    fit_values,
)
from behaviorzoo.probes.settings import ProbeSettings
from behaviorzoo.probes.splits import Split, make_split
from behaviorzoo.probes.sums import ClassTask, ProbeSums, ValueTask

__all__ = [
    "ClassTask",
    "LinearModels",
    "ProbeResult",
    "ProbeSettings",
    "ProbeSums",
    "Split",
    "ValueTask",
    "choose_penalties",
    "choose_value_penalty",
    "fit_binary",
    "fit_classes",
    "fit_one_vs_rest",
    "fit_values",
    "make_split",
    "probe",
]
