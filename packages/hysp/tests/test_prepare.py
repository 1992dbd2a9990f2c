"""``hysp prepare``: parallel, resumable, reporting; end to end through the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from behaviorzoo import commands
from behaviorzoo.errors import UserError
from hysp.data import DataConfig, has_split, open_data
from hysp.data.frames50 import clips_of
from hysp.data.persons import persons
from hysp.data.skeleton_files import read_skeleton
from hysp.prepare import jobs, prepare_ntu, prepare_pkummd
from hysp.prepare.command import prepare
from hysp.prepare.ntu import ntu_source, read_job
from hysp.prepare.raw import RawWorker


def run(*words: object) -> int:
    return commands.run(lambda: prepare([str(word) for word in words]))


def write_raw(folder: Path, name: str, frames: int = 4, seed: int = 0, bodies: int = 1) -> Path:
    rng = np.random.default_rng(seed)
    lines = [str(frames)]
    for _ in range(frames):
        lines.append(str(bodies))
        for body in range(bodies):
            lines += [f"7205759403793001{body} 0 1 1 1 1 0 0 0 2", "25"]
            lines += [f"{x:.4f} {y:.4f} {z:.4f} 0 2" for x, y, z in rng.normal(size=(25, 3))]
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / f"{name}.skeleton"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def raw(tmp_path) -> Path:
    """70 samples: subjects 1 to 7, cameras 1 to 3, some with nobody in any frame."""
    folder = tmp_path / "raw"
    for n in range(70):
        name = (
            f"S{1 + n % 4:03d}C{1 + n % 3:03d}P{1 + n % 7:03d}R{1 + n // 35:03d}A{1 + n % 35:03d}"
        )
        write_raw(
            folder / f"part{n % 2}", name, 3 + n % 5, n, bodies=0 if n % 20 == 9 else 1 + n % 2
        )
    return folder


QUIET = {"workers": 1, "progress": False}


def test_a_prepared_folder(raw, tmp_path):
    out = tmp_path / "out"
    summary = prepare_ntu(raw, out, **QUIET)
    assert len(summary.dropped) == 4
    assert len(summary.samples) == 66
    assert sorted(path.name for path in out.iterdir()) == [
        *("clips.npy", "dataset.json", "dropped.csv", "samples.csv")
    ]
    table = pd.read_csv(out / "samples.csv")
    assert table["name"].is_monotonic_increasing
    array = np.load(out / "clips.npy", mmap_mode="r")
    files = {file.stem: file for file in raw.rglob("*.skeleton")}
    for row, name in enumerate(table["name"]):
        expected, _ = clips_of([persons(read_skeleton(files[name]))])
        np.testing.assert_array_equal(array[row], expected[0])
    assert table["persons"].max() == 2
    config = DataConfig(path=str(out), benchmark="xview")
    train, val = open_data(config), open_data(config, "val")
    assert len(train) + len(val) == len(table)
    assert {name[5:8] for name in val.names} == {"001"}
    assert {name[5:8] for name in train.names} == {"002", "003"}
    assert train.labels.tolist() == [int(name[17:20]) - 1 for name in train.names]
    assert train.n_classes == 60
    assert has_split(config, "val")
    with pytest.raises(UserError, match=r"several benchmarks .*\(xsub, xview\); choose one"):
        open_data(DataConfig(path=str(out)))
    subjects = open_data(DataConfig(path=str(out), folds=7, fold=2), "val")
    assert len({name[9:12] for name in subjects.names}) == 1
    text = summary.text()
    assert "66 samples" in text
    assert "4  nobody in any frame" in text
    assert "xsub:" in text


@pytest.mark.parametrize("workers", [1, 2])
def test_a_resumed_preparation_equals_an_uninterrupted_one(raw, tmp_path, monkeypatch, workers):
    whole, out = tmp_path / "whole", tmp_path / "out"
    prepare_ntu(raw, whole, **QUIET)
    monkeypatch.setattr(jobs, "_FILES_AT_ONCE", 8)
    read: list[str] = []
    stop_after = 3

    def interrupted(self, group):
        read.extend(job.file for job in group)
        if len(read) > 8 * stop_after:
            raise KeyboardInterrupt
        return original(self, group)

    original = RawWorker.__call__
    monkeypatch.setattr(RawWorker, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare_ntu(raw, out, **QUIET)
    monkeypatch.setattr(RawWorker, "__call__", original)
    journal = out / ".prepare" / "journal.jsonl"
    assert len(journal.read_text().splitlines()) == 8 * stop_after
    journal.write_bytes(journal.read_bytes()[:-7])  # the kill came within a line
    with pytest.raises(UserError, match=r"interrupted preparation; add --resume"):
        prepare_ntu(raw, out, **QUIET)
    with pytest.raises(UserError, match="cannot resume, the raw files or the settings are others"):
        prepare_ntu(raw, out, compat="upstream", resume=True, **QUIET)
    again: list[str] = []
    monkeypatch.setattr(RawWorker, "__call__", lambda self, g: again.extend(g) or original(self, g))
    prepare_ntu(raw, out, resume=True, workers=workers, progress=False)
    if workers == 1:
        assert len(again) == 70 - 8 * stop_after + 1
    assert not (out / ".prepare").exists()
    for name in ("clips.npy", "samples.csv", "dropped.csv", "dataset.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    with pytest.raises(UserError, match="holds prepared data already"):
        prepare_ntu(raw, out, resume=True, **QUIET)


def test_a_killed_process_is_resumed(raw, tmp_path):
    """SIGKILL in the middle: what the journal names is there."""
    whole, out = tmp_path / "whole", tmp_path / "out"
    prepare_ntu(raw, whole, **QUIET)
    script = (
        "import sys, time\n"
        "from hysp.prepare import jobs, prepare_ntu, raw\n"
        "jobs._FILES_AT_ONCE = 5\n"
        "call = raw.RawWorker.__call__\n"
        "raw.RawWorker.__call__ = lambda self, g: (time.sleep(0.05), call(self, g))[1]\n"
        f"prepare_ntu({str(raw)!r}, {str(out)!r}, workers=1, progress=False)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script])
    journal = out / ".prepare" / "journal.jsonl"
    deadline = time.monotonic() + 60
    while not (journal.is_file() and journal.stat().st_size > 200):
        assert time.monotonic() < deadline
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    prepare_ntu(raw, out, resume=True, **QUIET)
    for name in ("clips.npy", "samples.csv", "dropped.csv"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()


def test_damaged_files_are_told_and_can_be_repaired_or_left_out(raw, tmp_path, capsys):
    file = next(iter(sorted(raw.rglob("*.skeleton"))))
    text = file.read_text()
    file.write_text(text[: len(text) // 2])
    out = tmp_path / "out"
    words = ["ntu", "--raw", raw, "--out", out, "--workers", 1, "--no-progress"]
    assert run(*words) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"error: 1 of 70 files cannot be read: {file}: line ")
    assert "truncated" in message
    assert message.count("\n") == 1
    assert not (out / "dataset.json").exists()
    assert run(*words, "--resume", "--skip-damaged") == 0
    assert "1  damaged file" in capsys.readouterr().out
    dropped = pd.read_csv(out / "dropped.csv")
    assert dropped.loc[dropped["reason"] == "damaged file", "name"].tolist() == [file.stem]

    repaired = tmp_path / "repaired"
    assert run(*words[:4], repaired, *words[5:]) == 2
    file.write_text(text)
    assert run(*words[:4], repaired, *words[5:], "--resume") == 0
    prepare_ntu(raw, tmp_path / "whole", **QUIET)
    whole = (tmp_path / "whole" / "clips.npy").read_bytes()
    assert (repaired / "clips.npy").read_bytes() == whole


def test_samples_on_the_list_are_left_out(tmp_path):
    raw = tmp_path / "raw"
    write_raw(raw, "S001C002P005R002A008")  # on the list of the data set's authors
    write_raw(raw, "S001C002P005R002A009")
    write_raw(raw, "S018C002P005R002A090")
    summary = prepare_ntu(raw, tmp_path / "all", **QUIET)
    assert summary.dropped["name"].tolist() == ["S001C002P005R002A008"]
    assert summary.benchmarks == ("xsub", "xset")
    of_60 = prepare_ntu(raw, tmp_path / "60", classes=60, **QUIET)
    assert of_60.dropped["reason"].tolist() == [
        *("on the list of missing or incomplete skeletons", "action beyond 60")
    ]
    assert of_60.benchmarks == ("xsub", "xview")
    (tmp_path / "list.txt").write_text("S001C002P005R002A009\n")
    own = prepare_ntu(raw, tmp_path / "own", missing=tmp_path / "list.txt", **QUIET)
    assert own.dropped["name"].tolist() == ["S001C002P005R002A009"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("notes.skeleton", "not a name of NTU RGB+D, expected SsssCcccPpppRrrrAaaa.skeleton"),
        ("twice", "have one name; keep one of them"),
        ("none", "no raw file SsssCcccPpppRrrrAaaa.skeleton in this folder"),
        ("absent", "no such folder"),
    ],
)
def test_folders_that_are_not_raw_data(tmp_path, capsys, name, message):
    raw = tmp_path / "raw"
    if name == "notes.skeleton":
        write_raw(raw, "notes")
    elif name == "twice":
        write_raw(raw / "a", "S001C001P001R001A001")
        write_raw(raw / "b", "S001C001P001R001A001")
    elif name == "none":
        raw.mkdir()
    assert run("ntu", "--raw", raw, "--out", tmp_path / "out") == 2
    assert message in capsys.readouterr().err


def test_all_samples_lost(tmp_path):
    write_raw(tmp_path / "raw", "S001C001P001R001A001", bodies=0)
    with pytest.raises(UserError, match=r"no sample is left: nobody in any frame \(S001C001"):
        prepare_ntu(tmp_path / "raw", tmp_path / "out", **QUIET)
    write_raw(tmp_path / "raw2", "S001C002P005R002A008")
    with pytest.raises(UserError, match="no sample is left of 1; all are on the list"):
        prepare_ntu(tmp_path / "raw2", tmp_path / "out2", **QUIET)


def test_the_originals_arrays_hold_300_frames(tmp_path):
    raw = tmp_path / "raw"
    write_raw(raw, "S001C001P001R001A001", frames=301)
    job = ntu_source(raw).jobs[0]
    assert read_job(job, "paper")[0].shape == (3, 301, 25, 2)
    with pytest.raises(UserError, match="301 frames, the original's arrays hold 300"):
        read_job(job, "upstream")
    with pytest.raises(UserError, match="add --compat upstream"):
        prepare_ntu(raw, tmp_path / "out", layout="authors", **QUIET)


def test_a_side_without_samples_is_an_empty_array(tmp_path):
    write_raw(tmp_path / "raw", "S001C002P001R001A001")
    options = {"benchmarks": ["xview"], "layout": "authors", "compat": "upstream"}
    prepare_ntu(tmp_path / "raw", tmp_path / "out", **options, **QUIET)
    assert np.load(tmp_path / "out" / "xview" / "train_data.npy").shape == (1, 3, 300, 25, 2)
    assert np.load(tmp_path / "out" / "xview" / "val_data.npy").shape == (0, 3, 300, 25, 2)
    with pytest.raises(UserError, match="no sample in the split 'val'"):
        open_data(DataConfig(path=str(tmp_path / "out"), benchmark="xview"), "val")


def pku(raw: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("0002-L", "0003-R", "0009-M"):
        for folder in ("skeleton", "label"):
            (raw / folder).mkdir(parents=True, exist_ok=True)
        rows = [" ".join(f"{v:.3f}" for v in rng.normal(size=150)) for _ in range(20)]
        (raw / "skeleton" / f"{name}.txt").write_text("\n".join(rows) + "\n")
        (raw / "label" / f"{name}.txt").write_text("3,1,9,2\n51,10,25,2\n")
    (raw / "cross-subject.txt").write_text("T\n0002-L,\nV\n0003-R\n")
    return raw


def test_pkummd(tmp_path, capsys):
    raw = pku(tmp_path / "raw")
    out = tmp_path / "out"
    assert run("pkummd", "--raw", raw, "--out", out, "--workers", 2, "--no-progress") == 0
    assert "xsub: 2 train, 2 val, 2 in neither list" in capsys.readouterr().out
    data = open_data(DataConfig(path=str(out)), "all")
    assert len(data) == 6
    assert data.n_classes == 51
    assert open_data(DataConfig(path=str(out))).names == ["F002V001C003L001", "F002V001C051L002"]
    assert open_data(DataConfig(path=str(out)), "val").labels.tolist() == [2, 50]
    assert pd.read_csv(out / "samples.csv")["frames"].tolist() == [9, 11] * 3
    with pytest.raises(UserError, match=r"line 2: frames 10 to 25, but the recording has 20"):
        prepare_pkummd(raw, tmp_path / "up", compat="upstream", **QUIET)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--benchmark", "xview"], "no split file cross-view.txt in it, needed for xview"),
        (["--benchmark", "xset"], "--benchmark xset: "),
        (["--classes", "60"], "--classes belongs to hysp prepare ntu"),
        (["data.clips.frames=3"], "has options, no key=value"),
        (["--workers", "0"], "--workers 0: at least 1"),
    ],
)
def test_wrong_options_of_pkummd(tmp_path, capsys, words, message):
    raw = pku(tmp_path / "raw")
    assert run("pkummd", *words, "--raw", raw, "--out", tmp_path / "out") == 2
    assert message in capsys.readouterr().err


def test_pkummd_without_its_folders(tmp_path):
    (tmp_path / "skeleton").mkdir()
    with pytest.raises(UserError, match="no folder with the label files; looked for label"):
        prepare_pkummd(tmp_path, tmp_path / "out", **QUIET)
    (tmp_path / "label").mkdir()
    with pytest.raises(UserError, match=r"no split file \(cross-subject\.txt or cross-view\.txt\)"):
        prepare_pkummd(tmp_path, tmp_path / "out", **QUIET)


def test_motion_capture_end_to_end(real_data_dir, tmp_path, capsys):
    file = real_data_dir / "bandai_mocap" / "dataset2_subset.npz"
    out = tmp_path / "out"
    assert run("bandai", "--raw", file, "--out", out, "data.clips.frames=32") == 0
    assert "280 samples" in capsys.readouterr().out
    config = DataConfig(path=str(out), task="style", folds=5, fold=1)
    train, val = open_data(config), open_data(config, "val")
    assert (len(train), len(val)) == (224, 56)
    assert train.shape == (3, 32, 21, 1)
    assert not set(train.groups) & set(val.groups)
    assert train.with_task("action").n_classes == 10
    assert val.classes == train.classes
    assert len(train.classes) == 7
    settings = json.loads((out / "dataset.json").read_text())["settings"]["clips"]
    assert (settings["frames"], settings["heading"]) == (32, ["Shoulder_L", "Shoulder_R"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "say what to make (ntu, pkummd, recordings, bandai, mmaction)"),
        (["bandia", "--out", "x"], "hysp prepare bandia: did you mean 'bandai'?"),
        (["bandai", "--out", "x"], "where are the raw files? --raw PATH"),
        (
            ["bandai", "--raw", "x.npz", "--out", "y", "--resume"],
            "--resume belongs to hysp prepare",
        ),
        (["bandai", "--raw", "x.npz", "--out", "y", "data.clips.frame=3"], "'data.clips.frames'"),
        (["bandai", "--raw", "x.npz", "--out", "y", "data.clips.frames=0"], "must be at least 1"),
        (["bandai", "--raw", "no.npz", "--out", "y"], "no.npz: no such motion"),
        (["recordings", "--out", "y"], "data.path is empty"),
        (["ntu", "--raw", "x", "--out", "y", "--bench", "xsub"], "no option '--bench'"),
    ],
)
def test_wrong_words(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert run(*words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_file_where_the_folder_should_be(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    words = ["--raw", tmp_path, "--out", tmp_path / "file"]
    for what in ("ntu", "bandai"):
        write_raw(tmp_path, "S001C002P005R002A009")
        assert run(what, *words) == 2
        assert "file: this is a file, give the name of a folder" in capsys.readouterr().err


def test_help(capsys):
    assert run("--help") == 0
    assert "hysp prepare ntu --raw" in capsys.readouterr().out
    assert run("--help-config") == 0
    assert "data.clips.mirror_pairs" in capsys.readouterr().out


def test_recordings_end_to_end(tmp_path, capsys):
    from behaviorzoo.recordings import make_recording, save_recording

    position = np.random.default_rng(0).normal(size=(40, 2, 3, 1)).cumsum(axis=0)
    ds = make_recording(
        position, keypoints=["nose", "neck", "tail"], individuals=["m"], fps=30, name="a"
    )
    save_recording(ds, tmp_path / "rec" / "a.nc")
    out = tmp_path / "out"
    words = [f"data.path={tmp_path / 'rec'}", "data.clips.window=10", "data.clips.frames=5"]
    assert run("recordings", "--out", out, *words) == 0
    assert "4 samples" in capsys.readouterr().out
    prepared = open_data(DataConfig(path=str(out)))
    assert prepared.shape == (2, 5, 3, 1)
    assert prepared.state_dict()["scale"] > 0
    assert run("recordings", "--out", out, *words) == 2
    assert "holds prepared data already" in capsys.readouterr().err
