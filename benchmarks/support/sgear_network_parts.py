"""S-GEAR: training step and inference on features, similarities, and TCA."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from measure import Table, best_seconds, compete
from sgear_original_style import OriginalStyle, similarity
from torch import Tensor

from sgear.losses import AnticipationLoss, Targets
from sgear.model import FuturePredictorConfig, ModelConfig, SGear
from sgear.model.lower_triangular import fused, plain
from sgear.model.tca import TCABlock
from sgear.optim import OptimizerConfig, build_optimizer, parameter_groups
from sgear.similarity import cosines, unit
from sgear.step import run_step

SCALE = 1.0
"""How many times faster this machine is than the one where the authors' code was timed."""
SCRIPT = str(Path(__file__).resolve().parents[1] / "sgear.py")

# Seconds of the authors' code there, one thread.
AUTHORS_TRAINING = {4: 5.5, 16: 47.1}
AUTHORS_INFERENCE = 3.45  # batch 4
MEMORY_LIMIT = 5.0
WEIGHTS = {
    "cls_action": 1,
    "past_cls_action": 0,
    "feat": 1,
    "target_distance": 1,
    "global_simContrast": 0,
    "past_target_global_simContrast": 0,
}
"""Of the published TSN experiment."""


def sizes(quick: bool) -> SimpleNamespace:
    """Classes, features and width of the published TSN network, or something small."""
    if quick:
        return SimpleNamespace(n=200, c=64, d=128, width=128, layers=2, t=5)
    return SimpleNamespace(n=3806, c=1024, d=768, width=2048, layers=6, t=15)


def network(quick: bool, dropout: float = 0.1) -> SGear:
    """The TSN network with random weights."""
    s = sizes(quick)
    predictor = FuturePredictorConfig(
        kind="tcd",
        inter_dim=s.width,
        n_layer=s.layers,
        return_past_too=True,
        avg_last_n=1,
        future_pred_loss="mse",
        attn_pdrop=dropout,
        embd_pdrop=dropout,
        resid_pdrop=dropout,
    )
    config = ModelConfig(
        backbone_dim=s.c,
        intermediate_featdim=s.d,
        tmp_frames=s.t,
        extracted_features=True,
        prot_attn=True,
        freeze_prototypes=True,
        future_predictor=predictor,
        dropout=2 * dropout,
        classifier_on_past=True,
    )
    return SGear(config, {"action": s.n}, torch.randn(s.n, s.d)).train()


def batch_of(size: int, quick: bool) -> dict[str, Any]:
    """A batch of random features and labels."""
    s = sizes(quick)
    return {
        "video": torch.randn(size, s.t, s.c, 1, 1, 1),
        "target": {"action": torch.randint(0, s.n, (size,))},
        "past_target": {"action": torch.randint(-1, s.n, (size, s.t, 1))},
    }


def criterion(quick: bool) -> AnticipationLoss:
    """The losses with random similarities of names."""
    n = sizes(quick).n
    return AnticipationLoss(torch.rand(n, n))


def ours_step(model: SGear, batch: dict[str, Any], quick: bool) -> Callable[[], None]:
    """Our training step."""
    losses = criterion(quick)
    groups = parameter_groups(model, [["__all__", 1e-4, 1e-5]])
    optimizer = build_optimizer(OptimizerConfig("sgd"), groups)

    def run() -> None:
        run_step(model, losses, batch, WEIGHTS).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return run


def original_loss(
    original: OriginalStyle, losses: AnticipationLoss, batch: dict[str, Any]
) -> Tensor:
    """Weighted sum of the losses in the original's style."""
    outputs, more = original(batch["video"])
    targets = Targets(batch["target"], batch["past_target"])
    values = losses(outputs, targets, original.ours.vis_prototypes)[0] | more
    means = {name: value.mean() for name, value in values.items()}
    return sum(WEIGHTS[name] * value for name, value in means.items() if WEIGHTS[name] > 0)


