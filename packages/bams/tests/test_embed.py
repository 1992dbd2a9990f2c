from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bams import embed as module
from bams.data import FeatureSequence
from bams.embed import embed, embedded, only_levels
from bams.encoding import (
    Aggregate,
    FrameEncoder,
    aggregate_animals,
    compute_representations,
)
from bams.model import BAMS, EncoderConfig, ModelConfig
from behaviorzoo.embeddings import open_embeddings
from behaviorzoo.errors import UserError

N = 5
CONFIG = ModelConfig(
    n_inputs=N,
    n_targets=2,
    encoders={
        "short_term": EncoderConfig((4, 3), dilation_base=2),
        "long_term": EncoderConfig((4, 4, 2), dilation_base=3),
    },
    predictor_hidden=(8,),
    hoa_bins=4,
)
WIDTHS = {"short_term": 3, "long_term": 2}


def build(seed: int = 0) -> BAMS:
    """A network whose every parameter matters."""
    model = BAMS(CONFIG, generator=torch.Generator().manual_seed(seed)).eval()
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model


@dataclass
class Recordings:
    """Recordings in memory."""

    items: Sequence[FeatureSequence]
    individuals: tuple[str, ...] = ("one",)
    names: list[str] = field(init=False)
    lengths: list[int] = field(init=False)
    is_train: list[bool] = field(init=False)

    def __post_init__(self) -> None:
        self.names = [item.name for item in self.items]
        self.lengths = [item.inputs.shape[1] for item in self.items]
        self.is_train = [item.is_train for item in self.items]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self):
        return iter(self.items)


def recordings(lengths: Sequence[int], animals: int = 1, seed: int = 0) -> Recordings:
    rng = np.random.default_rng(seed)
    names = tuple(f"animal_{k}" for k in range(animals))
    items = [
        FeatureSequence(
            name=f"r{k}",
            first_frame=10 * k,
            inputs=rng.normal(size=(animals, n, N)).astype(np.float32),
            ignored=np.zeros((animals, n), bool),
            individuals=names,
            is_train=k % 2 == 0,
        )
        for k, n in enumerate(lengths)
    ]
    return Recordings(items, names)


def whole(model: BAMS, inputs: np.ndarray) -> dict[str, np.ndarray]:
    """One animal at a time, the whole sequence through the full forward."""
    with torch.no_grad():
        rows = [model(torch.from_numpy(row[None])).embeddings for row in inputs]
    return {name: np.stack([row[name][0].numpy() for row in rows]) for name in WIDTHS}


@pytest.fixture
def checkpoint(monkeypatch: pytest.MonkeyPatch) -> str:
    """A checkpoint that is read without a file."""
    monkeypatch.setattr(module, "build_model", lambda path: build())
    return "runs/tiny"


@settings(max_examples=25, deadline=None)
@given(
    frames=st.integers(1, 300),
    lengths=st.lists(st.integers(1, 130), min_size=1, max_size=4),
    animals=st.integers(1, 3),
)
def test_pieces_and_batches_change_nothing(frames: int, lengths: list[int], animals: int) -> None:
    model = build()
    data = recordings(lengths, animals)
    found = list(embedded(FrameEncoder(model, frames), data.items, "side_by_side"))
    assert [row[:2] for row in found] == [(item.name, item.first_frame) for item in data.items]
    for item, (_, _, values) in zip(data.items, found, strict=True):
        for name, expected in whole(model, item.inputs).items():
            laid = np.concatenate(list(expected), axis=1)
            np.testing.assert_allclose(values[name], laid, atol=2e-6)


def test_a_long_recording_is_really_cut() -> None:
    model, seen = build(), []
    run = model.encode
    model.encode = lambda x: seen.append(tuple(x.shape)) or run(x)
    encoder = FrameEncoder(model, frames=1)
    list(embedded(encoder, recordings([1000]).items, "mean"))
    longest = 5 * encoder.context  # four contexts and the one before
    assert encoder.context == max(model.receptive_fields.values()) - 1
    assert max(shape[1] for shape in seen) == longest < 1000
    seen.clear()
    list(embedded(FrameEncoder(model, 120), recordings([40] * 5).items, "mean"))
    assert seen == [(3, 40, N), (2, 40, N)]


