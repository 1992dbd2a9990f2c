"""HYSP: an online network predicts what its slowly moving copy sees of another view."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from hysp.compat import check_compat
from hysp.ema import update_average
from hysp.model.config import ModelConfig
from hysp.model.mlp import MLP, refuse_batch_of_one
from hysp.model.output import PairOutput
from hysp.model.pairs import symmetric_output
from hysp.model.stgcn import STGCN


class HYSP(nn.Module):
    """Hyperbolic self-paced learning (Franco et al., ICLR 2023), on the frame of BYOL.

    The target runs in the mode of the whole module: in training it has dropout, batch statistics
    and running statistics of its own.

    Args:
        config: Options.
        compat: Which distance, see :func:`hysp.hyperbolic.distance`.

    Raises:
        UserError: A graph that cannot be.
    """

    def __init__(self, config: ModelConfig, compat: str = "paper") -> None:
        super().__init__()
        check_compat(compat)
        self.config, self.compat = config, compat
        projection, prediction = config.projection_hidden_size, config.predictor_hidden_size
        self.online_encoder = STGCN(config.encoder)
        self.online_projector = MLP(config.encoder.out_channels, projection)
        self.online_predictor = MLP(projection[-1], prediction)
        self.target_encoder = deepcopy(self.online_encoder).requires_grad_(False)
        self.target_projector = deepcopy(self.online_projector).requires_grad_(False)

    def forward(self, strong: Tensor, weak: Tensor, lam: float) -> PairOutput:
        """Losses of pairs of views.

        Every pass sees one view, so that batch statistics are of one view too; their order is
        that of the published code, which counts for dropout.

        Args:
            strong: (N, C, T, V, M).
            weak: (N, C, T, V, M).
            lam: Share of the hyperbolic loss.

        Raises:
            UserError: One sequence in training mode, or another shape than the network's.
        """
        refuse_batch_of_one(strong, self.training)
        seen_strong = self.online_encoder(strong)
        seen_weak = self.online_encoder(weak)
        q1 = self.online_predictor(self.online_projector(seen_strong))
        q2 = self.online_predictor(self.online_projector(seen_weak))
        with torch.no_grad():
            k1 = self.target_projector(self.target_encoder(strong))
            k2 = self.target_projector(self.target_encoder(weak))
        return symmetric_output((q1, q2), (k1, k2), lam, self.config, self.compat)

    def update_target(self, decay: float | None = None) -> None:
        """Move the target's parameters (not its statistics) towards the online network's.

        It belongs after the forward pass and before the optimiser's step: the target then
        follows the weights that made the loss.

        Args:
            decay: Share that the target keeps; None takes the configured one.
        """
        beta = self.config.moving_average_decay if decay is None else decay
        targets = [*self.target_encoder.parameters(), *self.target_projector.parameters()]
        online = [*self.online_encoder.parameters(), *self.online_projector.parameters()]
        update_average(targets, online, beta)
