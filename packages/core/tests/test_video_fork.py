"""A forked child that frees frames of its parent must not wait for threads that it lacks."""

from __future__ import annotations

import gc
import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from behaviorzoo.video.opening import open_video
from behaviorzoo.video.orientation import to_rgb
from behaviorzoo.video.writing import write_video


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system"
)
def test_a_forked_child_may_free_the_frames_of_its_parent(tmp_path: Path):
    frames = np.random.default_rng(0).integers(0, 255, (2, 512, 512, 3), np.uint8)
    video = open_video(write_video(tmp_path / "a.mp4", frames, 10.0), threads=1)
    held = list(video.container.decode(video.stream))
    assert to_rgb(held[0]).shape == (512, 512, 3)
    gc.collect()  # what other tests left behind is none of the child's business

    def free() -> None:
        held.clear()
        gc.collect()

    child = multiprocessing.get_context("fork").Process(target=free)
    child.start()
    child.join(20)
    alive = child.is_alive()
    child.kill()
    video.close()
    assert not alive