def test_the_past_alone_decides() -> None:
    model = build()
    item = recordings([90]).items[0]
    other = item.inputs.copy()
    other[:, 60:] += 1
    encoder = FrameEncoder(model, 16)
    before = next(embedded(encoder, [item], "mean"))[2]
    after = next(embedded(encoder, [item._replace(inputs=other)], "mean"))[2]
    for name in WIDTHS:
        np.testing.assert_array_equal(before[name][:60], after[name][:60])
        assert (before[name][60:] != after[name][60:]).any(axis=1).all()


def test_the_network_keeps_its_mode() -> None:
    model = build().train()
    list(embedded(FrameEncoder(model), recordings([20]).items, "mean"))
    assert model.training
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("how", ["mean_range", "mean", "side_by_side"])
def test_animals_are_joined_frame_by_frame(how: Aggregate) -> None:
    values = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 4, 2)))
    found = aggregate_animals(values, how).numpy()
    for t in range(4):
        rows = values[:, t].numpy()
        expected = {
            "mean": rows.mean(axis=0),
            "mean_range": [*rows.mean(axis=0), *(rows.max(axis=0) - rows.min(axis=0))],
            "side_by_side": [*rows[0], *rows[1], *rows[2]],
        }[how]
        np.testing.assert_allclose(found[t], expected)


def test_the_order_of_animals_matters_only_side_by_side() -> None:
    values = torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(0))
    turned = values[[2, 0, 3, 1]]
    for how in ("mean", "mean_range"):
        one, other = aggregate_animals(values, how), aggregate_animals(turned, how)
        torch.testing.assert_close(one, other)
    one, other = (aggregate_animals(v, "side_by_side") for v in (values, turned))
    assert not torch.equal(one, other)


def test_an_animal_that_is_never_seen_does_not_count() -> None:
    model = build()
    item = recordings([50], animals=3).items[0]
    item.inputs[1] = 0
    item.ignored[1] = True
    item.ignored[2, 5:] = True  # incomplete, but seen
    encoder = FrameEncoder(model)
    seen = whole(model, item.inputs)
    for absent in (False, True):
        found = next(embedded(encoder, [item], "mean_range", absent=absent))[2]
        for name, values in seen.items():
            rows = values if absent else values[[0, 2]]
            expected = np.concatenate([rows.mean(axis=0), np.ptp(rows, axis=0)], axis=1)
            np.testing.assert_allclose(found[name], expected, atol=2e-6)
    side = next(embedded(encoder, [item], "side_by_side"))[2]["short_term"]
    np.testing.assert_array_equal(side[:, 3:6], 0)


def test_a_still_animal_that_is_seen_counts() -> None:
    model = build()
    item = recordings([30], animals=2).items[0]
    item.inputs[0] = 0.5
    found = next(embedded(FrameEncoder(model), [item], "mean"))[2]
    expected = whole(model, item.inputs)
    np.testing.assert_allclose(found["long_term"], expected["long_term"].mean(axis=0), atol=2e-6)


def test_the_file_is_aligned_with_the_frames(tmp_path: Path, checkpoint: str) -> None:
    data = recordings([70, 70, 33], animals=2)
    out = embed(checkpoint, data, tmp_path / "e.nc", device="cpu", progress=False)
    model = build()
    with open_embeddings(out) as source:
        assert source.levels == ["short_term", "long_term"]
        assert source.recordings == ["r0", "r1", "r2"]
        assert source.attrs["aggregate"] == "mean_range"
        assert source.attrs["receptive_fields"] == dict(model.receptive_fields)
        for k, item in enumerate(data.items):
            assert source.span(item.name) == (10 * k, item.inputs.shape[1])
            for name, values in whole(model, item.inputs).items():
                expected = np.concatenate([values.mean(axis=0), np.ptp(values, axis=0)], axis=1)
                np.testing.assert_allclose(source.read(name, item.name), expected, atol=2e-6)


