"""The whole backbone against a slow one, written from the description of the authors' network.

It works on a volume token by token: no windows are cut out, no map is rolled. Weights come from
our network under the authors' names.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from uas_swin.author_options import AUTHORS_BACKBONE, backbone_options
from uas_swin.layout import to_authors
from uas_swin.model.backbone import UASSwinTransformer3D

SMALL = {"embed_dim": 4, "depths": [2, 1], "num_heads": [1, 2], "window_size": (2, 3, 3)}
PATCHED = {**SMALL, "patch_size": (2, 4, 4), "patch_norm": True}
LORA = {**PATCHED, "use_lora": True, "lora_rank": 3, "lora_alpha": 5}
CASES: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "defaults": (SMALL, (1, 3, 8, 16, 16)),
    "one_frame": (PATCHED, (1, 3, 1, 24, 24)),
    "one_token": (PATCHED, (2, 3, 2, 4, 4)),
    "nothing_divides": (PATCHED, (1, 3, 5, 29, 18)),
    "all_axes_shrink": ({**PATCHED, "window_size": (8, 7, 7)}, (1, 3, 5, 21, 14)),
    "time_shrinks": ({**PATCHED, "window_size": (4, 3, 3)}, (2, 3, 6, 28, 28)),
    "width_shrinks": ({**PATCHED, "window_size": (2, 2, 6)}, (1, 3, 6, 20, 16)),
    "even_window": ({**PATCHED, "window_size": (2, 4, 2)}, (1, 3, 6, 26, 22)),
    "window_of_one": ({**PATCHED, "window_size": (1, 1, 1)}, (1, 3, 4, 8, 8)),
    "odd_patch": ({**PATCHED, "patch_size": (1, 3, 5)}, (1, 3, 3, 14, 17)),
    "no_bias": ({**PATCHED, "qkv_bias": False}, (1, 3, 5, 22, 20)),
    "own_scale": ({**PATCHED, "qk_scale": 0.3, "mlp_ratio": 2.5}, (1, 3, 4, 16, 16)),
    "one_channel": ({**PATCHED, "in_chans": 1}, (1, 1, 4, 16, 16)),
    "four_stages": (
        {**PATCHED, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 4, 8]},
        (1, 3, 4, 40, 24),
    ),
    "lora_qv": (LORA, (1, 3, 5, 22, 20)),
    "lora_all": ({**LORA, "lora_layer_type": "all"}, (1, 3, 5, 22, 20)),
    "lora_qkvo_first": (
        {**LORA, "lora_layer_type": "qkvo", "lora_type": "first", "qkv_bias": False},
        (1, 3, 4, 16, 16),
    ),
    "lora_mlp_last": ({**LORA, "lora_layer_type": "mlp", "lora_type": "last"}, (1, 3, 4, 16, 16)),
    "lora_wide_no_alpha": (
        {**LORA, "lora_rank": 9, "lora_alpha": None, "lora_layer_type": "qkv"},
        (1, 3, 4, 16, 16),
    ),
}


class Slow:
    """The authors' network as functions of a state dict ``w``."""

    def __init__(self, w: dict[str, Tensor], config: dict[str, Any]):
        self.w, self.config = w, {**AUTHORS_BACKBONE, **config}
        rank, alpha = self.config["lora_rank"], self.config["lora_alpha"]
        self.branch_scale = 1.0 if alpha is None else alpha / max(rank, 1)

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.w[f"{name}.weight"], self.w.get(f"{name}.bias"))

    def norm(self, name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.w[f"{name}.weight"], self.w[f"{name}.bias"], 1e-5)

    def branch(self, name: str, x: Tensor) -> Tensor | float:
        if f"{name}.lora_A.weight" not in self.w:
            return 0.0
        down, up = self.w[f"{name}.lora_A.weight"], self.w[f"{name}.lora_B.weight"]
        return self.branch_scale * x @ down.T @ up.T

    def __call__(self, clip: Tensor) -> Tensor:
        """(C, T, H, W) to (C, D, H, W)."""
        x = self.patches(clip)
        for stage, depth in enumerate(self.config["depths"]):
            for block in range(depth):
                x = self.block(f"layers.{stage}.blocks.{block}", x, stage, block % 2 == 1)
            if stage + 1 < len(self.config["depths"]):
                x = self.merged(f"layers.{stage}.downsample", x)
        return self.norm("norm", x).movedim(-1, 0)

    def patches(self, clip: Tensor) -> Tensor:
        """One patch after the other, zeros beyond the end: (D, H, W, C)."""
        patch = self.config["patch_size"]
        sizes = [math.ceil(n / p) for n, p in zip(clip.shape[1:], patch, strict=True)]
        whole = clip.new_zeros(len(clip), *(n * p for n, p in zip(sizes, patch, strict=True)))
        whole[:, : clip.shape[1], : clip.shape[2], : clip.shape[3]] = clip
        weight = self.w["patch_embed.proj.weight"].flatten(1)
        out = clip.new_zeros(*sizes, len(weight))
        for place in product(*map(range, sizes)):
            t, h, w = (slice(i * p, (i + 1) * p) for i, p in zip(place, patch, strict=True))
            out[place] = weight @ whole[:, t, h, w].flatten() + self.w["patch_embed.proj.bias"]
        return self.norm("patch_embed.norm", out) if self.config["patch_norm"] else out

    def block(self, name: str, x: Tensor, stage: int, shifted: bool) -> Tensor:
        x = x + self.attention(f"{name}.attn", self.norm(f"{name}.norm1", x), stage, shifted)
        h = self.norm(f"{name}.norm2", x)
        h = F.gelu(self.linear(f"{name}.mlp.fc1", h) + self.branch(f"{name}.mlp.lora_fc1", h))
        return x + self.linear(f"{name}.mlp.fc2", h) + self.branch(f"{name}.mlp.lora_fc2", h)

    def attention(self, name: str, x: Tensor, stage: int, shifted: bool) -> Tensor:
        """Each token to those of its window; tokens across a seam of the volume count -100."""
        size, full = x.shape[:3], self.config["window_size"]
        window = [min(n, w) for n, w in zip(size, full, strict=True)]
        shift = [w // 2 if shifted and n > w else 0 for n, w in zip(size, full, strict=True)]
        padded = [math.ceil(n / w) * w for n, w in zip(size, window, strict=True)]
        volume = x.new_zeros(*padded, x.shape[-1])
        volume[: size[0], : size[1], : size[2]] = x
        out = torch.zeros_like(volume)
        members: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
        for place in product(*map(range, padded)):  # places in the rolled volume
            members.setdefault(
                tuple(p // w for p, w in zip(place, window, strict=True)), []
            ).append(place)
        for places in members.values():
            true = [
                tuple((p + s) % n for p, s, n in zip(place, shift, padded, strict=True))
                for place in places
            ]
            region = [
                tuple(
                    (p >= n - w) + (s > 0 and p >= n - s)
                    for p, s, w, n in zip(place, shift, window, padded, strict=True)
                )
                for place in places
            ]
            tokens = torch.stack([volume[t] for t in true])
            found = self.of_window(name, tokens, stage, region if any(shift) else None)
            for t, value in zip(true, found, strict=True):
                out[t] = value
        return out[: size[0], : size[1], : size[2]]

    def of_window(
        self, name: str, x: Tensor, stage: int, region: list[tuple[int, ...]] | None
    ) -> Tensor:
        heads = self.config["num_heads"][stage]
        q, k, v = self.linear(f"{name}.qkv", x).chunk(3, dim=-1)
        q, k, v = (
            part + self.branch(f"{name}.lora_{letter}", x)
            for letter, part in zip("qkv", (q, k, v), strict=True)
        )
        width = x.shape[-1] // heads
        scale = self.config["qk_scale"] or width**-0.5
        added = x.new_tensor([[self.offset(i, j) for j in range(len(x))] for i in range(len(x))])
        bias = self.w[f"{name}.relative_position_bias_table"][added.long()]  # N, N, heads
        parts = []
        for head in range(heads):
            own = slice(head * width, (head + 1) * width)
            logits = scale * q[:, own] @ k[:, own].T + bias[..., head]
            if region is not None:
                apart = [[0.0 if a == b else -100.0 for b in region] for a in region]
                logits = logits + x.new_tensor(apart)
            parts.append(logits.softmax(-1) @ v[:, own])
        z = self.linear(f"{name}.proj", torch.cat(parts, dim=-1))
        return z + self.branch(f"{name}.lora_o", z)

    def offset(self, i: int, j: int) -> int:
        """Row of the table: as if both tokens lay in a window of the configured size."""
        _, height, width = full = self.config["window_size"]

        def place(n: int) -> tuple[int, int, int]:
            return n // (height * width), n // width % height, n % width

        d, h, w = (a - b + n - 1 for a, b, n in zip(place(i), place(j), full, strict=True))
        return (d * (2 * height - 1) + h) * (2 * width - 1) + w

    def merged(self, name: str, x: Tensor) -> Tensor:
        """Two by two, with zeros beyond an odd end."""
        frames, height, width, channels = x.shape
        even = x.new_zeros(frames, height + height % 2, width + width % 2, channels)
        even[:, :height, :width] = x
        corners = [even[:, r::2, c::2] for r, c in ((0, 0), (1, 0), (0, 1), (1, 1))]
        return self.linear(f"{name}.reduction", self.norm(f"{name}.norm", torch.cat(corners, -1)))


@pytest.mark.parametrize("case", list(CASES))
def test_backbone_is_the_slow_one(case):
    config, shape = CASES[case]
    generator = torch.Generator().manual_seed(0)
    backbone = UASSwinTransformer3D(
        **{k: v for k, v in backbone_options(config).items() if k != "type"}
    )
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))
    backbone.double().eval()
    clips = torch.randn(shape, generator=generator, dtype=torch.float64)
    named = {f"backbone.{n}": v for n, v in backbone.state_dict().items()}
    weights = {n.removeprefix("backbone."): v for n, v in to_authors(named).items()}
    with torch.no_grad():
        slow = Slow(weights, config)
        expected = torch.stack([slow(clip) for clip in clips])
        torch.testing.assert_close(backbone(clips), expected, rtol=1e-9, atol=1e-9)
    trained = backbone(clips)  # the way with gradients
    torch.testing.assert_close(trained, expected, rtol=1e-9, atol=1e-9)
    trained.square().mean().backward()
    assert all(p.grad is not None for p in backbone.parameters())
