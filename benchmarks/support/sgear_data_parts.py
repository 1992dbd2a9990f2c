"""S-GEAR: items of features and videos, labels of the past, transforms."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from measure import Table, best_seconds, compete
from sgear_original_data import Language, original_item, original_past_labels, with_paths

from behaviorzoo.video import read_frames, read_span, video_info
from behaviorzoo.video.writing import write_video
from sgear.data.anticipation import convert_to_anticipation
from sgear.data.classes import Classes
from sgear.data.config import (
    AnticipationConfig,
    DataConfig,
    DatasetConfig,
    ReaderConfig,
    SubclipConfig,
)
from sgear.data.dataset import ActionDataset, collate
from sgear.data.past_labels import IntervalTable, labels_at
from sgear.data.readers import open_reader
from sgear.data.readers.lmdb_features import LmdbFeatures, write_lmdb
from sgear.data.readers.video import frames_between
from sgear.data.sampling import Draws
from sgear.data.tables import ActionTable
from sgear.data.transforms import ClipTransform

SCALE = 1.0
AUTHORS_ITEMS = 27.7
"""Feature items/s (540 rows), where the yardstick was timed."""
AUTHORS_FILTER_MS = 51.0
"""Path filter over 67,217 rows, ms per item, there."""
EPIC_ROWS, EPIC_VIDEOS = 67_217, 495
CLIP = DataConfig(num_frames=15, frame_rate=1.0, subclips=SubclipConfig(1, 1), load_seg_labels=True)


def annotations(n_rows: int, n_videos: int, minutes: float) -> pd.DataFrame:
    """Clips 1 s before actions, 15 s long, videos of equal length."""
    rng = np.random.default_rng(0)
    start = np.sort(rng.uniform(0, 60 * minutes - 10, n_rows)).round(2)
    video = rng.integers(0, n_videos, n_rows)
    table = pd.DataFrame(
        {
            "uid": np.arange(1, n_rows + 1),
            "video_path": [f"P{v % 40:02d}/P{v % 40:02d}_{v:03d}.MP4" for v in video],
            "start": start,
            "end": (start + rng.uniform(0.5, 6, n_rows)).round(2),
            "action_class": rng.integers(0, 3806, n_rows),
        }
    )
    return convert_to_anticipation(table, AnticipationConfig(1.0, 15.0))[0]


def dataset_of(table: pd.DataFrame, features: Path) -> ActionDataset:
    config = DatasetConfig(
        sample_strategy="last_clip",
        reader_fn=[ReaderConfig(kind="lmdb", path=[str(features)])],
    )
    actions = ActionTable(table, Classes({"action": {str(n): n for n in range(3806)}}))
    readers = [open_reader(config.reader_fn[0], [])]
    return ActionDataset(actions, table.iloc[:0], readers, config, CLIP, training=True)


@contextmanager
def stored(table: pd.DataFrame, minutes: float) -> Iterator[Path]:
    """1024 features per frame of the first video of a table."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        name = Path(table["video_path"].iloc[0]).stem
        array = rng.random((int(30 * 60 * minutes), 1024), dtype=np.float32)
        write_lmdb(Path(folder) / "rgb", {name: array})
        del array
        yield Path(folder) / "rgb"


