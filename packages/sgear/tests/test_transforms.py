"""Pictures to tensors, against slow forms and against Pillow."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from behaviorzoo.errors import UserError
from sgear.data import colour
from sgear.data.colour import ColourJitter
from sgear.data.config import DataConfig
from sgear.data.sampling import Draws
from sgear.data.transforms import (
    ClipTransform,
    multi_crop,
    normalise,
    random_crop,
    resize,
    short_side,
    to_unit,
    windows,
)


def video(T=2, H=9, W=12, seed=0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (T, H, W, 3), np.uint8))


def slow_resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pixel by pixel: the centre of an output pixel, put into the input."""
    out = np.empty((height, width))
    H, W = image.shape
    for i in range(height):
        for j in range(width):
            y = max((i + 0.5) * H / height - 0.5, 0.0)
            x = max((j + 0.5) * W / width - 0.5, 0.0)
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, H - 1), min(x0 + 1, W - 1)
            a, b = y - y0, x - x0
            top = image[y0, x0] * (1 - b) + image[y0, x1] * b
            out[i, j] = top * (1 - a) + (image[y1, x0] * (1 - b) + image[y1, x1] * b) * a
    return out


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 9), st.integers(2, 9), st.integers(1, 12), st.integers(1, 12))
def test_resize(H, W, height, width):
    x = to_unit(video(1, H, W))
    got = resize(x, height, width)
    assert got.shape == (3, 1, height, width)
    for channel in range(3):
        wanted = slow_resize(x[channel, 0].numpy().astype(np.float64), height, width)
        np.testing.assert_allclose(got[channel, 0].numpy(), wanted, atol=2e-6)


def test_many_clips_at_once_are_each_alone():
    config = DataConfig(scale_h=8, scale_w=-1, crop_size=6, eval_num_crops=3)
    clips = torch.stack([video(seed=0), video(seed=1)])
    transform = ClipTransform(config, training=False)
    together = transform(clips, Draws(0))
    assert together.shape == (2, 3, 3, 2, 6, 6)
    for clip, got in zip(clips, together, strict=True):
        assert torch.equal(transform(clip, Draws(0)), got)
    training = ClipTransform(dataclasses.replace(config, color_jitter_hue=0.2), training=True)
    together = training(clips, Draws(3))
    assert torch.equal(training(clips[1], Draws(3)), together[1])


@pytest.mark.parametrize(
    ("size", "target", "wanted"),
    [((20, 31), 24, (24, 37)), ((31, 20), 24, (37, 24)), ((480, 854), 128, (128, 227))],
)
def test_short_side(size, target, wanted):
    assert short_side(size, target) == wanted


@given(st.integers(1, 2000), st.integers(1, 2000), st.integers(1, 500))
def test_the_short_side_is_the_target(height, width, target):
    assert min(short_side((height, width), target)) == target


def test_normalise():
    x = to_unit(video())
    got = normalise(x, [0.1, 0.2, 0.3], [1.0, 2.0, 4.0], scale=255.0, reverse=True)
    for channel in range(3):
        wanted = (x[2 - channel] * 255 - (0.1, 0.2, 0.3)[channel]) / (1.0, 2.0, 4.0)[channel]
        assert torch.allclose(got[channel], wanted)
    with pytest.raises(UserError, match="mean has 2 channels, the video 3"):
        normalise(x, [0.0, 0.0], [1.0, 1.0])


def test_crops():
    x = torch.arange(2 * 7 * 10).reshape(1, 2, 7, 10).float()
    three = multi_crop(x, 4, 3, flips=False)
    assert three.shape == (3, 1, 2, 4, 4)
    assert torch.equal(three[0], x[..., :4, :4])
    # (7 - 4) / 2 = 1.5 becomes 2, as in torchvision
    assert torch.equal(three[1], x[..., 2:6, 3:7])
    assert torch.equal(three[2], x[..., 3:, 6:])
    six = multi_crop(x, 4, 3, flips=True)
    assert torch.equal(six[:3], three)
    assert torch.equal(six[3:], three.flip(-1))
    assert torch.equal(multi_crop(x, 4, 1, flips=False)[0], three[1])


def test_the_centre_is_that_of_torchvision():
    functional = pytest.importorskip("torchvision.transforms.functional")
    for H, W, side in ((7, 10, 4), (9, 6, 4), (8, 8, 8), (11, 13, 6)):
        x = torch.rand(1, 2, H, W)
        wanted = functional.center_crop(x, [side, side])
        assert torch.equal(multi_crop(x, side, 1, flips=False)[0], wanted)


