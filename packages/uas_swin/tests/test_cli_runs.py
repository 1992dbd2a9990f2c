"""The command line from end to end, with a tiny network and generated clips."""

from __future__ import annotations

import json
import pickle
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from behaviorzoo.embeddings import open_embeddings
from behaviorzoo.synthetic_video import write_clips
from behaviorzoo.video import VideoReader
from uas_swin.checkpoints import build_model, read_checkpoint
from uas_swin.cli import main
from uas_swin.feature_store import FeatureStore
from uas_swin.runtime import load_from_local

LORA = ("--cfg-options", "model.backbone.use_lora=True", "model.backbone.lora_rank=2")
MOTIONS = ("circle", "left-right", "up-down")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, write_tiny_config) -> Path:
    """Clips, lists and a configuration; folder and files have blanks in their names."""
    folder = tmp_path_factory.mktemp("work place")
    write_clips(folder / "my clips", MOTIONS, 4, n_frames=10, size=40)
    videos = str(folder / "my clips")
    words = ["prepare", "folder", videos, "--out", str(folder / "lists"), "--name", "v"]
    assert main([*words, "--val-share", "0.25"]) == 0
    lists = {split: folder / "lists" / f"v_{split}.txt" for split in ("train", "val")}
    classes = folder / "lists" / "v_classes.txt"
    write_tiny_config(folder, classes=classes, videos=folder / "my clips", **lists)
    return folder


@pytest.fixture(scope="module")
def run(workplace) -> Path:
    """An uninterrupted training of two epochs, validated."""
    words = ["train", str(workplace / "tiny.py"), "--work-dir", str(workplace / "run")]
    assert main([*words, "--validate"]) == 0
    return workplace / "run"


@pytest.fixture(scope="module")
def features(workplace, run) -> Path:
    words = ["extract", str(workplace / "tiny.py"), str(run / "epoch_2.pth"), "--no-progress"]
    assert main([*words, "--out", str(workplace / "feat"), "--augmented-views", "2"]) == 0
    return workplace / "feat"


def test_resumed_run_is_the_uninterrupted_one(workplace, run):
    config, parts = str(workplace / "tiny.py"), str(workplace / "parts")
    words = ["train", config, "--work-dir", parts]
    assert main([*words, "--cfg-options", "train_cfg.max_epochs=1"]) == 0
    assert main([*words, "--resume", "--seed", "99"]) == 0  # the seed of the run is kept
    whole, resumed = (read_checkpoint(f / "epoch_2.pth") for f in (run, Path(parts)))
    for name, value in whole.state.items():
        assert torch.equal(value, resumed.state[name]), name
    begin = read_checkpoint(Path(parts) / "epoch_1.pth").state
    assert any(not torch.equal(value, begin[name]) for name, value in whole.state.items())


def test_used_folders_are_not_overwritten(workplace, run, capsys):
    words = ["train", str(workplace / "tiny.py"), "--work-dir"]
    assert main([*words, str(run)]) == 2
    assert "--resume, begin anew with --overwrite" in capsys.readouterr().err
    assert main([*words, str(workplace / "empty"), "--resume", "nowhere.pth"]) == 2
    assert "nowhere.pth" in capsys.readouterr().err


def test_scores_of_a_test(workplace, run, capsys):
    """Six views a video, averaged; metrics by name; scores in every format."""
    out = workplace / "scores.pkl"
    words = ["test", str(workplace / "tiny.py"), str(run / "epoch_2.pth"), "--out", str(out)]
    words += [
        "--work-dir",
        str(workplace / "test"),
        "--eval",
        "top_k_accuracy",
        "mean_class_accuracy",
    ]
    assert main([*words, "--eval-options", "topk=1,2"]) == 0
    scores = pickle.loads(out.read_bytes())
    assert np.shape(scores) == (3, 3)
    np.testing.assert_allclose(np.sum(scores, axis=1), 1, rtol=1e-5)
    found = json.loads((workplace / "test" / "evaluation.json").read_text())
    assert set(found["scores"]) == {"top1", "top2", "mean1"}
    assert found["classes"] == list(MOTIONS)
    hits = np.argmax(scores, axis=1) == [0, 1, 2]
    assert found["scores"]["top1"] == pytest.approx(hits.mean())
    assert main([*words[:3], "--out", str(workplace / "s.json"), "--average-clips", "score",
                 "--work-dir", str(workplace / "test2")]) == 0  # fmt: skip
    logits = np.array(json.loads((workplace / "s.json").read_text()))
    assert not np.allclose(logits.sum(axis=1), 1)
    capsys.readouterr()
    assert main(words[:3]) == 2
    assert "--eval METRIC ... or --out FILE" in capsys.readouterr().err
    assert main([*words[:3], "--eval", "top_accuracy"]) == 2
    assert "did you mean 'top_k_accuracy'" in capsys.readouterr().err


