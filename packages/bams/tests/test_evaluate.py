from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split

from bams.annotation_files import save_annotations
from bams.annotations import Annotations, from_arrays
from bams.evaluate import confusions, evaluate, evaluate_labels, file_name
from bams.label_scores import OriginalReadout, score_tags
from bams.model import BAMS, EncoderConfig, ModelConfig
from bams.readout_fitting import default_start
from bams.readouts import read_classes, read_values
from behaviorzoo.embeddings import save_embeddings
from behaviorzoo.errors import UserError
from behaviorzoo.labels import write_labels
from behaviorzoo.probes import ProbeSettings
from behaviorzoo.score_table import read_scores

S, L = 10, 40
LEVELS = {"short_term": 3, "long_term": 2}
UTILS = {
    "classification_tags": ["genotype", "state"],
    "regression_tags": ["speed", "age"],
    "sequence_level_dict": {"genotype": True, "state": False, "speed": False, "age": True},
}


def latents(seed: int = 0) -> dict[str, np.ndarray]:
    """Embeddings (S, L, E): the long-term ones differ between sequences."""
    rng = np.random.default_rng(seed)
    found = {name: rng.normal(size=(S, L, size)) for name, size in LEVELS.items()}
    found["long_term"] += 2 * rng.normal(size=(S, 1, 2))
    return {name: values.astype(np.float32) for name, values in found.items()}


