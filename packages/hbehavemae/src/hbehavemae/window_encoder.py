"""Batches of overlapping windows of one recording, encoded without doing the same work twice.

Two things are exact and save time where windows overlap:

* The first blocks attend inside one mask unit only. There a batch is a list of mask units, cut
  into pieces that fit the processor's cache, whatever the number of windows.
* A mask unit that lies wholly in the edge padding holds one repeated frame. What the first blocks
  make of it depends on its place in the window alone, so it is computed once per recording.

Nothing else can be shared: positions are absolute, so a frame enters each window differently.

Letters: B windows of a batch, T frames, I individuals, F features, M mask units of a window,
U mask units in a list, S tokens of a mask unit, C channels, P tokens of a level along time,
D features of a level's embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor, nn

from behaviorzoo.windows import pad_frames
from hbehavemae.model import HBehaveEncoder, HBehaveMAE
from hbehavemae.model.embedding import position_table
from hbehavemae.model.encoder import TOKENS_AT_ONCE
from hbehavemae.model.fusion import fuse
from hbehavemae.packed import packed_copy
from hbehavemae.stitching import Padding, WindowRun

Transform = Callable[[Tensor], Tensor]

FUSED = "fused"


def level_name(level: int) -> str:
    """Name of a level in files: level 0 of the network is ``level_1``."""
    return f"level_{level + 1}"


@dataclass
class LocalOutput:
    """What the blocks inside mask units give for a list of units.

    Attributes:
        levels: Level to (U, S, C), those that end within these blocks.
        state: (U, S, C), input of the first global block.
    """

    levels: dict[int, Tensor]
    state: Tensor

    def parts(self) -> list[Tensor]:
        """All tensors in a fixed order."""
        return [*self.levels.values(), self.state]

    def like(self, parts: Sequence[Tensor]) -> LocalOutput:
        """The same levels with other tensors."""
        return LocalOutput(dict(zip(self.levels, parts, strict=False)), parts[-1])


class WindowEncoder:
    """Turns windows of a recording into tokens of the wanted levels.

    Args:
        model: Encoder, or the whole masked autoencoder where ``fusion`` is wanted.
        levels: Wanted levels, 0 = finest.
        embedsum: Average tokens of one time over individuals and key points instead of laying
            them side by side.
        fusion: Add the level ``fused``.
        fresh_norm: End the fusion with an untrained LayerNorm, as the original does.
        pack: Use weights packed for float32 products where the model is on a CPU.

    Attributes:
        widths: Name of each output to D, ``level_1`` is the finest.
        parts: Name of each output to P.
    """

    def __init__(
        self,
        model: HBehaveEncoder,
        levels: Sequence[int],
        *,
        embedsum: bool = False,
        fusion: bool = False,
        fresh_norm: bool = False,
        pack: bool = True,
    ):
        self.model = packed_copy(model.eval()) if pack else model.eval()
        self.geometry = geometry = model.geometry
        self._levels = list(levels)
        self._embedsum = embedsum
        self._fused_levels: list[int] = []
        self._norm: nn.Module | None = None
        if fusion:
            self._norm = _fusion_norm(model, fresh_norm)
            last = len(geometry.stage_ends) - 1
            self._fused_levels = sorted({*range(len(geometry.strides)), last})
        self._needed = sorted({*self._levels, *self._fused_levels})
        self._n_blocks = geometry.stage_ends[self._needed[-1]] + 1
        self._n_local = min(geometry.n_local, self._n_blocks)
        with torch.inference_mode():
            self._position = position_table(
                model.pos_embed_temporal, model.pos_embed_spatial, geometry
            )
        names = {level_name(level): level for level in self._levels}
        if fusion:
            names[FUSED] = len(geometry.stage_ends) - 1
        grids = {name: geometry.level_grids[level] for name, level in names.items()}
        self.parts = {name: grid[0] for name, grid in grids.items()}
        self.widths = {
            name: geometry.level_dims[level] * (1 if embedsum else prod(grids[name][1:]))
            for name, level in names.items()
        }

    @property
    def length(self) -> int:
        """Frames of a window."""
        return self.geometry.config.input_size[0]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._position.device

    def open(
        self, features: np.ndarray, padding: Padding, transform: Transform | None = None
    ) -> RecordingWindows:
        """Prepare a recording.

        Args:
            features: float32 (n, I, F).
            padding: Frames to repeat at both ends.
            transform: Applied to windows (B, T, I, F) before they enter the network.
        """
        return RecordingWindows(self, features, padding, transform)

    def local(self, units: Tensor, index: Tensor) -> LocalOutput:
        """Embed mask units and run the blocks that look at one unit only.

        Args:
            units: (U, frames, individuals, features).
            index: Place of each unit in its window, int64 (U,).
        """
        size = len(units)
        if units.device.type == "cpu":
            at_once = TOKENS_AT_ONCE * torch.get_num_threads()
            size = max(1, at_once // self.geometry.tokens_of_unit)
        pieces = [
            self._local_piece(*piece)
            for piece in zip(units.split(size), index.split(size), strict=True)
        ]
        joined = [torch.cat(parts) for parts in zip(*(p.parts() for p in pieces), strict=True)]
        return pieces[0].like(joined)

    def _local_piece(self, units: Tensor, index: Tensor) -> LocalOutput:
        x = self.model.embed(units, self._position[index])
        x, found = self._run(x, 0, self._n_local)
        return LocalOutput(found, x)

    def outputs(self, local: LocalOutput, batch: int) -> dict[str, Tensor]:
        """Finish the windows: the blocks that look at whole windows, then reduction.

        Args:
            local: For all units of the windows, window by window.
            batch: B.

        Returns:
            Name of each output to (B, P, D).
        """
        found = {level: x.unflatten(0, (batch, -1)) for level, x in local.levels.items()}
        x = local.state.unflatten(0, (batch, -1))
        found |= self._run(x, self._n_local, self._n_blocks)[1]
        out = {level_name(level): self._reduce(found[level], level) for level in self._levels}
        if self._norm is not None:
            last = len(self.geometry.stage_ends) - 1
            heads = self.model.multi_scale_fusion_heads
            fused = self._norm(fuse(heads, found, self.geometry))  # type: ignore[arg-type]
            out[FUSED] = self._reduce(fused[:, :, None], last)
        return out

    def _run(self, x: Tensor, start: int, stop: int) -> tuple[Tensor, dict[int, Tensor]]:
        """Blocks [start, stop) on (..., S, C), and the projected levels that end among them."""
        found: dict[int, Tensor] = {}
        for number in range(start, stop):
            x = self.model.blocks[number](x)
            if number in self.geometry.stage_ends:
                level = self.geometry.stage_ends.index(number)
                if level in self._needed:
                    found[level] = self.model.projections[level](x)
        return x, found

    def _reduce(self, x: Tensor, level: int) -> Tensor:
        """(B, M, S, C) in unit order to (B, P, D)."""
        grid = self.model.to_grid(x, level)  # (B, t, h, w, C)
        return grid.mean(dim=(2, 3)) if self._embedsum else grid.flatten(2)


class RecordingWindows:
    """The windows of one recording.

    Args:
        encoder: What encodes them.
        features: float32 (n, I, F).
        padding: Frames to repeat at both ends.
        transform: Applied to windows (B, T, I, F) before they enter the network. It may look at
            the whole window, so nothing is shared between windows then.
    """

    def __init__(
        self,
        encoder: WindowEncoder,
        features: np.ndarray,
        padding: Padding,
        transform: Transform | None = None,
    ):
        self._encoder = encoder
        self._transform = transform
        padded = pad_frames(np.asarray(features, np.float32), padding.front, padding.behind)
        self._frames = torch.from_numpy(np.ascontiguousarray(padded)).to(encoder.device)
        # Frames before `_moves` equal the first frame, those from `_rests` on the last one.
        self._moves = padding.front + 1
        self._rests = padding.front + len(features) - 1
        self._still = self._encode_still() if transform is None else None

    def encode(self, run: WindowRun) -> dict[str, Tensor]:
        """Encode a batch of windows: name of each output to (B, P, D)."""
        starts = torch.arange(run.windows, device=self._frames.device) * run.step + run.first
        windows = self._frames.unfold(0, self._encoder.length, 1)[starts].movedim(-1, 1)
        if self._transform is not None:
            windows = self._transform(windows)
        units = self._encoder.model.cut(windows)
        return self._encoder.outputs(self._local(units, starts), run.windows)

    def _local(self, units: Tensor, starts: Tensor) -> LocalOutput:
        """Blocks inside the units (B, M, ...), those in the padding taken from the store."""
        B, M = units.shape[:2]
        flat = units.flatten(0, 1)
        index = torch.arange(M, device=flat.device).repeat(B)
        source = self._sources(starts)
        if self._still is None or not source.any():
            return self._encoder.local(flat, index)
        moving = source == 0
        chosen = index + (source - 1) * M  # place in the store: first frame, then last frame
        if not moving.any():
            return self._still.like([store[chosen] for store in self._still.parts()])
        computed = self._encoder.local(flat[moving], index[moving])
        parts = []
        for store, part in zip(self._still.parts(), computed.parts(), strict=True):
            whole = part.new_empty((B * M, *part.shape[1:]))
            whole[moving] = part
            whole[~moving] = store[chosen[~moving]]
            parts.append(whole)
        return computed.like(parts)

    def _sources(self, starts: Tensor) -> Tensor:
        """Where each unit's result comes from, (B * M,): 0 computed, 1 first frame, 2 last."""
        geometry = self._encoder.geometry
        units_t, *units_hw = geometry.mask_grid
        frames = self._encoder.length // units_t
        first = starts[:, None] + torch.arange(units_t, device=starts.device) * frames
        source = (first + frames <= self._moves).long() + 2 * (first >= self._rests).long()
        # A recording of one frame is still throughout: both hold, either is right.
        return source.clamp(max=2).repeat_interleave(prod(units_hw), dim=1).flatten()

    @torch.inference_mode()
    def _encode_still(self) -> LocalOutput:
        """All units of a window that repeats the first frame, then of one with the last."""
        ends = self._frames[[0, -1]][:, None].expand(-1, self._encoder.length, -1, -1)
        units = self._encoder.model.cut(ends)
        index = torch.arange(units.shape[1], device=units.device).repeat(2)
        return self._encoder.local(units.flatten(0, 1), index)


def _fusion_norm(model: HBehaveEncoder, fresh: bool) -> nn.Module:
    if not isinstance(model, HBehaveMAE):
        raise TypeError("fusion needs the masked autoencoder, whose heads are trained")
    norm = model.encoder_norm
    if not fresh:
        return norm
    untrained = nn.LayerNorm(list(norm.normalized_shape), eps=norm.eps)
    return untrained.to(norm.weight.device)
