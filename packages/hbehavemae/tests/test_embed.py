from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from behaviorzoo.embeddings import open_embeddings
from behaviorzoo.errors import UserError
from behaviorzoo.mabe import load_submission
from hbehavemae.data.sequences import FeatureSequence
from hbehavemae.embed import embed
from hbehavemae.extraction import Extractor, ordered_map
from hbehavemae.model import HBehaveMAE, ModelConfig

SHOT = ModelConfig(
    input_size=(16, 1, 24),
    patch_kernel=(2, 1, 3),
    stages=(1, 1, 2),
    q_strides=((2, 1, 2), (1, 1, 4)),
    mask_unit_attn=(True, False, False),
    init_embed_dim=8,
    init_num_heads=2,
    out_embed_dims=(2, 3, 5),
    decoder_embed_dim=8,
    mask_ratio=0.5,
)
MICE = ModelConfig(
    input_size=(18, 3, 6),
    patch_kernel=(3, 1, 6),
    stages=(2, 1, 1),
    q_strides=((2, 1, 1), (1, 3, 1)),
    mask_unit_attn=(True, True, False),
    init_embed_dim=8,
    init_num_heads=2,
    out_embed_dims=(3, 4, 6),
    decoding_strategy="multi",
    decoder_embed_dim=8,
    mask_ratio=0.5,
)
# Several mask units along individuals and features, an odd window.
GRID = ModelConfig(
    input_size=(9, 2, 4),
    patch_kernel=(1, 1, 1),
    stages=(1, 1),
    q_strides=((3, 1, 2),),
    mask_unit_attn=(True, False),
    init_embed_dim=8,
    init_num_heads=2,
    out_embed_dims=(2, 3),
    decoder_embed_dim=8,
    mask_ratio=0.5,
)
FLAT = ModelConfig(
    input_size=(8, 1, 4),
    patch_kernel=(2, 1, 4),
    stages=(1, 1),
    q_strides=(),
    mask_unit_attn=(),
    init_embed_dim=8,
    init_num_heads=2,
    out_embed_dims=(3,),
    decoding_strategy="multi",
    non_hierarchical=True,
    decoder_embed_dim=8,
    mask_ratio=0.5,
)
CONFIGS = {"shot": SHOT, "mice": MICE, "grid": GRID, "flat": FLAT}


def build(config: ModelConfig, seed: int = 0) -> HBehaveMAE:
    """A network whose every parameter matters."""
    model = HBehaveMAE(config, generator=torch.Generator().manual_seed(seed)).eval()
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model


def walk(n: int, config: ModelConfig, seed: int = 0) -> np.ndarray:
    steps = np.random.default_rng(seed).normal(size=(n, *config.input_size[1:]))
    return np.cumsum(steps, axis=0).astype(np.float32) / 3


