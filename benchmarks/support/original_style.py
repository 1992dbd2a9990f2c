"""The network laid out in memory as in the original code, to measure against on one machine.

Same parameters, same mathematics, same results: tokens have the mask unit as their fastest axis,
attention is called on 5-D tensors (which no fused kernel takes), pooling takes maxima with their
indices, masking selects by a tiled boolean mask, and all levels are brought to natural order.
Written anew from the description of the method; nothing is copied.
"""

from __future__ import annotations

from math import prod

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hbehavemae.model import BlockSpec, HBehaveMAE, ModelConfig
from hbehavemae.model.unroll import unroll_index


class Attention(nn.Module):
    """Attention on 5-D tensors."""

    def __init__(self, spec: BlockSpec):
        super().__init__()
        self.spec = spec
        self.qkv = nn.Linear(spec.dim, 3 * spec.dim_out)
        self.proj = nn.Linear(spec.dim_out, spec.dim_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) to (B, N / q, C_out)."""
        B, N, _ = x.shape
        s = self.spec
        windows = N // (s.q_stride * s.window) if s.mask_unit_attn else 1
        qkv = self.qkv(x).reshape(B, -1, windows, 3, s.heads, s.dim_out // s.heads)
        q, k, v = qkv.permute(3, 0, 4, 2, 1, 5)  # each (B, heads, windows, n, d)
        if s.q_stride > 1:
            q = q.unflatten(3, (s.q_stride, -1)).max(dim=3).values
        x = F.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 3).reshape(B, -1, s.dim_out))


class Mlp(nn.Module):
    """Linear, GELU, Linear."""

    def __init__(self, dim: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to (..., C)."""
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Pre-norm block with pooling."""

    def __init__(self, spec: BlockSpec):
        super().__init__()
        self.spec = spec
        self.norm1 = nn.LayerNorm(spec.dim, eps=1e-6)
        self.attn = Attention(spec)
        self.norm2 = nn.LayerNorm(spec.dim_out, eps=1e-6)
        self.mlp = Mlp(spec.dim_out)
        if spec.dim != spec.dim_out:
            self.proj = nn.Linear(spec.dim, spec.dim_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) to (B, N / q, C_out)."""
        y = self.norm1(x)
        if self.spec.dim != self.spec.dim_out:
            x = self.proj(y).unflatten(1, (self.spec.q_stride, -1)).max(dim=1).values
        x = x + self.attn(y)
        return x + self.mlp(self.norm2(x))


class OriginalStyle(nn.Module):
    """Shot7M2-like networks (one mask unit along individuals and features, single decoding)."""

    def __init__(self, model: HBehaveMAE):
        super().__init__()
        geometry = model.geometry
        config: ModelConfig = geometry.config
        self.geometry = geometry
        self.register_buffer(
            "order", unroll_index(geometry.tokens, geometry.strides), persistent=False
        )
        self.blocks = nn.ModuleList(Block(spec) for spec in geometry.blocks)
        spec = BlockSpec(
            config.decoder_embed_dim,
            config.decoder_embed_dim,
            config.decoder_num_heads,
            1,
            1,
            False,
        )
        self.decoder_blocks = nn.ModuleList(Block(spec) for _ in range(config.decoder_depth))
        for name, child in model.named_children():
            if name not in ("blocks", "decoder_blocks", "patch_embed"):
                setattr(self, name, child)
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv3d(
            1, config.init_embed_dim, config.patch_kernel, config.patch_kernel
        )
        for name, parameter in model.named_parameters(recurse=False):
            self.register_parameter(name, nn.Parameter(parameter.detach().clone()))
        self.load_state_dict(model.state_dict())

    def levels(self, x: Tensor, mask: Tensor | None = None) -> list[Tensor]:
        """(B, T, I, F) to one (B, t, h * w * C) per level, or (B, kept, ...) with a mask."""
        geometry = self.geometry
        x = self.patch_embed.proj(x[:, None]).flatten(2).transpose(1, 2)
        position = self.pos_embed_temporal.repeat_interleave(prod(geometry.tokens[1:]), dim=1)
        x = x + position + self.pos_embed_spatial.repeat(1, geometry.tokens[0], 1)
        x = x[:, self.order]
        if mask is not None:
            tiled = mask.tile(1, prod(geometry.mask_unit))
            x = x[tiled[..., None].tile(1, 1, x.shape[2])].view(x.shape[0], -1, x.shape[-1])
        found = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in geometry.stage_ends:
                level = geometry.stage_ends.index(number)
                found.append(self._natural(self.projections[level](x), level))
        return found

    def _natural(self, x: Tensor, level: int) -> Tensor:
        """[pooling 1][pooling 2]...[unit] to natural order, one axis group at a time."""
        strides = self.geometry.strides[level:]
        B, N, C = x.shape
        t, h, w = N // prod(prod(s) for s in strides), 1, 1
        x = x.view(B, *[n for s in strides for n in s], t, h, w, C)
        for _ in strides:
            s = x.shape[-7:-4]
            x = x.movedim((-7, -6, -5), (-6, -4, -2))
            t, h, w = t * s[0], h * s[1], w * s[2]
            x = x.reshape(*x.shape[:-7], t, h, w, C)
        return x.flatten(2, 4) if x.ndim > 4 else x

    def loss(self, x: Tensor, noise: Tensor) -> Tensor:
        """Training forward with ``decoding_strategy = single`` and plain targets."""
        geometry = self.geometry
        kept = noise.argsort(dim=1)[:, : geometry.n_kept]
        mask = torch.zeros_like(noise, dtype=torch.bool).scatter(1, kept, True)
        up = mask.repeat_interleave(geometry.config.input_size[0] // mask.shape[1], dim=1)
        latent = self.levels(x * up[..., None, None], mask)[-1].view(len(x), geometry.n_kept, -1)
        embedded = self.decoder_embed(self.encoder_norm(latent))
        dec = self.mask_token.repeat(len(x), geometry.n_units, 1)
        spread = mask[..., None].expand_as(dec)
        dec = dec.masked_scatter(spread, embedded) + self.decoder_pos_embed
        for block in self.decoder_blocks:
            dec = block(dec)
        pred = self.decoder_pred(self.decoder_norm(dec))[~mask]
        first = x[:, :: geometry.config.patch_kernel[0]]
        target = first.reshape(len(x), geometry.n_units, -1)[~mask]
        return ((pred - target) ** 2).mean()
