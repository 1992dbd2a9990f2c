"""Embedding files of clips and recordings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from behaviorzoo.checkpoints import save_checkpoint
from behaviorzoo.embeddings import open_embeddings
from behaviorzoo.errors import UserError
from behaviorzoo.labels import read_labels
from behaviorzoo.recordings import make_recording, save_recording
from behaviorzoo.schema import to_dict
from hysp.checkpoints import build_network, load_checkpoint
from hysp.config import configure, sized
from hysp.data import DataConfig
from hysp.data.opening import open_data
from hysp.embed import command
from hysp.embed_windows import frame_means
from hysp.encoding import ClipEncoder
from hysp.hyperbolic import exp_map
from hysp.model import build_model

JOINTS = ["tail", "hip", "neck", "nose"]
EDGES = [["tail", "hip"], ["hip", "neck"], ["neck", "nose"]]
WORDS = [
    "data.clips.edges=[[tail,hip],[hip,neck],[neck,nose]]",
    "data.clips.window=12",
    "data.clips.stride=4",
    "data.clips.frames=10",
    "model.encoder.hidden_channels=4",
    "model.encoder.out_channels=8",
    "model.projection_hidden_size=[6,6]",
    "model.predictor_hidden_size=[6,6]",
]
LENGTHS = {"day_1": 61, "day_2": 40}


def write_recordings(folder: Path, **lengths: int) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, n in lengths.items():
        walk = rng.normal(size=(n, 2, 4, 1)).cumsum(axis=0)
        body = np.arange(4)[None, None, :, None] * 5.0
        position = (walk + body).astype(np.float32)
        ds = make_recording(
            position, keypoints=JOINTS, individuals=["mouse"], fps=25.0, name=name, first_frame=100
        )
        save_recording(ds, folder / f"{name}.nc")
    return folder


def write_network(folder: Path, data_path: Path) -> Path:
    config = configure([f"data.path={data_path}", *WORDS])
    data = open_data(config.data, "all")
    config = sized(config, data.skeleton, data.shape[0])
    torch.manual_seed(0)
    model = build_model(config.model)
    return save_checkpoint(
        folder, model.state_dict(), to_dict(config), {"data_state": data.state_dict()}
    )


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    return write_recordings(tmp_path_factory.mktemp("data") / "recordings", **LENGTHS)


@pytest.fixture(scope="module")
def network(tmp_path_factory, recordings) -> Path:
    return write_network(tmp_path_factory.mktemp("run") / "network", recordings)


def test_frames_have_the_mean_of_their_windows():
    rng = np.random.default_rng(0)
    values, starts = rng.normal(size=(5, 3)), np.array([0, 4, 8, 20, 24])
    found = frame_means(values, starts, window=6, stride=4, n_frames=33)
    for frame in range(33):
        over = [v for v, s in zip(values, starts, strict=True) if s <= frame < s + 6]
        if over:
            np.testing.assert_allclose(found[frame], np.mean(over, axis=0), rtol=1e-6)
        elif frame >= 30:
            np.testing.assert_allclose(found[frame], values[-1], rtol=1e-6)
        else:
            assert np.isnan(found[frame]).all()


def test_long_recordings_are_stitched_like_short_ones():
    rng = np.random.default_rng(0)
    n, window, stride = 20_000, 60, 10
    starts = np.arange(0, n - window + 1, stride)
    values = rng.normal(size=(len(starts), 2))
    found = frame_means(values, starts, window, stride, n)
    for frame in (0, 8190, 8191, 8192, 8193, 16383, 16384, 19_999):
        over = (starts <= frame) & (frame < starts + window)
        np.testing.assert_allclose(found[frame], values[over].mean(axis=0), rtol=1e-5, atol=1e-6)
    assert np.isfinite(found).all()


def test_recordings_frame_by_frame(recordings, network, tmp_path, capsys):
    out = tmp_path / "e.nc"
    command([str(network), f"data.path={recordings}", "--out", str(out), "--batch-size", "3",
             "--no-progress", "--report", str(tmp_path / "page.html")])  # fmt: skip
    assert str(out) in capsys.readouterr().out
    model = build_network(network)
    data = open_data(load_data_config(network, recordings), "all")
    with torch.no_grad():
        features = model.online_encoder(torch.from_numpy(np.array(data.x)))
        points = exp_map(model.online_projector(features))
    radius = points.norm(dim=1).numpy()
    with open_embeddings(out) as file:
        assert file.levels == ["encoder", "projection", "hyperbolic", "uncertainty"]
        assert file.attrs["window"] == 12
        assert file.attrs["stream"] == "joint"
        for name, length in LENGTHS.items():
            assert file.span(name) == (100, length)
            own = np.flatnonzero(data.table["recording"] == name)
            starts = data.table["start"].astype(int).to_numpy()[own]
            for level, values in (
                ("encoder", features.numpy()),
                ("uncertainty", 1 - radius[:, None]),
            ):
                found = file.read(level, name)
                for frame in (0, 5, 13, length - 1):
                    over = own[(starts <= frame + 100) & (frame + 100 < starts + 12)]
                    over = over if len(over) else own[-1:]
                    expected = values[over].mean(axis=0)
                    np.testing.assert_allclose(found[frame], expected, rtol=1e-4, atol=1e-6)
    table = pd.read_csv(tmp_path / "e_sequences.csv")
    np.testing.assert_allclose(table["radius"], radius, rtol=1e-6)
    assert table["start"].tolist() == data.table["start"].astype(int).tolist()
    page = (tmp_path / "page.html").read_text()
    assert "Poincare disk" in page
    assert (tmp_path / "page_disk.png").exists()


def load_data_config(network: Path, path: Path, **changes) -> DataConfig:
    from dataclasses import replace

    from hysp.inputs import cut_alike

    return replace(cut_alike(DataConfig(path=str(path)), load_checkpoint(network), []), **changes)


def test_gaps_are_nan_and_told_and_short_recordings_left_out(network, tmp_path, capsys):
    folder = write_recordings(tmp_path / "more", gap=80, short=7)
    from behaviorzoo.recordings import load_recording

    ds = load_recording(folder / "gap.nc").load()
    ds["position"][30:50] = np.nan
    (folder / "gap.nc").unlink()
    save_recording(ds, folder / "gap.nc")
    out = tmp_path / "e.nc"
    words = [str(network), f"data.path={folder}", "--out", str(out), "--no-progress"]
    command([*words, "data.clips.missing=drop", "data.clips.max_gap=null"])
    shown = capsys.readouterr().out
    assert "short: no window of 12 frames in its 7" in shown
    assert "frames are in no window: NaN" in shown
    with open_embeddings(out) as file:
        assert file.recordings == ["gap"]
        empty = np.isnan(file.read("encoder", "gap")).any(axis=1)
    assert empty[30:50].all()
    assert not empty[:28].any()


def test_labelled_clips_get_a_row_each(recordings, network, tmp_path):
    labels = tmp_path / "labels.csv"
    rows = [
        (name, "act", start, start + 9, "abc"[start % 3])
        for name, length in LENGTHS.items()
        for start in range(100, 100 + length - 9, 7)
    ]
    pd.DataFrame(rows, columns=["recording", "task", "start", "stop", "label"]).to_csv(
        labels, index=False
    )
    out = tmp_path / "clips.nc"
    command([
        str(network), f"data.path={recordings}", f"data.labels={labels}", "data.clips.window=null",
        "data.clips.stride=null", "--out", str(out), "--levels", "hyperbolic", "--no-progress",
        "--report", str(tmp_path / "page.html"), "--uncertainty-file", str(tmp_path / "u.pkl"),
        "--halves", str(tmp_path / "halves"),
    ])  # fmt: skip
    table = pd.read_csv(tmp_path / "clips_sequences.csv")
    assert len(table) == len(rows)
    with open_embeddings(out) as file:
        assert file.levels == ["hyperbolic"]
        assert file.recordings == table["name"].tolist()
        assert file.span(table["name"][1]) == (table["start"][1], 1)
        radius = np.linalg.norm(file.read("hyperbolic"), axis=1)
    np.testing.assert_allclose(radius, table["radius"], rtol=1e-5)
    written = read_labels(tmp_path / "clips_labels.csv")
    assert written["label"].tolist() == table["act"].tolist()
    assert (tmp_path / "page_uncertainty_act.png").exists()
    sizes = [
        len(json.loads((tmp_path / "halves" / half / "dataset.json").read_text())["tasks"])
        for half in ("low", "high")
    ]
    assert sizes == [1, 1]


def test_branches_streams_and_compat(recordings, network):
    loaded = load_checkpoint(network)
    device = torch.device("cpu")
    x = torch.from_numpy(np.array(open_data(load_data_config(network, recordings), "all").x))
    online = ClipEncoder(loaded, device)(x)
    for name, size in ClipEncoder(loaded, device).sizes.items():
        assert online[name].shape == (len(x), size)
    upstream = ClipEncoder(loaded, device, compat="upstream")
    assert upstream.sizes["hyperbolic"] == 8
    points = exp_map(torch.from_numpy(online["encoder"]))
    np.testing.assert_allclose(upstream(x)["hyperbolic"], points, atol=1e-6)
    motion = ClipEncoder(loaded, device, stream="motion")(x)
    assert not np.allclose(motion["encoder"], online["encoder"])
    with pytest.raises(UserError, match="online"):
        ClipEncoder(loaded, device, branch="onlin")
    with pytest.raises(UserError, match="precision=16 is for GPUs"):
        ClipEncoder(loaded, device, precision="16")(x)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--levels", "encodr"], "did you mean 'encoder'"),
        (["--stream", "joints"], "did you mean 'joint'"),
        (["--batch-size", "0"], "at least 1"),
        (["model.method=hysp"], r"only data\.\* can be set"),
        (["--halves", "x"], "is for clips"),
        (["data.clips.centre=nose"], "those of the training"),
    ],
)
def test_wrong_words_are_told(recordings, network, tmp_path, words, message):
    with pytest.raises(UserError, match=message):
        command([str(network), f"data.path={recordings}", "--out", str(tmp_path / "e.nc"),
                 "--no-progress", *words])  # fmt: skip
    assert not (tmp_path / "e.nc").exists()


def test_without_a_path_the_training_data_are_embedded(network, recordings, tmp_path):
    command([str(network), "--out", str(tmp_path / "e.nc"), "--no-progress"])
    with open_embeddings(tmp_path / "e.nc") as file:
        assert file.recordings == list(LENGTHS)


def test_clips_of_another_skeleton_are_refused(network, tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "train_position.npy", rng.normal(size=(4, 3, 50, 25, 2)).astype("f4"))
    np.save(tmp_path / "train_label.npy", np.zeros((4, 1), dtype=int))
    path = tmp_path / "train_position.npy"
    with pytest.raises(UserError, match="25 joints"):
        command([str(network), f"data.path={path}", "--out", str(tmp_path / "e.nc")])
