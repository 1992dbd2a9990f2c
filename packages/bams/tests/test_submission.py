from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from bams.data import DataConfig, open_sequences
from bams.embed import embed
from bams.model import BAMS, ModelConfig
from bams.submission import contiguous_map, find_map, read_map, write_submission
from behaviorzoo.embeddings import save_embeddings
from behaviorzoo.errors import UserError
from behaviorzoo.mabe import load_dictionary, load_submission, save_dictionary

L = 7
SIZES = {"short_term": 2, "long_term": 3}
TRAIN, TEST = ["tr0", "tr1", "tr2"], ["te0", "te1"]


def clips(names: Sequence[str], seed: int = 0) -> dict[str, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return {
        name: {
            level: rng.normal(2, 3, size=(L, 2 * size)).astype(np.float32)
            for level, size in SIZES.items()
        }
        for name in names
    }


def write(
    folder: Path, content: dict[str, dict[str, np.ndarray]], aggregate: str = "mean_range"
) -> Path:
    return save_embeddings(
        folder / "mice.nc",
        {name: (0, levels) for name, levels in content.items()},
        {"aggregate": aggregate, "embedding_sizes": SIZES},
    )


def slow(content: dict[str, dict[str, np.ndarray]], test: Sequence[str]) -> np.ndarray:
    """Every entry by itself, over all clips."""
    joined = {
        name: np.concatenate(
            [
                *(levels[level][:, :size] for level, size in SIZES.items()),
                *(levels[level][:, size:] for level, size in SIZES.items()),
            ],
            axis=1,
        ).astype(np.float64)
        for name, levels in content.items()
    }
    out = np.zeros((len(test) * L, 10))
    for t in range(L):
        for d in range(10):
            values = np.array([clip[t, d] for clip in joined.values()])
            for k, name in enumerate(test):
                value = joined[name][t, d]
                out[k * L + t, d] = (value - values.mean()) / values.std()
    return out


def test_means_then_ranges_scaled_over_all_clips(tmp_path: Path) -> None:
    content = clips(TRAIN + TEST)
    out = write_submission(write(tmp_path, content), tmp_path / "s.npy", TEST)
    ranges, values = load_submission(out)
    assert ranges == {"te0": (0, L), "te1": (L, 2 * L)}
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, slow(content, TEST), rtol=1e-5, atol=1e-6)


def test_a_large_offset_costs_no_precision(tmp_path: Path) -> None:
    content = clips(TRAIN + TEST)
    for levels in content.values():
        for values in levels.values():
            values += 1000
    out = write_submission(write(tmp_path, content), tmp_path / "s.npy", TEST)
    np.testing.assert_allclose(load_submission(out)[1], slow(content, TEST), rtol=1e-5, atol=1e-5)


def test_the_map_says_where_a_clip_goes(tmp_path: Path) -> None:
    content = clips(TRAIN + TEST)
    places = {"te1": (0, L), "te0": (L, 2 * L)}
    save_dictionary(tmp_path / "map.npy", places)
    out = write_submission(
        write(tmp_path, content), tmp_path / "s.npy", TEST, frame_map=tmp_path / "map.npy"
    )
    ranges, values = load_submission(out)
    assert ranges == places
    expected = slow(content, ["te1", "te0"])
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)
    # Plain ints in tuples, as the benchmark's own files have them.
    written = load_dictionary(out)["frame_number_map"]
    assert [type(entry) for entry in written.values()] == [tuple, tuple]


