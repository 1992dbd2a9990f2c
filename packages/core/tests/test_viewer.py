"""The viewer: the right numbers in the page, and a page that answers in a browser."""

from __future__ import annotations

import argparse
import base64
import importlib.util
import json
import re
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest

from behaviorzoo import viewer_command
from behaviorzoo.embeddings import save_embeddings
from behaviorzoo.errors import UserError
from behaviorzoo.labels import dense_labels, from_dense, read_labels, write_labels
from behaviorzoo.recordings import load_recording, make_recording, save_recording
from behaviorzoo.synthetic import make_behaviour
from behaviorzoo.viewer import load_scene, write_view
from behaviorzoo.viewer.picture import view_figure

spec = importlib.util.spec_from_file_location("browser", Path(__file__).with_name("browser.py"))
assert spec is not None
assert spec.loader is not None
browser = importlib.util.module_from_spec(spec)
sys.modules["browser"] = browser
spec.loader.exec_module(browser)

FIRST, FRAMES = 155, 700


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """A recording whose frames start at 155, with embeddings, labels and predictions."""
    folder = tmp_path_factory.mktemp("view")
    ds, labels = make_behaviour(1, FRAMES, seed=3, individuals=2, missing=0.2)[0]
    ds = ds.assign_coords(time=ds["time"] + FIRST)
    ds["position"][7] = np.nan
    save_recording(ds, folder / "day <1>.nc")
    labels = labels.assign(
        recording="day <1>", start=labels["start"] + FIRST, stop=labels["stop"] + FIRST
    )
    write_labels(labels, folder / "labels.csv")
    predictions = pd.concat([labels.assign(level=level) for level in ("level_1", "level_2")])
    write_labels(predictions, folder / "predictions.csv")
    rng = np.random.default_rng(0)
    # The embeddings know all but the last 20 frames.
    levels = {f"level_{i}": rng.normal(size=(FRAMES - 20, 5)).cumsum(axis=0) for i in (1, 2)}
    save_embeddings(folder / "e.nc", {"day <1>": (FIRST, levels)})
    names = ("labels.csv", "predictions.csv", "e.nc", "day <1>.nc")
    return {name.partition(".")[0]: folder / name for name in names}


def scene_of(files, **changes):
    full = {
        "embeddings": files["e"],
        "labels": files["labels"],
        "predictions": files["predictions"],
    }
    return load_scene(files["day <1>"], **(full | changes))


@pytest.fixture(scope="module")
def page(files) -> Path:
    return write_view(scene_of(files, level="level_2"), files["e"].with_name("view.html"))


def page_data(path: Path) -> dict:
    html = path.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="page-data">(.*?)</script>', html, re.S)
    assert found is not None
    return json.loads(found.group(1))


