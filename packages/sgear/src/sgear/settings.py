"""Sections of the configuration tree that say how to train, with types and help.

The data sections are in :mod:`sgear.data.config`; :mod:`sgear.config` puts all of it together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from behaviorzoo.errors import UserError


def _help(text: str) -> dict[str, str]:
    """Metadata of a field: what ``--help-config`` prints."""
    return {"help": text}


def _unused(default: Any) -> Any:
    """A key of the original's files that nothing reads, there or here."""
    return field(default=default, metadata=_help("accepted and not used, as in the original"))


@dataclass
class VideoSettings:
    """How videos are read."""

    video_backend: str = _unused("video_reader")


@dataclass
class LossWeights:
    """Weight of each loss; a loss of weight 0 is not part of the sum."""

    cls_action: float = field(default=1.0, metadata=_help("cross entropy of the next action"))
    cls_verb: float = field(default=1.0, metadata=_help("of its verb, where a head predicts it"))
    cls_noun: float = field(default=1.0, metadata=_help("of its noun, where a head predicts it"))
    pred: float = _unused(1.0)
    feat: float = field(
        default=1.0, metadata=_help("next feature predicted from the past (L_feat)")
    )
    past_cls_action: float = field(default=0.0, metadata=_help("past actions (L_past)"))
    past_cls_verb: float = field(default=0.0, metadata=_help("past verbs"))
    past_cls_noun: float = field(default=0.0, metadata=_help("past nouns"))
    global_simContrast: float = field(  # noqa: N815
        default=1.0,
        metadata=_help("similarities to prototypes as those of language (L_sem)"),
    )
    target_distance: float = field(
        default=0.0, metadata=_help("distance of the prediction to its prototype (L_reg)")
    )
    past_target_global_simContrast: float = field(  # noqa: N815
        default=0.0, metadata=_help("L_sem of the past")
    )


@dataclass
class ClipSettings:
    """Limit of the gradient."""

    max_norm: float | None = field(default=None, metadata=_help("null: no limit"))
    norm_type: float = field(default=2.0, metadata=_help("which norm, 2 = Euclidean"))


@dataclass
class EpochSettings:
    """One epoch of training.

    Raises:
        UserError: A number out of its range.
    """

    _target_: str = _unused("")
    print_freq: int = field(default=10, metadata=_help("steps between two lines of progress"))
    print_large_freq: int = _unused(1000)
    grad_clip_params: ClipSettings = field(default_factory=ClipSettings)
    save_freq: float = field(
        default=0.0,
        metadata=_help(
            "epochs between checkpoints that stay; below 1 also inside an epoch; 0 none"
        ),
    )
    save_freq_min: float = field(
        default=60.0, metadata=_help("minutes between checkpoints inside an epoch; 0 none")
    )
    save_intermediates: bool = field(
        default=False, metadata=_help("checkpoints inside an epoch stay, under names of their own")
    )
    loss_wts: LossWeights = field(default_factory=LossWeights)

    def __post_init__(self) -> None:
        _at_least(self, print_freq=1, save_freq=0, save_freq_min=0)


@dataclass
class TrainSettings:
    """The training as a whole.

    Raises:
        UserError: A number out of its range.
    """

    fn: str = _unused("train")
    batch_size: int = field(default=16, metadata=_help("clips of a batch, per process"))
    init_from_model: list[Any] | None = field(
        default=None,
        metadata=_help("weights to start from: [[path], [module, path], [module, prefixes, path]]"),
    )
    num_epochs: int = field(default=45, metadata=_help("passes over the training set"))
    eval_freq: int = field(default=1, metadata=_help("epochs between two evaluations"))
    shuffle_data: bool = field(default=True, metadata=_help("new order in every epoch"))
    store_best: bool = field(
        default=False, metadata=_help("keep the best epoch as checkpoint_best.pth")
    )
    use_mixup: bool = field(default=False, metadata=_help("mix every clip with another one"))
    mixup_alpha: float = field(default=0.0, metadata=_help("both parameters of the Beta law"))
    label_smoothing: float = field(default=0.0, metadata=_help("with mixup: share of all classes"))
    train_one_epoch_fn: EpochSettings = field(default_factory=EpochSettings)

    def __post_init__(self) -> None:
        _at_least(self, batch_size=1, num_epochs=0, eval_freq=1, mixup_alpha=0, label_smoothing=0)
        if self.label_smoothing >= 1:
            raise UserError(f"label_smoothing = {self.label_smoothing} must be below 1")
        if self.use_mixup and not self.mixup_alpha:
            raise UserError("use_mixup=true with mixup_alpha=0 mixes nothing; set mixup_alpha=0.8")
        if self.use_mixup and self.batch_size < 2:
            raise UserError("use_mixup=true needs a batch_size of at least 2")


