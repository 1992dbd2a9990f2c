"""The transformer block of Hiera: mask-unit or global attention, and pooling inside it.

Tokens come as (B, M, S, C), or as (R, S, C) where attention stays inside the units: then it does
not matter which window a unit is of.

Letters: B batch, M mask units of a window, R any number of units, S tokens of a mask unit (in
unit order, see ``unroll``), q pooled tokens per output token, C channels, H heads, d = C / H.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from hbehavemae.model.geometry import BlockSpec

NORM_EPS = 1e-6


def max_pool(x: Tensor, q: int) -> Tensor:
    """Maximum over pooling groups: (..., S, C) to (..., S / q, C).

    The finest remaining group is the slowest axis of a unit, hence the view.
    """
    return x if q == 1 else x.unflatten(-2, (q, -1)).amax(dim=-3)


class Attention(nn.Module):
    """Multi-head attention in which only the queries are pooled.

    Args:
        spec: Widths, heads, pooling and windows of the block.
    """

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        self.heads = spec.heads
        self.q_stride = spec.q_stride
        self.windowed = spec.mask_unit_attn
        self.qkv = nn.Linear(spec.dim, 3 * spec.dim_out)
        self.proj = nn.Linear(spec.dim_out, spec.dim_out)

    def forward(self, x: Tensor) -> Tensor:
        """Attend inside each mask unit, or over all visible tokens.

        Args:
            x: (B, M, S, C), or (R, S, C) where attention stays inside the units.

        Returns:
            (B, M, S / q, C_out) or (R, S / q, C_out).
        """
        units = x.shape[:-2]
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q = max_pool(q, self.q_stride)
        # Windows join the batch: fused kernels want exactly (batch, heads, tokens, d).
        q, k, v = (self._split_heads(part) for part in (q, k, v))
        x = scaled_dot_product_attention(q, k, v)
        x = x.transpose(1, 2).reshape(*units, -1, self.proj.in_features)
        return self.proj(x)

    def _split_heads(self, x: Tensor) -> Tensor:
        """(..., S, C) to (windows, H, tokens of a window, d)."""
        x = x.flatten(0, -3) if self.windowed else x.flatten(1, -2)
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Mlp(nn.Module):
    """Linear, GELU (exact), Linear.

    Args:
        dim: Width of input and output.
        hidden: Width between.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map each token by itself: (..., C) to (..., C)."""
        return self.fc2(gelu(self.fc1(x)))


class Block(nn.Module):
    """Pre-norm transformer block; the first one of a stage also widens and pools.

    Args:
        spec: Widths, heads, pooling and windows.
        mlp_ratio: Hidden width of the MLP over ``spec.dim_out``.
    """

    def __init__(self, spec: BlockSpec, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.spec = spec
        self.norm1 = nn.LayerNorm(spec.dim, eps=NORM_EPS)
        self.attn = Attention(spec)
        self.norm2 = nn.LayerNorm(spec.dim_out, eps=NORM_EPS)
        self.mlp = Mlp(spec.dim_out, int(spec.dim_out * mlp_ratio))
        if spec.dim != spec.dim_out:
            self.proj = nn.Linear(spec.dim, spec.dim_out)

    def forward(self, x: Tensor) -> Tensor:
        """(..., S, C) to (..., S / q, C_out)."""
        y = self.norm1(x)
        if self.spec.dim != self.spec.dim_out:
            # The shortcut starts from the normalised input, as in Hiera. Under autocast the sum
            # over the blocks stays in full precision.
            x = max_pool(self.proj(y), self.spec.q_stride).to(x.dtype)
        x = x + self.attn(y)
        return x + self.mlp(self.norm2(x))
