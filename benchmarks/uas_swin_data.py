# ruff: noqa: E402  (the import path is set first, see below)
"""Speed of UAS-Swin's data side: decoding, clips, checks of lists, scores.

    python benchmarks/uas_swin_data.py [--quick] [--only decode samples check scores]

It prints tables. "original" is the pipeline of the installed mmaction2 (its steps are those of the
authors' code: decord, one frame of a list after the other), or, for scores, its functions, measured
in the same run on the same machine, in turns with ours. Everything runs on one thread; figures are
CPU time, best of several. The videos are generated: 300 frames of 340x256 (Kinetics as usually
stored), and 20 frames of 224x224 (ChimpBehave).
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent / "support")

import cv2
import numpy as np
import torch
from command import Part, run
from measure import Table, compete

from behaviorzoo.video import VideoReader
from behaviorzoo.video.writing import write_video
from uas_swin.data.checking import check_files
from uas_swin.data.readers import open_reader
from uas_swin.metrics import evaluate

warnings.filterwarnings("ignore", message="Fail to import ``MultiScaleDeformableAttention``")
cv2.setNumThreads(1)
FOLDER = Path(tempfile.mkdtemp(prefix="uas_swin_data_"))

KINETICS_TEST = {"clip_len": 32, "frame_interval": 2, "num_clips": 4, "test_mode": True}
CHIMP_TEST = {"clip_len": 32, "frame_interval": 2, "num_clips": 1, "test_mode": True}
TRAIN = {"clip_len": 32, "frame_interval": 2, "num_clips": 1}


def video(name: str, n_frames: int, width: int, height: int) -> str:
    """A moving texture with some noise: as hard to decode as a real scene, roughly."""
    path = FOLDER / f"{name}.mp4"
    if not path.exists():
        rng = np.random.default_rng(0)
        small = rng.integers(0, 256, (height // 4, width // 4 + n_frames, 3), dtype=np.uint8)
        scene = cv2.resize(small, (width + 4 * n_frames, height), interpolation=cv2.INTER_CUBIC)
        noise = rng.integers(0, 8, (height, width, 3), dtype=np.uint8)
        frames = (scene[:, 2 * t : 2 * t + width] // 2 + noise for t in range(n_frames))
        write_video(path, frames, 30, key_every=12 if n_frames < 60 else 250)
    return str(path)


def kinetics(quick: bool) -> str:
    """10 seconds."""
    return video("quick" if quick else "kinetics", 80 if quick else 300, 340, 256)


def decode(table: Table, quick: bool) -> None:
    """Milliseconds of a clip by each library."""
    path = kinetics(quick)
    places = {"32 frames from the start, every 2nd": range(0, 64, 2)}
    if not quick:
        places["32 frames from the middle, every 2nd"] = range(120, 184, 2)
        places["8 frames over the whole video"] = range(10, 300, 37)
    table.section("Decoding to RGB, ms", "340x256, h264; `original` is decord, one thread.")

    def read(reader: str, frames: range) -> None:
        opened = open_reader(path, reader)
        opened.frames(frames)
        opened.close()

    def single(frames: range) -> None:
        with VideoReader(path, threads=1) as opened:
            opened.frames(frames)

    for title, frames in places.items():
        works: dict[str, Callable[[], object]] = {
            "decord": lambda frames=frames: read("decord", frames),
            "PyAV, one thread": lambda frames=frames: single(frames),
            "OpenCV": lambda frames=frames: read("opencv", frames),
        }
        ms = {name: 1e3 * s for name, s in compete(works, 2 if quick else 7).items()}
        for name in ("PyAV, one thread", "OpenCV"):
            figures = f"{ms[name]:.1f}", f"{ms['decord']:.1f}"
            table.row(f"{title}: {name}", *figures, ms["decord"] / ms[name])


def ours(sampling: dict[str, Any], steps: list[dict[str, Any]], reader: str) -> list[dict]:
    """Our pipeline."""
    opening = [{"type": "UasOpenVideo", "reader": reader}, {"type": "UasSampleFrames", **sampling}]
    middle = [{**step, "type": f"Uas{step['type']}"} for step in steps]
    return [*opening, {"type": "UasDecode"}, *middle, {"type": "UasFormatShape"}]


def theirs(sampling: dict[str, Any], steps: list[dict[str, Any]]) -> list[dict]:
    """The pipeline of mmaction2."""
    parts = [
        {"type": "DecordInit"},
        {"type": "SampleFrames", **sampling},
        {"type": "DecordDecode"},
        *steps,
        {"type": "FormatShape", "input_format": "NCTHW"},
    ]
    return [{**part, "type": f"mmaction.{part['type']}"} for part in parts]


def samples(table: Table, quick: bool) -> None:
    """Milliseconds of a sample, from the file to a batch of uint8 views."""
    from mmengine.dataset import Compose

    import uas_swin.data.transforms  # noqa: F401  (registers the steps)
    from uas_swin.mmlab import MODELS  # noqa: F401  (mmaction2, without its warning)

    test = [{"type": "Resize", "scale": (-1, 224)}, {"type": "ThreeCrop", "crop_size": 224}]
    train = [
        {"type": "Resize", "scale": (-1, 256)},
        {"type": "RandomResizedCrop"},
        {"type": "Resize", "scale": (224, 224), "keep_ratio": False},
        {"type": "Flip", "flip_ratio": 0.5},
    ]
    chimp = video("chimp", 20, 224, 224)
    works = {
        "Kinetics, test, 4 clips x 3 crops": (kinetics(quick), KINETICS_TEST, test),
        "Kinetics, training clip": (kinetics(quick), TRAIN, train),
        "ChimpBehave, test, 1 clip x 3 crops": (chimp, CHIMP_TEST, test),
        "ChimpBehave, training clip": (chimp, {**TRAIN, "frame_interval": 1}, train),
    }
    table.section("One sample, from the file to a batch of uint8 views, ms")
    for title, (path, sampling, steps) in works.items():
        pipelines = {
            "PyAV": Compose(ours(sampling, steps, "pyav")),
            "decord": Compose(ours(sampling, steps, "decord")),
            "original": Compose(theirs(sampling, steps)),
        }

        def load(name: str, path: str = path, pipelines: dict = pipelines) -> None:
            sample = pipelines[name]({"filename": path, "start_index": 0, "modality": "RGB"})
            torch.from_numpy(sample["imgs"])[None].contiguous()  # a batch of one

        ms = {
            name: 1e3 * s
            for name, s in compete(
                {name: lambda name=name, load=load: load(name) for name in pipelines},
                2 if quick else 7,
            ).items()
        }
        for name in ("PyAV", "decord"):
            figures = f"{ms[name]:.1f}", f"{ms['original']:.1f}"
            table.row(f"{title}, by {name}", *figures, ms["original"] / ms[name])


def check(table: Table, quick: bool) -> None:
    """Videos per second of the look at a list."""
    n = 4 if quick else 40
    source = Path(video("chimp", 20, 224, 224)).read_bytes()
    paths = [FOLDER / f"check_{number}.mp4" for number in range(n)]
    for path in paths:
        path.write_bytes(source)
    names = [str(path) for path in paths]
    table.section("Looking at the videos of a list, videos/s", "20 frames of 224x224, one worker.")

    def look(level: str) -> None:
        for path in paths:
            path.touch()  # what is known about a file is forgotten when it changes
        check_files(names, level, 1)

    for level in ("exists", "open", "decode"):
        seconds = compete({level: lambda level=level: look(level)}, 3)[level]
        table.row(level, f"{n / seconds:.0f}")


def scores(table: Table, quick: bool) -> None:
    """Milliseconds of the metrics of a validation set."""
    from uas_swin.mmlab import MODELS  # noqa: F401  (mmaction2, without its warning)

    from mmaction.evaluation import (  # isort: skip
        mean_average_precision,
        mean_class_accuracy,
        top_k_accuracy,
    )

    n, n_classes = (500, 20) if quick else (5150, 103)
    rng = np.random.default_rng(0)
    predicted = rng.random((n, n_classes), dtype=np.float32)
    labels = rng.integers(0, n_classes, n)
    rows, ids = list(predicted), labels.tolist()
    vectors = list(np.eye(n_classes)[labels])
    names = ("top_k_accuracy", "mean_class_accuracy", "mean_average_precision")

    def original() -> None:
        top_k_accuracy(rows, ids, (1, 5))
        mean_class_accuracy(rows, ids)
        mean_average_precision(rows, vectors)

    table.section(
        "Top-1, top-5, mean class accuracy and mAP, ms", f"{n} clips, {n_classes} classes."
    )
    works: dict[str, Callable[[], object]] = {
        "ours": lambda: evaluate(predicted, labels, names, num_classes=n_classes),
        "original": original,
    }
    ms = {name: 1e3 * s for name, s in compete(works, 2 if quick else 5).items()}
    figures = f"{ms['ours']:.1f}", f"{ms['original']:.1f}"
    table.row("all of them", *figures, ms["original"] / ms["ours"])


PARTS: dict[str, Part] = {"decode": decode, "samples": samples, "check": check, "scores": scores}

if __name__ == "__main__":
    import shutil

    try:
        raise SystemExit(run(__doc__ or "", PARTS, lambda unit: None))
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
