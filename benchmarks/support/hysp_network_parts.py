"""HYSP: training step, inference with absent persons, hyperbolic contrast."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import torch
from hysp_original_style import original_style
from measure import Table, compete
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from hysp.contrast import hyperbolic_nce
from hysp.hyperbolic import distance, exp_map
from hysp.model import HYSP, ModelConfig
from hysp.optim import build_optimizer

SCALE = 1.0
PEAK = 1.0
"""Operations per second of the yardstick."""
AUTHORS_TRAINING = 0.47
"""Samples/s of the authors' code, one thread, batch 8, where the yardstick was timed."""
AUTHORS_INFERENCE = 4.2
SINGLE_PERSON = 0.75
"""Share of sequences with one person."""


def network(quick: bool) -> HYSP:
    """The published network with random weights; a small one for a quick look."""
    config = ModelConfig()
    if quick:
        encoder = replace(config.encoder, hidden_channels=8, out_channels=32)
        widths = {"projection_hidden_size": (32, 32), "predictor_hidden_size": (32, 32)}
        config = replace(config, encoder=encoder, **widths)
    return HYSP(config).train()


def step(model: nn.Module, batch: int, anomaly: bool = False) -> Callable[[], None]:
    """A training step in the published order."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = build_optimizer("RiemannianSGD", trained, 0.2, 1e-4)
    strong, weak = torch.randn(2, batch, 3, 50, 25, 2)

    def run() -> None:
        with torch.autograd.set_detect_anomaly(anomaly):
            output = model(strong, weak, 0.5)
            model.update_target()
            optimizer.zero_grad()
            output.loss.mean().backward()
            optimizer.step()

    return run


def operations(work: Callable[[], object]) -> int:
    """Multiplications and additions of the matrix products and convolutions in it."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def training_step(table: Table, quick: bool) -> None:
    """Samples per second of the published recipe's step, one thread."""
    batch = 2 if quick else 8
    table.section(f"Pre-training step, samples/s, one thread, batch {batch}")
    ours = network(quick)
    original = original_style(ours)
    works = {"ours": step(ours, batch), "original": step(original, batch)}
    seconds = compete(works, repeats=1 if quick else 2)
    rates = {name: batch / s for name, s in seconds.items()}
    target = None if quick else 1.0
    ratio = rates["ours"] / rates["original"]
    table.row("the step", f"{rates['ours']:.2f}", f"{rates['original']:.2f}", ratio, target)
    checked = (
        batch / compete({"as published": step(original, batch, anomaly=True)}, 1)["as published"]
    )
    table.row(
        "the same, the original with its anomaly detection",
        f"{rates['ours']:.2f}",
        f"{checked:.2f}",
        rates["ours"] / checked,
        target,
    )
    if not quick:
        scaled = AUTHORS_TRAINING * SCALE
        shown = (f"{rates['ours']:.2f}", f"{scaled:.2f}", rates["ours"] / scaled, 1.0)
        table.row("against the authors' code elsewhere, scaled", *shown)
    counts = {name: operations(work) for name, work in works.items()}
    shares = {name: counts[name] / seconds[name] / PEAK for name in works}
    table.row(
        "operations of products and convolutions, GFLOP",
        f"{counts['ours'] / 1e9:.1f}",
        f"{counts['original'] / 1e9:.1f}",
        counts["original"] / counts["ours"],
    )
    table.row(
        "these per second, share of the yardstick's",
        f"{shares['ours']:.0%}",
        f"{shares['original']:.0%}",
    )


