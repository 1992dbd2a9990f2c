"""UAS-Swin: features computed once, with decoding behind the network; heads trained on them."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from measure import Table, best_seconds
from uas_network_parts import network

from uas_swin.linear_probe import ProbeSettings, Problem, fit_heads, nearest_neighbours
from uas_swin.view_encoding import Encoder, prefetched

T = TypeVar("T")
CLIPS, FEATURES, CLASSES = 7352, 1024, 7
"""Of ChimpBehave's training list and Swin-B."""
LIMIT = 10.0
"""Seconds that 30 epochs may take."""
FORWARD = 15.0
"""Seconds of Swin-B on one clip in the authors' code, where the yardstick was timed."""
SCALE = 1.0


def probe(table: Table, quick: bool) -> None:
    """Thirty epochs of a linear probe on cached features."""
    n = 300 if quick else CLIPS
    rng = np.random.default_rng(0)
    features = rng.standard_normal((n, FEATURES)).astype(np.float32)
    labels = rng.integers(0, CLASSES, n)
    rows = [np.array([i]) for i in range(n)]
    table.section(
        f"Linear probe, 30 epochs, {n} clips of {FEATURES} features, {CLASSES} classes, CPU s",
        f"Batches as in the configuration of ChimpBehave. Original: the head's step of torch on a "
        f"cached feature, in a loop; target: {LIMIT:g} s.",
    )
    one = ProbeSettings(batch_size=2)
    steps = 30 * n // (one.batch_size * one.accumulate)
    ours = best_seconds(lambda: fit_heads(features, [Problem(rows, labels, 0)], CLASSES, one), 2)
    theirs = _step_of_torch(features, labels) * steps
    table.row("one seed, one rate", f"{ours:.2f}", f"{theirs:.2f}", theirs / ours)
    table.row("the same against the target", f"{ours:.2f}", f"{LIMIT:.0f}", LIMIT / ours,
              None if quick else 1.0)  # fmt: skip
    once = n * FORWARD / SCALE
    table.row("with the pass that makes the features, Swin-B, against one in each epoch "
              "(the authors' forward elsewhere, scaled)",
              f"{once + ours:.0f}", f"{30 * once:.0f}", 30 * once / (once + ours))  # fmt: skip
    many = ProbeSettings(lrs=(1e-4, 3e-4, 1e-3, 3e-3), batch_size=2)
    problems = [Problem(rows, labels, seed) for seed in range(3)]
    both = best_seconds(lambda: fit_heads(features, problems, CLASSES, many), 1)
    table.row("three seeds and four rates at once", f"{both:.2f}", f"{12 * ours:.2f} (one by one)",
              12 * ours / both)  # fmt: skip
    near = best_seconds(lambda: nearest_neighbours(features, labels, features, 5, CLASSES), 1)
    table.row("five neighbours of every clip", f"{near:.2f}")


def _step_of_torch(features: np.ndarray, labels: np.ndarray) -> float:
    """CPU seconds of a step on 16 cached features."""
    head = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(FEATURES, CLASSES))
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-4, weight_decay=0.05)
    x, y = torch.from_numpy(features[:16]), torch.from_numpy(labels[:16])

    def steps() -> None:
        for _ in range(100):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(head(x), y).backward()
            optimizer.step()

    return best_seconds(steps, 2) / 100


def extraction(table: Table, quick: bool) -> None:
    """Videos to features: the time of the forward pass, or more?"""
    size, frames, n = (64, 8, 3) if quick else (224, 32, 12)
    table.section(
        f"Extraction, wall s a view of 3 x {frames} x {size} x {size}, Swin-T, {n} videos",
        "10 s of 340x256, h264. The network on one thread, two threads decode: needs two free "
        "cores. Original: the forward pass alone, views in memory; 1 hides decoding wholly.",
    )
    model: Any = network("tiny").eval()
    with tempfile.TemporaryDirectory() as folder:
        videos = _videos(Path(folder), n, 2 * frames if quick else 300)
        load = _loader(frames, size)
        encode = Encoder(model.backbone, _normaliser(), torch.device("cpu"))
        views = [load(path) for path in videos]
        alone, together, waited, decoding = (float("inf") for _ in range(4))
        for _ in range(1 if quick else 2):
            waits: list[float] = []
            decoding = min(decoding, _seconds(lambda: (load(path) for path in videos)))
            alone = min(alone, _seconds(lambda: encode(iter(views))))
            ahead = _timed(prefetched(load, videos, 2), waits)
            together = min(together, _seconds(partial(encode, ahead)))
            waited = min(waited, sum(waits[1:]))
    target = None if quick or len(os.sched_getaffinity(0)) < 2 else 0.9
    table.row("decode, resize, crop and forward", f"{together / n:.2f}", f"{alone / n:.2f}",
              alone / together, target)  # fmt: skip
    table.row("decode, resize and crop alone, one thread", f"{decoding / n:.3f}")
    table.row("of which the network waits for (after the first)", f"{waited / n:.3f}")


def _videos(folder: Path, n: int, n_frames: int) -> list[Path]:
    """A moving texture, ``n`` times: its decoding costs what that of a real scene does, roughly."""
    from behaviorzoo.video.writing import write_video

    rng = np.random.default_rng(0)
    scene = rng.integers(0, 256, (32, 43 + n_frames, 3), dtype=np.uint8)
    scene = scene.repeat(8, axis=0).repeat(8, axis=1)  # 256 x (344 + 8 n_frames)
    noise = rng.integers(0, 8, (256, 340, 3), dtype=np.uint8)
    frames = (scene[:, 2 * t : 2 * t + 340] // 2 + noise for t in range(n_frames))
    first = write_video(folder / "video_0.mp4", frames, 30, key_every=250)
    copies = [folder / f"video_{number}.mp4" for number in range(1, n)]
    for path in copies:
        shutil.copyfile(first, path)
    return [first, *copies]


def _timed(items: Iterator[T], waits: list[float]) -> Iterator[T]:
    """The items; how long each was waited for is kept."""
    while True:
        start = time.perf_counter()
        item = next(items, None)
        if item is None:
            return
        waits.append(time.perf_counter() - start)
        yield item


def _loader(frames: int, size: int) -> Callable[[Path], tuple[torch.Tensor, str]]:
    from mmengine.dataset import Compose
    from mmengine.registry import DefaultScope

    from uas_swin.registration import register_all

    register_all()
    steps = [
        {"type": "UasOpenVideo"},
        {"type": "UasSampleFrames", "clip_len": frames, "frame_interval": 2, "test_mode": True},
        {"type": "UasDecode"},
        {"type": "UasResize", "scale": (-1, size * 8 // 7)},
        {"type": "UasCenterCrop", "crop_size": size},
        {"type": "UasFormatShape"},
    ]
    with DefaultScope.overwrite_default_scope("mmaction"):
        pipeline = Compose(steps)

    def load(path: Path) -> tuple[torch.Tensor, str]:
        sample: Any = pipeline({"filename": str(path), "label": 0, "region": None})
        return torch.from_numpy(sample["imgs"]), ""

    return load


def _normaliser() -> torch.nn.Module:
    from uas_swin.embed import normaliser

    return normaliser()


def _seconds(work: Callable[[], Iterator[Any]]) -> float:
    start = time.perf_counter()
    for _ in work():
        pass
    return time.perf_counter() - start


PARTS = {"probe": probe, "extraction": extraction}
