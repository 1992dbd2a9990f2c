"""The geometry in words, and its picture."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behaviorzoo.config import from_dict, to_dict
from behaviorzoo.errors import UserError
from hbehavemae.data import DataConfig, DataShape, data_shape
from hbehavemae.layout import (
    LayoutConfig,
    PoolingConfig,
    describe_hierarchy,
    geometry_strings,
    resolve_layout,
)
from hbehavemae.model.geometry import Geometry, ModelConfig

PUBLISHED = {
    "shot7m2": (
        400,
        LayoutConfig(2, "keypoint", [PoolingConfig(2, "group"), PoolingConfig(2, "individual")]),
        ("400 1 72", "2 1 3", "2,1,4;2,1,6"),
    ),
    "hbabel": (
        450,
        LayoutConfig(3, "individual", [PoolingConfig(5), PoolingConfig(3)]),
        ("450 1 75", "3 1 75", "5,1,1;3,1,1"),
    ),
    "mabe22": (
        900,
        LayoutConfig(3, "individual", [PoolingConfig(5), PoolingConfig(1, "all")]),
        ("900 3 24", "3 1 24", "5,1,1;1,3,1"),
    ),
}


@pytest.mark.parametrize("dataset", PUBLISHED)
def test_published_geometries_are_expressible(dataset):
    window, layout, expected = PUBLISHED[dataset]
    shape = data_shape(DataConfig(dataset=dataset))
    model = resolve_layout(layout, shape, window, ModelConfig())
    assert tuple(geometry_strings(model).values()) == expected


def axes(individuals: int = 2, group_size: int = 2, groups: int = 3) -> DataShape:
    names = [f"p{n}" for n in range(group_size * groups)]
    parts = {f"g{n}": tuple(names[n * group_size : (n + 1) * group_size]) for n in range(groups)}
    who = tuple(f"rat{n}" for n in range(individuals))
    return DataShape(tuple(names), who, channels=2, groups=parts, fps=30.0)


@settings(max_examples=50, deadline=None)
@given(
    patch=st.integers(1, 4),
    covers=st.lists(
        st.sampled_from(["keypoint", "group", "individual", "all"]), min_size=3, max_size=3
    ),
    frames=st.lists(st.integers(1, 3), min_size=2, max_size=2),
    units=st.integers(4, 9),
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3)),
)
def test_levels_cover_what_the_words_say(patch, covers, frames, units, sizes):
    covers = sorted(covers, key=["keypoint", "group", "individual", "all"].index)
    shape = axes(*sizes)
    window = patch * math.prod(frames) * units
    layout = LayoutConfig(
        patch, covers[0], [PoolingConfig(f, c) for f, c in zip(frames, covers[1:], strict=True)]
    )
    geometry = Geometry(resolve_layout(layout, shape, window, ModelConfig(mask_ratio=0.5)))
    keypoints, individuals = len(shape.keypoints), len(shape.individuals)
    tokens = {
        "keypoint": (individuals, keypoints),
        "group": (individuals, len(shape.groups)),
        "individual": (individuals, 1),
        "all": (1, 1),
    }
    span = patch
    for level, cover in enumerate(covers):
        span *= frames[level - 1] if level else 1
        assert geometry.level_grids[level] == (window // span, *tokens[cover])


def test_all_problems_are_told_at_once_with_numbers_and_a_way_out():
    layout = LayoutConfig(
        4, "group", [PoolingConfig(3), PoolingConfig(2, "keypoint"), PoolingConfig(1)]
    )
    shape = DataShape(("a", "b", "c"), ("m",), 2, {"x": ("a", "b"), "y": ("c",)})
    with pytest.raises(UserError) as error:
        resolve_layout(layout, shape, 100, ModelConfig())
    message = str(error.value)
    assert "window of 100 frames is not a multiple of 24 frames (4 x 3 x 2 x 1" in message
    assert "nearest windows that fit: 96 or 120" in message
    assert "one size (x 2, y 1)" in message
    assert "data.pad_groups=true" in message
    assert "step 2 goes from group to keypoint" in message
    assert "3 pooling steps need 4 levels, but model.stages has 3 (2, 3, 4)" in message


@pytest.mark.parametrize(
    ("layout", "shape", "match"),
    [
        (LayoutConfig(1, "group"), DataShape(("a",), ("m",), 2), "name them in data.groups"),
        (
            LayoutConfig(1, "group"),
            DataShape(("a", "b", "c"), ("m",), 2, {"x": ("a", "b")}),
            "outside are c",
        ),
        (LayoutConfig(1, "keypoints"), DataShape(("a",), ("m",), 2), "did you mean 'keypoint'"),
        (LayoutConfig(0), DataShape(("a",), ("m",), 2), "at least 1, got 0"),
        (LayoutConfig(50), DataShape(("a",), ("m",), 2), "nearest windows that fit: 50"),
    ],
)
def test_single_problems(layout, shape, match):
    with pytest.raises(UserError, match=match):
        resolve_layout(layout, shape, 20, ModelConfig())


def test_layout_survives_yaml():
    layout = PUBLISHED["shot7m2"][1]
    assert from_dict(LayoutConfig, to_dict(layout)) == layout


def test_picture_says_frames_seconds_parts_and_masking():
    shape = data_shape(DataConfig(dataset="shot7m2"))
    text = describe_hierarchy(ModelConfig(), shape, fps=40)
    assert "window   400 frames (10 s) x 1 individual x 24 key points x 3 values" in text
    assert (
        "level 3 (coarsest): one token = 8 frames (0.2 s) of the individual, all 24 key points"
        in text
    )
    assert "one token = 4 frames (0.1 s) of the individual, one group of 4 key points" in text
    assert "one token = 2 frames (0.05 s) of the individual, one key point" in text
    assert "grid 100 x 1 x 6 = 600 tokens, 192 wide -> 128 features" in text
    assert "35 of 50 units are hidden in training (mask_ratio 0.7), 15 stay visible" in text
    assert "left_leg   l_knee, l_ankle, l_foot, l_toes" in text


def test_picture_draws_the_tokens_of_one_mask_unit():
    shape = axes(individuals=2, group_size=2, groups=3)
    layout = LayoutConfig(2, "keypoint", [PoolingConfig(2, "group"), PoolingConfig(2, "all")])
    model = resolve_layout(layout, shape, 80, ModelConfig())
    fine = describe_hierarchy(model, shape).split("level 1")[1].split("mask unit")[0].splitlines()
    rows = [line for line in fine if line.strip().startswith("│")]
    assert len(rows) == 6
    assert all(row.count("│") == 4 + 1 for row in rows)
    assert rows[0].split("│")[1].strip() == "rat0 p0"
    assert "12 side by side (6 drawn)" in rows[-1]
    box = [line for line in fine if line.strip()[:1] in "┌│└" and line.strip()]
    assert {max(map(line.rfind, "┐│┘")) for line in box} == {len(box[-1]) - 1}


@pytest.mark.parametrize("non_hierarchical", [False, True])
def test_picture_without_names_and_without_hierarchy(non_hierarchical):
    model = ModelConfig(
        input_size=(900, 3, 24),
        patch_kernel=(3, 1, 24),
        q_strides=((5, 1, 1), (1, 3, 1)),
        non_hierarchical=non_hierarchical,
    )
    text = describe_hierarchy(model)
    assert "window   900 frames x 3 individuals x 24 values" in text
    coarse = "3 frames of one individual" if non_hierarchical else "15 frames of all 3 individuals"
    assert f"level 3 (coarsest): one token = {coarse}, all key points" in text
