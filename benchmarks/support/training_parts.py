"""Training step and loader."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from measure import Table, best_seconds, compete
from original_style import OriginalStyle
from torch import Tensor, nn
from torch.utils.data import DataLoader

from hbehavemae.data import WindowDataset
from hbehavemae.model import HBehaveMAE, ModelConfig
from hbehavemae.training import parameter_groups

SCALE = 1.0
AUTHORS_TRAINING = 7.8
"""Samples/s of the authors' code, one thread, batch 8, where the yardstick was timed."""
CLIP = 0.02


def shot7m2() -> HBehaveMAE:
    """The published Shot7M2 network with random weights."""
    return HBehaveMAE(ModelConfig(), generator=torch.Generator().manual_seed(0))


def step(
    model: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    batch: int,
    fused: bool,
    device: str = "cpu",
) -> Callable[[], None]:
    """A training step: forward, backward, clipping, AdamW."""
    groups = [{"params": [p for p in model.parameters() if p.requires_grad], "weight_decay": 0.05}]
    if isinstance(model, HBehaveMAE):
        groups = parameter_groups(model, 0.05)
    optimiser = torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.95), fused=fused)
    x = torch.randn(batch, *ModelConfig().input_size, device=device)

    def run() -> None:
        optimiser.zero_grad()
        loss(x, torch.rand(batch, 50, device=device)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimiser.step()

    return run


def training_step(table: Table, quick: bool) -> None:
    """Samples per second of the published recipe's step, one thread."""
    table.section("Training step, Shot7M2 network, samples/s, one thread")
    ours = shot7m2().train()
    original = OriginalStyle(ours).train()
    best: dict[str, float] = {"ours": 0.0, "original": 0.0}
    for batch in (8,) if quick else (2, 4, 8, 16):
        seconds = compete(
            {
                "ours": step(ours, lambda x, noise: ours(x, noise=noise).loss, batch, fused=True),
                "original": step(original, original.loss, batch, fused=False),
            },
            repeats=3 if quick else 6,
        )
        rates = {name: batch / s for name, s in seconds.items()}
        best = {name: max(best[name], rate) for name, rate in rates.items()}
        target = 1.1 if batch == 8 else None
        ratio = rates["ours"] / rates["original"]
        table.row(
            f"batch {batch}", f"{rates['ours']:.1f}", f"{rates['original']:.1f}", ratio, target
        )
    table.row(
        "best of all batches",
        f"{best['ours']:.1f}",
        f"{best['original']:.1f}",
        best["ours"] / best["original"],
        1.1,
    )
    scaled = AUTHORS_TRAINING * SCALE
    table.row(
        "against the authors' code elsewhere, batch 8, scaled",
        f"{best['ours']:.1f}",
        f"{scaled:.1f}",
        best["ours"] / scaled,
        1.1,
    )


class Items(torch.utils.data.Dataset):
    """The same windows one by one, as the original's data set gives them."""

    def __init__(self, sequences: list[np.ndarray], window: int, stride: int):
        self.data = np.stack(sequences).reshape(len(sequences), len(sequences[0]), -1)
        self.window = window
        starts = range(0, self.data.shape[1] - window + 1, stride)
        self.ids = [(i, s) for i in range(len(sequences)) for s in starts]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[Tensor, list[Tensor]]:
        sequence, start = self.ids[index]
        x = self.data[sequence, start : start + self.window]
        return torch.as_tensor(x, dtype=torch.float32).reshape(self.window, 1, -1), []


def loader(table: Table, quick: bool) -> None:
    """Windows per second from memory to a batch."""
    table.section("Loader, windows/s, one thread, batch 64", "No augmentation, random order.")
    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(1919, 1, 72)).astype(np.float32) for _ in range(40)]
    data = WindowDataset(sequences, [str(i) for i in range(40)], window=400, stride=17)
    items = Items(sequences, 400, 17)
    original = DataLoader(items, batch_size=64, shuffle=True, drop_last=True)
    order = rng.permutation(len(data))
    n = len(order) // 64 * 64

    def gather() -> None:
        for at in range(0, n, 64):
            data.batch(order[at : at + 64])

    def collate() -> None:
        for _ in original:
            pass

    seconds = compete({"ours": gather, "original": collate}, repeats=3 if quick else 7)
    rates = {name: n / s for name, s in seconds.items()}
    table.row(
        "batch by one index against items and collate",
        f"{rates['ours']:,.0f}",
        f"{rates['original']:,.0f}",
        rates["ours"] / rates["original"],
        1.0,
    )
    copy = torch.empty(64, 400, 1, 72)
    source = torch.randn(64, 400, 1, 72)
    limit = 64 / best_seconds(lambda: copy.copy_(source), 20)
    table.row("a plain copy of as many bytes, for comparison", f"{limit:,.0f}")
