"""Options of the network, checked where they are written down; the names are the authors'.

No torch in here, so that a command line can show and check the settings quickly. The authors'
``_target_`` form is read and written by :mod:`sgear.model.author_options`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from behaviorzoo.errors import UserError

HEAD_DIM = 64
"""Features of an attention head of TCA and of prototype attention."""

COMPATS = ("upstream", "corrected")
"""``upstream``: what the published code computes. ``corrected``: without its known mistakes."""

Compat = Literal["upstream", "corrected"]


@dataclass(frozen=True)
class BackboneConfig:
    """What turns an input clip into features."""

    kind: Literal["identity", "vit"] = field(
        default="identity", metadata={"help": "identity: features are the input; vit: frames are"}
    )
    model_type: str = field(
        default="vit_base_patch16_384.orig_in21k_ft_in1k", metadata={"help": "vit: timm's name"}
    )
    overrides: dict[str, Any] = field(
        default_factory=dict,
        metadata={"help": "vit: other sizes, as timm.create_model takes them (img_size, depth...)"},
    )


@dataclass(frozen=True)
class AggregatorConfig:
    """What makes one vector of the vectors of all clips."""

    kind: Literal["identity", "mean", "rulstm", "transformer"] = field(
        default="identity", metadata={"help": "identity keeps them all"}
    )
    dropout: float = field(default=0.0, metadata={"help": "rulstm: share of inputs dropped"})
    num_pad_feats: int = field(
        default=0, metadata={"help": "rulstm: steps that it unrolls beyond the last clip"}
    )
    inter_rep: int = field(default=768, metadata={"help": "transformer: width"})
    nheads: int = field(default=8, metadata={"help": "transformer: attention heads"})
    nlayers: int = field(default=6, metadata={"help": "transformer: layers"})
    agg_style: Literal["mean", "last"] = field(
        default="mean", metadata={"help": "transformer: mean of all outputs, or the last one"}
    )

    def __post_init__(self) -> None:
        _check(
            [
                (0 <= self.dropout < 1, f"dropout = {self.dropout} must lie in [0, 1)"),
                (self.num_pad_feats >= 0, f"num_pad_feats = {self.num_pad_feats} is negative"),
                (
                    self.inter_rep % max(self.nheads, 1) == 0,
                    f"inter_rep = {self.inter_rep} is no multiple of nheads = {self.nheads}",
                ),
                *_positive(self, "inter_rep", "nheads", "nlayers"),
            ],
            "temporal_aggregator",
        )


@dataclass(frozen=True)
class FuturePredictorConfig:
    """What predicts the future feature; ``tcd`` is the temporal causal decoder over GPT-2."""

    kind: Literal["identity", "mlp", "tcd"] = field(
        default="identity", metadata={"help": "identity, mlp, or tcd: causal decoder over GPT-2"}
    )
    num_layers: int = field(default=2, metadata={"help": "mlp: layers"})
    inter_dim: int = field(default=768, metadata={"help": "tcd: width of GPT-2"})
    n_head: int = field(default=4, metadata={"help": "tcd: attention heads"})
    n_layer: int = field(default=6, metadata={"help": "tcd: layers"})
    output_len: int = field(default=1, metadata={"help": "tcd: steps predicted in training"})
    output_len_eval: int = field(
        default=-1, metadata={"help": "tcd: steps predicted in evaluation; -1: as in training"}
    )
    return_past_too: bool = field(
        default=False, metadata={"help": "tcd: average over the past features as well"}
    )
    avg_last_n: int = field(default=-1, metadata={"help": "tcd: last steps that are averaged"})
    drop_last_n: int = field(default=0, metadata={"help": "tcd: last features it does not see"})
    future_pred_loss: Literal["mse", "l1", "smooth_l1"] | None = field(
        default=None, metadata={"help": "tcd: loss between predicted and seen next features"}
    )
    freeze_encoder_decoder: bool = field(
        default=False, metadata={"help": "tcd: do not train its first and last layer"}
    )
    attn_pdrop: float = field(default=0.1, metadata={"help": "tcd: dropout of attention"})
    embd_pdrop: float = field(default=0.1, metadata={"help": "tcd: dropout of its inputs"})
    resid_pdrop: float = field(default=0.1, metadata={"help": "tcd: dropout of its residuals"})
    n_positions: int = field(default=1024, metadata={"help": "tcd: longest sequence"})
    n_inner: int | None = field(
        default=None, metadata={"help": "tcd: width of its MLPs; null: four times inter_dim"}
    )
    activation_function: str = field(
        default="gelu_new", metadata={"help": "tcd: activation of its MLPs"}
    )
    layer_norm_epsilon: float = field(default=1e-5, metadata={"help": "tcd: of its layer norms"})
    initializer_range: float = field(
        default=0.02, metadata={"help": "tcd: standard deviation of its initial weights"}
    )

    def __post_init__(self) -> None:
        rates = ("attn_pdrop", "embd_pdrop", "resid_pdrop")
        facts = [
            (0 <= getattr(self, name) < 1, f"{name} = {getattr(self, name)} must lie in [0, 1)")
            for name in rates
        ]
        facts += _positive(self, "num_layers", "inter_dim", "n_head", "n_layer", "n_positions")
        facts += [
            *_positive(self, "output_len"),
            (self.output_len_eval != 0, "output_len_eval = 0 predicts nothing; -1: as in training"),
            (self.drop_last_n >= 0, f"drop_last_n = {self.drop_last_n} is negative"),
            (
                self.inter_dim % max(self.n_head, 1) == 0,
                f"inter_dim = {self.inter_dim} is no multiple of n_head = {self.n_head}",
            ),
        ]
        _check(facts, "future_predictor")


@dataclass(frozen=True)
class ClassifierConfig:
    """What gives the scores of the classes."""

    kind: Literal["linear", "mlp"] = field(default="linear", metadata={"help": "linear or mlp"})
    bias: bool = field(default=True, metadata={"help": "with a bias"})
    nlayers: int = field(default=2, metadata={"help": "mlp: linear layers"})

    def __post_init__(self) -> None:
        _check(_positive(self, "nlayers"), "classifier")


@dataclass(frozen=True)
class BatchNormConfig:
    """Batch norms of the backbone, where it has any."""

    eps: float = field(default=0.001, metadata={"help": "added to the variance"})
    mom: float = field(default=0.1, metadata={"help": "weight of a batch in the statistics"})


@dataclass(frozen=True)
class ModelConfig:
    """Options of S-GEAR; the defaults are those of the authors' configuration tree.

    Raises:
        UserError: Options that cannot be, all in one message.
    """

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    backbone_dim: int = field(default=2048, metadata={"help": "features that the backbone gives"})
    intermediate_featdim: int | None = field(
        default=None, metadata={"help": "features of the network behind it; null: as many"}
    )
    backbone_last_n_modules_to_drop: int = field(
        default=2, metadata={"help": "last modules of the backbone left out; 0 for vit"}
    )
    backbone_add_ts_blocks: int = field(
        default=0, metadata={"help": "blocks of temporal context aggregation (TCA)"}
    )
    tmp_frames: int = field(default=10, metadata={"help": "clips that the network sees"})
    extracted_features: bool = field(
        default=False, metadata={"help": "the input is features, not frames"}
    )
    from_pretrained_timm: bool = field(
        default=False, metadata={"help": "vit: start from timm's weights (downloads them)"}
    )
    freeze_weights: bool = field(default=False, metadata={"help": "do not train the backbone"})
    cls_token: bool = field(default=True, metadata={"help": "vit: its class token is the feature"})
    tubelet_size: int = field(default=1, metadata={"help": "frames of a token"})
    prot_attn: bool = field(default=False, metadata={"help": "attend to the visual prototypes"})
    freeze_prototypes: bool = field(default=False, metadata={"help": "do not train them"})
    mean_representation: bool = field(
        default=True,
        metadata={"help": "choose prototypes for the mean of all clips instead of clip by clip"},
    )
    temporal_aggregator: AggregatorConfig = field(default_factory=AggregatorConfig)
    same_temp_agg_dim: bool = field(
        default=False, metadata={"help": "bring what was aggregated back to intermediate_featdim"}
    )
    future_predictor: FuturePredictorConfig = field(default_factory=FuturePredictorConfig)
    freeze_future_predictor: bool = field(default=False, metadata={"help": "do not train it"})
    temporal_aggregator_after_future_pred: AggregatorConfig = field(
        default_factory=AggregatorConfig
    )
    project_dim_for_nce: int | None = field(
        default=None, metadata={"help": "width of a projection among the outputs; null: none"}
    )
    dropout: float = field(default=0.0, metadata={"help": "before the classifiers"})
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    classifier_on_past: bool = field(
        default=False, metadata={"help": "classify what happens in every clip as well"}
    )
    use_cls_mappings: bool = field(
        default=False, metadata={"help": "one classifier; other label types are sums of its scores"}
    )
    add_regression_head: bool = field(default=False, metadata={"help": "one more output number"})
    transform_features: bool = field(
        default=False, metadata={"help": "a residual MLP on extracted features"}
    )
    freeze_transform_features: bool = field(default=False, metadata={"help": "do not train it"})
    feature_mixup: bool = field(
        default=False, metadata={"help": "add a share of another item's features"}
    )
    bn: BatchNormConfig = field(default_factory=BatchNormConfig)
    init_std: float | None = field(
        default=0.01,
        metadata={
            "help": "spread of the initial weights of linear layers; null: 1/sqrt(inputs), which "
            "a small network without pre-trained weights needs"
        },
    )
    multimodal: bool = field(default=False, metadata={"help": "not available"})

    def __post_init__(self) -> None:
        facts = [
            (0 <= self.dropout < 1, f"dropout = {self.dropout} must lie in [0, 1)"),
            (self.backbone_add_ts_blocks >= 0, "backbone_add_ts_blocks is negative"),
            (
                self.init_std is None or self.init_std > 0,
                f"init_std = {self.init_std} must be positive, or null",
            ),
            *_positive(self, "backbone_dim", "tmp_frames"),
        ]
        for name in ("intermediate_featdim", "project_dim_for_nce"):
            if getattr(self, name) is not None:
                facts += _positive(self, name)
        _check(facts, "model")

    @property
    def dim(self) -> int:
        """Features of the network behind the backbone (D)."""
        return self.intermediate_featdim or self.backbone_dim

    @classmethod
    def from_authors(cls, cfg: Mapping[str, Any], **changes: Any) -> ModelConfig:
        """Options in the authors' form, see :func:`sgear.model.author_options.read_model`.

        Args:
            cfg: The section ``model``.
            **changes: Options that are set afterwards.

        Raises:
            UserError: Unknown names or values that cannot be.
        """
        from sgear.model.author_options import read_model

        return replace(read_model(cfg), **changes)

    def check(self) -> ModelConfig:
        """Refuse options that do not go together.

        Returns:
            The same options.

        Raises:
            UserError: All contradictions, in one line.
        """
        vit = self.backbone.kind == "vit"
        predictor, gather = self.future_predictor, self.temporal_aggregator
        after = self.temporal_aggregator_after_future_pred
        facts = [
            (
                not self.multimodal,
                "multimodal = true is not available (its authors call it unstable)",
            ),
            (
                not vit or self.backbone_last_n_modules_to_drop <= 0,
                "backbone_last_n_modules_to_drop must be 0 with a ViT, nothing would be left of it",
            ),
            (
                self.extracted_features or vit,
                "extracted_features = false needs model/backbone=vit_b_384 or vit_b",
            ),
            (
                not (self.extracted_features and vit),
                "extracted_features = true needs model/backbone=identity",
            ),
            (not vit or self.cls_token, "cls_token = false is not available with a ViT"),
            (
                self.tubelet_size == 1 or not self.prot_attn,
                f"tubelet_size = {self.tubelet_size} does not go with prot_attn, only 1",
            ),
            (
                not self.backbone_add_ts_blocks or self.backbone_dim % HEAD_DIM == 0,
                f"backbone_dim = {self.backbone_dim} is no multiple of {HEAD_DIM}, as TCA needs",
            ),
            (
                not self.prot_attn or self.dim % HEAD_DIM == 0,
                f"intermediate_featdim = {self.dim} is no multiple of {HEAD_DIM}, as prot_attn "
                "needs",
            ),
            (
                predictor.kind != "tcd" or predictor.avg_last_n > 0,
                f"future_predictor.avg_last_n = {predictor.avg_last_n} must be positive, such as 1",
            ),
            (
                predictor.kind == "tcd" or gather.kind != "identity",
                f"future_predictor {predictor.kind} predicts from one vector; set "
                "model/temporal_aggregator=mean or model/future_predictor=transformer",
            ),
            (
                gather.kind != "transformer"
                or self.same_temp_agg_dim
                or gather.inter_rep == self.dim,
                f"temporal_aggregator.inter_rep = {gather.inter_rep} is not intermediate_featdim "
                f"= {self.dim}; set model.same_temp_agg_dim=true",
            ),
            (
                after.kind != "transformer" or after.inter_rep == self.dim,
                f"temporal_aggregator_after_future_pred.inter_rep = {after.inter_rep} must be "
                f"intermediate_featdim = {self.dim}",
            ),
        ]
        _check(facts, "model")
        return self


def check_compat(compat: str) -> None:
    """Refuse an unknown ``compat``.

    Raises:
        UserError: Neither ``upstream`` nor ``corrected``.
    """
    if compat not in COMPATS:
        raise UserError(f"compat: unknown {compat!r}; choose one of: {', '.join(COMPATS)}")


def _positive(config: Any, *names: str) -> list[tuple[bool, str]]:
    return [
        (getattr(config, name) > 0, f"{name} = {getattr(config, name)} must be positive")
        for name in names
    ]


def _check(facts: list[tuple[bool, str]], where: str) -> None:
    """Raise what is wrong, all in one line."""
    wrong = [f"{where}.{sentence}" for true, sentence in facts if not true]
    if wrong:
        raise UserError("; ".join(wrong))
