"""Convolution along time, on a CPU by way of the spectrum.

The widest block spends nine tenths of the network's work in a convolution of 9 frames over
sequences of 13. In the frequency domain a convolution is one product per frequency instead of one
per tap: with the whole sequence as the period, 25 real matrix products replace 117. The transforms
are small constant matrices, so everything stays matrix products and gradients come by themselves.

Letters: B persons in a row, C channels, T frames, V joints, P real products.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

GAIN_NEEDED = 2.0
"""Counted operations that must be saved before the extra passes over the memory pay (measured)."""

COLUMNS_NEEDED = 32
"""Persons times joints below which transforming the weights costs more than it saves."""


class Spectrum(NamedTuple):
    """A convolution as products: ``out = of_output @ ((of_weight @ w) * (of_input @ x))``.

    Attributes:
        of_input: (P, T) float64.
        of_weight: (P, taps) float64.
        of_output: (T, P) float64.
    """

    of_input: Tensor
    of_weight: Tensor
    of_output: Tensor


class TemporalConv(nn.Conv2d):
    """Convolution over frames, joints apart, the ends padded with zeros.

    Args:
        channels: Of the input and of the output.
        taps: Frames it sees, odd.
        stride: Frames per frame of the output.
    """

    def __init__(self, channels: int, taps: int, stride: int = 1) -> None:
        padding = (taps // 2, 0)
        super().__init__(channels, channels, (taps, 1), stride=(stride, 1), padding=padding)

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """(B, C, T, V) to (B, C, T', V)."""
        return self._by_spectrum(x) if self._spectrum_pays(x) else super().forward(x)

    def _spectrum_pays(self, x: Tensor) -> bool:
        if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64):
            return False
        # Compilers and half precision have convolutions of their own.
        if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
            return False
        B, C, T, V = x.shape
        taps, T_out = self.kernel_size[0], -(-T // self.stride[0])
        by_taps = T_out * taps * C
        by_spectrum = 1.5 * (T + taps // 2) * (C + T + T_out)
        return B * V >= COLUMNS_NEEDED and by_taps >= GAIN_NEEDED * by_spectrum

    def _by_spectrum(self, x: Tensor) -> Tensor:
        assert self.bias is not None
        B, C, T, V = x.shape
        taps = self.kernel_size[0]
        of_input, of_weight, of_output = (m.to(x.dtype) for m in spectrum(T, taps))
        of_output = of_output[:: self.stride[0]]
        inputs = of_input @ x.permute(2, 1, 0, 3).reshape(T, -1)  # (P, C * B * V)
        weights = of_weight @ self.weight.view(-1, taps).T  # (P, C * C)
        products = weights.view(-1, C, C) @ inputs.view(-1, C, B * V)  # (P, C, B * V)
        out = (of_output @ products.flatten(1)).view(-1, C, B, V)
        return out.permute(2, 1, 0, 3) + self.bias[:, None, None]


@lru_cache(maxsize=32)
def spectrum(frames: int, taps: int) -> Spectrum:
    """Matrices of the convolution of a sequence, zeros beyond its ends.

    The period is just long enough that what wraps around falls on frames that are dropped. A
    product of complex numbers takes three real ones (Gauss):
    ``k1 = c (a + b), k2 = a (d - c), k3 = b (c + d)`` give ``k1 - k3`` and ``k1 + k2``.

    Args:
        frames: T.
        taps: Length of the filter, odd.
    """
    reach = taps // 2
    period = frames + reach
    time = torch.arange(frames, dtype=torch.float64)
    lag = reach - torch.arange(taps, dtype=torch.float64)
    frequency = torch.arange(period // 2 + 1, dtype=torch.float64)
    a, b = _wave(frequency, time, period)
    c, d = _wave(frequency, lag, period)
    # Every frequency but the real ones stands for its mirror image as well.
    real = (frequency == 0) | (2 * frequency == period)
    share = (2 - real.double())[:, None] / period
    re, im = (a * share).T, (b * share).T
    pairs = ~real
    return Spectrum(
        torch.cat([a[real], (a + b)[pairs], a[pairs], b[pairs]]),
        torch.cat([c[real], c[pairs], (d - c)[pairs], (c + d)[pairs]]),
        torch.cat([re[:, real], (re + im)[:, pairs], im[:, pairs], -re[:, pairs]], dim=1),
    )


def _wave(frequency: Tensor, time: Tensor, period: int) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of ``exp(-2 pi i f t / period)``: (F, T) each."""
    angle = 2 * math.pi * frequency[:, None] * time / period
    return angle.cos(), -angle.sin()
