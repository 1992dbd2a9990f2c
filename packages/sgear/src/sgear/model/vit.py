"""Backbones: a vision transformer on single frames, or nothing where features are the input."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from behaviorzoo.errors import UserError
from sgear.model.config import BackboneConfig


class FrameViT(nn.Module):
    """A vision transformer of timm, frame by frame.

    Args:
        config: Name and sizes.
        pretrained: Start from timm's own weights.

    Raises:
        UserError: A name or a size that timm does not know, or weights that cannot be had.
    """

    def __init__(self, config: BackboneConfig, pretrained: bool = False) -> None:
        super().__init__()
        self.model = _timm_model(config, pretrained)
        self.output_dim: int = self.model.num_features

    def forward(self, frames: Tensor) -> Tensor:
        """Tokens of frames (N, 3, H, W): (N, 1 + patches, D0) after the last norm, class first.

        Raises:
            UserError: Frames of another size than the network's.
        """
        height, width = self.model.patch_embed.img_size
        if frames.shape[1:] != (3, height, width):
            raise UserError(
                f"frames are {tuple(frames.shape[1:])} (channels, height, width), the backbone "
                f"takes (3, {height}, {width}); set data_train.crop_size and data_eval.crop_size"
            )
        return self.model.forward_features(frames)


def build_backbone(config: BackboneConfig, pretrained: bool, n_dropped: int) -> nn.Module:
    """The backbone that the options name.

    Args:
        config: Its options.
        pretrained: Start from timm's own weights.
        n_dropped: Last modules that are left out; of the identity nothing is left anyway.

    Raises:
        UserError: See :class:`FrameViT`.
    """
    if config.kind == "vit":
        return FrameViT(config, pretrained)
    return nn.Sequential() if n_dropped > 0 else nn.Identity()


def _timm_model(config: BackboneConfig, pretrained: bool) -> Any:
    import timm

    if not timm.is_model(config.model_type.partition(".")[0]):
        raise UserError(f"model.backbone.model_type: timm has no {config.model_type!r}")
    try:
        model = timm.create_model(
            config.model_type, pretrained=pretrained, num_classes=0, **config.overrides
        )
    except (TypeError, RuntimeError, ValueError, AssertionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"model.backbone: timm refuses {config.model_type!r} ({reason})") from error
    except OSError as error:
        raise UserError(
            f"model.from_pretrained_timm: weights of {config.model_type!r} cannot be had "
            f"({type(error).__name__}); give a file with train.init_from_model"
        ) from error
    if not hasattr(model, "cls_token") or not hasattr(model, "patch_embed"):
        raise UserError(
            f"model.backbone.model_type: {config.model_type!r} is no vision transformer with a "
            "class token"
        )
    return model
