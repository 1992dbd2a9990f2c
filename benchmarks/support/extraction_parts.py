"""Inference, extraction, stitching, principal components, stride, and accelerators."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from measure import Table, best_seconds, compete, peak_megabytes
from original_style import OriginalStyle
from sklearn.decomposition import IncrementalPCA
from trained_network import trained_network
from training_parts import shot7m2

from hbehavemae import pca
from hbehavemae.extraction import Extractor
from hbehavemae.model import HBehaveEncoder
from hbehavemae.stitching import OverlapMean, WindowRun, averaging_padding, window_runs
from hbehavemae.window_encoder import WindowEncoder

SCALE = 1.0
ALL_THREADS = 1
SCRIPT = "benchmarks/hbehavemae.py"
AUTHORS_WINDOWS = {1: 6.4, 4: 6.6, 8: 6.0, 16: 4.6}
"""Windows/s of the authors' forward, one thread, on the machine of the reference yardstick."""

EPISODE, LENGTH = 1800, 400
WINDOWS = EPISODE + LENGTH - 1
TOKENS, SPAN, WIDTH = 200, 2, 1872
NAIVE_WIDTH = 256


def inference(table: Table, quick: bool) -> None:
    """Forward of separate windows, all levels."""
    table.section("Inference, separate windows, all levels, windows/s, one thread")
    model = shot7m2().eval()
    original = OriginalStyle(model).eval()
    with torch.inference_mode():
        for batch in (4, 16) if quick else (1, 2, 4, 8, 16):
            x = torch.randn(batch, LENGTH, 1, 72)
            seconds = compete(
                {
                    "ours": lambda x=x: HBehaveEncoder.forward(model, x),
                    "original": lambda x=x: original.levels(x),
                },
                repeats=3 if quick else 6,
            )
            rates = {name: batch / s for name, s in seconds.items()}
            table.row(
                f"batch {batch}",
                f"{rates['ours']:.2f}",
                f"{rates['original']:.2f}",
                rates["ours"] / rates["original"],
            )


def whole_episode(table: Table, quick: bool) -> None:
    """Extraction of one 1800-frame episode in averaging mode."""
    sampled = 9 if quick else 30
    table.section(
        "Extraction of one 1800-frame Shot7M2 episode, averaging, exact, all levels",
        f"Our time is that of {sampled} batches of 4 windows spread evenly over the episode (the "
        "padding costs less than the middle), extrapolated to all 2199 windows; stitching is in "
        "it. The original's is its forward alone.",
    )
    model = shot7m2().eval()
    original = OriginalStyle(model).eval()
    encoder = WindowEncoder(model, [0, 1, 2])
    runs = list(window_runs(WINDOWS, 1, 4))
    chosen = [runs[i] for i in np.linspace(0, len(runs) - 2, sampled).astype(int)]
    works: dict[str, Callable[[], object]] = {}
    with torch.inference_mode():
        recording = encoder.open(episode(), averaging_padding(LENGTH))
        sums = [
            OverlapMean(EPISODE, LENGTH, encoder.parts[name], width)
            for name, width in encoder.widths.items()
        ]

        def ours() -> None:
            for run in chosen:
                for stitcher, values in zip(sums, recording.encode(run).values(), strict=True):
                    stitcher.add(run, values)

        works["ours"] = ours
        for batch in (1, 4, 16):
            x = torch.randn(batch, LENGTH, 1, 72)
            works[f"original {batch}"] = lambda x=x: original.levels(x)
        seconds = compete(works, repeats=2 if quick else 5)
    rate = 4 * sampled / seconds["ours"]
    for batch in (1, 4, 16):
        theirs = batch / seconds[f"original {batch}"]
        label = {16: "16 (the scripts' 512 is slower still)"}.get(batch, str(batch))
        table.row(
            f"windows/s, one thread; original at batch {label}",
            f"{rate:.2f}",
            f"{theirs:.2f}",
            rate / theirs,
            1.6 if batch > 1 else None,
        )
    fastest = max(AUTHORS_WINDOWS.values()) * SCALE
    table.row(
        "against the authors' code elsewhere at its best batch, scaled",
        f"{rate:.2f}",
        f"{fastest:.2f}",
        rate / fastest,
        1.6,
    )
    table.row("seconds for the episode, one thread", f"{WINDOWS / rate:.0f} (extrapolated)")
    _all_threads(table, model, 32 if quick else 8)
    grown = peak_megabytes(SCRIPT, "extraction")
    table.row(
        "peak memory beside the network, MB (stride 8: the same arrays, fewer windows)",
        f"{grown:.0f}",
        "9900 (level 1 alone)",
        9900 / grown,
        10,
    )


