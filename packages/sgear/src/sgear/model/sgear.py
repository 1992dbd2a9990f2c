"""S-GEAR (Diko et al., ECCV 2024): what happens next, by what the past and prototypes have alike.

B batch, T clips of an item (one token each), C features of the input, D0 features of the backbone,
D features of the network behind it, N action classes, and as many visual prototypes V (N, D).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from behaviorzoo.errors import UserError
from sgear.model.aggregators import add_time, build_aggregator
from sgear.model.classifiers import build_classifier
from sgear.model.config import Compat, ModelConfig, check_compat
from sgear.model.prototype_attention import PrototypeAttention, choose_by_mean, gather_tokens
from sgear.model.tca import TCABlock
from sgear.model.tcd import build_future_predictor
from sgear.model.vit import FrameViT, build_backbone
from sgear.similarity import cosines, unit

PAST_PREFIX = "past_"
CLS_MAP_PREFIX = "cls_map_"
MODALITY = "mod_0"
MIXUP_SHARE = 0.3

Outputs = dict[str, Tensor]


class SGear(nn.Module):
    """The network; the names of its parameters are the authors'.

    Args:
        config: Options.
        num_classes: Label type -> number of classes, such as ``{"action": 3806}``.
        vis_prototypes: (N, C), one visual prototype per action class; brought to (N, D) where
            widths differ. A checkpoint overrides them.
        class_mappings: (type, first type) -> 0/1 matrix (classes of the first, classes of the
            type): which verb or noun an action has.
        compat: ``upstream`` or ``corrected``, see
            :func:`sgear.model.prototype_attention.gather_tokens` and :meth:`forward`.

    Raises:
        UserError: Options that do not go together, or prototypes that do not fit the classes.
    """

    def __init__(
        self,
        config: ModelConfig,
        num_classes: Mapping[str, int],
        vis_prototypes: Tensor,
        class_mappings: Mapping[tuple[str, str], Tensor] | None = None,
        *,
        compat: Compat = "upstream",
    ) -> None:
        super().__init__()
        check_compat(compat)
        self.config = config.check()
        self.compat: Compat = compat
        self.num_classes = dict(num_classes)
        _check_prototypes(vis_prototypes, self.num_classes)
        dim = config.dim
        self.backbone = build_backbone(
            config.backbone, config.from_pretrained_timm, config.backbone_last_n_modules_to_drop
        )
        self.backbone_dim = _backbone_dim(self.backbone, config)
        self.TCA = nn.ModuleList(
            TCABlock(self.backbone_dim, config.tmp_frames)
            for _ in range(config.backbone_add_ts_blocks)
        )
        self.ProtAttn = PrototypeAttention(dim, config.tmp_frames) if config.prot_attn else None
        self.vis_prototypes = nn.Parameter(resized(vis_prototypes, dim))
        self.balancer = nn.Parameter(torch.full((1,), 0.5))
        self.alpha = nn.Parameter(torch.full((1,), 0.5))
        self.mapper_to_inter = (
            nn.Linear(self.backbone_dim, dim, bias=False) if self.backbone_dim != dim else None
        )
        self.temporal_aggregator, gathered = build_aggregator(dim, config.temporal_aggregator)
        self.reset_temp_agg_feat_dim = (
            nn.Linear(gathered, dim) if gathered != dim else nn.Sequential()
        )
        self.future_predictor = build_future_predictor(dim, config.future_predictor)
        self.project_mlp = self._projection()
        after = config.temporal_aggregator_after_future_pred
        self.temporal_aggregator_after_future_pred, _ = build_aggregator(dim, after)
        self.dropout = nn.Dropout(config.dropout)
        types = list(self.num_classes)[:1] if config.use_cls_mappings else list(self.num_classes)
        self.classifiers = nn.ModuleDict(
            {name: build_classifier(dim, num_classes[name], config.classifier) for name in types}
        )
        self._register_mappings(class_mappings or {})
        self.regression_head = nn.Linear(dim, 1) if config.add_regression_head else None
        self.transform_features = residual_mlp(dim) if config.transform_features else None
        self._initialise()
        self._freeze()

    def forward(
        self,
        video: Tensor | Mapping[str, Tensor],
        target_shape: tuple[int, ...] | None = None,
        all_outputs: bool = False,
    ) -> tuple[Outputs, Outputs]:
        """Predict the next action.

        Features with ``extracted_features``, else frames. With several crops of every frame the
        network runs once for each, and outputs and losses are averaged. In evaluation
        ``feature_mixup`` stays active with ``compat="upstream"``, as in the published code.

        Args:
            video: (B, T, C, 1, H, W), or (B, T, crops, C, 1, H, W), or a mapping with it under
                ``mod_0``. Features have H = W = 1.
            target_shape: Shape of the targets; of three lengths the second is the number of steps
                to predict.
            all_outputs: Of frames also ``backbone``, the tokens behind the ViT (B T, M, D0), and
                ``backbone_mean`` (B T, M), their mean behind TCA. Nothing needs them, and they
                cost a block of TCA on all tokens.

        Returns:
            Outputs and losses without a mean, by name. Outputs: ``logits/<type>`` (B, classes),
            ``past_logits/<type>`` (B, T, classes), ``similarities`` (B, N) and
            ``similarities_past`` (B, T, N) with the prototypes, ``future_z`` (B, D) the predicted
            feature, ``future`` (B, D) the same with its prototypes mixed in, ``future_agg`` (B, D)
            the same aggregated, ``past`` (B, T, D) what was expected of every clip,
            ``past_mean_representation`` (B, D), ``future_projected`` (B, T, P), and of frames
            ``temp_agg_projected`` (B T, P). Losses: ``feat`` (B, T - 1, D).

        Raises:
            UserError: An input of another shape than the network's.
        """
        x = video if isinstance(video, Tensor) else video[MODALITY]
        crops = self._crops(x)
        steps = target_shape[1] if target_shape is not None and len(target_shape) == 3 else None
        outputs, losses = self._forward_crop(crops[0], steps, all_outputs)
        for crop in crops[1:]:
            more_outputs, more_losses = self._forward_crop(crop, steps, all_outputs)
            outputs = {name: value + more_outputs[name] for name, value in outputs.items()}
            losses = {name: value + more_losses[name] for name, value in losses.items()}
        if len(crops) > 1:
            outputs = {name: value / len(crops) for name, value in outputs.items()}
            losses = {name: value / len(crops) for name, value in losses.items()}
        return outputs, losses

    def _forward_crop(
        self, x: Tensor, steps: int | None, all_outputs: bool
    ) -> tuple[Outputs, Outputs]:
        """Outputs and losses of (B, T, C, 1, H, W)."""
        units = unit(self.vis_prototypes)  # (N, D), once for everything below
        if self.config.extracted_features:
            f, outputs = self._see_features(x)
            v = f
        else:
            f, v, outputs = self._see_frames(x, all_outputs)
        seen = None
        if self.ProtAttn is not None:
            of_features = self.config.extracted_features
            seen = cosines(v, units.detach() if of_features else units)
            f = self._attend(f, v, units, seen)
        outputs.setdefault("past_mean_representation", f.mean(1))

        past, z, losses = self._predict(f, steps)
        s_past = cosines(past, units)
        s = cosines(z.detach() if self.config.extracted_features else z, units)
        z_out = self._with_prototypes(z, s)
        outputs |= {"future_z": z, "future": z_out, "past": past, "similarities": s}
        outputs["similarities_past"] = s_past if seen is None else seen
        if self.config.classifier_on_past:
            p_out = self.dropout(self._with_prototypes(past, s_past))
            outputs |= self._classify(p_out, PAST_PREFIX)
        outputs["future_agg"] = self._aggregate_future(z_out)
        dropped = self.dropout(outputs["future_agg"])
        outputs |= self._classify(dropped)
        if self.regression_head is not None:
            outputs["logits_regression"] = self.regression_head(dropped)
        return outputs, losses

    # -- seeing --------------------------------------------------------------------------------

    def _see_features(self, x: Tensor) -> tuple[Tensor, Outputs]:
        """Features (B, T, D) of extracted ones (B, T, C, 1, 1, 1)."""
        raw = x.reshape(*x.shape[:2], -1)
        outputs = {"future_projected": self.project_mlp(raw)}
        f = raw if self.mapper_to_inter is None else self.mapper_to_inter(raw)
        if self.ProtAttn is not None:
            std, mean = torch.std_mean(self.vis_prototypes.detach())
            f = (f - mean) / std
        if self.transform_features is not None:
            f = f + self.transform_features(f)
        if self.config.feature_mixup and (self.training or self.compat == "upstream"):
            share = MIXUP_SHARE * torch.rand(1, device=f.device, dtype=f.dtype)
            f = f + share * f.flip(0).detach()
        outputs["past_mean_representation"] = f.mean(1)
        return f, outputs

    def _see_frames(self, x: Tensor, all_outputs: bool) -> tuple[Tensor, Tensor, Outputs]:
        """Features of frames (B, T, 3, 1, H, W) behind and before TCA, (B, T, D) each."""
        batch, n_clips = x.shape[:2]
        tokens = self.backbone(x[:, :, :, 0].flatten(0, 1))  # (B T, M, D0)
        v, f, outputs = tokens[:, 0], tokens[:, 0], {}
        if all_outputs:
            outputs["backbone"] = tokens
        blocks = cast(list[TCABlock], list(self.TCA))
        for block in blocks[:-1]:
            tokens = block(tokens, batch)
        if blocks:
            f = blocks[-1].class_tokens(tokens, batch)
        if all_outputs:
            seen = blocks[-1](tokens, batch) if blocks else tokens
            outputs["backbone_mean"] = seen.mean(-1)
        outputs["temp_agg_projected"] = self.project_mlp(f)
        f, v = (t.view(batch, n_clips, -1) for t in (f, v))
        outputs["future_projected"] = self.project_mlp(f)
        if self.mapper_to_inter is not None:
            f, v = self.mapper_to_inter(f), self.mapper_to_inter(v)
        return f, v, outputs

    def _attend(self, f: Tensor, v: Tensor, units: Tensor, similarities: Tensor) -> Tensor:
        """Prototypes chosen by ``v`` attend to ``f``, (B, T, D)."""
        assert self.ProtAttn is not None
        if self.config.mean_representation:
            chosen = choose_by_mean(v.detach(), units.detach())
        else:
            chosen = similarities.detach().argmax(-1)
        tokens = gather_tokens(self.vis_prototypes, chosen, self.compat)
        share = self.alpha.sigmoid()
        return share * f + (1 - share) * self.ProtAttn(tokens, f)

    # -- predicting ----------------------------------------------------------------------------

    def _predict(self, f: Tensor, steps: int | None) -> tuple[Tensor, Tensor, Outputs]:
        """Expected past (B, T, D), future (B, D), and losses."""
        if self.temporal_aggregator is None:
            return self.future_predictor(f, steps)
        gathered = self.reset_temp_agg_feat_dim(self.temporal_aggregator(f))
        _, future, losses = self.future_predictor(add_time(gathered), steps)
        return f, future, losses

    def _with_prototypes(self, x: Tensor, similarities: Tensor) -> Tensor:
        """Mix in the prototypes, weighted by how similar they are; (..., D)."""
        values = self.vis_prototypes
        if not self.config.extracted_features:
            values = values.detach()
        weights = (similarities / math.sqrt(self.backbone_dim)).softmax(-1)
        share = self.balancer.sigmoid()
        return share * x + (1 - share) * (weights @ values)

    def _aggregate_future(self, z: Tensor) -> Tensor:
        if self.temporal_aggregator_after_future_pred is None:
            return z
        return self.temporal_aggregator_after_future_pred(add_time(z))

    def _classify(self, x: Tensor, prefix: str = "") -> Outputs:
        """Scores of features (..., D)."""
        scores = {name: classifier(x) for name, classifier in self.classifiers.items()}
        if self.config.use_cls_mappings:
            (first,) = scores
            for name in list(self.num_classes)[1:]:
                scores[name] = scores[first] @ self.get_buffer(f"{CLS_MAP_PREFIX}{name}_{first}")
        return {f"{prefix}logits/{name}": value for name, value in scores.items()}

    # -- building ------------------------------------------------------------------------------

    def _projection(self) -> nn.Sequential:
        width = self.config.project_dim_for_nce
        if width is None:
            return nn.Sequential()
        dim = self.backbone_dim  # what is projected has not been mapped to D
        return nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, width))

    def _register_mappings(self, mappings: Mapping[tuple[str, str], Tensor]) -> None:
        for (name, first), matrix in mappings.items():
            self.register_buffer(f"{CLS_MAP_PREFIX}{name}_{first}", matrix.float())
        if self.config.use_cls_mappings:
            first, *others = self.num_classes
            absent = [name for name in others if (name, first) not in mappings]
            if absent:
                raise UserError(
                    f"model.use_cls_mappings: nothing says which {' and '.join(absent)} every "
                    f"{first} has; give class mappings or set it to false"
                )

    def _initialise(self) -> None:
        """Every linear layer alike, the backbone's too; GPT-2 keeps its own start.

        The published spread of 0.01 is made for widths of 768 and a pre-trained backbone: in a
        narrow network signals fade from layer to layer, and it hardly learns.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                std = self.config.init_std or module.in_features**-0.5
                nn.init.normal_(module.weight, std=std)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eps, module.momentum = self.config.bn.eps, self.config.bn.mom

    def _freeze(self) -> None:
        config = self.config
        self.vis_prototypes.requires_grad_(not config.freeze_prototypes)
        if config.freeze_weights:
            self.backbone.requires_grad_(False)
        if config.freeze_future_predictor:
            self.future_predictor.requires_grad_(False)
        if config.freeze_transform_features and self.transform_features is not None:
            self.transform_features.requires_grad_(False)

    # -- checking ------------------------------------------------------------------------------

    def _crops(self, x: Tensor) -> list[Tensor]:
        """Inputs (B, T, C, T', H, W), one for each crop."""
        if x.ndim not in (6, 7):
            raise UserError(
                f"the input has {x.ndim} axes {tuple(x.shape)}; expected 6 (item, clip, channel, "
                "frame, height, width), or 7 with crops behind the clips"
            )
        crops = [x] if x.ndim == 6 else list(x.unbind(2))
        n_clips, channels, n_frames, height, width = crops[0].shape[1:]
        if self._needs_all_clips() and n_clips != self.config.tmp_frames:
            raise UserError(
                f"the input has {n_clips} clips, but the network is made for model.tmp_frames = "
                f"{self.config.tmp_frames}; make them equal (data_train.num_frames, subclips)"
            )
        if self.config.extracted_features:
            if (channels, n_frames, height, width) != (self.backbone_dim, 1, 1, 1):
                raise UserError(
                    f"features of a clip have shape {(channels, n_frames, height, width)}, "
                    f"expected ({self.backbone_dim}, 1, 1, 1) as model.backbone_dim says; is this "
                    "the right feature file?"
                )
        elif n_frames != 1:
            raise UserError(
                f"a clip has {n_frames} frames, the backbone takes one; set "
                "data_train.subclips.num_frames=1 (and of data_eval)"
            )
        return crops

    def _needs_all_clips(self) -> bool:
        of_frames = len(self.TCA) > 0 and not self.config.extracted_features
        return of_frames or self.ProtAttn is not None


