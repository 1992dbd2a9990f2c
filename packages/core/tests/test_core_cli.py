"""The command ``behaviorzoo`` from end to end."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from behaviorzoo import __version__
from behaviorzoo.cli import VERBS, main
from behaviorzoo.labels import read_labels
from behaviorzoo.recordings import load_recording, make_recording, save_recording


def tracks_csv(path: Path, frames: range, empty: tuple[int, ...] = ()) -> Path:
    lines = ["scorer,n,n,n,n,n,n", "bodyparts,nose,nose,nose,tail,tail,tail"]
    lines.append("coords,x,y,likelihood,x,y,likelihood")
    lines += [f"{f},,,,,," if f in empty else f"{f},{f}.5,2,0.9,3,{f}.25,0.8" for f in frames]
    path.write_text("\n".join(lines) + "\n")
    return path


def annotation_txt(path: Path, *tracks: tuple[str, list[tuple[int, int, str]]]) -> Path:
    text = (
        "Caltech Behavior Annotator - Annotation File\n\nConfiguration file:\nbase\tz\nbite\tb\n\n"
    )
    for name, bouts in tracks:
        text += f"{name}:\tstart\tend\ttype\n-----------\n"
        text += "".join(f"   \t{start}\t{stop}\t{label}\n" for start, stop, label in bouts)
    path.write_text(text)
    return path


# ------------------------------------------------------------------------------ umbrella


def test_help_names_every_verb_and_version_is_told(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {verb} " in shown for verb in VERBS)
    assert main([]) == 0
    assert main(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


def test_help_is_quick_and_imports_nothing_heavy():
    code = (
        "import sys; from behaviorzoo.cli import main; main(['--help']); "
        "heavy = {'numpy', 'pandas', 'xarray', 'torch', 'movement'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert time.perf_counter() - begin < 5


@pytest.mark.parametrize("verb", ["import", "labels", "info"])
def test_the_help_of_a_verb_imports_nothing_heavy(verb: str):
    code = (
        f"import sys; from behaviorzoo.cli import main; assert main(['{verb}', '--help']) == 0; "
        "heavy = {'pandas', 'xarray', 'torch', 'matplotlib', 'movement'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["imprt"], "behaviorzoo has no verb 'imprt'; did you mean 'import'?"),
        (
            ["import", "a.csv", "--out", "o", "--fsp", "3"],
            "has no option '--fsp'; did you mean '--fps'?",
        ),
        (["import", "a.csv"], "the following arguments are required: --out"),
        (["import", "a.csv", "--out", "o", "--fps", "x"], "invalid float value: 'x'"),
        (["--fps", "import"], "write the verb first"),
        (["import", "nothing.csv", "--fps", "30", "--out", "o"], "nothing.csv: no such pose file"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


# -------------------------------------------------------------------------------- import


@pytest.fixture
def needs_movement():
    pytest.importorskip("movement", reason="needs behaviorzoo-core[poses]")


@pytest.mark.usefixtures("needs_movement")
def test_import_writes_recordings_and_the_missing_report(tmp_path: Path, capsys):
    folder = tmp_path / "tracks"
    folder.mkdir()
    for name in ("10", "9"):
        tracks_csv(folder / f"{name}DLC_net.csv", range(155, 165), empty=(155, 158))
    (folder / "notes.txt").write_text("not poses")
    out = tmp_path / "recordings"
    assert main(["import", str(folder), "--fps", "25", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert shown.index("[1/2] 9.nc: 10 frames (155 to 164)") < shown.index("[2/2] 10.nc")
    assert "20.0 %" in shown
    ds = load_recording(out / "9.nc")
    assert (ds.attrs["fps"], ds.attrs["source_file"]) == (25, "9DLC_net.csv")
    assert ds["time"].to_numpy()[[0, -1]].tolist() == [155, 164]
    assert np.isnan(ds["position"].sel(time=[155, 158])).all()
    report = pd.read_csv(out / "missing_report.csv", dtype={"recording": str})
    assert report["recording"].tolist() == ["9", "9", "10", "10"]
    assert report["missing"].tolist() == [2, 2, 2, 2]
    assert report["first_seen"].tolist() == [156] * 4
    assert main(["info", str(out / "9.nc"), str(out)]) == 0
    shown = capsys.readouterr().out
    assert "recording '9'" in shown
    assert "10 (155 to 164), 25 per second" in shown
    assert "key points   nose, tail" in shown


@pytest.mark.usefixtures("needs_movement")
def test_one_bad_file_does_not_stop_the_others(tmp_path: Path, capsys):
    tracks_csv(tmp_path / "a.csv", range(5))
    (tmp_path / "b.csv").write_text("time,value\n1,2\n")
    tracks_csv(tmp_path / "c.csv", range(5))
    out = tmp_path / "out"
    assert main(["import", str(tmp_path / "*.csv"), "--fps", "30", "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert "b.csv: no header of a known tracker" in error
    assert "error: 1 of 3 files could not be imported" in error
    assert sorted(path.name for path in out.iterdir()) == ["a.nc", "c.nc", "missing_report.csv"]


@pytest.mark.usefixtures("needs_movement")
def test_the_policy_for_missing_points_is_applied(tmp_path: Path):
    path = tracks_csv(tmp_path / "a.csv", range(12), empty=(3, 7, 8, 9))
    arguments = ["import", str(path), "--fps", "30", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--missing", "interpolate", "--max-gap", "2"]) == 0
    ds = load_recording(tmp_path / "out/a.nc")
    assert ds["position"].sel(time=3, space="x", keypoints="nose").item() == 3.5
    assert np.isnan(ds["position"].sel(time=[7, 8, 9])).all()
    assert ds.attrs["missing_policy"] == "interpolate"
    assert main([*arguments, "--missing", "mask"]) == 0
    ds = load_recording(tmp_path / "out/a.nc")
    assert (~ds["observed"].to_numpy()).any((1, 2)).nonzero()[0].tolist() == [3, 7, 8, 9]


@pytest.mark.usefixtures("needs_movement")
def test_mistakes_common_to_all_files_are_told_once(tmp_path: Path, capsys):
    tracks_csv(tmp_path / "1DLC_a.csv", range(3))
    tracks_csv(tmp_path / "1DLC_b.csv", range(3))
    (tmp_path / "empty").mkdir()
    out = ["--out", str(tmp_path / "out")]

    def error(*arguments: str) -> str:
        assert main(["import", *arguments, *out]) == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        return line

    one, both = str(tmp_path / "1DLC_a.csv"), str(tmp_path / "*.csv")
    twice = error(both, "--fps", "30")
    assert "would become the recording '1'" in twice
    assert "1DLC_a.csv" in twice
    assert "1DLC_b.csv" in twice
    assert "add --fps N" in error(one)
    assert "did you mean 'sleap'" in error(one, "--fps", "30", "--source", "slep")
    assert "did you mean 'mask'" in error(one, "--fps", "30", "--missing", "masks")
    assert "needs a max gap" in error(one, "--fps", "30", "--missing", "interpolate")
    assert "write OLD=NEW" in error(one, "--fps", "30", "--keypoints-rename", "nose")
    assert "zero pose files" in error(str(tmp_path / "empty"), "--fps", "30")
    assert not (tmp_path / "out").exists()


def test_without_movement_the_line_says_what_to_install(tmp_path: Path, capsys, monkeypatch):
    tracks_csv(tmp_path / "a.csv", range(3))
    monkeypatch.setitem(sys.modules, "movement", None)
    arguments = ["import", str(tmp_path / "a.csv"), "--fps", "30", "--out", str(tmp_path / "o")]
    assert main(arguments) == 2
    assert "pip install 'behaviorzoo-core[poses]'" in capsys.readouterr().err


@pytest.mark.usefixtures("needs_movement")
def test_real_rats_from_files_to_labels(real_data_dir: Path, tmp_path: Path, capsys):
    rats = real_data_dir / "rat_resident_intruder"
    tracks = [str(next((rats / "dlc_csv").glob(f"{n}DLC_*"))) for n in (14, 32, 1)]
    out = tmp_path / "recordings"
    assert main(["import", *tracks, "--fps", "30", "--out", str(out)]) == 0
    assert "1.nc: 14734 frames (0 to 14733)" in capsys.readouterr().out
    table = tmp_path / "labels.csv"
    arguments = ["labels", *(str(rats / f"annotations/{n}_annot.txt") for n in (14, 32, 1))]
    arguments += ["--out", str(table), "--recordings", str(out), "--fill-track", "S2=base"]
    assert main(arguments) == 0
    notes = capsys.readouterr().err
    assert "14: 59 frames of 'S1' lie outside the recording (frames 0 to 15182); clipped" in notes
    assert "32: no track 'S2': filled with 'base' (14116 frames)" in notes
    labels = read_labels(table)
    ends = labels.groupby(["recording", "task"])["stop"].max()
    assert ends["14", "S1"] == ends["14", "S2"] == 15183
    assert labels.query("recording == '32' and task == 'S2'")["label"].tolist() == ["base"]


# -------------------------------------------------------------------------------- labels


def recording(path: Path, first: int, n_frames: int) -> None:
    position = np.zeros((n_frames, 2, 1, 1), np.float32)
    ds = make_recording(
        position, keypoints=["p"], individuals=["i"], fps=30, name="x", first_frame=first
    )
    save_recording(ds, path)


def test_labels_are_clipped_and_filled_per_recording(tmp_path: Path, capsys):
    annotation_txt(tmp_path / "1_annot.txt", ("S1", [(1, 10, "base"), (11, 40, "bite")]))
    annotation_txt(tmp_path / "2_annot.txt", ("S1", [(1, 20, "base")]), ("S2", [(3, 4, "bite")]))
    for name in ("1", "2", "3"):
        recording(tmp_path / "recordings" / f"{name}.nc", 5, 20)
    out = tmp_path / "labels.csv"
    arguments = ["labels", str(tmp_path / "*_annot.txt"), "--out", str(out)]
    recordings = ["--recordings", str(tmp_path / "recordings")]
    assert main([*arguments, *recordings, "--fill-track", "S2=base"]) == 0
    notes = capsys.readouterr().err
    assert "note: 3: this recording has no labels" in notes
    assert "1: no track 'S2': filled with 'base' (20 frames)" in notes
    labels = read_labels(out)
    assert labels.to_numpy().tolist() == [
        ["1", "S1", 5, 10, "base"],
        ["1", "S1", 10, 25, "bite"],
        ["1", "S2", 5, 25, "base"],
        ["2", "S1", 5, 20, "base"],
    ]
    assert main(arguments) == 0
    assert "1: no track 'S2', so its frames are unlabelled (--fill-track S2=LABEL)" in (
        capsys.readouterr().err
    )
    assert read_labels(out).query("task == 'S2'")["recording"].tolist() == ["2"]
    assert main(["info", str(out)]) == 0
    assert "label table, 4 rows, 2 recordings" in capsys.readouterr().out


def boris_csv(path: Path, *events: tuple[float, float, str]) -> Path:
    text = "Observation id,x\nTime,Total length,FPS,Subject,Behavior,Status\n"
    times = sorted(
        [(a, name, "START") for a, _, name in events] + [(b, name, "STOP") for _, b, name in events]
    )
    text += "".join(f"{t},10,10,m,{name},{status}\n" for t, name, status in times)
    path.write_text(text)
    return path


def test_boris_behaviours_that_overlap_become_tasks_of_their_own(tmp_path: Path, capsys):
    boris_csv(tmp_path / "a.csv", (1, 3, "walk"), (2, 4, "sniff"))
    boris_csv(tmp_path / "b.csv", (5, 6, "walk"))
    out = tmp_path / "out" / "labels.csv"
    assert main(["labels", str(tmp_path / "*.csv"), "--out", str(out)]) == 0
    assert "one yes/no task per behaviour, because behaviours overlap" in capsys.readouterr().err
    labels = read_labels(out)
    assert set(labels["task"]) == {"walk", "sniff"}
    yes = labels.query("label == 'yes'").sort_values(["recording", "task"])
    assert yes[["recording", "task", "start", "stop"]].to_numpy().tolist() == [
        ["a", "sniff", 20, 40],
        ["a", "walk", 10, 30],
        ["b", "walk", 50, 60],
    ]
    covered = labels.assign(n=labels["stop"] - labels["start"]).groupby(["recording", "task"])["n"]
    assert covered.sum().tolist() == [100, 100, 100, 100]


def test_boris_behaviours_that_exclude_each_other_stay_one_task(tmp_path: Path, capsys):
    boris_csv(tmp_path / "a.csv", (1, 3, "walk"), (3, 4, "sniff"))
    out = tmp_path / "labels.csv"
    assert main(["labels", str(tmp_path / "a.csv"), "--out", str(out)]) == 0
    assert read_labels(out)[["task", "label"]].to_numpy().tolist() == [
        ["behavior", "walk"],
        ["behavior", "sniff"],
    ]
    assert main(["labels", str(tmp_path / "a.csv"), "--out", str(out), "--per-behavior"]) == 0
    assert set(read_labels(out)["task"]) == {"walk", "sniff"}
    capsys.readouterr()


def test_mistakes_of_the_labels_verb(tmp_path: Path, capsys):
    annotation_txt(tmp_path / "1_annot.txt", ("S1", [(1, 10, "base"), (10, 12, "bite")]))
    annotation_txt(tmp_path / "x7_annot.txt", ("S1", [(1, 10, "base")]))
    recording(tmp_path / "recordings" / "7.nc", 0, 20)
    out = ["--out", str(tmp_path / "l.csv")]

    def error(*arguments: str) -> str:
        assert main(["labels", *arguments, *out]) == 2
        return capsys.readouterr().err

    assert "'bite' and 'base' overlap at frame 9 (1 overlaps in all)" in error(
        str(tmp_path / "1_annot.txt")
    )
    x7, recordings = str(tmp_path / "x7_annot.txt"), str(tmp_path / "recordings")
    assert "no recording is named 'x7'; did you mean '7'?" in error(x7, "--recordings", recordings)
    assert "write TASK=LABEL" in error(x7, "--fill-track", "S2")
    assert "two files annotate the recording 'a'" in error(
        str(tmp_path / "*_annot.txt"), "--name-pattern", "(a)"
    )
    assert "no such annotation file" in error(str(tmp_path / "nothing.txt"))
    assert not (tmp_path / "l.csv").exists()
    assert main(["labels", x7, "--recordings", recordings, "--name-pattern", r"x(\d)", *out]) == 0
    assert read_labels(tmp_path / "l.csv")["recording"].tolist() == ["7"]


# ---------------------------------------------------------------------------------- info


def test_info_tells_embeddings_and_refuses_what_it_does_not_know(tmp_path: Path, capsys):
    from behaviorzoo.embeddings import save_embeddings

    values = {"level_1": np.zeros((4, 3), np.float32)}
    save_embeddings(tmp_path / "e.nc", {"r": (155, values)}, {"method": "test"})
    assert main(["info", str(tmp_path / "e.nc")]) == 0
    shown = capsys.readouterr().out
    assert "levels       level_1" in shown
    assert "method       test" in shown
    assert "155" in shown
    (tmp_path / "broken.nc").write_bytes(b"x")
    assert main(["info", str(tmp_path / "broken.nc")]) == 2
    assert "broken.nc: not a netCDF-4 file, or damaged" in capsys.readouterr().err
    (tmp_path / "a.txt").write_text("x")
    assert main(["info", str(tmp_path / "a.txt")]) == 2
    assert "a.txt: unknown kind of file" in capsys.readouterr().err
