"""Histogram of actions: which actions does the near future hold? Targets, weights, distance.

Actions are quantised: ``bins`` (B, L, M) uint8. A target is a histogram over K bins for every
frame and action; it is kept as whole counts (bytes) of its *cumulative* sums and a scale, and
made on the device for the frames that are scored, never (B, L, M, K) in floats.

Letters: B sequences, L frames, M actions, K bins, W frames of the window, R scored frames.

The authors' public code differs from the paper in the target and in its weights. The two
differences stand here, each in one function: :func:`_upstream_targets` against
:func:`_paper_targets` and :func:`_upstream_weights` against :func:`_paper_weights`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bams.losses.config import Compat, LossConfig

_NO_BIN = 255
"""Larger than every bin, hence in no cumulative sum."""


class HoATargets(NamedTuple):
    """Cumulative histograms of R frames.

    Attributes:
        counts: uint8 (R, M, K), actions in bins up to and including k.
        scale: float (R,), what a count is worth; 1 / scale is the sum of a full histogram.
    """

    counts: Tensor
    scale: Tensor

    @property
    def cumulative(self) -> Tensor:
        """G, the cumulative histograms (R, M, K)."""
        return self.counts * self.scale[:, None, None]


def valid_fraction(ignored: Tensor, window: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Share of the next W frames that exist and are not ignored.

    Args:
        ignored: bool (B, L).
        window: W.
        dtype: Of the result.

    Returns:
        (B, L) in [0, 1]; 0 at the last frame.
    """
    return _next_frames(~ignored[..., None], window)[..., 0].to(dtype) / window


def ignored_after_access(ignored: Tensor, window: int) -> Tensor:
    """The mask that the authors' data set holds after a first access to a sequence.

    [upstream] Its accessor writes into the stored mask: all but the last W frames become ignored.

    Args:
        ignored: bool (B, L).
        window: W.
    """
    changed = ignored.clone()
    changed[:, : max(ignored.shape[1] - window, 0)] = True
    return changed


def cell_weights(
    ignored: Tensor,
    n_targets: int,
    config: LossConfig,
    compat: Compat,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Weight of every frame and action in the loss, not normalised.

    Args:
        ignored: bool (B, L).
        n_targets: M.
        config: Window, skipped frames and access.
        compat: Whose weights.
        dtype: Of the result.

    Returns:
        (B, L, M), not negative.
    """
    if compat == "upstream":
        if config.upstream_access == "later":
            ignored = ignored_after_access(ignored, config.hoa_window)
        valid = valid_fraction(ignored, config.hoa_window, dtype)
        return _upstream_weights(valid, n_targets, config.skip_frames)
    valid = valid_fraction(ignored, config.hoa_window, dtype)
    return _paper_weights(valid, n_targets, config.skip_frames)


def _paper_weights(valid: Tensor, n_targets: int, skip: int) -> Tensor:
    """[paper] A frame weighs as much as its window is valid, all of its actions alike."""
    weights = valid.clone()
    weights[:, :skip] = 0
    return weights[..., None].expand(-1, -1, n_targets)


def _upstream_weights(valid: Tensor, n_targets: int, skip: int) -> Tensor:
    """[upstream] The INVALID fraction, and the L weights repeated M times over the L * M cells.

    Cell (t, m) gets the weight of frame (t * M + m) mod L instead of that of frame t.
    """
    weights = 1 - valid
    weights[:, :skip] = 0
    return weights.repeat(1, n_targets).view(*valid.shape, n_targets)


def hoa_targets(
    bins: Tensor,
    ignored: Tensor,
    n_bins: int,
    window: int,
    compat: Compat,
    rows: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> HoATargets:
    """Cumulative target histograms.

    Args:
        bins: uint8 (B, L, M), less than K.
        ignored: bool (B, L).
        n_bins: K, at most 255.
        window: W, at most 255.
        compat: Whose targets.
        rows: int64 (R,), wanted frames as indices into B * L; all where None.
        dtype: Of the scale.
    """
    make = _upstream_targets if compat == "upstream" else _paper_targets
    return make(bins, ignored, n_bins, window, rows, dtype)


def _paper_targets(
    bins: Tensor,
    ignored: Tensor,
    n_bins: int,
    window: int,
    rows: Tensor | None,
    dtype: torch.dtype,
) -> HoATargets:
    """[paper] Actions of the next W frames, those that exist and are not ignored."""
    valid = _next_frames(~ignored[..., None], window).flatten().to(dtype)  # (B L)
    scale = torch.where(valid > 0, 1 / valid.clamp(min=1), 0)
    below = _up_to(bins.masked_fill(ignored[..., None], _NO_BIN), n_bins)
    counts = _next_frames(below.flatten(2), window).view(-1, *below.shape[2:])  # (B L, M, K)
    return HoATargets(counts, scale) if rows is None else HoATargets(counts[rows], scale[rows])


def _upstream_targets(
    bins: Tensor,
    ignored: Tensor,
    n_bins: int,
    window: int,
    rows: Tensor | None,
    dtype: torch.dtype,
) -> HoATargets:
    """[upstream] The action of the CURRENT frame, with a mass that falls to 0 at the end.

    The mass is min(W, L - 1 - t) / W; ignored frames count as well.
    """
    length = bins.shape[1]
    if rows is None:
        rows = torch.arange(bins.shape[0] * length, device=bins.device)
    mass = (length - 1 - rows % length).clamp(max=window).to(dtype) / window
    return HoATargets(_up_to(bins.flatten(0, 1)[rows], n_bins), mass)


def mallows_distance(logits: Tensor, cumulative: Tensor) -> Tensor:
    """Squared distance of the cumulative histograms, mean over the bins (Cramer, 1-D Mallows).

    Args:
        logits: (..., K).
        cumulative: G of the target, (..., K).

    Returns:
        (...): mean over k of (G_k - F_k) ** 2, F the cumulative softmax.
    """
    predicted = torch.softmax(logits, dim=-1).cumsum(dim=-1)
    return (cumulative - predicted).square().mean(dim=-1)


def _up_to(bins: Tensor, n_bins: int) -> Tensor:
    """Cumulative one-hot: uint8 (..., M) to (..., M, K), 1 where bin <= k."""
    edges = torch.arange(n_bins, dtype=torch.uint8, device=bins.device)
    return (bins[..., None] <= edges).view(torch.uint8)


def _next_frames(values: Tensor, window: int) -> Tensor:
    """Sums over the W frames after each: 0/1 values (B, L, F) to uint8 (B, L, F).

    Prefix sums in bytes wrap around, their differences do not: a window has at most 255 frames.
    """
    length = values.shape[1]
    sums = values.cumsum(dim=1, dtype=torch.uint8)
    later = (torch.arange(length, device=values.device) + window).clamp(max=length - 1)
    return sums[:, later] - sums