def test_entries_that_are_equal_in_all_clips(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = clips(TRAIN + TEST)
    for levels in content.values():
        levels["short_term"][3, 1] = 0.1
        levels["long_term"][:, 4] = 0
    source = write(tmp_path, content)
    values = {}
    for compat in ("paper", "upstream"):
        out = write_submission(source, tmp_path / f"{compat}.npy", TEST, compat=compat)
        values[compat] = load_submission(out)[1]
    constant = np.zeros((2 * L, 10), bool)
    constant[[3, L + 3], 1] = True
    constant[:, 5 + 2 + 1] = True  # ranges of short_term, then the second range of long_term
    np.testing.assert_array_equal(values["paper"][constant], 0)
    assert np.isnan(values["upstream"][constant]).all()
    np.testing.assert_array_equal(values["paper"][~constant], values["upstream"][~constant])
    assert "8 of 70 entries (frame, feature) are equal in all 5 clips and become 0" in caplog.text
    assert "become NaN (compat=upstream)" in caplog.text


def test_what_is_not_a_number_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = clips(TRAIN + TEST)
    content["tr1"]["short_term"][2] = np.nan
    source = save_embeddings(
        tmp_path / "mice.nc",
        {name: (0, levels) for name, levels in content.items()},
        {"aggregate": "mean_range", "embedding_sizes": SIZES},
        allow_missing=True,
    )
    out = write_submission(source, tmp_path / "s.npy", TEST, compat="upstream")
    missing = np.isnan(load_submission(out)[1])
    assert missing[[2, L + 2]][:, [0, 1, 5, 6]].all()
    assert missing.sum() == 8
    assert "4 of 70 entries (frame, feature) are NaN in some clip" in caplog.text


def test_rounding_of_the_network_is_no_difference(tmp_path: Path) -> None:
    content = clips(TRAIN + TEST)
    for k, levels in enumerate(content.values()):
        levels["long_term"][2, 0] = 5 + 5e-7 * (k % 2)
    out = write_submission(write(tmp_path, content), tmp_path / "s.npy", TEST)
    np.testing.assert_array_equal(load_submission(out)[1][[2, L + 2], 2], 0)


def test_without_training_clips_it_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = clips(TEST)
    write_submission(write(tmp_path, content), tmp_path / "s.npy", TEST)
    assert "mice.nc has no training clips" in caplog.text


def test_the_map_beside_the_data_is_found(tmp_path: Path) -> None:
    assert find_map([str(tmp_path)], "mice") is None
    save_dictionary(tmp_path / "mouse_triplet_frame_number_map.npy", {"a": np.array([0, 5])})
    for path in (tmp_path, tmp_path / "mouse_triplet_test.npy"):
        found = find_map([str(path)], "mice")
        assert found is not None
        assert read_map(found) == {"a": (0, 5)}
    assert find_map([str(tmp_path)], "flies") is None
    assert find_map([str(tmp_path)], "recordings") is None


def test_clips_that_cannot_be_one_submission(tmp_path: Path) -> None:
    content = clips(TRAIN + TEST)

    def attempt(message: str, test: Sequence[str] = TEST, **options) -> None:
        with pytest.raises(UserError, match=message):
            write_submission(tmp_path / "mice.nc", tmp_path / "s.npy", test, **options)
        assert not (tmp_path / "s.npy").exists()

    write(tmp_path, content, aggregate="mean")
    attempt("short_term does not hold mean and range over several animals")
    write(tmp_path, content)
    attempt("no test clip 'te7'; did you mean 'te", test=["te0", "te7"])
    attempt("no test clip to submit", test=[])
    for places, message in (
        ({"te0": (0, L), "other": (L, 2 * L)}, "no clip 'te1'"),
        ({"te0": (0, L), "te1": (L, 3 * L)}, r"clip 'te1' has the frames \[7, 21\)"),
        ({**contiguous_map(TEST, L), "te2": (14, 21)}, "clip 'te2' is not among the 2 test clips"),
        ({"te0": (0, L), "te1": (2 * L, 3 * L)}, "do not follow each other without gap"),
        ({"te0": (0, L), "te1": (0, L)}, "do not follow each other without gap"),
        ({"te0": (0, L), "te1": 4}, r"clip 'te1' has 4, expected \(start, stop\)"),
    ):
        save_dictionary(tmp_path / "map.npy", places)
        attempt(message, frame_map=tmp_path / "map.npy")
    content["tr1"] = {level: values[:-1] for level, values in content["tr1"].items()}
    write(tmp_path, content)
    attempt("clip 'tr1' has 6 frames, 'te0' has 7")


def fly_files(folder: Path, flies: int, points: int, frames: int) -> dict[str, np.ndarray]:
    """Files of two training and two test clips; the last fly of each test clip is absent."""
    rng = np.random.default_rng(3)
    clips: dict[str, np.ndarray] = {}
    for split, names in (("train", TRAIN[:2]), ("test", TEST)):
        for name in names:
            steps = rng.normal(size=(frames, flies, points, 2))
            clips[name] = 100 + steps.cumsum(axis=0)
            if split == "test":
                clips[name][:, -1] = np.nan
            clips[name][4, 0, 1] = np.nan
        content = {name: {"keypoints": clips[name]} for name in names}
        save_dictionary(folder / f"fly_group_{split}.npy", {"sequences": content})
    return clips


@pytest.mark.parametrize("compat", ["paper", "upstream"])
def test_flies_from_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compat: str
) -> None:
    flies, points, frames = 3, 2, 40
    clips = fly_files(tmp_path, flies, points, frames)
    config = ModelConfig(n_inputs=4 * points, n_targets=2 * points)  # the published encoders
    model = BAMS(config, generator=torch.Generator().manual_seed(0)).eval()
    monkeypatch.setattr("bams.embed.build_model", lambda path: model)
    sequences = open_sequences(DataConfig(dataset="flies", path=str(tmp_path)), compat)
    embed(
        "fly.pt",
        sequences,
        tmp_path / "flies.nc",
        submission=tmp_path / "s.npy",
        compat=compat,
        device="cpu",
        progress=False,
    )
    ranges, values = load_submission(tmp_path / "s.npy")
    assert ranges == {"te0": (0, frames), "te1": (frames, 2 * frames)}
    assert values.shape == (2 * frames, 256)
    joined = []
    for sequence in sequences:
        absent = np.isnan(clips[sequence.name]).all(axis=(0, 2, 3))
        rows = sequence.inputs if compat == "upstream" else sequence.inputs[~absent]
        with torch.no_grad():
            found = model.encode(torch.from_numpy(rows))
        each = np.concatenate([found["short_term"], found["long_term"]], axis=2)  # (A, L, 128)
        joined.append(np.concatenate([each.mean(axis=0), np.ptp(each, axis=0)], axis=1))
    every = np.stack(joined)
    scaled = (every - every.mean(axis=0)) / every.std(axis=0)
    expected = scaled[~np.array(sequences.is_train)].reshape(-1, 256)
    np.testing.assert_allclose(values, expected, rtol=2e-3, atol=2e-3)
