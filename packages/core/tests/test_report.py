"""The report: complete in itself, honest about what is absent, and working in a browser."""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from behaviorzoo import report_command
from behaviorzoo.embeddings import save_embeddings
from behaviorzoo.errors import UserError
from behaviorzoo.labels import dense_labels, from_dense, read_labels
from behaviorzoo.plots import loss_curves
from behaviorzoo.report import Report, ReportInputs, build_report
from behaviorzoo.report.results import median_bouts
from behaviorzoo.synthetic import write_behaviour

spec = importlib.util.spec_from_file_location("browser", Path(__file__).with_name("browser.py"))
assert spec is not None
assert spec.loader is not None
browser = importlib.util.module_from_spec(spec)
sys.modules["browser"] = browser
spec.loader.exec_module(browser)

FRAMES = 900
LEVELS = ("level_1", "level_2")


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """A data set, embeddings, a probe's folder and a run's folder, all small."""
    folder = tmp_path_factory.mktemp("results")
    paths, table = write_behaviour(folder, 2, FRAMES, seed=1, individuals=2, missing=0.1)
    rng = np.random.default_rng(0)
    arrays = {
        path.stem: (0, {level: rng.normal(size=(FRAMES, 6)) for level in LEVELS}) for path in paths
    }
    save_embeddings(folder / "embeddings.nc", arrays)
    labels = read_labels(table)
    rows, predictions = [], []
    for task, value in (("movement", 0.5), ("action", 0.4), ("activity", 0.3)):
        codes, classes = dense_labels(labels, "synthetic_001", task, 0, FRAMES)
        for bonus, level in enumerate(LEVELS):
            wrong = np.where(rng.random(FRAMES) < 0.3, 0, codes)
            predictions.append(from_dense(wrong, "synthetic_001", task, 0, classes))
            predictions[-1]["level"] = level
            for name, limit in (("chance", 0.1), ("hand features", 0.35)):
                rows.append((level, task, "", "macro F1", value + 0.1 * bonus, name, limit))
                rows += [(level, task, c, "F1", value, name, limit) for c in classes]
    columns = ["level", "task", "label", "metric", "value", "baseline", "baseline_value"]
    (folder / "probe").mkdir()
    pd.DataFrame(rows, columns=columns).to_csv(folder / "probe" / "scores.csv", index=False)
    pd.concat(predictions).to_csv(folder / "probe" / "predictions.csv", index=False)
    (folder / "probe" / "probe.json").write_text('{"split": "one of two"}', encoding="utf-8")
    run = folder / "run"
    (run / "checkpoints" / "step-00000020").mkdir(parents=True)
    metadata = {"step": 20, "data_fingerprint": "abc"}
    (run / "checkpoints" / "step-00000020" / "metadata.json").write_text(json.dumps(metadata))
    (run / "config.yaml").write_text("seed: 7\nname: '<script>alert(1)</script>'\n")
    log = {"step": range(20), "epoch": 1.0, "train_loss": np.linspace(2, 1, 20)}
    pd.DataFrame(log).to_csv(run / "metrics.csv", index=False)
    (folder / "commands.txt").write_text("behaviorzoo synth --out data\n")
    return folder


def inputs(folder: Path, **changes) -> ReportInputs:
    full = {
        "run": folder / "run",
        "embeddings": folder / "embeddings.nc",
        "labels": folder / "labels.csv",
        "probe": folder / "probe",
        "recordings": folder / "recordings",
        "commands": folder / "commands.txt",
        "title": "Rats & mice",
    }
    return ReportInputs(**(full | changes))


@pytest.fixture(scope="module")
def page(results) -> Path:
    return build_report(inputs(results)).write(results / "report.html")


def test_it_has_every_section_in_the_order_of_interest(page):
    html = page.read_text(encoding="utf-8")
    titles = re.findall(r"<h2>(.*?)</h2>", html)
    assert titles == [
        "Which level tells what",
        "Scores per level and label",
        "Embedding maps",
        "Labels against predictions",
        "Training",
        "Data quality",
        "Configuration",
        "How this was made",
    ]
    assert "<h1>Rats &amp; mice</h1>" in html
    assert "behaviorzoo synth --out data" in html
    assert "one of two" in html
    assert "data_fingerprint" in html
    assert re.search(r"<td>torch</td><td>\d", html)
    assert "Left out" not in html
    assert page.stat().st_size < 3e6


