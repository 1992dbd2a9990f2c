"""Lists from data sets and folders: what is written, split, checked, reported."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behaviorzoo.errors import UserError
from behaviorzoo.video.writing import write_video
from uas_swin.data.checking import check_files
from uas_swin.data.lists import ListFormat, read_list
from uas_swin.data.prepare import (
    Checks,
    prepare_chimpbehave,
    prepare_folder,
    prepare_kinetics700_diff,
    prepare_mammalnet,
)
from uas_swin.data.prepare.chimpbehave import CLASSES, behaviour_of, source_of
from uas_swin.data.prepare.kinetics700_diff import difference
from uas_swin.data.prepare.splitting import held_out

QUIET = {"checks": Checks(progress=False)}
NO_LOOK = {"checks": Checks(level="exists", progress=False)}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A good little video; the others are copies of it."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    frames = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    return write_video(path, frames, 25).read_bytes()


@pytest.fixture
def put(tmp_path, clip):
    def make(*names, content=clip):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return tmp_path

    return make


def lines(path):
    return path.read_text().splitlines()


# --- folders ------------------------------------------------------------------------------------


def test_folders_named_by_class(put, tmp_path):
    names = [f"videos/{c}/{c} {n}.mp4" for c in ("walk about", "rest") for n in range(5)]
    put(*names, "videos/notes.txt", "videos/rest/.hidden.mp4")
    result = prepare_folder(tmp_path / "videos", tmp_path / "out", name="mice", **QUIET)
    assert result.classes == ["rest", "walk about"]
    assert result.counts == {"train": [4, 4], "val": [1, 1]}
    assert lines(result.classes_file) == ["rest", "walk about"]
    assert result.lists["train"].name == "mice_train.txt"
    listed = [e for path in result.lists.values() for e in read_list(path, ListFormat(2))]
    assert Counter(e.path for e in listed) == Counter(n.removeprefix("videos/") for n in names)
    assert all(e.path.startswith(result.classes[e.labels[0]]) for e in listed)
    assert result.frames == (6, 6, 6)
    assert any("2 files are no videos" in note for note in result.notes)
    assert any("10 videos have fewer than 32 frames" in note for note in result.notes)
    report = json.loads(result.report_file.read_text())
    assert report["splits"]["val"]["counts"] == [1, 1]
    assert report["bad"] == []
    assert "rest" in result.text()
    again = prepare_folder(tmp_path / "videos", tmp_path / "again", name="mice", **QUIET)
    assert lines(again.lists["val"]) == lines(result.lists["val"])


def test_folders_that_are_split_already(put, tmp_path):
    put(*(f"v/{s}/{c}/a.mp4" for s in ("train", "Validation", "test") for c in "xy"))
    result = prepare_folder(tmp_path / "v", tmp_path / "out", **QUIET)
    assert lines(result.lists["val"]) == ["Validation/x/a.mp4 0", "Validation/y/a.mp4 1"]
    assert set(result.lists) == {"train", "val", "test"}


def test_videos_of_one_recording_stay_on_one_side(put, tmp_path):
    put(*(f"v/{c}/cage{g}_{n}.mp4" for c in "xy" for g in range(5) for n in range(2)))
    result = prepare_folder(tmp_path / "v", tmp_path / "o", group=r"cage(\d)", **NO_LOOK)
    sides = {split: {e.path[6] for e in read_list(p)} for split, p in result.lists.items()}
    assert len(sides["val"]) == 1
    assert not sides["train"] & sides["val"]
    for group, message in (("(", "no regular expression"), ("rat", "does not match")):
        with pytest.raises(UserError, match=message):
            prepare_folder(tmp_path / "v", tmp_path / "o", group=group, **NO_LOOK)


def test_bad_videos_are_named_and_nothing_is_listed(put, tmp_path):
    put(*(f"v/{c}/{n}.mp4" for c in "xy" for n in range(3)))
    put("v/x/2.mp4", content=b"no video")
    with pytest.raises(
        UserError, match=r"1 of 6 videos are bad, the first: x/2\.mp4 .*not a video"
    ):
        prepare_folder(tmp_path / "v", tmp_path / "out", **QUIET)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["videos_report.json"]
    bad = json.loads((tmp_path / "out" / "videos_report.json").read_text())["bad"]
    assert [entry["video"] for entry in bad] == ["x/2.mp4"]


def test_bad_videos_are_skipped_by_choice_and_counted(put, tmp_path):
    put(*(f"v/{c}/{n}.mp4" for c in "xy" for n in range(3)))
    put("v/x/2.mp4", content=b"no video")
    checks = Checks(bad_videos="skip", progress=False)
    result = prepare_folder(tmp_path / "v", tmp_path / "out", checks=checks)
    assert [(entry.path, what[:11]) for _, entry, what in result.bad] == [
        ("x/2.mp4", "not a video")
    ]
    assert sum(map(sum, result.counts.values())) == 5
    assert "1 videos left out" in result.text()


@pytest.mark.parametrize(
    ("names", "message"),
    [([], "no such folder"), (["v/x/a.mp4"], "1 folders with videos"), (["v/a.mp4"], "0 folders")],
)
def test_folders_that_cannot_be_used(put, tmp_path, names, message):
    put(*names)
    with pytest.raises(UserError, match=message):
        prepare_folder(tmp_path / "v", tmp_path / "out", **QUIET)


def test_every_file_is_looked_at_once_by_several_at_a_time(put, tmp_path):
    names = [f"{n}.mp4" for n in range(5)]
    put(*names)
    done: list[tuple[int, int]] = []
    paths = [str(tmp_path / name) for name in (*names, "none.mp4", *names)]
    found = check_files(paths, "decode", 3, lambda *count: done.append(count))
    assert list(found) == paths[:6]
    assert done[-1] == (6, 6)
    assert [f.n_frames for f in found.values()] == [6] * 5 + [0]
    assert check_files(paths, "open")[paths[0]].n_frames == 6
    assert check_files(paths, "none")[paths[5]].problem is None
    assert check_files(paths, "exists")[paths[5]].problem == "no such file"


# --- splits -------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=60), st.integers(0, 9))
def test_every_class_has_its_share_on_either_side(labels, seed):
    out = held_out(labels, 0.25, seed)
    assert out == held_out(labels, 0.25, seed)
    for label in set(labels):
        sides = [held for own, held in zip(labels, out, strict=True) if own == label]
        if len(sides) == 1:
            assert not sides[0]
        else:
            assert 1 <= sum(sides) <= len(sides) - 1
            assert abs(sum(sides) - 0.25 * len(sides)) <= 1


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 7)), min_size=8, max_size=80),
    st.integers(0, 9),
)
def test_groups_are_never_parted(pairs, seed):
    labels, groups = [label for label, _ in pairs], [f"g{group}" for _, group in pairs]
    if len(set(groups)) < 2:
        with pytest.raises(UserError, match="belong to one group"):
            held_out(labels, 0.3, seed, groups)
        return
    out = held_out(labels, 0.3, seed, groups)
    sides = {(group, held) for group, held in zip(groups, out, strict=True)}
    assert len(sides) == len(set(groups))
    assert 0 < sum(out) < len(out)


def test_a_share_is_a_share():
    with pytest.raises(UserError, match="between 0 and 1"):
        held_out([0, 1], 20, 0)


# --- ChimpBehave --------------------------------------------------------------------------------


def test_names_of_chimpbehave():
    assert behaviour_of("Benga1_364_778_climbing_up_clip_0_19.mp4") == "climbing_up"
    assert behaviour_of("video.mp4") is None
    assert source_of("a/Benga1_364_778_sitting_clip_0_19.mp4") == "Benga1"
    assert source_of("035FQHMNRk_0_climbing_up_clip_1_20.mp4") == "035FQHMNRk"


def chimp_names():
    return [
        f"Vid{video}_{start}_{start + 99}_{behaviour}_clip_{n * 20}_{n * 20 + 19}.mp4"
        for video in range(6)
        for start, behaviour in ((1, "sitting"), (200, "climbing_up"))
        for n in range(2)
    ]


def test_chimpbehave_from_the_names_of_its_clips(put, tmp_path):
    put(*(f"mini/{name}" for name in chimp_names()))
    result = prepare_chimpbehave(tmp_path / "mini", tmp_path / "out", **QUIET)
    assert result.classes == list(CLASSES)
    entries = {split: read_list(path) for split, path in result.lists.items()}
    sources = {split: {source_of(e.path) for e in part} for split, part in entries.items()}
    assert not sources["train"] & sources["val"]
    assert len(sources["val"]) == 1
    assert {e.labels[0] for part in entries.values() for e in part} == {0, 4}


def test_chimpbehave_from_lists(put, tmp_path):
    names = chimp_names()
    put(*(f"mini/{name}" for name in names))
    rows = [f"{name} {CLASSES.index(str(behaviour_of(name)))}\n" for name in names]
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "CB_train_cv2.txt").write_text("".join(rows[:20]))
    (tmp_path / "a" / "CB_test_cv2.txt").write_text("".join(rows[20:]))
    lists = {"annotations": tmp_path / "a", "fold": 2}
    result = prepare_chimpbehave(tmp_path / "mini", tmp_path / "out", **lists, **NO_LOOK)
    assert lines(result.lists["train"]) == [row.strip() for row in rows[:20]]
    assert lines(result.lists["val"]) == [row.strip() for row in rows[20:]]
    with pytest.raises(UserError, match=r"CB_train_cv1\.txt: no such list"):
        prepare_chimpbehave(tmp_path / "mini", tmp_path / "o", annotations=tmp_path / "a")
    (tmp_path / "wrong.txt").write_text(rows[0] + rows[1].replace(" 0", " 3"))
    wrong = {"train": tmp_path / "wrong.txt", "val": tmp_path / "wrong.txt"}
    with pytest.raises(UserError, match=r"wrong\.txt, line 2: label 3 is 'hanging', but the clip"):
        prepare_chimpbehave(tmp_path / "mini", tmp_path / "o", **wrong)
    with pytest.raises(UserError, match="both lists, train and val"):
        prepare_chimpbehave(tmp_path / "mini", tmp_path / "o", train=tmp_path / "wrong.txt")


def test_chimpbehave_without_its_clips(put, tmp_path):
    put("mini/video.mp4")
    with pytest.raises(UserError, match="no clip named"):
        prepare_chimpbehave(tmp_path / "mini", tmp_path / "out")


def test_the_published_lists_of_chimpbehave(real_data_dir, tmp_path):
    """Counts of the specification; the clips themselves are not there, and that is told."""
    lists = real_data_dir / "chimpbehave" / "annotations"
    checks = Checks(level="none", progress=False)
    result = prepare_chimpbehave(tmp_path, tmp_path / "out", annotations=lists, checks=checks)
    assert result.counts["train"] == [5672, 795, 726, 80, 40, 19, 20]
    assert np.add(*result.counts.values()).tolist() == [7090, 993, 907, 100, 49, 23, 25]
    assert sum(result.counts["val"]) == 1835
    panaf = {"annotations": lists, "subset": "PANAF", "checks": checks}
    result = prepare_chimpbehave(tmp_path, tmp_path / "panaf", **panaf)
    assert result.counts["train"] == [2760, 1360, 2026, 337, 130, 40, 74]
    with pytest.raises(UserError, match=r"9187 of 9187 videos are bad.*no such file"):
        prepare_chimpbehave(tmp_path, tmp_path / "out", annotations=lists, **NO_LOOK)


# --- MammalNet ----------------------------------------------------------------------------------


def tables(folder, **content):
    folder.mkdir(exist_ok=True)
    for name, text in content.items():
        (folder / f"{name}.csv").write_text(text)
    return folder


def test_mammalnet_with_names_of_columns(put, tmp_path):
    put("v/a.mp4", "v/my b.mp4", "v/c.mp4")
    text = "video_id,animal,behavior\na,fox,hunt\nmy b,cat,eat food\n"
    folder = tables(tmp_path / "a", train=text, val="video_id,animal,behavior\nc.mp4,fox,hunt\n")
    result = prepare_mammalnet(tmp_path / "v", tmp_path / "out", folder, **QUIET)
    assert result.classes == ["eat food", "hunt"]
    assert lines(result.lists["train"]) == ["a.mp4 1", "my b.mp4 0"]
    assert result.lists["val"].name == "val_base.txt"
    assert any("2 behaviours; MammalNet has 12" in note for note in result.notes)


def test_mammalnet_with_numbers(put, tmp_path):
    put("v/a.mp4", "v/b.mp4")
    (tmp_path / "names.txt").write_text("eat\nhunt\n")
    folder = tables(tmp_path / "a", train="a.mp4 7 1\n", test="b.mp4 9 2\n")
    arguments = {"behaviour_column": 2, "first_id": 1, "classes": tmp_path / "names.txt", **QUIET}
    result = prepare_mammalnet(tmp_path / "v", tmp_path / "out", folder, **arguments)
    assert lines(result.lists["train"]) == ["a.mp4 0"]
    assert lines(result.lists["test"]) == ["b.mp4 1"]
    assert result.classes == ["eat", "hunt"]


@pytest.mark.parametrize(
    ("train", "arguments", "message"),
    [
        ("a.mp4 7 1\n", {}, r"train\.csv: which column holds the behaviour is"),
        ("a.mp4,1\nb.mp4\n", {}, r"train\.csv, line 2: 1 fields"),
        ("video,label\na.mp4,1\n", {"behaviour_column": "lable"}, "did you mean 'label'"),
        ("a.mp4,1\n", {"behaviour_column": "label"}, "no line of column names"),
        ("a.mp4,0\n", {"first_id": 1}, r"line 1: behaviour 0 is out of range; ids go from 1"),
        ("video,label\n", {}, "holds no video"),
    ],
)
def test_tables_of_mammalnet_that_do_not_fit(tmp_path, train, arguments, message):
    folder = tables(tmp_path / "a", train=train, val="c.mp4,1\n")
    with pytest.raises(UserError, match=message):
        prepare_mammalnet(tmp_path / "v", tmp_path / "out", folder, **arguments)


def test_tables_of_mammalnet_that_are_missing(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        prepare_mammalnet(tmp_path, tmp_path, tmp_path / "none")
    with pytest.raises(UserError, match=r"needs train\.csv and .*; it has train\.csv"):
        prepare_mammalnet(tmp_path, tmp_path, tables(tmp_path / "a", train="x 1\n"))


# --- Kinetics-700 diff --------------------------------------------------------------------------


def test_the_new_classes_of_kinetics_in_alphabetical_order(put, tmp_path):
    assert difference(["z b", "a", "m"], ["m", "q"]) == ["a", "z b"]
    put(*(f"k/{s}/{c}/x y.mp4" for s in ("train", "val") for c in ("zip line", "archery", "old")))
    (tmp_path / "k600.txt").write_text("old\nother\n")
    arguments = {"k600": tmp_path / "k600.txt"}
    result = prepare_kinetics700_diff(tmp_path / "k", tmp_path / "out", **arguments, **QUIET)
    assert result.classes == ["archery", "zip line"]
    assert lines(result.lists["train"]) == ["archery/x y.mp4 0", "zip line/x y.mp4 1"]
    assert result.lists["val"].name == "k700_diff_val.txt"
    assert any("2 classes; Kinetics-700 has 103" in note for note in result.notes)


def test_kinetics_by_its_annotation_tables(put, tmp_path):
    put("k/train/archery/abc_000003_000013.mp4", "k/val/archery/x-y_000100_000110.mp4")
    head = "label,youtube_id,time_start,time_end,split\n"
    train = head + "archery,abc,3,13,train\nold,q,0,10,train\narchery,gone,1,11,train\n"
    folder = tables(tmp_path / "a", train=train, validate=head + "archery,x-y,100,110,validate\n")
    arguments = {"k600": tables(tmp_path / "b", k600=head + "old,q,0,10,train\n") / "k600.csv"}
    arguments["annotations"] = folder
    with pytest.raises(
        UserError, match=r"1 of 3 videos are bad.*gone_000001_000011\.mp4 .*no such"
    ):
        prepare_kinetics700_diff(tmp_path / "k", tmp_path / "out", **arguments, **QUIET)
    checks = Checks(bad_videos="skip", progress=False)
    result = prepare_kinetics700_diff(tmp_path / "k", tmp_path / "out", checks=checks, **arguments)
    assert lines(result.lists["train"]) == ["archery/abc_000003_000013.mp4 0"]
    assert [(split, entry.line) for split, entry, _ in result.bad] == [("train", 4)]


@pytest.mark.parametrize(
    ("k600", "message"),
    [("archery\n", "every class of Kinetics-700 is in Kinetics-600"), (None, "no such file of")],
)
def test_kinetics_that_does_not_fit(put, tmp_path, k600, message):
    put("k/train/archery/a.mp4", "k/val/archery/a.mp4")
    if k600 is not None:
        (tmp_path / "k600.txt").write_text(k600)
    with pytest.raises(UserError, match=message):
        prepare_kinetics700_diff(tmp_path / "k", tmp_path, k600=tmp_path / "k600.txt")


def test_a_clip_on_both_sides_is_noted(put, tmp_path):
    names = chimp_names()[:2]
    put(*(f"mini/{name}" for name in names))
    text = "".join(f"{name} 0\n" for name in names)
    for side in ("train", "val"):
        (tmp_path / f"{side}.txt").write_text(text + (text if side == "train" else ""))
    lists = {side: tmp_path / f"{side}.txt" for side in ("train", "val")}
    result = prepare_chimpbehave(tmp_path / "mini", tmp_path / "out", **lists, **NO_LOOK)
    assert "2 videos are in train and in val" in result.notes
    assert "2 videos are listed twice in train" in result.notes
    assert any(note.startswith("no video of standing") for note in result.notes)
