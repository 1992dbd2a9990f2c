"""Stored results: what is written, what the authors wrote, and what cannot be read."""

from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from behaviorzoo.errors import UserError
from sgear.evaluate import evaluate, evaluate_results
from sgear.evaluation_set import EvaluationSet, read_evaluation_set
from sgear.marginalise import mapping_matrix
from sgear.results import ResultsWriter, read_results

N, C, T, D = 11, 6, 4, 3


def batch(rows, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(N, C, generator=generator)[rows]
    losses = {
        "cls_action": torch.rand(N, generator=generator)[rows],
        "past_cls_action": torch.rand(N, T, generator=generator)[rows].flatten(),
        "feat": torch.rand(N, T - 1, D, generator=generator)[rows],
    }
    return logits, losses


def write(folder, rank, rows, seed=0, text=False, change=0.0):
    logits, losses = batch(rows, seed)
    with ResultsWriter(folder, rank) as writer:
        for part in (slice(0, 3), slice(3, None)):
            own = rows[part]
            if not own:
                continue
            length = len(own)
            start = part.start
            writer.append(
                {"logits/action": logits[part].to(torch.float16) + change, "future": torch.ones(9)},
                idx=torch.tensor(own),
                uid=[f"v_{row}" for row in own] if text else torch.tensor(own) + 1,
                target={"action": torch.tensor(own) % C},
                losses={
                    "cls_action": losses["cls_action"][part],
                    "past_cls_action": losses["past_cls_action"][start * T : (start + length) * T],
                    "feat": losses["feat"][part],
                },
                epoch=2.0,
            )


@pytest.mark.parametrize("text", [False, True], ids=["numbers", "texts"])
def test_written_is_read_in_order_and_copies_are_averaged(tmp_path, text):
    write(tmp_path, 0, [4, 0, 7, 3, 9, 1], text=text)
    write(tmp_path, 1, [2, 8, 6, 5, 10, 4], text=text, change=1.0)
    found = read_results(tmp_path)
    logits, losses = batch(list(range(N)))
    expected = logits.half().double().numpy()
    second = (logits.half() + 1.0).double().numpy()
    for row in (2, 8, 6, 5, 10):
        expected[row] = second[row]
    expected[4] = (expected[4] + second[4]) / 2
    assert found.idx.tolist() == list(range(N))
    assert found.logits["action"].dtype == np.float64
    np.testing.assert_allclose(found.logits["action"], expected, rtol=1e-6)
    assert found.stored.tolist() == [2 if row == 4 else 1 for row in range(N)]
    assert found.uid.tolist() == [f"v_{i}" if text else i + 1 for i in range(N)]
    assert found.targets["action"].tolist() == [i % C for i in range(N)]
    assert found.losses["past_cls_action"].shape == (N, T)
    np.testing.assert_allclose(
        found.losses["past_cls_action"], losses["past_cls_action"].view(N, T), rtol=1e-6
    )
    np.testing.assert_allclose(found.losses["feat"], losses["feat"].mean((1, 2)), rtol=1e-6)
    assert found.epoch == 2.0


def test_a_file_is_laid_out_as_the_authors(tmp_path):
    write(tmp_path, 3, [0, 1, 2, 3], text=True)
    with h5py.File(tmp_path / "3.h5") as file:
        assert file["uid"].dtype == "S64"
        assert file["logits/action"].dtype == np.float32
        assert file["idx"][()].tolist() == [0, 1, 2, 3]
        assert {"loss", "logits", "target", "epoch", "uid", "idx"} == set(file)


def test_files_of_the_authors(tmp_path):
    """Flattened past losses, wide feature losses, text uids, several batches."""
    rows = [2, 0, 1]
    rng = np.random.default_rng(0)
    past, feat = rng.random((3, T)), rng.random((3, T - 1, D))
    with h5py.File(tmp_path / "0.h5", "w") as file:
        file["logits/action"] = rng.normal(size=(3, C)).astype(np.float32)
        file["idx"] = np.array(rows)
        file["uid"] = np.array(["b", "a", "ü"], dtype=h5py.string_dtype())
        file["loss/past_cls_action"] = past.reshape(-1)
        file["loss/feat"] = feat
        file["epoch"] = np.full(3, 7.0)
    found = read_results(tmp_path)
    np.testing.assert_array_equal(found.losses["past_cls_action"], past[np.argsort(rows)])
    np.testing.assert_array_equal(found.losses["feat"], feat[np.argsort(rows)])
    assert found.uid.tolist() == ["a", "ü", "b"]
    assert "loss/past_cls_action" in found.notes[0]


def test_an_interrupted_evaluation_leaves_the_old_file(tmp_path):
    write(tmp_path, 0, [0, 1])
    before = (tmp_path / "0.h5").read_bytes()

    def interrupted():
        with ResultsWriter(tmp_path) as writer:
            writer.append({"logits/action": np.ones((1, C))}, idx=[0], uid=[1], target={})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert (tmp_path / "0.h5").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["0.h5"]


def damaged(folder, what):
    write(folder, 0, [0, 1, 2])
    if what == "truncated":
        (folder / "0.h5").write_bytes((folder / "0.h5").read_bytes()[:600])
        return
    if what == "none":
        (folder / "0.h5").rename(folder / "best.h5")
        return
    with h5py.File(folder / "0.h5", "a") as file:
        if what == "idx":
            del file["idx"]
        elif what == "rows":
            del file["target/action"]
            file["target/action"] = np.zeros(2)
        elif what == "scores":
            del file["logits"]
        elif what == "targets":
            file["idx"][:] = [0, 0, 1]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("truncated", r"0\.h5: truncated"),
        ("none", "no stored results"),
        ("idx", "no data set 'idx'"),
        ("rows", r"'target/action' has \(2,\) rows for 3 items"),
        ("scores", "no scores"),
        ("targets", "item 0 is stored twice with different values of"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, what, message):
    damaged(tmp_path, what)
    with pytest.raises(UserError, match=message):
        read_results(tmp_path)


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(UserError, match="begins with 'logits'"), ResultsWriter(tmp_path) as writer:
        writer.append({"future": np.ones((1, 2))}, idx=[0], uid=[1], target={})
    with pytest.raises(UserError, match="longer than 64 bytes"), ResultsWriter(tmp_path) as writer:
        writer.append({"logits/action": np.ones((1, 2))}, idx=[0], uid=["x" * 65], target={})
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot write"):
        ResultsWriter(tmp_path / "file" / "results")
    with pytest.raises(UserError, match="no such folder"):
        read_results(tmp_path / "nowhere")


def evaluation_items(number=N):
    action = np.arange(number) % C
    table = pd.DataFrame(
        {
            "uid": np.arange(1, number + 1),
            "narration_id": [f"{i:03d}" for i in range(number)],
            "action_class": action,
            "verb_class": action // 2,
            "orig_start": np.linspace(0, 9.5, number),
            "note": ["NA"] * number,
            "labels": [[1, 2]] * number,
        }
    )
    verbs = {("verb", "action"): mapping_matrix(np.arange(C) // 2)}
    names = {"action": {f"class {i}": i for i in range(C)}, "verb": {"take": 0}}
    discarded = pd.DataFrame({"uid": [77], "narration_id": ["900"]})
    return EvaluationSet(table, names, verbs, 0.2, discarded)


def test_items_are_kept_beside_the_results(tmp_path):
    items = evaluation_items()
    found = read_evaluation_set(items.save(tmp_path))
    assert found.uids == items.uids == [str(i + 1) for i in range(N)]
    assert found.submission_ids == items.submission_ids
    assert found.submission_ids[1] == "001"
    assert found.classes == items.classes
    assert found.version == 0.2
    assert found.names("verb", 3) == ["take", "1", "2"]
    for name, matrix in items.mappings.items():
        np.testing.assert_array_equal(found.mappings[name], matrix)
    np.testing.assert_array_equal(found.labels("action"), items.labels("action"))
    assert found.labels("noun") is None
    assert found.discarded["narration_id"].tolist() == ["900"]
    assert "labels" not in found.table
    (tmp_path / "classes.json").write_text("{}")
    with pytest.raises(UserError, match=r"classes\.json: damaged"):
        read_evaluation_set(tmp_path)


def test_results_meet_their_items(tmp_path):
    write(tmp_path, 0, list(range(N)))
    results, items = read_results(tmp_path), evaluation_items()
    whole = evaluate_results(results, items)
    same = evaluate(results, items.table, items.classes, 0.2, class_mappings=items.mappings).metrics
    assert same == pytest.approx(whole.metrics, nan_ok=True)
    assert set(whole.accuracies) == {"verb", "action"}

    more = evaluate_results(results, replace(items, table=evaluation_items(N + 2).table))
    assert more.metrics["final_acc/action/top1"] == whole.metrics["final_acc/action/top1"]
    assert "2 of 13 items have no stored result" in " ".join(more.notes)
    with pytest.raises(UserError, match="item 10, but the data set has 5 items"):
        evaluate_results(results, replace(items, table=items.table[:5]))
    other = items.table.assign(action_class=0)
    with pytest.raises(UserError, match="item 1 was stored with the action 1, the data set says 0"):
        evaluate_results(results, replace(items, table=other))
