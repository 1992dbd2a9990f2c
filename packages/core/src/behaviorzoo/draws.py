"""Random numbers as a function of (seed, stream, position): no generator, no state.

What is random about a sample must depend on its own seed alone, whatever batch, worker process
or device it lands on. A counter-based generator gives that, and a whole batch at once: every
number is a hash (SplitMix64, Steele et al. 2014) of the seed, of which draw it is, and of its
position.
"""

from __future__ import annotations

import math

import torch

_GAMMA = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed integer
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def uniform(seeds: torch.Tensor, stream: int, size: int = 1) -> torch.Tensor:
    """Uniform numbers in [0, 1).

    Args:
        seeds: int64 (B,).
        stream: Number of the draw; different streams of one seed are independent.
        size: Numbers per seed.

    Returns:
        float64 (B, size) on the device of ``seeds``.
    """
    bits = _hash(seeds, stream, size)
    return _shift_right(bits, 11).double() * 2.0**-53


def integers(seeds: torch.Tensor, stream: int, high: torch.Tensor | int) -> torch.Tensor:
    """Integers 0 <= k < ``high`` (one bound, or one per seed): int64 (B,)."""
    return (uniform(seeds, stream)[:, 0] * high).long()


def normal(seeds: torch.Tensor, stream: int, size: int) -> torch.Tensor:
    """Standard normal numbers, float32 (B, size), by the Box-Muller transform."""
    bits = _hash(seeds, stream, (size + 1) // 2)
    # One hash feeds two 32-bit numbers: a radius in (0, 1] and an angle in [0, 1).
    radius = _shift_right(bits, 32).float().add_(1.0).mul_(2.0**-32).log_().mul_(-2.0).sqrt_()
    angle = bits.bitwise_and_(0xFFFFFFFF).float().mul_(2.0**-32 * 2.0 * math.pi)
    return torch.cat([radius * angle.cos(), angle.sin_().mul_(radius)], dim=1)[:, :size]


def _hash(seeds: torch.Tensor, stream: int, size: int) -> torch.Tensor:
    """Well-mixed int64 (B, size)."""
    start = _mix(seeds.long() + _mix(torch.full_like(seeds, stream, dtype=torch.int64)))
    counter = torch.arange(1, size + 1, device=seeds.device, dtype=torch.int64)
    return _mix(start[:, None] + counter * _GAMMA)


def _mix(z: torch.Tensor) -> torch.Tensor:
    """SplitMix64's output function; integer arithmetic wraps around as it must."""
    z = z + _GAMMA
    z.bitwise_xor_(_shift_right(z, 30)).mul_(_MIX_1)
    z.bitwise_xor_(_shift_right(z, 27)).mul_(_MIX_2)
    return z.bitwise_xor_(_shift_right(z, 31))


def _shift_right(z: torch.Tensor, bits: int) -> torch.Tensor:
    """Shift that fills with zeros; torch's own repeats the sign bit."""
    return (z >> bits).bitwise_and_((1 << (64 - bits)) - 1)
