"""Training step, inference, batches, features and readouts of BAMS."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from bams_original import Items, Original, collated
from measure import Table, best_seconds, compete
from torch import Tensor

from bams.data import BehaviorDataset
from bams.data.dataset import Rows
from bams.data.keypoints import keypoint_features
from bams.data.mouse import mouse_features
from bams.data.quantise import fit_scaling
from bams.encoding import FrameEncoder
from bams.losses.config import LossConfig
from bams.losses.draws import Draws, draw
from bams.losses.objective import objective
from bams.model import BAMS, EncoderConfig, ModelConfig
from bams.readouts import read_classes, read_values

SCALE = 1.0
"""How many times faster this machine is than the one where the authors' code was timed."""

# Seconds of the authors' code on that machine, one thread.
MOUSE_STEP = 8.6
FLY_STEP = 2.0
INFERENCE = 2.19
MOUSE_ITEM, FLY_ITEM = 0.017, 0.109
MOUSE_FEATURES = 0.0089 + 0.0019
CLASSES, VALUES = 11.2, 0.6

MATRIX_PRODUCTS = (
    "aten::mm",
    "aten::addmm",
    "aten::bmm",
    "aten::mkldnn_convolution",
    "aten::convolution_backward",
)
N_BINS = 32


def mouse_network(dropout: float = 0.2) -> BAMS:
    """The published network for mouse triplets with random weights."""
    encoders = {
        "short_term": EncoderConfig((64, 64, 32, 32), dropout=dropout),
        "long_term": EncoderConfig((64, 64, 64, 32, 32), dilation_base=4, dropout=dropout),
    }
    config = ModelConfig(67, 9, encoders)
    return BAMS(config, generator=torch.Generator().manual_seed(0)).train()


def fly_network() -> BAMS:
    """The published network for fly groups (24 points) with random weights."""
    return BAMS(ModelConfig(96, 48), generator=torch.Generator().manual_seed(0)).train()


class Sizes:
    """Batch and length of the published training, or something small."""

    def __init__(self, quick: bool):
        self.batch, self.frames = (2, 200) if quick else (32, 1800)
        self.fly_batch, self.fly_frames = (1, 200) if quick else (2, 4500)
        self.repeats = 1 if quick else 5
        self.rows = 500 if quick else 36_000


def random_batch(n: int, frames: int, config: ModelConfig) -> SimpleNamespace:
    """Sequences without a missing frame."""
    shape = (n, frames, config.n_targets)
    return SimpleNamespace(
        inputs=torch.randn(n, frames, config.n_inputs),
        bins=torch.randint(0, N_BINS, shape, dtype=torch.uint8),
        ignored=torch.zeros(n, frames, dtype=torch.bool),
    )


def step(parameters: Any, loss: Callable[[], Tensor], fused: bool) -> Callable[[], None]:
    """Forward, backward, AdamW."""
    optimiser = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=4e-5, fused=fused)

    def run() -> None:
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()

    return run


def collated_batch(batch: SimpleNamespace) -> tuple[Tensor, Tensor, Tensor]:
    """The batch as the original's loader gives it."""
    items = Items(batch.inputs.numpy(), batch.bins.numpy(), batch.ignored.numpy(), N_BINS)
    return collated(items, list(range(len(items))))


def training(table: Table, quick: bool) -> None:
    """Seconds of a training step in both modes."""
    sizes = Sizes(quick)
    table.section(
        f"Training step, mouse network, {sizes.batch} x {sizes.frames} frames, seconds",
        "One thread. The original trains on what compat=upstream trains on; compat=paper scores "
        "all frames.",
    )
    model = mouse_network()
    batch = random_batch(sizes.batch, sizes.frames, model.config)
    config = LossConfig(skip_frames=60)
    draws = draw(config, model.encoders, sizes.frames, np.arange(sizes.batch))
    original = Original(model).train()
    seen = collated_batch(batch)
    table.row("largest difference of a gradient, relative", f"{difference(batch, draws):.1e}")

    works = {
        "original": step(original.parameters(), lambda: original.loss(*seen, draws, 60), False)
    }
    for compat in ("upstream", "paper"):
        ours = step(
            model.parameters(),
            lambda c=compat: objective(model, batch, draws, config, c).total,
            True,
        )
        works[compat] = ours
    some = LossConfig(skip_frames=60, hoa_every=4)
    works["every 4th"] = step(
        model.parameters(), lambda: objective(model, batch, draws, some, "paper").total, True
    )
    seconds = compete(works, repeats=sizes.repeats)
    theirs = seconds["original"]
    for name, label, target in (
        ("upstream", "compat=upstream", None if quick else 2.0),
        ("paper", "compat=paper, every frame", None),
        ("every 4th", "compat=paper, loss.hoa_every=4", None),
    ):
        ratio = theirs / seconds[name]
        table.row(label, f"{seconds[name]:.2f}", f"{theirs:.2f}", ratio, target)
    if not quick:
        scaled = MOUSE_STEP / SCALE
        for name, target in (("upstream", 2.0), ("paper", None)):
            table.row(
                f"compat={name} against the authors' code elsewhere, scaled",
                f"{seconds[name]:.2f}",
                f"{scaled:.2f}",
                scaled / seconds[name],
                target,
            )
    for name in ("upstream", "paper"):
        share = 1 - share_of_products(works[name])
        table.row(f"share of compat={name} that is not matrix product", f"{100 * share:.0f} %")
    table.row(
        "a batch for the device, MB",
        f"{megabytes(batch.inputs, batch.bins, batch.ignored):.1f}",
        f"{megabytes(*(x.double() for x in seen)):.0f}",
    )


