"""The printed numbers: equal to the originals', and the corrected ones recomputed the slow way."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hieras_eval import summaries, tables

ROOT = Path(__file__).resolve().parents[3]
GOLDENS = Path(os.environ.get("BEHAVIORZOO_GOLDENS", ROOT.parent / "shared" / "goldens"))
CASES = sorted(path.parent for path in GOLDENS.glob("*/expected_summary.json"))


def flat(summary: dict[str, Any], prefix: str = "") -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in summary.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_golden_summary(case: Path) -> None:
    task = json.loads((case / "case.json").read_text())["task"]
    wanted = flat(json.loads((case / "expected_summary.json").read_text()))
    table = tables.read_authors(case / "expected_results.csv")
    found = flat(summaries.published_summary(task, table))
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        # Printed digits; numbers that were not rounded must agree to the last bits.
        assert found[name] == pytest.approx(value, abs=1e-12), name


def test_there_are_goldens_of_summaries(goldens_dir: Path) -> None:
    assert any(goldens_dir.glob("*/expected_summary.json"))


def authors(tasks: list[str], rng: np.random.Generator, **columns: Any) -> pd.DataFrame:
    alphas = rng.random((len(tasks), 5))
    table = pd.DataFrame({"Task ID": tasks, "Private Score": alphas[:, 2], "Public Score": 0.5})
    table["Metric"] = columns.get("metric", "f1_score")
    table["Sequence Level Task"] = columns.get("sequence", False)
    for index, alpha in enumerate((0.1, 0.5, 1.0, 2.0, 5.0)):
        table[f"Score Alpha {alpha}"] = alphas[:, index]
    return table


def test_the_deviation_is_that_of_a_population_of_penalties() -> None:
    tasks = [f"a{i}_seg" for i in range(3)] + [f"b{i}_frame" for i in range(14)]
    table = authors(tasks, np.random.default_rng(0))
    found = summaries.published_summary("hBABEL", table)
    rows = table.iloc[-10:]  # the ten most frequent labels stand last
    slow = []
    for row in rows.filter(like="Alpha").to_numpy():
        slow.append((sum((value - sum(row) / 5) ** 2 for value in row) / 5) ** 0.5)
    assert found["frame"]["top10_std"] == pytest.approx(round(sum(slow) / 10, 3))
    assert found["frame"]["top10"] == pytest.approx(round(rows["Private Score"].mean(), 3))
    assert found["seg"]["all"] == found["seg"]["top90"]
    assert list(found) == ["frame", "seg", "all_f1", "all_f1_std"]


def test_mice_tell_values_from_classes_and_frames_from_sequences() -> None:
    tasks = ["day", "strain", "chases"]
    table = authors(
        tasks,
        np.random.default_rng(1),
        metric=["mean_mse", "f1_score", "f1_score"],
        sequence=[True, True, False],
    )
    found = summaries.published_summary("mabe_mice", table)
    scores = table["Private Score"]
    assert found["all_mse"] == round(scores[0], 4)
    assert found["seq_f1"] == round(scores[1], 3)
    assert found["frame_f1"] == round(scores[2], 3)
    assert found["all_f1"] == pytest.approx(round(scores[1:].mean(), 3))


def test_other_tasks_than_the_thirty_have_no_merged_means() -> None:
    table = authors(["action_Idle", "moveme_Lfoot"], np.random.default_rng(2))
    found = summaries.published_summary("Shot7M2", table)
    assert "action_f1" in found
    assert not [name for name in found if name.startswith("our")]
    assert "activity_f1" not in found


def test_a_task_without_a_score_is_left_out_of_the_mean() -> None:
    table = authors(["a_frame", "b_frame"], np.random.default_rng(3))
    table.loc[0, ["Private Score", *table.filter(like="Alpha")]] = np.nan
    found = summaries.published_summary("hBABEL", table)
    assert found["all_f1"] == round(table["Private Score"][1], 3)


def tidy_rows(level: str, task: str, group: str, metric: str, **values: Any) -> list[dict]:
    """A task's rows: merged by any, by majority, and of three seeds, on both parts."""
    base = {"level": level, "task": task, "group": group, "metric": metric, "pooled": "no"}
    base |= {"penalty": 1.0, "n_frames": 100, "n_positive": 20, "flag": ""}
    rows = []
    votes = ("any", "majority") if metric == "f1" else ("mean",)
    for part in ("private", "private+public"):
        shift = 0.1 * (part != "private")
        for vote in votes:
            value = values[vote] + shift
            rows.append({**base, "vote": vote, "part": part, "seed": "all", "value": value})
        for seed, value in enumerate(values["seeds"], start=41):
            row = {"vote": "single", "part": part, "seed": str(seed), "value": value + shift}
            rows.append({**base, **row})
    return rows


