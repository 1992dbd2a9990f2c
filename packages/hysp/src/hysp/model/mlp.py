"""Projectors and predictors: a small stack of layers on top of the embedding."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from behaviorzoo.errors import UserError


class MLP(nn.Module):
    """Linear, batch norm and ReLU for every width but the last, which is linear only.

    Args:
        in_features: Features of the input.
        sizes: Width of each layer.
    """

    def __init__(self, in_features: int, sizes: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for size in sizes[:-1]:
            layers += [nn.Linear(in_features, size), nn.BatchNorm1d(size), nn.ReLU()]
            in_features = size
        self.net = nn.Sequential(*layers, nn.Linear(in_features, sizes[-1]))

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_features) to (N, sizes[-1])."""
        return self.net(x)


def refuse_batch_of_one(x: Tensor, training: bool) -> None:
    """Batch statistics of a single sequence are none.

    Raises:
        UserError: One sequence, in training mode.
    """
    if training and len(x) == 1:
        raise UserError("training: a batch of one sequence has no statistics; use at least two")
