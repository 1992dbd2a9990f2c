"""The hierarchical encoder: windows of poses in, one embedding grid per level out.

Letters: B batch, T frames, I individuals, F features; M mask units (K visible), S tokens of a
mask unit, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from behaviorzoo.errors import UserError
from hbehavemae.model.attention import Block
from hbehavemae.model.embedding import (
    MissingEmbed,
    PatchEmbed,
    position_table,
    raw_units,
    split_missing,
    take_rows,
)
from hbehavemae.model.geometry import Geometry, ModelConfig
from hbehavemae.model.initialisation import initialise
from hbehavemae.model.masking import select, take_units, visible_count
from hbehavemae.model.unroll import units_to_grid

TOKENS_AT_ONCE = 1000
"""Tokens per thread whose activations stay in a CPU's cache: a quarter faster than all at once."""


class HBehaveEncoder(nn.Module):
    """Encoder of hBehaveMAE (Stoffl et al. 2024) on the Hiera backbone (Ryali et al. 2023).

    Args:
        config: Options; the geometry is checked here.
        generator: Source of the random initial weights; PyTorch's own where None.
        masked: Check that random masks of ``config.mask_ratio`` are possible.

    Raises:
        UserError: A geometry that cannot work, with every reason.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        generator: torch.Generator | None = None,
        masked: bool = False,
    ) -> None:
        super().__init__()
        self.geometry = Geometry(config, masked)
        self._build(self.geometry)
        initialise(self, generator)

    def _build(self, geometry: Geometry) -> None:
        config = geometry.config
        t, h, w = geometry.tokens
        self.pos_embed_spatial = nn.Parameter(torch.empty(1, h * w, config.init_embed_dim))
        self.pos_embed_temporal = nn.Parameter(torch.empty(1, t, config.init_embed_dim))
        self.patch_embed = PatchEmbed(geometry)
        if config.missing:
            self.missing_embed = MissingEmbed(geometry)
        self.blocks = nn.ModuleList(Block(spec, config.mlp_ratio) for spec in geometry.blocks)
        self.projections = nn.ModuleList(
            nn.Linear(geometry.blocks[end].dim_out, dim)
            for end, dim in zip(geometry.stage_ends, geometry.level_dims, strict=True)
        )

    @property
    def config(self) -> ModelConfig:
        """The options the network was built with."""
        return self.geometry.config

    def forward(
        self, x: Tensor, mask: Tensor | None = None, levels: Sequence[int] | None = None
    ) -> list[Tensor]:
        """Embed windows; only what the wanted levels need is computed.

        Args:
            x: Windows (B, T, I, F). NaN is allowed where ``config.missing``.
            mask: (B, M) boolean, True = visible, equally many in every row; None sees all.
            levels: Wanted levels, 0 = finest; all where None.

        Returns:
            One tensor per wanted level, in the order asked for: (B, t, h, w, C) without a mask,
            (B, K, t, h, w, C) with one, then (t, h, w) run inside a mask unit.

        Raises:
            UserError: Windows, mask or levels of another shape than the network's.
        """
        wanted = self._wanted(levels)
        units = self.cut(x)
        visible = None
        if mask is not None:
            visible = select(mask, visible_count(self._checked(mask, len(x)))).visible
        found = self.encode(units, visible, wanted)
        return [self.to_grid(found[level], level, whole=mask is None) for level in wanted]

    def cut(self, x: Tensor) -> Tensor:
        """Windows (B, T, I, F) to mask units (B, M, frames, individuals, features)."""
        if x.ndim != 4 or tuple(x.shape[1:]) != self.config.input_size:
            raise UserError(
                f"input: windows of (frames, individuals, features) {tuple(x.shape[1:])}, the "
                f"network was built for {self.config.input_size}"
            )
        return raw_units(x, self.geometry)

    def encode(
        self, units: Tensor, visible: Tensor | None, levels: Sequence[int]
    ) -> dict[int, Tensor]:
        """Embed units and run the blocks that the wanted levels need.

        Args:
            units: (B, M, frames, individuals, features).
            visible: (B, K) visible units, ascending; None for all.
            levels: Wanted levels.

        Returns:
            Level to (B, K, S, C) in unit order.
        """
        stop = self.geometry.stage_ends[max(levels)] + 1
        local = min(self.geometry.n_local, stop)
        B, M = units.shape[:2]
        if visible is None:
            numbers = torch.arange(M, device=units.device).repeat(B)
        else:
            units, numbers = take_units(units, visible), visible.flatten()
        position = position_table(self.pos_embed_temporal, self.pos_embed_spatial, self.geometry)

        # Up to block `local` units do not see each other and can pass in any portions.
        size = self._units_at_once(units) if local else len(numbers)
        portions = [
            self.run_blocks(self.embed(u, take_rows(position, n)), 0, local, levels)
            for u, n in zip(units.flatten(0, 1).split(size), numbers.split(size), strict=True)
        ]
        x = _join([x for x, _ in portions]).unflatten(0, (B, -1))
        found = {
            level: _join([part[level] for _, part in portions]).unflatten(0, (B, -1))
            for level in portions[0][1]
        }
        return {**found, **self.run_blocks(x, local, stop, levels)[1]}  # torch 2.5 compiles no "|"

    def embed(self, units: Tensor, position: Tensor) -> Tensor:
        """Tokens of mask units: patches embedded, positions added.

        Args:
            units: (R, frames, individuals, features) any R units.
            position: (R, S, E) position embeddings of their tokens.

        Returns:
            (R, S, E) in unit order.
        """
        # Coordinates need all digits: half precision would round pixels by whole units.
        with torch.autocast(units.device.type, enabled=False):
            patches = self.patch_embed.patches(units)
            if not self.config.missing:
                return self.patch_embed(patches) + position
            values, missing = split_missing(patches)
            return self.patch_embed(values) + self.missing_embed(missing) + position

    def run_blocks(
        self, x: Tensor, start: int, stop: int, levels: Sequence[int]
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Run some of the blocks.

        Args:
            x: (B, M, S, C) tokens in unit order, or (R, S, C) up to block ``geometry.n_local``.
            start: First block.
            stop: Block after the last one.
            levels: Wanted levels.

        Returns:
            Output of the last block, and level to embedding for the wanted ones among them.
        """
        found = {}
        for index in range(start, stop):
            x = self.blocks[index](x)
            if index in self.geometry.stage_ends:
                level = self.geometry.stage_ends.index(index)
                if level in levels:
                    found[level] = self.projections[level](x)
        return x, found

    def _units_at_once(self, units: Tensor) -> int:
        """Units per portion: all, except on a CPU without gradients, where the cache counts."""
        n_units = units.shape[0] * units.shape[1]
        # A compiler arranges memory by itself; here it would only unroll the portions.
        whole = torch.is_grad_enabled() or torch.compiler.is_compiling()
        if whole or units.device.type != "cpu":
            return n_units
        tokens_of_unit = self.geometry.tokens_of_unit
        return max(1, TOKENS_AT_ONCE * torch.get_num_threads() // tokens_of_unit)

    def to_grid(self, x: Tensor, level: int, *, whole: bool = True) -> Tensor:
        """A level in unit order (B, K, S, C) to natural order.

        Args:
            x: Output of :meth:`encode`.
            level: Which level it is.
            whole: All units are there: give one grid (B, t, h, w, C) for the window; else a
                small grid for each unit, (B, K, t, h, w, C).
        """
        strides = self.geometry.strides[level:]
        if whole:
            return units_to_grid(x, self.geometry.mask_grid, strides)
        B, K = x.shape[:2]
        return units_to_grid(x.flatten(0, 1), (1, 1, 1), strides).unflatten(0, (B, K))

    def _wanted(self, levels: Sequence[int] | None) -> list[int]:
        n_levels = len(self.geometry.stage_ends)
        wanted = list(range(n_levels)) if levels is None else list(levels)
        wrong = [level for level in wanted if not 0 <= level < n_levels]
        if wrong or not wanted:
            raise UserError(
                f"levels: {wrong or 'none'} wanted, the network has 0 to {n_levels - 1}"
            )
        return wanted

    def _checked(self, mask: Tensor, batch: int) -> Tensor:
        expected = (batch, self.geometry.n_units)
        if mask.dtype != torch.bool or tuple(mask.shape) != expected:
            raise UserError(
                f"mask: {mask.dtype} of shape {tuple(mask.shape)}, expected booleans (windows, "
                f"mask units) {expected}"
            )
        return mask


def _join(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
