"""Settings: the published recipes number by number, and the words that change them."""

from __future__ import annotations

from typing import Any

import pytest

from behaviorzoo.config import to_yaml
from behaviorzoo.errors import UserError
from hbehavemae.config import PretrainConfig, configure, help_text, resolve
from hbehavemae.model import Geometry

PUBLISHED = ("shot7m2", "hbabel", "mabe22")

# Key -> its value in the training scripts for Shot7M2, hBABEL, MABe22.
TABLE: dict[str, tuple[Any, Any, Any]] = {
    "data.dataset": ("shot7m2", "hbabel", "mabe22"),
    "data.window": (400, 450, 900),
    "data.sliding_window": (17, 11, 17),
    "data.data_augment": (False, False, True),
    "data.fill_holes": (False, False, False),
    "data.centeralign": (False, False, False),
    "data.include_test_data": (False, False, False),
    "data.joints3d_procrustes": (True, True, True),
    "data.sampling_rate": (1, 1, 1),
    "data.compat": ("none", "none", "none"),
    "model.input_size": ((400, 1, 72), (450, 1, 75), (900, 3, 24)),
    "model.patch_kernel": ((2, 1, 3), (3, 1, 75), (3, 1, 24)),
    "model.stages": ((2, 3, 4), (2, 3, 4), (3, 4, 5)),
    "model.q_strides": (
        ((2, 1, 4), (2, 1, 6)),
        ((5, 1, 1), (3, 1, 1)),
        ((5, 1, 1), (1, 3, 1)),
    ),
    "model.mask_unit_attn": ((True, False, False),) * 3,
    "model.init_embed_dim": (96, 128, 128),
    "model.init_num_heads": (2, 2, 2),
    "model.out_embed_dims": ((78, 128, 256), (64, 96, 128), (128, 192, 256)),
    "model.decoding_strategy": ("single", "multi", "multi"),
    "model.decoder_embed_dim": (128, 128, 128),
    "model.decoder_depth": (1, 1, 1),
    "model.decoder_num_heads": (1, 1, 1),
    "model.mask_ratio": (0.7, 0.75, 0.875),
    "model.norm_loss": (False, False, True),
    "model.non_hierarchical": (False, False, False),
    "model.missing": (False, False, False),
    "model.mlp_ratio": (4.0, 4.0, 4.0),
    "optim.epochs": (200, 200, 200),
    "optim.warmup_epochs": (40, 40, 40),
    "optim.batch_size": (512, 512, 768),
    "optim.blr": (1.6e-4, 1.6e-4, 1.6e-4),
    "optim.lr": (None, None, None),
    "optim.min_lr": (0.0, 0.0, 0.0),
    "optim.weight_decay": (0.05, 0.05, 0.05),
    "optim.betas": ((0.9, 0.95),) * 3,
    "optim.bias_wd": (False, False, False),
    "optim.validate_every_epochs": (5, 5, 5),
    "trainer.clip_norm": (0.02, 0.02, 0.02),
    "trainer.accumulate": (1, 1, 1),
    "trainer.checkpoint_every_epochs": (20, 20, 20),
    "trainer.precision": ("32-true", "32-true", "32-true"),
    "seed": (0, 0, 0),
}


def value_of(config: PretrainConfig, key: str) -> Any:
    node: Any = config
    for name in key.split("."):
        node = getattr(node, name)
    return tuple(node) if isinstance(node, list) else node


@pytest.fixture(scope="module")
def published() -> dict[str, PretrainConfig]:
    return {name: configure([f"experiment={name}"]) for name in PUBLISHED}


@pytest.mark.parametrize("key", TABLE)
def test_every_number_of_the_published_recipes(published, key):
    assert tuple(value_of(published[name], key) for name in PUBLISHED) == TABLE[key]