def test_random_crops_reach_every_place():
    x = torch.arange(36.0).reshape(1, 1, 6, 6)
    corners = {random_crop(x, 4, Draws(seed))[0, 0, 0, 0].item() for seed in range(200)}
    assert corners == {float(6 * i + j) for i in range(3) for j in range(3)}


def test_a_crop_that_does_not_fit_is_named():
    with pytest.raises(UserError, match="crop_size=10 does not fit into frames of 8 x 12"):
        ClipTransform(DataConfig(scale_h=8, scale_w=12, crop_size=10), training=False)(
            video(), Draws(0)
        )


def test_a_range_of_sizes_is_drawn_with_both_ends():
    config = DataConfig(scale_h="8-10", scale_w=-1, crop_size=None)
    transform = ClipTransform(config, training=True)
    heights = [transform(video(), Draws(seed)).shape[-2] for seed in range(60)]
    assert set(heights) == {8, 9, 10}


@pytest.mark.parametrize("flip_p", [0.0, 1.0])
def test_mirror(flip_p):
    config = DataConfig(scale_h=None, crop_size=None, flip_p=flip_p, mean=[0] * 3, std=[1] * 3)
    x = video()
    got = ClipTransform(config, training=True, compat="corrected")(x, Draws(0))
    assert torch.equal(got, to_unit(x).flip(-1) if flip_p else to_unit(x))
    # evaluation is never mirrored
    assert torch.equal(ClipTransform(config, training=False)(x, Draws(0)), to_unit(x))


def test_training_passes_through_eight_bits_only_where_it_did():
    config = DataConfig(scale_h=7, scale_w=7, crop_size=None, flip_p=0, mean=[0] * 3, std=[1] * 3)
    upstream = ClipTransform(config, training=True, compat="upstream")(video(), Draws(0))
    corrected = ClipTransform(config, training=True, compat="corrected")(video(), Draws(0))
    evaluation = ClipTransform(config, training=False, compat="upstream")(video(), Draws(0))
    assert torch.equal(corrected, evaluation)
    assert torch.equal(upstream, (evaluation * 255).floor() / 255)
    assert not torch.equal(upstream, evaluation)


# -- colour ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "name", "amounts"),
    [
        (colour._brighten, "adjust_brightness", (0.0, 0.4, 1.6)),
        (colour._contrast, "adjust_contrast", (0.0, 0.4, 1.6)),
        (colour._saturate, "adjust_saturation", (0.0, 0.4, 1.6)),
        (colour._shift_hue, "adjust_hue", (-0.5, -0.1, 0.3, 0.5)),
    ],
)
def test_changes_are_those_of_torchvision(change, name, amounts):
    functional = pytest.importorskip("torchvision.transforms.functional")
    from PIL import Image

    picture = Image.fromarray(video()[0].numpy())
    for amount in amounts:
        wanted = getattr(functional, name)(picture, amount)
        np.testing.assert_array_equal(np.array(change(picture, amount)), np.array(wanted))


def test_all_frames_of_a_clip_change_alike():
    """Contrast is about the mean of the whole clip, not of each frame."""
    still = torch.cat([torch.zeros(1, 4, 4, 3), torch.full((1, 4, 4, 3), 200.0)]).byte()
    changed = colour._changed(to_unit(still), [(colour._contrast, 0.5)])
    assert changed[:, 0].unique().tolist() == pytest.approx([50 / 255])
    assert changed[:, 1].unique().tolist() == pytest.approx([150 / 255])


def test_strengths_bound_the_change():
    x = torch.full((3, 1, 4, 4), 100 / 255)
    levels = [ColourJitter(brightness=0.2)(x, Draws(seed)).max().item() for seed in range(100)]
    assert 79 / 255 <= min(levels) < 85 / 255
    assert 115 / 255 < max(levels) <= 120 / 255
    assert ColourJitter(brightness=0.2)(x, Draws(7)).equal(
        ColourJitter(brightness=0.2)(x, Draws(7))
    )


# -- windows --------------------------------------------------------------------------------------


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4))
def test_windows(T, frames, stride):
    if frames > T:
        return
    x = torch.arange(2 * T).reshape(2, T, 1, 1)
    got = windows(x, frames, stride)
    wanted = [x[:, start : start + frames] for start in range(0, T - frames + 1, stride)]
    assert torch.equal(got, torch.stack(wanted))
    crops = torch.stack([x, x + 100])
    assert torch.equal(windows(crops, frames, stride)[:, 1], got + 100)