def tags(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Labels that the embeddings tell."""
    short, long = found["short_term"], found["long_term"]
    return {
        "genotype": (long.mean(axis=1)[:, 0] > 0).astype(np.int64),
        "state": short.argmax(axis=2),
        "speed": short[:, :, 0] * 2 + 1,
        "age": long.mean(axis=1)[:, 1].astype(np.float64),
    }


def annotations(found: dict[str, np.ndarray]) -> Annotations:
    return from_arrays(tags(found), UTILS, lengths=[L] * S)


def write(folder: Path) -> tuple[Path, Path]:
    """An embedding file and its labels as an annotation file."""
    found = latents()
    names = [f"mouse_{k}" for k in range(S)]
    rows = {n: (5, {level: found[level][k] for level in LEVELS}) for k, n in enumerate(names)}
    path = save_embeddings(folder / "latents.nc", rows)
    content = {**tags(found), "video_name": names}
    return path, save_annotations(folder / "labels.npz", content, UTILS)


def test_the_split_is_the_authors_call_both_ways() -> None:
    few, many = train_test_split(np.arange(31), test_size=0.8, random_state=42)
    assert OriginalReadout().split(31) == (many.tolist(), few.tolist())
    assert OriginalReadout(train=0.2).split(31) == (few.tolist(), many.tolist())
    with pytest.raises(UserError, match=r"train=0.5: the original's split trains on 0.8 or 0.2"):
        OriginalReadout(train=0.5).split(31)
    with pytest.raises(UserError, match="1 labelled sequence: at least 2 are needed"):
        OriginalReadout().split(1)


def test_every_tag_is_read_as_if_it_were_alone() -> None:
    found = latents()
    settings = OriginalReadout(seed=3)
    train, test = settings.split(S)
    scores = score_tags(
        lambda level, k: found[level][k],
        {"both": ["short_term", "long_term"], "long_term": ["long_term"]},
        annotations(found),
        settings,
    )
    order = [(score.level, score.tag.name) for score in scores]
    assert order == [(level, tag) for level in ("both", "long_term") for tag in tags(found)]
    for score in scores:
        parts = list(LEVELS) if score.level == "both" else [score.level]
        x = np.concatenate([found[part] for part in parts], axis=2)
        tag = score.tag
        labels = np.asarray(tags(found)[tag.name])
        outputs = {t.name: max(len(t.classes), 1) for t in annotations(found).tags}
        start = default_start(x.shape[2], outputs, seed=3)
        rows = []
        for part in (train, test):
            values = x[part].mean(axis=1) if tag.sequence_level else x[part].reshape(-1, x.shape[2])
            rows.append((values, {tag.name: labels[part].ravel()}))
        options = {"lr": 1e-2, "weight_decay": 1e-4, "start": start}
        if tag.kind == "class":
            expected = read_classes(*rows, {tag.name: len(tag.classes)}, **options)[tag.name]
            np.testing.assert_array_equal(score.result.counts, expected.counts)
        else:
            expected = read_values(*rows, **options)[tag.name]
            assert score.result.mse == pytest.approx(expected.mse, rel=1e-4)


def test_rows_of_the_table_beside_a_guess() -> None:
    found = latents()
    scores = score_tags(
        lambda level, k: found[level][k],
        {"short_term": ["short_term"]},
        annotations(found),
        OriginalReadout(),
    )
    table = pd.DataFrame([row for score in scores for row in score.rows()])
    train, test = OriginalReadout().split(S)
    state = tags(found)["state"]
    row = table[(table["task"] == "state") & (table["metric"] == "weighted F1")].iloc[0]
    most = np.bincount(state[train].ravel()).argmax()
    guess = np.full(state[test].size, most)
    limit = f1_score(state[test].ravel(), guess, average="weighted", zero_division=0)
    assert row["baseline_value"] == pytest.approx(limit)
    assert row["value"] > 0.9  # the class is the largest of three features
    assert (row["n_train"], row["n_test"]) == (len(train) * L, len(test) * L)
    speed = table[(table["task"] == "speed") & (table["metric"] == "MSE")].iloc[0]
    values = tags(found)["speed"]
    mean = values[train].mean()
    assert speed["baseline_value"] == pytest.approx(np.square(values[test] - mean).mean(), rel=1e-5)
    assert set(table.loc[table["metric"] == "F1", "label"]) == {"0", "1", "2"}


@pytest.mark.parametrize("readout", ["probes", "original"])
def test_command_writes_scores_and_pictures(tmp_path: Path, readout: str) -> None:
    embeddings, labels = write(tmp_path)
    out = tmp_path / "out"
    result = evaluate(embeddings, labels, out, readout=readout)  # type: ignore[arg-type]
    scores = read_scores(out / "scores.csv")
    assert set(scores["level"]) == {"short_term", "long_term", "combined"}
    assert set(scores["task"]) == {"genotype", "state", "speed", "age"}
    metric = "R2" if readout == "probes" else "macro F1"
    task = "speed" if readout == "probes" else "state"
    chosen = scores[(scores["task"] == task) & (scores["metric"] == metric)]
    value = {
        level: rows.loc[rows["label"] == "all classes", "value"].iloc[0]
        for level, rows in chosen.groupby("level")
    }
    assert value["short_term"] > 0.9 > value["long_term"]
    pictures = {path.stem for path in out.glob("*.png")}
    assert pictures == {
        f"confusion_{task}_{level}"
        for task in ("genotype", "state")
        for level in ("short_term", "long_term", "combined")
    }
    assert result.details["readout"] == readout


def test_labels_of_recordings_are_probed_by_means(tmp_path: Path) -> None:
    embeddings, labels = write(tmp_path)
    result = evaluate(embeddings, labels, tmp_path / "out", tasks=["genotype", "age"])
    assert set(result.scores["n_train"]) <= set(range(S + 1))
    rows = result.scores.query("task == 'genotype' and metric == 'balanced accuracy'")
    assert rows.set_index("level")["value"]["long_term"] > 0.7
    assert len(result.predictions) == 3 * S  # a recording, a level
    assert result.predictions["start"].isna().all()


def test_recordings_without_labels_take_no_part(tmp_path: Path) -> None:
    embeddings, _ = write(tmp_path)
    found = annotations(latents())
    spans = {f"mouse_{k}": (5, L) for k in range(S)}
    table = found.table(spans)
    write_labels(table[table["recording"] != "mouse_4"], tmp_path / "labels.csv")
    options = {"regression": ["speed", "age"], "readout": "original"}
    result = evaluate(embeddings, tmp_path / "labels.csv", tmp_path / "out", **options)
    names = [name for name in spans if name != "mouse_4"]
    train, test = OriginalReadout().split(S - 1)
    assert result.details["train"] == [names[k] for k in train]
    assert result.details["test"] == [names[k] for k in test]
    assert result.details["notes"] == ["left out for want of labels: 1 of 10 recordings"]


def test_embeddings_that_are_not_finite_are_refused() -> None:
    found = latents()
    found["short_term"][1, 3] = np.nan
    levels = {"short_term": ["short_term"]}
    with pytest.raises(UserError, match="short_term: embeddings that are not finite"):
        score_tags(
            lambda level, k: found[level][k], levels, annotations(latents()), OriginalReadout()
        )


def test_a_label_table_serves_as_well(tmp_path: Path) -> None:
    embeddings, labels = write(tmp_path)
    found = latents()
    spans = {f"mouse_{k}": (5, L) for k in range(S)}
    write_labels(annotations(found).table(spans), tmp_path / "labels.csv")
    one = evaluate(embeddings, labels, tmp_path / "a", probes=ProbeSettings(folds=3))
    other = evaluate(
        embeddings,
        tmp_path / "labels.csv",
        tmp_path / "b",
        regression=["speed", "age"],
        probes=ProbeSettings(folds=3),
    )
    keys = ["level", "task", "label", "metric"]
    left, right = (r.scores.sort_values(keys).reset_index(drop=True) for r in (one, other))
    pd.testing.assert_frame_equal(left, right)


def test_confusions_count_what_both_know() -> None:
    labels = pd.DataFrame(
        {
            "recording": ["a", "a", "b"],
            "task": "act",
            "start": pd.array([0, 4, 2], dtype="Int64"),
            "stop": pd.array([3, 6, 5], dtype="Int64"),
            "label": ["run", "rest", "run"],
        }
    )
    predicted = labels.assign(
        recording=["a", "b", "b"],
        start=pd.array([0, 0, 4], dtype="Int64"),
        stop=pd.array([6, 4, 5], dtype="Int64"),
        label=["run", "rest", "run"],
    )
    counts, classes = confusions(labels, predicted, "act", {"a": (0, 6), "b": (0, 5)})
    assert classes == ["rest", "run"]
    np.testing.assert_array_equal(counts, [[0, 2], [2, 4]])


class Windows:
    """A data set as far as it is read here."""

    def __init__(self, inputs: torch.Tensor) -> None:
        self.inputs = inputs

    def __len__(self) -> int:
        return len(self.inputs)

    def batch(self, indices: np.ndarray) -> Windows:
        return Windows(self.inputs[torch.from_numpy(indices)])


def test_labels_are_read_during_training() -> None:
    encoders = {
        "short_term": EncoderConfig((4, 3)),
        "long_term": EncoderConfig((4, 2), dilation_base=4),
    }
    config = ModelConfig(n_inputs=5, n_targets=2, encoders=encoders, predictor_hidden=(4,))
    model = BAMS(config, generator=torch.Generator().manual_seed(0)).train()
    inputs = torch.randn(S, L, 5, generator=torch.Generator().manual_seed(1))
    labels = annotations(latents())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    scalars, figures = evaluate_labels(model, Windows(inputs), labels)
    both = "short_term_long_term"
    assert set(scalars) == {
        f"test/f1_genotype_{both}",
        f"test/f1_state_{both}",
        f"test/mse_speed_{both}",
        f"test/mse_age_{both}",
    }
    assert set(figures) == {f"genotype_{both}", f"state_{both}"}
    assert all(np.isfinite(value) for value in scalars.values())
    assert model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    more, _ = evaluate_labels(model, Windows(inputs), labels, separate=True)
    assert scalars.items() <= more.items()
    assert "test/f1_state_short_term" in more


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    embeddings, labels = write(tmp_path)
    out = tmp_path / "out"
    with pytest.raises(UserError, match="readout=probe: choose probes or original"):
        evaluate(embeddings, labels, out, readout="probe")  # type: ignore[arg-type]
    for readout in ("probes", "original"):
        with pytest.raises(UserError, match="no task 'stat'; did you mean 'state'"):
            evaluate(embeddings, labels, out, readout=readout, tasks=["stat"])  # type: ignore
    with pytest.raises(UserError, match="this is a checkpoint; make its embeddings first, `bams"):
        evaluate(tmp_path, labels, out)
    with pytest.raises(UserError, match="no such embedding file"):
        evaluate(tmp_path / "absent.nc", labels, out)
    with pytest.raises(UserError, match="no such label"):
        evaluate(embeddings, tmp_path / "absent.csv", out)
    assert not out.exists()


def test_a_task_may_have_any_name() -> None:
    assert file_name("confusion_nose/tail contact_combined") == (
        "confusion_nose-tail-contact_combined"
    )
