"""The page of a run, of folds, of a fusion."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from behaviorzoo.errors import UserError
from sgear.anticipation_pictures import BEST, example_rows
from sgear.evaluation_set import EvaluationSet
from sgear.fuse_command import command as fuse
from sgear.marginalise import mapping_matrix
from sgear.report_command import command
from sgear.results import ResultsWriter

VERBS, NOUNS = np.repeat(np.arange(4), 5), np.tile(np.arange(5), 4)
NAMES = [f"move <{v}> to {n}" for v, n in zip(VERBS, NOUNS, strict=True)]


def run_folder(folder, strength=2.0, seed=0, times=True, logged=True, n=90, version=0.2):
    rng = np.random.default_rng(seed)
    action = np.minimum(rng.geometric(0.15, size=n) - 1, len(VERBS) - 1)
    start = np.sort(rng.uniform(5, 120, size=n))
    table = pd.DataFrame(
        {
            "uid": np.arange(n) + 1,
            "narration_id": [f"P01_{i}" for i in range(n)],
            "video_id": [f"P01_{i % 2:02d}" for i in range(n)],
            "action_class": action,
            "verb_class": VERBS[action],
            "noun_class": NOUNS[action],
        }
    )
    if times:
        table = table.assign(orig_start=start, orig_end=start + 2, start=start - 4, end=start - 1)
    items = EvaluationSet(
        table,
        {
            "action": {name: i for i, name in enumerate(NAMES)},
            "verb": {f"v{i}": i for i in range(4)},
        },
        {("verb", "action"): mapping_matrix(VERBS), ("noun", "action"): mapping_matrix(NOUNS)},
        version,
    )
    logits = rng.normal(size=(n, len(VERBS)))
    logits += strength * (np.arange(len(VERBS)) == action[:, None])
    with ResultsWriter(folder / "results") as writer:
        writer.append({"logits/action": logits}, idx=np.arange(n), uid=items.uids,
                      target={"action": action})  # fmt: skip
    items.save(folder / "results")
    if logged:
        log = pd.DataFrame({"step": [1, 2, 2, 4], "epoch": [0.5, 1, 1, 2]})
        log["train_loss"] = [3.0, 2.0, None, 1.0]
        log["val_final_acc/action/AR5"] = [None, None, 30.0, 42.0]
        log.to_csv(folder / "metrics.csv", index=False)
        (folder / ".hydra").mkdir()
        (folder / ".hydra" / "config.yaml").write_text(f"seed: 42\ncwd: {folder}\n")
    return folder


def visible(html):
    return re.sub(r"<[^>]*>", " ", html)


def test_page_of_a_run(tmp_path, capsys):
    folder = run_folder(tmp_path / "run")
    out = tmp_path / "page.html"
    command([str(folder), "--out", str(out), "--title", "Kitchens"])
    text = capsys.readouterr().out
    html = out.read_text()
    shown = visible(html)
    figure = re.search(r"action +([\d.]+)", text)
    assert figure is not None
    assert figure[1] in shown
    for part in ("Kitchens", "recall@5", "Confusions: action", "all others", "seed: 42"):
        assert part in shown, part
    assert "last 42.0" in shown  # the validation curve
    assert "&lt;0&gt;" in html  # names are escaped
    assert "move <0>" not in html
    assert html.count("<svg") > 10
    assert "http://" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", html)
    assert str(tmp_path) not in html
    again = tmp_path / "again.html"
    command([str(folder), "--out", str(again), "--title", "Kitchens"])
    assert again.read_text() == html


def test_what_is_not_there_is_said(tmp_path):
    folder = run_folder(tmp_path / "run", times=False, logged=False, version=0.0)
    command([str(folder), "--out", str(tmp_path / "page.html")])
    shown = visible((tmp_path / "page.html").read_text())
    assert "Left out: examples: the items have no times." in shown
    assert "Left out: curves: the run has no metrics.csv." in shown


def test_page_of_folds_has_their_mean(tmp_path, capsys):
    folders = [run_folder(tmp_path / f"fold{k}", seed=k, version=0.0) for k in range(3)]
    command([*map(str, folders), "--out", str(tmp_path / "page.html")])
    text = capsys.readouterr().out
    values = [float(v) for v in re.findall(r"^action +([\d.]+)", text, flags=re.MULTILINE)]
    assert len(values) == 4
    assert values[-1] == pytest.approx(np.mean(values[:3]), abs=0.11)
    assert "mean over 3 runs" in visible((tmp_path / "page.html").read_text())


def test_page_of_a_fusion_has_every_run(tmp_path):
    one, two = (run_folder(tmp_path / name, s) for name, s in (("one", 1.0), ("two", 2.0)))
    fuse([f"{one}:2.5", f"{two}:0.5", "--out", str(tmp_path / "both")])
    command([str(tmp_path / "both"), "--out", str(tmp_path / "page.html")])
    shown = visible((tmp_path / "page.html").read_text())
    assert "one x 2.5, two x 0.5" in shown
    for name in ("one", "two", "both"):
        assert re.search(rf"\b{name}\s+action", shown), name


def test_examples_are_hits_near_misses_and_misses():
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(60, 12)), rng.integers(-1, 12, size=60)
    scores[np.arange(60), labels] += 1
    rows = example_rows(scores, labels, 12)
    assert len(rows) == 12
    assert (np.diff(rows) > 0).all()
    assert (labels[rows] >= 0).all()
    ranks = (scores[rows] > scores[rows, labels[rows]][:, None]).sum(axis=1)
    assert ((ranks == 0).sum(), (ranks >= BEST).sum()) == (4, 4)
    assert len(example_rows(scores[:1], np.array([3]), 12)) == 1


def test_command_refuses(tmp_path):
    folder = run_folder(tmp_path / "run")
    out = ["--out", str(tmp_path / "page.html")]
    with pytest.raises(UserError, match="fuse them first"):
        command([f"{folder}:2", *out])
    with pytest.raises(UserError, match="no such run"):
        command([str(tmp_path / "nowhere"), *out])
    (folder / "metrics.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not a log of metrics"):
        command([str(folder), *out])
