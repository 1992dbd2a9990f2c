"""Real annotations and real videos through the whole of the data side."""

from __future__ import annotations

import numpy as np
import pytest

from sgear.data import BrokenClip, build_dataset
from sgear.data.anticipation import convert_to_anticipation
from sgear.data.config import AnticipationConfig, DataConfig, DatasetConfig, SubclipConfig
from sgear.data.opening import read_actions_of
from sgear.data.past_labels import IntervalTable


@pytest.fixture(scope="module")
def epic(real_data_dir):
    """Validation and the training rows that are there; their pairs are the actions."""
    folder = real_data_dir / "epic100_annotations"
    paths = [folder / "EPIC_100_uda_source_train.csv.gz", folder / "EPIC_100_validation.csv"]
    if not all(path.is_file() for path in paths):
        pytest.skip("no EPIC-100 annotations")
    return {
        name: read_actions_of(
            DatasetConfig(
                annotation_path=[str(path)],
                annotation_dir=str(folder),
                actions_from=list(map(str, paths)),
            )
        )
        for name, path in zip(("train", "val"), paths, strict=True)
    }


def test_labels_of_epic_100(epic):
    """The counts that the README reports."""
    train, val = epic["train"], epic["val"]
    assert (len(train.table), len(val.table)) == (16115, 9668)
    assert train.classes.counts == {"action": 2179, "verb": 97, "noun": 305}
    assert train.notes == val.notes == []
    actions = {name: set(part.table["action_class"]) for name, part in epic.items()}
    assert {name: len(found) for name, found in actions.items()} == {"train": 1663, "val": 1352}
    assert len(actions["train"] & actions["val"]) == 836
    mapping = val.classes.mappings()["verb", "action"]
    assert mapping.sum(1).eq(1).all()


@pytest.mark.parametrize(
    ("tau", "style", "kept"),
    [
        ((1, 15), "correct", (16077, 9638)),
        ((1, 15), "full_context_in", (15425, 8973)),
        ((1, 15), "action_banks", (15984, 9546)),
        ((1, 2.5), "full_context_in", (15950, 9522)),
        ((-1, 5), "correct", (16115, 9668)),
        ((-999, 0), "correct", (16115, 9668)),
    ],
)
def test_anticipation_of_epic_100(epic, tau, style, kept):
    for part, n in zip(epic.values(), kept, strict=True):
        clips, dropped = convert_to_anticipation(part.table, AnticipationConfig(*tau, style))
        assert (len(clips), len(dropped)) == (n, len(part.table) - n)
        if tau[0] == 1:
            np.testing.assert_array_equal(clips["end"], clips["orig_start"] - 1)


def test_past_labels_of_epic_100(epic):
    """Every 50th clip of validation, against a look through all rows."""
    clips, _ = convert_to_anticipation(epic["val"].table, AnticipationConfig(1, 15))
    intervals = IntervalTable(clips)
    start, end = (clips[name].to_numpy() for name in ("orig_start", "orig_end"))
    videos, half = clips["video_path"].to_numpy(dtype=str), (end - start) / 2
    for row in range(0, len(clips), 50):
        times = np.linspace(max(clips["start"][row], 0), clips["end"][row], 15)
        wanted = []
        for t in times:
            found = np.flatnonzero((videos == videos[row]) & (start <= t) & (t <= end))
            wanted.append(found[np.abs(t - half[found]).argmin()] if len(found) else -1)
        assert intervals.rows_at(videos[row], times).tolist() == wanted


def test_real_videos(real_data_dir, tmp_path):
    """Clips of everything that is there; what is broken says so in one line."""
    wanted = {
        "hiera_samples/dog.mp4": (2.0, 4.0, None),
        "mmaction2_samples/demo.mp4": (5.0, 6.0, None),
        "decord_samples/flipping_a_pancake.mkv": (8.0, 9.0, None),
        "bsoid_mouse_clips/face_groom_hstacked.mp4": (3.0, 4.0, None),
        "decord_samples/corrupted.mp4": (4.5, 5.0, "frame .* cannot be decoded"),
        "decord_samples/video_90.mov": (0.07, 0.1, None),
        "decord_samples/unordered.mov": (0.06, 0.12, None),
        "hiera_samples/goat.mp4": (60.0, 61.0, "no frame between .* it lasts 5"),
        "hiera_samples/LICENSE": (1.0, 2.0, "LICENSE"),
    }
    there = {name: row for name, row in wanted.items() if (real_data_dir / name).is_file()}
    if not there:
        pytest.skip("no videos")
    rows = [f"{name},{start},{stop},act" for name, (start, stop, _) in there.items()]
    (tmp_path / "own.csv").write_text("\n".join(["video,start,stop,label", *rows]))
    dataset = build_dataset(
        DatasetConfig(
            kind="table",
            root=[str(real_data_dir)],
            annotation_path=[str(tmp_path / "own.csv")],
            sample_strategy="last_clip",
            conv_to_anticipate_fn=AnticipationConfig(0.02, 1.0),
        ),
        DataConfig(
            num_frames=4,
            frame_rate=4.0,
            subclips=SubclipConfig(1, 1),
            scale_h=64,
            scale_w=-1,
            crop_size=56,
        ),
        training=False,
    )
    assert len(dataset) == len(there)
    for index, (name, (_, _, problem)) in enumerate(there.items()):
        item = dataset[index]
        if problem is None:
            assert not isinstance(item, BrokenClip), item
            assert item["video"]["mod_0"].shape == (4, 3, 1, 56, 56), name
            assert item["video"]["mod_0"].std() > 0.05, name
        else:
            assert isinstance(item, BrokenClip), name
            assert name.rsplit("/", 1)[-1] in item.message
            assert "\n" not in item.message
