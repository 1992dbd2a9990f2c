"""Options of the network from the names and shapes of its weights.

The authors' checkpoints hold no options. What leaves no trace in the weights (attention heads of
GPT-2 and of the ViT, dropouts, whether the past is classified) is as published.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from math import isqrt

from torch import Tensor

from behaviorzoo.errors import UserError
from sgear.model.config import (
    HEAD_DIM,
    AggregatorConfig,
    BackboneConfig,
    ClassifierConfig,
    FuturePredictorConfig,
    ModelConfig,
)

PUBLISHED_DROPOUT = 0.2
PUBLISHED_HEADS = 4
CLS_MAP = re.compile(r"cls_map_(?P<name>.+)_(?P<first>[^_]+)")

_VIT_TYPES = {
    (768, 16, 384, 12): "vit_base_patch16_384.orig_in21k_ft_in1k",
    (768, 16, 224, 12): "vit_base_patch16_224.augreg_in21k",
}
_TRANSFORMER_HEADS = 8


def infer_options(state: Mapping[str, Tensor], where: str) -> ModelConfig:
    """Options of the network that has these weights.

    Args:
        state: Names as ours.
        where: File they come from, for messages.

    Raises:
        UserError: Not weights of S-GEAR.
    """
    needed = ("vis_prototypes", "balancer", "alpha")
    absent = [name for name in needed if name not in state]
    if absent:
        raise UserError(
            f"{where}: no weights of S-GEAR, {', '.join(absent)} is missing; is it a checkpoint of "
            "another network?"
        )
    dim = state["vis_prototypes"].shape[1]
    backbone, backbone_dim = _backbone(state, dim, where)
    vit = backbone.kind == "vit"
    projection = state.get("project_mlp.2.weight")
    return ModelConfig(
        backbone=backbone,
        backbone_dim=backbone_dim,
        intermediate_featdim=dim,
        backbone_last_n_modules_to_drop=0 if vit else 2,
        backbone_add_ts_blocks=_count(state, r"TCA\.(\d+)\."),
        tmp_frames=_frames(state),
        extracted_features=not vit,
        prot_attn="ProtAttn.gate" in state,
        temporal_aggregator=_aggregator(state, "temporal_aggregator"),
        same_temp_agg_dim="reset_temp_agg_feat_dim.weight" in state,
        future_predictor=_predictor(state),
        temporal_aggregator_after_future_pred=_aggregator(
            state, "temporal_aggregator_after_future_pred"
        ),
        project_dim_for_nce=None if projection is None else len(projection),
        dropout=PUBLISHED_DROPOUT,
        classifier=_classifier(state),
        classifier_on_past=True,
        add_regression_head="regression_head.weight" in state,
        transform_features="transform_features.0.weight" in state,
    )


def infer_classes(state: Mapping[str, Tensor], where: str) -> dict[str, int]:
    """Label type -> number of classes, of the classifiers.

    Args:
        state: Names as ours.
        where: File they come from, for messages.

    Raises:
        UserError: There is no classifier.
    """
    found: dict[str, tuple[int, int]] = {}
    pattern = re.compile(r"classifiers\.([^.]+)\.(?:cls\.(\d+)\.)?weight")
    for key, tensor in state.items():
        match = pattern.fullmatch(key)
        if match:
            layer = int(match[2] or 0)
            found[match[1]] = max(found.get(match[1], (-1, 0)), (layer, len(tensor)))
    if not found:
        raise UserError(f"{where}: no classifier among the weights")
    return {name: n for name, (_, n) in found.items()}


def mappings_of(state: Mapping[str, Tensor]) -> dict[tuple[str, str], Tensor]:
    """Which verb or noun an action has, as far as the weights hold it: (type, first) -> matrix."""
    found = {}
    for key, tensor in state.items():
        match = CLS_MAP.fullmatch(key)
        if match:
            found[match["name"], match["first"]] = tensor
    return found


def _backbone(state: Mapping[str, Tensor], dim: int, where: str) -> tuple[BackboneConfig, int]:
    patches = state.get("backbone.model.patch_embed.proj.weight")
    if patches is None:
        mapper = state.get("mapper_to_inter.weight")
        return BackboneConfig(), dim if mapper is None else mapper.shape[1]
    places = state.get("backbone.model.pos_embed")
    if places is None:
        raise UserError(f"{where}: its backbone has no pos_embed; give the network's options")
    width, patch_size = patches.shape[0], patches.shape[-1]
    img_size = isqrt(places.shape[1] - 1) * patch_size
    depth = _count(state, r"backbone\.model\.blocks\.(\d+)\.")
    known = _VIT_TYPES.get((width, patch_size, img_size, depth))
    if known is not None:
        return BackboneConfig("vit", known), width
    sizes = {"img_size": img_size, "patch_size": patch_size, "embed_dim": width, "depth": depth}
    sizes["num_heads"] = max(width // HEAD_DIM, 1)
    return BackboneConfig("vit", overrides=sizes), width


def _predictor(state: Mapping[str, Tensor]) -> FuturePredictorConfig:
    encoder = state.get("future_predictor.encoder.weight")
    if encoder is None:
        layers = _count(state, r"future_predictor\.model\.(\d+)\.weight")
        return FuturePredictorConfig("mlp", layers) if layers else FuturePredictorConfig()
    width = len(encoder)
    inner = state.get("future_predictor.gpt_model.h.0.mlp.c_fc.weight")
    places = state.get("future_predictor.gpt_model.wpe.weight")
    return FuturePredictorConfig(
        kind="tcd",
        inter_dim=width,
        n_head=PUBLISHED_HEADS,
        n_layer=_count(state, r"future_predictor\.gpt_model\.h\.(\d+)\."),
        return_past_too=True,
        avg_last_n=1,
        future_pred_loss="mse",
        n_positions=1024 if places is None else len(places),
        n_inner=None if inner is None or inner.shape[1] == 4 * width else inner.shape[1],
    )


def _classifier(state: Mapping[str, Tensor]) -> ClassifierConfig:
    bias = any(re.match(r"classifiers\..*bias$", key) for key in state)
    layers = _count(state, r"classifiers\.[^.]+\.cls\.(\d+)\.weight")
    return ClassifierConfig("mlp", bias, layers) if layers else ClassifierConfig("linear", bias)


def _aggregator(state: Mapping[str, Tensor], name: str) -> AggregatorConfig:
    if any(key.startswith(f"{name}.rolling_lstm.") for key in state):
        return AggregatorConfig("rulstm")
    narrow = state.get(f"{name}.downproject.weight")
    if narrow is None:
        return AggregatorConfig()
    layers = _count(state, rf"{name}\.transformer_encoder\.layers\.(\d+)\.")
    return AggregatorConfig(
        "transformer", inter_rep=len(narrow), nheads=_TRANSFORMER_HEADS, nlayers=layers
    )


def _frames(state: Mapping[str, Tensor]) -> int:
    if "ProtAttn.tpl_weights" in state:
        return state["ProtAttn.tpl_weights"].shape[1]
    if "TCA.0.attn.tmp_weighting" in state:
        return len(state["TCA.0.attn.tmp_weighting"])
    return ModelConfig().tmp_frames


def _count(names: Iterable[str], pattern: str) -> int:
    """How many different numbers stand at the group of a pattern."""
    return len({match[1] for name in names if (match := re.match(pattern, name))})
