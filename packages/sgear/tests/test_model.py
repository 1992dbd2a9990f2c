"""The whole network against the description, its options, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from behaviorzoo.errors import UserError
from sgear.model import (
    AggregatorConfig,
    BackboneConfig,
    ClassifierConfig,
    FuturePredictorConfig,
    ModelConfig,
    SGear,
)
from sgear.model.sgear import resized

N = 70
TCD = FuturePredictorConfig(
    "tcd",
    inter_dim=16,
    n_head=2,
    n_layer=1,
    return_past_too=True,
    avg_last_n=1,
    future_pred_loss="mse",
)
VIT = BackboneConfig(
    "vit",
    overrides={"img_size": 16, "patch_size": 8, "embed_dim": 64, "depth": 1, "num_heads": 1},
)


def feature_options(**changes: Any) -> ModelConfig:
    options = {
        "backbone_dim": 10,
        "intermediate_featdim": 128,
        "tmp_frames": 3,
        "extracted_features": True,
        "prot_attn": True,
        "future_predictor": TCD,
        "classifier_on_past": True,
    }
    return ModelConfig(**options | changes)


def video_options(**changes: Any) -> ModelConfig:
    options = {
        "backbone": VIT,
        "backbone_dim": 64,
        "backbone_last_n_modules_to_drop": 0,
        "backbone_add_ts_blocks": 2,
        "tmp_frames": 3,
        "prot_attn": True,
        "future_predictor": TCD,
        "classifier_on_past": True,
    }
    return ModelConfig(**options | changes)


def network(config: ModelConfig, num_classes=None, compat="upstream", **options: Any) -> SGear:
    """A network in double precision whose weights are all away from their start."""
    torch.manual_seed(0)
    num_classes = num_classes or {"action": N}
    model = SGear(config, num_classes, torch.randn(N, config.dim), compat=compat, **options)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.add_(torch.randn_like(p) * (0.3 if "norm" not in name and "ln" not in name else 0.1))
    return model.double().eval()


def features(batch: int = 2, clips: int = 3, dim: int = 10) -> Tensor:
    return torch.randn(batch, clips, dim, 1, 1, 1, dtype=torch.float64)


def frames(batch: int = 2, clips: int = 3) -> Tensor:
    return torch.randn(batch, clips, 3, 1, 16, 16, dtype=torch.float64)


# -- against the description ----------------------------------------------------------------------


def cosine(x: Tensor, prototypes: Tensor) -> Tensor:
    return F.cosine_similarity(x[..., None, :], prototypes, dim=-1, eps=1e-8)


def slow_tokens(model: SGear, v: Tensor, compat: str) -> Tensor:
    prototypes, config = model.vis_prototypes.detach(), model.config
    batch, clips = v.shape[:2]
    if config.mean_representation:
        idx = cosine(v.mean(1), prototypes).argsort(-1, descending=True)[:, :clips]
    else:
        idx = cosine(v, prototypes).argmax(-1)
    if compat == "corrected":
        return prototypes[idx]
    return prototypes[idx.flatten()].reshape(clips, batch, -1).permute(1, 0, 2)


def slow_features(model: SGear, x: Tensor, compat: str = "upstream") -> dict[str, Tensor]:
    """The forward pass on features, as it is written."""
    prototypes, config = model.vis_prototypes, model.config
    f = x.flatten(2)
    if model.mapper_to_inter is not None:
        f = f @ model.mapper_to_inter.weight.T
    if config.prot_attn:
        f = (f - prototypes.detach().mean()) / prototypes.detach().flatten().std()
    if model.transform_features is not None:
        f = f + model.transform_features(f)
    out = {"past_mean_representation": f.mean(1)}
    return out | slow_rest(model, f, f, compat, config.backbone_dim)


def slow_video(model: SGear, x: Tensor, compat: str = "upstream") -> dict[str, Tensor]:
    """The forward pass on frames, as it is written."""
    batch, clips = x.shape[:2]
    tokens = model.backbone.model.forward_features(x[:, :, :, 0].flatten(0, 1))
    out, v = {"backbone": tokens}, tokens[:, 0]
    for block in model.TCA:
        tokens = block(tokens, batch)
    out |= {"backbone_mean": tokens.mean(-1), "temp_agg_projected": tokens[:, 0]}
    f, v = (t.reshape(batch, clips, -1) for t in (tokens[:, 0], v))
    if model.mapper_to_inter is not None:
        f, v = (t @ model.mapper_to_inter.weight.T for t in (f, v))
    return out | slow_rest(model, f, v, compat, model.backbone.output_dim)


def slow_rest(model, f, v, compat, backbone_dim) -> dict[str, Tensor]:
    prototypes, config = model.vis_prototypes, model.config
    of_features = config.extracted_features
    out: dict[str, Tensor] = {}
    if config.prot_attn:
        out["similarities_past"] = cosine(v, prototypes)
        share = torch.sigmoid(model.alpha)
        f = share * f + (1 - share) * model.ProtAttn(slow_tokens(model, v, compat), f)
    if not of_features:
        out["past_mean_representation"] = f.mean(1)
    past, z, losses = model.future_predictor(f)
    s_past, s = cosine(past, prototypes), cosine(z, prototypes)
    out.setdefault("similarities_past", s_past)
    share = torch.sigmoid(model.balancer)
    z_out = share * z + (1 - share) * (s / backbone_dim**0.5).softmax(-1) @ prototypes
    p_out = share * past + (1 - share) * (s_past / backbone_dim**0.5).softmax(-1) @ prototypes
    classify = model.classifiers["action"]
    out |= {"past": past, "future_z": z, "similarities": s, "future": z_out, "future_agg": z_out}
    out |= {"logits/action": classify(z_out), "past_logits/action": classify(p_out)}
    return out | losses


def compare(found: tuple[dict, dict], expected: dict[str, Tensor]) -> None:
    outputs = found[0] | found[1]
    for name, value in expected.items():
        torch.testing.assert_close(outputs[name], value, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("compat", ["upstream", "corrected"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"prot_attn": False},
        {"mean_representation": False},
        {"backbone_dim": 128},
        {"transform_features": True},
        {"tmp_frames": 1},
    ],
    ids=lambda changes: ",".join(changes) or "published",
)
def test_forward_on_features(changes, compat):
    config = feature_options(**changes)
    model = network(config, compat=compat)
    x = features(clips=config.tmp_frames, dim=config.backbone_dim)
    compare(model(x), slow_features(model, x, compat))
    compare(model({"mod_0": x[:1]}), slow_features(model, x[:1], compat))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"prot_attn": False},
        {"mean_representation": False},
        {"intermediate_featdim": 128},
        {"backbone_add_ts_blocks": 0},
    ],
    ids=lambda changes: ",".join(changes) or "published",
)
def test_forward_on_frames(changes):
    model = network(video_options(**changes))
    x = frames()
    compare(model(x, all_outputs=True), slow_video(model, x))
    compare(model(x[:1]), {k: v for k, v in slow_video(model, x[:1]).items() if "backb" not in k})


def test_outputs_that_nothing_needs_come_on_request():
    model = network(video_options())
    fewer, more = model(frames())[0], model(frames(), all_outputs=True)[0]
    assert more.keys() - fewer.keys() == {"backbone", "backbone_mean"}


def test_crops_are_averaged():
    model = network(video_options())
    x = torch.stack([frames(), frames(), frames()], dim=2)
    outputs, losses = model(x)
    parts = [model(crop) for crop in x.unbind(2)]
    for name, value in outputs.items():
        expected = torch.stack([part[0][name] for part in parts]).mean(0)
        torch.testing.assert_close(value, expected)
    expected = torch.stack([part[1]["feat"] for part in parts]).mean(0)
    torch.testing.assert_close(losses["feat"], expected)
    one = model(x[:, :, :1])[0]["logits/action"]
    torch.testing.assert_close(one, parts[0][0]["logits/action"])


def test_predictions_depend_on_the_batch_only_with_upstream():
    x = features(3)
    for compat, same in (("upstream", False), ("corrected", True)):
        model = network(feature_options(), compat=compat)
        together = model(x)[0]["logits/action"]
        alone = torch.cat([model(item)[0]["logits/action"] for item in x.split(1)])
        assert torch.allclose(together, alone) is same


def test_steps_by_the_shape_of_targets():
    model = network(feature_options())
    x = features()
    once = model(x)[0]["future_z"]
    torch.testing.assert_close(model(x, (2,))[0]["future_z"], once)
    assert not torch.allclose(model(x, (2, 3, 5))[0]["future_z"], once)


# -- gradients ------------------------------------------------------------------------------------


def gradients(model: SGear, x: Tensor, output: str) -> set[str]:
    model.zero_grad()
    model(x)[0][output].square().sum().backward()
    return {n for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}


def test_where_gradients_reach_the_prototypes():
    of_features, of_frames = network(feature_options()), network(video_options())
    # Of features the similarity of the prediction moves the prototypes, not the prediction.
    assert gradients(of_features, features(), "similarities") == {"vis_prototypes"}
    reached = gradients(of_frames, frames(), "similarities")
    assert {"vis_prototypes", "future_predictor.decoder.weight"} <= reached
    assert "vis_prototypes" not in gradients(of_features, features(), "similarities_past")
    assert "vis_prototypes" in gradients(of_frames, frames(), "similarities_past")
    # Tokens and the standardisation hold no gradient.
    assert "vis_prototypes" not in gradients(of_features, features(), "future_z")
    assert "vis_prototypes" not in gradients(of_frames, frames(), "future_z")


@pytest.mark.parametrize("name", ["logits/action", "past_logits/action"])
def test_gradient_of_the_prototypes_behind_the_prediction(name):
    """Of frames, what is mixed in counts only through its weights."""
    model = network(video_options())
    x = frames()
    model(x)[0][name].square().sum().backward()
    found = model.vis_prototypes.grad
    model.zero_grad()
    values = model.vis_prototypes.detach()
    outputs = slow_video(model, x)
    which = "past" if name.startswith("past") else "future_z"
    s = cosine(outputs[which].detach(), model.vis_prototypes)
    share = torch.sigmoid(model.balancer)
    mixed = share * outputs[which] + (1 - share) * (s / 8).softmax(-1) @ values
    model.classifiers["action"](mixed).square().sum().backward()
    torch.testing.assert_close(found, model.vis_prototypes.grad)


def test_what_is_frozen():
    config = feature_options(
        freeze_prototypes=True,
        freeze_future_predictor=True,
        transform_features=True,
        freeze_transform_features=True,
    )
    model = network(config)
    frozen = {n.partition(".")[0] for n, p in model.named_parameters() if not p.requires_grad}
    trained = {n.partition(".")[0] for n, p in model.named_parameters() if p.requires_grad}
    assert frozen == {"vis_prototypes", "future_predictor", "transform_features"}
    assert trained == {"ProtAttn", "balancer", "alpha", "mapper_to_inter", "classifiers"}
    vit = network(video_options(freeze_weights=True))
    frozen = {n.partition(".")[0] for n, p in vit.named_parameters() if not p.requires_grad}
    assert frozen == {"backbone"}


# -- options --------------------------------------------------------------------------------------


def test_other_label_types_are_sums_of_scores():
    mappings = {("verb", "action"): torch.rand(N, 4), ("noun", "action"): torch.rand(N, 5)}
    classes = {"action": N, "verb": 4, "noun": 5}
    config = feature_options(use_cls_mappings=True)
    model = network(config, classes, class_mappings=mappings)
    outputs, _ = model(features())
    assert set(model.classifiers) == {"action"}
    for (name, _), matrix in mappings.items():
        for prefix in ("", "past_"):
            expected = outputs[f"{prefix}logits/action"] @ matrix.double()
            torch.testing.assert_close(outputs[f"{prefix}logits/{name}"], expected)
    assert model.state_dict()["cls_map_verb_action"].shape == (N, 4)
    with pytest.raises(UserError, match="which noun every action has"):
        network(config, classes, class_mappings={("verb", "action"): torch.rand(N, 4)})


def test_a_classifier_for_every_label_type():
    model = network(feature_options(classifier=ClassifierConfig("mlp")), {"verb": 4, "action": N})
    outputs, _ = model(features())
    assert outputs["logits/verb"].shape == (2, 4)
    assert outputs["past_logits/action"].shape == (2, 3, N)


def test_projection_regression_and_mixup_of_features():
    model = network(feature_options(project_dim_for_nce=7, add_regression_head=True))
    x = features()
    outputs, _ = model(x)
    assert outputs["future_projected"].shape == (2, 3, 7)
    torch.testing.assert_close(outputs["future_projected"], model.project_mlp(x.flatten(2)))
    expected = model.regression_head(outputs["future_agg"])
    torch.testing.assert_close(outputs["logits_regression"], expected)

    for compat, active in (("upstream", True), ("corrected", False)):
        model = network(feature_options(feature_mixup=True, prot_attn=False), compat=compat)
        torch.manual_seed(3)
        found = model(x)[0]["past_mean_representation"]
        torch.manual_seed(3)
        share = 0.3 * torch.rand(1, dtype=torch.float64) * active
        f = x.flatten(2) @ model.mapper_to_inter.weight.T
        torch.testing.assert_close(found, (f + share * f.flip(0)).mean(1))


@pytest.mark.parametrize("predictor", ["identity", "mlp", "tcd"])
@pytest.mark.parametrize("kind", ["mean", "rulstm", "transformer"])
def test_aggregators_before_the_prediction(kind, predictor):
    gather = AggregatorConfig(kind, inter_rep=32, nheads=2, nlayers=1)
    chosen = TCD if predictor == "tcd" else FuturePredictorConfig(predictor)
    config = feature_options(
        temporal_aggregator=gather, same_temp_agg_dim=True, future_predictor=chosen
    )
    model = network(config)
    outputs, _ = model(features())
    assert outputs["logits/action"].shape == (2, N)
    assert outputs["past_logits/action"].shape == (2, 3, N)
    assert ("reset_temp_agg_feat_dim.weight" in model.state_dict()) is (kind == "transformer")


def test_aggregator_behind_the_prediction_sees_one_step():
    config = feature_options(temporal_aggregator_after_future_pred=AggregatorConfig("mean"))
    outputs, _ = network(config)(features())
    torch.testing.assert_close(outputs["future_agg"], outputs["future"])


def test_dropout_before_the_classifiers():
    config = feature_options(
        dropout=0.5,
        future_predictor=replace(TCD, attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0),
    )
    model, x = network(config).train(), features()
    a, b = model(x)[0], model(x)[0]
    assert torch.equal(a["future_agg"], b["future_agg"])
    assert not torch.equal(a["logits/action"], b["logits/action"])


# -- weights --------------------------------------------------------------------------------------


def test_names_and_order_of_parameters():
    names = [name.partition(".")[0] for name, _ in network(video_options()).named_parameters()]
    first = list(dict.fromkeys(names))
    assert first == [
        *("vis_prototypes", "balancer", "alpha", "backbone", "TCA", "ProtAttn"),
        *("future_predictor", "classifiers"),
    ]
    state = network(video_options()).state_dict()
    assert state["TCA.1.attn.qkv.weight"].shape == (192, 64)
    assert "TCA.1.attn.qkv.bias" not in state
    assert state["ProtAttn.tpl_weights"].shape == (1, 3)
    assert state["backbone.model.pos_embed"].shape == (1, 5, 64)


def test_start_of_the_weights():
    torch.manual_seed(1)
    model = SGear(video_options(), {"action": N}, torch.randn(N, 64))
    for name in ("backbone.model.blocks.0.mlp.fc1", "TCA.0.attn.qkv", "future_predictor.encoder"):
        weight = model.get_submodule(name).weight
        assert abs(weight.std() - 0.01) < 1e-3, name
    assert model.classifiers["action"].bias.abs().sum() == 0
    inner = model.future_predictor.gpt_model.h[0].mlp.c_fc.weight
    assert abs(inner.std() - 0.02) < 2e-3
    assert (model.TCA[0].attn.tmp_weighting == 1).all()
    for value in (model.alpha, model.balancer, model.ProtAttn.gate, model.ProtAttn.tpl_weights):
        assert (value == 0.5).all()


def test_start_by_width_keeps_the_spread_of_signals():
    torch.manual_seed(1)
    config = replace(video_options(), init_std=None)
    model = SGear(config, {"action": N}, torch.randn(N, 64))
    layer = model.get_submodule("backbone.model.blocks.0.mlp.fc1")
    assert layer(torch.randn(2000, layer.in_features)).std().item() == pytest.approx(1, abs=0.05)
    with pytest.raises(UserError, match="init_std = 0 must be positive, or null"):
        replace(video_options(), init_std=0)


def test_prototypes_of_another_width_are_scaled():
    x = torch.randn(5, 8)
    found = resized(x, 4)
    torch.testing.assert_close(found, (x[:, ::2] + x[:, 1::2]) / 2)
    assert torch.equal(resized(x, 8), x)
    model = SGear(feature_options(), {"action": 5}, torch.randn(5, 300))
    assert model.vis_prototypes.shape == (5, 128)


def test_same_seed_same_network():
    states = []
    for _ in range(2):
        torch.manual_seed(5)
        states.append(SGear(video_options(), {"action": N}, torch.ones(N, 64)).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


# -- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 3, 10), "has 3 axes"),
        ((2, 4, 10, 1, 1, 1), r"4 clips, but the network is made for model.tmp_frames = 3"),
        ((2, 3, 11, 1, 1, 1), r"shape \(11, 1, 1, 1\), expected \(10, 1, 1, 1\)"),
        ((2, 3, 10, 2, 1, 1), r"\(10, 2, 1, 1\)"),
    ],
)
def test_features_of_another_shape(shape, message):
    with pytest.raises(UserError, match=message):
        network(feature_options())(torch.zeros(shape).double())


def test_frames_of_another_shape():
    model = network(video_options())
    with pytest.raises(UserError, match=r"frames are \(3, 16, 24\).* takes \(3, 16, 16\)"):
        model(torch.zeros(1, 3, 3, 1, 16, 24).double())
    with pytest.raises(UserError, match="a clip has 2 frames"):
        model(torch.zeros(1, 3, 3, 2, 16, 16).double())


def test_prototypes_of_other_classes():
    with pytest.raises(UserError, match="5 visual prototypes for 70 action classes"):
        SGear(feature_options(), {"action": 70}, torch.randn(5, 128))
    with pytest.raises(UserError, match="compat: unknown 'new'"):
        SGear(feature_options(), {"action": 5}, torch.randn(5, 128), compat="new")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"multimodal": True}, "multimodal = true is not available"),
        ({"extracted_features": False}, "needs a backbone|needs model/backbone"),
        ({"intermediate_featdim": 100}, "no multiple of 64, as prot_attn"),
        ({"future_predictor": replace(TCD, avg_last_n=-1)}, "avg_last_n = -1 must be positive"),
        ({"future_predictor": FuturePredictorConfig()}, "predicts from one vector"),
        ({"tubelet_size": 2}, "tubelet_size = 2"),
        ({"backbone": VIT}, "needs model/backbone=identity"),
        ({"temporal_aggregator": AggregatorConfig("transformer")}, "same_temp_agg_dim=true"),
    ],
)
def test_options_that_do_not_go_together(changes, message):
    config = feature_options(**changes)
    with pytest.raises(UserError, match=message):
        SGear(config, {"action": N}, torch.randn(N, config.dim))


def test_vit_that_timm_does_not_know():
    for backbone, message in (
        (BackboneConfig("vit", "vit_bse_patch16_384"), "timm has no 'vit_bse_patch16_384'"),
        (replace(VIT, overrides={"depht": 3}), "timm refuses"),
        (BackboneConfig("vit", "resnet10t"), "no vision transformer"),
    ):
        with pytest.raises(UserError, match=message):
            SGear(video_options(backbone=backbone), {"action": N}, torch.randn(N, 64))
    with pytest.raises(UserError, match="backbone_last_n_modules_to_drop must be 0"):
        video_options(backbone_last_n_modules_to_drop=2).check()


def test_numbers_out_of_range():
    with pytest.raises(UserError, match=r"model\.dropout = 1.*model\.tmp_frames = 0"):
        ModelConfig(dropout=1.0, tmp_frames=0)
    with pytest.raises(UserError, match="inter_dim = 30 is no multiple of n_head = 4"):
        FuturePredictorConfig("tcd", inter_dim=30)
    with pytest.raises(UserError, match="inter_rep = 30 is no multiple of nheads = 8"):
        AggregatorConfig("transformer", inter_rep=30)


def test_default_options_can_be_written_down():
    assert ModelConfig().dim == 2048