def items(table: Table, quick: bool) -> None:
    """Feature items with past labels."""
    minutes, language = (1.0 if quick else 8.0), Language(3806, 768)
    table.section("Feature item: 15 of 450 frames x 1024, past labels; items/s")
    for n_rows, n_videos in ((540, 1), (EPIC_ROWS // 20 if quick else EPIC_ROWS, EPIC_VIDEOS)):
        rows = annotations(n_rows, n_videos, minutes)
        with stored(rows, minutes) as features:
            dataset, paths = dataset_of(rows, features), with_paths(rows)
            environment = LmdbFeatures(features)._environment
            usable = np.flatnonzero(rows["video_path"] == rows["video_path"].iloc[0])[:50]
            _same(dataset, paths, environment, usable[:10], language)
            n = 2 if n_videos > 1 else 10

            def ours(dataset=dataset, usable=usable) -> None:
                for index in usable:
                    dataset[int(index)]

            def original(paths=paths, environment=environment, usable=usable, n=n) -> None:
                for index in usable[:n]:
                    original_item(paths, environment, int(index), language)

            seconds = compete({"ours": ours, "original": original}, 2 if quick else 5)
            rate, slow = len(usable) / seconds["ours"], min(n, len(usable)) / seconds["original"]
            target = None if quick else 50.0
            what = f"{n_rows} rows of {n_videos} video{'s' if n_videos > 1 else ''}"
            table.row(
                f"{what}, beside its style", f"{rate:.0f}", f"{slow:.1f}", rate / slow, target
            )
            if n_videos == 1:
                there = AUTHORS_ITEMS * SCALE
                table.row(
                    f"{what}, against the authors' code elsewhere, scaled",
                    *(f"{rate:.0f}", f"{there:.1f}"),
                    rate / there,
                    target,
                )
                batch = [dataset[int(index)] for index in usable[:16]]
                ms = 1e3 * best_seconds(lambda batch=batch: collate(batch), 3)
                table.row("collating 16 of them, ms", f"{ms:.2f}")


def past(table: Table, quick: bool) -> None:
    """Past labels alone."""
    table.section("Labels of 15 past frames, microseconds per item")
    n_rows = EPIC_ROWS // 20 if quick else EPIC_ROWS
    rows = annotations(n_rows, EPIC_VIDEOS, 20.0)
    paths, labels = with_paths(rows), rows["action_class"].to_numpy()
    videos = rows["video_path"].tolist()
    times = [np.linspace(max(s, 0), e, 15) for s, e in zip(rows["start"], rows["end"], strict=True)]
    intervals = IntervalTable(rows)
    chosen = list(range(0, len(rows), len(rows) // 400))

    def ours() -> list[np.ndarray]:
        return [labels_at(labels, intervals.rows_at(videos[i], times[i])) for i in chosen]

    def original() -> list[list[int]]:
        return [original_past_labels(paths, paths["video_path"][i], times[i]) for i in chosen[:4]]

    ours()
    np.testing.assert_array_equal(ours()[:4], original())
    seconds = compete({"ours": ours, "original": original}, 2 if quick else 5)
    us, slow = 1e6 * seconds["ours"] / len(chosen), 1e6 * seconds["original"] / 4
    target = None if quick else 50.0
    table.row(f"{n_rows} rows, beside its style", f"{us:.0f}", f"{slow:.0f}", slow / us, target)
    there = 1e3 * AUTHORS_FILTER_MS / SCALE
    figures = f"{us:.0f}", f"{there:.0f}"
    table.row("against the authors' filter elsewhere, scaled", *figures, there / us, target)
    built = best_seconds(lambda: _all_tables(rows), 2)
    table.row("tables of all videos, once, ms", f"{1e3 * built:.0f}")


def video(table: Table, quick: bool) -> None:
    """A clip of a video: chosen frames against everything in the span."""
    n_seconds = 4 if quick else 40
    table.section(
        "15 frames at 1 per second of a video, 456 x 256, 30 frames per second, ms",
        "original: every frame of the span is decoded and converted, 15 are kept.",
    )
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (32, 57, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.mp4"
        write_video(path, (np.roll(noise, 2 * i, 1) for i in range(30 * n_seconds)), 30.0)
        info = video_info(path)
        end = n_seconds - 1.0
        found = frames_between(info.times, max(end - 15, 0), end)
        kept = found[::-30][::-1]

        works: dict[str, Callable[[], object]] = {
            "ours": lambda: read_frames(path, kept, threads=1),
            "original": lambda: read_span(path, max(end - 15, 0), end, threads=1)[0][-1::-30][::-1],
        }
        np.testing.assert_array_equal(works["ours"](), works["original"]())
        ms = {name: 1e3 * s for name, s in compete(works, 2 if quick else 5).items()}
        figures = f"{ms['ours']:.0f}", f"{ms['original']:.0f}"
        table.row("key frame every 24", *figures, ms["original"] / ms["ours"])


def transforms(table: Table, quick: bool) -> None:
    """What is done to the frames of a clip."""
    table.section("Transforms of a clip of 15 frames, ms")
    n = 2 if quick else 15
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (n, 256, 456, 3), np.uint8))
    for side, height in ((224, 248), (384, 388)):
        config = DataConfig(scale_h=height, scale_w=-1, crop_size=side, eval_num_crops=3)
        for training in (True, False):
            transform = ClipTransform(config, training)
            seconds = best_seconds(lambda t=transform: t(frames, Draws(0)), 2 if quick else 5)
            what = "training" if training else "evaluation, three crops"
            table.row(f"256 x 456 to {side}, {what}", f"{1e3 * seconds:.0f}")


PARTS: dict[str, Callable[[Table, bool], None]] = {
    "items": items,
    "past": past,
    "video": video,
    "transforms": transforms,
}


def _same(
    dataset: ActionDataset,
    paths: pd.DataFrame,
    environment: object,
    rows: np.ndarray,
    language: Language,
) -> None:
    """Ours and the original's style give the same items."""
    for index in rows:
        item, wanted = dataset[int(index)], original_item(paths, environment, int(index), language)
        assert isinstance(item, dict), item
        assert torch.equal(item["video"]["mod_0"], wanted["video"])
        assert item["past_target"]["action"].flatten().tolist() == wanted["past"].tolist()


def _all_tables(rows: pd.DataFrame) -> None:
    intervals = IntervalTable(rows)
    for name in rows["video_path"].unique():
        intervals.rows_at(name, np.zeros(1))