def test_text_from_files_cannot_become_code(page):
    html = page.read_text(encoding="utf-8")
    assert "alert(1)" in html
    assert "<script>alert" not in html


def test_the_best_level_of_each_task_is_marked_with_its_lead(page):
    table = re.search(r"<h2>Which level.*?</table>", page.read_text(encoding="utf-8"), re.S)
    assert table is not None
    heads = re.findall(r'<th scope="col">(\w+)', table.group())
    assert heads == ["level", "movement", "action", "activity"]
    best = re.findall(r'<td class="heat best"[^>]*>([\d.]+)<.*?>([+-][\d.]+)<', table.group())
    assert best == [("0.600", "+0.250"), ("0.500", "+0.150"), ("0.400", "+0.050")]
    assert re.findall(r'<th scope="row">(.*?)</th>', table.group()) == [
        *LEVELS,
        "baseline: chance",
        "baseline: hand features",
    ]


def test_a_level_that_loses_against_a_baseline_is_said_to_lose(results, tmp_path):
    scores = pd.read_csv(results / "probe" / "scores.csv")
    scores.loc[scores["baseline"] == "hand features", "baseline_value"] = 0.7
    scores.to_csv(tmp_path / "scores.csv", index=False)
    html = build_report(ReportInputs(probe=tmp_path)).html()
    assert '<span class="gain behind">-0.100</span>' in html


def test_it_loads_nothing_and_ids_are_unique(page):
    html = page.read_text(encoding="utf-8")
    loads = re.findall(r'(?:src|href)\s*=\s*"([^"]*)"', html)
    assert loads
    assert {load.split(":")[0] for load in loads if not load.startswith("#")} == {"data"}
    assert not re.findall(r"url\((?!#)", html)
    assert "default-src 'none'" in html
    ids = re.findall(r'\sid="([^"]*)"', html)
    assert len(ids) == len(set(ids))
    assert str(page.parent) not in html


def test_every_picture_has_a_text_for_those_who_do_not_see_it(page):
    html = page.read_text(encoding="utf-8")
    labels = re.findall(r'role="img" aria-label="([^"]+)"', html)
    assert len(labels) == html.count("<svg ") == 11
    assert len(set(labels)) == 11


def test_figures_take_the_theme_of_the_page(page):
    html = page.read_text(encoding="utf-8")
    svg = html[html.index("<svg ") : html.index("</svg>")]
    assert "currentColor" in svg
    assert "var(--rule)" in svg
    assert "#1c2230" not in svg


@pytest.mark.parametrize(
    ("given", "title"),
    [
        ("run", "Training"),
        ("embeddings", "Embedding maps"),
        ("labels", "How this was made"),
        ("probe", "Scores per level and label"),
        ("recordings", "Data quality"),
    ],
)
def test_what_is_absent_is_left_out_and_said(results, given, title):
    names = ("run", "embeddings", "labels", "probe", "recordings")
    others = [name for name in names if name != given]
    html = build_report(inputs(results, **dict.fromkeys(others))).html()
    assert f"<h2>{title}</h2>" in html
    for name in names:
        assert (f"Left out: no --{name} was given." in html) == (name in others)


def test_broken_or_empty_parts_are_said_not_hidden(results, tmp_path):
    (tmp_path / "metrics.csv").write_text("step,train_loss\n")
    html = build_report(ReportInputs(run=tmp_path)).html()
    for sentence in ("no metrics.csv with rows", "no complete checkpoint", "no config.yaml"):
        assert sentence in html
    labels = pd.read_csv(results / "labels.csv")
    overlap = labels.loc[labels["task"] == "action"].tail(1).assign(label="other")
    path = tmp_path / "labels.csv"
    pd.concat([labels, overlap]).to_csv(path, index=False)
    html = build_report(ReportInputs(labels=path, embeddings=results / "embeddings.nc")).html()
    assert "task action has no pictures" in html


