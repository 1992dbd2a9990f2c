from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bams.annotation_files import load_annotations, read_annotations, save_annotations
from bams.annotations import Annotations, from_arrays, from_table
from behaviorzoo.errors import UserError
from behaviorzoo.labels import write_labels

S, L = 4, 6
SPANS = {f"mouse_{k}": (10 * k, L) for k in range(S)}
LENGTHS = [L] * S


def contract() -> tuple[dict[str, Any], dict[str, Any]]:
    rng = np.random.default_rng(0)
    annotations = {
        "genotype": np.array([0, 1, 1, 0]),
        "state": rng.integers(0, 3, (S, L)),
        "speed": rng.normal(size=(S, L)).astype(np.float32),
        "age": np.array([1.5, 2, 3, 4]),
        "video_name": list(SPANS),
    }
    eval_utils = {
        "classification_tags": ["genotype", "state"],
        "regression_tags": ["speed", "age"],
        "sequence_level_dict": {"genotype": True, "state": False, "speed": False, "age": True},
    }
    return annotations, eval_utils


def same(one: Annotations, other: Annotations) -> None:
    assert [t.name for t in one.tags] == [t.name for t in other.tags]
    for a, b in zip(one.tags, other.tags, strict=True):
        assert (a.kind, a.sequence_level, a.classes) == (b.kind, b.sequence_level, b.classes)
        for left, right in zip(a.values, b.values, strict=True):
            np.testing.assert_array_equal(left, right)


def test_the_authors_contract_is_taken_as_it_is() -> None:
    annotations, eval_utils = contract()
    found = from_arrays(annotations, eval_utils, lengths=LENGTHS)
    assert [tag.name for tag in found.tags] == ["genotype", "state", "speed", "age"]
    assert [tag.kind for tag in found.tags] == ["class", "class", "value", "value"]
    assert [tag.sequence_level for tag in found.tags] == [True, False, False, True]
    assert found.tags[0].classes == ("0", "1")
    np.testing.assert_array_equal(found.tags[1].of([2, 0]), annotations["state"][[2, 0]].ravel())
    np.testing.assert_array_equal(found.tags[3].of([3, 1]), [4, 2])
    column = {**annotations, "age": annotations["age"][:, None]}
    same(from_arrays(column, eval_utils, lengths=LENGTHS), found)
    lists = {name: list(values) for name, values in annotations.items()}
    same(from_arrays(lists, eval_utils, lengths=LENGTHS), found)


def test_without_eval_utils_shapes_and_types_tell() -> None:
    annotations, eval_utils = contract()
    same(
        from_arrays(annotations, lengths=LENGTHS),
        from_arrays(annotations, eval_utils, lengths=LENGTHS),
    )


def test_names_truth_values_and_whole_fractions_are_classes() -> None:
    given_tags = {
        "sex": np.array(["f", "m", "", "f"]),
        "trained": np.array([True, False, True, True]),
        "stage": np.array([0.0, 2.0, np.nan, 1.0]),
        "arm": np.array([0, -7, 2, 1]),
    }
    utils = {"classification_tags": list(given_tags), "regression_tags": []}
    tags = {t.name: t for t in from_arrays(given_tags, utils, lengths=LENGTHS).tags}
    assert tags["sex"].classes == ("f", "m")
    assert list(tags["sex"].values) == [0, 1, -1, 0]
    assert list(tags["trained"].values) == [1, 0, 1, 1]
    assert list(tags["stage"].values) == [0, 2, -1, 1]
    assert list(tags["arm"].values) == [0, -1, 2, 1]
    assert tags["arm"].classes == ("0", "1", "2")


def test_file_and_back(tmp_path: Path) -> None:
    annotations, eval_utils = contract()
    path = save_annotations(tmp_path / "labels.npz", annotations, eval_utils)
    loaded, utils = load_annotations(path)
    assert utils["sequence_level_dict"] == eval_utils["sequence_level_dict"]
    expected = from_arrays(annotations, eval_utils, lengths=LENGTHS)
    same(from_arrays(loaded, utils, lengths=LENGTHS), expected)
    same(read_annotations(path, SPANS), expected)


def test_names_in_a_file_decide_the_order(tmp_path: Path) -> None:
    annotations, eval_utils = contract()
    path = save_annotations(tmp_path / "labels.npz", annotations, eval_utils)
    turned = dict(reversed(SPANS.items()))
    found = read_annotations(path, turned).tags[0]
    assert list(found.values) == [0, 1, 1, 0][::-1]
    with pytest.raises(UserError, match="video_name lacks sequence 'mouse_9'"):
        read_annotations(path, {**SPANS, "mouse_9": (0, L)})


