"""Submissions and labels from strangers: what is read, and what one line says about the rest."""

from __future__ import annotations

import pickle
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from behaviorzoo.errors import UserError
from behaviorzoo.mabe import save_dictionary
from hieras_eval.benchmarks import Benchmark, Task
from hieras_eval.label_files import open_labels
from hieras_eval.submissions import check_submission, open_submission
from hieras_eval.truth import read_truth

CLIPS = {"a": (0, 4), "b": (4, 10), "c": (12, 20)}
BENCHMARK = Benchmark(
    name="made up",
    tasks=(Task("run"), Task("speed", "value")),
    clips=CLIPS,
    train=("a", "b"),
    public=("c",),
    private=("c",),
    seeds=(1,),
    inner_test_size=0.5,
    max_width=3,
)
X = np.arange(60, dtype=np.float32).reshape(20, 3)
Y = np.stack([np.arange(20) % 2, np.linspace(0, 1, 20)])


def labels(**changes: Any) -> dict[str, Any]:
    whole = {"vocabulary": ["run", "speed"], "task_type": ["Discrete", "Other"], "label_array": Y}
    return {k: v for k, v in {**whole, **changes}.items() if v is not None}


def submission(**changes: Any) -> dict[str, Any]:
    return {"frame_number_map": CLIPS, "embeddings": X, **changes}


def written(folder: Path, contents: Any) -> Path:
    path = folder / "file.npy"
    np.save(path, contents, allow_pickle=True)
    return path


# -- submissions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_submissions_of_every_age_are_read(tmp_path, protocol):
    path = tmp_path / "s.npy"
    path.write_bytes(pickle.dumps(submission(), protocol))
    found = open_submission(path)
    assert found.clips == CLIPS
    np.testing.assert_array_equal(found.embeddings, X)
    assert check_submission(found, BENCHMARK, 20) == []


@pytest.mark.parametrize("stops", ["stops", "ends"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_the_form_without_pickles(tmp_path, stops, save):
    arrays = {"names": ["a", "b", "c"], "starts": [0, 4, 12], stops: [4, 10, 20], "embeddings": X}
    path = tmp_path / "s.npz"
    save(path, **arrays)
    found = open_submission(path)
    assert found.clips == CLIPS
    np.testing.assert_array_equal(found.embeddings, X)

    save(path, **{**arrays, "starts": [0, 4]})
    with pytest.raises(UserError, match=f"'starts' and '{stops}' must be equally long"):
        open_submission(path)
    del arrays["starts"]
    save(path, **arrays)
    with pytest.raises(UserError, match="no key 'starts'"):
        open_submission(path)


def test_damaged_archives_are_refused_in_one_line(tmp_path):
    path = tmp_path / "s.npz"
    np.savez(path, names=np.array(["a", None], dtype=object), starts=[0], stops=[1], embeddings=X)
    with pytest.raises(UserError, match=r"s\.npz: cannot be read"):
        open_submission(path)
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("names", "starts", "stops", "embeddings"):
            archive.writestr(f"{name}.npy", b"not an array")
    with pytest.raises(UserError, match="must be equally long"):
        open_submission(path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"frame_number_map": [1, 2]}, "'frame_number_map' is a list"),
        ({"frame_number_map": {"a": 3}}, "clip 'a' has the frame range 3"),
        ({"frame_number_map": {"a": (1, 2, 3)}}, r"clip 'a' has the frame range \(1, 2, 3\)"),
        ({"embeddings": X.astype(">f8")}, ">f8|float64"),
        ({"embeddings": X.astype(complex)}, "complex128"),
        ({"embeddings": None}, "NoneType"),
    ],
)
def test_submissions_of_another_shape(tmp_path, change, match):
    with pytest.raises(UserError, match=match):
        open_submission(written(tmp_path, submission(**change)))


def test_nothing_in_a_submission_is_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "was here",))

    with pytest.raises(UserError, match="nothing was run"):
        open_submission(written(tmp_path, submission(extra=Evil())))
    assert not (tmp_path / "was here").exists()


def test_many_missing_clips_are_counted_and_some_are_named(tmp_path):
    found = open_submission(written(tmp_path, submission()))
    more = {f"clip {i}": (i, i + 1) for i in range(9)}
    wide = replace(BENCHMARK, clips={**CLIPS, **more})
    with pytest.raises(UserError, match=r"9 of the 12 clips.*'clip 4' and 4 more"):
        check_submission(found, wide)


