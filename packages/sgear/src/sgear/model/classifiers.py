"""Scores of the classes."""

from __future__ import annotations

from torch import Tensor, nn

from sgear.model.config import ClassifierConfig


class MLPClassifier(nn.Module):
    """Linear layers with ReLU in between.

    Args:
        dim: D.
        n_classes: N.
        config: Options.
    """

    def __init__(self, dim: int, n_classes: int, config: ClassifierConfig) -> None:
        super().__init__()
        hidden = [
            layer
            for _ in range(config.nlayers - 1)
            for layer in (nn.Linear(dim, dim, bias=config.bias), nn.ReLU())
        ]
        self.cls = nn.Sequential(*hidden, nn.Linear(dim, n_classes, bias=config.bias))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., N)."""
        return self.cls(x)


def build_classifier(dim: int, n_classes: int, config: ClassifierConfig) -> nn.Module:
    """The classifier that the options name.

    Args:
        dim: D.
        n_classes: N.
        config: Options.
    """
    if config.kind == "mlp":
        return MLPClassifier(dim, n_classes, config)
    return nn.Linear(dim, n_classes, bias=config.bias)
