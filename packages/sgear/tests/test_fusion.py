"""Late fusion: sums, weights, where scores come from, the search, and the command."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behaviorzoo.errors import UserError
from sgear.evaluate import evaluate_scores
from sgear.evaluation_set import EvaluationSet
from sgear.fuse_command import command
from sgear.fused_run import fusion
from sgear.fusion import GRID, ScoredRun, aligned, fuse, search_in_folds, search_weights
from sgear.fusion_inputs import locate, parse_source, read_runs
from sgear.marginalise import mapping_matrix
from sgear.results import ResultsWriter
from sgear.scores import accuracy_table
from sgear.submission import submission, write_submission
from sgear.submit_command import command as submit

VERBS, NOUNS = np.array([0, 0, 1, 1, 2, 2, 0]), np.array([0, 1, 0, 1, 2, 0, 2])
C = len(VERBS)
N = 24


def some_items(number=N, version=0.2):
    rng = np.random.default_rng(1)
    action = rng.integers(C, size=number)
    table = pd.DataFrame(
        {
            "uid": np.arange(number) + 1,
            "narration_id": [f"P01_{i:02d}_x" for i in range(number)],
            "video_id": [f"v{i // 3}" for i in range(number)],
            "action_class": action,
            "verb_class": VERBS[action],
            "noun_class": NOUNS[action],
        }
    )
    mappings = {
        ("verb", "action"): mapping_matrix(VERBS),
        ("noun", "action"): mapping_matrix(NOUNS),
    }
    names = {"action": {f"a{i}": i for i in range(C)}}
    discarded = pd.DataFrame({"uid": [901], "narration_id": ["P09_01_z"]})
    return EvaluationSet(table, names, mappings, version, discarded)


def some_logits(items, strength, seed, width=C):
    rng = np.random.default_rng(seed)
    hit = np.arange(width) == items.labels("action")[:, None]
    return rng.normal(size=(len(items.table), width)) + strength * hit


def stored(folder, items, strength=1.0, seed=0, rows=None, keep_items=True):
    """A run folder with results of some rows."""
    rows = np.arange(len(items.table)) if rows is None else np.asarray(rows)
    logits = some_logits(items, strength, seed)[rows]
    with ResultsWriter(folder / "results") as writer:
        writer.append(
            {"logits/action": logits},
            idx=rows,
            uid=[str(items.uids[row]) for row in rows],
            target={"action": items.labels("action")[rows]},
        )
    if keep_items:
        items.save(folder / "results")
    return folder


def run(name, uids, **scores):
    return ScoredRun(name, list(uids), {s: np.asarray(v, float) for s, v in scores.items()})


def slow_fuse(runs, weights, p=None):
    """One item after the other, with dictionaries, as the original's script."""
    total = {}
    for one, weight in zip(runs, weights, strict=True):
        for space, values in one.scores.items():
            for uid, vector in zip(one.uids, values, strict=True):
                vector = np.asarray(vector, dtype=float)
                if p is not None:
                    norm = sum(abs(x) ** p for x in vector) ** (1 / p)
                    vector = vector / (norm + 1e-6)
                key = space, uid
                total[key] = total.get(key, 0) + weight * vector
    return total


@given(st.integers(0, 999), st.integers(1, 4), st.sampled_from([None, 1, 2, 3.5]))
@settings(max_examples=30, deadline=None)
def test_fusion_is_the_slow_sum(seed, number, p):
    rng = np.random.default_rng(seed)
    names = np.array([f"u{i}" for i in range(8)])
    runs = []
    for at in range(number):
        uids = rng.permutation(names)[: rng.integers(1, 9)]
        runs.append(run(f"r{at}", uids, action=rng.normal(size=(len(uids), 5))))
    weights = rng.normal(size=number).tolist()
    found = fuse(runs, weights, p)
    expected = slow_fuse(runs, weights, p)
    assert len(found.uids) == len(expected)
    for uid, vector in zip(found.uids, found.scores["action"], strict=True):
        np.testing.assert_allclose(vector, expected["action", uid], atol=1e-12)


