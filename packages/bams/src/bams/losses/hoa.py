"""Histogram of actions: which actions does the near future hold? Targets, weights, distance.

Actions are quantised: ``bins`` (B, L, M) uint8, 255 where an action was not observed. A target is
a histogram over K bins for every frame and action; it is kept as whole counts (bytes) of its
*cumulative* sums and a scale, and made on the device for the frames that are scored, never
(B, L, M, K) in floats.

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

_NOT_OBSERVED = 255
"""Mark of an action that was not observed; larger than every bin, hence in no cumulative sum."""


class HoATargets(NamedTuple):
    """Cumulative histograms of R frames.

    Attributes:
        counts: uint8 (R, M, K), actions in bins up to and including k.
        scale: float (R, M), what one count is worth.
    """

    counts: Tensor
    scale: Tensor

    @property
    def cumulative(self) -> Tensor:
        """G, the cumulative histograms (R, M, K)."""
        return self.counts * self.scale[..., None]

    def part(self, rows: slice) -> HoATargets:
        """Some of the frames."""
        return HoATargets(self.counts[rows], self.scale[rows])


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
        bins: uint8 (B, L, M), less than K, or 255.
        ignored: bool (B, L).
        n_bins: K, at most 255.
        window: W, at most 255.
        compat: Whose targets.
        rows: int64 (R,), wanted frames as indices into B * L; all where None.
        dtype: Of the scale.
    """
    if rows is None:
        rows = torch.arange(ignored.numel(), device=bins.device)
    if compat == "upstream":
        return _upstream_targets(bins, n_bins, window, rows, dtype)
    return _paper_targets(bins, ignored, n_bins, window, rows, dtype)


def _paper_targets(
    bins: Tensor, ignored: Tensor, n_bins: int, window: int, rows: Tensor, dtype: torch.dtype
) -> HoATargets:
    """[paper] Actions of the next W frames, those that exist, are observed and not ignored."""
    below = _up_to(bins.masked_fill(ignored[..., None], _NOT_OBSERVED), n_bins)
    counts = _next_frames(below, window, rows)
    total = counts[..., -1].to(dtype)
    return HoATargets(counts, torch.where(total > 0, 1 / total.clamp(min=1), 0))


def _upstream_targets(
    bins: Tensor, n_bins: int, window: int, rows: Tensor, dtype: torch.dtype
) -> HoATargets:
    """[upstream] The action of the CURRENT frame, with a mass that falls to 0 at the end.

    The mass is min(W, L - 1 - t) / W. Ignored frames count as well, and an action that was not
    observed counts as the last bin.
    """
    length = bins.shape[1]
    mass = (length - 1 - rows % length).clamp(max=window).to(dtype) / window
    counts = _up_to(bins.flatten(0, 1)[rows].clamp(max=n_bins - 1), n_bins)
    return HoATargets(counts, mass[:, None].expand(-1, bins.shape[2]))


def cell_weights(
    bins: Tensor,
    ignored: Tensor,
    config: LossConfig,
    compat: Compat,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Weight of every frame and action in the loss, not normalised.

    Args:
        bins: uint8 (B, L, M).
        ignored: bool (B, L).
        config: Window, skipped frames and access.
        compat: Whose weights.
        dtype: Of the result.

    Returns:
        (B, L, M), not negative.
    """
    weigh = _upstream_weights if compat == "upstream" else _paper_weights
    return weigh(bins, ignored, config, dtype)


def _paper_weights(bins: Tensor, ignored: Tensor, config: LossConfig, dtype: torch.dtype) -> Tensor:
    """[paper] An action of a frame weighs as much as its window is valid."""
    missing = ignored[..., None] | (bins == _NOT_OBSERVED)
    weights = valid_fraction(missing, config.hoa_window, dtype)
    weights[:, : config.skip_frames] = 0
    return weights


def _upstream_weights(
    bins: Tensor, ignored: Tensor, config: LossConfig, dtype: torch.dtype
) -> Tensor:
    """[upstream] The INVALID fraction, and the L weights repeated M times over the L * M cells.

    Cell (t, m) gets the weight of frame (t * M + m) mod L instead of that of frame t.
    """
    if config.upstream_access == "later":
        ignored = ignored_after_access(ignored, config.hoa_window)
    weights = 1 - valid_fraction(ignored, config.hoa_window, dtype)
    weights[:, : config.skip_frames] = 0
    return weights.repeat(1, bins.shape[2]).view(bins.shape)


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


def valid_fraction(ignored: Tensor, window: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Share of the next W frames that exist and are not ignored.

    Args:
        ignored: bool (B, L, ...).
        window: W.
        dtype: Of the result.

    Returns:
        (B, L, ...) in [0, 1]; 0 at the last frame.
    """
    rows = torch.arange(ignored.shape[0] * ignored.shape[1], device=ignored.device)
    return _next_frames(~ignored, window, rows).view(ignored.shape).to(dtype) / window


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


def _next_frames(values: Tensor, window: int, rows: Tensor) -> Tensor:
    """Sums over the W frames after some frames: 0/1 values (B, L, ...) to uint8 (R, ...).

    Prefix sums in bytes wrap around, their differences do not: a window has at most 255 frames.
    """
    length = values.shape[1]
    sums = values.cumsum(dim=1, dtype=torch.uint8).flatten(0, 1)
    last = rows + (length - 1 - rows % length).clamp(max=window)
    return sums[last] - sums[rows]
