"""The objective of one batch: the histogram loss and one latent loss for each encoder.

loss = 500 L_hoa + 0.5 sum over encoders of L_latent (Azabou et al. 2023, with the weights of the
authors' code). The heads run only where a loss looks: the predictor of actions on frames that
carry weight, the latent predictors on the drawn frames. Loss and gradient are those of the whole.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from bams.losses.chunks import sum_over_rows
from bams.losses.config import Compat, LossConfig, fitted_start
from bams.losses.draws import Draws
from bams.losses.hoa import cell_weights, hoa_targets, mallows_distance
from bams.losses.latent import latent_loss
from bams.model.bams import BAMS
from behaviorzoo.together import mean_over_processes


class Sequences(Protocol):
    """A batch: B sequences of L frames, on the device of the network."""

    @property
    def inputs(self) -> Tensor:
        """Float (B, L, N)."""
        ...

    @property
    def bins(self) -> Tensor:
        """Quantised actions, uint8 (B, L, M); 255 where not observed."""
        ...

    @property
    def ignored(self) -> Tensor:
        """Frames that are missing or padding, bool (B, L)."""
        ...


@dataclass(frozen=True)
class Losses:
    """What a step reports; scalars.

    Attributes:
        total: The weighted sum.
        hoa: Histogram loss, not weighted.
        latent: Encoder -> latent loss, not weighted.
    """

    total: Tensor
    hoa: Tensor
    latent: dict[str, Tensor]


def objective(
    model: BAMS, batch: Sequences, draws: Draws, config: LossConfig, compat: Compat = "paper"
) -> Losses:
    """Losses of a batch.

    Where no frame carries weight, the histogram loss is 0 (the authors' code gives NaN).

    Args:
        model: The network; batch norms follow its mode.
        batch: The sequences.
        draws: From :func:`bams.losses.draws.draw`, on the same device.
        config: Weights and windows.
        compat: Whose targets and weights the histogram loss has.
    """
    embeddings = model.encode(batch.inputs)
    features = model.predictor_input(embeddings, batch.inputs)
    hoa = hoa_loss(
        model.predictor,
        features,
        batch.bins,
        batch.ignored,
        model.config.hoa_bins,
        config,
        compat,
        draws.phases,
    )
    latent = {
        name: latent_loss(
            cast(nn.Sequential, model.byol_predictors[name]), embedding, draws.pairs[name]
        )
        for name, embedding in embeddings.items()
    }
    total = config.hoa_weight * hoa + config.latent_weight * sum(latent.values())
    return Losses(cast(Tensor, total), hoa, latent)


def hoa_loss(
    predictor: nn.Module,
    features: Tensor,
    bins: Tensor,
    ignored: Tensor,
    n_bins: int,
    config: LossConfig,
    compat: Compat = "paper",
    phases: Tensor | None = None,
) -> Tensor:
    """Weighted mean distance of predicted and actual histograms.

    Args:
        predictor: (R, F) to logits (R, M * K).
        features: (B, L, F).
        bins: uint8 (B, L, M); 255 where not observed.
        ignored: bool (B, L).
        n_bins: K.
        config: Window, skipped frames, and so on.
        compat: Whose targets and weights.
        phases: int64 (B,), first scored frames where ``config.hoa_every`` is more than 1.

    Returns:
        Scalar; 0 with zero gradient where no frame carries weight.
    """
    length, n_targets = bins.shape[1:]
    dtype = torch.promote_types(features.dtype, torch.float32)
    # The last frame has no future, so a paper window needs two frames.
    room = 1 if compat == "upstream" else 2
    fitted = replace(config, skip_frames=fitted_start(config.skip_frames, length, room))
    weights = cell_weights(bins, ignored, fitted, compat, dtype)
    if config.hoa_every > 1 and phases is not None:
        frames = torch.arange(length, device=bins.device)
        scored = (frames - phases[:, None]) % config.hoa_every == 0
        weights = weights * scored[..., None]
    weights = weights.flatten(0, 1)
    total = weights.sum()
    if predictor.training:
        total = mean_over_processes(total)
    weights = weights / torch.where(total > 0, total, 1)
    rows = _scored_rows(weights, predictor)
    targets = hoa_targets(bins, ignored, n_bins, config.hoa_window, compat, rows, dtype)
    weights = weights[rows]

    def score(features: Tensor, part: slice) -> Tensor:
        logits = predictor(features).to(dtype).unflatten(-1, (n_targets, n_bins))
        distance = mallows_distance(logits, targets.part(part).cumulative)
        return (distance * weights[part]).sum()

    cells = n_targets * n_bins
    return sum_over_rows(score, predictor, features.flatten(0, 1), rows, cells)


def _scored_rows(weights: Tensor, predictor: nn.Module) -> Tensor:
    """Rows of (B * L, M) that carry weight, at least one: every parameter gets a gradient."""
    if any(isinstance(module, nn.BatchNorm1d) for module in predictor.modules()):
        return torch.arange(len(weights), device=weights.device)  # its statistics are of all
    rows = weights.any(dim=1).nonzero()[:, 0]
    return rows if len(rows) else rows.new_zeros(1)
