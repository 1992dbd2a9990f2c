"""From batches of clips to embeddings: encoder, projection, point of the ball, uncertainty.

Letters: B clips of a batch, C channels, T frames, V joints, M persons, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from behaviorzoo.errors import UserError, suggest
from hysp.checkpoints import BRANCHES, LoadedModel, network_of
from hysp.compat import check_compat
from hysp.evaluate.features import autocast
from hysp.inputs import stream_of
from hysp.model.classifier import Classifier
from hysp.streams import apply_stream
from hysp.uncertainty import mapped

if TYPE_CHECKING:
    from torch import nn

    from hysp.model.stgcn import STGCN

ENCODER, PROJECTION, HYPERBOLIC, UNCERTAINTY = LEVELS = (
    "encoder",
    "projection",
    "hyperbolic",
    "uncertainty",
)


class ClipEncoder:
    """A trained network that embeds clips.

    Args:
        loaded: The checkpoint.
        device: Where it runs.
        stream: What it sees; that of the training by default.
        branch: ``online``, or ``target`` for the moving average.
        compat: ``paper``: the point of the ball is the mapped projection, as in the training.
            ``upstream``: the mapped output of the encoder, as the authors' tool for uncertainty
            has it. A network without a projection (an evaluated one) gives the latter too.
        precision: Of the encoder on a GPU: ``32``, ``16``, ``bf16``.

    Attributes:
        sizes: Level -> number of features.

    Raises:
        UserError: No such branch, or the weights do not fit.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        device: torch.device,
        *,
        stream: str | None = None,
        branch: str = "online",
        compat: str = "paper",
        precision: str = "32",
    ) -> None:
        check_compat(compat)
        if branch not in BRANCHES:
            raise UserError(f"branch: unknown {branch!r}; {suggest(branch, BRANCHES)}")
        network = network_of(loaded).to(device)
        encoder: STGCN | None = getattr(network, f"{branch}_encoder", None)
        if encoder is None:
            raise UserError(f"{loaded.path}: has no {branch} encoder")
        projector = getattr(network, f"{branch}_projector")
        self.encoder = encoder
        self.projector: nn.Module | None = None if isinstance(network, Classifier) else projector
        self.curvature = loaded.config.hyper_c
        self.stream = stream_of(loaded, stream)
        self.compat = compat
        self.precision = precision
        self.parents = torch.as_tensor(encoder.graph.parents)
        self.sizes = self._sizes(loaded)

    def _sizes(self, loaded: LoadedModel) -> dict[str, int]:
        sizes = {ENCODER: loaded.config.encoder.out_channels}
        if self.projector is not None:
            sizes[PROJECTION] = getattr(loaded.config, "projection_hidden_size")[-1]  # noqa: B009
        ball = PROJECTION if self.compat == "paper" and PROJECTION in sizes else ENCODER
        return sizes | {HYPERBOLIC: sizes[ball], UNCERTAINTY: 1}

    @torch.no_grad()
    def __call__(self, x: Tensor) -> dict[str, np.ndarray]:
        """Embed clips.

        Args:
            x: (B, C, T, V, M) of joints.

        Returns:
            Level -> float32 (B, features); ``uncertainty`` float64 (B, 1), because near the rim
            single precision has no digits left for it.
        """
        device = self.encoder.A.device
        x = apply_stream(x.to(device), self.stream, self.parents)
        with autocast(device, self.precision):
            features = self.encoder(x, skip_absent=True).float()
        found: dict[str, Tensor] = {ENCODER: features}
        if self.projector is not None:
            found[PROJECTION] = self.projector(features)
        on_ball = PROJECTION if self.compat == "paper" and PROJECTION in found else ENCODER
        points, radius = mapped(found[on_ball], self.curvature)
        arrays = {name: tensor.float().cpu().numpy() for name, tensor in found.items()}
        arrays[HYPERBOLIC] = points.float().cpu().numpy()
        arrays[UNCERTAINTY] = (1 - radius)[:, None].cpu().numpy()
        return arrays


def chosen_levels(sizes: dict[str, int], wanted: Sequence[str] | None) -> list[str]:
    """Levels to write, in their own order.

    Raises:
        UserError: No such level, or none at all.
    """
    if wanted is None:
        return list(sizes)
    for level in wanted:
        if level not in sizes:
            raise UserError(f"levels={level}: {suggest(level, sizes)}")
    if not wanted:
        raise UserError(f"levels is empty; choose among {', '.join(sizes)}")
    return [level for level in sizes if level in wanted]
