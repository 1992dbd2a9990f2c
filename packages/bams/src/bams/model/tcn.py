"""Temporal convolutional network (Bai, Kolter and Koltun 2018), strictly causal.

The parameters have the names of the authors' code, so that their checkpoints can be read key by
key. Letters: B sequences, L frames, C channels, k taps of a kernel, d frames between taps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, pad

from bams.model.activations import PReLU
from bams.model.config import EncoderConfig
from behaviorzoo.dropout import Dropout

SLOPE = 0.1
"""First slope of the encoders' PReLUs."""


def causal_conv(x: Tensor, weight: Tensor, bias: Tensor, dilation: int) -> Tensor:
    """Convolve over time so that frame t sees the frames up to t, zeros before the first.

    Args:
        x: (B, C, L).
        weight: (C_out, C, k).
        bias: (C_out,).
        dilation: d.

    Returns:
        (B, C_out, L).
    """
    past = (weight.shape[2] - 1) * dilation
    return conv1d(pad(x, (past, 0)) if past else x, weight, bias, dilation=dilation)


class CausalConv1d(nn.Module):
    """Convolution over the past: (B, C, L) to (B, C_out, L).

    Args:
        n_in: C.
        n_out: C_out.
        kernel_size: k.
        dilation: d.
    """

    def __init__(self, n_in: int, n_out: int, kernel_size: int, dilation: int = 1) -> None:
        super().__init__()
        self.dilation = dilation
        self.weight = nn.Parameter(torch.empty(n_out, n_in, kernel_size))
        self.bias = nn.Parameter(torch.empty(n_out))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, L) to (B, C_out, L)."""
        return causal_conv(x, self.weight, self.bias, self.dilation)


class WeightNormConv1d(nn.Module):
    """:class:`CausalConv1d` with weight norm (Salimans and Kingma 2016) over its outputs.

    Each output channel has a direction v, its weights up to a factor, and a length g.

    Args:
        n_in: C.
        n_out: C_out.
        kernel_size: k.
        dilation: d.
    """

    def __init__(self, n_in: int, n_out: int, kernel_size: int, dilation: int = 1) -> None:
        super().__init__()
        self.dilation = dilation
        self.bias = nn.Parameter(torch.empty(n_out))
        self.weight_g = nn.Parameter(torch.empty(n_out, 1, 1))
        self.weight_v = nn.Parameter(torch.empty(n_out, n_in, kernel_size))

    @property
    def weight(self) -> Tensor:
        """What the convolution uses, g * v / ||v||: (C_out, C, k)."""
        return self.weight_v * (self.weight_g / channel_norm(self.weight_v))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, L) to (B, C_out, L)."""
        return causal_conv(x, self.weight, self.bias, self.dilation)


def channel_norm(weight: Tensor) -> Tensor:
    """Length of each output channel's weights: (C_out, C, k) to (C_out, 1, 1)."""
    return torch.linalg.vector_norm(weight, dim=(1, 2), keepdim=True)


class TemporalBlock(nn.Module):
    """One or two dilated convolutions with a residual connection.

    Args:
        n_in: C.
        n_out: C_out.
        kernel_size: k.
        dilation: d.
        layers: Convolutions, 1 or 2. Only the second one has weight norm.
        dropout: Rate after each convolution.
    """

    def __init__(
        self, n_in: int, n_out: int, kernel_size: int, dilation: int, layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.conv1 = CausalConv1d(n_in, n_out, kernel_size, dilation)
        self.relu1 = PReLU(SLOPE)
        if layers == 2:
            self.conv2 = WeightNormConv1d(n_out, n_out, kernel_size, dilation)
            self.relu2 = PReLU(SLOPE)
        self.layers = layers
        self.downsample = CausalConv1d(n_in, n_out, 1) if n_in != n_out else None
        self.relu = PReLU(SLOPE)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, L) to (B, C_out, L)."""
        z = self.dropout(self.relu1(self.conv1(x)))
        if self.layers == 2:
            z = self.dropout(self.relu2(self.conv2(z)))
        residual = x if self.downsample is None else self.downsample(x)
        return self.relu(z + residual)


class TemporalConvNet(nn.Module):
    """A stack of temporal blocks whose dilation grows exponentially: one timescale.

    Args:
        n_inputs: Features of a frame.
        config: The blocks.

    Attributes:
        receptive_field: Frames that one output sees.
    """

    def __init__(self, n_inputs: int, config: EncoderConfig) -> None:
        super().__init__()
        self.receptive_field = config.receptive_field
        widths = (n_inputs, *config.channels)
        options = zip(config.kernel_sizes, config.dilations, config.layers, strict=True)
        self.network = nn.Sequential(
            *(
                TemporalBlock(widths[i], widths[i + 1], k, dilation, layers, config.dropout)
                for i, (k, dilation, layers) in enumerate(options)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Frames of features, channels first: (B, N, L) to (B, E, L)."""
        return self.network(x)
