"""Settings: the published recipes number by number, and the words that change them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from behaviorzoo.config import to_yaml
from behaviorzoo.errors import UserError
from behaviorzoo.schema import from_dict, to_dict
from hysp.config import (
    CurriculumConfig,
    PretrainConfig,
    checked,
    configure,
    help_text,
    outline,
    overview,
    sized,
)
from hysp.data.skeleton import Skeleton, named_skeleton
from hysp.model.config import EncoderConfig, GraphConfig

PUBLISHED = (
    "ntu60_xview",
    "ntu60_xsub",
    "ntu120_xsub",
    "ntu120_xset",
    "pkummd1",
    "pkummd2",
    "simsiam",
    "skeletonclr",
)
ALL = (*PUBLISHED, "recordings", "bandai")
RSGD = "RiemannianSGD"

# Key -> its value in each published file, in the order above; a single value stands for all.
TABLE: dict[str, Any] = {
    "model.method": ("hysp",) * 6 + ("simsiam", "skeletonclr"),
    "model.hyper": True,
    "model.hyper_c": 1.0,
    "model.encoder.in_channels": 0,
    "model.encoder.hidden_channels": 64,
    "model.encoder.out_channels": 1024,
    "model.encoder.dropout": 0.5,
    "model.encoder.edge_importance_weighting": True,
    "model.encoder.graph.layout": "ntu-rgb+d",
    "model.encoder.graph.strategy": "spatial",
    "model.encoder.graph.max_hop": 1,
    "model.projection_hidden_size": ((1024,) * 2,) * 6 + ((1024,) * 3, (1024,) * 2),
    "model.predictor_hidden_size": ((1024,) * 2,) * 6 + ((512, 1024), (1024,) * 2),
    "model.moving_average_decay": 0.999,
    "model.queue_size": 8192,
    "model.temperature": 0.07,
    "data.benchmark": ("xview", "xsub", "xsub", "xset", "xsub", "xsub", "xview", "xview"),
    "stream": ("joint",) * 4 + ("bone",) + ("joint",) * 3,
    "augment.padding_ratio": 6,
    "augment.shear": 0.5,
    "augment.flip": 0.5,
    "augment.rotation": 30.0,
    "augment.rotation_others": 1.0,
    "augment.noise": 0.5,
    "augment.noise_sigma": 0.01,
    "augment.blur": 0.5,
    "augment.blur_sigma": (0.1, 2.0),
    "augment.blur_taps": 15,
    "augment.axis_mask": 0.5,
    "augment.time_flip": 0.5,
    "curriculum.enabled": True,
    "curriculum.initial_epoch": (50,) * 6 + (0, 50),
    "curriculum.final_epoch": (100,) * 6 + (50, 100),
    "optim.optimizer": (RSGD, RSGD, "SGD", "SGD", RSGD, "SGD", RSGD, RSGD),
    "optim.lr": (0.2, 0.2, 0.2, 0.2, 0.4, 0.1, 0.02, 0.2),
    "optim.nesterov": False,
    "optim.weight_decay": 1e-4,
    "optim.scheduler": "step",
    "optim.epochs": (600, 400, 400, 400, 600, 500, 800, 600),
    "optim.milestones": (
        (400,), (300, 400), (300, 400), (300, 400), (200, 400), (200, 400), (1000,), (400,),
    ),
    "optim.batch_size": 512,
    "optim.drop_last": True,
    "optim.val_batch_size": (256, 512, 512, 512, 256, 512, 256, 128),
    "optim.validate_every_epochs": 1,
    "trainer.precision": "32-true",
    "trainer.clip_norm": None,
    "trainer.accumulate": 1,
    "trainer.checkpoint_every_epochs": (50, 25, 25, 25, 50, 50, 50, 50),
    "trainer.keep_checkpoints": 0,
    "seed": 123,
    "weights": None,
    "compat": "paper",
}  # fmt: skip


def value_of(config: PretrainConfig, key: str) -> Any:
    node: Any = config
    for name in key.split("."):
        node = getattr(node, name)
    return node


@pytest.fixture(scope="module")
def published() -> dict[str, PretrainConfig]:
    return {name: configure([f"experiment={name}"]) for name in PUBLISHED}


@pytest.mark.parametrize("key", TABLE)
def test_every_number_of_the_published_recipes(published, key):
    expected = TABLE[key]
    each = len(published) if not isinstance(expected, tuple) or len(expected) != 8 else None
    found = tuple(value_of(published[name], key) for name in PUBLISHED)
    assert found == ((expected,) * each if each else expected)


@pytest.mark.parametrize("name", ALL)
def test_no_path_and_no_device_count_hides_in_a_recipe(name):
    config = configure([f"experiment={name}"])
    assert (config.data.path, config.data.labels, config.weights) == ("", None, None)
    assert (config.trainer.devices, config.trainer.num_nodes) == (1, 1)
    assert config.compat == "paper"
    assert config.out == f"runs/{config.name}"
    checked(configure([f"experiment={name}", "data.path=somewhere"]))


def test_the_default_is_for_any_recording():
    config = configure([])
    assert config == configure(["experiment=recordings"])
    assert config.model.encoder.graph.layout == "data"
    assert config.data.clips.window == 60


def test_words_change_a_recipe():
    config = configure(["experiment=ntu60_xsub", "data.path=x", "stream=motion", "name=m"])
    assert (config.data.path, config.stream, config.out) == ("x", "motion", "runs/m")
    assert config.optim.milestones == (300, 400)
    assert configure(["seed=3"], start=config) == replace(config, seed=3)


def test_a_file_of_the_user_changes_what_it_names(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("name: mine\nmodel:\n  hyper_c: 0.5\n")
    config = configure([f"experiment={mine}"])
    assert (config.name, config.model.hyper_c) == ("mine", 0.5)
    assert config.model.encoder == configure([]).model.encoder


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optim.epoch=3"], r"optim\.epoch: unknown key; did you mean 'optim\.epochs'\?"),
        (["batch_size=3"], r"did you mean 'optim\.batch_size'\?"),
        (["curriculum=false"], "curriculum: "),
        (["experiment=ntu60"], "no choice .*did you mean .ntu60_x"),
        (["experiment=pkummd"], "no choice .*did you mean 'pkummd"),
        (["compat=papre"], "did you mean 'paper'"),
        (["stream=motoin"], "did you mean 'motion'"),
        (["model.method=hisp"], "did you mean 'hysp'"),
        (["optim.optimizer=riemanniansgd"], "unknown 'riemanniansgd'"),
        (["optim.lr=fast"], "optim.lr: got 'fast', expected number"),
        (["optim.batch_size=1"], "batch_size = 1 must be at least 2"),
        (["curriculum.final_epoch=3"], "initial_epoch = 20 .* below final_epoch = 3"),
        (["model.encoder.graph.layout=ntu"], "unknown 'ntu'"),
        (["augment.noise=2"], "augment.noise=2 must lie between 0 and 1"),
        (["seed=-1"], "seed = -1 must be at least 0"),
    ],
)
def test_mistakes_say_what_would_be_right(words, message):
    with pytest.raises(UserError, match=message):
        configure(words)


def test_mistakes_are_told_together():
    with pytest.raises(UserError) as caught:
        configure(["optim.epoch=3", "trainer.devices=two", "optim.lr=0"])
    assert "3 problems" in str(caught.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], r"data\.path is empty: give data\.path="),
        (["data.folds=5", "data.benchmark=xsub"], "both say who trains"),
        (["trainer.devices=3"], "batch_size = 32 cannot be shared evenly among 3 devices"),
        (["trainer.devices=32", "optim.val_batch_size=64"], "each needs at least two sequences"),
        (["trainer.devices=2"], r"optim\.drop_last=false leaves a device without sequences"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_runs(words, message):
    with pytest.raises(UserError, match=message):
        checked(configure([*words, "data.path=x"] if words else words))


def test_a_curriculum_that_is_off_needs_no_epochs():
    assert CurriculumConfig(enabled=False, initial_epoch=3, final_epoch=3).enabled is False
    config = configure(["curriculum.enabled=false"])
    assert config.final_hyper_epoch is None
    assert configure([]).final_hyper_epoch == 50


# ------------------------------------------------------------------ joints and channels

CHAIN = Skeleton(("a", "b", "c", "d"), ((0, 1), (1, 2), (2, 3)), 1, (0, 1, 2, 3))


@pytest.mark.parametrize(
    ("stream", "coordinates", "channels"),
    [("joint", 3, 3), ("bone", 2, 2), ("motion", 3, 3), ("2s", 3, 6), ("3s", 2, 6)],
)
def test_the_network_takes_its_channels_from_the_data(stream, coordinates, channels):
    config = sized(configure([f"stream={stream}"]), CHAIN, coordinates)
    assert config.model.encoder.in_channels == channels
    assert sized(config, CHAIN, coordinates) == config


def test_the_network_takes_its_joints_from_the_data():
    config = sized(configure(["model.encoder.graph.strategy=distance"]), CHAIN, 3)
    graph = config.model.encoder.graph
    assert graph == GraphConfig("custom", "distance", 1, 1, 4, CHAIN.edges, 1)
    named = sized(configure([]), named_skeleton("openpose"), 2)
    assert named.model.encoder.graph == GraphConfig("openpose")
    # What is saved is read back as it was.
    assert from_dict(PretrainConfig, to_dict(config)) == config
    assert configure([], start=config) == config


def test_another_skeleton_than_that_of_the_network():
    message = r"graph has 25 joints \(ntu-rgb\+d\), the data have 4 \(a, b, c, d, .*layout=data"
    with pytest.raises(UserError, match=message):
        sized(configure(["experiment=ntu60_xsub"]), CHAIN, 3)
    with pytest.raises(UserError, match=r"in_channels = 3, the data have 2 .*Leave it out"):
        sized(configure(["model.encoder.in_channels=3"]), CHAIN, 2)


def test_a_graph_from_data_that_are_not_known():
    with pytest.raises(UserError, match="its joints are those of the data"):
        EncoderConfig(graph=GraphConfig("data")).graph.build()


# ------------------------------------------------------------------ what is shown


def test_resuming_keeps_the_settings_of_the_run(tmp_path):
    first = configure(["experiment=pkummd1", f"out={tmp_path}", "optim.epochs=7"])
    first = sized(first, named_skeleton("ntu-rgb+d"), 3)
    (tmp_path / "config.yaml").write_text(to_yaml(first))
    assert configure([f"out={tmp_path}"], resume=True) == first
    assert configure([f"out={tmp_path}"]).name == "hysp"


def test_overview_is_the_settings_and_the_course():
    config = configure(["experiment=simsiam"])
    assert overview(config).startswith(to_yaml(config))
    assert outline(config) in overview(config)
    assert outline(config).splitlines() == [
        "simsiam on ntu-rgb+d joints, stream joint, in Poincare ball of curvature -1, "
        "from epoch 0 to 50",
        "800 epochs of batches of 512, RiemannianSGD at 0.02",
    ]
    assert "Euclidean space" in outline(configure(["model.hyper=false"]))


def test_every_key_is_explained():
    text = help_text()
    for key in TABLE:
        assert f"\n{key} (" in text
    assert all(line.startswith("    ") for line in text.splitlines()[1::2])