def residual_mlp(dim: int) -> nn.Sequential:
    """What ``transform_features`` adds to features (..., D)."""
    return nn.Sequential(nn.Linear(dim, dim), nn.LayerNorm(dim), nn.ReLU(), nn.Linear(dim, dim))


def resized(prototypes: Tensor, dim: int) -> Tensor:
    """Prototypes (N, C) at another width (N, D): the matrix is scaled like a picture.

    Args:
        prototypes: (N, C).
        dim: D.
    """
    prototypes = prototypes.detach().float()
    if prototypes.shape[1] == dim:
        return prototypes.clone()
    size = (len(prototypes), dim)
    picture = prototypes[None, None]
    return F.interpolate(picture, size=size, mode="bilinear", align_corners=False)[0, 0]


def _backbone_dim(backbone: nn.Module, config: ModelConfig) -> int:
    return backbone.output_dim if isinstance(backbone, FrameViT) else config.backbone_dim


def _check_prototypes(prototypes: Tensor, num_classes: Mapping[str, int]) -> None:
    if not num_classes:
        raise UserError("num_classes: no label type, so there is nothing to predict")
    if prototypes.ndim != 2:
        raise UserError(f"visual prototypes have shape {tuple(prototypes.shape)}, expected (N, C)")
    n = num_classes.get("action", len(prototypes))
    if n != len(prototypes):
        raise UserError(
            f"{len(prototypes)} visual prototypes for {n} action classes; they must be of the "
            "same data set (visual_encodings_path)"
        )
