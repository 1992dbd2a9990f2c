"""Sizes of the network, and every reason why a configuration cannot work."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behaviorzoo.errors import UserError
from hbehavemae.model import Geometry, ModelConfig

SHOT = ModelConfig()
BABEL = ModelConfig(
    input_size=(450, 1, 75),
    patch_kernel=(3, 1, 75),
    q_strides=((5, 1, 1), (3, 1, 1)),
    init_embed_dim=128,
    out_embed_dims=(64, 96, 128),
    decoding_strategy="multi",
    mask_ratio=0.75,
)
MICE = replace(
    BABEL,
    input_size=(900, 3, 24),
    patch_kernel=(3, 1, 24),
    stages=(3, 4, 5),
    q_strides=((5, 1, 1), (1, 3, 1)),
    out_embed_dims=(128, 192, 256),
    mask_ratio=0.875,
    norm_loss=True,
)


def problems(config: ModelConfig, masked: bool = True) -> list[str]:
    with pytest.raises(UserError) as caught:
        Geometry(config, masked)
    text = str(caught.value)
    assert "\n" not in text
    return text.removeprefix("geometry: ").split("; ")


@pytest.mark.parametrize(
    ("config", "tokens", "unit", "kept", "grids", "pred", "frames"),
    [
        (
            SHOT,
            (200, 1, 24),
            (4, 1, 24),
            15,
            ((200, 1, 24), (100, 1, 6), (50, 1, 1)),
            288,
            (2, 4, 8),
        ),
        (
            BABEL,
            (150, 1, 1),
            (15, 1, 1),
            2,
            ((150, 1, 1), (30, 1, 1), (10, 1, 1)),
            1125,
            (3, 15, 45),
        ),
        (
            MICE,
            (300, 3, 1),
            (5, 3, 1),
            7,
            ((300, 3, 1), (60, 3, 1), (60, 1, 1)),
            360,
            (3, 15, 15),
        ),
    ],
)
def test_published_models(config, tokens, unit, kept, grids, pred, frames):
    geometry = Geometry(config)
    assert geometry.tokens == tokens
    assert geometry.mask_unit == unit
    assert geometry.n_kept == kept
    assert geometry.level_grids == grids
    assert geometry.mask_grid == grids[-1]
    assert geometry.pred_size == pred
    assert geometry.level_dims == config.out_embed_dims
    assert geometry.frames_per_token == frames
    assert geometry.n_local == sum(config.stages[:1]) + 1


def test_flag_of_a_stage_lags_by_one_block():
    blocks = Geometry(SHOT).blocks
    assert [b.mask_unit_attn for b in blocks] == [True] * 3 + [False] * 6
    assert [b.window for b in blocks] == [96, 96, 12, 12, 12, 1, 1, 1, 1]
    assert [b.q_stride for b in blocks] == [1, 1, 8, 1, 1, 12, 1, 1, 1]


def test_more_stages_than_pooling_steps_keep_the_grid_and_double_the_width():
    config = replace(
        SHOT, stages=(1, 1, 1, 1), mask_unit_attn=(True,) * 4, out_embed_dims=(8, 9, 10, 11)
    )
    geometry = Geometry(config)
    assert geometry.level_grids[2:] == ((50, 1, 1), (50, 1, 1))
    assert [b.dim_out for b in geometry.blocks] == [96, 192, 384, 768]
    assert [b.heads for b in geometry.blocks] == [2, 4, 8, 16]
    assert geometry.n_local == 4
    # In `multi` the stage between the pooled ones and the last is left out.
    assert Geometry(replace(config, decoding_strategy="multi")).fused_levels == (0, 1, 3)
    assert geometry.fused_levels == (3,)


def test_flat_variant_ignores_pooling_and_later_widths():
    geometry = Geometry(replace(SHOT, non_hierarchical=True, mask_unit_attn=()))
    assert geometry.strides == ((1, 1, 1),) * 3
    assert geometry.mask_unit == (1, 1, 1)
    assert geometry.level_dims == (78, 78, 78)
    assert {(b.dim, b.dim_out, b.heads, b.q_stride) for b in geometry.blocks} == {(96, 96, 2, 1)}
    assert geometry.n_local == 0
    assert geometry.pred_size == 3


def test_lists_from_a_configuration_file_are_taken():
    config = ModelConfig(input_size=[400, 1, 72], q_strides=[[2, 1, 4], [2, 1, 6]])  # type: ignore[arg-type]
    assert config == SHOT
    assert hash(config) == hash(SHOT)


def test_all_violations_are_listed_at_once_with_both_numbers():
    config = ModelConfig(
        input_size=(400, 2, 73),
        patch_kernel=(3, 1, 3),
        q_strides=((2, 1, 4), (2, 3, 6), (1, 1, 1)),
        mask_unit_attn=(True, False),
        init_embed_dim=97,
        out_embed_dims=(78,),
        decoder_embed_dim=128,
        decoder_num_heads=3,
        mask_ratio=1.0,
    )
    assert problems(config) == [
        "frames: window 400 is not a multiple of patch 3 x pooling 4 = 12",
        "individuals: number 2 is not a multiple of patch 1 x pooling 3 = 3",
        "features: number 73 is not a multiple of patch 3 x pooling 24 = 72",
        "q_strides: 3 poolings, but 3 stages leave room for 2 between them",
        "out_embed_dims: 1 values for 3 stages, at least 3 needed",
        "mask_unit_attn: 2 values for 3 stages, at least 3 needed",
        "init_embed_dim: width 97 is not a multiple of 2 heads",
        "decoder_embed_dim: width 128 is not a multiple of 3 heads",
        "mask_ratio = 1.0: expected a share in [0, 1)",
    ]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"input_size": (400, 1)}, "input_size = (400, 1): expected three positive"),
        ({"patch_kernel": (0, 1, 3)}, "patch_kernel = (0, 1, 3): expected three positive"),
        ({"q_strides": ((2, 1),)}, "q_strides[0] = (2, 1): expected three positive"),
        ({"stages": ()}, "stages = (): expected at least one block"),
        ({"stages": (2, 0, 4)}, "stages = (2, 0, 4): expected at least one block"),
        ({"out_embed_dims": (1, -1, 2)}, "out_embed_dims = (1, -1, 2)"),
        ({"init_num_heads": 0}, "init_num_heads = 0: expected a positive"),
        ({"decoder_depth": -1}, "decoder_depth = -1"),
        ({"mlp_ratio": 0.0}, "mlp_ratio = 0.0"),
        ({"decoding_strategy": "mult"}, "decoding_strategy = 'mult': did you mean 'multi'?"),
    ],
)
def test_malformed_numbers(change, expected):
    assert any(problem.startswith(expected) for problem in problems(replace(SHOT, **change)))


def test_mask_ratio_must_leave_something_visible_and_something_hidden():
    none_left = replace(BABEL, mask_ratio=0.95)
    assert problems(none_left)[0].startswith("mask_ratio 0.95 of 10 mask units leaves 0 visible")
    assert "hides 0" in problems(replace(BABEL, mask_ratio=0.0))[0]
    # An encoder alone masks nothing.
    assert Geometry(none_left, masked=False).n_kept == 0


def test_a_single_value_has_no_standard_deviation():
    config = replace(SHOT, patch_kernel=(2, 1, 1), non_hierarchical=True, norm_loss=True)
    assert problems(config) == [
        "norm_loss: a decoder token predicts 1 value, its standard deviation needs 2"
    ]


def test_the_authors_default_options_are_refused():
    config = ModelConfig(
        input_size=(600, 3, 24),
        patch_kernel=(4, 1, 2),
        q_strides=((1, 1, 3), (1, 1, 4), (1, 3, 1)),
        init_embed_dim=48,
        out_embed_dims=(32, 64, 96),
    )
    assert problems(config) == ["q_strides: 3 poolings, but 3 stages leave room for 2 between them"]


@settings(deadline=None)
@given(
    n_units=st.integers(1, 400),
    ratio=st.floats(0.0, 0.99),
)
def test_kept_units_follow_the_floating_point_expression(n_units, ratio):
    config = ModelConfig(
        input_size=(n_units, 1, 1), patch_kernel=(1, 1, 1), q_strides=(), mask_ratio=ratio
    )
    geometry = Geometry(config, masked=False)
    assert geometry.n_units == n_units
    assert geometry.n_kept == int(n_units * (1 - ratio))


@settings(deadline=None)
@given(
    strides=st.lists(st.tuples(*[st.integers(1, 4)] * 3), max_size=3),
    extra=st.integers(1, 2),
    grid=st.tuples(*[st.integers(1, 3)] * 3),
    patch=st.tuples(*[st.integers(1, 3)] * 3),
)
def test_any_geometry_is_consistent(strides, extra, grid, patch):
    unit = [prod(s[axis] for s in strides) for axis in range(3)]
    size = tuple(g * u * p for g, u, p in zip(grid, unit, patch, strict=True))
    n_stages = len(strides) + extra
    config = ModelConfig(
        input_size=size,
        patch_kernel=patch,
        stages=(1,) * n_stages,
        q_strides=tuple(strides),
        mask_unit_attn=(True,) * n_stages,
        out_embed_dims=(4,) * n_stages,
    )
    geometry = Geometry(config, masked=False)
    assert geometry.mask_grid == grid
    assert prod(geometry.tokens) == geometry.n_units * geometry.tokens_of_unit
    for level, block in zip(range(n_stages), geometry.blocks, strict=True):
        assert prod(geometry.level_grids[level]) == geometry.n_units * block.window
        assert prod(geometry.level_units[level]) == block.window
    # What is predicted is a unit's values in the first frame of each temporal patch.
    assert geometry.pred_size * geometry.n_units * patch[0] == prod(size)


def test_geometry_needs_no_torch():
    code = (
        "import sys; from hbehavemae.model import Geometry, ModelConfig;"
        "Geometry(ModelConfig()); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_name_in_the_package_is_an_attribute_error():
    import hbehavemae.model

    with pytest.raises(AttributeError, match="HBehaveMea"):
        _ = hbehavemae.model.HBehaveMea  # type: ignore[attr-defined]
    for name in hbehavemae.model.__all__:
        assert getattr(hbehavemae.model, name) is not None
