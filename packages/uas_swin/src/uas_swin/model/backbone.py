"""mmaction2's Video Swin transformer with fused attention and low-rank branches.

(Liu et al. 2022, Video Swin Transformer; the branches are those of the Universal Action Space.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from mmengine.logging import MMLogger
from torch import Tensor, nn

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.weights import load_torch_file, strict_load
from uas_swin.compat import check_compat
from uas_swin.layout import is_branch
from uas_swin.mmlab import MODELS, SwinTransformer3D, without_known_warnings
from uas_swin.model.block import SwinBlock
from uas_swin.model.inflate import inflate
from uas_swin.model.lora import LoraOptions, reset_branches

_ARCH_KEYS = ("embed_dims", "depths", "num_heads")


@MODELS.register_module()
class UASSwinTransformer3D(SwinTransformer3D):
    """Video Swin transformer: (B, 3, T, H, W) to (B, C, T/2, H/32, W/32).

    The arguments are those of mmaction2, with the defaults of the published networks, and:

    Args:
        arch: ``tiny``, ``small``, ``base``, ``large``, or a mapping of ``embed_dims``, ``depths``
            and ``num_heads``.
        pretrained: File to start from; None for random weights.
        pretrained2d: The file is a Swin transformer for pictures, to be inflated.
        patch_size: (frames, rows, columns) of a patch.
        window_size: (wd, wh, ww) in patches.
        drop_path_rate: Stochastic depth of the last block; it grows linearly from 0.
        with_cp: Compute activations again in the backward pass; branches are trained as without.
        out_indices: Stages whose maps are given; the last one by default.
        use_lora: Add low-rank branches.
        lora_rank: Their inner width.
        lora_alpha: They are scaled by ``lora_alpha / lora_rank``; None for 1.
        lora_type: Stages with branches: ``all``, ``first`` or ``last``.
        lora_layer_type: Layers with branches: ``qv``, ``qkv``, ``qkvo``, ``mlp`` or ``all``.
        lora_init: ``zero_b``: the network starts equal to the pre-trained one; ``upstream``: it
            does not, because the authors' backbone draws both factors.
        compat: ``corrected`` refuses ``use_lora`` without a rank, which makes no branch at all in
            the authors' code (``upstream``).
        remember_mask: Keep additive masks of the attention from call to call.
        **options: ``in_channels``, ``mlp_ratio``, ``qkv_bias``, ``qk_scale``, ``drop_rate``,
            ``attn_drop_rate``, ``act_cfg``, ``norm_cfg``, ``patch_norm``, ``frozen_stages``,
            ``out_after_downsample``, ``init_cfg`` of mmaction2.

    Raises:
        UserError: An unknown word, widths that heads do not divide, branches without a rank.
    """

    def __init__(
        self,
        arch: str | Mapping[str, Any] = "base",
        pretrained: str | None = None,
        pretrained2d: bool = True,
        patch_size: int | Sequence[int] = (2, 4, 4),
        window_size: Sequence[int] = (8, 7, 7),
        drop_path_rate: float = 0.2,
        with_cp: bool = False,
        out_indices: Sequence[int] | None = None,
        use_lora: bool = False,
        lora_rank: int = 0,
        lora_alpha: float | None = None,
        lora_type: str = "all",
        lora_layer_type: str = "qv",
        lora_init: str = "zero_b",
        compat: str = "corrected",
        remember_mask: bool = True,
        **options: Any,
    ):
        check_compat(compat)
        settings = checked_arch(arch)
        stages = len(settings["depths"])
        with without_known_warnings():
            super().__init__(
                arch=cast(Any, settings),
                pretrained2d=False,  # weights are put in by this class
                patch_size=_triple("patch_size", patch_size),
                window_size=_triple("window_size", window_size),
                drop_path_rate=drop_path_rate,
                out_indices=(stages - 1,) if out_indices is None else tuple(out_indices),
                **options,
            )
        self.source = (pretrained, pretrained2d)
        rank = lora_rank if use_lora else 0
        if use_lora and rank < 1 and compat == "corrected":
            raise UserError(
                f"use_lora=True with lora_rank={lora_rank} makes no branch; set lora_rank, the "
                "published one is 32"
            )
        lora = None
        if rank > 0:
            lora = LoraOptions(rank, lora_alpha, lora_type, lora_layer_type, lora_init)
        for stage, layer in enumerate(self.layers):
            here = lora if lora and lora.in_stage(stage, stages) else None
            for place, block in enumerate(cast(Any, layer).blocks):
                cast(Any, layer).blocks[place] = SwinBlock(block, here, with_cp, remember_mask)
        self._freeze_stages()  # again: the blocks are new
        self.register_load_state_dict_pre_hook(_name_final_norm)

    def init_weights(self) -> None:
        """Draw the weights, then put in those of ``pretrained``.

        Raises:
            UserError: The file is missing, damaged, or does not fit.
        """
        super().init_weights()
        reset_branches(self)  # they are linear layers too, and were drawn as such
        path, of_pictures = self.source
        if path is not None and of_pictures:
            self.inflate_weights(MMLogger.get_current_instance())
        elif path is not None:
            from uas_swin.checkpoints import load_backbone

            load_backbone(self, path)

    def inflate_weights(self, logger: MMLogger) -> None:
        """Put in the weights of a Swin transformer for pictures.

        Args:
            logger: Told where they come from.

        Raises:
            UserError: The file is missing, damaged, or does not fit.
        """
        path = cast(str, self.source[0])
        content = load_torch_file(path)
        if not isinstance(content.get("model"), Mapping):
            raise UserError(
                f"{path}: a Swin transformer for pictures has its weights under 'model'"
            )
        patch, window = cast(Any, self.patch_size), cast(Any, self.window_size)
        given = inflate(content["model"], patch[0], window, path)
        _name_final_norm(self, given, "")
        own = self.state_dict()
        kept = {n: v for n, v in own.items() if is_branch(n) or n.endswith("position_index")}
        strict_load(self, {**kept, **given}, path)
        logger.info(f"inflated {len(given)} entries of {path}")

    def train(  # type: ignore[override]
        self, mode: bool = True
    ) -> UASSwinTransformer3D:
        """Training or evaluation mode; frozen stages stay in evaluation.

        Unlike mmaction2's it returns the network, as every other module does.
        """
        super().train(mode)
        return self


def checked_arch(arch: str | Mapping[str, Any]) -> dict[str, Any]:
    """Widths, depths and heads of an architecture.

    Args:
        arch: A name or a mapping.

    Raises:
        UserError: An unknown name, other keys, or heads that do not divide the width.
    """
    if isinstance(arch, str):
        known = SwinTransformer3D.arch_zoo
        if arch.lower() not in known:
            raise UserError(f"arch: unknown {arch!r}; {suggest(arch, known)}")
        return dict(known[arch.lower()])
    settings = dict(arch)
    if set(settings) != set(_ARCH_KEYS):
        raise UserError(f"arch: the keys are {', '.join(_ARCH_KEYS)}, got {', '.join(settings)}")
    width, heads = settings["embed_dims"], settings["num_heads"]
    if len(heads) != len(settings["depths"]) or not 1 <= len(heads) <= 4:
        raise UserError(
            f"arch: {len(settings['depths'])} depths and {len(heads)} numbers of heads; give as "
            "many of both, at most 4"
        )
    for stage, n in enumerate(heads):
        if (width << stage) % n:
            raise UserError(
                f"arch: {n} heads do not divide the width {width << stage} of stage {stage}"
            )
    return settings


def _name_final_norm(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Before loading: the authors' ``norm`` is mmaction2's ``norm<last stage>``."""
    last = len(cast(Any, module).layers) - 1
    for part in ("weight", "bias"):
        theirs, ours = f"{prefix}norm.{part}", f"{prefix}norm{last}.{part}"
        if theirs in state and ours not in state:
            state[ours] = state.pop(theirs)


def _triple(name: str, value: int | Sequence[int]) -> tuple[int, int, int]:
    sizes = (value,) * 3 if isinstance(value, int) else tuple(value)
    if len(sizes) != 3 or min(sizes) < 1:
        raise UserError(f"{name}: {value}, expected (frames, rows, columns)")
    return cast(tuple[int, int, int], sizes)
