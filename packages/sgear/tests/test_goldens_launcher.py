"""TXT experiments are expanded as the original's launcher with Hydra expands them."""

from __future__ import annotations

import json

import pytest

from behaviorzoo.errors import UserError
from sgear.launcher import arguments
from sgear.txt import differing, expand, parse_lines, read_lines


def test_launcher_expands_as_the_original(goldens_dir):
    found = [
        folder
        for folder in sorted(goldens_dir.glob("sgear_*"))
        if json.loads((folder / "case.json").read_text())["kind"] == "sgear_launcher"
    ]
    assert found
    for folder in found:
        expected = json.loads((folder / "expected.json").read_text())
        assert expected
        for name, wanted in expected.items():
            check(folder / name, wanted)


def check(path, wanted) -> None:
    where = f"{path.parent.name}/{path.name}"
    lines = parse_lines(path.read_text())
    if "lines" in wanted:
        assert lines == wanted["lines"], where
    if lines:
        assert read_lines(path) == lines, where
    if not isinstance(wanted.get("hydra_product", []), list):
        with pytest.raises(UserError):
            expand(lines)
        return
    runs = expand(lines)
    words = [list(run.overrides) for run in runs]
    assert [run.index for run in runs] == list(range(len(runs))), where
    if "hydra_product" in wanted:
        assert words == wanted["hydra_product"], where
    if "upstream_error" in wanted:  # the original stops; we take what its grammar says
        return
    assert [[run.index, list(run.overrides)] for run in runs] == wanted["runs"], where
    pairs = zip(runs, differing(runs), strict=True)
    assert [[run.index, differs] for run, differs in pairs] == wanted["diff"], where


def test_deletions_are_handed_on_as_they_were_written(goldens_dir):
    runs = expand(["~dataset_train.reader_fn", "train.batch_size=2", "~a=null", "b=null"])
    assert runs[0].overrides[0] == "~dataset_train.reader_fn=null"
    assert arguments(runs[0]) == ["~dataset_train.reader_fn", "train.batch_size=2", "~a", "b=null"]
