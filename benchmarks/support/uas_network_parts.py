"""UAS-Swin: window attention, forward passes, steps with a frozen backbone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from measure import Table, compete
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from uas_original_style import OriginalAttention, original_style

from uas_swin.checkpoints import build_recognizer
from uas_swin.model.freeze import freeze_backbone

SCALE = 1.0
PEAK = 1.0
"""Operations per second of the yardstick."""

# Seconds of the authors' code, one clip of 3 x 32 x 224 x 224, where the yardstick was timed.
FORWARD = {"tiny": 5.8, "base": 15.0}
LORA_STEP = {"tiny": 9.9, "base": 33.3}
PROBE_STEP = {"tiny": 4.6, "base": 15.7}

WIDTHS = {"tiny": 768, "base": 1024}
LORA = {"use_lora": True, "lora_rank": 32, "lora_layer_type": "qv"}


def network(arch: str, **backbone: Any) -> nn.Module:
    """A recognizer of the published sizes with random weights."""
    head = {"type": "I3DHead", "num_classes": 103, "in_channels": WIDTHS[arch]}
    options = {"type": "UASSwinTransformer3D", "arch": arch, "lora_init": "upstream", **backbone}
    model = build_recognizer({"backbone": options, "cls_head": head})
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "bias_table" in name:
            nn.init.normal_(parameter)
    return model


def clips(quick: bool) -> Tensor:
    """(1, 3, T, H, W)."""
    return torch.randn(1, 3, 16, 64, 64) if quick else torch.randn(1, 3, 32, 224, 224)


def operations(work: Callable[[], object]) -> int:
    """Multiplications and additions of the matrix products and convolutions in it."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def attention(table: Table, quick: bool) -> None:
    """Attention of shifted windows at the shapes of Swin-B, forward and backward."""
    table.section(
        "Window attention, shifted windows of 8 x 7 x 7, ms, one thread",
        "At the maps of Swin-B. Frozen: low-rank branches are trained, the table of biases is not.",
    )
    backbone: Any = network("tiny" if quick else "base", **LORA).backbone
    for stage, windows in {0: 128, 1: 32, 2: 8, 3: 2}.items():
        if quick and stage != 3:
            continue
        ours = backbone.layers[stage].blocks[1].attn
        heads, original = ours.num_heads, OriginalAttention(ours)
        x = torch.randn(windows, 392, 32 * heads)
        regions = torch.zeros(windows, 392, 392)
        regions[1::2, :100, 100:] = -100.0
        for label, frozen, grad in (
            ("evaluation", True, False),
            ("step, frozen", True, True),
            ("step, everything trained", False, True),
        ):
            for module in (ours, original):
                for name, parameter in module.named_parameters():
                    parameter.requires_grad = not frozen or "lora" in name

            works = {
                name: partial(_attention_step, module, x, regions, grad)
                for name, module in (("ours", ours), ("original", original))
            }
            gap = (ours(x, regions) - original(x, regions)).abs().max().item()
            seconds = compete(works, 1 if quick else 4)
            table.row(
                f"stage {stage} ({windows} windows, {heads} heads), {label}; differ by {gap:.0e}",
                f"{seconds['ours'] * 1e3:.0f}",
                f"{seconds['original'] * 1e3:.0f}",
                seconds["original"] / seconds["ours"],
                None if quick else 1.0,
            )


def _attention_step(module: nn.Module, x: Tensor, regions: Tensor, grad: bool) -> None:
    with torch.set_grad_enabled(grad):
        out = module(x, regions)
        if grad:
            out.square().sum().backward()


def forward(table: Table, quick: bool) -> None:
    """A clip through the backbone in evaluation."""
    x = clips(quick)
    table.section(f"Forward pass, seconds a clip {tuple(x.shape[1:])}, one thread")
    for arch in ("tiny",) if quick else ("tiny", "base"):
        ours: Any = network(arch).eval().backbone
        original = original_style(ours)
        works = {"ours": lambda m=ours: m(x), "original": lambda m=original: m(x)}
        with torch.inference_mode():
            gap = (ours(x) - original(x)).abs().max().item()
            seconds = compete(works, repeats=1 if quick else 3)
            count = operations(works["original"])
        _rows(table, f"Swin-{arch[0].upper()}", seconds, FORWARD[arch], quick)
        table.row(f"Swin-{arch[0].upper()}: largest difference of the features", f"{gap:.1e}")
        shares = [f"{count / seconds[name] / PEAK:.0%}" for name in ("ours", "original")]
        table.row(
            f"Swin-{arch[0].upper()}: {count / 1e9:.0f} GFLOP, share of the yardstick", *shares
        )


def frozen_steps(table: Table, quick: bool) -> None:
    """A step of the head alone, and one of branches, on a frozen backbone."""
    x = clips(quick)[:, None]
    table.section(
        f"Training step with a frozen backbone, seconds, one clip {tuple(x.shape[2:])}, one thread",
        "Forward and backward; the optimiser's part is a thousandth of it.",
    )
    for arch in ("tiny",) if quick else ("tiny", "base"):
        for label, lora, elsewhere in (
            ("head", {}, PROBE_STEP[arch]),
            ("branches of q and v, rank 32", LORA, LORA_STEP[arch]),
        ):
            ours = network(arch, drop_path_rate=0.0, **lora)
            freeze_backbone(ours)
            other = network(arch, drop_path_rate=0.0, **lora)
            other.backbone = original_style(ours.backbone)
            freeze_backbone(other)
            works = {name: step(m.train(), x) for name, m in (("ours", ours), ("original", other))}
            seconds = compete(works, repeats=1 if quick else 2)
            _rows(table, f"Swin-{arch[0].upper()}, {label}", seconds, elsewhere, quick)


def step(model: nn.Module, x: Tensor) -> Callable[[], None]:
    from uas_swin.mmlab import ActionDataSample

    samples = [ActionDataSample().set_gt_labels(torch.tensor([3])) for _ in x]

    def run() -> None:
        model.zero_grad()
        model(x, samples, mode="loss")["loss_cls"].backward()

    return run


def _rows(
    table: Table, what: str, seconds: dict[str, float], elsewhere: float, quick: bool
) -> None:
    """Against the original in this run, and against the authors' code on the other machine."""
    target = None if quick else 1.0
    ours, original = seconds["ours"], seconds["original"]
    table.row(what, f"{ours:.2f}", f"{original:.2f}", original / ours, target)
    if not quick:
        scaled = elsewhere / SCALE
        label = f"{what}, against the authors' code elsewhere, scaled"
        table.row(label, f"{ours:.2f}", f"{scaled:.2f}", scaled / ours, target)


PARTS = {"attention": attention, "forward": forward, "frozen_steps": frozen_steps}
