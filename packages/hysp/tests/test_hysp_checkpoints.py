"""Weights into networks, ours and the authors', and from one layout to the other."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from behaviorzoo.checkpoints import save_checkpoint
from behaviorzoo.errors import UserError
from behaviorzoo.schema import to_dict
from behaviorzoo.weights import load_torch_file
from hysp.author_options import authors_arguments, find_graph, infer_options, strip_prefix
from hysp.checkpoints import build_encoder, build_network, load_checkpoint
from hysp.convert import to_authors, to_ours
from hysp.graph import Graph
from hysp.model import (
    HYSP,
    Classifier,
    ClassifierConfig,
    EncoderConfig,
    GraphConfig,
    ModelConfig,
    build_model,
)

ENCODER = EncoderConfig(3, 3, 7, GraphConfig("nw-ucla", "distance"), dropout=0.25)
CONFIG = ModelConfig(
    encoder=ENCODER,
    projection_hidden_size=(6, 5),
    predictor_hidden_size=(4, 5),
    hyper_c=0.5,
    moving_average_decay=0.9,
    queue_size=11,
)


def cfg(config=CONFIG, **model_args):
    arguments = {**authors_arguments(config), **model_args}
    arguments["graph_args"] = {"layout": "nw-ucla", "strategy": "distance"}
    return Namespace(
        model=config.method, hyper=config.hyper, weight_decay="1e-4",
        model_args=Namespace(**arguments), num_epoch=3,
    )  # fmt: skip


def lightning_file(path, state, configuration=None, prefix="model."):
    content = {
        "epoch": 4,
        "global_step": 40,
        "pytorch-lightning_version": "1.9.5",
        "state_dict": {prefix + name: tensor for name, tensor in state.items()},
        "loops": {"fit_loop": {"state_dict": {}}},
        "optimizer_states": [{"state": {0: {"momentum_buffer": torch.ones(2)}}}],
    }
    if configuration is not None:
        content |= {"hparams_name": "kwargs", "hyper_parameters": {"cfg": configuration}}
    torch.save(content, path)
    return path


def randomised(module):
    torch.manual_seed(0)
    for tensor in module.state_dict().values():
        if tensor.is_floating_point() and tensor.ndim < 3:
            tensor.copy_(torch.rand_like(tensor) + 0.1)
    return module


@pytest.fixture
def model():
    return randomised(HYSP(CONFIG))


@pytest.fixture
def their_file(tmp_path, model):
    return lightning_file(tmp_path / "epoch-5.ckpt", model.state_dict(), cfg())


def same(module, state):
    own = module.state_dict()
    return own.keys() == state.keys() and all(torch.equal(own[k], v) for k, v in state.items())


@pytest.mark.parametrize("prefix", ["model.", "", "module.model.", "learner.model.module."])
def test_prefixes_of_learners_and_wrappers(tmp_path, model, prefix):
    state = {name.replace("online_encoder.", "online_encoder._orig_mod."): tensor
             for name, tensor in model.state_dict().items()}  # fmt: skip
    path = lightning_file(tmp_path / "a.ckpt", state, cfg(), prefix)
    assert same(build_network(path), model.state_dict())


def test_their_file_says_all_options(their_file, model):
    loaded = load_checkpoint(their_file)
    assert loaded.config == CONFIG
    assert loaded.compat == "upstream"
    assert loaded.metadata["epoch"] == 4
    assert loaded.metadata["cfg"]["model_args"]["graph_args"]["layout"] == "nw-ucla"
    assert same(build_network(their_file), model.state_dict())


def test_bare_state_dict_tells_its_options_by_shapes(tmp_path, model):
    path = tmp_path / "weights.pth"
    torch.save(model.state_dict(), path)
    found = load_checkpoint(path).config
    known = replace(CONFIG, hyper_c=1.0, moving_average_decay=0.999, queue_size=found.queue_size)
    assert found == replace(known, encoder=replace(ENCODER, dropout=0.5))


@pytest.mark.parametrize("hyper", [True, False])
@pytest.mark.parametrize("method", ["hysp", "simsiam", "skeletonclr"])
def test_method_by_the_names_of_the_weights(tmp_path, method, hyper):
    config = replace(CONFIG, method=method, hyper=hyper)
    state = randomised(build_model(config)).state_dict()
    path = lightning_file(tmp_path / "a.ckpt", state)
    found = load_checkpoint(path)
    assert found.config.method == method
    assert same(build_network(path), state)
    given = load_checkpoint(path, config).config
    assert given == config


@pytest.mark.parametrize("hyper", [True, False])
def test_their_classifiers(tmp_path, hyper):
    config = ClassifierConfig(ENCODER, 5, hyper)
    state = randomised(Classifier(config)).state_dict()
    path = lightning_file(tmp_path / "1-90.ckpt", state, cfg(pretrain=False))
    assert load_checkpoint(path).config == replace(config, hyper_c=0.5)
    assert same(build_network(path), state)
    found = infer_options(strip_prefix(load_torch_file(path)["state_dict"]), "file")
    assert "model" not in found


def test_encoder_alone_in_both_branches(their_file, model):
    for branch in ("online", "target"):
        encoder = build_encoder(their_file, branch=branch)
        assert same(encoder, getattr(model, f"{branch}_encoder").state_dict())
        assert not encoder.training


def test_building_leaves_the_random_numbers_alone(their_file):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    build_encoder(their_file)
    build_network(their_file)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("section", ["model", "classifier"])
def test_our_folders(tmp_path, section):
    config = CONFIG if section == "model" else ClassifierConfig(ENCODER, 4, hyper=True)
    module = HYSP(config) if section == "model" else Classifier(config)
    full = {"compat": "upstream", section: to_dict(config)}
    path = save_checkpoint(tmp_path / "run", module.state_dict(), full, {"step": 7})
    loaded = load_checkpoint(path)
    assert (loaded.config, loaded.compat) == (config, "upstream")
    assert same(build_network(path), module.state_dict())


def test_there_and_back_again(tmp_path, their_file, model):
    ours = to_ours(their_file, tmp_path / "ours")
    assert same(build_network(ours), model.state_dict())
    assert load_checkpoint(ours).config == CONFIG
    metadata = json.loads((ours / "metadata.json").read_text())
    assert metadata["converted_from"] == their_file.name
    assert metadata["epoch"] == 5
    back = to_authors(ours, tmp_path / "back.ckpt")
    old, new = load_torch_file(their_file), load_torch_file(back)
    assert old["state_dict"].keys() == new["state_dict"].keys()
    assert all(torch.equal(v, new["state_dict"][k]) for k, v in old["state_dict"].items())
    assert new["epoch"] == old["epoch"]
    cfg_back = new["hyper_parameters"]["cfg"]
    assert cfg_back.weight_decay == "1e-4"
    assert cfg_back.model_args.hidden_channels == 3
    assert load_checkpoint(back).config == CONFIG


def test_what_was_trained_here_goes_to_the_authors(tmp_path, model):
    full = {"compat": "paper", "model": to_dict(CONFIG)}
    ours = save_checkpoint(tmp_path / "o", model.state_dict(), full, {"step": 9, "epoch": 3.0})
    content = load_torch_file(to_authors(ours, tmp_path / "a.ckpt"))
    assert (content["epoch"], content["global_step"]) == (2, 9)
    arguments = content["hyper_parameters"]["cfg"].model_args
    assert arguments.graph_args["strategy"] == "distance"
    assert arguments.projection_hidden_size == [6, 5]


@pytest.mark.parametrize("layout", ["ntu-rgb+d", "openpose", "nw-ucla"])
@pytest.mark.parametrize("strategy", ["uniform", "distance", "spatial"])
def test_graph_by_its_matrices(layout, strategy):
    matrices = torch.tensor(Graph(layout, strategy, 2).A, dtype=torch.float32)
    found = find_graph(matrices, "file")
    assert torch.equal(torch.tensor(Graph(**found).A, dtype=torch.float32), matrices)
    assert (found["layout"], found["max_hop"]) == (layout, 2)


def broken(state, change):
    state = dict(state)
    change(state)
    return state


def wide(state):
    state["online_projector.net.3.weight"] = torch.zeros(5, 7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("target_projector.net.3.bias"), "1 missing: target_projector.net.3.bias"),
        (lambda s: s.update(extra=torch.ones(1)), "1 unexpected: extra"),
        (wide, r"online_projector.net.3.weight \(5, 7\) instead of \(5, 6\)"),
        (lambda s: s.pop("online_encoder.A"), "no ST-GCN encoder, A under 'online_encoder.' is"),
    ],
    ids=["missing", "unexpected", "shape", "encoder"],
)
def test_what_does_not_fit_is_listed(tmp_path, model, change, message):
    path = lightning_file(tmp_path / "a.ckpt", broken(model.state_dict(), change), cfg())
    with pytest.raises(UserError, match=message):
        build_network(path)


class Anything:
    def __reduce__(self):
        return os.mkdir, ("never-made",)


def test_foreign_code_is_refused_and_not_run(tmp_path, model, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = lightning_file(tmp_path / "a.ckpt", model.state_dict(), Anything())
    with pytest.raises(UserError, match="refused, the file asks for"):
        load_checkpoint(path)
    assert not Path("never-made").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"graph_args": {"layout": "ntu"}}, r"a.ckpt: its 'model_args' cannot be read \(graph.lay"),
        ({"graph_args": {"hops": 2}}, "unexpected keyword argument 'hops'"),
        ({"dropout": "much"}, "its 'model_args' cannot be read"),
    ],
    ids=["layout", "key", "type"],
)
def test_options_that_cannot_be_read(tmp_path, model, changes, message):
    configuration = cfg()
    vars(configuration.model_args).update(changes)
    path = lightning_file(tmp_path / "a.ckpt", model.state_dict(), configuration)
    with pytest.raises(UserError, match=message):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"weights": 3}, "no state dict under 'state_dict'"),
        ({"state_dict": {"conv.weight": torch.ones(2)}}, "no ST-GCN encoder"),
        ({"state_dict": {"a": torch.ones(1)}, "hyper_parameters": {"cfg": 3}}, "'cfg' is int"),
    ],
    ids=["none", "another", "cfg"],
)
def test_other_files_are_named(tmp_path, content, message):
    path = tmp_path / "a.ckpt"
    torch.save(content, path)
    with pytest.raises(UserError, match=message):
        load_checkpoint(path)


def test_mistakes_of_use(tmp_path, their_file, model):
    with pytest.raises(UserError, match="branch: unknown 'targets'; did you mean 'target'"):
        build_encoder(their_file, branch="targets")
    simsiam = build_model(replace(CONFIG, method="simsiam")).state_dict()
    path = lightning_file(tmp_path / "s.ckpt", simsiam)
    with pytest.raises(UserError, match="has no target encoder"):
        build_encoder(path, branch="target")
    with pytest.raises(UserError, match="none of ntu-rgb"):
        find_graph(torch.rand(3, 25, 25), "file")
    ours = to_ours(their_file, tmp_path / "ours")
    with pytest.raises(UserError, match="is a checkpoint of ours already"):
        to_ours(ours, tmp_path / "again")
    with pytest.raises(UserError, match="this is a folder"):
        to_authors(ours, tmp_path)
    (tmp_path / "mine.ckpt").write_text("mine")
    with pytest.raises(UserError, match=r"mine\.ckpt: exists already"):
        to_authors(ours, tmp_path / "mine.ckpt")
    assert (tmp_path / "mine.ckpt").read_text() == "mine"
    empty = save_checkpoint(tmp_path / "empty", model.state_dict(), {"x": 1}, {})
    with pytest.raises(UserError, match="no section 'classifier' or 'model'"):
        load_checkpoint(empty)
    head = ClassifierConfig(ENCODER, 4)
    folder = save_checkpoint(
        tmp_path / "head", Classifier(head).state_dict(), {"classifier": to_dict(head)}, {}
    )
    with pytest.raises(UserError, match="an encoder with a head"):
        to_authors(folder, tmp_path / "b.ckpt")
    chain = GraphConfig("custom", n_joints=3, edges=((0, 1), (1, 2)), centre=1)
    with pytest.raises(UserError, match="knows no layout 'custom'"):
        authors_arguments(replace(CONFIG, encoder=replace(ENCODER, graph=chain)))