def test_a_plain_npz_needs_no_lists(tmp_path: Path) -> None:
    annotations, eval_utils = contract()
    np.savez(tmp_path / "plain.npz", **annotations)
    expected = from_arrays(annotations, eval_utils, lengths=LENGTHS)
    same(read_annotations(tmp_path / "plain.npz", SPANS), expected)
    found = read_annotations(tmp_path / "plain.npz", SPANS, regression=["state"], tasks=["age"])
    assert {tag.name: tag.kind for tag in found.tags} == {"state": "value", "age": "value"}


def test_table_and_arrays_say_the_same(tmp_path: Path) -> None:
    annotations, eval_utils = contract()
    arrays = from_arrays(annotations, eval_utils, lengths=LENGTHS)
    write_labels(arrays.table(SPANS), tmp_path / "labels.csv")
    found = read_annotations(tmp_path / "labels.csv", SPANS, regression=["speed", "age"])
    by_name = {tag.name: tag for tag in found.tags}
    ordered = Annotations(tuple(by_name[tag.name] for tag in arrays.tags), S)
    same(ordered, arrays)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(st.integers(-1, 3), min_size=1, max_size=8), min_size=1, max_size=4).filter(
        lambda rows: max(map(max, rows)) >= 0
    )
)
def test_sequences_of_any_length_survive_the_table(rows: list[list[int]]) -> None:
    lengths = [len(row) for row in rows]
    spans = {f"r{k}": (100 + k, n) for k, n in enumerate(lengths)}
    arrays = from_arrays({"a": [np.array(row) for row in rows]}, lengths=lengths)
    found = from_table(arrays.table(spans), spans).tags[0]
    names = np.array([*found.classes, ""])
    for row, codes in zip(rows, found.values, strict=True):
        assert list(names[codes]) == ["" if code < 0 else str(code) for code in row]


def test_a_task_is_about_recordings_if_no_row_has_frames() -> None:
    table = pd.DataFrame(
        {
            "recording": ["a", "b", "a"],
            "task": ["sex", "sex", "act"],
            "start": pd.array([pd.NA, pd.NA, 3], dtype="Int64"),
            "stop": pd.array([pd.NA, pd.NA, 5], dtype="Int64"),
            "label": ["f", "m", "run"],
        }
    )
    spans = {"a": (2, 4), "b": (0, 3), "c": (0, 2)}
    sex, act = from_table(table, spans).tags
    assert sex.sequence_level
    assert list(sex.values) == [0, 1, -1]
    assert [list(row) for row in act.values] == [[-1, 0, 0, -1], [-1] * 3, [-1] * 2]
    assert [t.name for t in from_table(table, spans, tasks=["act"]).tags] == ["act"]
    with pytest.raises(UserError, match="no task 'sexx'; did you mean 'sex'"):
        from_table(table, spans, tasks=["sexx"])
    with pytest.raises(UserError, match="regression but has the label 'f'"):
        from_table(table, spans, regression=["sex"])
    with pytest.raises(UserError, match="none of which is a recording here"):
        from_table(table, {"z": (0, 3)})


@pytest.mark.parametrize(
    ("change", "utils", "message"),
    [
        ({"genotype": np.zeros(3)}, {}, "tag 'genotype' has 3 entries for 4 sequences"),
        ({"state": np.zeros((S, L + 1), int)}, {}, "tag 'state', sequence 0: shape"),
        ({"genotype": np.full(S, 0.5)}, {}, "tag 'genotype' is a class but has fractions"),
        ({"speed": np.full((S, L), np.inf)}, {}, "tag 'speed' holds values that are no finite"),
        ({"age": np.array(list("abcd"))}, {}, "tag 'age' holds values that are no finite"),
        ({}, {"regression_tags": ["agee"]}, "regression_tags names 'agee'.*did you mean 'age'"),
        ({}, {"regression_tags": ["state"]}, "tag 'state' is both a class and a value"),
        ({}, {"sequence_level_dict": {"state": True}}, "tag 'state' has labels per frame"),
        ({}, {"classification_tags": [], "regression_tags": []}, "no tag is named"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_what_does_not_fit_is_named(
    change: dict[str, Any], utils: dict[str, Any], message: str
) -> None:
    annotations, eval_utils = contract()
    with pytest.raises(UserError, match=message):
        from_arrays({**annotations, **change}, {**eval_utils, **utils}, lengths=LENGTHS)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(UserError, match=r"not an .npz of plain arrays, or damaged"):
        load_annotations(tmp_path / "text.npz")
    objects = np.array([{"a": 1}], dtype=object)
    np.savez(tmp_path / "objects.npz", a=objects)
    with pytest.raises(UserError, match=r"not an .npz of plain arrays"):
        load_annotations(tmp_path / "objects.npz")
    with pytest.raises(UserError, match="no such annotation file"):
        load_annotations(tmp_path / "absent.npz")
    with pytest.raises(UserError, match=r"written as .npz"):
        save_annotations(tmp_path / "labels.csv", {}, {})
    with pytest.raises(UserError, match="tag 'a' holds Python objects"):
        save_annotations(tmp_path / "labels.npz", {"a": objects}, {})