def original_step(
    original: OriginalStyle, batch: dict[str, Any], quick: bool
) -> Callable[[], None]:
    """The original's training step."""
    losses = criterion(quick)
    trained = [p for p in original.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1e-4, momentum=0.9, weight_decay=1e-5)

    def run() -> None:
        original_loss(original, losses, batch).backward()
        optimizer.step()
        optimizer.zero_grad()

    return run


def difference() -> float:
    """Norm of the difference of all gradients to the original's, relative to their norm."""
    model, batch, losses = network(True, dropout=0.0), batch_of(3, True), criterion(True)
    run_step(model, losses, batch, WEIGHTS).loss.backward()
    ours = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    original_loss(OriginalStyle(model).train(), losses, batch).backward()
    trained = [(n, p.grad) for n, p in model.named_parameters() if p.grad is not None]
    gap = torch.cat([(grad - ours[name]).flatten() for name, grad in trained])
    return float(gap.norm() / torch.cat([grad.flatten() for _, grad in trained]).norm())


def training(table: Table, quick: bool) -> None:
    """Seconds of a training step of the published TSN experiment."""
    table.section(
        "Training step on features (TSN, 15 clips, 3806 classes), seconds, one thread",
        "At batch 16 the original needs more than 16 GB; its figure was taken elsewhere.",
    )
    table.row("difference of the gradients, relative", f"{difference():.1e}")
    model = network(quick)
    small = batch_of(4, quick)
    works = {
        "ours": ours_step(model, small, quick),
        "original": original_step(OriginalStyle(model).train(), small, quick),
    }
    seconds = compete(works, repeats=1 if quick else 3)
    ratio = seconds["original"] / seconds["ours"]
    table.row("batch 4", f"{seconds['ours']:.2f}", f"{seconds['original']:.2f}", ratio)
    del works
    large = best_seconds(ours_step(model, batch_of(16, quick), quick), 1 if quick else 3)
    if quick:
        table.row("batch 16", f"{large:.2f}")
        return
    for size, ours, target in ((4, seconds["ours"], None), (16, large, 4.0)):
        theirs = AUTHORS_TRAINING[size] / SCALE
        label = f"batch {size}, against the authors' code elsewhere, scaled"
        table.row(label, f"{ours:.2f}", f"{theirs:.2f}", theirs / ours, target)
    gigabytes = _peak_gibibytes()
    table.row(
        "peak memory of the process at batch 16, GiB, libraries included",
        f"{gigabytes:.2f}",
        "> 16",
        MEMORY_LIMIT / gigabytes,
        1.0,
    )


def inference(table: Table, quick: bool) -> None:
    """Clips per second of the TSN network."""
    table.section("Inference on features (TSN), items/s, one thread")
    model = network(quick).eval()
    original = OriginalStyle(model).eval()
    small, large = (batch_of(size, quick)["video"] for size in (4, 16))
    with torch.inference_mode():
        gap = (model(small)[0]["logits/action"] - original(small)[0]["logits/action"]).abs().max()
        works = {"ours": lambda: model(small), "original": lambda: original(small)}
        seconds = compete(works, repeats=1 if quick else 4)
        of_large = best_seconds(lambda: model(large), 1 if quick else 3)
    rates = {name: 4 / s for name, s in seconds.items()}
    ratio = rates["ours"] / rates["original"]
    target = None if quick else 3.0
    table.row("batch 4", f"{rates['ours']:.2f}", f"{rates['original']:.2f}", ratio, target)
    if not quick:
        theirs = 4 / AUTHORS_INFERENCE * SCALE
        for size, rate in ((4, rates["ours"]), (16, 16 / of_large)):
            label = f"batch {size}, against the authors' code elsewhere (batch 4), scaled"
            table.row(label, f"{rate:.2f}", f"{theirs:.2f}", rate / theirs, target)
    table.row("largest difference of the scores", f"{gap:.1e}")


