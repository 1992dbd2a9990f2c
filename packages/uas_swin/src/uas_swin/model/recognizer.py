"""A backbone with a classifier on top, and its pooled features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from uas_swin.mmlab import MODELS, ActionDataSample, Recognizer3D
from uas_swin.model.freeze import freeze_backbone


@MODELS.register_module()
class UASRecognizer3D(Recognizer3D):
    """mmaction2's recognizer that can freeze its backbone and give features.

    Args:
        backbone: Configuration of the backbone.
        cls_head: Configuration of the head.
        test_cfg: ``max_testing_views`` (views of a video at a time, for memory),
            ``feature_extraction`` (features instead of scores), and, as in the original,
            ``average_clips`` (``prob``, ``score`` or None) where the head does not say it.
        freeze_backbone: Train the head and low-rank branches only.
        **options: ``neck``, ``train_cfg``, ``data_preprocessor`` of mmaction2.
    """

    def __init__(
        self,
        backbone: dict[str, Any],
        cls_head: dict[str, Any] | None = None,
        test_cfg: dict[str, Any] | None = None,
        freeze_backbone: bool = False,
        **options: Any,
    ):
        if cls_head is not None and test_cfg is not None and "average_clips" in test_cfg:
            cls_head = {"average_clips": test_cfg["average_clips"], **cls_head}
        super().__init__(backbone, cls_head=cls_head, test_cfg=test_cfg, **options)
        self.frozen = freeze_backbone
        if freeze_backbone:
            _freeze(self)

    def features(self, inputs: Tensor) -> Tensor:
        """Pooled features of every view.

        Args:
            inputs: (B, V, 3, T, H, W), normalised.

        Returns:
            (B, V, C): means over time and space of the last feature map.
        """
        views = inputs.flatten(0, 1)
        at_a_time = _setting(self.test_cfg, "max_testing_views") or len(views)
        pooled = [
            cast(Tensor, self.backbone(some)).mean((2, 3, 4)) for some in views.split(at_a_time)
        ]
        return torch.cat(pooled).unflatten(0, inputs.shape[:2])

    def predict(
        self, inputs: Tensor, data_samples: list[ActionDataSample], **kwargs: Any
    ) -> list[ActionDataSample]:
        """Scores of videos, or their features with ``test_cfg.feature_extraction``.

        Args:
            inputs: (B, V, 3, T, H, W), normalised.
            data_samples: One of each video.
            **kwargs: Not used.

        Returns:
            The samples with ``pred_scores.item`` (classes) and ``pred_labels.item``; or with
            ``pooled_features.item`` (C), the mean over the views.
        """
        if not _setting(self.test_cfg, "feature_extraction"):
            return super().predict(inputs, data_samples, **kwargs)
        from mmengine.structures import LabelData

        features = self.features(inputs).mean(1)
        for sample, feature in zip(data_samples, features, strict=True):
            sample.set_field(LabelData(item=feature), "pooled_features", dtype=LabelData)
        return data_samples


_freeze = freeze_backbone  # the constructor has an argument of that name


def _setting(settings: Mapping[str, Any] | None, name: str) -> Any:
    return None if settings is None else settings.get(name)
