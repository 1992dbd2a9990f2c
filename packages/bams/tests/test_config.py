"""Settings: the published recipes number by number, and the words that change them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bams.config import TrainConfig, checked, configure, help_text, overview, sized, timescales
from bams.model.config import EncoderConfig
from bams.optim import OptimConfig
from behaviorzoo.config import to_yaml
from behaviorzoo.errors import UserError

PUBLISHED = ("mouse_triplets", "fruit_flies", "custom", "quadrupeds")
MICE = ((64, 64, 32, 32), (64, 64, 64, 32, 32))
OTHERS = ((64, 64, 64, 64), (64, 64, 64, 64, 64))

# Key -> its value in the scripts for mice, flies, own arrays; quadrupeds are as own arrays.
TABLE: dict[str, tuple[Any, Any, Any, Any]] = {
    "data.dataset": ("mice", "flies", "arrays", "quadrupeds"),
    "data.window": (None,) * 4,
    "model.encoders.short_term.channels": (MICE[0], OTHERS[0], OTHERS[0], OTHERS[0]),
    "model.encoders.long_term.channels": (MICE[1], OTHERS[1], OTHERS[1], OTHERS[1]),
    "model.encoders.short_term.kernel_size": (3,) * 4,
    "model.encoders.long_term.kernel_size": (3,) * 4,
    "model.encoders.short_term.dilation_base": (2,) * 4,
    "model.encoders.long_term.dilation_base": (4,) * 4,
    "model.encoders.short_term.layers_per_block": (2,) * 4,
    "model.encoders.long_term.layers_per_block": (2,) * 4,
    "model.encoders.short_term.dropout": (0.2,) * 4,
    "model.encoders.long_term.dropout": (0.2,) * 4,
    "model.encoders.short_term.receptive_field": (61,) * 4,
    "model.encoders.long_term.receptive_field": (1365,) * 4,
    "model.predictor_hidden": ((256, 512, 512),) * 4,
    "model.predictor_bias": (True,) * 4,
    "model.predictor_batchnorm": (False,) * 4,
    "model.hoa_bins": (32,) * 4,
    "loss.hoa_window": (30,) * 4,
    "loss.skip_frames": (60, 100, 100, 100),
    "loss.hoa_every": (1,) * 4,
    "loss.hoa_weight": (500.0,) * 4,
    "loss.latent_weight": (0.5,) * 4,
    "loss.pairs.short_term.start": (60,) * 4,
    "loss.pairs.short_term.reach": (6,) * 4,
    "optim.epochs": (500,) * 4,
    "optim.batch_size": (32,) * 4,
    "optim.shuffle": (True, False, False, False),
    "optim.drop_last": (True,) * 4,
    "optim.lr": (1e-3,) * 4,
    "optim.latent_lr_factor": (10.0,) * 4,
    "optim.milestones": ((200,),) * 4,
    "optim.gamma": (0.1,) * 4,
    "optim.weight_decay": (4e-5,) * 4,
    "optim.betas": ((0.9, 0.999),) * 4,
    "optim.eps": (1e-8,) * 4,
    "labels.every_epochs": (100,) * 4,
    "labels.train": (0.8, 0.8, 0.8, 0.2),
    "trainer.clip_norm": (None,) * 4,
    "trainer.accumulate": (1,) * 4,
    "trainer.precision": ("32-true",) * 4,
    "trainer.checkpoint_every_epochs": (100,) * 4,
    "trainer.log_every_n_steps": (50,) * 4,
    "compat": ("paper",) * 4,
    "seed": (0,) * 4,
}


def value_of(config: TrainConfig, key: str) -> Any:
    node: Any = config
    for name in key.split("."):
        node = node[name] if isinstance(node, dict) else getattr(node, name)
    return node


@pytest.fixture(scope="module")
def published() -> dict[str, TrainConfig]:
    return {name: configure([f"experiment={name}"]) for name in PUBLISHED}


@pytest.mark.parametrize("key", TABLE)
def test_every_number_of_the_published_recipes(published, key):
    assert tuple(value_of(published[name], key) for name in PUBLISHED) == TABLE[key]


def test_timescales_in_the_order_of_the_embedding(published):
    for config in published.values():
        assert list(config.model.encoders) == ["short_term", "long_term"]
        assert config.loss.pairs_of(config.model.encoders)["long_term"].start == 100
        assert config.loss.pairs_of(config.model.encoders)["long_term"].reach is None


def test_no_path_and_no_device_count_hides_in_a_recipe():
    for name in (None, *PUBLISHED, "recordings", "rats"):
        config = configure([f"experiment={name}"] if name else [])
        assert config.data.path == ""
        assert config.data.cache is None
        assert (config.trainer.devices, config.trainer.num_nodes) == (1, 1)
        assert config.compat == "paper"
        assert config.out == f"runs/{config.name}"


def test_the_default_is_for_any_recording():
    assert configure([]) == configure(["experiment=recordings"])
    assert configure([]).data.dataset == "recordings"
    assert configure([]).data.window is None


def test_words_change_a_recipe():
    config = configure(["experiment=fruit_flies", "data.path=x.npy", "compat=upstream", "name=f"])
    assert (config.data.path, config.compat, config.out) == ("x.npy", "upstream", "runs/f")
    assert config.optim.shuffle is False


def test_encoders_can_be_others(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "name: mine\nmodel:\n  encoders:\n    slow: {channels: [8, 8], dilation_base: 8}\n"
        "    fast: {channels: [4]}\n"
    )
    config = configure([f"experiment={mine}"])
    assert list(config.model.encoders) == ["slow", "fast"]
    assert config.model.encoders["fast"] == EncoderConfig(channels=(4,))
    words = ["model.encoders.long_term=null", "model.encoders.middle.channels=[16,16]"]
    assert list(configure(words).model.encoders) == ["short_term", "middle"]
    again = configure(["seed=3"], start=config)
    assert again == replace(config, seed=3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optim.epoch=3"], r"optim\.epoch: unknown key; did you mean 'optim\.epochs'\?"),
        (["batch_size=3"], r"did you mean 'optim\.batch_size'\?"),
        (["hoa_bins=8"], r"did you mean 'model\.hoa_bins'\?"),
        (["experiment=mouse_triplet"], "no choice .*did you mean 'mouse_triplets'"),
        (["compat=papre"], "did you mean 'paper'"),
        (["optim.lr=fast"], "optim.lr: got 'fast', expected number"),
        (["optim.lr=0"], "lr = 0.0 must be positive"),
        (["optim.milestones=[0]"], r"milestones = \[0\] must be at least 1"),
        (["seed=-1"], "seed = -1 must be at least 0"),
        (["labels.train=0.5"], "train = 0.5 must be 0.8 or 0.2"),
        (["labels.every_epochs=-1"], "every_epochs = -1 must be at least 0"),
        (["model.hoa_bins=256"], "hoa_bins = 256 must lie between 2 and 255"),
        (["model.encoders.short_term.dropout=1.5"], "dropout = 1.5 must lie in"),
        (["model.encoders.short_term=null", "model.encoders.long_term=null"], "encoders is empty"),
    ],
)
def test_mistakes_say_what_would_be_right(words, message):
    with pytest.raises(UserError, match=message):
        configure(words)


def test_mistakes_are_told_together():
    with pytest.raises(UserError) as caught:
        configure(["optim.epoch=3", "trainer.devices=two", "loss.hoa_window=0"])
    assert "3 problems" in str(caught.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], r"data\.path is empty: give data\.path="),
        (["data.path=x", "data.features=[]"], "features is empty"),
        (["data.path=x", "loss.pairs.shrt_term.start=3"], "did you mean 'short_term'"),
        (["data.path=x", "trainer.devices=2"], r"optim\.drop_last=false leaves a process"),
        (["experiment=fruit_flies", "data.path=x", "data.annotations=y"], "not for flies"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_runs(words, message):
    with pytest.raises(UserError, match=message):
        checked(configure(words))


@pytest.mark.parametrize("name", [*PUBLISHED, "recordings", "rats"])
def test_every_recipe_needs_only_a_path(name):
    checked(configure([f"experiment={name}", "data.path=somewhere"]))


def test_the_network_takes_its_size_from_the_data():
    config = sized(configure([]), 20, 7)
    assert (config.model.n_inputs, config.model.n_targets) == (20, 7)
    assert sized(config, 20, 7) == config
    with pytest.raises(UserError, match=r"model\.n_targets = 7, the data have 8\. Leave it out"):
        sized(config, 20, 8)


def test_resuming_keeps_the_settings_of_the_run(tmp_path):
    first = configure(["experiment=custom", f"out={tmp_path}", "optim.epochs=7"])
    (tmp_path / "config.yaml").write_text(to_yaml(first))
    assert configure([f"out={tmp_path}"], resume=True) == first
    assert configure([f"out={tmp_path}"]).name == "bams"


def test_timescales_in_seconds():
    model = configure(["experiment=mouse_triplets"]).model
    assert timescales(model, 30.0).splitlines() == [
        "timescale      features  frames seen  seconds",
        "short_term           32           61     2.03",
        "long_term            32         1365     45.5",
    ]
    assert "seconds" not in timescales(model)


def test_overview_is_the_settings_and_the_timescales():
    config = configure(["experiment=custom", "seed=11"])
    assert overview(config).startswith(to_yaml(config))
    assert timescales(config.model) in overview(config)


def test_every_key_is_explained():
    text = help_text()
    for key in (key for key in TABLE if ".encoders." not in key and ".pairs." not in key):
        assert f"\n{key} (" in text
    assert all(line.startswith("    ") for line in text.splitlines()[1::2])


def test_learning_rate_falls_at_the_milestones():
    optim = OptimConfig(lr=2.0, gamma=0.1, milestones=(200, 300))
    rates = [optim.rate(epoch) for epoch in (0, 199, 200, 299, 300, 499)]
    assert rates == pytest.approx([2.0, 2.0, 0.2, 0.2, 0.02, 0.02])


def test_the_published_schedule_is_that_of_pytorch():
    import torch

    optim = configure(["experiment=mouse_triplets"]).optim
    parameter = torch.nn.Parameter(torch.zeros(1))
    theirs = torch.optim.AdamW([parameter], lr=optim.lr)
    schedule = torch.optim.lr_scheduler.MultiStepLR(theirs, list(optim.milestones), optim.gamma)
    for epoch in range(optim.epochs):
        assert optim.rate(epoch) == theirs.param_groups[0]["lr"]
        theirs.step()
        schedule.step()


def test_several_numbers_out_of_range_are_told_together():
    with pytest.raises(UserError, match=r"epochs = 0 .*; gamma = 0.0 .*; betas = \[1.0, 0.9\]"):
        OptimConfig(epochs=0, gamma=0.0, betas=(1.0, 0.9))
