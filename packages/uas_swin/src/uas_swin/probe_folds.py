"""Which samples a cross-validation leaves out together."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from behaviorzoo.errors import UserError
from uas_swin.feature_store import Views


def folds_of(
    views: Views, folds: int | None, group: str | None, seed: int
) -> list[NDArray[np.int64]]:
    """Samples that are left out together.

    Args:
        views: The samples.
        folds: Number of folds; None leaves out one sample, or group, at a time.
        group: Regular expression on names, see :func:`uas_swin.probe.cross_validate`.
        seed: Decides how groups are dealt out.

    Raises:
        UserError: Too few samples or groups, or an expression that does not do.
    """
    names = [str(i) if group is None else _group(n, group) for i, n in enumerate(views.names)]
    _, codes = np.unique(names, return_inverse=True)
    n_groups = int(codes.max()) + 1
    if n_groups < 2 or (folds is not None and not 2 <= folds <= n_groups):
        raise UserError(
            f"{n_groups} samples (or groups) cannot be parted into "
            f"{folds or 'single'} folds; take from 2 to their number"
        )
    if folds is not None:  # groups are dealt out, class by class, so that folds are alike
        draw = np.random.default_rng(seed)
        first = np.array([np.flatnonzero(codes == g)[0] for g in range(n_groups)])
        order = np.lexsort([draw.random(n_groups), views.labels[first]])
        of_group = np.empty(n_groups, dtype=np.int64)
        of_group[order] = np.arange(n_groups) % folds
        codes = of_group[codes]
    return [np.flatnonzero(codes == fold) for fold in range(int(codes.max()) + 1)]


def _group(name: str, pattern: str) -> str:
    try:
        match = re.search(pattern, name)
    except re.error as error:
        raise UserError(f"--group {pattern!r}: no regular expression ({error})") from error
    if match is None:
        raise UserError(f"{name}: --group {pattern!r} does not match; mend the expression")
    return match[1] if match.groups() else match[0]
