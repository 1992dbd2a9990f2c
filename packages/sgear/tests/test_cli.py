"""The command line: verbs on tiny data from end to end, exit codes, what it says to a mistake."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from behaviorzoo.synthetic_video import write_kitchen
from sgear.cli import VERBS, main


@pytest.fixture(scope="module")
def small():
    path = Path(__file__).with_name("sgear_small_run.py")
    spec = importlib.util.spec_from_file_location("sgear_small_run", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["sgear_small_run"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data(small, tmp_path_factory):
    return small.write_features(tmp_path_factory.mktemp("features"))


@pytest.fixture(scope="module")
def runs(small, data, tmp_path_factory):
    """Two runs that differ in their seed."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in (1, 2):
        words = small.words(data, "train.num_epochs=2", f"seed={seed}")
        assert main(["train", "--out", str(folder / str(seed)), *words]) == 0
    return folder


def fails(capsys, *argv: str) -> str:
    """Run a command line that must fail with exit code 2; what it printed to stderr."""
    assert main(list(argv)) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert "Traceback" not in captured.err
    return captured.err


# ------------------------------------------------------------------ help and mistakes


def test_help_of_every_verb_has_an_example(capsys):
    assert main(["--help"]) == 0
    overview = capsys.readouterr().out
    for verb in VERBS:
        assert re.search(rf"^  {verb} *[A-Z]\w+", overview, re.MULTILINE)
        assert main([verb, "--help"]) == 0
        assert f"example:\n  sgear {verb} " in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert re.fullmatch(r"sgear \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


def test_help_waits_for_nothing_heavy():
    heavy = "torch, hydra, timm, transformers, pandas, submitit"
    code = f"""
import sys
from sgear.cli import main
main(["--help"]); main(["train", "--help"]); main(["launch", "--list"])
print([name for name in "{heavy}".split(", ") if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_list_of_experiments_and_of_keys(capsys):
    assert main(["launch", "--list"]) == 0
    assert "expts/ek100_SGEAR_vit.txt       EPIC-Kitchens-100, ant" in capsys.readouterr().out
    assert main(["train", "--help-config"]) == 0
    assert "train.batch_size (int, default 16)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["trian"], "no verb 'trian'; did you mean 'train'?"),
        (["train", "--resum"], "has no option '--resum'; did you mean '--resume'?"),
        (["train", "train.batchsize=3"], "did you mean 'train.batch_size'?"),
        (["train", "+train.batchsize=3"], "did you mean 'train.batch_size'?"),
        (["train", "batch"], "'batch' is not of the form key=value"),
        (["train"], "extracted_features = false needs"),
        (["train", "--experiment", "expts/x.txt"], "expts/x.txt: no such experiment"),
        (["train", "--experiment", "expts/50salads_SGEAR_vit.txt"], "is 5 runs; `sgear launch`"),
        (["train", "--experiment", "expts/ek100_SGEAR_tsn.txt"], "EPIC_100_train.pkl"),
        (["train", "--resume", "--out", "x"], "x: no run in it to go on with"),
        (["test", "/no/where"], "/no/where: no such run folder"),
        (["test", "."], "so it is no run of sgear"),
        (["launch"], "name an experiment, -c expts/NAME.txt"),
        (["launch", "-c", "a.txt", "-l"], "write expts/a.txt"),
        (["info", "/no/where"], "/no/where"),
        (["info", "."], "no checkpoint.pth in this folder"),
        (["convert", "/no/where", "out", "--to", "ours"], "/no/where"),
        (["convert", "x", "y", "--to", "theirs"], "invalid choice: 'theirs'"),
        (["prototypes", "lang"], "did you mean 'language'?"),
        (["fuse", "/no/where"], "/no/where"),
        (["submit", "/no/where"], "/no/where"),
        (["embed", "/no/where", "--out", "x.nc"], "/no/where"),
        (["report", "/no/where", "--out", "x.html"], "/no/where"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(capsys, tmp_path, monkeypatch, argv, expected):
    monkeypatch.chdir(tmp_path)
    error = fails(capsys, *argv)
    assert expected in error
    assert len(error.strip().splitlines()) == 1


# ------------------------------------------------------------------ from end to end


def test_dry_run_trains_nothing(small, data, tmp_path, capsys):
    out = tmp_path / "run"
    words = small.words(data)
    assert main(["train", "--dry-run", "--out", str(out), *words]) == 0
    told = capsys.readouterr().out
    assert "inter_dim: 16" in told
    assert f"run: {out}" in told
    assert not out.exists()


def test_a_run_goes_on_without_its_words(small, data, tmp_path, capsys):
    out = tmp_path / "run"
    words = small.words(data, "train.num_epochs=2")
    assert main(["train", "--out", str(out), *words]) == 0
    assert "--resume" in fails(capsys, "train", "--out", str(out), *words)
    assert main(["train", "--out", str(out), *words, "test_only=true"]) == 0
    assert "weights: " in capsys.readouterr().out
    assert main(["train", "--resume", "--out", str(out)]) == 0
    assert "all 2 epochs are done" in capsys.readouterr().out
    assert "train.num_epochs 2 -> 3. Set them back" in fails(
        capsys, "train", "--resume", "--out", str(out), "train.num_epochs=3"
    )


def test_classes_are_those_of_the_training(small, tmp_path, capsys):
    """Whatever labels the validation has, the numbers of the network mean the same actions."""
    data, run = small.write_features(tmp_path / "data"), tmp_path / "run"
    table = data / "annotations" / "validation.csv"
    header, *rows = table.read_text().splitlines()
    # Fewer labels, and one that sorts before all others: a numbering of its own would be shifted.
    rows = [row.replace("act 4", "a new one") for row in rows if not row.endswith("act 0")]
    table.write_text("\n".join([header, *rows]) + "\n")
    assert main(["train", "--out", str(run), *small.words(data, "train.num_epochs=2")]) == 0
    trained = (run / "results" / "items.csv").read_text()
    assert "-1" in trained
    (run / "results" / "items.csv").unlink()
    assert main(["test", str(run)]) == 0
    assert (run / "results" / "items.csv").read_text() == trained
    assert main(["embed", str(run), "--out", str(tmp_path / "e.nc")]) == 0
    written = (tmp_path / "e_labels.csv").read_text()
    assert "act 3" in written
    assert "a new one" not in written
    # Without the table of the training, its classes are in the checkpoint.
    (data / "annotations" / "train.csv").unlink()
    assert main(["test", str(run)]) == 0
    assert (run / "results" / "items.csv").read_text() == trained


def test_a_training_without_labels_is_refused(small, tmp_path, capsys):
    data = small.write_features(tmp_path / "data")
    table = data / "annotations" / "train.csv"
    header, *rows = table.read_text().splitlines()
    table.write_text("\n".join([header, *(row.rpartition(",")[0] + "," for row in rows)]) + "\n")
    words = small.words(data)
    assert "no action has a label" in fails(capsys, "train", "--out", str(tmp_path / "r"), *words)


def test_evaluation_of_another_set_in_another_folder(runs, tmp_path, capsys):
    out = tmp_path / "test"
    words = ["dataset@dataset_eval=own/anticipation_train", "eval.eval_fn.store_embeddings=true"]
    assert main(["test", str(runs / "1"), "--out", str(out), *words]) == 0
    assert "dataset_eval: 24 clips" in capsys.readouterr().out
    assert (out / "results" / "0.h5").exists()
    assert "final_acc/action/top1" in json.loads((out / "figures.json").read_text())["dataset_eval"]
    stored = torch.load(out / "embeddings.pth", weights_only=True)
    assert sorted(stored) == list(range(5))
    best = fails(capsys, "test", str(runs / "1"), "--checkpoint", str(tmp_path / "none.pth"))
    assert "none.pth: no checkpoint to evaluate" in best


def test_verbs_on_runs(runs, tmp_path, capsys):
    one, two = str(runs / "1"), str(runs / "2")
    assert main(["fuse", f"{one}:2.5", f"{two}:0.5", "--out", str(tmp_path / "fused")]) == 0
    assert "fused" in capsys.readouterr().out
    assert main(["fuse", one, two, "--out", str(tmp_path / "fused")]) == 0  # a fusion may
    scores = (runs / "1" / "results" / "0.h5").read_bytes()
    for words in (["fuse", one, two], ["test", two]):
        assert "choose another folder" in fails(capsys, *words, "--out", one)
    assert (runs / "1" / "results" / "0.h5").read_bytes() == scores
    assert main(["report", one, two, "--out", str(tmp_path / "report.html")]) == 0
    assert (tmp_path / "report.html").exists()
    assert main(["info", one]) == 0
    assert "action" in capsys.readouterr().out
    assert main(["convert", one, str(tmp_path / "ours"), "--to", "ours"]) == 0
    assert (
        main(["convert", str(tmp_path / "ours"), str(tmp_path / "a.pth"), "--to", "authors"]) == 0
    )
    again = torch.load(tmp_path / "a.pth", weights_only=True)
    first = torch.load(runs / "1" / "checkpoint.pth", weights_only=True)
    assert again["model"].keys() == first["model"].keys()
    visual = ["prototypes", "visual", "--run", one, "--out", str(tmp_path)]
    assert main([*visual, "dataset_train.is_train=false"]) == 0
    assert "5 classes, 64 features" in capsys.readouterr().out
    assert main(["embed", one, "--out", str(tmp_path / "e.nc")]) == 0
    assert (tmp_path / "e.nc").exists()


def test_a_run_of_the_authors_goes_on(runs, small, data, tmp_path, capsys):
    """A checkpoint.pth with their four keys alone."""
    theirs = torch.load(runs / "1" / "checkpoint.pth", weights_only=True)
    out = tmp_path / "run"
    out.mkdir()
    kept = {key: theirs[key] for key in ("model", "optimizer", "lr_scheduler")}
    torch.save({**kept, "epoch": 1.5}, out / "checkpoint.pth")
    words = small.words(data, "train.num_epochs=2", "seed=1")
    assert main(["train", "--resume", "--out", str(out), *words]) == 0
    assert "going on from epoch 1.50 of 2" in capsys.readouterr().out
    assert torch.load(out / "checkpoint.pth", weights_only=True)["progress"]["step"] == 12


def test_videos_from_end_to_end(tmp_path, capsys):
    """Kitchen videos with annotations of EPIC's format; a small ViT with TCA and prototypes."""
    write_kitchen(tmp_path, n_videos=3, participants=3, actions_per_video=5, actions=6, size=32)
    number = sum(1 for _ in (tmp_path / "rulstm" / "actions.csv").open()) - 1
    vectors = torch.randn(number, 64, generator=torch.Generator().manual_seed(0))
    _write_prototypes(tmp_path / "prototypes", vectors)
    words = [
        "dataset@dataset_train=kitchen/anticipation_train",
        "dataset@dataset_eval=kitchen/anticipation_val",
        f"dataset.kitchen.common.folder={tmp_path}",
        "dataset.kitchen.common.conv_to_anticipate_fn.tau_o=2",
        "data_train.num_frames=2",
        "data_train.frame_rate=1",
        "data_train.subclips={num_frames: 1, stride: 1}",
        "data_train.workers=0",
        "data_train.scale_h=32-40",
        "data_train.scale_w=-1",
        "data_train.crop_size=32",
        "data_eval=${data_train}",
        "data_eval.scale_h=36",
        "data_eval.eval_num_crops=3",
        "model/backbone=vit_b",
        "+model.backbone.overrides={img_size: 32, patch_size: 16, embed_dim: 64, depth: 1,"
        " num_heads: 1}",
        "model.backbone_dim=64",
        "model.intermediate_featdim=64",
        "model.backbone_last_n_modules_to_drop=0",
        "model.backbone_add_ts_blocks=1",
        "model.tmp_frames=2",
        "model.prot_attn=true",
        "model.classifier_on_past=true",
        "model/temporal_aggregator=identity",
        "model/future_predictor=transformer",
        "model.future_predictor.inter_dim=16",
        "model.future_predictor.n_layer=1",
        "model.future_predictor.n_head=2",
        "model.future_predictor.return_past_too=true",
        "model.future_predictor.avg_last_n=1",
        "opt/optimizer=sgd",
        "opt/scheduler=cosine",
        "train.train_one_epoch_fn.loss_wts.past_cls_action=1",
        "train.batch_size=4",
        "train.num_epochs=1",
        "device=cpu",
    ]
    out = tmp_path / "run"
    assert main(["train", "--out", str(out), *words]) == 0
    told = capsys.readouterr().out
    assert "recall@5" in told
    metrics = {line.split()[0] for line in told.splitlines() if line.startswith(("verb", "noun"))}
    assert metrics == {"verb", "noun"}
    assert (out / "results" / "0.h5").exists()


def _write_prototypes(folder: Path, vectors: torch.Tensor) -> None:
    import numpy as np

    from sgear.prototypes.files import ClassVectors, write_similarities, write_vectors
    from sgear.similarity import cosines, unit

    folder.mkdir()
    ids = np.arange(len(vectors))
    for name in ("encodings", "visual_encodings"):
        write_vectors(folder / f"{name}_epic100.safetensors", ClassVectors(ids, vectors))
    similarities = cosines(vectors, unit(vectors))
    write_similarities(folder / "similarities_epic100.safetensors", ids, similarities)
