"""Parts of the benchmark of reading videos."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import av
import numpy as np
from measure import Table, compete

from behaviorzoo.synthetic_video import make_clip, write_clips
from behaviorzoo.video import VideoReader, read_frames
from behaviorzoo.video import index as index_module
from behaviorzoo.video import info as info_module
from behaviorzoo.video.writing import write_video

FPS = 30
SIDE = 224


@contextmanager
def long_video(quick: bool) -> Iterator[tuple[Path, int]]:
    """A video of 3 minutes (20 s) with a key frame every 8 s, and its number of frames."""
    total = FPS * (20 if quick else 180)
    # Ten seconds of pictures over and over: what costs is decoding, not what they show.
    pictures = make_clip("circle", "star", 10 * FPS, SIDE, 0)
    frames = (pictures[number % len(pictures)] for number in range(total))
    with tempfile.TemporaryDirectory() as folder:
        yield write_video(Path(folder) / "long.mp4", frames, FPS, key_every=8 * FPS), total


def sequential(path: Path, wanted: list[int]) -> np.ndarray:
    """Decode from the start up to the last wanted frame."""
    keep = set(wanted)
    images = {}
    with av.open(str(path)) as file:
        file.streams.video[0].codec_context.thread_count = 1
        for number, frame in enumerate(islice(file.decode(video=0), max(wanted) + 1)):
            if number in keep:
                images[number] = frame.to_ndarray(format="rgb24")
    return np.stack([images[number] for number in wanted])


def with_decord(path: Path, wanted: list[int]) -> np.ndarray:
    import decord

    return decord.VideoReader(str(path), num_threads=1).get_batch(wanted).asnumpy()


def with_opencv(path: Path, wanted: list[int]) -> np.ndarray:
    """Seek to each frame that does not follow the one before."""
    import cv2

    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    images, at = [], 0
    for number in wanted:
        if number != at:
            capture.set(cv2.CAP_PROP_POS_FRAMES, number)
        images.append(capture.read()[1][..., ::-1])
        at = number + 1
    return np.stack(images)


def ways(path: Path, wanted: list[int]) -> dict[str, Callable[[], np.ndarray]]:
    """Readers to compare: what each finds first is checked to be the same frames."""
    works: dict[str, Callable[[], np.ndarray]] = {
        "ours": lambda: read_frames(path, wanted, threads=1),
        "full decode": lambda: sequential(path, wanted),
    }
    if importlib.util.find_spec("decord"):
        works["decord"] = lambda: with_decord(path, wanted)
    if importlib.util.find_spec("cv2"):
        works["OpenCV"] = lambda: with_opencv(path, wanted)
    return works


def compare(table: Table, what: str, path: Path, wanted: list[int], target: float | None) -> None:
    """One row for each other reader."""
    works = ways(path, wanted)
    truth = sequential(path, wanted)
    seconds = compete(works, repeats=3)
    for name in works:
        if name == "ours":
            continue
        same = np.abs(works[name]().astype(int) - truth).max() <= 1
        table.row(
            f"{what}, {name}" + ("" if same else " (other frames!)"),
            f"{seconds['ours'] * 1e3:.0f} ms",
            f"{seconds[name] * 1e3:.0f} ms",
            seconds[name] / seconds["ours"],
            target if name == "full decode" else None,
        )


def sparse(table: Table, quick: bool) -> None:
    """A few frames of a long video."""
    with long_video(quick) as (path, total):
        table.section(f"Few frames of {total:,} ({SIDE} x {SIDE}, H.264, a key frame every 8 s)")
        late = total - 3 * FPS
        requests = {
            "1 frame": [late],
            "15 frames at 1 per second": [late - 15 * FPS + i * FPS for i in range(15)],
            "32 frames, every other": [late + 2 * i for i in range(32)],
        }
        for what, wanted in requests.items():
            compare(table, what, path, [max(number, 0) for number in wanted], 1 if quick else 5)


def windows(table: Table, quick: bool) -> None:
    """Windows of 32 frames over a whole video, half overlapping."""
    with long_video(True) as (path, total):
        table.section(f"All windows of 32 frames, stride 16, of {total:,} frames")

        def ours() -> int:
            with VideoReader(path, threads=1) as video:
                return sum(len(frames) for _, frames in video.stream(32, 16))

        def one_by_one() -> int:
            with VideoReader(path, threads=1) as video:
                starts = range(0, total - 16, 16)
                return sum(
                    len(video.frames(range(start, min(start + 32, total)))) for start in starts
                )

        assert ours() == one_by_one()
        seconds = compete({"ours": ours, "one by one": one_by_one}, repeats=1 if quick else 3)
        table.row(
            "frames/s, streamed; each window read by itself",
            f"{total / seconds['ours']:.0f}",
            f"{total / seconds['one by one']:.0f}",
            seconds["one by one"] / seconds["ours"],
            1,
        )


def index(table: Table, quick: bool) -> None:
    """Finding the frames of a long file."""
    with long_video(quick) as (path, total):
        megabytes = path.stat().st_size / 1e6
        table.section(f"Where {total:,} frames are ({megabytes:.0f} MB)")

        def decoded() -> int:
            with av.open(str(path)) as file:
                file.streams.video[0].codec_context.thread_count = 1
                return sum(1 for _ in file.decode(video=0))

        works: dict[str, Callable[[], object]] = {
            "tables": lambda: index_module._from_tables(path),
            "packets": lambda: index_module._from_packets(path),
        }
        assert index_module._from_tables(path) is not None
        seconds = compete(works, repeats=3)
        seconds["decoding"] = compete({"decoding": decoded}, repeats=1)["decoding"]
        for name in ("packets", "decoding"):
            table.row(
                f"by the tables; by {name}",
                f"{seconds['tables'] * 1e3:.1f} ms",
                f"{seconds[name] * 1e3:.1f} ms",
                seconds[name] / seconds["tables"],
            )


def clips(table: Table, quick: bool) -> None:
    """Short clips, each opened once: a data set of actions."""
    with tempfile.TemporaryDirectory() as folder:
        paths = write_clips(folder, ("circle", "spin"), 4 if quick else 20, size=SIDE, n_frames=32)
        wanted = list(range(0, 32, 2))
        table.section(
            "16 frames of short clips (32 frames, 224 x 224), each read for the first time"
        )

        def all_with(work: Callable[[Path, list[int]], np.ndarray]) -> Callable[[], None]:
            def read() -> None:
                info_module._CACHE.clear()
                for path in paths:
                    work(path, wanted)

            return read

        works = {"ours": all_with(lambda path, wanted: read_frames(path, wanted, threads=1))}
        works["full decode"] = all_with(sequential)
        if importlib.util.find_spec("decord"):
            works["decord"] = all_with(with_decord)
        seconds = compete(works, repeats=3)
        for name in list(works)[1:]:
            table.row(
                f"clips/s; {name}",
                f"{len(paths) / seconds['ours']:.0f}",
                f"{len(paths) / seconds[name]:.0f}",
                seconds[name] / seconds["ours"],
                0.9 if name == "decord" else None,
            )
