"""Synthetic videos: reproducible, and what they claim to show is what they show."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("av")

from behaviorzoo import cli
from behaviorzoo.errors import UserError
from behaviorzoo.synthetic_video import (
    MOTIONS,
    SHAPES,
    Kitchen,
    make_clip,
    write_clips,
    write_kitchen,
    write_video,
)
from behaviorzoo.synthetic_video_grammar import NOUNS, VERBS, make_grammar
from behaviorzoo.video import read_frames, video_info


def object_mask(frames: np.ndarray) -> np.ndarray:
    """Where a white object is (T, H, W)."""
    return frames.min(axis=-1) > 190


def track(motion: str, seed: int) -> dict[str, np.ndarray]:
    """Centre, area and direction of the bright half of a white disc in a clip."""
    frames = make_clip(motion, "disc", 64, 96, seed, colour=(255, 255, 255))
    mask = object_mask(frames)
    area = mask.sum(axis=(1, 2)).astype(float)
    rows, columns = np.indices(mask.shape[1:])
    x = (mask * columns).sum(axis=(1, 2)) / area
    y = (mask * rows).sum(axis=(1, 2)) / area
    spread = [np.cov(columns[m], rows[m]) for m in mask]
    # The bright half of a disc is longest along its straight edge.
    edge = [np.arctan2(2 * c[0, 1], c[0, 0] - c[1, 1]) / 2 for c in spread]
    return {"x": x, "y": y, "area": area, "edge": np.unwrap(edge, period=np.pi)}


def signature(motion: str, seed: int) -> str:
    """Which motion a slow look at the pixels finds."""
    t = track(motion, seed)
    sx, sy = t["x"].std(), t["y"].std()
    if abs(t["edge"][-1] - t["edge"][0]) > 6:
        return "spin"
    if t["area"].max() > 4 * t["area"].min():
        return "grow-shrink"
    if max(sx, sy) < 1.5:
        return "still"
    if max(sx, sy) < 7:
        return "shake"
    if sy < 2:
        return "left-right"
    if sx < 2:
        return "bounce" if t["area"].max() > 1.25 * t["area"].min() else "up-down"
    x, y = t["x"] - t["x"].mean(), t["y"] - t["y"].mean()
    if np.hypot(x, y).std() < 2.5:
        return "circle"
    turns = [np.sum(np.diff(np.sign(np.diff(z))) != 0) for z in (x, y)]
    return "zigzag" if turns[1] > 2.8 * turns[0] else "figure-eight"


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_motion_is_what_its_name_says(motion):
    assert [signature(motion, seed) for seed in range(4)] == [motion] * 4


def test_a_clip_depends_on_its_seed_alone():
    clip = make_clip("circle", "star", 20, 64, 7)
    assert clip.shape == (20, 64, 64, 3)
    assert clip.dtype == np.uint8
    np.testing.assert_array_equal(clip, make_clip("circle", "star", 20, 64, 7))
    assert (clip != make_clip("circle", "star", 20, 64, 8)).mean() > 0.5
    assert (clip[0] != clip[1]).mean() > 0.5  # noise


def test_shapes_and_colours_can_be_told_apart():
    areas = {}
    for shape in SHAPES:
        clip = make_clip("still", shape, 1, 96, 3, colour=(255, 255, 255))
        areas[shape] = int(object_mask(clip).sum())
        coloured = make_clip("still", shape, 1, 96, 3)[0].reshape(-1, 3).astype(float)
        near = np.abs(coloured - SHAPES[shape]).max(axis=1) < 25
        assert near.sum() > 60, shape
    assert len(set(areas.values())) == len(SHAPES)
    assert len(SHAPES) >= 5
    assert len(MOTIONS) >= 8


@pytest.mark.parametrize(
    ("motion", "shape", "options", "message"),
    [
        ("circles", "star", {}, "did you mean 'circle'"),
        ("circle", "stra", {}, "did you mean 'star'"),
        ("circle", "star", {"n_frames": 0}, "0 frames"),
    ],
)
def test_wrong_clips_are_named(motion, shape, options, message):
    with pytest.raises(UserError, match=message):
        make_clip(motion, shape, **options)


# ---- files ----


def test_written_frames_come_back(tmp_path):
    clip = make_clip("spin", "bar", 30, 64, 0)
    path = write_video(tmp_path / "clip.mp4", clip, 12.5)
    info = video_info(path)
    assert (info.n_frames, info.fps, info.width, info.height) == (30, 12.5, 64, 64)
    back = read_frames(path, range(30)).astype(int)
    assert np.abs(back - clip).mean() < 6


def test_the_same_frames_give_the_same_bytes(tmp_path):
    """Also in another process: the encoder must not look at memory it did not write."""
    code = (
        "import sys; from behaviorzoo.synthetic_video import make_clip, write_video; "
        "write_video(sys.argv[1], make_clip('zigzag', 'ring', 40, 96, 5), 10)"
    )
    path = write_video(tmp_path / "a.mp4", iter(make_clip("zigzag", "ring", 40, 96, 5)), 10)
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "b.mp4")], check=True)
    assert path.read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.parametrize(
    ("frames", "fps", "message"),
    [
        (np.zeros((0, 8, 8, 3), np.uint8), 10, "no frames"),
        (np.zeros((2, 7, 8, 3), np.uint8), 10, "8x7 pixels; both must be even"),
        (np.zeros((2, 8, 8), np.uint8), 10, r"expected uint8 \(height, width, 3\)"),
        (np.zeros((2, 8, 8, 3)), 10, "a frame is float64"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 6, 3), np.uint8)], 10, "the first has 8x8"),
        (np.zeros((2, 8, 8, 3), np.uint8), 0, "fps is 0"),
    ],
)
def test_frames_that_cannot_be_written_are_named(tmp_path, frames, fps, message):
    with pytest.raises(UserError, match=message):
        write_video(tmp_path / "clip.mp4", frames, fps)
    assert not (tmp_path / "clip.mp4").exists()


def test_clips_lie_in_folders_by_class(tmp_path):
    paths = write_clips(tmp_path / "a", ("circle", "spin"), 2, n_frames=6, size=32, seed=4)
    assert [str(path.relative_to(tmp_path / "a")) for path in paths] == [
        "circle/circle_000.mp4",
        "circle/circle_001.mp4",
        "spin/spin_000.mp4",
        "spin/spin_001.mp4",
    ]
    more = write_clips(tmp_path / "b", ("spin",), 3, n_frames=6, size=32, seed=4)
    assert more[1].read_bytes() == paths[3].read_bytes()
    assert paths[2].read_bytes() != paths[3].read_bytes()
    assert video_info(paths[0]).n_frames == 6


# ---- the grammar ----


@settings(max_examples=30, deadline=None)
@given(
    verbs=st.integers(1, 6),
    nouns=st.integers(1, 6),
    extra=st.integers(0, 30),
    predictability=st.floats(0.6, 1.0),
    seed=st.integers(0, 99),
)
def test_a_grammar_keeps_its_promises(verbs, nouns, extra, predictability, seed):
    count = min(max(verbs, nouns) + extra, verbs * nouns)
    if count < 3:
        return
    rng = np.random.default_rng(seed)
    grammar = make_grammar(verbs, nouns, count, predictability, rng)
    assert len({tuple(pair) for pair in grammar.actions.tolist()}) == count
    assert set(grammar.actions[:, 0]) == set(range(verbs))
    assert set(grammar.actions[:, 1]) == set(range(nouns))
    assert len(set(grammar.names())) == count
    table = grammar.transitions
    np.testing.assert_allclose(table.sum(axis=1), 1)
    np.testing.assert_allclose(table.sum(axis=0), 1)  # all actions are equally frequent
    assert (np.diag(table) == 0).all()
    assert grammar.bayes("action") == pytest.approx(predictability)
    # The successors form one cycle.
    seen, at = set(), 0
    while at not in seen:
        seen.add(at)
        at = int(table[at].argmax())
    assert len(seen) == count


def test_bayes_rates_are_reached_by_counting_and_not_passed():
    grammar = make_grammar(3, 3, 7, 0.7, np.random.default_rng(1))
    sequence = grammar.draw(40000, np.random.default_rng(2))
    for task in ("action", "verb", "noun"):
        code = (
            sequence
            if task == "action"
            else grammar.actions[sequence, ("verb", "noun").index(task)]
        )
        for top in (1, 2):
            counts = [Counter() for _ in range(len(grammar))]
            for last, new in zip(sequence[:20000], code[1:20001], strict=True):
                counts[last][new] += 1
            best = [{name for name, _ in c.most_common(top)} for c in counts]
            hits = [
                new in best[last]
                for last, new in zip(sequence[20000:-1], code[20001:], strict=True)
            ]
            assert np.mean(hits) == pytest.approx(grammar.bayes(task, top), abs=0.012)


def test_words_name_motions_and_shapes():
    assert set(VERBS.values()) == set(MOTIONS)
    assert set(NOUNS.values()) == set(SHAPES)
    assert all(re.fullmatch("[a-z]+", word) for word in [*VERBS, *NOUNS])


# ---- the kitchen ----

HEADER = (
    "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,"
    "start_frame,stop_frame,narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes"
)
COLUMNS = HEADER.split(",")


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory) -> Kitchen:
    return write_kitchen(
        tmp_path_factory.mktemp("kitchen"), 8, actions_per_video=10, size=48, seed=3
    )


def test_annotations_have_the_form_of_epic_kitchens(kitchen, request):
    for name, table in (("train", kitchen.train), ("validation", kitchen.validation)):
        read = pd.read_csv(kitchen.annotations / f"EPIC_100_{name}.csv")
        assert list(read.columns) == COLUMNS
        assert len(read) == len(table)
        assert read["start_timestamp"].str.fullmatch(r"\d\d:\d\d:\d\d\.\d\d").all()
        assert (read["narration"] == read["verb"] + " " + read["noun"]).all()
    verbs = pd.read_csv(kitchen.annotations / "EPIC_100_verb_classes.csv")
    nouns = pd.read_csv(kitchen.annotations / "EPIC_100_noun_classes.csv")
    assert list(verbs.columns) == list(nouns.columns) == ["id", "key", "instances", "category"]
    both = pd.concat([kitchen.train, kitchen.validation])
    assert (verbs["key"].to_numpy()[both["verb_class"]] == both["verb"]).all()
    assert (nouns["key"].to_numpy()[both["noun_class"]] == both["noun"]).all()
    folder = request.getfixturevalue("real_data_dir") / "epic100_annotations"
    if (folder / "EPIC_100_validation.csv").is_file():
        genuine = pd.read_csv(folder / "EPIC_100_validation.csv", nrows=5)
        assert list(genuine.columns) == COLUMNS


def test_participants_are_split(kitchen):
    train, validation = (
        set(kitchen.train["participant_id"]),
        set(kitchen.validation["participant_id"]),
    )
    assert train == {"P01", "P02", "P03"}
    assert validation == {"P04"}
    assert len(kitchen.train) == 60
    assert len(kitchen.validation) == 20


def test_videos_show_what_the_annotations_say(kitchen):
    table = pd.concat([kitchen.train, kitchen.validation])
    info = pd.read_csv(kitchen.annotations / "EPIC_100_video_info.csv").set_index("video_id")
    for video_id, rows in list(table.groupby("video_id"))[:3]:
        path = kitchen.videos / str(rows["participant_id"].iloc[0]) / f"{video_id}.MP4"
        facts = video_info(path)
        assert facts.duration == pytest.approx(info.loc[video_id, "duration"])
        assert facts.fps == info.loc[video_id, "fps"] == 10
        frames = read_frames(path, range(facts.n_frames)).astype(float)
        action = np.full(facts.n_frames, -1)
        for number, (start, stop) in enumerate(
            zip(rows["start_frame"], rows["stop_frame"], strict=True)
        ):
            action[start:stop] = number
        kitchen_alone = frames[action < 0].mean(axis=0)
        changed = (np.abs(frames - kitchen_alone).max(axis=-1) > 60).mean(axis=(1, 2))
        np.testing.assert_array_equal(changed > 0.002, action >= 0)
        for number, noun in enumerate(rows["noun"]):
            middle = frames[np.flatnonzero(action == number)[4]]
            colour = np.array(SHAPES[NOUNS[noun]], float)
            assert (np.abs(middle - colour).max(axis=-1) < 40).sum() > 15, (video_id, number, noun)


def test_times_and_frames_agree(kitchen):
    for side in ("start", "stop"):
        seconds = pd.to_timedelta(kitchen.train[f"{side}_timestamp"]).dt.total_seconds()
        np.testing.assert_allclose(seconds * 10, kitchen.train[f"{side}_frame"], atol=1e-6)
    per_video = kitchen.train.groupby("video_id")
    gaps = per_video["start_frame"].shift(-1) - kitchen.train["stop_frame"]
    assert gaps.dropna().between(2, 6).all()
    lengths = kitchen.train["stop_frame"] - kitchen.train["start_frame"]
    assert lengths.between(16, 24).all()
    # One second before an action begins, the action before it is going on.
    before = per_video["start_frame"].shift(-1) - 10
    assert (before.dropna() > kitchen.train["start_frame"][before.notna()]).all()


def test_the_order_follows_the_grammar(kitchen):
    names = kitchen.grammar.names()
    successor = {
        names[i]: names[int(row.argmax())] for i, row in enumerate(kitchen.grammar.transitions)
    }
    followed = hits = 0
    for _, rows in kitchen.validation.groupby("video_id"):
        said = rows["narration"].tolist()
        followed += len(said) - 1
        hits += sum(successor[a] == b for a, b in pairwise(said))
    assert kitchen.oracle["action"]["top1"] == pytest.approx(hits / followed)
    assert kitchen.bayes["action"]["top1"] == pytest.approx(0.8)
    assert kitchen.bayes["action"]["top5"] == pytest.approx(0.8 + 4 * 0.02)
    saved = json.loads((kitchen.videos.parent / "grammar.json").read_text())
    assert saved["bayes"] == kitchen.bayes
    assert saved["actions"] == names


def test_lists_of_rulstm(kitchen):
    actions = pd.read_csv(kitchen.rulstm / "actions.csv")
    assert list(actions.columns) == ["id", "verb", "noun", "action"]
    assert (actions["id"] == np.arange(12)).all()
    lookup = {(row.verb, row.noun): row.id for row in actions.itertuples()}
    names = ["uid", "video", "start", "stop", "verb", "noun", "action"]
    uids = []
    for name, table in (("training", kitchen.train), ("validation", kitchen.validation)):
        rows = pd.read_csv(kitchen.rulstm / f"{name}.csv", header=None, names=names)
        uids += rows["uid"].tolist()
        assert (rows["video"] == table["video_id"]).all()
        np.testing.assert_array_equal(rows["start"], table["start_frame"] * 3)
        assert [lookup[pair] for pair in zip(rows["verb"], rows["noun"], strict=True)] == rows[
            "action"
        ].tolist()
    assert len(set(uids)) == 80
    for task in ("verbs", "nouns", "actions"):
        rare = pd.read_csv(kitchen.rulstm / f"validation_tail_{task}_ids.csv").iloc[:, 0]
        assert set(rare) <= set(kitchen.validation["narration_id"])
    unseen = pd.read_csv(kitchen.rulstm / "validation_unseen_participants_ids.csv").iloc[:, 0]
    assert set(unseen) == set(kitchen.validation["narration_id"])


def test_a_video_is_the_same_however_many_are_made(tmp_path):
    few = write_kitchen(tmp_path / "a", 2, participants=2, actions_per_video=2, size=32, seed=1)
    more = write_kitchen(tmp_path / "b", 4, participants=2, actions_per_video=2, size=32, seed=1)
    for name in ("P01/P01_101.MP4", "P02/P02_101.MP4"):
        assert (few.videos / name).read_bytes() == (more.videos / name).read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"participants": 1}, "2 or more participants"),
        ({"participants": 9, "n_videos": 3}, "a video for each"),
        ({"actions_per_video": 1}, "2 or more actions"),
        ({"verbs": 11}, "verbs is 11, expected 1 to 10"),
        ({"actions": 99}, "actions is 99, expected 4 to 16"),
        ({"predictability": 1.5}, "predictability is 1.5"),
    ],
)
def test_wrong_kitchens_are_named(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        write_kitchen(tmp_path, **options)


# ---- command line ----


def test_commands_write_and_tell(tmp_path, capsys):
    out = tmp_path / "clips"
    words = ["synth-clips", "--out", str(out), "--motions", "spin", "still"]
    assert cli.main([*words, "--clips", "1", "--frames", "4", "--size", "32"]) == 0
    assert "2 clips of 2 motions" in capsys.readouterr().out
    assert {path.parent.name for path in out.rglob("*.mp4")} == {"spin", "still"}
    words = ["synth-kitchen", "--out", str(tmp_path / "k"), "--videos", "2", "--participants", "2"]
    assert cli.main([*words, "--actions", "3", "--size", "32"]) == 0
    told = capsys.readouterr().out
    assert "3 training and 3 validation actions" in told
    assert "best possible guess of the next action: top-1 80.0%" in told
    assert cli.main(["synth-clips", "--out", str(out), "--motions", "spinn"]) == 2
    assert "did you mean 'spin'" in capsys.readouterr().err
    assert Path(out).is_dir()