def test_features_are_those_of_the_network(workplace, run, features):
    store = FeatureStore(features)
    assert store.features.shape == (9 * (1 + 2) + 3 * 6, 64)
    assert store.kinds("train") == ["val", "random_0", "random_1"]
    model = build_model(run / "epoch_2.pth")
    from uas_swin.config import load_config
    from uas_swin.registration import register_all

    register_all()
    from mmengine.registry import DATASETS, DefaultScope

    config = load_config(workplace / "tiny.py")
    with DefaultScope.overwrite_default_scope("mmaction"):
        data = DATASETS.build(config.test_dataloader.dataset)
    views = store.views("test")
    mean = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1, 1)
    std = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1, 1)
    for sample in range(3):
        x = (data[sample]["inputs"] - mean) / std
        with torch.no_grad():
            expected = model.features(x[None])[0]
        np.testing.assert_allclose(views.features[views.rows[sample]], expected, atol=2e-5)
    assert views.labels.tolist() == [0, 1, 2]
    first, second = store.views("train", ["random_0"]), store.views("train", ["random_1"])
    assert not np.allclose(first.means(), second.means())


def test_extraction_goes_on_and_refuses_others(workplace, run, features, capsys, monkeypatch):
    import uas_swin.extract as module
    import uas_swin.extract_plan as plan

    words = ["extract", str(workplace / "tiny.py"), str(run / "epoch_2.pth"), "--no-progress"]
    words += ["--augmented-views", "2", "--out"]
    whole = FeatureStore(features)
    write, written = module._write_part, []

    def stops(path, found):
        write(path, found)
        written.append(path.name)
        if len(written) == 2:
            raise KeyboardInterrupt

    out = workplace / "stopped"
    settings = plan.ExtractSettings
    monkeypatch.setattr(plan, "ExtractSettings", lambda **given: settings(**given, part=8))
    monkeypatch.setattr(module, "_write_part", stops)
    assert main([*words, str(out)]) == 130
    assert main(["probe", str(out), "--out", str(workplace / "x")]) == 2
    assert "is not finished" in capsys.readouterr().err
    monkeypatch.setattr(module, "_write_part", lambda *a: (write(*a), written.append(a[0].name)))
    assert main([*words, str(out)]) == 0
    assert len(written) == len(set(written)) == 4  # nothing was done twice
    np.testing.assert_allclose(FeatureStore(out).features, whole.features, atol=2e-5)
    pd.testing.assert_frame_equal(FeatureStore(out).samples, whole.samples)
    capsys.readouterr()
    assert main([*words, str(out)]) == 0
    assert "has these features already" in capsys.readouterr().out
    words[2] = str(run / "epoch_1.pth")
    assert main([*words, str(out)]) == 2
    assert "another extraction (weights differ)" in capsys.readouterr().err
    words[2], words[5] = str(run / "epoch_2.pth"), "1"
    assert main([*words, str(out)]) == 2
    assert "another extraction (views, lists or number of views differ)" in capsys.readouterr().err


def test_broken_videos_are_named_or_skipped(workplace, run, capsys):
    bad = workplace / "my clips" / "circle" / "bad.mp4"
    bad.write_bytes(b"no video at all" * 40)
    listing = workplace / "with_bad.txt"
    lines = (workplace / "lists" / "v_train.txt").read_text().splitlines()
    listing.write_text("\n".join([lines[0], "circle/bad.mp4 0", *lines[1:]]) + "\n")
    words = ["extract", str(workplace / "tiny.py"), str(run / "epoch_2.pth"), "--no-progress",
             "--splits", "train", "--cfg-options", f"lists.train={listing}", "--out"]  # fmt: skip
    assert main([*words, str(workplace / "f1")]) == 2
    error = capsys.readouterr().err
    assert "with_bad.txt, line 2: " in error
    assert "bad.mp4" in error
    assert error.count("\n") == 1
    assert main([*words, str(workplace / "f2"), "--bad-videos", "skip"]) == 0
    assert "1 videos left out" in capsys.readouterr().out
    store = FeatureStore(workplace / "f2")
    assert len(store.views("train")) == 9
    skipped = pd.read_csv(workplace / "f2" / "skipped.csv")
    assert skipped[["split", "video", "kind"]].to_numpy().tolist() == [
        ["train", "circle/bad.mp4", "val"]
    ]
    bad.unlink()


