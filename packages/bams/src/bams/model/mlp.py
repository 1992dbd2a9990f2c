"""The heads that exist in training only: predictors of actions and of latents."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from bams.model.activations import PReLU

HEAD_EXPANSION = 4
"""Hidden width of a latent predictor over the width of the embedding."""


class MLP(nn.Module):
    """Linear layers with PReLU between them.

    Args:
        widths: Of the input, the hidden layers and the output.
        bias: Biases; a layer that batch norm follows has none.
        batchnorm: Batch norm (momentum 0.99) before each activation.
        activate_last: Normalise and activate the output as well.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        bias: bool = True,
        batchnorm: bool = False,
        activate_last: bool = False,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        n_layers = len(widths) - 1
        for number in range(n_layers):
            activated = activate_last or number < n_layers - 1
            normed = batchnorm and activated
            layers.append(nn.Linear(widths[number], widths[number + 1], bias and not normed))
            if normed:
                layers.append(nn.BatchNorm1d(widths[number + 1], momentum=0.99))
            if activated:
                layers.append(PReLU())
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(..., features) to (..., outputs)."""
        return self.layers(x.flatten(0, -2)).unflatten(0, x.shape[:-1])


class LatentPredictor(nn.Sequential):
    """Predicts an embedding from another frame's: linear, batch norm, ReLU, linear.

    Args:
        size: Features E of the embedding.
    """

    def __init__(self, size: int) -> None:
        hidden = HEAD_EXPANSION * size
        super().__init__(
            nn.Linear(size, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, size),
        )
