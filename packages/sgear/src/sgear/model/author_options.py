"""The authors' form of the network's options, with ``_target_`` where a part is chosen, and ours.

Both name the same keys. The authors choose a part by the path of its class, we by ``kind``; either
is read, so that a configuration of a run, a TXT experiment and a checkpoint of ours all do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.schema import from_dict, to_dict
from sgear.model.config import (
    AggregatorConfig,
    BackboneConfig,
    ClassifierConfig,
    FuturePredictorConfig,
    ModelConfig,
)

ALIASES = {
    "mod_attn": "prot_attn",
    "freeze_gamma": "freeze_prototypes",
    "greeze_prototypes": "freeze_prototypes",
}
"""Names of keys in older files of the authors -> today's."""

WITHOUT_EFFECT = frozenset(
    {
        *("extracted_feats", "proj_dim_text", "model_name", "num_hidden_layers", "future_steps"),
        *("reg", "use_object", "num_modalities", "pretrained_detector", "inp_multimodal_dim"),
        *("train_cls", "in_features"),
    }
)
"""Keys that the authors' files set and that nothing in the published network reads."""

_LOSSES = {"MSELoss": "mse", "L1Loss": "l1", "SmoothL1Loss": "smooth_l1"}
_QUANTISED = ("assign_to_centroids", "quantize_before_rollout")


@dataclass(frozen=True)
class _Part:
    """A section of the options that chooses a class."""

    schema: type
    kinds: Mapping[str, str]  # last word of the class's path -> ours
    targets: Mapping[str, str]  # ours -> the class's path

    def read(self, value: Any, where: str) -> dict[str, Any]:
        """The section as our schema takes it."""
        if isinstance(value, self.schema):
            return to_dict(value)
        if not isinstance(value, Mapping):
            raise UserError(f"{where}: got {value!r}, expected a section with _target_")
        given = {str(key): item for key, item in value.items() if key != "_target_"}
        target = value.get("_target_")
        if target is not None:
            name = str(target).rsplit(".", 1)[-1]
            if name not in self.kinds:
                raise UserError(f"{where}._target_: unknown {name!r}; {suggest(name, self.kinds)}")
            given["kind"] = self.kinds[name]
        return given

    def write(self, config: Any) -> dict[str, Any]:
        """The section as the authors write it."""
        content = to_dict(config)
        return {"_target_": self.targets[content.pop("kind")], **content}


_AGGREGATOR = _Part(
    AggregatorConfig,
    {
        "Identity": "identity",
        "Mean": "mean",
        "RULSTMAggregation": "rulstm",
        "Transformer": "transformer",
    },
    {
        "identity": "models.temporal_aggregation.Identity",
        "mean": "models.temporal_aggregation.Mean",
        "rulstm": "models.temporal_aggregation.RULSTMAggregation",
        "transformer": "models.temporal_aggregation.Transformer",
    },
)
PARTS: dict[str, _Part] = {
    "backbone": _Part(
        BackboneConfig,
        {"Identity": "identity", "TIMMModelTS": "vit", "TIMMModel": "vit"},
        {"identity": "torch.nn.Identity", "vit": "models.video_classification.TIMMModelTS"},
    ),
    "temporal_aggregator": _AGGREGATOR,
    "temporal_aggregator_after_future_pred": _AGGREGATOR,
    "future_predictor": _Part(
        FuturePredictorConfig,
        {"Identity": "identity", "MLP": "mlp", "TCD": "tcd", "AVTh": "tcd"},
        {
            "identity": "models.future_prediction.Identity",
            "mlp": "models.future_prediction.MLP",
            "tcd": "models.future_prediction.TCD",
        },
    ),
    "classifier": _Part(
        ClassifierConfig,
        {"Linear": "linear", "MLP": "mlp"},
        {"linear": "torch.nn.Linear", "mlp": "models.classifiers.MLP"},
    ),
}
"""Section of the options -> how its class is chosen."""