def test_one_animal_alone_has_no_range(tmp_path: Path, checkpoint: str) -> None:
    data = recordings([40])
    out = embed(checkpoint, data, tmp_path / "e.nc", device="cpu", progress=False)
    with open_embeddings(out) as source:
        expected = whole(build(), data.items[0].inputs)
        np.testing.assert_allclose(source.read("short_term"), expected["short_term"][0], atol=2e-6)


def test_only_the_wanted_levels(tmp_path: Path, checkpoint: str) -> None:
    options = {"device": "cpu", "progress": False}
    data = recordings([40])
    both = embed(checkpoint, data, tmp_path / "both.nc", **options)
    one = embed(checkpoint, data, tmp_path / "one.nc", levels=["long_term"], **options)
    with open_embeddings(both) as all_levels, open_embeddings(one) as source:
        assert source.levels == ["long_term"]
        # The context is that of the encoder that is left.
        np.testing.assert_allclose(
            source.read("long_term"), all_levels.read("long_term"), atol=2e-6
        )
    model = build()
    only_levels(model, ["short_term"])
    assert list(model.encode(torch.zeros(1, 3, N))) == ["short_term"]
    assert FrameEncoder(model).context == 12


class Windows:
    """A data set as far as it is read here."""

    def __init__(self, inputs: np.ndarray) -> None:
        self.inputs = torch.from_numpy(inputs)

    def __len__(self) -> int:
        return len(self.inputs)

    def batch(self, indices: np.ndarray) -> Windows:
        part = Windows.__new__(Windows)
        part.inputs = self.inputs[torch.from_numpy(indices)]
        return part


def test_representations_of_a_data_set_in_order() -> None:
    model = build().train()
    inputs = np.random.default_rng(0).normal(size=(7, 30, N)).astype(np.float32)
    found = compute_representations(model, Windows(inputs), batch_size=3)
    assert model.training
    expected = whole(model.eval(), inputs)
    for name, values in expected.items():
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], values, atol=2e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": ["short"]}, "levels=short: did you mean 'short_term'"),
        ({"levels": []}, "levels is empty; choose among short_term, long_term"),
        ({"aggregate": "mean_rang"}, "aggregate=mean_rang: did you mean 'mean_range'"),
        ({"device": "gpu"}, "device 'gpu' is not usable here"),
        ({"precision": "bf16"}, "precision=bf16 is for GPUs"),
        ({"precision": "16"}, "precision=16: choose 32 or bf16"),
        ({"frames": 0}, "frames=0 must be at least 1"),
        ({"aggregate": "mean", "submission": "s.npy"}, "a submission holds mean and range"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_options_are_one_line(
    tmp_path: Path, checkpoint: str, options: dict, message: str
) -> None:
    settings = {"device": "cpu", "progress": False, **options}
    with pytest.raises(UserError, match=message):
        embed(checkpoint, recordings([20]), tmp_path / "e.nc", **settings)
    assert not list(tmp_path.iterdir())


def test_recordings_that_do_not_fit_are_named(tmp_path: Path, checkpoint: str) -> None:
    def attempt(data: Recordings) -> None:
        embed(checkpoint, data, tmp_path / "e.nc", device="cpu", progress=False)

    with pytest.raises(UserError, match="no recording to embed"):
        attempt(recordings([]))
    data = recordings([20, 20])
    wide = data.items[1]._replace(inputs=np.zeros((1, 20, N + 1), np.float32))
    with pytest.raises(UserError, match="r1: 6 features per frame, the network takes 5"):
        attempt(Recordings([data.items[0], wide]))
    empty = data.items[1]._replace(inputs=np.zeros((1, 0, N), np.float32))
    with pytest.raises(UserError, match="r1: the recording has 0 frames"):
        attempt(Recordings([data.items[0], empty]))
    data.items[1].inputs[0, 7] = np.nan
    with pytest.raises(UserError, match=r"recording 'r1'.*the first at row 7"):
        attempt(data)
    assert not list(tmp_path.iterdir())
    upstream = embed(
        checkpoint, data, tmp_path / "e.nc", compat="upstream", device="cpu", progress=False
    )
    with open_embeddings(upstream) as source:
        assert np.isnan(source.read("short_term", "r1")[7]).any()