def test_one_weight_counts_for_all_and_zero_vectors_stay_finite():
    runs = [run("a", "xy", action=[[1, 2], [0, 0]]), run("b", "yz", action=[[1, 1], [4, 0]])]
    assert fuse(runs, 2.0).scores["action"].tolist() == [[2, 4], [2, 2], [8, 0]]
    assert np.isfinite(fuse(runs, 1.0, p=2).scores["action"]).all()
    assert fuse([*runs, run("c", "x", action=[[1, 1]], verb=[[1]])]).scores.keys() == {"action"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": [1, 2, 3]}, "3 weights for 2 runs"),
        ({"weights": [1, float("nan")]}, "finite"),
        ({"p": 0.0}, "above 0"),
    ],
    ids=["number", "nan", "norm"],
)
def test_what_cannot_be_fused(change, message):
    runs = [run("a", "xy", action=[[1, 2], [0, 0]]), run("b", "yz", action=[[1, 1], [4, 0]])]
    with pytest.raises(UserError, match=message):
        fuse(runs, **change)


def scored(run):
    """Scores of a run, and the items they are of."""
    found, _ = aligned(run, run.items)
    return found.scores, found.items


@pytest.mark.parametrize(("column", "value"), [("noun_class", 6), ("video_id", "elsewhere")])
def test_runs_of_other_clips_with_the_same_numbers_are_refused(tmp_path, column, value):
    items = some_items()
    other = replace(items, table=items.table.iloc[4:].reset_index(drop=True))
    sources = [parse_source(str(stored(tmp_path / "a", items)))]
    sources.append(parse_source(str(stored(tmp_path / "b", other))))
    assert fuse(read_runs(sources)).uids == items.uids  # a part of the same clips

    other.table.loc[0, column] = value
    stored(tmp_path / "c", other)
    was = str(items.table.loc[4, column])
    message = f"different clips, item '5' has {column} {was} in one and {value} in the other"
    with pytest.raises(UserError, match=message):
        fuse(read_runs([sources[0], parse_source(str(tmp_path / "c"))]))


def test_runs_that_do_not_fit():
    first = run("a", "xy", action=[[1, 2], [0, 0]])
    with pytest.raises(UserError, match="action classes: a 2, b 3"):
        fuse([first, run("b", "x", action=[[1, 2, 3]])])
    with pytest.raises(UserError, match="no scores of the same kind"):
        fuse([first, run("b", "x", verb=[[1, 2]])])
    with pytest.raises(UserError, match="item 'x' has scores twice"):
        run("a", "xx", action=[[1], [2]])
    with pytest.raises(UserError, match=r"action scores \(1, 2\) for 2 items"):
        run("a", "xy", action=[[1, 2]])


@pytest.mark.parametrize("metric", ["AR5", "top1", "top5"])
def test_search_of_two_runs_tries_every_ratio(metric):
    items = some_items(60)
    scores = [some_logits(items, s, k) for k, s in enumerate((0.4, 1.1))]
    labels = items.labels("action").copy()
    labels[::9] = -1

    def value(weights):
        total = sum(w * v for w, v in zip(weights, scores, strict=True))
        found = accuracy_table(total, labels)
        return {"AR5": found.recall5, "top1": found.top1, "top5": found.top5}[metric]

    found = search_weights(scores, labels, metric)
    every = [(1.0, w) for w in GRID] + [(0.0, 1.0)]
    assert found.value == pytest.approx(max(map(value, every)))
    assert value(found.weights) == pytest.approx(found.value)
    assert found.equal == pytest.approx(value((1, 1)))