def similarities(table: Table, quick: bool) -> None:
    """Cosine similarities of all clips with all prototypes."""
    s = sizes(quick)
    table.section("Cosine similarities with the prototypes, batch 4, ms, one thread")
    x, prototypes = torch.randn(4, s.t, s.d), torch.randn(s.n, s.d)
    units = unit(prototypes)
    gap = (cosines(x, units) - similarity(x[:, :, None], prototypes[None, None])).abs().max()
    works = {
        "ours": lambda: cosines(x, units),
        "with the prototypes' norms": lambda: cosines(x, unit(prototypes)),
        "original": lambda: similarity(x[:, :, None], prototypes[None, None]),
    }
    seconds = compete(works, repeats=2 if quick else 5)
    for name, label, target in (
        ("ours", "prototypes of length 1, once per forward pass", 100.0),
        ("with the prototypes' norms", "with that", None),
    ):
        shown = (f"{seconds[name] * 1e3:.2f}", f"{seconds['original'] * 1e3:.0f}")
        ratio = seconds["original"] / seconds[name]
        table.row(label, *shown, ratio, None if quick else target)
    table.row("largest difference", f"{gap:.1e}")


def context(table: Table, quick: bool) -> None:
    """Attention of TCA, and its last block."""
    tokens, frames = (300, 2) if quick else (577, 4)
    table.section(
        f"TCA on {frames} frames of {tokens} tokens, ms, one thread",
        "The original's time varies by two with the state of the memory allocator.",
    )
    q, k, v = torch.randn(3, frames, 12, tokens, 64).unbind()
    q, k, v = (x.requires_grad_() for x in (q, k, v))
    ways = {"ours": fused, "original": plain}
    gap = (fused(q, k, v) - plain(q, k, v)).abs().max()
    forward = {name: _without_gradient(way, q, k, v) for name, way in ways.items()}
    both = {name: _with_gradient(way, q, k, v) for name, way in ways.items()}
    for label, works, target in (
        ("attention", forward, 1.0),
        ("attention and gradients", both, None),
    ):
        seconds = compete(works, repeats=2 if quick else 4)
        shown = (f"{seconds[name] * 1e3:.0f}" for name in ("ours", "original"))
        target = None if quick else target
        table.row(label, *shown, seconds["original"] / seconds["ours"], target)
    kept = frames * 12 * tokens**2 * 4 / 1e6
    table.row("matrices of weights kept for the gradient, MB", "0", f"{kept:.0f}")
    table.row("largest difference", f"{gap:.1e}")

    block = TCABlock(768, frames).eval()
    x = torch.randn(frames, tokens, 768)
    works = {"ours": lambda: block.class_tokens(x, 1), "original": lambda: block(x, 1)[:, 0]}
    with torch.inference_mode():
        gap = (works["ours"]() - works["original"]()).abs().max()
        seconds = compete(works, repeats=2 if quick else 4)
    shown = (f"{seconds[name] * 1e3:.0f}" for name in ("ours", "original"))
    ratio = seconds["original"] / seconds["ours"]
    table.row("the last block, class tokens only", *shown, ratio, None if quick else 2.0)
    table.row("largest difference", f"{gap:.1e}")


def report_peak() -> None:
    """Print the peak memory of this process after three training steps at batch 16."""
    torch.set_num_threads(1)
    work = ours_step(network(quick=False), batch_of(16, quick=False), quick=False)
    for _ in range(3):
        work()
    lines = Path("/proc/self/status").read_text().splitlines()  # Linux only
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    print(json.dumps({"gibibytes": peak / 2**20}))


def _peak_gibibytes() -> float:
    command = [sys.executable, SCRIPT, "--peak"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(answer.stdout.splitlines()[-1])["gibibytes"])


def _without_gradient(way: Callable[..., Tensor], *inputs: Tensor) -> Callable[[], Tensor]:
    def run() -> Tensor:
        with torch.inference_mode():
            return way(*inputs)

    return run


def _with_gradient(way: Callable[..., Tensor], *inputs: Tensor) -> Callable[[], Any]:
    return lambda: torch.autograd.grad(way(*inputs).sum(), inputs)


PARTS = {
    "similarities": similarities,
    "training": training,
    "inference": inference,
    "context": context,
}