def difference(batch: SimpleNamespace, draws: Draws) -> float:
    """Largest relative difference of our gradients (compat=upstream) to the original's."""
    ours = mouse_network(dropout=0.0).double()
    theirs = Original(ours).double().train()
    few = slice(0, 2)
    batch = SimpleNamespace(
        inputs=batch.inputs[few].double(), bins=batch.bins[few], ignored=batch.ignored[few]
    )
    pairs = {name: type(p)(p.anchors[few], p.partners[few]) for name, p in draws.pairs.items()}
    draws = Draws(pairs, draws.phases[few])
    objective(ours, batch, draws, LossConfig(skip_frames=60), "upstream").total.backward()
    x, histograms, valid = collated_batch(batch)
    theirs.loss(x.double(), histograms.double(), valid.double(), draws, 60).backward()
    wanted = dict(theirs.named_parameters())
    return max(
        ((p.grad - wanted[name].grad).norm() / wanted[name].grad.norm()).item()  # type: ignore[operator,union-attr]
        for name, p in ours.named_parameters()
    )


def share_of_products(work: Callable[[], None]) -> float:
    """Share of the time that goes into matrix products and convolutions."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as found:
        work()
    events = found.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    return sum(e.self_cpu_time_total for e in events if e.key in MATRIX_PRODUCTS) / total


def megabytes(*tensors: Tensor) -> float:
    """Size in memory."""
    return sum(x.numel() * x.element_size() for x in tensors) / 1e6


def fly_training(table: Table, quick: bool) -> None:
    """Seconds of a training step on flies."""
    sizes = Sizes(quick)
    n, frames = sizes.fly_batch, sizes.fly_frames
    table.section(f"Training step, fly network, {n} x {frames} frames, seconds", "One thread.")
    model = fly_network()
    batch = random_batch(n, frames, model.config)
    config = LossConfig()
    draws = draw(config, model.encoders, frames, np.arange(n))
    original = Original(model).train()
    seen = collated_batch(batch)
    works = {
        "original": step(original.parameters(), lambda: original.loss(*seen, draws, 100), False)
    }
    for compat in ("upstream", "paper"):
        works[compat] = step(
            model.parameters(),
            lambda c=compat: objective(model, batch, draws, config, c).total,
            True,
        )
    seconds = compete(works, repeats=sizes.repeats)
    scaled = FLY_STEP / SCALE
    for name in ("upstream", "paper"):
        mine, theirs = seconds[name], seconds["original"]
        table.row(f"compat={name}", f"{mine:.2f}", f"{theirs:.2f}", theirs / mine)
        if not quick:
            label = f"compat={name} against the authors' code elsewhere, scaled"
            table.row(label, f"{mine:.2f}", f"{scaled:.2f}", scaled / mine)


def inference(table: Table, quick: bool) -> None:
    """Seconds from features to embeddings."""
    sizes = Sizes(quick)
    table.section(
        f"Inference, mouse network, {sizes.batch} x {sizes.frames} frames, seconds",
        "One thread. The original computes all heads.",
    )
    model = mouse_network().eval()
    original = Original(model).eval()
    encoder = FrameEncoder(model)
    x = torch.randn(sizes.batch, sizes.frames, 67)
    rows = x.numpy()

    def ours() -> None:
        for _ in encoder.pieces(rows):
            pass

    @torch.inference_mode()
    def theirs() -> None:
        original(x)

    @torch.inference_mode()
    def at_once() -> None:
        model.encode(x)

    works = {"ours": ours, "original": theirs, "at once": at_once}
    seconds = compete(works, repeats=sizes.repeats)
    mine = seconds["ours"]
    target = None if quick else 4.0
    table.row(
        "bams embed",
        f"{mine:.3f}",
        f"{seconds['original']:.2f}",
        seconds["original"] / mine,
        target,
    )
    if not quick:
        scaled = INFERENCE / SCALE
        table.row(
            "the same against the authors' code elsewhere, scaled",
            f"{mine:.3f}",
            f"{scaled:.2f}",
            scaled / mine,
            4.0,
        )
    table.row("all sequences in one pass", f"{seconds['at once']:.3f}")


def batches(table: Table, quick: bool) -> None:
    """Seconds per sequence from memory to a batch."""
    sizes = Sizes(quick)
    table.section("Item and collate, milliseconds per sequence", "Batches of 32, random order.")
    for name, frames, config, authors in (
        ("mice", sizes.frames, mouse_network().config, MOUSE_ITEM),
        ("flies", sizes.fly_frames, fly_network().config, FLY_ITEM),
    ):
        n = 32 if quick else 64
        rng = np.random.default_rng(0)
        arrays = (
            rng.normal(size=(n, frames, config.n_inputs)).astype(np.float32),
            rng.integers(N_BINS, size=(n, frames, config.n_targets)).astype(np.uint8),
            rng.random((n, frames)) < 0.1,
        )
        data = dataset(*arrays)
        items = Items(*arrays, N_BINS)
        order = rng.permutation(n)[:32]
        few = order[:4]
        per_batch = best_seconds(lambda data=data, order=order: data.batch(order), 20)
        theirs = best_seconds(lambda items=items, few=few: collated(items, few.tolist()), 3) / len(
            few
        )
        mine = per_batch / len(order)
        scaled = authors / SCALE
        target = None if quick else 50.0
        table.row(name, f"{1000 * mine:.4f}", f"{1000 * theirs:.2f}", theirs / mine)
        if not quick:
            table.row(
                f"{name}, against the authors' code elsewhere, scaled",
                f"{1000 * mine:.4f}",
                f"{1000 * scaled:.1f}",
                scaled / mine,
                target,
            )


def dataset(inputs: np.ndarray, bins: np.ndarray, ignored: np.ndarray) -> BehaviorDataset:
    """Our data set of whole sequences."""
    n, frames = ignored.shape
    each = np.arange(n)
    rows = Rows(np.full(n, frames), each, np.zeros(n, np.int64), np.ones(n, bool))
    flat = (x.reshape(-1, *x.shape[2:]) for x in (inputs, bins, ignored))
    scaling = fit_scaling(inputs[0, :200], np.ones((200, bins.shape[2])), N_BINS)
    return BehaviorDataset(*flat, rows, [str(i) for i in each], scaling)


def features(table: Table, quick: bool) -> None:
    """Seconds per sequence from key points to scaled features and bins."""
    sizes = Sizes(quick)
    table.section("Features, scale and bins, milliseconds per sequence of 1800 or 4500 frames")
    rng = np.random.default_rng(0)
    n = 3 if quick else 12
    walk = rng.integers(-3, 4, size=(n, sizes.frames, 12, 2)).cumsum(axis=1) + 400

    def prepared(found: Any) -> None:
        inputs = found.inputs.reshape(-1, found.inputs.shape[-1]).astype(np.float32)
        targets = found.targets.reshape(-1, found.targets.shape[-1])
        scaling = fit_scaling(inputs, targets, N_BINS)
        scaling.scale_inputs(inputs)
        scaling.bins(targets)

    mine = best_seconds(lambda: prepared(mouse_features(walk)), sizes.repeats) / n
    table.row("mice", f"{1000 * mine:.2f}", *elsewhere(MOUSE_FEATURES, mine, quick, 1000))
    points = rng.normal(size=(n, sizes.fly_frames, 48)).cumsum(axis=1).astype(np.float32)
    mine = best_seconds(lambda: prepared(keypoint_features(points)), sizes.repeats) / n
    table.row("flies", f"{1000 * mine:.2f}")


def readouts(table: Table, quick: bool) -> None:
    """Seconds of the authors' linear readouts on their size."""
    sizes = Sizes(quick)
    n, d = sizes.rows, 128
    table.section(f"Linear readouts, {n} x {d}, seconds", "Full-batch training as published.")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, d)).astype(np.float32)
    codes = {f"tag {i}": rng.integers(4, size=n) for i in range(4)}
    values = {f"tag {i}": rng.normal(size=n) for i in range(4)}
    few = slice(0, 100)
    for tags in (1, 4):
        some = dict(list(codes.items())[:tags])
        test = (x[few], {tag: c[few] for tag, c in some.items()})
        four = dict.fromkeys(some, 4)
        mine = best_seconds(lambda t=test, s=some, f=four: read_classes((x, s), t, f), 1)
        label = f"{tags} classifier(s), 1000 steps"
        table.row(label, f"{mine:.2f}", *elsewhere(tags * CLASSES, mine, quick))
        some = dict(list(values.items())[:tags])
        test = (x[few], {tag: v[few] for tag, v in some.items()})
        mine = best_seconds(lambda t=test, s=some: read_values((x, s), t), 1)
        label = f"{tags} regressor(s), 100 steps"
        table.row(label, f"{mine:.3f}", *elsewhere(tags * VALUES, mine, quick))


def elsewhere(theirs: float, mine: float, quick: bool, unit: float = 1) -> tuple[str, float | None]:
    """Cells for the authors' figure, scaled to this machine; none for another size."""
    scaled = theirs / SCALE
    return ("", None) if quick else (f"{unit * scaled:.2f} (scaled)", scaled / mine)