def slow(
    model: HBehaveMAE,
    x: np.ndarray,
    *,
    mode: str = "averaging",
    stride: int = 1,
    embedsum: bool = False,
    fusion: str = "",
    transform: Callable[[torch.Tensor], torch.Tensor] = lambda windows: windows,
) -> list[np.ndarray]:
    """Every window by itself through the public forward, tokens repeated, then averaged."""
    length, n = model.config.input_size[0], len(x)
    if mode == "averaging":
        front, step = length - 1, stride
        padded = np.concatenate([x[:1]] * front + [x] + [x[-1:]] * front)
    else:
        step = 2 if length % 2 == 0 else 1
        front = (length - step) // 2
        extra = step if n % step else 0
        padded = np.concatenate([x[:1]] * front + [x] + [x[-1:]] * (front + extra))
    starts = range(0, len(padded) - length + 1, step)
    results = []
    for start in starts:
        window = transform(torch.from_numpy(padded[None, start : start + length]))
        with torch.no_grad():
            grids = super(HBehaveMAE, model).forward(window)
            if fusion:
                grids = [fused(model, grids, trained=fusion == "trained")]
        tokens = [g[0].mean((1, 2)) if embedsum else g[0].flatten(1) for g in grids]
        results.append([t.numpy().astype(np.float64) for t in tokens])
    out = []
    for level in range(len(results[0])):
        tokens = np.stack([result[level] for result in results])
        span = length // tokens.shape[1]
        if mode == "fast":
            out.append(np.repeat(tokens[:, front // span], step, axis=0)[:n])
            continue
        frames = np.repeat(tokens, span, axis=1)
        per_frame = [
            np.mean(
                [
                    frames[w, f + front - s]
                    for w, s in enumerate(starts)
                    if s <= f + front < s + length
                ],
                axis=0,
            )
            for f in range(n)
        ]
        out.append(np.stack(per_frame))
    return out


def fused(model: HBehaveMAE, grids: list[torch.Tensor], *, trained: bool) -> torch.Tensor:
    """Convolutions over whole levels, as the paper writes the fusion."""
    total = grids[-1]
    for head, grid in zip(model.multi_scale_fusion_heads, grids, strict=False):
        total = total + head(grid.movedim(-1, 1)).movedim(1, -1)
    norm = model.encoder_norm if trained else nn.LayerNorm(total.shape[-1], eps=1e-6)
    return norm(total)


def close(actual: np.ndarray, expected: np.ndarray) -> None:
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, atol=2e-5 * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("n", [1, 5, 40])
def test_averaging_equals_the_slow_way(name: str, n: int) -> None:
    model = build(CONFIGS[name])
    x = walk(n, model.config)
    found = Extractor(model)(x)
    expected = slow(model, x)
    assert list(found) == [f"level_{i + 1}" for i in range(len(expected))]
    for values, wanted in zip(found.values(), expected, strict=True):
        close(values, wanted)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("n", [1, 13, 20])
def test_fast_mode_equals_the_slow_way(name: str, n: int) -> None:
    model = build(CONFIGS[name])
    x = walk(n, model.config)
    for values, wanted in zip(
        Extractor(model, mode="fast")(x).values(), slow(model, x, mode="fast"), strict=True
    ):
        close(values, wanted)


@pytest.mark.parametrize("stride", [2, 3, 16])
def test_stride_averages_over_fewer_windows(stride: int) -> None:
    model = build(SHOT)
    x = walk(30, SHOT)
    extractor = Extractor(model, stride=stride)
    for values, wanted in zip(extractor(x).values(), slow(model, x, stride=stride), strict=True):
        close(values, wanted)
    assert extractor.n_windows(30) == len(range(0, 30 + 15, stride))


@pytest.mark.parametrize("name", ["mice", "grid"])
def test_embedsum_averages_over_individuals_and_keypoints(name: str) -> None:
    model = build(CONFIGS[name])
    x = walk(12, model.config)
    found = Extractor(model, embedsum=True)(x)
    assert [v.shape[1] for v in found.values()] == list(model.geometry.level_dims)
    for values, wanted in zip(found.values(), slow(model, x, embedsum=True), strict=True):
        close(values, wanted)


@pytest.mark.parametrize("mode", ["averaging", "fast"])
@pytest.mark.parametrize(("compat", "norm"), [("none", "trained"), ("upstream", "fresh")])
@pytest.mark.parametrize("name", CONFIGS)
def test_fusion_with_the_trained_or_a_fresh_norm(
    name: str, compat: Any, norm: str, mode: Any
) -> None:
    model = build(CONFIGS[name])
    x = walk(11, model.config)
    found = Extractor(model, fusion=True, compat=compat, mode=mode)(x)
    close(found["combined"], slow(model, x, fusion=norm, mode=mode)[0])


def test_combined_is_all_levels_side_by_side() -> None:
    model = build(MICE)
    x = walk(20, MICE)
    found = Extractor(model, combine=True)(x)
    levels = [values for name, values in found.items() if name != "combined"]
    np.testing.assert_array_equal(found["combined"], np.concatenate(levels, axis=1))
    some = Extractor(model, combine=True, levels=[3, 1])(x)
    assert list(some) == ["level_1", "level_3", "combined"]
    close(some["combined"], np.concatenate([levels[0], levels[2]], axis=1))


@pytest.mark.parametrize("levels", [[1], [2], [3, 1]])
def test_wanted_levels_are_the_same_as_among_all(levels: list[int]) -> None:
    model = build(SHOT)
    x = walk(25, SHOT)
    everything = Extractor(model)(x)
    found = Extractor(model, levels=levels)(x)
    assert list(found) == [f"level_{level}" for level in sorted(levels)]
    for name, values in found.items():
        close(values, everything[name])


@pytest.mark.parametrize("name", CONFIGS)
def test_batch_size_and_workers_do_not_matter(name: str) -> None:
    model = build(CONFIGS[name])
    x = walk(33, model.config)
    reference = Extractor(model, batch_size=1, workers=1)(x)
    for options in ({"batch_size": 7}, {"batch_size": 100}, {"batch_size": 3, "workers": 3}):
        for level, values in Extractor(model, **options)(x).items():
            close(values, reference[level])


def test_the_same_recording_twice_is_bitwise_the_same() -> None:
    model, x = build(SHOT), walk(40, SHOT)
    first, second = (Extractor(model, workers=2)(x) for _ in range(2))
    for level in first:
        np.testing.assert_array_equal(first[level], second[level])


def test_threads_of_torch_are_left_as_they_were() -> None:
    before = torch.get_num_threads()
    assert list(ordered_map(lambda i: i * i, range(20), 3)) == [i * i for i in range(20)]
    assert torch.get_num_threads() == before


def test_an_error_in_a_worker_reaches_the_caller() -> None:
    def work(i: int) -> int:
        if i == 5:
            raise ValueError("window 5")
        return i

    with pytest.raises(ValueError, match="window 5"):
        list(ordered_map(work, range(50), 2))


def test_a_window_transform_sees_each_window_by_itself() -> None:
    def centre(windows: torch.Tensor) -> torch.Tensor:
        return windows - windows.mean(dim=1, keepdim=True)

    model, x = build(SHOT), walk(21, SHOT)
    found = Extractor(model)(x, transform=centre)
    for values, wanted in zip(found.values(), slow(model, x, transform=centre), strict=True):
        close(values, wanted)


def test_bf16_stays_near() -> None:
    model, x = build(SHOT), walk(20, SHOT)
    exact, half = Extractor(model)(x), Extractor(model, precision="bf16")(x)
    for level in exact:
        assert half[level].dtype == np.float32
        error = np.abs(half[level] - exact[level]).mean() / exact[level].std()
        assert 0 < error < 0.05


class Recordings:
    """What ``open_sequences`` gives, from arrays."""

    def __init__(self, *items: tuple[str, int, np.ndarray]):
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[FeatureSequence]:
        return (FeatureSequence(*item) for item in self.items)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return authors_file(tmp_path / "weights.pth", build(SHOT))


def authors_file(path: Path, model: HBehaveMAE) -> Path:
    config = model.config
    options = {
        "input_size": list(config.input_size),
        "num_frames": config.input_size[0],
        "patch_kernel": list(config.patch_kernel),
        "stages": list(config.stages),
        "q_strides": [list(stride) for stride in config.q_strides],
        "mask_unit_attn": list(config.mask_unit_attn),
        "init_embed_dim": config.init_embed_dim,
        "init_num_heads": config.init_num_heads,
        "out_embed_dims": list(config.out_embed_dims),
        "decoder_embed_dim": config.decoder_embed_dim,
        "decoding_strategy": config.decoding_strategy,
        "norm_loss": config.norm_loss,
    }
    torch.save({"model": model.state_dict(), "epoch": 3, "args": Namespace(**options)}, path)
    return path


def two_recordings() -> Recordings:
    return Recordings(("day_2", 155, walk(30, SHOT, 1)), ("day_1", 0, walk(9, SHOT, 2)))


def test_file_is_aligned_with_the_recordings(checkpoint: Path, tmp_path: Path) -> None:
    recordings = two_recordings()
    out = embed(checkpoint, recordings, tmp_path / "e.nc", device="cpu", progress=False)
    extractor = Extractor(build(SHOT))
    with open_embeddings(out) as found:
        assert found.levels == ["level_1", "level_2", "level_3"]
        assert found.recordings == ["day_2", "day_1"]
        assert found.span("day_2") == (155, 30)
        assert found.attrs["checkpoint"] == "weights.pth"
        for name, _, x in recordings.items:
            for level, values in extractor(x).items():
                np.testing.assert_allclose(found.read(level, name), values, atol=1e-6)


def test_our_folder_and_their_file_give_the_same(checkpoint: Path, tmp_path: Path) -> None:
    from hbehavemae.convert import to_ours

    folder = to_ours(checkpoint, tmp_path / "ours")
    files = [
        embed(path, two_recordings(), tmp_path / f"{i}.nc", device="cpu", progress=False)
        for i, path in enumerate((checkpoint, folder))
    ]
    with open_embeddings(files[0]) as theirs, open_embeddings(files[1]) as ours:
        for level in theirs.levels:
            np.testing.assert_array_equal(theirs.read(level), ours.read(level))


def test_submissions_hold_the_frames_there_are(checkpoint: Path, tmp_path: Path) -> None:
    out = embed(
        checkpoint,
        two_recordings(),
        tmp_path / "e.nc",
        combine=True,
        submissions=tmp_path / "files",
        device="cpu",
        progress=False,
    )
    names = sorted(path.name for path in (tmp_path / "files").iterdir())
    assert names == [f"test_submission_{i}.npy" for i in (0, 1, 2, "combined")]
    with open_embeddings(out) as found:
        for suffix, level in ((0, "level_1"), (2, "level_3"), ("combined", "combined")):
            spans, values = load_submission(tmp_path / "files" / f"test_submission_{suffix}.npy")
            assert spans == {"day_2": (0, 30), "day_1": (30, 39)}
            np.testing.assert_array_equal(values, found.read(level))


@pytest.mark.parametrize("compat", ["none", "upstream"])
def test_pca_reduces_wider_levels_only(checkpoint: Path, tmp_path: Path, compat: Any) -> None:
    options = {"device": "cpu", "progress": False, "compat": compat}
    raw = embed(checkpoint, two_recordings(), tmp_path / "raw.nc", **options)
    reduced = embed(checkpoint, two_recordings(), tmp_path / "pca.nc", pca=6, **options)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pca.nc", "raw.nc", "weights.pth"]
    with open_embeddings(raw) as full, open_embeddings(reduced) as small:
        assert [full.features(level) for level in full.levels] == [16, 12, 5]
        assert [small.features(level) for level in small.levels] == [6, 6, 5]
        np.testing.assert_array_equal(small.read("level_3"), full.read("level_3"))
        x = full.read("level_1").astype(np.float64)
        _, singular, vectors = np.linalg.svd(x - x.mean(0))
        expected = (x - x.mean(0)) @ vectors[:6].T
        actual = small.read("level_1")
        np.testing.assert_allclose(
            actual * np.sign((actual * expected).sum(0)), expected, atol=1e-3
        )
        kept = (singular[:6] ** 2).sum() / (singular**2).sum()
        assert small.attrs["pca_explained_variance"]["level_1"] == pytest.approx(kept, abs=1e-3)
        assert small.span("day_2") == (155, 30)


def test_too_few_frames_for_pca_leave_no_file(checkpoint: Path, tmp_path: Path) -> None:
    short = Recordings(("a", 0, walk(4, SHOT)))
    with pytest.raises(UserError, match="level_1: 4 frames are too few for 6 principal"):
        embed(checkpoint, short, tmp_path / "e.nc", pca=6, device="cpu", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["weights.pth"]


def test_an_interrupted_run_leaves_no_file(checkpoint: Path, tmp_path: Path) -> None:
    class Interrupted(Recordings):
        def __iter__(self) -> Iterator[FeatureSequence]:
            yield FeatureSequence(*self.items[0])
            raise KeyboardInterrupt

    recordings = Interrupted(*two_recordings().items)
    with pytest.raises(KeyboardInterrupt):
        embed(checkpoint, recordings, tmp_path / "e.nc", device="cpu", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["weights.pth"]


def test_missing_values_are_refused_or_taken(tmp_path: Path) -> None:
    x = walk(20, SHOT)
    x[4:6, 0, :3] = np.nan
    with pytest.raises(
        UserError,
        match=r"mouse: 1\.2% of the values are missing, in 2 of 20 frames \(first at row 4",
    ):
        Extractor(build(SHOT))(x, name="mouse")
    model = build(ModelConfig(**{**vars(SHOT), "missing": True}))
    for values, wanted in zip(Extractor(model)(x).values(), slow(model, x), strict=True):
        close(values, wanted)
    x[:] = np.nan
    assert all(np.isfinite(values).all() for values in Extractor(model)(x).values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": [0]}, r"levels=\[0\]: this model has the levels 1 to 3"),
        ({"levels": [4, 1]}, "levels 1 to 3"),
        ({"stride": 17}, "stride=17 must lie between 1 and the window of 16 frames"),
        ({"stride": 0}, "stride=0"),
        ({"mode": "fast", "stride": 2}, "stride=2 is for mode=averaging"),
        ({"mode": "slow"}, "mode=slow: choose averaging or fast"),
        ({"pca": 0}, "pca=0 must be at least 1"),
        ({"batch_size": 0}, "batch_size=0 must be at least 1"),
        ({"compat": "old"}, "compat=old: choose none or upstream"),
        ({"device": "abacus"}, "device 'abacus' is not usable here"),
    ],
)
def test_wrong_options_are_one_line(
    options: dict[str, Any], message: str, checkpoint: Path, tmp_path: Path
) -> None:
    options = {"device": "cpu", "progress": False, **options}
    with pytest.raises(UserError, match=message) as caught:
        embed(checkpoint, two_recordings(), tmp_path / "e.nc", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "e.nc").exists()


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((0, 1, 24), np.float32), "m: the recording has 0 frames"),
        (np.zeros((5, 2, 24), np.float32), r"m: \(individuals, features\) \(2, 24\), the network"),
        (np.full((5, 1, 24), np.inf, np.float32), "m: infinite values"),
    ],
)
def test_wrong_recordings_are_named(x: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Extractor(build(SHOT))(x, name="m")


def test_no_recording_is_an_error(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no recording to embed"):
        embed(checkpoint, Recordings(), tmp_path / "e.nc", device="cpu")


def test_progress_counts_every_window(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    embed(checkpoint, two_recordings(), tmp_path / "e.nc", device="cpu")
    shown = capsys.readouterr().err
    assert "69.0/69.0" in shown  # 30 + 15 and 9 + 15 windows
    assert "2/2 day_1" in shown