def test_search_of_three_runs_never_loses_and_leaves_noise_out():
    items = some_items(200)
    scores = [some_logits(items, s, k) for k, s in enumerate((2.0, 0.0, 0.8))]
    scores[1] *= 5
    found = search_weights(scores, items.labels("action"), "top1")
    assert found.value > found.equal
    assert found.weights[1] < found.weights[0]
    with pytest.raises(UserError, match="choose one of AR5"):
        search_weights(scores, items.labels("action"), "f1")
    with pytest.raises(UserError, match="no item has a label"):
        search_weights(scores, np.full(200, -1))


def test_folds_keep_videos_whole_and_do_not_look_at_their_labels():
    items = some_items(60)
    runs = [
        ScoredRun(str(k), items.uids, {"action": some_logits(items, s, k)}, items)
        for k, s in enumerate((0.5, 1.0))
    ]
    labels, groups = items.labels("action"), items.table["video_id"].tolist()
    weights, found = search_in_folds(runs, labels, groups, 4)
    by_video = pd.DataFrame(weights).groupby(groups).nunique()
    assert (by_video == 1).all().all()
    assert len(found) == 4
    first = [at for at, group in enumerate(groups) if group == groups[0]]
    fold = (weights == weights[first[0]]).all(axis=1)
    rest = ~fold
    if rest.any() and len({f.weights for f in found}) == 4:
        expected = search_weights([r.scores["action"][rest] for r in runs], labels[rest])
        assert tuple(weights[first[0]]) == expected.weights
    changed = labels.copy()
    changed[first] = (changed[first] + 1) % C
    again, _ = search_in_folds(runs, changed, groups, 4)
    np.testing.assert_array_equal(again[first], weights[first])
    with pytest.raises(UserError, match="30 folds of 20 videos"):
        search_in_folds(runs, labels, groups, 30)


# -- where scores come from ------------------------------------------------------------------------


def test_words_of_the_command_line(tmp_path):
    assert parse_source("expts/a.txt:2.5").weight == 2.5
    assert parse_source("expts/a.txt").weight is None
    (tmp_path / "a:b").mkdir()
    assert parse_source(str(tmp_path / "a:b")).weight is None
    for word in ("a.txt:x", "a.txt:inf", ":2"):
        with pytest.raises(UserError, match="write path:"):
            parse_source(word)


def test_experiments_are_found_below_outputs(tmp_path):
    items, outputs = some_items(), tmp_path / "OUTPUTS"
    one = stored(outputs / "expts" / "a.txt" / "0", items)
    (outputs / "expts" / "a.txt" / ".submitit").mkdir()
    path = locate(parse_source("expts/a.txt").path, outputs)
    assert path == one / "results"
    stored(outputs / "expts" / "a.txt" / "3", items)
    with pytest.raises(UserError, match=r"choose one of expts/a\.txt/0, expts/a\.txt/3"):
        locate(parse_source("expts/a.txt").path, outputs)
    assert locate(parse_source("expts/a.txt/3").path, outputs).parent.name == "3"
    assert locate(one, outputs) == locate(one / "results", outputs) == one / "results"
    with pytest.raises(UserError, match=r"no results_s2/\*\.h5"):
        locate(parse_source("expts/a.txt").path, outputs, "_s2")
    with pytest.raises(UserError, match="no such run, experiment or file"):
        locate(tmp_path / "nothing", outputs)


def test_challenge_files_and_pickles_are_runs(tmp_path):
    items = some_items()
    folder = stored(tmp_path / "run", items)
    (base,) = read_runs([parse_source(str(folder))])
    content = submission(base.scores, items)
    archive = write_submission({"test.json": content}, tmp_path / "challenge")
    sources = [parse_source(str(p)) for p in (archive, archive.parent, folder)]
    for found in read_runs(sources)[:2]:
        rows = [found.uids.index(uid) for uid in base.uids]
        for space, values in base.scores.items():
            np.testing.assert_allclose(found.scores[space][rows], values)
        assert "P09_01_z" in found.uids  # discarded: scores of zero

    by_uid = {
        f"{space}_scores": dict(zip(base.uids, values, strict=True))
        for space, values in base.scores.items()
    }
    by_row = {
        "narration_id": items.table["narration_id"].tolist()[::-1],
        "action_output": base.scores["action"][::-1],
    }
    for name, value in {"uid": by_uid, "row": by_row}.items():
        (tmp_path / f"{name}.pkl").write_bytes(pickle.dumps(value))
        found, _ = read_runs([parse_source(str(tmp_path / f"{name}.pkl")), sources[-1]])
        rows = [found.uids.index(uid) for uid in base.uids]
        np.testing.assert_allclose(found.scores["action"][rows], base.scores["action"])


