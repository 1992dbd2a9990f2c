"""Embeddings and visual prototypes of a small trained run, whole videos, labels at moments."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from behaviorzoo.embeddings import open_embeddings
from behaviorzoo.errors import UserError
from behaviorzoo.labels import dense_labels, read_labels
from sgear.cli import main
from sgear.data.config import AnticipationConfig, DataConfig, DatasetConfig
from sgear.data.readers.hdf5_features import write_hdf5
from sgear.data.readers.opening import open_reader
from sgear.embed import recording_names
from sgear.embed_command import command
from sgear.evaluation_set import read_evaluation_set
from sgear.moments import duration, find_videos, labels_at_moments, moments_dataset
from sgear.prototypes.command import command as prototypes
from sgear.prototypes.files import read_stored, read_vectors
from sgear.prototypes.from_run import collect, first_of_each
from sgear.trained_run import open_run


@pytest.fixture(scope="module")
def small():
    sys.path.insert(0, str(Path(__file__).parent))
    import sgear_small_run

    yield sgear_small_run
    sys.path.remove(str(Path(__file__).parent))


@pytest.fixture(scope="module")
def run(tmp_path_factory, small):
    folder = tmp_path_factory.mktemp("embed")
    data = small.write_features(folder / "data")
    words = small.words(data, "train.num_epochs=1", "opt.warmup.num_epochs=0")
    return small.start(folder / "run", words)


@pytest.fixture(scope="module")
def trained(run):
    return open_run(run)


def one_by_one(trained, dataset, rows):
    """Outputs of single clips, without batches."""
    found = []
    for row in rows:
        item = dataset[row]
        with torch.no_grad():
            outputs, _ = trained.network({"mod_0": item["video"]["mod_0"][None]})
        found.append(outputs)
    return found


def test_segments_of_the_run(run, trained, tmp_path, capsys):
    out = tmp_path / "e.nc"
    command([str(run), "--out", str(out), "--levels", "past", "similarities", "future",
             "--set", "dataset_train", "--batch-size", "5"])  # fmt: skip
    text = capsys.readouterr().out
    dataset = trained.dataset("dataset_train")
    segments = pd.read_csv(tmp_path / "e_segments.csv")
    assert f"({len(dataset)} rows of 3 videos)" in text
    assert "segments have too little video" in text
    labels = read_labels(tmp_path / "e_labels.csv")
    names = {code: name for name, code in dataset.classes["action"].items()}
    with open_embeddings(out) as embeddings:
        assert embeddings.levels == ["future", "past", "similarities"]
        assert embeddings.recordings == ["v0", "v1", "v2"]
        for recording in embeddings.recordings:
            own = dataset.table[dataset.table["video_id"] == recording].sort_values("end")
            rows = segments[segments["recording"] == recording]
            assert rows["uid"].tolist() == own["uid"].tolist()
            codes, classes = dense_labels(labels, recording, "action", 0, len(own))
            assert [classes[c] for c in codes] == [names[c] for c in own["action_class"]]
            assert len(embeddings.read("future", recording)) == len(own)
        whole = np.concatenate([embeddings.read("future", r) for r in embeddings.recordings])
    # Prototype tokens of the clips of a batch are mixed (upstream): whole batches are compared.
    order = segments["uid"].map({uid: row for row, uid in enumerate(dataset.table["uid"])})
    expected = []
    for start in range(0, len(order), 5):
        items = [dataset[row]["video"]["mod_0"] for row in order[start : start + 5]]
        with torch.no_grad():
            outputs, _ = trained.network({"mod_0": torch.stack(items)})
        expected.append(outputs["future_agg"])
    np.testing.assert_allclose(whole, torch.cat(expected), rtol=1e-4, atol=1e-5)


def test_own_segments(run, trained, tmp_path, capsys):
    table = tmp_path / "mine.csv"
    table.write_text(
        "video,start,stop,label\nv1.mp4,6.5,7,left\nv0.mp4,3,4,right\nv0.mp4,2.7,2.9,left\n"
        "nowhere.mp4,3,4,left\n"
    )
    command([str(run), "--segments", str(table), "--out", str(tmp_path / "e.nc"),
             "--batch-size", "1"])  # fmt: skip
    assert "features: 2 of 3 found" in capsys.readouterr().out
    labels = read_labels(tmp_path / "e_labels.csv")
    by_place = {(r["recording"], r["start"]): r["label"] for r in labels.to_dict("records")}
    assert by_place == {("v1", 0): "left", ("v0", 0): "left", ("v0", 1): "right"}
    segments = pd.read_csv(tmp_path / "e_segments.csv")
    np.testing.assert_allclose(segments["end"], segments["orig_start"] - 0.5)
    with open_embeddings(tmp_path / "e.nc") as embeddings:
        assert embeddings.levels == ["future", "past"]
        found = embeddings.read("past", "v0")
    config = trained.set_config("dataset_eval")
    own = replace(config, annotation_path=[str(table)], action_labels_fpath="")
    dataset = trained.dataset("mine", own)
    rows = np.flatnonzero(dataset.table["video_id"] == "v0")
    rows = rows[np.argsort(dataset.table["end"].to_numpy()[rows])]
    expected = one_by_one(trained, dataset, rows.tolist())
    expected = torch.cat([o["past_mean_representation"] for o in expected])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_moments_of_whole_videos(run, trained, tmp_path, capsys):
    labels = tmp_path / "labels.csv"
    labels.write_text(
        "recording,task,start,stop,label\nv3,move,0,60,slow\nv3,move,90,300,fast\nv3,all,,,yes\n"
    )
    command([str(run), "--every", "0.5", "--labels", str(labels), "--out", str(tmp_path / "e.nc")])
    segments = pd.read_csv(tmp_path / "e_segments.csv")
    config = trained.set_config("dataset_eval")
    rows = np.load(next(Path(config.reader_fn[0].path[0]).glob("v3.npy")))  # (C, frames)
    count = rows.shape[1] // 15  # 30 frames a second
    assert segments["end"].tolist() == [0.5 * k for k in range(1, count + 1)]
    found = read_labels(tmp_path / "e_labels.csv")
    codes, names = dense_labels(found, "v3", "move", 0, count, ["slow", "fast"])
    expected = [
        0 if f < 60 else 1 if 90 <= f < 300 else -1 for f in (15 * k for k in range(1, count + 1))
    ]
    assert codes.tolist() == expected
    whole, _ = dense_labels(found, "v3", "all", 0, count)
    assert (whole == 0).all()
    assert names == ["slow", "fast"]
    config = replace(config, sample_strategy="last_clip")
    dataset, notes = moments_dataset(config, trained.config.data_eval, ["v3.mp4"], 0.5)
    assert not notes
    item = dataset[9]  # at 5 s; two frames a second, 4 of them, 2 s back
    seen = item["video"]["mod_0"][:, :, 0, 0, 0].numpy()
    np.testing.assert_allclose(seen[-1], rows[:, 5 * 30 - 1])
    assert f"{count} rows of 1 videos" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--levels", "futur"], "did you mean 'future'"),
        (["--set", "dataset_evil"], "did you mean 'dataset_eval'"),
        (["--every", "0"], "above 0"),
        (["--every", "1", "--segments", "x.csv"], "--segments or --every"),
        (["--labels", "x.csv"], "for --every"),
        (["--videos", "x"], "say what the rows are"),
        (["--batch-size", "0"], "at least 1"),
        (["--segments", "absent.csv"], "no such annotation"),
        (["--every", "1", "--videos", "absent"], "no such folder of videos"),
        (["--every", "99"], "no moment in 1 videos; v3.mp4: lasts 1"),
        (["--checkpoint", "absent.pth"], "absent.pth"),
    ],
    ids=lambda value: value[0][2:] if isinstance(value, list) else "",
)
def test_command_refuses(run, tmp_path, words, message):
    with pytest.raises(UserError, match=message):
        command([str(run), *words, "--out", str(tmp_path / "e.nc")])
    assert not (tmp_path / "e.nc").exists()


def test_a_folder_without_settings_is_refused(run, tmp_path):
    with pytest.raises(UserError, match="so its data are not known"):
        open_run(tmp_path, checkpoint=run / "checkpoint.pth", words=["seed=1"])


def test_visual_prototypes_of_a_run(run, trained, tmp_path, capsys):
    prototypes(["visual", "--run", str(run), "--capacity", "2", "--dataset", "own",
                "--out", str(tmp_path)])  # fmt: skip
    assert "5 classes, 64 features" in capsys.readouterr().out
    found = read_vectors(tmp_path / "visual_encodings.safetensors")
    dataset = trained.dataset("dataset_train")
    labels = dataset.table["action_class"].to_numpy()
    rows = first_of_each(labels, 2)
    sums = np.zeros((5, 64))
    size = trained.config.settings.eval.batch_size or trained.config.settings.train.batch_size
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        videos = torch.stack([dataset[int(row)]["video"]["mod_0"] for row in part])
        with torch.no_grad():
            outputs, _ = trained.network({"mod_0": videos})
        np.add.at(sums, labels[part], outputs["future_agg"].double().numpy())
    counts = np.array([min((labels == code).sum(), 2) for code in range(5)])
    assert found.about["counts"] == counts.tolist()
    assert found.about["set"] == "dataset_train"
    np.testing.assert_allclose(found.vectors, sums / counts[:, None], rtol=1e-4, atol=1e-5)


def test_evaluation_stores_what_prototypes_and_pages_need(run, tmp_path, capsys):
    words = ["test", str(run), "eval.eval_fn.store_embeddings=true", "--out", str(tmp_path / "t")]
    assert main(words) == 0
    stored = tmp_path / "t" / "embeddings.pth"
    table = read_stored(stored)
    items = read_evaluation_set(tmp_path / "t" / "results")
    counts = np.bincount(items.labels("action"), minlength=5)
    assert [len(rows) for rows in table.values()] == np.minimum(counts, 20).tolist()
    code = main(["prototypes", "visual", "--stored", str(stored), "--out", str(tmp_path)])
    assert code == (0 if counts.all() else 2)  # without language encodings to stand in
    assert main(["fuse", f"{tmp_path / 't'}:2.5", f"{run}:0.5", "--out", str(tmp_path / "f")]) == 0
    assert main(["report", str(tmp_path / "f"), "--out", str(tmp_path / "f.html")]) == 0
    assert main(["report", str(run), "--out", str(tmp_path / "run.html")]) == 0
    assert "Anticipations" in (tmp_path / "run.html").read_text()
    capsys.readouterr()
    assert main(["fuse", str(tmp_path / "nowhere")]) == 2
    assert "no such run, experiment or file of scores" in capsys.readouterr().err


def test_classes_without_a_clip_get_the_language_encoding_of_the_run(run, small, tmp_path, capsys):
    validation = run.parent / "data" / "annotations"
    rows = (validation / "validation.csv").read_text().splitlines()
    few = tmp_path / "few.csv"
    few.write_text("\n".join([rows[0], *[row for row in rows[1:] if not row.endswith("3")]]) + "\n")
    classes = tmp_path / "classes.csv"
    classes.write_text("label\n" + "".join(f"act {k}\n" for k in range(small.N_ACTIONS)))
    encodings = run.parent / "data" / "prototypes" / "encodings.safetensors"
    words = [
        f"dataset_train.annotation_path=[{few}]",
        f"dataset_train.action_labels_fpath={classes}",
        f"dataset_train.embeddings_path={encodings}",
    ]
    prototypes(["visual", "--run", str(run), "--out", str(tmp_path), *words])
    assert "1 of 5 classes have no clip and get their language encoding: 3 (act 3)" in (
        capsys.readouterr().out
    )
    found = read_vectors(tmp_path / "visual_encodings.safetensors")
    torch.testing.assert_close(found.vectors[3], read_vectors(encodings).vectors[3])
    with pytest.raises(UserError, match="at least 1 clip per class"):
        collect(run, capacity=0)


def test_first_rows_of_each_class():
    rng = np.random.default_rng(0)
    for number in (1, 3):
        labels = rng.integers(-1, 5, size=40)
        expected = [
            row for row, label in enumerate(labels)
            if label >= 0 and (labels[:row] == label).sum() < number
        ]  # fmt: skip
        assert first_of_each(labels, number).tolist() == expected
    assert first_of_each(np.array([], dtype=int), 2).tolist() == []
    assert first_of_each(np.array([-1, -1]), 2).tolist() == []


def test_videos_with_one_name_in_two_folders():
    table = pd.DataFrame(
        {
            "video_path": ["a/day.mp4", "b/day.mp4", "a/night.mp4"],
            "video_id": ["day", "day", "night"],
        }
    )
    assert recording_names(table).tolist() == ["a_day", "b_day", "night"]


def test_length_of_features_with_gaps(tmp_path):
    rows = np.ones((100, 4), dtype=np.float32)
    rows[40:52] = np.nan
    write_hdf5(tmp_path / "f.h5", {"v": rows, "one": rows[:1]}, fps=10.0)
    config = DatasetConfig(kind="table")
    config.reader_fn[0].kind, config.reader_fn[0].path = "hdf5", [str(tmp_path / "f.h5")]
    reader = open_reader(config.reader_fn[0], [])
    assert duration(reader, "sub/v.mp4") == 10.0
    assert duration(reader, "one") == 0.1
    with pytest.raises(UserError, match="no features of it"):
        duration(reader, "w")


def test_moments_of_real_videos(tmp_path):
    video = pytest.importorskip("behaviorzoo.synthetic_video")
    (tmp_path / "sub").mkdir()
    frames = np.zeros((30, 32, 32, 3), dtype=np.uint8)
    frames[..., 0] = np.arange(30)[:, None, None] * 8
    for name in ("a.mp4", "sub/b.mp4"):
        video.write_video(tmp_path / name, frames, 10)
    (tmp_path / "notes.txt").write_text("no video")
    assert find_videos(tmp_path) == ["a.mp4", "sub/b.mp4"]
    config = DatasetConfig(
        kind="table",
        root=[str(tmp_path)],
        sample_strategy="last_clip",
        conv_to_anticipate_fn=AnticipationConfig(tau_a=1.0, tau_o=1.5),
    )
    data = DataConfig(num_frames=3, frame_rate=2, scale_h=16, scale_w=16, crop_size=None)
    dataset, _ = moments_dataset(config, data, find_videos(tmp_path), 1.0)
    assert dataset.table[["video_id", "end"]].to_numpy().tolist() == [
        [name, second] for name in "ab" for second in (1.0, 2.0, 3.0)
    ]
    item = dataset[1]
    red = item["video"]["mod_0"][0, 0].mean((1, 2)) * 0.22803 + 0.43216
    np.testing.assert_allclose(red * 255, [8 * f for f in (10, 15, 20)], atol=6)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no video in it"):
        find_videos(tmp_path / "empty")


def test_labels_of_other_recordings_are_refused():
    segments = pd.DataFrame({"recording": ["a"], "row": [0], "end": [1.0]})
    labels = pd.DataFrame(
        {"recording": ["b"], "task": ["t"], "start": [0], "stop": [9], "label": ["x"]}
    )
    with pytest.raises(UserError, match="'a': choose one of: b"):
        labels_at_moments(labels, segments, {"a": 10.0})
