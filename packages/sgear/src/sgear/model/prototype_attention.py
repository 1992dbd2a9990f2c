"""Prototype attention: which prototypes the clips remind of, and what they add to the features.

B batch, T clips (and chosen prototypes), N prototypes, D features, h heads of d = 64, D = h d.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from behaviorzoo.errors import UserError
from sgear.model.config import HEAD_DIM, Compat
from sgear.similarity import cosines


class PrototypeAttention(nn.Module):
    """Chosen prototypes attend to the features of the clips.

    Args:
        dim: D, a multiple of 64.
        n_clips: T.
    """

    def __init__(self, dim: int, n_clips: int) -> None:
        super().__init__()
        self.n_heads = dim // HEAD_DIM
        self.tpl_weights = nn.Parameter(torch.full((self.n_heads, n_clips), 0.5))
        self.gate = nn.Parameter(torch.full((1,), 0.5))
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, features: Tensor) -> Tensor:
        """Mix the prototypes by the features they meet and by their place.

        Args:
            tokens: (B, T, D), the chosen prototypes: queries and values.
            features: (B, T, D), the keys.

        Returns:
            (B, T, D).
        """
        q, k = self._heads(tokens), self._heads(features)  # (B, h, T, d)
        attention = ((q * HEAD_DIM**-0.5) @ k.mT).softmax(-1)
        gate = self.gate.sigmoid()
        y = (gate * attention + (1 - gate) * self._places()) @ q
        # The published code does not bring the heads together again: (h, T, d) is read as (T, D).
        return self.proj(y.reshape(tokens.shape))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.n_heads, HEAD_DIM)).transpose(1, 2)

    def _places(self) -> Tensor:
        """Weights by distance in time, (h, T, T): cosine for three heads, sine for the next."""
        steps = torch.arange(self.tpl_weights.shape[1], device=self.tpl_weights.device)
        weights = self.tpl_weights[:, (steps[:, None] - steps).abs()]
        groups = torch.arange(self.n_heads, device=weights.device).div(3, rounding_mode="floor")
        cosine = (groups == 0) | (groups == 2)
        return torch.where(cosine[:, None, None], weights.cos(), weights.sin())


def choose_by_mean(features: Tensor, units: Tensor) -> Tensor:
    """The prototypes nearest to the mean of the clips, nearest first.

    Args:
        features: (B, T, D).
        units: (N, D), prototypes of length 1.

    Returns:
        (B, T), numbers of prototypes.

    Raises:
        UserError: Fewer prototypes than clips.
    """
    n_clips = features.shape[1]
    if n_clips > len(units):
        raise UserError(
            f"model.prot_attn chooses as many prototypes as there are clips, but there are "
            f"{n_clips} clips and {len(units)} prototypes; use fewer frames "
            "(data_train.num_frames) or set model.mean_representation=false"
        )
    with torch.no_grad():
        return cosines(features.mean(1), units).topk(n_clips, dim=-1).indices


def gather_tokens(prototypes: Tensor, chosen: Tensor, compat: Compat) -> Tensor:
    """The chosen prototypes as tokens; no gradient reaches them this way.

    ``upstream``: as the published code, which takes batch and place for one another when there is
    more than one item: token j of item b is number j B + b of all choices in a row. Features then
    depend on what else is in the batch, but trained weights know it so.

    Args:
        prototypes: (N, D).
        chosen: (B, T), numbers of prototypes.
        compat: See above; ``corrected`` gives every item what it chose.

    Returns:
        (B, T, D).
    """
    if compat == "upstream":
        n_items, n_tokens = chosen.shape
        chosen = chosen.reshape(n_tokens, n_items).T
    return prototypes.detach()[chosen]
