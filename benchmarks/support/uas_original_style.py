"""Window attention laid out as in the authors' code, to measure against.

Same parameters, same results: the table is gathered in every call, logits, bias and mask are
arrays of their own. Written anew from the description of the method; nothing is copied.
"""

from __future__ import annotations

from copy import deepcopy

from torch import Tensor, nn

from uas_swin.model.attention import FusedWindowAttention
from uas_swin.model.lora import branch


class OriginalAttention(nn.Module):
    """Attention with the weights of one of ours."""

    def __init__(self, ours: FusedWindowAttention):
        super().__init__()
        self.layers = deepcopy(ours)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B * W, N, C) to the same."""
        a, (n_windows, N, C) = self.layers, x.shape
        heads = a.num_heads
        qkv = a.qkv(x).reshape(n_windows, N, 3, heads, C // heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)  # each B * W, H, N, d
        q, k, v = (self._adapted(n, t, x) for n, t in (("q", q), ("k", k), ("v", v)))
        logits = (q * a.scale) @ k.transpose(-2, -1)
        index = a.relative_position_index[:N, :N].reshape(-1)
        bias = a.relative_position_bias_table[index].reshape(N, N, -1).permute(2, 0, 1).contiguous()
        logits = logits + bias.unsqueeze(0)
        if mask is not None:
            W = mask.shape[0]
            logits = logits.view(n_windows // W, W, heads, N, N) + mask.unsqueeze(1).unsqueeze(0)
            logits = logits.view(-1, heads, N, N)
        weights = a.attn_drop(logits.softmax(-1))
        out = a.proj((weights @ v).transpose(1, 2).reshape(n_windows, N, C))
        if (lora_o := branch(a, "o")) is not None:
            out = out + lora_o(out)
        return a.proj_drop(out)

    def _adapted(self, name: str, part: Tensor, x: Tensor) -> Tensor:
        lora = branch(self.layers, name)
        if lora is None:
            return part
        n_windows, heads, N, d = part.shape
        return part + lora(x).reshape(n_windows, N, heads, d).permute(0, 2, 1, 3)


def original_style(backbone: nn.Module) -> nn.Module:
    """A copy of a backbone with the original's attention in all of its blocks."""
    copy = deepcopy(backbone)
    for layer in copy.layers:
        for block in layer.blocks:
            block.attn = OriginalAttention(block.attn)
    return copy
