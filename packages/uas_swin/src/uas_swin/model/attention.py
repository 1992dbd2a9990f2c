"""Attention within windows, by fused kernels, with one additive mask.

Shapes: B clips, W windows of a clip, N tokens of a window, C channels, H heads. The position bias
(H, N, N) and the mask of regions (W, N, N) of shifted windows are added up once, to a float mask
(W, H, N, N); what does not change from call to call is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from mmengine.model import BaseModule
from torch import Tensor

from uas_swin.mmlab import WindowAttention3D
from uas_swin.model.kernels import window_attention
from uas_swin.model.lora import LoraOptions, add_branches, branch


@dataclass
class Remembered:
    """The last mask and what it was made of; a copy of a network starts without one."""

    key: tuple[Any, ...] | None = None
    regions: Tensor | None = None
    mask: Tensor | None = None

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return Remembered, ()


class FusedWindowAttention(BaseModule):
    """Window attention that takes over the layers of mmaction2's, with their names.

    Args:
        attention: As mmaction2 has built it.
        lora: Low-rank branches; None for none.
        remember_mask: Keep the additive mask while the table of biases does not change. For
            Swin-B at 32 x 224 x 224 that is 1.4 GB in single precision.
    """

    relative_position_bias_table: Tensor
    relative_position_index: Tensor

    def __init__(
        self,
        attention: WindowAttention3D,
        lora: LoraOptions | None = None,
        remember_mask: bool = True,
    ):
        super().__init__(init_cfg=attention.init_cfg)
        self.num_heads = attention.num_heads
        self.scale = attention.scale
        self.remember_mask = remember_mask
        self.relative_position_bias_table = attention.relative_position_bias_table
        self.register_buffer(
            "relative_position_index", cast(Tensor, attention.relative_position_index)
        )
        self.qkv = attention.qkv
        self.attn_drop = attention.attn_drop
        self.proj = attention.proj
        self.proj_drop = attention.proj_drop
        if lora is not None:
            width = (attention.embed_dims, attention.embed_dims)
            add_branches(self, dict.fromkeys("qkvo", width), lora)
        self._remembered = Remembered()

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attention of every window to itself.

        Args:
            x: (B * W, N, C), the windows of a clip side by side.
            mask: (W, N, N), 0 within and -100 between regions; None for windows without.

        Returns:
            (B * W, N, C).
        """
        heads = (self.num_heads, -1)
        q, k, v = (t.unflatten(-1, heads).transpose(1, 2) for t in self._projected(x))
        added = self.additive_mask(x.shape[1], mask, q.dtype)
        dropout = self.attn_drop.p if self.training else 0.0
        out = window_attention(q, k, v, added, self.scale, dropout)  # B * W, H, N, C / H
        x = self.proj(out.transpose(1, 2).flatten(2))
        if (lora_o := branch(self, "o")) is not None:
            x = x + lora_o(x)  # it sees the OUTPUT of the projection, as in the authors' code
        return self.proj_drop(x)

    def additive_mask(self, n_tokens: int, regions: Tensor | None, dtype: torch.dtype) -> Tensor:
        """Position bias, plus the mask of regions where there is one.

        Where a window shrank to the map, the top-left corner of the index is taken. That pairs
        the wrong offsets when height or width shrank; weights were trained with it.

        Args:
            n_tokens: N.
            regions: (W, N, N) or None.
            dtype: Of the result.

        Returns:
            (W, H, N, N), or (1, H, N, N) without regions.
        """
        table, last = self.relative_position_bias_table, self._remembered
        learned = torch.is_grad_enabled() and table.requires_grad
        if learned or not self.remember_mask:
            self._remembered = Remembered()
            return self._combined(n_tokens, regions, dtype)
        # What was made in inference mode cannot take part in training.
        inference = torch.is_inference_mode_enabled()
        key = (_version(table), table.data_ptr(), table.device, n_tokens, dtype, inference)
        if last.mask is None or last.key != key or last.regions is not regions:
            mask = self._combined(n_tokens, regions, dtype)
            last = self._remembered = Remembered(key, regions, mask)
        assert last.mask is not None
        return last.mask

    def _combined(self, n_tokens: int, regions: Tensor | None, dtype: torch.dtype) -> Tensor:
        index = self.relative_position_index[:n_tokens, :n_tokens].reshape(-1)
        # Head by head: gathering and summing along rows of one number is several times faster.
        table = self.relative_position_bias_table.to(dtype).T.contiguous()  # H, offsets
        bias = table.index_select(1, index).view(1, -1, n_tokens, n_tokens)
        return bias if regions is None else bias + regions[:, None].to(dtype)

    def _projected(self, x: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values, each (B * W, N, C), with their branches added."""
        parts = self.qkv(x).chunk(3, dim=-1)
        branches = [branch(self, name) for name in "qkv"]
        return tuple(
            part if lora is None else part + lora(x)
            for part, lora in zip(parts, branches, strict=True)
        )


def _version(table: Tensor) -> int:
    """Counts changes in place; tensors that were made in inference mode do not count."""
    return -1 if table.is_inference() else table._version
