"""How good the representation is: linear, semi-supervised, supervised, k-NN and transfer.

``config`` the settings; ``features`` the frozen encoder; ``heads`` what is trained on it;
``finetuning`` training of encoder and head; ``protocols`` what runs when; ``run`` the command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hysp.evaluate.config import EvaluateConfig
from hysp.lazy import lazy_names

if TYPE_CHECKING:
    from hysp.evaluate.features import extract_features
    from hysp.evaluate.run import evaluate

__all__ = ["EvaluateConfig", "evaluate", "extract_features"]

# Imported on first use: settings must not wait for torch.
__getattr__ = lazy_names(__name__, {"evaluate": "run", "extract_features": "features"})
