"""Views of videos through the network, while the next ones are decoded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from behaviorzoo.errors import UserError, suggest

T = TypeVar("T")
R = TypeVar("R")
Loaded: TypeAlias = "tuple[Tensor | None, str]"
"""Views of a video; or None, and what is wrong with it."""
Encoded: TypeAlias = "tuple[NDArray[np.float32] | None, str]"
"""Features of its views; or None, and what is wrong with it."""
PRECISIONS = {"32": None, "16": torch.float16, "bf16": torch.bfloat16}


class Encoder:
    """Views of videos to features, some views at a time, across videos.

    Args:
        backbone: The network without its head.
        preprocess: Grey levels to what it was trained on.
        device: Where both are.
        batch_size: Views at a time; by default 16 on a GPU and 1 elsewhere.
        precision: ``32``; ``16`` or ``bf16`` on GPUs.

    Raises:
        UserError: A precision or a number of views that does not do.
    """

    def __init__(
        self,
        backbone: nn.Module,
        preprocess: nn.Module,
        device: torch.device,
        batch_size: int | None = None,
        precision: str = "32",
    ) -> None:
        if precision not in PRECISIONS:
            raise UserError(f"precision: unknown {precision!r}; {suggest(precision, PRECISIONS)}")
        if precision != "32" and device.type == "cpu":
            raise UserError(f"precision {precision} is for GPUs; on a CPU it is slower")
        if batch_size is not None and batch_size < 1:
            raise UserError(f"--batch-size {batch_size} must be at least 1")
        self.backbone, self.preprocess, self.device = backbone.eval(), preprocess, device
        self.batch_size = batch_size or (16 if device.type == "cuda" else 1)
        self.dtype = PRECISIONS[precision]

    def __call__(self, videos: Iterable[Loaded]) -> Iterator[Encoded]:
        """Features of each video, in order.

        Views of several videos share a batch, so that short videos fill it too.

        Args:
            videos: Views (V, 3, T, H, W) uint8; None, and the reason, of one that is broken.

        Yields:
            Features (V, C); None, and the reason, of a broken video.
        """
        waiting: deque[tuple[int, str]] = deque()
        pending: list[Tensor] = []
        done: list[Tensor] = []
        for views, problem in videos:
            waiting.append((0 if views is None else len(views), problem))
            if views is not None:
                if pending and pending[0].shape[1:] != views.shape[1:]:
                    done.append(self._pooled(torch.cat(pending)))
                    pending = []
                pending.append(views)
            if (n := sum(map(len, pending))) >= self.batch_size:
                every = torch.cat(pending)
                whole = n - n % self.batch_size
                done.append(self._pooled(every[:whole]))
                pending = [every[whole:]] if whole < n else []
            yield from self._ready(waiting, done)
        if pending:
            done.append(self._pooled(torch.cat(pending)))
        yield from self._ready(waiting, done)

    @staticmethod
    def _ready(waiting: deque[tuple[int, str]], done: list[Tensor]) -> Iterator[Encoded]:
        while waiting and waiting[0][0] <= sum(map(len, done)):
            n, problem = waiting.popleft()
            if n == 0:
                yield None, problem
                continue
            rows = torch.cat(done)
            done[:] = [rows[n:]]
            yield rows[:n].numpy(), problem

    @torch.inference_mode()
    def _pooled(self, views: Tensor) -> Tensor:
        """(V, 3, T, H, W) to (V, C), as the head pools."""
        parts = []
        for part in views.split(self.batch_size):
            data = {"inputs": [part.to(self.device, non_blocking=True)], "data_samples": None}
            inputs = self.preprocess(data)["inputs"][0]
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
                parts.append(self.backbone(inputs).float().mean((2, 3, 4)))
        return torch.cat(parts).cpu()


def prefetched(work: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """``map`` by threads, in order, a few items ahead and no more.

    Threads suffice: decoding, resizing and copying work outside Python's lock.
    """
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