def inference(table: Table, quick: bool) -> None:
    """Sequences per second through the encoder, one thread."""
    batch = 4 if quick else 16
    table.section(
        f"Encoder in evaluation, sequences/s, one thread, batch {batch}",
        f"{SINGLE_PERSON:.0%} of the sequences have one person.",
    )
    encoder = network(quick).online_encoder.eval()
    original = original_style(encoder).eval()
    x = torch.randn(batch, 3, 50, 25, 2)
    x[: int(SINGLE_PERSON * batch), ..., 1] = 0
    with torch.inference_mode():
        difference = (encoder(x, skip_absent=True) - original(x)).abs().max().item()
        seconds = compete(
            {
                "ours": lambda: encoder(x, skip_absent=True),
                "all": lambda: encoder(x),
                "original": lambda: original(x),
            },
            repeats=2 if quick else 4,
        )
    rates = {name: batch / s for name, s in seconds.items()}

    def row(what: str, ours: str, other: str, target: float | None) -> None:
        ratio = rates[ours] / rates[other]
        target = None if quick else target
        table.row(what, f"{rates[ours]:.1f}", f"{rates[other]:.1f}", ratio, target)

    row("absent persons computed once, against the original", "ours", "original", 1.39)
    row("absent persons computed once, against all of them by ours", "ours", "all", 1.2)
    row("all persons, against the original", "all", "original", 1.0)
    if not quick:
        scaled = AUTHORS_INFERENCE * SCALE
        ratio = rates["ours"] / scaled
        shown = (f"{rates['ours']:.1f}", f"{scaled:.1f}", ratio, 1.39)
        table.row("against the authors' code elsewhere, scaled", *shown)
    table.row("largest difference of the embeddings", f"{difference:.1e}")


def nce_of_all_pairs(q: Tensor, k: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """The contrast as in the authors' code: every pair of points side by side."""
    keys = torch.cat([k[:, None], queue.T.expand(len(q), -1, -1)], dim=1)
    logits = -distance(exp_map(q)[:, None], exp_map(keys)) / temperature
    labels = torch.zeros(len(q), dtype=torch.long)
    return nn.functional.cross_entropy(logits, labels)


def contrast(table: Table, quick: bool) -> None:
    """The hyperbolic contrast, forward and backward."""
    n, negatives, d = (8, 256, 64) if quick else (16, 2048, 1024)
    table.section(
        f"Hyperbolic contrast, ms, one thread: {n} x {negatives} x {d}",
        "The published size, 64 x 8193 x 1024, would take the original two tensors of 4.3 GB.",
    )
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, n, d, generator=generator) / d**0.5
    queue = torch.randn(d, negatives, generator=generator) / d**0.5
    q = q.requires_grad_()
    losses = {"ours": hyperbolic_nce, "original": nce_of_all_pairs}
    values = {name: loss(q, k, queue, 0.07) for name, loss in losses.items()}
    gradients = {name: torch.autograd.grad(value, q)[0] for name, value in values.items()}

    def work(loss: Callable[..., Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(loss(q, k, queue, 0.07), q)

    seconds = compete({n: work(loss) for n, loss in losses.items()}, repeats=3)
    table.row(
        "forward and backward",
        f"{seconds['ours'] * 1e3:.1f}",
        f"{seconds['original'] * 1e3:.1f}",
        seconds["original"] / seconds["ours"],
        None if quick else 20,
    )
    gap = abs(values["ours"] - values["original"]).item()
    # As a ratio that is better when larger: how often the difference fits into 1e-12.
    table.row("difference of the loss", f"{gap:.1e}", "1e-12", 1e-12 / max(gap, 1e-16), 1.0)
    slope = (gradients["ours"] - gradients["original"]).abs().max().item()
    table.row("largest difference of the gradient (stored in single)", f"{slope:.1e}")
    if not quick:
        size = (64, 8192, 1024)
        q, k = torch.randn(2, 64, 1024).unbind()
        queue, q = torch.randn(1024, 8192), q.requires_grad_()
        start = time.process_time()
        torch.autograd.grad(hyperbolic_nce(q, k, queue, 0.07), q)
        took = time.process_time() - start
        table.row("ours at " + " x ".join(map(str, size)), f"{took * 1e3:.0f}")
