"""SkeletonCLR: momentum contrast on skeletons (Li et al., CVPR 2021), Euclidean or hyperbolic."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from hysp.compat import check_compat
from hysp.contrast import euclidean_nce, mixed_nce
from hysp.ema import update_average
from hysp.hyperbolic import at_least_single
from hysp.model.config import ModelConfig
from hysp.model.mlp import MLP, refuse_batch_of_one
from hysp.model.output import PairOutput
from hysp.model.stgcn import STGCN

INITIAL_STD = 0.02
"""Of the weights of the Euclidean variant."""


class SkeletonCLR(nn.Module):
    """Queries of one view find their keys among a queue of older keys.

    Args:
        config: Options; ``hyper`` contrasts by distances in the ball as well.
        compat: ``upstream`` leaves the hyperbolic variant's target as it was born, as the
            public code does; ``paper`` moves it as the Euclidean one's.

    Raises:
        UserError: A graph that cannot be.
    """

    queue: Tensor

    def __init__(self, config: ModelConfig, compat: str = "paper") -> None:
        super().__init__()
        check_compat(compat)
        self.config, self.compat = config, compat
        projection = config.projection_hidden_size
        self.online_encoder = STGCN(config.encoder)
        self.online_projector = MLP(config.encoder.out_channels, projection)
        queue = torch.randn(projection[-1], config.queue_size)
        if not config.hyper:
            self.online_encoder.apply(initialise)
            self.online_projector.apply(initialise)
            queue = normalize(queue, dim=0)
        self.target_encoder = deepcopy(self.online_encoder).requires_grad_(False)
        self.target_projector = deepcopy(self.online_projector).requires_grad_(False)
        self.register_buffer("queue", queue)

    @property
    def follows(self) -> bool:
        """Whether the target follows the online network."""
        return not (self.config.hyper and self.compat == "upstream")

    def forward(self, strong: Tensor, weak: Tensor, lam: float) -> PairOutput:
        """Contrast of pairs of views; in training the target moves and the queue takes the keys.

        Args:
            strong: (N, C, T, V, M) view of the queries.
            weak: (N, C, T, V, M) view of the keys.
            lam: Share of the hyperbolic contrast; ignored by the Euclidean variant.

        Returns:
            Scalar losses, queries and keys.

        Raises:
            UserError: One sequence in training mode, or another shape than the network's.
        """
        refuse_batch_of_one(strong, self.training)
        q = at_least_single(self.online_projector(self.online_encoder(strong)))
        if self.training and self.follows:
            self.update_target()
        with torch.no_grad():
            k = at_least_single(self.target_projector(self.target_encoder(weak)))
        output = self._hyperbolic(q, k, lam) if self.config.hyper else self._euclidean(q, k)
        if self.training:
            self.enqueue(output.k)
        return output

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Keys (N, D) of all processes in, the oldest out."""
        fresh = gathered(keys).T.to(self.queue.dtype)
        self.queue.copy_(torch.cat([self.queue, fresh], dim=1)[:, -self.queue.shape[1] :])

    def update_target(self, decay: float | None = None) -> None:
        """Move the target's parameters towards the online network's.

        Args:
            decay: Share that the target keeps; None takes the configured one.
        """
        beta = self.config.moving_average_decay if decay is None else decay
        targets = [*self.target_encoder.parameters(), *self.target_projector.parameters()]
        online = [*self.online_encoder.parameters(), *self.online_projector.parameters()]
        update_average(targets, online, beta)

    def _euclidean(self, q: Tensor, k: Tensor) -> PairOutput:
        q, k = normalize(q, dim=1), normalize(k, dim=1)
        # The queue changes in place after this, while the gradient still needs what it was.
        loss = euclidean_nce(q, k, self.queue.clone(), self.config.temperature)
        return PairOutput(loss, q, k)

    def _hyperbolic(self, q: Tensor, k: Tensor, lam: float) -> PairOutput:
        options = (self.config.temperature, self.config.hyper_c, self.compat)
        loss, euclidean, hyperbolic = mixed_nce(q, k, self.queue.clone(), lam, *options)
        return PairOutput(loss, q, k, euclidean, hyperbolic)


def initialise(module: nn.Module) -> None:
    """Small random weights, as SkeletonCLR starts."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, INITIAL_STD)
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, INITIAL_STD)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def gathered(keys: Tensor) -> Tensor:
    """Keys (N, D) of all processes, (N * processes, D), the same everywhere."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return keys
    parts = [torch.empty_like(keys) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, keys.contiguous())
    return torch.cat(parts)