def test_learning_rates_of_the_published_example_with_two_devices(published):
    rates = [published[name].optim.peak_lr(accumulate=1, world_size=2) for name in PUBLISHED]
    assert rates == pytest.approx([6.4e-4, 6.4e-4, 9.6e-4])
    small = configure(["experiment=shot7m2", "optim.batch_size=64", "trainer.accumulate=8"])
    assert small.optim.peak_lr(small.trainer.accumulate, 2) == pytest.approx(6.4e-4)


def test_geometry_of_the_published_models(published):
    geometry = {name: Geometry(config.model) for name, config in published.items()}
    assert [geometry[name].tokens for name in PUBLISHED] == [(200, 1, 24), (150, 1, 1), (300, 3, 1)]
    assert [geometry[name].mask_grid for name in PUBLISHED] == [(50, 1, 1), (10, 1, 1), (60, 1, 1)]
    assert [geometry[name].pred_size for name in PUBLISHED] == [288, 1125, 360]


def test_no_path_and_no_device_count_hides_in_a_recipe():
    for name in (None, *PUBLISHED, "recordings", "demo", "rats"):
        config = configure([f"experiment={name}"] if name else [])
        assert config.data.path == ""
        assert (config.trainer.devices, config.trainer.num_nodes) == (1, 1)
        assert config.out == f"runs/{config.name}"


def test_words_change_a_recipe():
    config = configure(["experiment=mabe22", "data.path=x.npy", "model.mask_ratio=0.5", "name=m"])
    assert (config.data.path, config.model.mask_ratio, config.out) == ("x.npy", 0.5, "runs/m")
    assert config.model.norm_loss is True


@pytest.mark.parametrize(
    ("data", "input_size"), [("mabe22", (360, 3, 24)), ("shot7m2", (360, 1, 72))]
)
def test_a_layout_follows_the_data(data, input_size):
    model = resolve(configure([f"data={data}"])).model
    assert model.input_size == input_size
    assert model.patch_kernel == (3, 1, input_size[2])
    assert model.q_strides == ((5, 1, 1), (3, input_size[1], 1))


def test_recordings_are_needed_for_their_layout():
    with pytest.raises(UserError, match=r"data\.path is empty: give data\.path=FOLDER"):
        resolve(configure([]))


def test_geometry_is_checked_before_anything_runs():
    with pytest.raises(UserError, match="window 401 is not a multiple of"):
        resolve(configure(["experiment=shot7m2", "model.input_size=[401,1,72]"]))


def test_mistakes_are_told_together():
    with pytest.raises(UserError) as caught:
        configure(["experiment=shot7m2", "optim.epoch=3", "batch_size=2", "trainer.devices=two"])
    text = str(caught.value)
    assert "3 problems" in text
    assert "optim.epoch: unknown key; did you mean 'optim.epochs'?" in text
    assert "batch_size: unknown key; did you mean 'optim.batch_size'?" in text
    assert "trainer.devices: got 'two', expected" in text


def test_an_unknown_experiment_gets_the_nearest():
    with pytest.raises(UserError, match="no choice or yaml file 'shot7m'; did you mean 'shot7m2'"):
        configure(["experiment=shot7m"])


def test_resuming_keeps_the_settings_of_the_run(tmp_path):
    first = configure(["experiment=hbabel", f"out={tmp_path}", "optim.epochs=7"])
    (tmp_path / "config.yaml").write_text(to_yaml(first))
    again = configure([f"out={tmp_path}", "trainer.progress=false"], resume=True)
    assert again.trainer.progress is False
    again.trainer.progress = first.trainer.progress
    assert again == first
    assert configure([f"out={tmp_path}"]).name == "pretrain"


def test_words_over_given_settings():
    start = configure(["experiment=shot7m2"])
    changed = configure(["data.path=other.npy"], start=start)
    assert changed.data.path == "other.npy"
    changed.data.path = ""
    assert changed == start


def test_every_key_is_explained():
    text = help_text()
    for key in TABLE:
        assert f"\n{key} (" in text or text.startswith(f"{key} (")
