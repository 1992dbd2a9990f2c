"""The masked autoencoder: hide mask units, predict their poses.

Letters: B batch, T frames, I individuals, F features; M mask units (K visible), D decoder width,
V values predicted per unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from behaviorzoo.errors import UserError
from hbehavemae.losses import masked_error, standardise, standardise_observed, token_errors
from hbehavemae.model.attention import NORM_EPS, Block
from hbehavemae.model.encoder import HBehaveEncoder
from hbehavemae.model.fusion import fuse, fusion_heads
from hbehavemae.model.geometry import BlockSpec, Geometry, ModelConfig
from hbehavemae.model.masking import Selection, mask_from_noise, select, take_units, visible_count


class MAEOutput(NamedTuple):
    """What a training forward gives.

    Attributes:
        loss: Mean squared error over the hidden units' values, float32 or float64, scalar.
        pred: (B, M, V) prediction for every unit of the mask grid.
        target: (B, M - K, V) what the hidden units hold (standardised if ``norm_loss``).
        mask: (B, M) boolean, True = visible.
        latent: (B, K, C) fused and normalised embedding of the visible units.
        levels: Level to (B, K, S, C) in unit order, those that were fused.
        token_errors: (B, M - K) mean squared error of each hidden unit.
        hidden: (B, M - K) which units those are, ascending.
    """

    loss: Tensor
    pred: Tensor
    target: Tensor
    mask: Tensor
    latent: Tensor
    levels: dict[int, Tensor]
    token_errors: Tensor
    hidden: Tensor


class HBehaveMAE(HBehaveEncoder):
    """hBehaveMAE, or BehaveMAE with ``non_hierarchical``.

    Parameters that the decoding strategy leaves without a gradient (the fusion heads and the
    finer projections in ``single``) are frozen, so that distributed training need not look for
    them; they stay in the state dict, as in the published files.

    Args:
        config: Options; the geometry is checked here.
        generator: Source of the random initial weights; PyTorch's own where None.
        masked: Check that random masks of ``config.mask_ratio`` are possible; a trained network
            that only embeds does without.

    Raises:
        UserError: A geometry that cannot work, with every reason.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        generator: torch.Generator | None = None,
        masked: bool = True,
    ) -> None:
        super().__init__(config, generator=generator, masked=masked)

    def _build(self, geometry: Geometry) -> None:
        super()._build(geometry)
        config = geometry.config
        dim, latent = config.decoder_embed_dim, geometry.level_dims[-1]
        self.mask_token = nn.Parameter(torch.empty(1, 1, dim))
        self.decoder_pos_embed = nn.Parameter(torch.empty(1, geometry.n_units, dim))
        self.encoder_norm = nn.LayerNorm(latent, eps=NORM_EPS)
        self.multi_scale_fusion_heads = fusion_heads(geometry)
        self.decoder_embed = nn.Linear(latent, dim)
        spec = BlockSpec(dim, dim, config.decoder_num_heads, 1, 1, False)
        self.decoder_blocks = nn.ModuleList(
            Block(spec, config.mlp_ratio) for _ in range(config.decoder_depth)
        )
        self.decoder_norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.decoder_pred = nn.Linear(dim, geometry.pred_size)
        self._freeze_unused()

    def _freeze_unused(self) -> None:
        fused = self.geometry.fused_levels
        unused = [p for level, p in enumerate(self.projections) if level not in fused]
        if self.config.decoding_strategy == "single":
            unused.append(self.multi_scale_fusion_heads)
        for module in unused:
            module.requires_grad_(False)

    # Training asks another question than embedding does, hence another forward.
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        x: Tensor,
        mask: Tensor | None = None,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> MAEOutput:
        """Hide units, predict them, and measure the error.

        Args:
            x: Windows (B, T, I, F). NaN is allowed where ``config.missing``.
            mask: (B, M) boolean, True = visible, equally many in every row; wins over noise.
            noise: (B, M) numbers whose smallest stay visible; drawn from U[0, 1) where None.
            generator: Source of that noise.

        Raises:
            UserError: Windows or mask of another shape than the network's, or the mask ratio
                hides all or nothing.
        """
        units = self.cut(x)
        mask, selection = self._choose(len(x), x.device, mask, noise, generator)
        levels = self.encode(units, selection.visible, self.geometry.fused_levels)
        latent = self.encoder_norm(self.fuse(levels))
        pred = self.decode(latent, selection)
        loss, target, errors = self.reconstruction_loss(units, pred, selection)
        return MAEOutput(loss, pred, target, mask, latent, levels, errors, selection.hidden)

    def fuse(self, levels: Mapping[int, Tensor]) -> Tensor:
        """Fused levels in unit order, before the normalisation: (B, K, C)."""
        if self.config.decoding_strategy == "single":
            return levels[len(self.geometry.stage_ends) - 1].squeeze(2)
        return fuse(self.multi_scale_fusion_heads, levels, self.geometry)

    def decode(self, latent: Tensor, selection: Selection) -> Tensor:
        """Predict every unit from the visible ones: (B, K, C) to (B, M, V)."""
        visible = self.decoder_embed(latent)
        hidden = self.mask_token.to(visible.dtype).expand(*selection.hidden.shape, -1)
        x = take_units(torch.cat([visible, hidden], dim=1), selection.restore)
        x = (x + self.decoder_pos_embed)[:, :, None]  # (B, M, 1, D): one token per unit
        for block in self.decoder_blocks:
            x = block(x)
        return self.decoder_pred(self.decoder_norm(x)).squeeze(2)

    def reconstruction_loss(
        self, units: Tensor, pred: Tensor, selection: Selection
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compare the hidden units with their prediction.

        Only the first frame of each temporal patch is predicted.

        Args:
            units: (B, M, frames, individuals, features).
            pred: (B, M, V).
            selection: Which units are hidden.

        Returns:
            Loss (scalar), target (B, M - K, V), error of each hidden unit (B, M - K).
        """
        target = take_units(units, selection.hidden)[:, :, :: self.config.patch_kernel[0]]
        target = target.flatten(2)
        guess = take_units(pred, selection.hidden).to(target.dtype)
        if self.config.missing:
            observed = ~torch.isnan(target)
            target = target.masked_fill(~observed, 0.0)
            if self.config.norm_loss:
                target = standardise_observed(target, observed)
            loss, errors = masked_error(guess, target, observed)
            return loss, target, errors
        if self.config.norm_loss:
            target = standardise(target)
        errors = token_errors(guess, target)
        return errors.mean(), target, errors

    def _choose(
        self,
        batch: int,
        device: torch.device,
        mask: Tensor | None,
        noise: Tensor | None,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Selection]:
        if mask is not None:
            return mask, select(mask, visible_count(self._checked(mask, batch)))
        if not 0 < self.geometry.n_kept < self.geometry.n_units:
            raise UserError(
                f"mask_ratio {self.config.mask_ratio} of {self.geometry.n_units} mask units leaves "
                f"{self.geometry.n_kept} visible: some must be visible and some hidden to train"
            )
        if noise is None:
            source = device if generator is None else generator.device
            noise = torch.rand(batch, self.geometry.n_units, generator=generator, device=source)
        mask = mask_from_noise(noise.to(device), self.config.mask_ratio)
        return mask, select(mask, self.geometry.n_kept)