@pytest.fixture
def tidy() -> pd.DataFrame:
    one = {"any": 0.5, "majority": 0.4, "seeds": (0.3, 0.4, 0.5)}
    two = {"any": 0.7, "majority": 0.8, "seeds": (0.6, 0.6, 0.9)}
    rows = tidy_rows("0", "action_LSpin", "action", "f1", **one)
    rows += tidy_rows("0", "action_RSpin", "action", "f1", **two)
    rows += tidy_rows("0", "action_Idle", "action", "f1", **one)
    rows += tidy_rows("0", "activity_Episode_Casual", "activity", "f1", **two)
    rows += tidy_rows("0", "day", "sequence", "mse", mean=0.09, seeds=(0.09, 0.09, 0.12))
    return pd.DataFrame(rows)[list(tables.TIDY_COLUMNS)]


def test_group_means_by_hand(tidy: pd.DataFrame) -> None:
    found = summaries.group_means(tidy, summaries.CORRECTED)
    assert list(zip(found["group"], found["metric"], strict=True)) == [
        ("action", "f1"),
        ("activity", "f1"),
        ("all", "f1"),
        ("all", "mse"),
    ]
    assert found["value"].tolist() == pytest.approx([1.6 / 3, 0.8, 0.6, 0.09])
    assert found["tasks"].tolist() == [3, 1, 4, 1]
    means = [(0.3 + 0.6 + 0.3) / 3, (0.4 + 0.6 + 0.4) / 3, (0.5 + 0.9 + 0.5) / 3]
    assert found["sd"][0] == pytest.approx(np.std(means, ddof=1))
    published = summaries.group_means(tidy, summaries.PUBLISHED)
    assert published["value"].tolist() == pytest.approx([(0.6 + 0.8 + 0.6) / 3, 0.8, 0.7, 0.19])


def test_merged_pairs_count_once(tidy: pd.DataFrame) -> None:
    found = summaries.group_means(tidy, summaries.CORRECTED, merge=True)
    assert found["value"][0] == pytest.approx(((0.4 + 0.8) / 2 + 0.4) / 2)
    assert found["tasks"][0] == 2


def test_single_flies_count_as_one_task() -> None:
    scores = {"any": 0.5, "majority": 0.2, "seeds": (0.1, 0.2, 0.3)}
    other = {"any": 0.5, "majority": 0.6, "seeds": (0.1, 0.2, 0.3)}
    rows = [
        row
        for task, values in (
            ("chase_singletask_fly_0", scores),
            ("chase_singletask_fly_1", other),
            ("control", other),
            ("control", other),  # listed twice by the benchmark
        )
        for row in tidy_rows("0", task, "frame", "f1", **values)
    ]
    found = summaries.group_means(pd.DataFrame(rows), summaries.CORRECTED)
    assert found["value"][0] == pytest.approx((0.4 + 0.6) / 2)
    assert found["tasks"][0] == 2


def test_missing_scores_are_counted_apart(tidy: pd.DataFrame) -> None:
    tidy.loc[tidy["task"] == "action_Idle", "value"] = np.nan
    found = summaries.group_means(tidy, summaries.CORRECTED)
    assert found["value"][0] == pytest.approx(0.6)
    assert found.loc[0, ["tasks", "missing"]].tolist() == [2, 1]


def test_groups_are_told_by_the_names_of_tasks() -> None:
    names = ["moveme_Ball", "activity_Episode_Casual", "walk_seg", "walk_frame", "strain", "chases"]
    sequence = [False, False, False, False, True, False]
    table = authors(names, np.random.default_rng(0), sequence=sequence)
    groups = summaries.authors_groups(table)["group"].tolist()
    assert groups == ["moveme", "activity", "segment", "frame", "sequence", "frame"]
    custom = authors(["social:chase"], np.random.default_rng(0))
    assert summaries.authors_groups(custom)["group"].tolist() == ["social"]
