"""A Swin block with fused attention, low-rank branches and checkpointing that trains them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from mmengine.model import BaseModule
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from uas_swin.mmlab import Mlp, SwinTransformerBlock3D
from uas_swin.model.attention import FusedWindowAttention
from uas_swin.model.lora import LoraOptions, add_branches, branch


class LoraMlp(BaseModule):
    """Linear, GELU, linear with branches; takes over the layers of mmaction2's.

    Args:
        mlp: As mmaction2 has built it.
        lora: Low-rank branches.
    """

    def __init__(self, mlp: Mlp, lora: LoraOptions):
        super().__init__(init_cfg=mlp.init_cfg)
        self.fc1, self.act, self.fc2, self.drop = mlp.fc1, mlp.act, mlp.fc2, mlp.drop
        narrow, wide = mlp.fc1.in_features, mlp.fc1.out_features
        sizes = {"fc1": (narrow, wide), "fc2": (wide, mlp.fc2.out_features)}
        add_branches(self, sizes, lora)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to (..., C)."""
        x = self.drop(self.act(self._linear("fc1", x)))
        return self.drop(self._linear("fc2", x))

    def _linear(self, name: str, x: Tensor) -> Tensor:
        out = getattr(self, name)(x)
        lora = branch(self, name)
        return out if lora is None else out + lora(x)


class SwinBlock(SwinTransformerBlock3D):
    """A block that takes over the layers of mmaction2's, with their names.

    Args:
        block: As mmaction2 has built it.
        lora: Low-rank branches; None for none.
        with_cp: Compute activations again in the backward pass instead of keeping them.
        remember_mask: See :class:`FusedWindowAttention`.
    """

    def __init__(
        self,
        block: SwinTransformerBlock3D,
        lora: LoraOptions | None,
        with_cp: bool = False,
        remember_mask: bool = True,
    ):
        # Not the parent's, which would build every layer a second time.
        BaseModule.__init__(self, init_cfg=block.init_cfg)
        for name in ("embed_dims", "num_heads", "window_size", "shift_size", "mlp_ratio"):
            setattr(self, name, getattr(block, name))
        self.with_cp = with_cp
        self.norm1 = block.norm1
        self.attn = FusedWindowAttention(block.attn, lora, remember_mask)
        self.drop_path = block.drop_path
        self.norm2 = block.norm2
        wrap = lora is not None and "fc1" in lora.branches
        self.mlp = LoraMlp(block.mlp, lora) if wrap and lora is not None else block.mlp

    def forward(self, x: Tensor, mask_matrix: Tensor) -> Tensor:
        """Attention and MLP, each beside a shortcut.

        Args:
            x: (B, D, H, W, C).
            mask_matrix: (windows, N, N), used by shifted blocks.
        """
        x = x + self.drop_path(self._run(self.forward_part1, x, mask_matrix))
        return x + self._run(self.forward_part2, x)

    def _run(self, part: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        if self.with_cp and torch.is_grad_enabled():
            # The re-entrant kind gives branches no gradient where nothing before them is trained.
            result = checkpoint(part, *inputs, use_reentrant=False)
            assert isinstance(result, Tensor)
            return result
        return part(*inputs)