def test_probe_and_its_head(workplace, features, capsys):
    out = workplace / "probe"
    words = ["probe", str(features), "--out", str(out), "--lr", "0.01", "0.1", "--seeds", "0", "1"]
    assert main(words) == 0
    assert "1 neighbour" in capsys.readouterr().out
    scores = pd.read_csv(out / "scores.csv")
    assert set(scores["metric"]) == {"top1", "top5", "mean1"}
    assert len(scores.loc[(scores["readout"] == "probe") & (scores["metric"] == "top1")]) == 4
    predictions = pd.read_csv(out / "predictions.csv")
    found = json.loads((out / "evaluation_test.json").read_text())
    assert found["scores"]["top1"] == (predictions["label"] == predictions["predicted"]).mean()
    words = ["test", str(workplace / "tiny.py"), str(out / "head"), "--out", str(out / "s.json")]
    assert main([*words, "--work-dir", str(out / "test"), "--eval", "top_k_accuracy"]) == 0
    tested = np.array(json.loads((out / "s.json").read_text()))
    np.testing.assert_allclose(tested.max(axis=1), predictions["probability"], atol=2e-5)
    # Nothing is computed first: not even the features are looked for.
    assert main(["probe", "gone", "--out", str(out)]) == 2
    assert "has a probe already" in capsys.readouterr().err
    assert main(["probe", str(features), "--out", str(workplace / "tiny.py")]) == 2
    assert "tiny.py: is a file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--lr", "nan"], "learning rate, all above 0"),
        (["--lr", "0.1", "0"], "learning rate, all above 0"),
        (["--seeds", "0", "-1"], "seed, all from 0"),
        (["--weight-decay", "-1"], "weight decay"),
        (["--warmup-epochs", "nan"], "warm-up"),
        (["--epochs", "0"], "at least 1"),
        (["--dropout", "1"], "dropout 1.0"),
        (["--accumulate", "40"], "9 samples in 2 epochs make no step of 40 x 1 samples"),
    ],
)
def test_settings_of_probes_that_cannot_be(workplace, features, capsys, words, message):
    assert main(["probe", str(features), "--out", str(workplace / "none"), *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (workplace / "none").exists()


def test_folds(workplace, features, capsys):
    words = ["probe", str(features), "--lr", "0.1", "--folds"]
    assert main([*words, "loo", "--out", str(workplace / "loo")]) == 0
    predictions = pd.read_csv(workplace / "loo" / "predictions.csv")
    assert len(predictions) == 9
    assert not (workplace / "loo" / "head").exists()
    assert main([*words, "3", "--out", str(workplace / "k3"), "--group", r"(\d+)\.mp4"]) == 0
    assert "left out: 3 folds" in capsys.readouterr().out
    assert main([*words, "many", "--out", str(workplace / "k4")]) == 2


def _words(scores: dict[str, float]) -> list[str]:
    return [word for name, value in scores.items() for word in (name, f"{value:.3f}")]


def test_report(workplace, run, features, capsys):
    if not (workplace / "loo").exists():
        main(["probe", str(features), "--folds", "loo", "--out", str(workplace / "loo")])
    page = workplace / "report.html"
    sources = [str(run), str(workplace / "loo"), str(workplace / "lists" / "v_report.json")]
    capsys.readouterr()
    assert main(["report", *sources, "--out", str(page)]) == 0
    found = json.loads((workplace / "loo" / "evaluation_folds.json").read_text())["scores"]
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["loo,", "folds,", "probe", *_words(found)]
    assert shown[1].startswith("loo, folds, 1 neighbour ")
    text = page.read_text()
    for word in ("left-right", "Confusion matrix", "5 neighbours", "Validation", "Configuration"):
        assert word in text
    assert main(["report", str(workplace / "my clips"), "--out", str(page)]) == 2


def test_embedding_of_frames(workplace, run):
    out = workplace / "e.nc"
    clips = workplace / "my clips" / "circle"
    words = ["embed", str(clips), "--checkpoint", str(run / "epoch_2.pth"), "--no-progress"]
    words += ["--window", "4", "--stride", "3", "--size", "32", "--out", str(out)]
    assert main(words) == 0
    model = build_model(run / "epoch_2.pth")
    for size in ("0", "-1"):
        assert main([*words[:-1], str(workplace / "no.nc"), "--batch-size", size]) == 2
        assert not (workplace / "no.nc").exists()
    from uas_swin.embed import WindowSettings, windows

    with open_embeddings(out) as found:
        assert found.recordings == [f"circle_{i:03d}" for i in range(4)]
        assert found.span("circle_001") == (0, 10)
        rows = found.read("window", "circle_001")
    with VideoReader(clips / "circle_001.mp4") as video:
        parts = list(windows(video, WindowSettings(4, 3, size=32)))
    assert [start for start, _ in parts] == [0, 3, 6]
    mean = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1, 1)
    std = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1, 1)
    with torch.no_grad():
        own = [model.features(((clip - mean) / std)[None])[0, 0].numpy() for _, clip in parts]
    for frame in range(10):
        over = [own[i] for i, (start, _) in enumerate(parts) if start <= frame < start + 4]
        np.testing.assert_allclose(rows[frame], np.mean(over, axis=0), atol=2e-5)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("circle/circle_000.mp4", "line 2: 'circle/circle_000.mp4' has no label"),
        ("circle/circle_000.mp4 3", "line 2: label 3 is out of range; class ids go from 0 to 2"),
        ("circle/circle_000.mp4 circel", "has no label; .*did you mean 'circle'"),
        ("circle/gone.mp4 0", "line 2: .*gone.mp4: no such file"),
    ],
)
def test_bad_lines(workplace, capsys, line, message):
    listing = workplace / "bad.txt"
    listing.write_text(f"circle/circle_001.mp4 0\n{line}\n")
    words = ["train", str(workplace / "tiny.py"), "--work-dir", str(workplace / "bad")]
    assert main([*words, "--cfg-options", f"lists.train={listing}"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]  # mmengine may warn before
    assert error.startswith("error: ")
    assert re.search(message, error), error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "mammalnet_k600"], "kinetics600_22k.pth: no such weights .load_from."),
        (["train", "mamalnet_k600"], "did you mean 'mammalnet_k600'"),
        (["train", "mammalnet_k600", "--gpus", "2"], "torchrun"),
        (["train", "mammalnet_k600", "--valdate"], "did you mean '--validate'"),
        (["train", "mammalnet_k600", "--resume", "a", "--resume-from", "b"], "mean the same"),
        (["test", "mammalnet_k600", "gone.pth", "--eval", "top_k_accuracy"], "gone.pth: no such"),
        (["extract", "mammalnet_k600", "gone.pth", "--out", "x"], "gone.pth: no such checkpoint"),
        (["probe", "gone", "--out", "x"], "gone: no such folder"),
        (["embed", "gone.mp4", "--checkpoint", "x", "--out", "y.nc"], "gone.mp4: no such video"),
        (["embed", "g.mp4", "--checkpoint", "x", "--out", "y.nc", "--stride", "64"], "--stride 64"),
        (["prepare", "mammalnet", "x", "--out", "y"], "needs --annotations"),
        (["prepare", "folder", "x", "--out", "y", "--k600", "z"], "--k600 is not for folder"),
        (["report", "gone", "--out", "x.html"], "gone: neither a run"),
        (["convert", "gone.pth", "x.pth", "--to", "ours"], "gone.pth: no such checkpoint"),
        (["trian"], "did you mean 'train'"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert error.count("\n") == 1


def test_mistakes_in_workers_are_one_line(workplace, capsys):
    bad = workplace / "my clips" / "circle" / "broken.mp4"
    bad.write_bytes(b"no video at all" * 40)
    listing = workplace / "broken.txt"
    listing.write_text("circle/broken.mp4 0\n")
    words = ["train", str(workplace / "tiny.py"), "--work-dir", str(workplace / "b")]
    changes = [f"lists.train={listing}", "train_dataloader.num_workers=1"]
    assert main([*words, "--cfg-options", *changes]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert "broken.txt, line 1: " in error
    bad.unlink()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "{config}", "--seed", "-3"], "--seed -3 must be from 0"),
        (["train", "{config}", "--work-dir", "{config}"], "tiny.py: is a file; give a folder"),
        (["test", "{config}", "{c}", "--eval-options", "tpok=1"], "did you mean 'topk'"),
        (["test", "{config}", "{c}", "--eval-options", "topk=0"], "topk=0: numbers of classes"),
        (["extract", "{config}", "{c}", "--out", "x", "--seed", "-1"], "--seed -1 must be"),
        (["test", "{config}", "{c}", "--cfg-options", "classes=a,b,c,d"], "head is left out"),
        (["test", "{config}", "{c}", *LORA], "scores would be those of random weights"),
    ],
)
def test_mistakes_in_numbers_and_places(
    workplace, run, tmp_path, monkeypatch, capsys, words, message
):
    monkeypatch.chdir(tmp_path)  # folders of runs go where one is
    places = {"config": workplace / "tiny.py", "c": run / "epoch_2.pth"}
    evaluation = ["--eval", "top_k_accuracy"] if words[0] == "test" else []
    assert main([word.format(**places) for word in words] + evaluation) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error