def _all_threads(table: Table, model: HBehaveEncoder, stride: int) -> None:
    if ALL_THREADS < 2:
        return
    x = episode()
    torch.set_num_threads(ALL_THREADS)
    extractors = {
        "side by side": Extractor(model, stride=stride, workers=ALL_THREADS),
        "within": Extractor(model, stride=stride, workers=1),
    }
    rates = {}
    for name, extractor in extractors.items():
        start = time.perf_counter()
        extractor(x)
        rates[name] = extractor.n_windows(EPISODE) / (time.perf_counter() - start)
    torch.set_num_threads(1)
    table.row(
        f"windows/s, wall time, {ALL_THREADS} threads over batches; "
        "for 'original': ours with threads within products",
        f"{rates['side by side']:.2f}",
        f"{rates['within']:.2f}",
        rates["side by side"] / rates["within"],
    )


def stitching(table: Table, quick: bool) -> None:
    """Streamed sums against repeating every token and looping over windows."""
    width = 64 if quick else NAIVE_WIDTH
    table.section(
        "Stitching one 1800-frame episode, level 1 (2199 windows x 200 tokens)",
        f"Both at {width} columns; the level has {WIDTH}. The naive way's memory grows with the "
        "columns and would be 3.3 + 6.6 GB; time and memory are extrapolated in proportion.",
    )
    seconds, error = _stitch_both(torch.randn(WINDOWS, TOKENS, width))
    scale = WIDTH / width
    table.row(
        f"seconds for {WIDTH} columns (extrapolated)",
        f"{seconds['ours'] * scale:.2f}",
        f"{seconds['original'] * scale:.2f}",
        seconds["original"] / seconds["ours"],
        10 if width == NAIVE_WIDTH else None,
    )
    table.row("largest difference to float64, relative", f"{error:.1e}", "", 1e-6 / error, 1)
    ours = peak_megabytes(SCRIPT, "stitching")
    theirs = peak_megabytes(SCRIPT, "naive") * WIDTH / NAIVE_WIDTH
    table.row(
        f"peak memory, MB, {WIDTH} columns (original: extrapolated)",
        f"{ours:.0f}",
        f"{theirs:.0f}",
        theirs / ours,
        10,
    )


def _stitch_both(tokens: torch.Tensor) -> tuple[dict[str, float], float]:
    """Seconds of both ways, and the largest relative difference to float64."""
    seconds = compete(
        {"ours": lambda: streamed(tokens), "original": lambda: naive(tokens)}, repeats=3
    )
    expected = naive(tokens.double())
    actual = torch.from_numpy(streamed(tokens)).double()
    return seconds, ((actual - expected).abs().max() / expected.abs().max()).item()


def naive(tokens: torch.Tensor) -> torch.Tensor:
    """Repeat the tokens of all windows in time, then add window after window."""
    repeated = tokens.repeat_interleave(SPAN, dim=1)
    padded = EPISODE + 2 * (LENGTH - 1)
    total = torch.zeros(padded, tokens.shape[2], dtype=tokens.dtype)
    counts = torch.zeros(padded, 1)
    for w in range(WINDOWS):
        total[w : w + LENGTH] += repeated[w]
        counts[w : w + LENGTH] += 1
    return (total / counts)[LENGTH - 1 : LENGTH - 1 + EPISODE]


def streamed(tokens: torch.Tensor, batch: int = 64) -> np.ndarray:
    """Our way, with the tokens of a batch at a time."""
    mean = OverlapMean(EPISODE, LENGTH, TOKENS, tokens.shape[2])
    for run in window_runs(WINDOWS, 1, batch):
        mean.add(run, tokens[run.first : run.first + run.windows])
    return mean.result()