class Hostile:
    def __reduce__(self):
        return (print, ("run",))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"action_scores": Hostile()}, "refused, it asks for 'builtins.print'"),
        ([1], "expected a dictionary"),
        ({"scores": 1}, "no 'action_scores'"),
        ({"action_scores": np.ones((3, C))}, rf"scores \(3, {C}\) for {N} items"),
    ],
    ids=["hostile", "list", "names", "rows"],
)
def test_pickles_that_are_refused(tmp_path, capsys, value, message):
    folder = stored(tmp_path / "run", some_items())
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(UserError, match=message):
        read_runs([parse_source(str(tmp_path / "x.pkl")), parse_source(str(folder))])
    assert capsys.readouterr().out == ""


def test_results_of_the_authors_without_a_list_of_classes(tmp_path):
    items = some_items()
    folder = stored(tmp_path / "run", items, keep_items=False)
    (bare,) = read_runs([parse_source(str(folder))])
    assert set(bare.scores) == {"action"}
    assert "give --actions" in bare.notes[0]
    listed = pd.DataFrame({"id": range(C), "verb": VERBS, "noun": NOUNS, "action": list("abcdefg")})
    listed.to_csv(tmp_path / "actions.csv", index=False)
    (found,) = read_runs([parse_source(str(folder))], actions=tmp_path / "actions.csv", version=0.2)
    assert found.items.names("action") == list("abcdefg")
    expected = evaluate_scores(found.scores, items, heads=("action",)).metrics
    ours = evaluate_scores(*scored(found), heads=("action",)).metrics
    assert ours == pytest.approx(expected, nan_ok=True)


# -- the commands ----------------------------------------------------------------------------------


def test_fuse_command_writes_a_run_that_can_be_fused_again(tmp_path, capsys):
    items = some_items()
    a = stored(tmp_path / "a", items, 0.7, 1)
    b = stored(tmp_path / "b", items, 0.9, 2, rows=range(N - 2))
    command([f"{a}:2.5", f"{b}:0.5", "--out", str(tmp_path / "fused")])
    text = capsys.readouterr().out
    assert "x 2.5" in text
    assert f"{b}: 2 of {N} items have no stored result" in text
    runs = read_runs([parse_source(str(p)) for p in (a, b)])
    total = slow_fuse(runs, (2.5, 0.5))
    (again,) = read_runs([parse_source(str(tmp_path / "fused"))])
    assert again.uids == items.uids
    for space, values in again.scores.items():
        expected = [total[space, uid] for uid in again.uids]
        np.testing.assert_allclose(values, expected)
    content = json.loads((tmp_path / "fused" / "fusion.json").read_text())
    assert content["weights"] == [2.5, 0.5]
    figures = evaluate_scores(*scored(again)).metrics
    key = "final_acc/action/AR5"
    assert content["metrics"][key] == pytest.approx(figures[key])
    assert f"{figures[key]:.1f}" in text.partition("\nfused\n")[2]

    command([str(a), str(b), "--search", "top1", "--folds", "3"])
    assert "fold 2" in capsys.readouterr().out
    command([str(a), str(b), "--search", "--validation", str(a), str(b)])
    assert f"searched on {N - 2} validation items" in capsys.readouterr().out


