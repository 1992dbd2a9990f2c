"""``hieras-eval run`` from files to files: names, flags, repetition, and what is never replaced."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from behaviorzoo.mabe import save_dictionary
from hieras_eval import tables
from hieras_eval.cli import main

TASKS = {
    "activity_Episode_Casual": 1.0,
    "action_Idle": 0.5,
    "action_Move": 0.5,
    "moveme_Lfoot": 0.0,
    "moveme_Ball": 0.0,
}
CLIPS, FRAMES, WIDTH = 16, 40, 5


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three levels of a small data set, labels, and a metadata folder."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    n = CLIPS * FRAMES
    clips = {f"clip_{i:02d}": (i * FRAMES, (i + 1) * FRAMES) for i in range(CLIPS)}
    labels = (rng.random((len(TASKS), n)) < 0.3).astype(float)
    labels[0] = np.repeat(rng.integers(0, 2, CLIPS), FRAMES)
    labels[3, :FRAMES] = np.nan
    save_dictionary(
        folder / "labels.npy",
        {
            "vocabulary": list(TASKS),
            "task_type": ["Discrete"] * len(TASKS),
            "label_array": labels,
            "frame_number_map": clips,
        },
    )
    for level in ("0", "1", "combined"):
        x = rng.normal(size=(n, WIDTH)).astype(np.float32)
        for k, coarse in enumerate(TASKS.values()):
            near = 1.0 if level == "combined" else 1.0 - abs(coarse - float(level))
            x[:, k] += 2 * near * np.nan_to_num(labels[k])
        path = folder / "submissions" / f"test_submission_{level}.npy"
        path.parent.mkdir(exist_ok=True)
        save_dictionary(path, {"frame_number_map": clips, "embeddings": x})
    names = list(clips)
    (folder / "meta").mkdir()
    contents = {
        "frame_number_map.json": {name: list(rows) for name, rows in clips.items()},
        "split.json": {
            "SubmissionTrain": names[:10],
            "publicTest": names[10:13],
            "privateTest": names[13:],
        },
        "task_info.json": {
            "seeds": [41, 42, 43],
            "task_id_list": list(TASKS),
            "sequence_level_tasks": ["activity_Episode_Casual"],
        },
    }
    for name, content in contents.items():
        (folder / "meta" / name).write_text(json.dumps(content))
    return folder


def words(files: Path, out: Path, *more: str, **replaced: str) -> list[str]:
    options = {
        "--task": "Shot7M2",
        "--submission": str(files / "submissions"),
        "--labels": str(files / "labels.npy"),
        "--metadata": str(files / "meta"),
        "--output-dir": str(out),
    }
    options |= {f"--{name.replace('_', '-')}": value for name, value in replaced.items()}
    return ["run", *(word for pair in options.items() for word in pair), *more]


@pytest.fixture(scope="module")
def results(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "new" / "results"
    assert main(words(files, out)) == 0
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def fails(capsys: pytest.CaptureFixture[str], argv: list[str]) -> str:
    assert main(argv) == 2
    captured = capsys.readouterr()
    line = captured.err.strip().splitlines()[-1]
    assert line.startswith("error: ")
    assert "Traceback" not in captured.err
    return line


def test_a_folder_of_levels_becomes_tables_record_and_figure(results: Path) -> None:
    assert sorted(path.name for path in results.iterdir()) == [
        "Shot7M2-levels.png",
        "Shot7M2-results.json",
        *(f"Shot7M2-round-1--test_submission_{level}.npy.csv" for level in ("0", "1", "combined")),
        "Shot7M2-scores.csv",
    ]
    authors = pd.read_csv(results / "Shot7M2-round-1--test_submission_0.npy.csv")
    assert list(authors) == [
        "Task ID",
        "Private Score",
        "Public Score",
        "Metric",
        "No Ensemble Score",
        "Pooled Score",
        "Sequence Level Task",
        *(f"Score Alpha {alpha}" for alpha in (0.1, 0.5, 1.0, 2.0, 5.0)),
    ]
    assert authors["Task ID"].tolist() == list(TASKS)
    tidy = tables.read_tidy(results / "Shot7M2-scores.csv")
    assert tidy["level"].unique().tolist() == ["0", "1", "combined"]
    assert (results / "Shot7M2-levels.png").read_bytes()[:4] == b"\x89PNG"


def test_the_record_holds_settings_summaries_and_both_kinds_of_means(results: Path) -> None:
    record = json.loads((results / "Shot7M2-results.json").read_text())
    assert record["settings"]["compat"] == "upstream"
    assert list(record["levels"]) == ["0", "1", "combined"]
    authors = tables.read_authors(results / "Shot7M2-round-1--test_submission_1.npy.csv")
    published = record["levels"]["1"]["published"]
    assert published["all_f1"] == round(authors["Private Score"].mean(), 3)
    groups = {(row["level"], row["group"]): row for row in record["corrected"]}
    # The data were made so that the finer level tells movemes and the coarser one activities.
    assert groups["0", "moveme"]["value"] > groups["1", "moveme"]["value"]
    assert groups["1", "activity"]["value"] > groups["0", "activity"]["value"]
    assert groups["0", "action"]["sd"] >= 0


def test_two_runs_give_the_same_bytes(files: Path, results: Path, tmp_path: Path) -> None:
    assert main(words(files, tmp_path / "again")) == 0
    assert contents(tmp_path / "again") == contents(results)


def test_levels_one_by_one_give_what_all_at_once_give(
    files: Path, results: Path, tmp_path: Path
) -> None:
    for level in ("combined", "1", "0"):
        submission = str(files / "submissions" / f"test_submission_{level}.npy")
        assert main(words(files, tmp_path, submission=submission)) == 0
    assert contents(tmp_path) == contents(results)


def test_what_is_printed(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(files, tmp_path, "--json", str(tmp_path / "j" / "copy.json"))) == 0
    captured = capsys.readouterr()
    for text in ("as published", "all F1", "corrected", "majority", "level 0", "combined", "+-"):
        assert text in captured.out, text
    # Times and stages are no part of the results.
    assert " s  " not in captured.out
    assert "level 1: fitting" in captured.err
    copy = (tmp_path / "j" / "copy.json").read_bytes()
    assert copy == (tmp_path / "Shot7M2-results.json").read_bytes()


def test_the_same_settings_are_not_evaluated_again(
    files: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(results)

    def never(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("evaluated again")

    monkeypatch.setattr("hieras_eval.benchmark_run.evaluate", never)
    assert main(words(files, results)) == 0
    assert contents(results) == before


def test_a_level_that_was_cut_off_is_evaluated_again(
    files: Path, results: Path, tmp_path: Path
) -> None:
    assert main(words(files, tmp_path)) == 0
    (tmp_path / "Shot7M2-round-1--test_submission_1.npy.csv").unlink()
    assert main(words(files, tmp_path)) == 0
    assert contents(tmp_path) == contents(results)


def test_other_settings_never_replace_results_without_force(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(files, tmp_path)) == 0
    before = contents(tmp_path)
    line = fails(capsys, words(files, tmp_path, compat="corrected"))
    assert "compat (upstream, now corrected)" in line
    assert "--force" in line
    assert contents(tmp_path) == before
    assert main(words(files, tmp_path, "-f", compat="corrected")) == 0
    assert contents(tmp_path) != before
    record = json.loads((tmp_path / "Shot7M2-results.json").read_text())
    assert record["settings"]["compat"] == "corrected"


def test_another_experiment_of_the_same_file_name_is_refused(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other" / "test_submission_0.npy"
    other.parent.mkdir()
    content = dict(np.load(files / "submissions" / other.name, allow_pickle=True).item())
    save_dictionary(other, {**content, "embeddings": content["embeddings"] + np.float32(1e-3)})
    out = tmp_path / "out"
    one = str(files / "submissions" / other.name)
    assert main(words(files, out, submission=one)) == 0
    before = contents(out)
    line = fails(capsys, words(files, out, submission=str(other)))
    assert "test_submission_0.npy.csv" in line
    assert "another submission" in line
    assert contents(out) == before


def test_files_without_a_record_are_not_replaced(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "Shot7M2-round-1--test_submission_0.npy.csv"
    mine.write_text("of the original evaluator\n")
    assert mine.name in fails(capsys, words(files, tmp_path))
    assert mine.read_text() == "of the original evaluator\n"
    mine.unlink()
    (tmp_path / "Shot7M2-scores.csv").write_text("mine\n")
    assert "no record" in fails(capsys, words(files, tmp_path))


def test_a_table_that_was_edited_is_not_replaced(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(files, tmp_path)) == 0
    table = tmp_path / "Shot7M2-round-1--test_submission_0.npy.csv"
    table.write_text(table.read_text() + "mine\n")
    assert "changed" in fails(capsys, words(files, tmp_path))
    assert table.read_text().endswith("mine\n")


def test_the_copy_beside_the_submission_has_an_index_and_names_the_threshold(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = tmp_path / "test_submission_0.npy"
    here.write_bytes((files / "submissions" / here.name).read_bytes())
    out = tmp_path / "out"
    argv = words(files, out, "--beside", "-th", "0.3", submission=str(here))
    assert main(argv) == 0
    beside = tmp_path / "Shot7M2-round-1--test_submission_0.npy_t0.3.csv"
    assert beside.read_text().startswith(",Task ID,")
    inside = out / "Shot7M2-round-1--test_submission_0.npy.csv"
    pd.testing.assert_frame_equal(tables.read_authors(beside), tables.read_authors(inside))
    beside.write_text("mine")
    second = words(files, tmp_path / "2", "--beside", "-th", "0.3", submission=str(here))
    assert main(second) == 0
    assert "was left" in capsys.readouterr().out
    assert beside.read_text() == "mine"


def test_nothing_is_written_beside_the_submission_unasked(files: Path, results: Path) -> None:
    assert results.exists()
    assert {path.suffix for path in (files / "submissions").iterdir()} == {".npy"}


def test_the_authors_short_flags_work(files: Path, tmp_path: Path) -> None:
    submission = str(files / "submissions" / "test_submission_0.npy")
    short = ["-ts", "75", "-th", "0.5", "-f"]
    assert main(words(files, tmp_path, *short, submission=submission)) == 0


def test_the_threshold_changes_pooled_scores_only(
    files: Path, results: Path, tmp_path: Path
) -> None:
    assert main(words(files, tmp_path, threshold="1")) == 0
    name = "Shot7M2-round-1--test_submission_0.npy.csv"
    one, other = (tables.read_authors(folder / name) for folder in (results, tmp_path))
    assert (one["Private Score"] == other["Private Score"]).all()
    assert one["Pooled Score"][0] != other["Pooled Score"][0]


def test_a_training_size_changes_the_fits(files: Path, results: Path, tmp_path: Path) -> None:
    assert main(words(files, tmp_path, training_size="30")) == 0
    name = "Shot7M2-round-1--test_submission_0.npy.csv"
    one, other = (tables.read_authors(folder / name) for folder in (results, tmp_path))
    assert (one["Private Score"] != other["Private Score"]).any()


@pytest.mark.parametrize(
    ("replaced", "said"),
    [
        ({"task": "Shot7M"}, "did you mean 'Shot7M2'"),
        ({"submission": "absent.npy"}, "absent.npy"),
        ({"labels": "absent.npy"}, "absent.npy"),
        ({"metadata": "absent"}, "absent"),
        ({"threshold": "2"}, "--threshold"),
        ({"training_size": "much"}, "much"),
        ({"training_size": "100"}, "100"),
        ({"compat": "mine"}, "upstream"),
        ({"embeddings": "e.nc"}, "--task custom"),
        ({"submissions": "x"}, "did you mean '--submission'"),
    ],
)
def test_mistakes_get_one_line(
    files: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    replaced: dict[str, str],
    said: str,
) -> None:
    assert said in fails(capsys, words(files, tmp_path / "out", **replaced))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("change", ["nan", "wide", "clip", "rows", "dtype"])
def test_a_malformed_submission_gets_one_line_that_names_it(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    good = files / "submissions" / "test_submission_0.npy"
    content = dict(np.load(good, allow_pickle=True).item())
    x, clips = content["embeddings"].copy(), dict(content["frame_number_map"])
    said = []
    if change == "nan":
        x[FRAMES + 2, 1] = np.nan
        said = ["clip_01"]
    elif change == "wide":
        x, said = np.tile(x, 13), ["65", "64"]
    elif change == "clip":
        del clips["clip_03"]
        said = ["clip_03"]
    elif change == "rows":
        x, said = x[:-5], [str(CLIPS * FRAMES - 5), str(CLIPS * FRAMES)]
    else:
        x, said = x.astype(np.float64), ["float64", "float32"]
    bad = tmp_path / "test_submission_0.npy"
    save_dictionary(bad, {"frame_number_map": clips, "embeddings": x})
    line = fails(capsys, words(files, tmp_path / "out", submission=str(bad)))
    for text in (bad.name, *said):
        assert text in line
    assert not (tmp_path / "out").exists()


def test_mice_need_metadata_and_say_how_to_get_it(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = words(files, tmp_path, task="mabe_mice")
    at = argv.index("--metadata")
    line = fails(capsys, argv[:at] + argv[at + 2 :])
    assert "prepare" in line


def test_two_submissions_of_one_name_are_refused(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = files / "submissions" / "test_submission_0.npy"
    other = tmp_path / path.name
    other.write_bytes(path.read_bytes())
    argv = words(files, tmp_path / "out", submission=str(path))
    argv.insert(argv.index(str(path)) + 1, str(other))
    assert "two submissions of this name" in fails(capsys, argv)


def test_help_and_version_are_quick_and_import_no_torch() -> None:
    code = (
        "import sys; from hieras_eval.cli import main; codes = [main(['--help']),"
        " main(['--version']), main(['run', '--help']), main(['report', '--help'])];"
        " heavy = [m for m in ('torch', 'matplotlib', 'pandas', 'numpy', 'sklearn')"
        " if m in sys.modules]; print(codes, heavy)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[0, 0, 0, 0] []"
    for verb in ("run", "report", "summarise", "prepare"):
        assert verb in done.stdout


def test_a_run_imports_no_torch(files: Path, tmp_path: Path) -> None:
    argv = words(files, tmp_path, submission=str(files / "submissions" / "test_submission_0.npy"))
    code = (
        f"import sys; from hieras_eval.cli import main; main({argv!r});"
        " print([m for m in ('torch', 'lightning', 'movement') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_summarise_reads_our_tables(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(path) for path in results.glob("Shot7M2-round-1--*.csv")]
    out = tmp_path / "means.csv"
    assert main(["summarise", *paths, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert text.index("level 0") < text.index("level 1") < text.index("combined")
    means = pd.read_csv(out, dtype={"level": str})
    record = json.loads((results / "Shot7M2-results.json").read_text())
    for row in record["as published"]:
        own = means[(means["level"] == row["level"]) & (means["group"] == row["group"])]
        if row["metric"] == "f1":
            assert own["value"].tolist() == pytest.approx([row["value"]])


def test_prepare_makes_a_metadata_folder_that_run_takes(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = fails(
        capsys,
        ["prepare", "--task", "mabe_mice", "--source", str(files), "--out", str(tmp_path / "m")],
    )
    assert str(files) in line
    assert not (tmp_path / "m").exists()
