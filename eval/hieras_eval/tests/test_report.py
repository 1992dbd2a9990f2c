"""The page of the results and the figure in it."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from behaviorzoo.errors import UserError
from behaviorzoo.metrics import binary_f1
from behaviorzoo.plots import save_figure
from hieras_eval import figures, summaries, tables
from hieras_eval.cli import main
from hieras_eval.report import build_report

ROOT = Path(__file__).resolve().parents[3]
LEVELS = ("0", "1", "combined")
GROUPS = {"activity": 2, "action": 3, "moveme": 4}


def tidy_table(groups: dict[str, int], levels: tuple[str, ...], metric: str = "f1") -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for level in levels:
        for group, n in groups.items():
            for k in range(n):
                base: dict[str, Any] = {"level": level, "task": f"{group}_{k}", "group": group}
                base |= {"metric": metric, "pooled": "no", "penalty": 1.0, "flag": ""}
                base |= {"n_frames": 1000, "n_positive": 100 + 10 * k}
                value = rng.uniform(0.2, 0.9)
                votes = ("any", "majority") if metric == "f1" else ("mean",)
                for part in ("public", "private", "private+public"):
                    for vote in votes:
                        rows.append(
                            {**base, "part": part, "vote": vote, "seed": "all", "value": value}
                        )
                    for seed in ("41", "42", "43"):
                        noise = value + rng.normal(0, 0.01)
                        row = {"part": part, "vote": "single", "seed": seed, "value": noise}
                        rows.append({**base, **row})
    return pd.DataFrame(rows)[list(tables.TIDY_COLUMNS)]


def write_results(folder: Path, task: str, tidy: pd.DataFrame, **settings: Any) -> Path:
    folder.mkdir(exist_ok=True)
    tables.write_tidy(tidy, folder / f"{task}-scores.csv")
    known = {"notes": ["task 'action_0' is degenerate: <no> positives."], "published": {}}
    record = {
        "task": task,
        "settings": {"compat": "upstream", **settings},
        "levels": dict.fromkeys(tidy["level"].unique(), known),
    }
    (folder / f"{task}-results.json").write_text(json.dumps(record))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_results(
        tmp_path_factory.mktemp("report") / "results", "Shot7M2", tidy_table(GROUPS, LEVELS)
    )


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return build_report(folder).html()


def test_the_page_shows_levels_groups_tasks_and_notes(page: str) -> None:
    for text in ("movemes", "activities", "level 0", "combined", "best", "action_2", "CC BY-NC"):
        assert text in page, text
    assert page.count("<svg ") == 1
    assert "degenerate: &lt;no&gt; positives" in page
    assert "<script src" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_the_page_is_the_same_twice(folder: Path, page: str) -> None:
    assert build_report(folder).html() == page


def test_the_best_single_level_is_framed_never_all_levels_together(folder: Path) -> None:
    tidy = tables.read_tidy(folder / "Shot7M2-scores.csv")
    tidy.loc[tidy["level"] == "combined", "value"] = 0.99
    other = write_results(folder.parent / "together", "Shot7M2", tidy)
    html = build_report(other).html()
    row = html[html.index('class="combined"') :]
    assert "best" not in row[: row.index("</tr>")]


def test_several_benchmarks_share_a_page(folder: Path, tmp_path: Path) -> None:
    both = tmp_path / "both"
    shutil.copytree(folder, both)
    mice = tidy_table({"frame": 2, "sequence": 1}, ("0",))
    values = tidy_table({"sequence": 2}, ("0",), metric="mse")
    values["task"] = "day_" + values["task"]
    write_results(both, "mabe_mice", pd.concat([mice, values], ignore_index=True))
    html = build_report(both).html()
    assert "Shot7M2: Every task" in html
    assert "mabe_mice: Every task" in html
    assert "MSE" in html


def test_a_folder_without_results_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no"):
        build_report(tmp_path)
    with pytest.raises(UserError, match="absent"):
        build_report(tmp_path / "absent")
    (tmp_path / "Shot7M2-results.json").write_text("[]")
    with pytest.raises(UserError, match=r"Shot7M2-results\.json"):
        build_report(tmp_path)


def test_the_verb_writes_into_the_folder_or_where_asked(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    assert main(["report", str(copy), "--title", "Mine & yours"]) == 0
    assert "Mine &amp; yours" in (copy / "report.html").read_text()
    assert "report.html" in capsys.readouterr().out
    assert main(["report", str(copy), "--out", str(tmp_path / "new" / "p.html")]) == 0
    assert (tmp_path / "new" / "p.html").exists()


def test_the_guess_is_the_score_of_saying_yes_to_every_frame() -> None:
    truth = np.zeros((100, 3), dtype=bool)
    truth[:30, 0] = truth[:1, 1] = truth[:, 2] = True
    wanted = binary_f1(truth.T, np.ones_like(truth.T))
    np.testing.assert_allclose(figures.positive_guess(truth.mean(axis=0)), wanted)


@pytest.mark.parametrize(
    ("groups", "levels", "n_panels"),
    [
        (GROUPS, LEVELS, 3),
        ({"frame": 120, "segment": 60}, ("0", "1", "2", "3", "4"), 2),
        ({"frame": 1}, ("0",), 1),
        ({f"task {i}": 2 for i in range(6)}, ("level_1", "short_term", "a/combined"), 6),
    ],
)
def test_a_panel_for_each_group(
    tmp_path: Path, groups: dict[str, int], levels: tuple[str, ...], n_panels: int
) -> None:
    figure = figures.levels_figure(tidy_table(groups, levels), summaries.CORRECTED)
    assert sum(axes.get_visible() for axes in figure.axes) == n_panels
    path = save_figure(figure, tmp_path / "f.png", dpi=60)
    again = figures.levels_figure(tidy_table(groups, levels), summaries.CORRECTED)
    assert save_figure(again, tmp_path / "g.png", dpi=60).read_bytes() == path.read_bytes()


def test_panels_run_from_fine_to_coarse_and_mark_the_best_level() -> None:
    tidy = tidy_table(GROUPS, LEVELS)
    tidy.loc[(tidy["level"] == "1") & (tidy["group"] == "moveme"), "value"] = 0.95
    figure = figures.levels_figure(tidy, summaries.PUBLISHED)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "movemes",
        "actions",
        "activities",
    ]
    bold = [t.get_text() for t in figure.axes[0].get_xticklabels() if t.get_weight() == "bold"]
    assert bold == ["1\n0.950"]


def test_nothing_to_draw_is_said() -> None:
    tidy = tidy_table({"frame": 1}, ("0",))
    with pytest.raises(UserError, match="no score"):
        figures.levels_figure(tidy.assign(value=np.nan), summaries.CORRECTED)


# ---- in a browser ----


@pytest.fixture(scope="module")
def browser() -> ModuleType:
    """The core's helper, which drives a headless browser and skips where there is none."""
    path = ROOT / "packages" / "core" / "tests" / "browser.py"
    if not path.exists():
        pytest.skip("the core's tests, which hold the browser's helper, are not here")
    spec = importlib.util.spec_from_file_location("browser_of_the_core", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["browser_of_the_core"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("size", [(1280, 800), (420, 800)])
def test_the_page_works_in_a_browser(
    folder: Path, tmp_path: Path, browser: ModuleType, size: tuple[int, int]
) -> None:
    path = build_report(folder).write(tmp_path / "page.html")
    probe = """
        const box = document.querySelector('figure svg').getBoundingClientRect();
        const best = [...document.querySelectorAll('td.best')].length;
        document.querySelectorAll('details').forEach((d) => { d.open = true; });
        const code = document.querySelector('details pre').getBoundingClientRect().height;
        const overflow = document.documentElement.scrollWidth - innerWidth;
        return {width: box.width, height: box.height, best, code, overflow};
    """
    seen = browser.visit(path, tmp_path, probe, size=size)
    assert seen.console == []
    assert seen.requests == []
    assert seen.result["width"] > 250
    assert seen.result["height"] > 80
    assert seen.result["best"] == 4
    assert seen.result["code"] > 10
    assert seen.result["overflow"] <= 0
