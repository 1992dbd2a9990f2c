"""Figures of a CUDA device: eager and compiled, float32 and bfloat16, share of the peak."""

from __future__ import annotations

from collections.abc import Callable

import torch
from measure import Table
from torch.utils.flop_counter import FlopCounterMode
from training_parts import shot7m2, step

from hbehavemae.extraction import Extractor
from hbehavemae.model import HBehaveEncoder

DEVICE = "cuda"
BATCHES = (64, 256)
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Seconds of one call, measured over several with events on the device."""
    for _ in range(3):
        work()
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(repeats):
        work()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1e3 / repeats


def flops(work: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products and attention of one call."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def peak(dtype: torch.dtype, repeats: int) -> float:
    """Operations per second of a large matrix product: the peak that can be reached."""
    a = torch.randn(8192, 8192, device=DEVICE, dtype=dtype)
    return 2 * 8192**3 / seconds(lambda: a @ a, repeats)


def measure(table: Table, quick: bool) -> None:
    """Inference, training step and a whole episode."""
    repeats = 5 if quick else 20
    table.section(
        f"GPU: {torch.cuda.get_device_name()}",
        "Share of the peak: operations of matrix products and attention per second over those of "
        "an 8192^3 product in the same precision.",
    )
    peaks = {name: peak(dtype, repeats) for name, dtype in PRECISIONS.items()}
    model = shot7m2().to(DEVICE)
    for name, dtype in PRECISIONS.items():
        for batch in BATCHES:
            for compiled in (False, True):
                _inference(table, model, batch, compiled, (name, dtype), peaks[name], repeats)
                _training(table, batch, compiled, (name, dtype), peaks[name], repeats)
    from extraction_parts import EPISODE, WINDOWS, episode

    for precision in ("32", "bf16"):
        extractor = Extractor(model.eval(), precision=precision)
        x = episode()[:EPISODE]
        took = seconds(lambda extractor=extractor, x=x: extractor(x), 1)
        table.row(
            f"whole episode, exact, precision {precision}, windows/s", f"{WINDOWS / took:,.0f}"
        )


def _inference(
    table: Table,
    model: torch.nn.Module,
    batch: int,
    compiled: bool,
    precision: tuple[str, torch.dtype],
    limit: float,
    repeats: int,
) -> None:
    name, dtype = precision
    x = torch.randn(batch, 400, 1, 72, device=DEVICE)

    def levels(x: torch.Tensor) -> list[torch.Tensor]:
        return HBehaveEncoder.forward(model, x)  # type: ignore[arg-type]

    run = torch.compile(levels) if compiled else levels
    with torch.no_grad(), torch.autocast(DEVICE, dtype, enabled=dtype != torch.float32):
        work = lambda: run(x)  # noqa: E731
        rate = batch / (took := seconds(work, repeats))
        share = flops(lambda: levels(x)) / took / limit
    kind = "compiled" if compiled else "eager"
    table.row(
        f"inference, {name}, {kind}, batch {batch}, windows/s",
        f"{rate:,.0f} ({100 * share:.0f} % of the peak)",
    )


def _training(
    table: Table,
    batch: int,
    compiled: bool,
    precision: tuple[str, torch.dtype],
    limit: float,
    repeats: int,
) -> None:
    name, dtype = precision
    network = shot7m2().to(DEVICE).train()
    run = torch.compile(network) if compiled else network

    def loss(model: torch.nn.Module, x: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        with torch.autocast(DEVICE, dtype, enabled=dtype != torch.float32):
            return model(x, noise=noise).loss

    work = step(network, lambda x, noise: loss(run, x, noise), batch, fused=True, device=DEVICE)
    took = seconds(work, repeats)
    operations = flops(
        step(network, lambda x, noise: loss(network, x, noise), batch, fused=True, device=DEVICE)
    )
    kind = "compiled" if compiled else "eager"
    table.row(
        f"training step, {name}, {kind}, batch {batch}, samples/s",
        f"{batch / took:,.0f} ({100 * operations / took / limit:.0f} % of the peak)",
    )
