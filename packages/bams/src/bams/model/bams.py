"""BAMS: one encoder for each timescale, trained by predictors of what comes next.

Azabou et al., "Relax, it doesn't matter how you get there", NeurIPS 2023. Letters: B sequences, L
frames, N features of a frame, E features of an embedding, M actions, K bins of an action.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from bams.model.config import ModelConfig
from bams.model.initialisation import initialise
from bams.model.mlp import MLP, LatentPredictor
from bams.model.tcn import TemporalConvNet
from behaviorzoo.errors import UserError


class BAMSOutput(NamedTuple):
    """What the whole network says of every frame.

    Attributes:
        embeddings: Encoder -> (B, L, E).
        hoa_logits: (B, L, M * K), the bins of an action side by side.
        latent_predictions: Encoder -> (B, L, E).
    """

    embeddings: dict[str, Tensor]
    hoa_logits: Tensor
    latent_predictions: dict[str, Tensor]


class BAMS(nn.Module):
    """Bootstrap Across Multiple Scales.

    Args:
        config: Options; ``n_inputs`` and ``n_targets`` must be known.
        generator: Source of the random initial weights; PyTorch's own where None.

    Raises:
        UserError: The number of input features or of targets is 0.

    Example:
        >>> model = BAMS(ModelConfig(n_inputs=24, n_targets=12)).eval()
        >>> embeddings = model.encode(torch.zeros(1, 100, 24))
        >>> {name: tuple(embedding.shape) for name, embedding in embeddings.items()}
        {'short_term': (1, 100, 64), 'long_term': (1, 100, 64)}
    """

    def __init__(self, config: ModelConfig, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        unknown = [name for name in ("n_inputs", "n_targets") if not getattr(config, name)]
        if unknown:
            raise UserError(f"{' and '.join(unknown)} of the network: take them from the data")
        self.config = config
        self.encoders = nn.ModuleDict(
            {name: TemporalConvNet(config.n_inputs, c) for name, c in config.encoders.items()}
        )
        n_features = config.embedding_size + config.n_inputs
        self.predictor = MLP(
            (n_features, *config.predictor_hidden, config.n_targets * config.hoa_bins),
            bias=config.predictor_bias,
            batchnorm=config.predictor_batchnorm,
        )
        self.byol_predictors = nn.ModuleDict(
            {name: LatentPredictor(c.channels[-1]) for name, c in config.encoders.items()}
        )
        initialise(self, generator)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the parts that training and embedding call; the whole is never called there."""
        for part in (*self.encoders.values(), self.predictor):
            part.compile(*args, **kwargs)

    @property
    def receptive_fields(self) -> dict[str, int]:
        """Frames that each encoder sees."""
        return self.config.receptive_fields

    def encode(self, x: Tensor) -> dict[str, Tensor]:
        """Embed every frame at every timescale; nothing else is computed.

        Args:
            x: (B, L, N).

        Returns:
            Encoder -> (B, L, E).

        Raises:
            UserError: Another number of features than the network's.
        """
        if x.ndim != 3 or x.shape[2] != self.config.n_inputs:
            raise UserError(
                f"input: {tuple(x.shape)}, the network wants (sequences, frames, "
                f"{self.config.n_inputs} features)"
            )
        x = x.transpose(1, 2).contiguous()
        return {name: encoder(x).transpose(1, 2) for name, encoder in self.encoders.items()}

    def predictor_input(self, embeddings: dict[str, Tensor], x: Tensor) -> Tensor:
        """What the predictor of actions sees: (B, L, sum of E + N), the present included."""
        return torch.cat([*embeddings.values(), x], dim=-1)

    def forward(self, x: Tensor) -> BAMSOutput:
        """Embeddings and predictions of every frame.

        Args:
            x: (B, L, N).
        """
        embeddings = self.encode(x)
        latents = {
            name: cast(LatentPredictor, self.byol_predictors[name])(e.flatten(0, 1)).view(e.shape)
            for name, e in embeddings.items()
        }
        return BAMSOutput(embeddings, self.predictor(self.predictor_input(embeddings, x)), latents)
