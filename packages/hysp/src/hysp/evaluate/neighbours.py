"""Classes by the votes of the nearest training samples.

Letters: N known samples, Q asked ones, C classes, D features, k neighbours.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from behaviorzoo.errors import UserError
from hysp.hyperbolic import distance_of_gap, exp_map

ROWS_AT_ONCE = 512


@torch.no_grad()
def neighbour_votes(
    known: Tensor,
    labels: Tensor,
    asked: Tensor,
    n_classes: int,
    *,
    neighbours: int = 1,
    temperature: float = 0.07,
    hyper: bool = False,
) -> Tensor:
    """Logarithm of the votes for every class.

    Args:
        known: Training features (N, D).
        labels: int64 (N,).
        asked: Test features (Q, D).
        n_classes: C.
        neighbours: k; each has ``exp(similarity / temperature)`` votes for its class.
        temperature: See above.
        hyper: The similarity is minus the Poincare distance of the mapped features, else the
            cosine of the angle between them.

    Returns:
        float64 (Q, C); a class without a neighbour follows by its own nearest sample, behind all
        that have one, so that the order of classes goes on.

    Raises:
        UserError: More neighbours than training samples.
    """
    if neighbours > len(known):
        raise UserError(f"neighbours={neighbours}, but there are {len(known)} training samples")
    known, asked = (exp_map(x) if hyper else normalize(x.double(), dim=1) for x in (known, asked))
    parts = [_votes(known, labels, part, n_classes, neighbours, temperature, hyper)
             for part in asked.split(ROWS_AT_ONCE)]  # fmt: skip
    return torch.cat(parts)


def _votes(
    known: Tensor,
    labels: Tensor,
    asked: Tensor,
    n_classes: int,
    neighbours: int,
    temperature: float,
    hyper: bool,
) -> Tensor:
    similarity = _similarity(known, asked, hyper) / temperature  # (q, N)
    found = similarity.topk(neighbours, dim=1)
    votes = similarity.new_full((len(asked), n_classes), -torch.inf)
    classes = labels[found.indices]
    # log(sum(exp)) class by class, from the largest on: no vote overflows.
    top = found.values[:, :1]
    shares = torch.zeros_like(votes).scatter_add_(1, classes, (found.values - top).exp())
    votes = torch.where(shares > 0, shares.log() + top, votes)
    nearest = votes.new_full(votes.shape, -torch.inf).scatter_reduce_(
        1, labels.expand(len(asked), -1), similarity, "amax"
    )
    last = votes.masked_fill(shares == 0, torch.inf).amin(1, keepdim=True)
    behind = torch.minimum(nearest, last) - 1.0
    # A class of no training sample is last of all, by a number that files and sums can hold.
    return torch.where(shares > 0, votes, behind.clamp_min(-1e30))


def _similarity(known: Tensor, asked: Tensor, hyper: bool) -> Tensor:
    inner = asked @ known.T
    if not hyper:
        return inner
    a, b = asked.square().sum(1, keepdim=True), known.square().sum(1)
    return -distance_of_gap((a + b - 2 * inner).clamp_min(0), a, b)