def test_test_sets_are_fused_without_figures(tmp_path, capsys):
    items = some_items()
    for space in ("action", "verb", "noun"):
        items.table[f"{space}_class"] = -1
    folders = [str(stored(tmp_path / name, items, seed=k)) for k, name in enumerate("ab")]
    command([*folders, "--out", str(tmp_path / "fused")])
    assert "no labels, no figures" in capsys.readouterr().out
    submit([str(tmp_path / "fused")])
    content = json.loads((tmp_path / "fused" / "challenge" / "test.json").read_text())
    assert len(content["results"]) == N + 1


def test_a_search_reports_items_with_weights_of_the_others():
    items = some_items(60)
    runs = [
        ScoredRun(str(k), items.uids, {"action": some_logits(items, s, k)}, items)
        for k, s in enumerate((0.5, 1.0))
    ]
    found = fusion(runs, search="top1", folds=4)
    weights, _ = search_in_folds(
        runs, items.labels("action"), items.table["video_id"].tolist(), 4, "top1"
    )
    expected = sum(weights[:, k : k + 1] * r.scores["action"] for k, r in enumerate(runs))
    np.testing.assert_allclose(found.fused.scores["action"], expected)
    assert "weights of the others" in found.how
    blind = [replace(r, items=None) for r in runs]
    with pytest.raises(UserError, match="what its items are"):
        fusion(blind)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["A:2", "B", "--search"], "leave them out"),
        (["A", "B", "--validation", "A"], "--validation is for --search"),
        (["A", "B", "--search", "--validation", "A"], "1 validation runs for 2 runs"),
        (["A", "B", "--search", "--folds", "99"], "99 folds"),
        (["A", "--lists", "nowhere"], "--lists nowhere: no such folder"),
    ],
    ids=["weights", "alone", "number", "folds", "lists"],
)
def test_fuse_command_refuses(tmp_path, words, message):
    places = {name: stored(tmp_path / name, some_items()) for name in "AB"}
    words = [str(places[w[0]]) + w[1:] if w[0] in places else w for w in words]
    with pytest.raises(UserError, match=message):
        command(words)


def test_submit_command(tmp_path, capsys):
    items = some_items()
    folder = stored(tmp_path / "OUTPUTS" / "expts" / "a.txt" / "0", items)
    submit(["expts/a.txt", "--outputs", str(tmp_path / "OUTPUTS"), "--sls-pt", "2"])
    archive = folder / "challenge" / "submit.zip"
    assert str(archive) in capsys.readouterr().out
    content = json.loads((folder / "challenge" / "test.json").read_text())
    assert (content["sls_pt"], content["sls_tl"], content["sls_td"]) == (2, 4, 4)
    assert (content["version"], content["challenge"]) == ("0.2", "action_anticipation")
    assert len(content["results"]) == N + 1
    entry = content["results"]["P01_03_x"]
    assert len(entry["verb"]) == 3
    values = list(entry["action"].values())
    assert values == sorted(values, reverse=True)
    assert len(content["results"]["P09_01_z"]["action"]) == 100

    part = stored(tmp_path / "part", items, rows=range(5))
    with pytest.raises(UserError, match="no scores, and the challenge wants"):
        submit([str(part)])
    other = stored(tmp_path / "other", some_items(version=-1.0))
    with pytest.raises(UserError, match="challenges for EPIC-55"):
        submit([str(other)])


def test_both_kitchens_of_epic55(tmp_path, capsys):
    items = some_items(version=0.1)
    folder = stored(tmp_path / "run", items)
    submit([str(folder), "--out", str(tmp_path / "out")])
    assert "no unseen.json" in capsys.readouterr().out
    stored(tmp_path / "two", items)
    (tmp_path / "two" / "results").rename(folder / "results_s2")
    submit([str(folder)])
    assert {p.name for p in (folder / "challenge").iterdir()} == {
        "seen.json", "unseen.json", "submit.zip",
    }  # fmt: skip
    content = json.loads((folder / "challenge" / "unseen.json").read_text())
    assert "sls_pt" not in content
    assert list(content["results"])[:2] == ["1", "2"]
