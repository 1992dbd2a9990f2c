"""Names, levels and the two kinds of tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from behaviorzoo.errors import UserError
from hieras_eval import tables


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("test_submission_0.npy", "0"),
        ("test_submission_12.npy", "12"),
        ("test_submission_combined.npy", "combined"),
        ("submission3.npz", "3"),
        ("mine.npy", "mine"),
        ("Shot7M2-round-1--test_submission_1.npy.csv", "1"),
        ("hBABEL-round-1--test_submission_0.npy_t0.3.csv", "0"),
        ("mouse-round-1--179369.npy.csv", "179369"),
    ],
)
def test_level_of(name: str, level: str) -> None:
    assert tables.level_of(Path("some") / name) == level


def test_a_folder_means_its_submissions_in_the_order_of_levels(tmp_path: Path) -> None:
    for name in ("10", "2", "combined", "0", "fused"):
        (tmp_path / f"test_submission_{name}.npy").write_bytes(b"x")
    (tmp_path / "other.npy").write_bytes(b"x")
    found = [tables.level_of(path) for path in tables.find_submissions([tmp_path])]
    assert found == ["0", "2", "10", "fused", "combined"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no test_submission_"):
        tables.find_submissions([tmp_path / "empty"])
    with pytest.raises(UserError, match="no such submission"):
        tables.find_submissions([tmp_path / "absent.npy"])


def test_authors_names() -> None:
    name = tables.authors_name("hBABEL", "out/test_submission_0.npy", 0.3)
    assert name == "hBABEL-round-1--test_submission_0.npy_t0.3.csv"
    assert tables.authors_name("Shot7M2", "a.npy") == "Shot7M2-round-1--a.npy.csv"


@pytest.mark.parametrize("index", [False, True])
def test_authors_table_survives_the_file(tmp_path: Path, index: bool) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"Task ID": ["1", "None"] * 200, "Private Score": rng.random(400) / 3})
    table["Public Score"] = rng.random(400)
    table["Metric"] = "f1_score"
    table["Sequence Level Task"] = [True, False] * 200
    path = tables.write_authors(table, tmp_path / "new" / "t.csv", index=index)
    assert path.read_text().startswith("," * index + "Task ID")
    back = tables.read_authors(path)
    assert back["Private Score"].tolist() == table["Private Score"].tolist()
    assert back["Sequence Level Task"].tolist() == [True, False] * 200
    assert list(back) == list(table)


def test_what_is_no_result_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("recording,task\na,b\n")
    with pytest.raises(UserError, match=r"labels\.csv.*no column 'Task ID'"):
        tables.read_authors(path)
    with pytest.raises(UserError, match="no column 'level'"):
        tables.read_tidy(path)
    path.write_bytes(b"\xff\xfe\x00broken")
    with pytest.raises(UserError, match=r"labels\.csv"):
        tables.read_authors(path)


def test_tidy_table_survives_the_file_byte_for_byte(tmp_path: Path) -> None:
    row = ["00", "NA", "", "f1", "any", "private", "no", 0.1, "all", 1 / 3, 10, 3, ""]
    table = pd.DataFrame([row, [*row[:8], "41", np.nan, 10, 3, "x"]])
    table.columns = list(tables.TIDY_COLUMNS)
    path = tables.write_tidy(table, tmp_path / "tidy.csv")
    before = path.read_bytes()
    back = tables.read_tidy(path)
    assert back.loc[0, ["level", "task", "group", "seed"]].tolist() == ["00", "NA", "", "all"]
    tables.write_tidy(back, path)
    assert path.read_bytes() == before


def test_the_benchmark_is_told_by_the_name_or_by_the_tasks() -> None:
    table = pd.DataFrame({"Task ID": ["experiment_day"]})
    assert tables.task_of("mouse-round-1--x.npy.csv", table) == "mouse"
    assert tables.task_of("results.csv", table) == "mabe_mice"
    assert tables.task_of("results.csv", pd.DataFrame({"Task ID": ["moveme_Lfoot"]})) == "Shot7M2"
    assert tables.task_of("results.csv", pd.DataFrame({"Task ID": ["a"]})) == ""