def principal_components(table: Table, quick: bool) -> None:
    """Fit of 64 components of 1872 columns."""
    rows = 8_192 if quick else 16_384
    table.section(
        f"Principal components, 64 of {WIDTH} columns, milliseconds per row, one thread",
        f"{rows} rows with structure; the original's IncrementalPCA in one chunk, its best case "
        "(it grows slower with smaller chunks).",
    )
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(rows, 200)) * np.geomspace(10, 0.1, 200)
    x = (latent @ rng.normal(size=(200, WIDTH))).astype(np.float32)

    def moments(exact: bool) -> pca.Moments:
        sums = pca.Moments(WIDTH, exact=exact)
        sums.add(x)
        return sums

    seconds = compete({"fast": lambda: moments(False), "exact": lambda: moments(True)}, repeats=3)
    seconds["original"] = best_seconds(
        lambda: IncrementalPCA(64, batch_size=rows).fit(x), repeats=1
    )
    per_row = {name: 1e3 * s / rows for name, s in seconds.items()}
    for name, label, target in (
        ("fast", f"float32 products, more than {pca.EXACT_ROWS:,} rows", 10.0),
        ("exact", "float64 products, fewer rows", None),
    ):
        table.row(
            label,
            f"{per_row[name]:.3f}",
            f"{per_row['original']:.3f}",
            per_row["original"] / per_row[name],
            target,
        )
    sums = moments(False)
    once = best_seconds(lambda: sums.components(64), repeats=1)
    table.row("eigenvectors, seconds, once", f"{once:.1f}")
    fast, exact = sums.components(64), moments(True).components(64)
    cosine = np.abs((fast.components * exact.components).sum(1)).min()
    table.row("smallest cosine between float32 and float64 components", f"{cosine:.8f}")


def stride_deviation(table: Table, quick: bool) -> None:
    """What a window stride costs in exactness, with trained weights."""
    network, recording, steps = trained_network(quick)
    table.section(
        "Stride of the averaging mode: deviation from the exact result",
        f"A network of 3 levels (window 120 frames, mask unit 8 frames) after {steps} steps on "
        f"synthetic behaviour, on a held-out recording of {len(recording)} frames. Deviation: RMS "
        "of the difference over the RMS around the mean, per level.",
    )
    exact: dict[str, np.ndarray] = {}
    base = 0.0
    for stride in (1, 2, 3, 4, 7, 8, 15, 16, 31, 32):
        extractor = Extractor(network, stride=stride)
        start = time.process_time()
        found = extractor(recording)
        seconds = time.process_time() - start
        if stride == 1:
            exact, base = found, seconds
        _deviation_row(table, f"stride {stride}", found, exact, base / seconds)
    start = time.process_time()
    found = Extractor(network, mode="fast")(recording)
    _deviation_row(table, "fast mode", found, exact, base / (time.process_time() - start))


def _deviation_row(
    table: Table, name: str, found: dict[str, np.ndarray], exact: dict[str, np.ndarray], gain: float
) -> None:
    deviations = [
        np.sqrt(np.mean((found[level] - e) ** 2) / np.mean((e - e.mean(0)) ** 2))
        for level, e in exact.items()
    ]
    shown = ", ".join(f"{100 * d:.2f} %" for d in deviations)
    table.row(f"{name}: deviation of levels 1, 2, 3; times as fast", shown, "", gain)


def accelerator(table: Table, quick: bool) -> None:
    """The same network on a CUDA device, if there is one."""
    if not torch.cuda.is_available():
        print("\n## GPU\n\nno CUDA device here: nothing measured")
        return
    import cuda_parts

    cuda_parts.measure(table, quick)


def episode() -> np.ndarray:
    """A random walk of the size of one Shot7M2 episode, (1800, 1, 72)."""
    steps = np.random.default_rng(0).normal(size=(EPISODE, 1, 72))
    return np.cumsum(steps, axis=0).astype(np.float32)


def prepare_episode() -> Callable[[], object]:
    """For the peak memory of a whole extraction."""
    extractor = Extractor(shot7m2().eval(), stride=8)
    x = episode()
    # What the first products of a process allocate for good is not the extraction's.
    extractor(x[:4])
    return lambda: extractor(x)


def prepare_stitching() -> Callable[[], object]:
    """For the peak memory of streamed stitching; tokens are made batch by batch."""

    def work() -> np.ndarray:
        mean = OverlapMean(EPISODE, LENGTH, TOKENS, WIDTH)
        tokens = torch.randn(4, TOKENS, WIDTH)
        for first in range(0, WINDOWS - 4, 4):
            mean.add(WindowRun(first, 1, 4), tokens)
        return mean.result()

    return work


def prepare_naive_stitching() -> Callable[[], object]:
    """For the peak memory of the naive way, which holds the tokens of all windows."""
    return lambda: naive(torch.randn(WINDOWS, TOKENS, NAIVE_WIDTH))
