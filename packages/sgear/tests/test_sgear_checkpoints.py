"""Checkpoints of the authors and of ours: read safely, mapped, converted both ways, described."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from behaviorzoo.errors import UserError
from sgear.checkpoints import load_checkpoint, load_init, load_pretrained_blocks
from sgear.convert import to_authors, to_ours
from sgear.info import count_parameters, information
from sgear.model import (
    AggregatorConfig,
    BackboneConfig,
    ClassifierConfig,
    FuturePredictorConfig,
    ModelConfig,
    SGear,
)
from sgear.model.author_options import read_model, write_model
from sgear.model.inferred_options import infer_options
from sgear.weight_names import our_name

N = 9
TCD = FuturePredictorConfig(
    "tcd", inter_dim=16, n_layer=1, return_past_too=True, avg_last_n=1, future_pred_loss="mse"
)
VIT = BackboneConfig(
    "vit",
    overrides={"img_size": 16, "patch_size": 8, "embed_dim": 64, "depth": 1, "num_heads": 1},
)


def feature_options(**changes: Any) -> ModelConfig:
    options = {
        "backbone_dim": 10,
        "intermediate_featdim": 64,
        "tmp_frames": 3,
        "extracted_features": True,
        "prot_attn": True,
        "future_predictor": TCD,
        "classifier_on_past": True,
        "dropout": 0.2,
    }
    return ModelConfig(**options | changes)


def video_options(**changes: Any) -> ModelConfig:
    options = {
        "backbone": VIT,
        "backbone_dim": 64,
        "intermediate_featdim": 64,
        "backbone_last_n_modules_to_drop": 0,
        "backbone_add_ts_blocks": 2,
        "tmp_frames": 3,
        "prot_attn": True,
        "future_predictor": TCD,
        "classifier_on_past": True,
        "dropout": 0.2,
    }
    return ModelConfig(**options | changes)


def network(config: ModelConfig, seed: int = 0, num_classes=None, **options: Any) -> SGear:
    torch.manual_seed(seed)
    num_classes = num_classes or {"action": N}
    return SGear(config, num_classes, torch.randn(N, config.dim), **options).eval()


def authors_file(path: Path, state: dict[str, torch.Tensor], **more: Any) -> Path:
    content = {"model": dict(state), "optimizer": {"state": {}, "param_groups": []}}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({**content, "lr_scheduler": {"a": 1}, "epoch": 3, **more}, path)
    return path


def same_outputs(a: SGear, b: SGear) -> bool:
    clips, config = a.config.tmp_frames, a.config
    shape = (1, clips, 3, 1, 16, 16) if not config.extracted_features else (1, clips, 10, 1, 1, 1)
    x = torch.randn(shape)
    with torch.no_grad():
        return torch.equal(a(x)[0]["logits/action"], b(x)[0]["logits/action"])


# -- options from shapes --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        feature_options(),
        feature_options(backbone_dim=64, prot_attn=False, tmp_frames=10),
        feature_options(classifier=ClassifierConfig("mlp", nlayers=3), add_regression_head=True),
        feature_options(classifier=ClassifierConfig(bias=False), transform_features=True),
        feature_options(project_dim_for_nce=5, future_predictor=replace(TCD, n_inner=24)),
        feature_options(
            temporal_aggregator=AggregatorConfig("transformer", inter_rep=16, nlayers=2),
            same_temp_agg_dim=True,
            future_predictor=FuturePredictorConfig("mlp", 3),
        ),
        feature_options(
            temporal_aggregator=AggregatorConfig("rulstm"), future_predictor=replace(TCD, n_layer=2)
        ),
        video_options(),
        video_options(backbone_add_ts_blocks=0, intermediate_featdim=128),
    ],
)
def test_options_follow_from_the_weights(config):
    state = network(config).state_dict()
    found = infer_options(state, "x.pth")
    assert found == config


def test_published_backbones_are_known_by_their_sizes():
    name = "vit_base_patch16_384.orig_in21k_ft_in1k"
    with torch.device("meta"):
        state = {
            "backbone.model.patch_embed.proj.weight": torch.empty(768, 3, 16, 16),
            "backbone.model.pos_embed": torch.empty(1, 577, 768),
            **{f"backbone.model.blocks.{i}.norm1.bias": torch.empty(768) for i in range(12)},
            "vis_prototypes": torch.empty(N, 768),
            "alpha": torch.empty(1),
            "balancer": torch.empty(1),
        }
    found = infer_options(state, "x.pth")
    assert (found.backbone.model_type, found.backbone.overrides) == (name, {})
    state["backbone.model.pos_embed"] = torch.empty(1, 197, 768, device="meta")
    assert "patch16_224" in infer_options(state, "x.pth").backbone.model_type


# -- the authors' files ---------------------------------------------------------------------------


@pytest.mark.parametrize("config", [feature_options(), video_options()])
def test_authors_checkpoint(config, tmp_path):
    model = network(config)
    read = load_checkpoint(authors_file(tmp_path / "a.pth", model.state_dict()))
    assert read.num_classes == {"action": N}
    assert (read.epoch, read.compat, read.known_options) == (3, "upstream", False)
    assert set(read.training) == {"optimizer", "lr_scheduler"}
    assert same_outputs(read.build(), model)


def test_building_does_not_move_the_random_numbers(tmp_path):
    read = load_checkpoint(
        authors_file(tmp_path / "a.pth", network(feature_options()).state_dict())
    )
    torch.manual_seed(4)
    read.build()
    found = torch.rand(3)
    torch.manual_seed(4)
    assert torch.equal(found, torch.rand(3))


def test_old_names_wrappers_and_stored_masks(tmp_path):
    model = network(video_options())
    old = {"vis_prototypes": "org_gamma", "ProtAttn": "mod_attn", "TCA": "TimeShift"}
    state = {}
    for name, tensor in model.state_dict().items():
        first, dot, rest = name.partition(".")
        state[f"module.{old.get(first, first)}{dot}{rest}"] = tensor
    blocks = "module.future_predictor.gpt_model.h.0.attn"
    state[f"{blocks}.bias"] = torch.ones(1, 1, 1024, 1024)
    state[f"{blocks}.masked_bias"] = torch.tensor(-1e4)
    read = load_checkpoint(authors_file(tmp_path / "a.pth", state))
    assert same_outputs(read.build(), model)
    assert our_name("CrossModAttn.gate") == "ProtAttn.gate"
    assert (
        our_name("_orig_mod.module.alpha") == "module.alpha" or our_name("module.alpha") == "alpha"
    )
    state["module.vis_prototypes"] = state["module.org_gamma"]
    with pytest.raises(UserError, match="holds 'vis_prototypes' twice"):
        load_checkpoint(authors_file(tmp_path / "b.pth", state))


def test_options_beside_the_file(tmp_path):
    config = feature_options(future_predictor=replace(TCD, n_head=2), classifier_on_past=False)
    model = network(config)
    path = authors_file(tmp_path / "0" / "checkpoint.pth", model.state_dict())
    section = {**write_model(config), "mod_attn": True, "future_steps": 0}
    section["intermediate_featdim"] = "${times_two:32}"
    (tmp_path / "0" / ".hydra").mkdir()
    file = tmp_path / "0" / ".hydra" / "config.yaml"
    file.write_text(yaml.safe_dump({"model": section, "expt": "${x}"}))
    with pytest.raises(UserError, match=r"config\.yaml: the run's configuration cannot be read"):
        load_checkpoint(path)
    section["intermediate_featdim"] = "${.tmp_frames}"
    section["tmp_frames"] = 3
    section |= {"intermediate_featdim": 64, "dropout": "${model.future_predictor.resid_pdrop}"}
    file.write_text(yaml.safe_dump({"model": section, "expt": "${x}"}))
    read = load_checkpoint(tmp_path / "0")
    assert read.known_options
    assert read.config == replace(config, dropout=0.1)
    assert same_outputs(read.build(), model)


def test_options_in_the_file(tmp_path):
    config = feature_options(future_predictor=replace(TCD, n_head=2))
    model = network(config, compat="corrected")
    settings = {"compat": "corrected", "model": write_model(config), "seed": 3}
    classes = {"action": {f"a{i}": i for i in range(N)}}
    path = authors_file(
        tmp_path / "a.pth",
        model.state_dict(),
        config=settings,
        num_classes={"action": N},
        classes=classes,
    )
    read = load_checkpoint(path)
    assert (read.config, read.compat, read.classes) == (config, "corrected", classes)
    assert read.settings == settings


def test_class_mappings_are_kept(tmp_path):
    mappings = {("verb", "action"): torch.eye(N), ("noun", "action"): torch.eye(N)}
    config = feature_options()
    model = network(config, class_mappings=mappings)
    read = load_checkpoint(authors_file(tmp_path / "a.pth", model.state_dict()))
    assert torch.equal(read.build().state_dict()["cls_map_verb_action"], torch.eye(N))
    known = {"action": N, "verb": N, "noun": N}
    config = replace(config, use_cls_mappings=True)
    built = load_checkpoint(tmp_path / "a.pth", config, known).build()
    outputs = built(torch.randn(1, 3, 10, 1, 1, 1))[0]
    assert torch.equal(outputs["logits/noun"], outputs["logits/action"])


def test_class_mappings_come_from_either_side(tmp_path):
    """They follow from the data: weights are neither refused for having nor for lacking them."""
    config, mappings = feature_options(), {("verb", "action"): torch.eye(N)}
    with_them, without = network(config, class_mappings=mappings), network(config, seed=1)
    for source, target in ((with_them, without), (without, with_them)):
        path = authors_file(tmp_path / "a.pth", source.state_dict())
        load_checkpoint(path).load_into(target)
        assert same_outputs(source, target)
    assert torch.equal(with_them.state_dict()["cls_map_verb_action"], torch.eye(N))
    other = {("verb", "action"): torch.zeros(N, 2)}
    path = authors_file(tmp_path / "b.pth", network(config, class_mappings=other).state_dict())
    with pytest.raises(UserError, match="cls_map_verb_action"):
        load_checkpoint(path).load_into(with_them)


def test_what_does_not_fit_is_listed(tmp_path):
    state = network(feature_options()).state_dict()
    state["extra.weight"] = torch.zeros(1)
    del state["ProtAttn.proj.bias"]
    state["classifiers.action.bias"] = torch.zeros(N + 1)
    read = load_checkpoint(authors_file(tmp_path / "a.pth", state), feature_options())
    with pytest.raises(UserError) as caught:
        read.build()
    message = str(caught.value)
    assert "1 missing: ProtAttn.proj.bias" in message
    assert "1 unexpected: extra.weight" in message
    assert "classifiers.action.bias (10,) instead of (9,)" in message
    assert "\n" not in message


class Hostile:
    """What must not be called."""

    def __reduce__(self):
        return (Path("called").touch, ())


def test_hostile_damaged_and_foreign_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Hostile()}, tmp_path / "hostile.pth")
    (tmp_path / "pickle.pth").write_bytes(pickle.dumps({"model": Hostile()}))
    for name in ("hostile.pth", "pickle.pth"):
        with pytest.raises(UserError, match=r"refused|damaged"):
            load_checkpoint(tmp_path / name)
    assert not (tmp_path / "called").exists()
    good = authors_file(tmp_path / "good.pth", network(feature_options()).state_dict())
    (tmp_path / "half.pth").write_bytes(good.read_bytes()[:5000])
    (tmp_path / "empty.pth").write_bytes(b"")
    torch.save({"model": {"weight": torch.zeros(2)}}, tmp_path / "other.pth")
    torch.save({"epoch": 3}, tmp_path / "nothing.pth")
    for name, message in (
        ("half.pth", "truncated or damaged"),
        ("empty.pth", "0 bytes"),
        ("other.pth", "no weights of S-GEAR, vis_prototypes, balancer, alpha is missing"),
        ("nothing.pth", r"no weights in it \(found epoch\)"),
        ("absent.pth", "no such"),
    ):
        with pytest.raises(UserError, match=f"{name}.*{message}"):
            load_checkpoint(tmp_path / name)
    settings = {"model": {"backbone_dmi": 3}}
    path = authors_file(
        tmp_path / "b.pth", network(feature_options()).state_dict(), config=settings
    )
    with pytest.raises(UserError, match=r"b\.pth: its options cannot be read: .*backbone_dim"):
        load_checkpoint(path)


# -- conversion -----------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [feature_options(), video_options()])
def test_there_and_back(config, tmp_path):
    config = replace(config, future_predictor=replace(TCD, n_head=2, embd_pdrop=0.3))
    model = network(config)
    classes = {"action": {f"cut {i}": i for i in range(N)}}
    settings = {"compat": "corrected", "model": write_model(config)}
    optimizer = {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}
    source = authors_file(
        tmp_path / "a.pth",
        model.state_dict(),
        config=settings,
        classes=classes,
        optimizer=optimizer,
        epoch=2.5,
    )
    folder = to_ours(source, tmp_path / "ours")
    assert {p.name for p in folder.iterdir()} >= {"model.safetensors", "config.yaml"}
    back = to_authors(folder, tmp_path / "back" / "checkpoint.pth")
    for read in (load_checkpoint(folder), load_checkpoint(back), load_checkpoint(back.parent)):
        assert (read.config, read.compat, read.classes) == (config, "corrected", classes)
        assert (read.epoch, read.num_classes) == (2.5, {"action": N})
        kept = read.training["optimizer"]["state"][0]["momentum_buffer"]
        assert torch.equal(kept, torch.ones(2))
        state = read.build().state_dict()
        assert all(torch.equal(state[k], v) for k, v in model.state_dict().items())
    content = torch.load(back, weights_only=True)
    assert list(content["model"]) == list(model.state_dict())
    with pytest.raises(UserError, match="is a folder of ours already"):
        to_ours(folder, tmp_path / "c")
    with pytest.raises(UserError, match="exists already"):
        to_ours(source, folder)


def test_conversion_writes_nothing_that_does_not_fit(tmp_path):
    state = network(feature_options()).state_dict()
    state["extra"] = torch.zeros(1)
    source = authors_file(tmp_path / "a.pth", state)
    for convert in (to_ours, to_authors):
        with pytest.raises(UserError, match="1 unexpected: extra"):
            convert(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_metadata_of_a_converted_network(tmp_path):
    source = authors_file(tmp_path / "a.pth", network(feature_options()).state_dict())
    folder = to_ours(source, tmp_path / "ours")
    metadata = json.loads((folder / "metadata.json").read_text())
    assert metadata["method"] == "sgear"
    assert metadata["source"] == "a.pth"
    assert len(metadata["source_fingerprint"]) == 32


# -- the authors' options -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(),
        feature_options(classifier=ClassifierConfig("mlp", nlayers=3)),
        feature_options(temporal_aggregator=AggregatorConfig("rulstm", 0.3, 2)),
        feature_options(future_predictor=FuturePredictorConfig("mlp", 4)),
        video_options(
            temporal_aggregator_after_future_pred=AggregatorConfig("mean"),
            future_predictor=replace(TCD, future_pred_loss="smooth_l1", n_positions=64),
        ),
    ],
)
def test_options_in_the_authors_form(config):
    assert read_model(write_model(config)) == config
    assert read_model({"backbone": config.backbone}).backbone == config.backbone


def test_older_names_and_keys_without_effect():
    config = ModelConfig.from_authors(
        {
            "mod_attn": True,
            "freeze_gamma": True,
            "future_steps": 4,
            "detector_x": None,
            "extracted_feats": True,
            "future_predictor": {
                "_target_": "models.future_prediction.AVTh",
                "future_pred_loss": {"_target_": "torch.nn.L1Loss"},
                "future_pred_loss_wt": 1.0,
                "quantize_before_rollout": False,
            },
            "temporal_aggregator": {
                "_target_": "models.temporal_aggregation.Identity",
                "dropout": 2,
            },
        },
        tmp_frames=4,
    )
    assert (config.prot_attn, config.freeze_prototypes, config.tmp_frames) == (True, True, 4)
    assert not config.extracted_features
    assert (config.future_predictor.kind, config.future_predictor.future_pred_loss) == ("tcd", "l1")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"backbone_dmi": 3}, "backbone_dmi: unknown key; did you mean 'backbone_dim'"),
        ({"classifier": {"_target_": "torch.nn.Lineer"}}, "did you mean 'Linear'"),
        ({"classifier": "linear"}, "model.classifier: got 'linear'"),
        ({"future_predictor": {"assign_to_centroids": "x"}}, "quantised features"),
        ({"future_predictor": {"future_pred_loss": {"_target_": "x.KLDiv"}}}, "unknown 'KLDiv'"),
        ({"temporal_aggregator": {"cloze_loss_ratio": 0.5}}, "cloze loss is not available"),
        ({"dropout": "much"}, "dropout: got 'much'"),
    ],
)
def test_wrong_options(section, message):
    with pytest.raises(UserError, match=message):
        read_model(section)


# -- weights to start from ------------------------------------------------------------------------


def test_weights_to_start_from(tmp_path):
    ours, theirs = network(video_options()), network(video_options(), seed=1)
    vit = {k.removeprefix("backbone.model."): v for k, v in theirs.state_dict().items()}
    vit = {k: v for k, v in vit.items() if k.startswith(("blocks", "patch", "cls", "norm", "pos"))}
    vit["pos_embed"] = torch.zeros(1, 3, 64)
    vit["head.weight"] = torch.zeros(5, 64)
    torch.save(vit, tmp_path / "vit.pth")
    before = ours.state_dict()["backbone.model.pos_embed"].clone()
    (report,) = load_init(ours, [["backbone.model", str(tmp_path / "vit.pth")]])
    state = ours.state_dict()
    assert torch.equal(state["backbone.model.norm.bias"], vit["norm.bias"])
    assert torch.equal(state["backbone.model.pos_embed"], before)
    assert report.misshapen == ["backbone.model.pos_embed (1, 3, 64) instead of (1, 5, 64)"]
    assert report.unused == ["head.weight"]
    assert "backbone.model.norm.bias" in report.taken
    assert not report.missing
    assert report.lines()[0].endswith(f"{len(report.taken)} weights taken")


@pytest.mark.parametrize("container", ["model", "state_dict", "classy", "bare", "folder"])
def test_containers_of_weights(container, tmp_path):
    ours, theirs = network(feature_options()), network(feature_options(), seed=1)
    state = dict(theirs.state_dict())
    path = tmp_path / "w.pth"
    if container == "folder":
        path = to_ours(authors_file(path, state), tmp_path / "ours")
    elif container == "classy":
        inner = {"base_model": {"model": {"trunk": state}}}
        torch.save({"classy_state_dict": inner}, path)
    else:
        torch.save(state if container == "bare" else {container: state, "epoch": 1}, path)
    (report,) = load_init(ours, [str(path)])
    assert len(report.taken) == len(state)
    assert all(torch.equal(v, state[k]) for k, v in ours.state_dict().items())


def test_prefixes_are_kept_and_cut_off(tmp_path):
    ours, theirs = network(feature_options()), network(feature_options(), seed=1)
    state = {f"wrapped.{k}": v for k, v in theirs.future_predictor.state_dict().items()}
    state |= {f"other.{k}": v for k, v in theirs.ProtAttn.state_dict().items()}
    torch.save({"model": state}, tmp_path / "w.pth")
    entry = ["future_predictor", "wrapped.,absent.", str(tmp_path / "w.pth")]
    (report,) = load_init(ours, [entry])
    found = ours.future_predictor.state_dict()
    assert all(torch.equal(v, found[k]) for k, v in theirs.future_predictor.state_dict().items())
    assert all(name.startswith("future_predictor.") for name in report.taken)
    load_init(ours, ["ProtAttn", "other", str(tmp_path / "w.pth")])
    assert torch.equal(ours.ProtAttn.proj.weight, theirs.ProtAttn.proj.weight)
    assert load_init(ours, None) == []


def test_blocks_of_another_run(tmp_path):
    vit = network(video_options(intermediate_featdim=64), seed=1)
    state = {
        name.replace("ProtAttn", "CrossModAttn").replace("vis_prototypes", "org_gamma"): tensor
        for name, tensor in vit.state_dict().items()
    }
    path = authors_file(tmp_path / "vit.pth", state)
    ours = network(feature_options())
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    blocks = ["mod_attn", "future_predictor", "classifier", "vis_prototypes"]
    report = load_pretrained_blocks(ours, path, blocks)
    after, theirs = ours.state_dict(), vit.state_dict()
    taken = ("ProtAttn", "future_predictor", "classifiers", "vis_prototypes")
    for name in after:
        source = theirs if name.startswith(taken) else before
        assert torch.equal(after[name], source[name]), name
    assert {name.partition(".")[0] for name in report.taken} == set(taken)


def test_weights_that_cannot_be_taken(tmp_path):
    ours = network(feature_options())
    torch.save({"a": torch.zeros(2)}, tmp_path / "w.pth")
    path = str(tmp_path / "w.pth")
    for entries, message in (
        ([["backbne", path]], "no 'backbne'"),
        ([[path]], "none of its 1 weights fits"),
        ([[1, path]], "expected .path., .module, path."),
        ([["a", "b", "c", "d"]], "expected .path., .module, path."),
    ):
        with pytest.raises(UserError, match=message):
            load_init(ours, entries)
    for blocks, message in (
        (["ProtAtn"], "no 'ProtAtn'; did you mean 'ProtAttn'"),
        ([], "nothing to take"),
        (["ProtAttn"], "none of its 0 weights fits"),
    ):
        with pytest.raises(UserError, match=message):
            load_pretrained_blocks(ours, path, blocks)


# -- information ----------------------------------------------------------------------------------


def test_information(tmp_path):
    model = network(video_options())
    source = authors_file(tmp_path / "a.pth", model.state_dict())
    text = information(source)
    assert "from the shapes of the weights" in text
    assert "classes: 9 actions" in text
    assert "visual prototypes: 9 of 64 features" in text
    assert "TIMMModelTS" in text
    numbers = count_parameters(model.state_dict())
    assert numbers["all"] == sum(p.numel() for p in model.parameters())
    assert sum(numbers.values()) == 2 * numbers["all"] - 2  # alpha and balancer stand alone
    assert f"parameters: {numbers['all']:,}, of which backbone" in text
    folder = to_ours(source, tmp_path / "ours")
    assert "method: sgear" in information(folder)
    assert "as stated" in information(folder)
