"""An encoder with a head: what the evaluation protocols train."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hysp.hyperbolic import MoebiusLinear, exp_map
from hysp.model.config import ClassifierConfig
from hysp.model.mlp import MLP
from hysp.model.stgcn import STGCN


class Classifier(nn.Module):
    """ST-GCN and one linear layer, in Euclidean space or in the unit ball.

    Args:
        config: Options.

    Raises:
        UserError: A graph that cannot be.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.online_encoder = STGCN(config.encoder)
        D, n = config.encoder.out_channels, config.n_classes
        self.online_projector = MLP(D, config.head_hidden_size or (n,))
        if config.hyper:
            self.online_projector.net = nn.Sequential(MoebiusLinear(D, n))

    def forward(self, x: Tensor) -> Tensor:
        """Sequences (N, C, T, V, M) to logits (N, classes); float64 where ``hyper``."""
        return self.head(self.online_encoder(x))

    def head(self, features: Tensor) -> Tensor:
        """Embeddings (N, D) to logits (N, classes)."""
        if not self.config.hyper:
            return self.online_projector(features)
        with torch.autocast(features.device.type, enabled=False):
            return self.online_projector(exp_map(features, self.config.hyper_c))
