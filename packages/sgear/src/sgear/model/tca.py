"""Temporal context aggregation (TCA): blocks behind the ViT that look at earlier frames.

B batch, T frames, M tokens of a frame (the class token first), h heads of d = 64 features,
D0 = h d.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from sgear.model.config import HEAD_DIM
from sgear.model.lower_triangular import lower_triangular_attention, some_rows


class TCABlock(nn.Module):
    """A transformer block whose keys and values gather what earlier frames held (pre-norm).

    Args:
        dim: D0.
        n_frames: T.
    """

    def __init__(self, dim: int, n_frames: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = TCAttention(dim, n_frames)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, 4 * dim)

    def forward(self, x: Tensor, batch: int) -> Tensor:
        """Tokens (B T, M, D0) to tokens of the same shape.

        Args:
            x: Tokens, frames of an item one after the other.
            batch: B.
        """
        x = x + self.attn(self.norm1(x), batch)
        return x + self.mlp(self.norm2(x))

    def class_tokens(self, x: Tensor, batch: int) -> Tensor:
        """The first token of every frame of what :meth:`forward` gives, (B T, D0), for less work.

        Args:
            x: (B T, M, D0).
            batch: B.
        """
        first = x[:, 0] + self.attn.class_tokens(self.norm1(x), batch)
        return first + self.mlp(self.norm2(first))


class TCAttention(nn.Module):
    """Attention within a frame; keys and values carry a weighted sum over earlier frames.

    Args:
        dim: D0, a multiple of 64.
        n_frames: T.
    """

    def __init__(self, dim: int, n_frames: int) -> None:
        super().__init__()
        self.n_heads = dim // HEAD_DIM
        self.tmp_weighting = nn.Parameter(torch.ones(n_frames))
        # Of a residual attention that never runs in the published code; in its checkpoints.
        self.alpha = nn.Parameter(torch.full((1,), 0.5))
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, batch: int) -> Tensor:
        """(B T, M, D0) to (B T, M, D0)."""
        qkv = F.linear(x, self.qkv.weight)
        q, k, v = self._split(qkv, batch).unbind(2)  # (B, T, h, M, d) each
        k, v = self._with_past(k), self._with_past(v)
        y = lower_triangular_attention(q, k, v)
        # The published code takes frames for heads here; trained weights depend on it.
        return self.proj(y.transpose(1, 2).reshape(x.shape))

    def class_tokens(self, x: Tensor, batch: int) -> Tensor:
        """First token of every frame of the output, (B T, D0).

        The merge of heads makes it of h rows of one head and another frame, see
        :func:`rows_of_class_tokens`: only their queries are needed.

        Args:
            x: (B T, M, D0).
            batch: B.
        """
        n_tokens, dim = x.shape[1:]
        of_query, of_key_value = self.qkv.weight.split([dim, 2 * dim])
        k, v = self._split(F.linear(x, of_key_value), batch).unbind(2)
        k, v = self._with_past(k), self._with_past(v)  # (B, T, h, M, d)
        q = self._split(F.linear(x[:, : self.n_heads], of_query), batch).squeeze(2)

        rows = rows_of_class_tokens(self.n_heads, k.shape[1], n_tokens)
        head, frame, token = (index.to(x.device, non_blocking=True) for index in rows)
        q = q[:, frame, head, token]  # (B, T, h, d)
        if n_tokens < self.n_heads:  # rows of one output come from several frames or heads
            y = some_rows(q[..., None, :], k[:, frame, head], v[:, frame, head], token)
        else:
            frame, head = frame[:, 0], head[:, 0]
            y = some_rows(q, k[:, frame, head], v[:, frame, head], token)
        return self.proj(y.reshape(len(x), dim))

    def _split(self, x: Tensor, batch: int) -> Tensor:
        """(B T, M, s D0) to (B, T, s, h, M, d)."""
        n_frames, n_tokens = len(x) // batch, x.shape[1]
        shape = (batch, n_frames, n_tokens, -1, self.n_heads, HEAD_DIM)
        return x.view(shape).permute(0, 1, 3, 4, 2, 5)

    def _with_past(self, x: Tensor) -> Tensor:
        """Add what earlier frames held, (B, T, h, M, d); no gradient flows back in time.

        The frame itself counts w[t] - 1 times beside itself, not at all before w has learned.
        """
        weighted = x.detach() * self.tmp_weighting[:, None, None, None]
        return x + (weighted.cumsum(1) - x.detach())


class MLP(nn.Module):
    """Linear, GELU, linear."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D0) to (..., D0)."""
        return self.fc2(F.gelu(self.fc1(x)))


def rows_of_class_tokens(n_heads: int, n_frames: int, n_tokens: int) -> tuple[Tensor, ...]:
    """Which rows of (h, T, M, d) are read as the first token of every frame of (T, M, h d).

    Args:
        n_heads: h.
        n_frames: T.
        n_tokens: M.

    Returns:
        Head, frame and token of every row, (T, h) each.
    """
    first = torch.arange(n_frames)[:, None] * (n_tokens * n_heads)
    rows = first + torch.arange(n_heads)
    return rows // (n_frames * n_tokens), rows // n_tokens % n_frames, rows % n_tokens