def unpack(packed: dict) -> np.ndarray:
    """Slow and obvious: one value after the other."""
    raw, width = base64.b64decode(packed["data"]), len(packed["offset"])
    values = []
    for i in range(len(raw) // 2):
        step = int.from_bytes(raw[2 * i : 2 * i + 2], "little", signed=True)
        offset = packed["offset"][i % width]
        values.append(np.nan if step == -32768 else step * packed["scale"] + offset)
    return np.array(values)


def test_positions_survive_the_packing(files, page):
    position = load_recording(files["day <1>"])["position"].to_numpy()
    data = page_data(page)
    restored = unpack(data["positions"]).reshape(FRAMES, 2, 12, 2)
    np.testing.assert_allclose(restored, position.transpose(0, 3, 2, 1), atol=0.02)
    assert data["firstFrame"] == FIRST
    assert data["level"] == "level_2"


def test_maps_are_the_principal_components_and_end_with_the_embeddings(page, files):
    scene = scene_of(files)
    for packed in page_data(page)["maps"]:
        points = unpack(packed).reshape(FRAMES, 2)
        expected = scene.maps[packed["level"]]
        assert np.isnan(points[-20:]).all()
        np.testing.assert_allclose(points, expected, atol=2 * packed["scale"])


def test_tracks_are_the_labels_frame_by_frame(files, page):
    labels = read_labels(files["labels"])
    tracks = page_data(page)["tracks"]
    assert [(track["task"], track["level"]) for track in tracks] == [
        (task, level)
        for task in ("movement", "action", "activity")
        for level in ("", "level_1", "level_2")
    ]
    for track in tracks:
        codes = np.full(FRAMES, -1)
        runs = track["runs"]
        for start, stop, code in zip(runs[::3], runs[1::3], runs[2::3], strict=True):
            codes[start:stop] = code
        truth, classes = dense_labels(labels, "day <1>", track["task"], FIRST, FRAMES)
        assert track["classes"] == classes
        np.testing.assert_array_equal(codes, truth)


def test_a_stretch_is_named_by_the_frames_of_the_source(files):
    scene = scene_of(files, start=200, stop=300)
    assert (scene.first_frame, scene.n_frames) == (200, 100)
    whole = scene_of(files)
    np.testing.assert_array_equal(scene.tracks[0].codes, whole.tracks[0].codes[45:145])
    with pytest.raises(UserError, match=r"frames 0 to 300 .* it has the frames 155 to 854"):
        scene_of(files, start=0, stop=300)


def test_a_long_recording_stays_small(tmp_path):
    ds, _ = make_behaviour(1, 15000, seed=0, individuals=2)[0]
    save_recording(ds, tmp_path / "long.nc")
    page = write_view(load_scene(tmp_path / "long.nc"), tmp_path / "long.html")
    assert page.stat().st_size < 2.2e6


def test_overlapping_labels_get_a_strip_each(files, tmp_path):
    labels = read_labels(files["labels"])
    table = pd.DataFrame(
        {
            "recording": "day <1>",
            "task": "social",
            "start": pd.array([200, 230], dtype="Int64"),
            "stop": pd.array([260, 280], dtype="Int64"),
            "label": ["near", "touch"],
        }
    )
    path = tmp_path / "labels.csv"
    write_labels(pd.concat([labels, table]), path)
    tracks = load_scene(files["day <1>"], labels=path).tracks
    strips = {track.task: track.codes for track in tracks}
    assert (strips["near"] >= 0).sum() == 60
    assert (strips["touch"] >= 0).sum() == 50


def test_mistakes_are_named(files, tmp_path):
    with pytest.raises(UserError, match="did you mean 'level_2'"):
        scene_of(files, level="level2")
    with pytest.raises(UserError, match="--level needs --embeddings"):
        load_scene(files["day <1>"], level="level_1")
    with pytest.raises(UserError, match="need the column 'level'"):
        scene_of(files, predictions=files["labels"])
    other = tmp_path / "other.csv"
    write_labels(from_dense(["a"], "day 2", "task"), other)
    with pytest.raises(UserError, match=r"no row of recording 'day <1>'; did you mean 'day 2'"):
        scene_of(files, labels=other)
    with pytest.raises(UserError, match="no such recording"):
        load_scene(tmp_path / "no.nc")


def test_names_cannot_become_code_and_nothing_is_loaded(page):
    html = page.read_text(encoding="utf-8")
    assert "<h1>day &lt;1&gt;</h1>" in html
    assert html.count("</script>") == 4
    assert not re.findall(r'(?:src|href)\s*=\s*"(?!data:)', html)
    assert "http" not in html.replace('http-equiv="Content', "")
    assert "default-src 'none'" in html


def test_the_picture_has_poses_map_and_tracks(files, tmp_path):
    figure = view_figure(scene_of(files))
    shown = [item.get_text() for item in figure.findobj(matplotlib.text.Text)]
    for word in ("movement", "action\npredicted", "level_1, coloured by movement", "animal_2"):
        assert word in shown
    assert any(text.startswith("a   frame 271") for text in shown)
    assert view_figure(load_scene(files["day <1>"])) is not None
    assert view_figure(load_scene(files["day <1>"], embeddings=files["e"])) is not None


def test_the_verb_writes_page_and_picture(files, tmp_path, capsys):
    parser = argparse.ArgumentParser()
    viewer_command.add_arguments(parser)
    words = [str(files["day <1>"]), "--out", str(tmp_path / "v.html"), "--skeleton", "nose-neck"]
    words += ["--png", str(tmp_path / "v.png"), "--start", "160", "--stop", "400"]
    viewer_command.run(parser.parse_args(words))
    data = page_data(tmp_path / "v.html")
    assert (data["firstFrame"], data["frames"], data["edges"]) == (160, 240, [[0, 3]])
    assert (tmp_path / "v.png").stat().st_size > 5000
    assert "v.png" in capsys.readouterr().out


# ---- in a browser ----

TOOLS = """
    const wait = () => new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)));
    const key = async (name, more = {}) => {
      dispatchEvent(new KeyboardEvent('keydown', {key: name, ...more})); await wait(); };
    const number = () => Number(document.getElementById('number').value);
    const ink = (id) => { const c = document.getElementById(id);
      const pen = new OffscreenCanvas(c.width, c.height).getContext('2d');
      pen.drawImage(c, 0, 0);
      const d = pen.getImageData(0, 0, c.width, c.height).data;
      let n = 0; for (let i = 3; i < d.length; i += 4) if (d[i]) n++; return n; };
    const mouse = async (id, kind, x, y) => { const c = document.getElementById(id);
      const box = c.getBoundingClientRect();
      c.dispatchEvent(new PointerEvent(kind, {clientX: box.left + x * box.width,
        clientY: box.top + y * box.height, buttons: 1, bubbles: true})); await wait(); };
    await wait();
"""


def test_the_page_answers_to_keys_and_mouse(page, tmp_path):
    probe = (
        TOOLS
        + """
        const seen = {start: number(), ink: ['pose', 'map', 'tracks'].map(ink)};
        await key('ArrowRight'); seen.right = number();
        await key('ArrowRight', {shiftKey: true}); seen.second = number();
        await key('ArrowLeft'); seen.left = number();
        await key('End'); seen.end = number();
        await key('Home'); seen.home = number();
        const box = document.getElementById('number');
        box.value = 162; box.dispatchEvent(new Event('change')); await wait();
        seen.typed = number(); seen.empty = ink('pose');
        await mouse('tracks', 'pointerdown', 1, 0.3); seen.track = number();
        await mouse('map', 'click', 0.5, 0.5); seen.map = number();
        seen.near = frameNear(...mapPlace(document.getElementById('map').clientWidth,
          document.getElementById('map').clientHeight)(321));
        state.from = 0; state.to = data.frames;
        await key('+'); seen.zoomed = state.to - state.from;
        await key('Home'); seen.inView = state.from === 0;
        await key(' '); seen.playing = state.playing;
        await new Promise((go) => setTimeout(go, 1000)); seen.played = number();
        await key(' '); seen.stopped = !state.playing;
        seen.legend = document.querySelectorAll('.chip.on').length;
        seen.level = document.getElementById('level').value;
        seen.overflow = document.documentElement.scrollWidth - innerWidth;
        return seen;
        """
    )
    result = browser.visit(page, tmp_path, probe)
    assert result.console == []
    assert result.requests == []
    seen = result.result
    assert (seen["start"], seen["right"], seen["second"], seen["left"]) == (155, 156, 186, 185)
    assert (seen["end"], seen["home"], seen["typed"]) == (854, 155, 162)
    assert min(seen["ink"]) > 2000
    assert seen["track"] == 854
    assert FIRST <= seen["map"] < FIRST + FRAMES - 20
    assert seen["near"] == 321
    assert seen["zoomed"] == FRAMES / 2
    assert seen["inView"]
    assert seen["playing"]
    assert seen["stopped"]
    # A second at 30 frames a second; a busy machine may wake us late.
    assert 165 < seen["played"] < 300
    assert seen["legend"] == 3
    assert seen["level"] == "level_2"
    assert seen["overflow"] <= 0


def test_missing_points_are_simply_absent(tmp_path):
    position = np.full((4, 2, 3, 1), np.nan, dtype=np.float32)
    position[0] = np.arange(6).reshape(2, 3, 1)
    position[2, :, :2] = 3
    ds = make_recording(position, keypoints=list("abc"), individuals=["x"], fps=10, name="gap")
    save_recording(ds, tmp_path / "gap.nc")
    page = write_view(load_scene(tmp_path / "gap.nc"), tmp_path / "gap.html")
    probe = """
        const counts = [];
        const real = CanvasRenderingContext2D.prototype.arc;
        for (let frame = 0; frame < 4; frame++) {
          let n = 0;
          CanvasRenderingContext2D.prototype.arc = function (x, y, ...rest) {
            if (Number.isNaN(x) || Number.isNaN(y)) throw new Error('drew a missing point');
            n++; return real.call(this, x, y, ...rest); };
          state.frame = frame; drawPose(); counts.push(n);
        }
        return {counts, map: document.getElementById('map').clientWidth > 0};
    """
    seen = browser.visit(page, tmp_path, probe)
    assert seen.console == []
    assert seen.result == {"counts": [3, 0, 2, 0], "map": False}


def test_three_dimensions_can_be_turned(tmp_path):
    ds, _ = make_behaviour(1, 50, seed=0, dimensions=3)[0]
    save_recording(ds, tmp_path / "deep.nc")
    page = write_view(load_scene(tmp_path / "deep.nc"), tmp_path / "deep.html")
    probe = (
        TOOLS
        + """
        const before = posesOf(0), yaw = state.yaw;
        const c = document.getElementById('pose');
        const turn = new PointerEvent('pointermove', {buttons: 1, movementX: 90, movementY: 0});
        c.dispatchEvent(turn); await wait();
        return {turned: state.yaw - yaw, moved: before[0][0] !== posesOf(0)[0][0], ink: ink('pose'),
          numbers: posesOf(0).flat().every(Number.isFinite)};
        """
    )
    seen = browser.visit(page, tmp_path, probe)
    assert seen.console == []
    assert seen.result["turned"] == pytest.approx(0.6)
    assert seen.result["moved"]
    assert seen.result["numbers"]
    assert seen.result["ink"] > 500
