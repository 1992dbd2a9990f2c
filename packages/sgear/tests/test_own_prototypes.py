"""Prototypes of one's own classes: numbered as in training, named as the files of a run are."""

from __future__ import annotations

import pytest

from behaviorzoo.errors import UserError
from sgear.cli import main
from sgear.config import configure
from sgear.data.config import DatasetConfig
from sgear.data.own_table import open_own_table, own_classes
from sgear.prototypes.prompts import file_ending, read_prompts

ROWS = "b.mp4,0,1,wash_the cup,wash,cup\na.mp4,2,3,close door,close,door\nc.mp4,4,5,eat,eat,\n"


def table(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("columns", [6, 4], ids=["verb and noun", "labels"])
def test_classes_are_those_of_the_training(tmp_path, columns):
    head = "video,start,stop,label,verb,noun\n"
    lines = [",".join(line.split(",")[:columns]) for line in (head + ROWS).strip().splitlines()]
    path = table(tmp_path, "train.csv", "\n".join(lines) + "\n")
    trained = open_own_table(DatasetConfig(kind="table", annotation_path=[str(path)]))
    assert own_classes(path).names == trained.classes.names
    prompts = read_prompts(path, "own")
    numbers = trained.classes.names["action"]
    assert {numbers[label] for label in numbers} == set(prompts)
    expected = "wash cup" if columns == 6 else "wash the cup"
    assert prompts[numbers["wash_the cup"]].text == expected
    assert prompts[numbers["close door"]].text == "close door"
    assert prompts[numbers["eat"]].text == "eat"


def test_a_list_of_classes_keeps_its_order(tmp_path):
    listed = table(tmp_path, "classes.csv", "label\nzip bag\nclose door\n")
    assert [p.text for p in read_prompts(listed, "own").values()] == ["zip bag", "close door"]
    path = table(tmp_path, "train.csv", "video,start,stop,label\na.mp4,0,1,close door\n")
    config = DatasetConfig(
        kind="table", annotation_path=[str(path)], action_labels_fpath=str(listed)
    )
    assert open_own_table(config).table["action_class"].tolist() == [1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,start,stop\na.mp4,0,1\n", "no column label"),
        ("video,start,stop,label\n", "no class in it"),
        ("video,start,stop,label\na.mp4,0,1\n", "no class in it"),
        ('a,"b\n', "not a CSV table"),
    ],
    ids=["column", "rows", "labels", "quotes"],
)
def test_tables_that_name_no_class(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read_prompts(table(tmp_path, "train.csv", text), "Own")


def test_files_have_the_names_that_a_run_looks_for(tmp_path, monkeypatch, capsys):
    import torch

    path = table(tmp_path, "train.csv", "video,start,stop,label\na.mp4,0,1,eat\nb.mp4,0,1,nap\n")
    monkeypatch.setattr(
        "sgear.prototypes.language.sentence_encoder",
        lambda model, batch_size: lambda texts: torch.eye(len(texts)),
    )
    words = ["--dataset", "own", "--label-file", str(path), "--out", str(tmp_path / "prototypes")]
    assert main(["prototypes", "language", *words]) == 0
    assert "2 classes" in capsys.readouterr().out
    own = [f"dataset.own.common.folder={tmp_path}"]
    own += [f"dataset@dataset_{kind}=own/anticipation_{kind[:5]}" for kind in ("train",)]
    train = configure(own)[0].train_sets["dataset_train"]
    names = {p.name for p in (tmp_path / "prototypes").iterdir()}
    for wanted in (train.embeddings_path, train.similarities_path):
        assert str(wanted).rpartition("/")[2] in names
    assert str(train.visual_encodings_path).endswith(
        f"visual_encodings{file_ending('own')}.safetensors"
    )
