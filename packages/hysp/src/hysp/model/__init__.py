"""The networks, to be read beside the papers.

``config`` the options; ``stgcn`` the encoder; ``mlp`` projectors and predictors; ``hysp``,
``simsiam`` and ``skeletonclr`` the ways to pre-train it; ``classifier`` what is evaluated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hysp.lazy import lazy_names
from hysp.model.config import ClassifierConfig, EncoderConfig, GraphConfig, ModelConfig

if TYPE_CHECKING:
    from hysp.model.classifier import Classifier
    from hysp.model.hysp import HYSP
    from hysp.model.output import PairOutput
    from hysp.model.simsiam import SimSiam
    from hysp.model.skeletonclr import SkeletonCLR
    from hysp.model.stgcn import STGCN

__all__ = [
    "HYSP",
    "STGCN",
    "Classifier",
    "ClassifierConfig",
    "EncoderConfig",
    "GraphConfig",
    "ModelConfig",
    "PairOutput",
    "SimSiam",
    "SkeletonCLR",
    "build_model",
]

# Imported on first use: options are needed where torch is not (command lines, checks of settings).
__getattr__ = lazy_names(
    __name__,
    {
        "STGCN": "stgcn",
        "HYSP": "hysp",
        "SimSiam": "simsiam",
        "SkeletonCLR": "skeletonclr",
        "Classifier": "classifier",
        "PairOutput": "output",
    },
)


def build_model(config: ModelConfig, compat: str = "paper") -> HYSP | SimSiam | SkeletonCLR:
    """The network that ``config.method`` names.

    Args:
        config: Options.
        compat: Whom to follow where public code and paper differ.

    Raises:
        UserError: A graph that cannot be, or an unknown ``compat``.
    """
    from hysp.model.hysp import HYSP
    from hysp.model.simsiam import SimSiam
    from hysp.model.skeletonclr import SkeletonCLR

    return {"hysp": HYSP, "simsiam": SimSiam, "skeletonclr": SkeletonCLR}[config.method](
        config, compat
    )