@dataclass
class EvalFunctionSettings:
    """What an evaluation stores."""

    _target_: str = _unused("")
    store: bool = field(default=True, metadata=_help("write the scores of every clip (results/)"))
    store_endpoint: str = field(
        default="logits", metadata=_help("outputs whose name begins so are stored")
    )
    only_run_featext: bool = field(
        default=False, metadata=_help("store what is asked for, compute no accuracy")
    )
    store_embeddings: bool = field(
        default=False, metadata=_help("collect up to 20 embeddings of each class (prototypes)")
    )
    store_embeddings_path: str | None = field(
        default=None, metadata=_help("file for them, default embeddings.pth in the run folder")
    )


@dataclass
class EvalSettings:
    """Evaluations."""

    batch_size: int | None = field(
        default=None, metadata=_help("clips of a batch, null: 4 times that of the training")
    )
    eval_fn: EvalFunctionSettings = field(default_factory=EvalFunctionSettings)

    def __post_init__(self) -> None:
        if self.batch_size is not None:
            _at_least(self, batch_size=1)


@dataclass
class BatchNormSettings:
    """Batch norms of the network."""

    eps: float = field(default=0.001, metadata=_help("added to the variance"))
    mom: float = field(default=0.1, metadata=_help("weight of the newest batch"))


@dataclass
class ModelSettings:
    """The network; :mod:`sgear.model.config` says what the groups below it may hold."""

    backbone: dict[str, Any] = field(
        default_factory=dict, metadata=_help("group: identity (features), vit_b, vit_b_384")
    )
    classifier: dict[str, Any] = field(default_factory=dict, metadata=_help("group: linear, mlp"))
    temporal_aggregator: dict[str, Any] = field(
        default_factory=dict, metadata=_help("group: identity, mean, transformer, rulstm")
    )
    future_predictor: dict[str, Any] = field(
        default_factory=dict, metadata=_help("group: identity, mlp, transformer (the decoder)")
    )
    temporal_aggregator_after_future_pred: dict[str, Any] = field(
        default_factory=dict, metadata=_help("group: as temporal_aggregator")
    )
    backbone_dim: int = field(default=2048, metadata=_help("width of what the backbone gives"))
    proj_dim_text: int = _unused(768)
    extracted_feats: bool = _unused(False)
    extracted_features: bool = field(
        default=False, metadata=_help("the input is features, not pictures")
    )
    multimodal: bool = field(default=False, metadata=_help("several modalities in one network"))
    intermediate_featdim: int | None = field(
        default=None, metadata=_help("width of the network, null: that of the backbone")
    )
    backbone_last_n_modules_to_drop: int = field(
        default=2, metadata=_help("last parts of the backbone that are cut off")
    )
    dropout: float = field(default=0.0, metadata=_help("in front of the classifier"))
    backbone_add_ts_blocks: int = field(
        default=0, metadata=_help("blocks of temporal context aggregation behind the backbone")
    )
    num_hidden_layers: int = _unused(12)
    tmp_frames: int = field(default=10, metadata=_help("frames of a clip"))
    model_name: str = field(default="vit", metadata=_help("kind of the backbone"))
    tubelet_size: int = field(default=1, metadata=_help("frames of a time token"))
    cls_token: bool = field(default=True, metadata=_help("the first token stands for the frame"))
    from_pretrained_timm: bool = field(
        default=False, metadata=_help("weights of the backbone from timm")
    )
    project_dim_for_nce: int | None = field(
        default=None, metadata=_help("width of a further projection, null: none")
    )
    add_regression_head: bool = field(default=False, metadata=_help("a head for one number"))
    freeze_weights: bool = field(default=False, metadata=_help("the backbone does not train"))
    bn: BatchNormSettings = field(default_factory=BatchNormSettings)
    same_temp_agg_dim: bool = field(
        default=False, metadata=_help("back to the width before the aggregator")
    )
    use_cls_mappings: bool = field(
        default=False, metadata=_help("verb and noun from the scores of actions, no own heads")
    )
    classifier_on_past: bool = field(default=False, metadata=_help("classify the past, too"))
    mean_representation: bool = field(
        default=True, metadata=_help("prototypes are selected by the mean of the clip")
    )
    prot_attn: bool = field(default=False, metadata=_help("attention to prototypes"))
    freeze_prototypes: bool = field(default=False, metadata=_help("prototypes do not train"))
    freeze_future_predictor: bool = field(
        default=False, metadata=_help("the future predictor does not train")
    )
    future_steps: int = _unused(0)
    reg: bool = _unused(False)
    use_object: bool = _unused(False)
    transform_features: bool = field(
        default=False, metadata=_help("features: a residual network in front")
    )
    freeze_transform_features: bool = field(
        default=False, metadata=_help("that network does not train")
    )
    feature_mixup: bool = field(default=False, metadata=_help("features of two clips are mixed"))
    init_std: float | None = field(
        default=0.01,
        metadata=_help(
            "spread of the initial weights of linear layers; null: 1/sqrt(inputs), for small "
            "networks without pre-trained weights"
        ),
    )
    num_modalities: int = _unused(1)
    pretrained_detector: str | None = _unused(None)
    detector: str | None = _unused(None)
    inp_multimodal_dim: int | None = _unused(None)
    train_cls: bool = _unused(False)


