"""Steps on pixels against slow code and against the steps of the installed mmaction2."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.registry import TRANSFORMS

from behaviorzoo.errors import UserError
from uas_swin.data import pixels
from uas_swin.data.draws import KEY, Draws
from uas_swin.data.transforms import pipeline_from_upstream

NORMALIZE = {"type": "Normalize", "mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}


def video(n_frames=3, height=20, width=30, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n_frames, height, width, 3), dtype=np.uint8)


def run(steps, frames, seed=0, **more):
    results = {"imgs": frames, "modality": "RGB", "label": 0, KEY: Draws.seeded(seed)}
    results |= {"img_shape": frames.shape[1:3], "num_clips": 1, "clip_len": len(frames)} | more
    for step in steps:
        results = TRANSFORMS.build(step)(results)
    return results


def run_theirs(steps, frames, seed=0, **more):
    """The same steps by mmaction2, which draws from the global generators."""
    import random

    import mmaction.datasets.transforms  # noqa: F401  (registers them)

    results = {"imgs": list(frames.copy()), "modality": "RGB", "label": 0}
    results |= {"img_shape": frames.shape[1:3], "num_clips": 1, "clip_len": len(frames)} | more
    generator, numbers = random.Random(seed), np.random.RandomState(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("random.randint", generator.randint)
        patch.setattr("numpy.random.uniform", numbers.uniform)
        patch.setattr("numpy.random.rand", numbers.rand)
        for step in steps:
            results = TRANSFORMS.build(step | {"type": f"mmaction.{step['type']}"})(results)
    return results


def ours(steps):
    return pipeline_from_upstream(steps)


STEPS = {
    "short side": [{"type": "Resize", "scale": (-1, 12)}],
    "bounds": [{"type": "Resize", "scale": (40, 15)}],
    "factor": [{"type": "Resize", "scale": 1.5}],
    "given size": [{"type": "Resize", "scale": (17, 9), "keep_ratio": False}],
    "nearest": [{"type": "Resize", "scale": (-1, 33), "interpolation": "nearest"}],
    "random": [
        {"type": "RandomResizedCrop"},
        {"type": "Resize", "scale": (8, 8), "keep_ratio": False},
        {"type": "Flip", "flip_ratio": 0.5},
    ],
    "random, small and long": [
        {
            "type": "RandomResizedCrop",
            "area_range": (0.9, 1.0),
            "aspect_ratio_range": (0.1, 10.0),
        },
        {"type": "Flip", "flip_ratio": 0.7, "direction": "vertical"},
    ],
    "centre": [{"type": "CenterCrop", "crop_size": 11}],
    "centre, not square": [{"type": "CenterCrop", "crop_size": (9, 6)}],
    "three": [{"type": "Resize", "scale": (-1, 12)}, {"type": "ThreeCrop", "crop_size": 12}],
    "flip": [{"type": "Flip", "flip_ratio": 1.0}],
}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("size", [(20, 30), (31, 20)])
def test_steps_are_those_of_mmaction2(name, size):
    frames = video(4, *size)
    steps = [*STEPS[name], {"type": "FormatShape", "input_format": "NCTHW"}]
    for seed in range(6 if "random" in name else 1):
        mine, theirs = run(ours(steps), frames, seed), run_theirs(steps, frames, seed)
        np.testing.assert_array_equal(mine["imgs"], theirs["imgs"])
        assert mine["img_shape"] == tuple(theirs["img_shape"])
        for key in ("flip", "crop_bbox", "scale_factor"):
            if key in theirs:
                np.testing.assert_array_equal(mine[key], theirs[key], err_msg=key)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 700), st.integers(2, 700), st.integers(1, 400))
def test_the_short_side_is_as_asked_and_the_ratio_is_kept(width, height, side):
    new_width, new_height = pixels.resized_size(width, height, (-1, side))
    assert min(new_width, new_height) == side
    assert abs(max(new_width, new_height) - side * max(width, height) / min(width, height)) <= 0.51


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 10**6))
def test_a_random_box_lies_in_the_frame(width, height, seed):
    left, top, right, bottom = pixels.random_resized_box(width, height, Draws.seeded(seed))
    assert 0 <= left <= right <= width
    assert 0 <= top <= bottom <= height


def test_random_boxes_have_the_areas_and_ratios_asked_for():
    boxes = np.array([pixels.random_resized_box(300, 300, Draws.seeded(n)) for n in range(400)])
    sides = boxes[:, 2:] - boxes[:, :2]
    areas, ratios = sides.prod(axis=1) / 300**2, sides[:, 0] / sides[:, 1]
    assert 0.075 < areas.min() < 0.15
    assert 0.9 < areas.max() <= 1
    assert 0.74 < ratios.min() < 0.78
    assert 1.28 < ratios.max() < 1.35


def test_normalisation_by_hand():
    frames = video(2, 3, 4)
    mean, std = (1.0, 2.0, 3.0), (2.0, 4.0, 8.0)
    out = pixels.normalize(frames, mean, std)
    assert out.dtype == np.float32
    for channel in range(3):
        expected = (frames[..., channel].astype(float) - mean[channel]) / std[channel]
        np.testing.assert_allclose(out[..., channel], expected, atol=1e-5)
    step = {"type": "UasNormalize", "mean": mean, "std": std, "to_bgr": True}
    swapped = run([step], frames)["imgs"]
    np.testing.assert_allclose(
        swapped[..., 0], (frames[..., 2].astype(float) - mean[0]) / std[0], atol=1e-5
    )


def test_normalisation_is_that_of_the_data_preprocessor():
    import torch

    from uas_swin.mmlab import MODELS

    frames = video(2, 4, 4)
    there = MODELS.build(
        {
            "type": "ActionDataPreprocessor",
            "mean": pixels.MEAN,
            "std": pixels.STD,
            "format_shape": "NCTHW",
        }
    )
    views = pixels.to_views(frames, 2)
    data = there({"inputs": [torch.from_numpy(views)], "data_samples": []})
    here = pixels.to_views(pixels.normalize(frames), 2)
    np.testing.assert_allclose(data["inputs"][0].numpy(), here, atol=1e-5)


def test_views_are_crops_outside_and_clips_inside():
    n_crops, n_clips, clip_len = 3, 2, 4
    values = np.arange(n_crops * n_clips * clip_len, dtype=np.uint8)
    frames = np.broadcast_to(values[:, None, None, None], (24, 2, 5, 3))
    views = pixels.to_views(frames, clip_len, n_crops=n_crops)
    assert views.shape == (6, 3, 4, 2, 5)
    for crop in range(n_crops):
        for clip in range(n_clips):
            for t in range(clip_len):
                frame = views[crop * n_clips + clip, :, t]
                assert (frame == crop * n_clips * clip_len + clip * clip_len + t).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=4, max_size=12).filter(lambda o: len(o) % 4 == 0))
def test_frames_that_occur_often_are_worked_on_once(order):
    """Distinct frames in order last give what all frames from the start give."""
    frames = video(5, 20, 26)
    steps = [
        {"type": "UasResize", "scale": (-1, 12)},
        {"type": "UasThreeCrop", "crop_size": 12},
        {"type": "UasFlip", "flip_ratio": 1.0},
        {"type": "UasFormatShape"},
    ]
    late = run(steps, frames, frame_order=np.array(order), clip_len=4)["imgs"]
    early = run(steps, frames[order], clip_len=4)["imgs"]
    np.testing.assert_array_equal(late, early)


def test_steps_may_come_in_another_order():
    """Mirrored and cropped frames are views: resizing them must still work."""
    frames = video(2, 20, 30)
    steps = [
        {"type": "UasFlip", "flip_ratio": 1.0},
        {"type": "UasCenterCrop", "crop_size": 16},
        {"type": "UasResize", "scale": (8, 8), "keep_ratio": False},
    ]
    expected = pixels.resize(np.ascontiguousarray(frames[:, 2:18, ::-1][:, :, 7:23]), 8, 8)
    np.testing.assert_array_equal(run(steps, frames)["imgs"], expected)


def test_a_mirrored_class_may_become_another():
    step = {"type": "UasFlip", "flip_ratio": 1.0, "flip_label_map": {0: 1, 1: 0}}
    assert run([step], video(), label=0)["label"] == 1
    assert run([step], video(), label=2)["label"] == 2
    vector = run([step], video(), label=np.array([1, 0, 1], dtype=np.float32))["label"]
    assert vector.tolist() == [0, 1, 1]


def test_labels_become_a_vector():
    step = {"type": "LabelToMultiLabel", "num_classes": 4}
    out = run([step], video(), label=[0, 3])["label"]
    assert out.dtype == np.float32
    assert out.tolist() == [1, 0, 0, 1]
    with pytest.raises(UserError, match="class ids go from 0 to 3"):
        run([step], video(), label=[4])


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"type": "UasCenterCrop", "crop_size": 25}, "25x25 does not fit into frames of 30x20"),
        ({"type": "UasThreeCrop", "crop_size": 10}, "three crops of 10x10 need frames with one"),
        ({"type": "UasThreeCrop", "crop_size": (40, 20)}, "these are 30x20"),
        ({"type": "UasResize", "scale": -1.0}, "must be positive"),
        ({"type": "UasResize", "scale": 3.0, "keep_ratio": False}, "write two numbers"),
        ({"type": "UasResize", "scale": (4, 4), "interpolation": "linear"}, "bilinear"),
        ({"type": "UasRandomResizedCrop", "area_range": (0.0, 1.0)}, "0 < low"),
        ({"type": "UasFlip", "direction": "left"}, "horizontal or vertical"),
        ({"type": "UasNormalize", "std": (1.0, 0.0, 1.0)}, "std positive"),
        ({"type": "UasFormatShape", "input_format": "NCHW"}, "'NCTHW'"),
        ({"type": "UasOpenVideo", "reader": "pyva"}, "did you mean 'pyav'"),
        ({"type": "UasCenterCrop", "crop_size": 2.5}, "whole number"),
    ],
)
def test_what_does_not_fit_is_said(step, message):
    with pytest.raises(UserError, match=message):
        run([step], video())


def test_collapse_needs_a_single_view():
    step = {"type": "UasFormatShape", "collapse": True}
    assert run([step], video(4))["imgs"].shape == (3, 4, 20, 30)
    with pytest.raises(UserError, match="single view, there are 2"):
        run([step], video(4), clip_len=2)


def test_a_pipeline_of_the_original_is_translated():
    old = [
        {"type": "DecordInit", "io_backend": "disk"},
        {"type": "SampleFrames", "clip_len": 32, "frame_interval": 2, "num_clips": 1},
        {"type": "DecordDecode"},
        {"type": "Resize", "scale": (-1, 256), "lazy": False},
        {**NORMALIZE, "to_bgr": False},
        {"type": "FormatShape", "input_format": "NCTHW"},
        {"type": "Collect", "keys": ["imgs", "label"], "meta_keys": []},
        {"type": "ToTensor", "keys": ["imgs", "label"]},
    ]
    new = pipeline_from_upstream(old, reader="pyav")
    assert [step["type"] for step in new] == [
        *("UasOpenVideo", "UasSampleFrames", "UasDecode", "UasResize", "UasNormalize"),
        *("UasFormatShape", "mmaction.PackActionInputs"),
    ]
    assert new[0] == {"type": "UasOpenVideo", "reader": "pyav"}
    assert new[3] == {"type": "UasResize", "scale": (-1, 256)}
    for step, message in (
        ({"type": "Resize", "scale": 2.0, "lazy": True}, "lazy"),
        ({"type": "Imgaug"}, "Imgaug: no such step"),
    ):
        with pytest.raises(UserError, match=message):
            pipeline_from_upstream([step])
