"""The network, to be read beside the paper.

``config`` the options (``author_options`` their published form); ``vit`` the backbone; ``tca``
temporal context aggregation; ``prototype_attention``; ``tcd`` the causal decoder; ``aggregators``,
``classifiers``; ``sgear`` the whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sgear.model.config import (
    AggregatorConfig,
    BackboneConfig,
    BatchNormConfig,
    ClassifierConfig,
    Compat,
    FuturePredictorConfig,
    ModelConfig,
)

if TYPE_CHECKING:
    from sgear.model.sgear import SGear

__all__ = [
    "AggregatorConfig",
    "BackboneConfig",
    "BatchNormConfig",
    "ClassifierConfig",
    "Compat",
    "FuturePredictorConfig",
    "ModelConfig",
    "SGear",
]


def __getattr__(name: str) -> Any:
    # Options are needed where torch is not: command lines, checks of a configuration.
    if name == "SGear":
        from sgear.model.sgear import SGear

        return SGear
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