@dataclass
class WarmupSettings:
    """The rate grows from a share of itself.

    Raises:
        UserError: A number out of its range.
    """

    _target_: str = _unused("common.scheduler.Warmup")
    init_lr_ratio: float = field(default=0.0, metadata=_help("share of the rate at the start"))
    num_epochs: float = field(default=0.0, metadata=_help("length"))

    def __post_init__(self) -> None:
        _at_least(self, init_lr_ratio=0, num_epochs=0)


@dataclass
class OptSettings:
    """Optimiser, rates, schedule.

    Raises:
        UserError: A number out of its range.
    """

    optimizer: dict[str, Any] = field(
        default_factory=dict, metadata=_help("group: adam, adamW, sgd, adafactor")
    )
    scheduler: dict[str, Any] = field(
        default_factory=dict,
        metadata=_help("group: cosine, warmup_multi_step, reduce_lr_on_plateau"),
    )
    lr_wd: list[Any] = field(
        default_factory=lambda: [["__all__", 0.1, 0.0001]],
        metadata=_help("[[module or modules or __all__, rate, weight decay], ...]"),
    )
    scale_lr_by_bs: bool = field(
        default=False, metadata=_help("the rate times the batch size (of a process)")
    )
    classifier_only: bool = field(default=False, metadata=_help("only the classifiers train"))
    bias_bn_wd_scale: float = field(
        default=1.0, metadata=_help("weight decay of biases and batch norms, relative")
    )
    grad_clip: ClipSettings = field(default_factory=ClipSettings)
    accumulate: int = field(
        default=1, metadata=_help("batches whose gradients are summed for a step; 0 means 1")
    )
    warmup: WarmupSettings = field(default_factory=WarmupSettings)

    def __post_init__(self) -> None:
        _at_least(self, accumulate=0, bias_bn_wd_scale=0)
        self.accumulate = max(self.accumulate, 1)
        for entry in self.lr_wd:
            if not (isinstance(entry, list) and len(entry) == 3 and _numbers(entry[1:])):
                raise UserError(
                    f"lr_wd: {entry!r} is not [names, rate, weight decay], "
                    "as in [[__all__,0.0001,0.00001]]"
                )


@dataclass
class TrainEvalOpSettings:
    """The step: which losses there are."""

    _target_: str = _unused("")
    cls_loss_acc_fn: dict[str, Any] = field(
        default_factory=dict, metadata=_help("group: basic, no (no classification loss)")
    )
    reg_criterion: dict[str, Any] = field(
        default_factory=dict, metadata=_help("accepted and not used, as in the original")
    )


@dataclass
class MocoSettings:
    """Left from another method."""

    dim: int = _unused(128)
    K: int = _unused(65536)
    m: float = _unused(0.999)
    T: float = _unused(0.2)
    mlp: bool = _unused(True)


def _at_least(section: Any, **limits: float) -> None:
    wrong = [
        f"{name} = {getattr(section, name)} must be at least {limit}"
        for name, limit in limits.items()
        if getattr(section, name) < limit
    ]
    if wrong:
        raise UserError("; ".join(wrong))


def _numbers(values: list[Any]) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