def test_nothing_and_wrong_paths_are_refused(results, tmp_path):
    with pytest.raises(UserError, match="give one or more of --run"):
        build_report(ReportInputs())
    for name in ("run", "embeddings", "labels", "probe", "recordings"):
        with pytest.raises(UserError, match="nowhere"):
            build_report(ReportInputs(**{name: tmp_path / "nowhere"}))


def test_another_probe_or_a_level_can_stand_as_a_baseline(results):
    folder = results / "probe"
    html = build_report(ReportInputs(probe=folder, baselines=[f"old={folder}"])).html()
    assert "baseline: old level_1" in html
    html = build_report(ReportInputs(probe=folder, baselines=["level_1"])).html()
    assert "baseline: level_1" in html
    with pytest.raises(UserError, match="did you mean 'level_1'"):
        build_report(ReportInputs(probe=folder, baselines=["levl_1"]))


def test_median_bouts_are_those_of_each_task():
    labels = pd.DataFrame(
        {
            "recording": "r",
            "task": ["a", "a", "a", "b", "c"],
            "start": pd.array([0, 10, 40, 0, None], dtype="Int64"),
            "stop": pd.array([10, 40, 42, 500, None], dtype="Int64"),
            "label": "x",
        }
    )
    assert median_bouts(labels) == {"a": 10.0, "b": 500.0}


def test_a_report_of_ones_own_has_tables_text_code_and_figures(tmp_path):
    report = Report("T", "s <b>")
    report.add_tile("n", "5", "note")
    report.section("One")
    report.add_text("a < b")
    table = pd.DataFrame({"name": ["x<y", None], "n": [12345, 7], "v": [0.12345, np.nan]})
    report.add_table(table, "cap", formats={"n": lambda n: f"{n:.0f}!"})
    report.add_code("x = 1 < 2", collapsed="code")
    report.add_figure(loss_curves(pd.DataFrame({"loss": [2.0, 1.0]})), 'the "loss"', "caption")
    report.add_picture(b"png", "dots")
    html = report.write(tmp_path / "own.html").read_text(encoding="utf-8")
    for piece in (
        "s &lt;b&gt;",
        "<p>a &lt; b</p>",
        "<td>x&lt;y</td>",
        '<td class="number">12345!</td>',
        '<td class="number">0.123</td>',
        '<td class="number">-</td>',
        "<pre>x = 1 &lt; 2</pre>",
        'aria-label="the &quot;loss&quot;"',
        'src="data:image/png;base64,cG5n"',
    ):
        assert piece in html
    assert html == report.html(), "the same report is the same file"


def test_the_verb_writes_the_page(results, tmp_path, capsys):
    parser = argparse.ArgumentParser()
    report_command.add_arguments(parser)
    out = tmp_path / "r.html"
    words = ["--run", str(results / "run"), "--out", str(out), "--title", "Mine"]
    report_command.run(parser.parse_args(words))
    assert "<h1>Mine</h1>" in out.read_text(encoding="utf-8")
    assert str(out) in capsys.readouterr().out


# ---- in a browser ----


def test_the_browser_helper_sees_requests_and_errors(tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text(
        '<!doctype html><body><img src="http://example.invalid/x.png">'
        '<script>console.error("broken")</script></body>'
    )
    seen = browser.visit(bad, tmp_path, "return 41 + 1")
    assert seen.requests == ["http://example.invalid/x.png"]
    assert any("broken" in line for line in seen.console)
    assert seen.result == 42


def test_the_page_works_in_a_browser(page, tmp_path):
    probe = """
        const boxes = [...document.querySelectorAll('figure svg')].map((svg) => {
          const box = svg.getBoundingClientRect(); return [box.width, box.height]; });
        const overflow = document.documentElement.scrollWidth - innerWidth;
        const images = [...document.querySelectorAll('figure svg image')].length;
        document.querySelectorAll('details').forEach((d) => { d.open = true; });
        const code = document.querySelector('details pre').getBoundingClientRect().height;
        return {boxes, overflow, images, code};
    """
    seen = browser.visit(page, tmp_path, probe)
    assert seen.console == []
    assert seen.requests == []
    assert len(seen.result["boxes"]) == 11
    assert all(width > 250 and height > 80 for width, height in seen.result["boxes"])
    assert seen.result["images"] >= 6 + 3
    assert seen.result["overflow"] <= 0
    assert seen.result["code"] > 20