def read_model(cfg: Mapping[str, Any]) -> ModelConfig:
    """Options of the network from the authors' section ``model``, or from ours.

    Args:
        cfg: Key -> value without interpolations. Older names of the authors are read too; keys
            that have no effect in the published network are left out.

    Raises:
        UserError: Unknown names, or values that cannot be.
    """
    given: dict[str, Any] = {}
    for key, value in cfg.items():
        name = ALIASES.get(str(key), str(key))
        if name in WITHOUT_EFFECT or name.startswith("detector"):
            continue
        given[name] = PARTS[name].read(value, f"model.{name}") if name in PARTS else value
    _clean_backbone(given.get("backbone", {}))
    _clean_predictor(given.get("future_predictor", {}))
    for name in ("temporal_aggregator", "temporal_aggregator_after_future_pred"):
        _clean_aggregator(given.get(name, {}), name)
    _drop_unused(given)
    return from_dict(ModelConfig, given, where="model")


def write_model(config: ModelConfig) -> dict[str, Any]:
    """The authors' section ``model`` that means our options.

    Args:
        config: Options.
    """
    content = to_dict(config)
    content |= {name: part.write(getattr(config, name)) for name, part in PARTS.items()}
    for name in PARTS:
        kept = {"_target_", *_used_by(name, getattr(config, name).kind)}
        content[name] = {key: value for key, value in content[name].items() if key in kept}
    if config.backbone.kind == "vit":
        content["backbone"] |= content["backbone"].pop("overrides", {})
    loss = config.future_predictor.future_pred_loss
    if config.future_predictor.kind == "tcd" and loss is not None:
        name = next(theirs for theirs, ours in _LOSSES.items() if ours == loss)
        content["future_predictor"]["future_pred_loss"] = {"_target_": f"torch.nn.{name}"}
    return content


def _clean_backbone(given: dict[str, Any]) -> None:
    """What else stands beside ``model_type`` are arguments of timm."""
    own = {f.name for f in fields(BackboneConfig)}
    others = {key: given.pop(key) for key in list(given) if key not in own}
    others.pop("num_classes", None)
    if others:
        given["overrides"] = {**given.get("overrides", {}), **others}


def _clean_predictor(given: dict[str, Any]) -> None:
    for key in _QUANTISED:
        if given.pop(key, None):
            raise UserError(
                f"model.future_predictor.{key}: quantised features have no place among the "
                "prototypes of S-GEAR; leave it out"
            )
    # Neither changes anything without quantised features; the weight went to GPT-2, unread.
    for key in ("num_cluster_centers", "future_pred_loss_wt", "in_features"):
        given.pop(key, None)
    loss = given.get("future_pred_loss")
    if isinstance(loss, Mapping):
        name = str(loss.get("_target_", "")).rsplit(".", 1)[-1]
        if name not in _LOSSES:
            raise UserError(
                f"model.future_predictor.future_pred_loss: unknown {name!r}; "
                f"{suggest(name, _LOSSES)}"
            )
        given["future_pred_loss"] = _LOSSES[name]


def _clean_aggregator(given: dict[str, Any], name: str) -> None:
    for key in ("in_features", "intermediate_featdim"):  # follow from what stands before
        given.pop(key, None)
    if given.pop("cloze_loss_ratio", 0) or given.pop("cloze_loss_wt", 0):
        raise UserError(f"model.{name}: the cloze loss is not available; set cloze_loss_ratio=0")


def _drop_unused(given: dict[str, Any]) -> None:
    """Interpolated options of a part that another choice of it would read, such as dropout."""
    for name in ("temporal_aggregator", "temporal_aggregator_after_future_pred"):
        section = given.get(name)
        if isinstance(section, dict) and section.get("kind") in ("identity", "mean"):
            given[name] = {"kind": section["kind"]}


def _used_by(part: str, kind: str) -> tuple[str, ...]:
    """Options of a part that a choice of it reads."""
    used = {
        ("backbone", "vit"): ("model_type", "overrides"),
        ("classifier", "linear"): ("bias",),
        ("classifier", "mlp"): ("nlayers", "bias"),
        ("future_predictor", "mlp"): ("num_layers",),
        ("temporal_aggregator", "rulstm"): ("dropout", "num_pad_feats"),
        ("temporal_aggregator", "transformer"): ("inter_rep", "nheads", "nlayers", "agg_style"),
    }
    if (part, kind) == ("future_predictor", "tcd"):
        names = (f.name for f in fields(FuturePredictorConfig))
        return tuple(name for name in names if name not in ("kind", "num_layers"))
    return used.get((part.replace("_after_future_pred", ""), kind), ())
