"""Embeddings of one whole recording: its windows in batches, stitched as they come.

Letters: n frames of a recording, I individuals, F features, D features of a level's embedding.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from behaviorzoo.errors import UserError
from behaviorzoo.windows import window_count
from hbehavemae.model import HBehaveEncoder
from hbehavemae.stitching import (
    MiddleTokens,
    OverlapMean,
    Padding,
    WindowRun,
    averaging_padding,
    fast_padding,
    window_runs,
)
from hbehavemae.window_encoder import FUSED, Transform, WindowEncoder

Mode = Literal["averaging", "fast"]
Compat = Literal["none", "upstream"]
Precision = Literal["32", "bf16"]

T = TypeVar("T")
R = TypeVar("R")

COMBINED = "combined"

BATCH_CPU = 4
"""Windows at a time and thread on a CPU: larger batches leave the cache and are slower."""
BATCH_ACCELERATOR = 64


class Extractor:
    """Embeds recordings with one model and one set of options.

    Args:
        model: Encoder, or the whole masked autoencoder where ``fusion`` is wanted.
        mode: ``averaging``: mean over all windows that contain a frame. ``fast``: the token at
            the middle of one window per frame pair.
        stride: Averaging: frames between windows, 1 = exact.
        batch_size: Windows at a time; chosen for the device by default.
        embedsum: Average the tokens of one time over individuals and key points.
        fusion: ``combined`` = the levels fused by the trained convolution heads.
        combine: ``combined`` = all wanted levels side by side (unless ``fusion``).
        compat: ``upstream``: fusion ends with a fresh LayerNorm instead of the trained one.
        levels: Wanted levels, 1 = finest; all by default.
        workers: CPU threads that encode batches side by side; all of torch's by default.
        precision: ``bf16``: autocast, for accelerators with bfloat16 units.

    Attributes:
        widths: Name of each output level to its number of features D.

    Raises:
        UserError: Unknown level, or a stride that leaves frames without a window.

    Example:
        >>> from hbehavemae.model import HBehaveEncoder, ModelConfig
        >>> model = HBehaveEncoder(
        ...     ModelConfig(
        ...         input_size=(8, 1, 6),
        ...         patch_kernel=(2, 1, 3),
        ...         stages=(1, 1),
        ...         q_strides=((2, 1, 2),),
        ...         init_embed_dim=8,
        ...         out_embed_dims=(3, 4),
        ...     )
        ... )
        >>> found = Extractor(model)(np.zeros((5, 1, 6), np.float32))
        >>> {name: values.shape for name, values in found.items()}
        {'level_1': (5, 6), 'level_2': (5, 4)}
    """

    def __init__(
        self,
        model: HBehaveEncoder,
        *,
        mode: Mode = "averaging",
        stride: int = 1,
        batch_size: int | None = None,
        embedsum: bool = False,
        fusion: bool = False,
        combine: bool = False,
        compat: Compat = "none",
        levels: Sequence[int] | None = None,
        workers: int | None = None,
        precision: Precision = "32",
    ):
        self._encoder = WindowEncoder(
            model,
            _wanted(levels, len(model.geometry.stage_ends)),
            embedsum=embedsum,
            fusion=fusion,
            fresh_norm=compat == "upstream",
            pack=precision == "32",
        )
        self._mode = mode
        self._stride = stride
        self._combine = combine and not fusion
        if mode == "averaging" and not 1 <= stride <= self._encoder.length:
            raise UserError(
                f"stride={stride} must lie between 1 and the window of {self._encoder.length} "
                f"frames, else some frames are in no window"
            )
        on_cpu = self._encoder.device.type == "cpu"
        self._batch = batch_size or (BATCH_CPU if on_cpu else BATCH_ACCELERATOR)
        self._workers = (workers or torch.get_num_threads()) if on_cpu else 1
        self._precision = precision
        self.widths = {_public(name): width for name, width in self._encoder.widths.items()}
        if self._combine:
            self.widths[COMBINED] = sum(self.widths.values())

    def n_windows(self, n_frames: int) -> int:
        """Windows that a recording of ``n_frames`` takes."""
        padding = self._padding(n_frames)
        padded = padding.front + n_frames + padding.behind
        return window_count(padded, self._encoder.length, padding.stride)

    def __call__(
        self,
        features: np.ndarray,
        *,
        name: str = "recording",
        transform: Transform | None = None,
        on_batch: Callable[[int], object] = lambda windows: None,
    ) -> dict[str, np.ndarray]:
        """Embed one recording.

        Args:
            features: (n, I, F) as the network takes them. Shorter than a window is fine.
            name: For messages.
            transform: Applied to windows (B, T, I, F) before they enter the network.
            on_batch: Called with the number of windows after every batch.

        Returns:
            Name of each output level to float32 (n, D).

        Raises:
            UserError: No frame, another shape than the network's, values it cannot take.
        """
        self._check(features, name)
        n_frames = len(features)
        padding = self._padding(n_frames)
        with self._autocast():
            recording = self._encoder.open(features, padding, transform)
        stitchers = {part: self._stitcher(n_frames, part) for part in self._encoder.widths}
        runs = window_runs(self.n_windows(n_frames), padding.stride, self._batch)

        def encode(run: WindowRun) -> tuple[WindowRun, dict[str, Tensor]]:
            with torch.inference_mode(), self._autocast():
                return run, recording.encode(run)

        for run, tokens in ordered_map(encode, runs, self._workers):
            with torch.inference_mode():
                for part, values in tokens.items():
                    stitchers[part].add(run, values)
            on_batch(run.windows)
        with torch.inference_mode():
            found = {_public(part): stitcher.result() for part, stitcher in stitchers.items()}
        if self._combine:
            found[COMBINED] = np.concatenate(list(found.values()), axis=1)
        return found

    def _padding(self, n_frames: int) -> Padding:
        if self._mode == "fast":
            return fast_padding(n_frames, self._encoder.length)
        return averaging_padding(self._encoder.length, self._stride)

    def _stitcher(self, n_frames: int, name: str) -> OverlapMean | MiddleTokens:
        size = (n_frames, self._encoder.length, self._encoder.parts[name])
        width, device = self._encoder.widths[name], self._encoder.device
        if self._mode == "fast":
            return MiddleTokens(*size, width, device=device)
        return OverlapMean(*size, width, stride=self._stride, device=device)

    def _autocast(self) -> AbstractContextManager[object]:
        if self._precision == "32":
            return nullcontext()
        return torch.autocast(self._encoder.device.type, dtype=torch.bfloat16)

    def _check(self, features: np.ndarray, name: str) -> None:
        config = self._encoder.geometry.config
        if features.ndim != 3 or features.shape[1:] != config.input_size[1:]:
            raise UserError(
                f"{name}: (individuals, features) {tuple(features.shape[1:])}, the network takes "
                f"{config.input_size[1:]}; embed with the key points and individuals of training"
            )
        if not len(features):
            raise UserError(f"{name}: the recording has 0 frames; leave it out")
        if np.isinf(features).any():
            raise UserError(f"{name}: infinite values; check the file")
        missing = np.isnan(features)
        if not config.missing and missing.any():
            frames = missing.any(axis=(1, 2))
            raise UserError(
                f"{name}: {missing.mean():.1%} of the values are missing, in {frames.sum()} of "
                f"{len(features)} frames (first at row {int(frames.argmax())}), and this network "
                f"takes none; close the gaps (data.missing=interpolate data.max_gap=N) or train "
                f"with model.missing=true"
            )


def ordered_map(work: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """Results of ``work`` in order, computed by several threads of one core each.

    Beside small matrices, threads over batches use the cores better than threads within a
    product. At most two items per worker are held.

    Args:
        work: Function of one item.
        items: What it is applied to.
        workers: Number of threads; 1 works in the calling thread.
    """
    if workers <= 1:
        yield from map(work, items)
        return
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        # The workers' setting becomes that of threads made later: put back what was.
        torch.set_num_threads(threads)


def _wanted(levels: Sequence[int] | None, n_levels: int) -> list[int]:
    if levels is None:
        return list(range(n_levels))
    wrong = [level for level in levels if not 1 <= level <= n_levels]
    if wrong or not levels:
        raise UserError(f"levels={list(levels)}: this model has the levels 1 to {n_levels}")
    return sorted({level - 1 for level in levels})


def _public(name: str) -> str:
    return COMBINED if name == FUSED else name
