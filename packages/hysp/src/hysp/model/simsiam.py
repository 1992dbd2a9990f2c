"""SimSiam on skeletons: two views, one network, no moving copy (Chen & He, CVPR 2021)."""

from __future__ import annotations

from torch import Tensor, nn

from hysp.compat import check_compat
from hysp.model.config import ModelConfig
from hysp.model.mlp import MLP, refuse_batch_of_one
from hysp.model.output import PairOutput
from hysp.model.pairs import symmetric_output
from hysp.model.stgcn import STGCN


class SimSiam(nn.Module):
    """SimSiam with the losses of HYSP.

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

    def forward(self, strong: Tensor, weak: Tensor, lam: float) -> PairOutput:
        """Losses of pairs of views; the projections of the other view are the targets.

        Args:
            strong: (N, C, T, V, M).
            weak: (N, C, T, V, M).
            lam: Share of the hyperbolic loss.

        Raises:
            UserError: One sequence in training mode, or another shape than the network's.
        """
        refuse_batch_of_one(strong, self.training)
        z1 = self.online_projector(self.online_encoder(strong))
        z2 = self.online_projector(self.online_encoder(weak))
        p1, p2 = self.online_predictor(z1), self.online_predictor(z2)
        targets = (z1.detach(), z2.detach())
        return symmetric_output((p1, p2), targets, lam, self.config, self.compat)

    def update_target(self, decay: float | None = None) -> None:
        """Nothing to do: there is no target. Here so that all methods are trained alike."""