def test_every_entry_that_is_not_finite_is_counted(tmp_path):
    x = X.copy()
    x[[2, 11, 19], [0, 1, 2]] = np.nan, -np.inf, np.inf
    found = open_submission(written(tmp_path, submission(embeddings=x)))
    with pytest.raises(UserError, match=r"3 entries.*row 2 \(clip 'a'\)"):
        check_submission(found, BENCHMARK)
    x[2, 0] = 0
    found = open_submission(written(tmp_path, submission(embeddings=x)))
    with pytest.raises(UserError, match=r"2 entries.*row 11 \(in no clip\)"):
        check_submission(found, BENCHMARK)


def test_finite_values_whose_sum_overflows_pass(tmp_path):
    x = np.full_like(X, 3e38)
    assert (
        check_submission(open_submission(written(tmp_path, submission(embeddings=x))), BENCHMARK)
        == []
    )


def test_rows_must_reach_the_last_clip(tmp_path):
    found = open_submission(written(tmp_path, submission(embeddings=X[:19])))
    with pytest.raises(UserError, match="19 rows of embeddings, the last clip ends at row 20"):
        check_submission(found, BENCHMARK)
    with pytest.raises(UserError, match="19 rows of embeddings, 20 frames in the labels"):
        check_submission(found, BENCHMARK, 20)


# -- labels ----------------------------------------------------------------------------------------


def test_labels_are_found_by_name_and_mapped(tmp_path):
    many = np.tile(Y[::-1], 1000)  # speed first, run second
    path = tmp_path / "labels.npy"
    contents = labels(
        vocabulary=["speed", "run"], task_type=["Other", "Discrete"], label_array=many
    )
    save_dictionary(path, {**contents, "frame_number_map": {"a": [0, 4]}})
    found = open_labels(path)
    assert found.clips == {"a": (0, 4)}
    assert (found.row("run"), found.kind("run")) == (1, "Discrete")
    assert not found.values.flags.owndata
    truth = read_truth(BENCHMARK, found)
    np.testing.assert_array_equal(truth.codes[0], many[1])
    np.testing.assert_array_equal(truth.values[0], many[0])


def test_labels_as_a_bare_pickle_of_integers(tmp_path):
    path = tmp_path / "labels.pickle"
    path.write_bytes(pickle.dumps(labels(label_array=(Y > 0.5).astype(np.int8))))
    np.testing.assert_array_equal(read_truth(BENCHMARK, open_labels(path)).codes[0], Y[0] > 0.5)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"vocabulary": None}, "no key 'vocabulary'"),
        ({"label_array": None, "annotations": {}}, "older shape"),
        ({"label_array": Y[0]}, r"\(20,\) float64, expected numbers \(tasks, frames\)"),
        ({"label_array": Y.astype(str)}, "expected numbers"),
        ({"label_array": Y.tolist()}, "list.*expected numbers"),
        ({"task_type": ["Discrete"]}, "2 names in 'vocabulary', 1 in 'task_type' and 2 rows"),
        ({"vocabulary": "run"}, "'vocabulary' is a str, expected a list"),
    ],
)
def test_labels_of_another_shape(tmp_path, change, match):
    with pytest.raises(UserError, match=match):
        open_labels(written(tmp_path, labels(**change)))


def test_an_array_is_no_label_file(tmp_path):
    with pytest.raises(UserError, match=r"holds an array.*expected labels: a dictionary with"):
        open_labels(written(tmp_path, Y))


def with_value(row: int, frame: int, value: float) -> np.ndarray:
    values = Y.copy()
    values[row, frame] = value
    return values


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (
            with_value(0, 3, 2),
            r"'run' is 'Discrete'.*0 \(9 frames\), 1 \(\d frames\), 2 \(1 frames\)",
        ),
        (with_value(0, 3, np.inf), r"inf \(1 frames\)"),
        (np.stack([np.arange(20) / 20, Y[1]]), "18 different values"),
        (with_value(1, 5, -np.inf), "'speed' has an infinite label in frame 5"),
        (Y[:, :19], "19 frames in the labels, but clip 'c' of made up ends at frame 20"),
    ],
)
def test_labels_that_cannot_be_scored(tmp_path, values, match):
    benchmark = replace(BENCHMARK, train=("a", "b", "c"), inner_test_size=0.1, seeds=(1, 2, 3))
    with pytest.raises(UserError, match=match):
        read_truth(benchmark, open_labels(written(tmp_path, labels(label_array=values))))


def test_outside_the_clips_anything_may_stand(tmp_path):
    values = with_value(0, 11, -1)
    values[1, 10] = np.inf
    read_truth(BENCHMARK, open_labels(written(tmp_path, labels(label_array=values))))


def test_a_task_that_the_vocabulary_lacks(tmp_path):
    found = open_labels(written(tmp_path, labels(vocabulary=["runs", "speed"])))
    with pytest.raises(UserError, match="lacks the task 'run'; did you mean 'runs'"):
        read_truth(BENCHMARK, found)