def test_several_labels(workplace, capsys):
    """Lines with several labels, as the README has it; what cannot be scored is told at once."""
    lines = (workplace / "lists" / "v_train.txt").read_text().splitlines()
    listing = workplace / "several.txt"
    listing.write_text("".join(f"{line} 1\n" if line[-1] != "1" else f"{line}\n" for line in lines))
    loaders = [f"{split}_dataloader.dataset.multi_class=True" for split in ("train", "val", "test")]
    folder = workplace / "several"
    words = [str(workplace / "tiny.py"), "--work-dir", str(folder), "--cfg-options", *loaders]
    words += [f"lists.train={listing}", f"lists.val={listing}", "train_cfg.max_epochs=1"]
    words += ["model.cls_head.multi_class=True", "model.cls_head.loss_cls.type=BCELossWithLogits"]
    assert main(["train", *words, "--validate"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "top_k_accuracy: needs one class per sample" in error
    assert not folder.exists()
    metric = "val_evaluator.metric_list=mean_average_precision"
    assert main(["train", *words, metric, "--validate"]) == 0
    assert "mean_average_precision" in capsys.readouterr().out
    words.insert(1, str(folder / "epoch_1.pth"))
    assert main(["test", *words, "--eval", "mean_class_accuracy"]) == 2
    assert not (folder / "evaluation.json").exists()
    words += ["--eval", "mean_average_precision", "--average-clips", "score"]
    assert main(["test", *words]) == 0
    found = json.loads((folder / "evaluation.json").read_text())
    assert found["class_counts"] == [3, 9, 3]
    assert found["confusion"] is None
    assert 0 <= found["scores"]["mean_average_precision"] <= 1


# Two processes with the variables that torchrun sets, forked from one that has imported everything:
# torchrun spends most of its time on that. Not from the tests' own, where torch may have threads.
TWO = """
import multiprocessing, os, sys
import uas_swin.registration, uas_swin.runner, uas_swin.train_loop
from uas_swin.cli import main

def work(rank, port, words):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2",
                   "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    sys.exit(main(words))

context = multiprocessing.get_context("fork")
both = [context.Process(target=work, args=(r, sys.argv[1], sys.argv[2:])) for r in range(2)]
for process in both:
    process.start()
for process in both:
    process.join()
sys.exit(any(process.exitcode for process in both))
"""


def test_two_processes_train_together(workplace, tmp_path):
    """By gloo, without a GPU; both steps see the gradients of both."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["train", str(workplace / "tiny.py"), "--launcher", "pytorch", "--validate"]
    words += ["--work-dir", str(tmp_path / "two"), "--cfg-options", "train_cfg.max_epochs=1"]
    command = [sys.executable, "-c", TWO, str(port), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    content = load_from_local(tmp_path / "two" / "epoch_1.pth")
    assert content["meta"]["iter"] == 5  # nine clips, two at a time
    assert done.stdout.count("run: ") == 1
