"""Sizes of the network: what follows from the configuration, checked in one place.

Letters: T frames, I individuals, F features of one individual in one frame; (t, h, w) the three
axes time, individual, feature of a grid of tokens. A *mask unit* is the block of tokens that ends
as ONE token of the coarsest level: what is hidden is hidden at every level.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from math import prod
from typing import Any, NamedTuple

from behaviorzoo.errors import UserError, suggest

AXES = ("frames", "individuals", "features")
STRATEGIES = ("single", "multi")

Size = tuple[int, int, int]


@dataclass(frozen=True)
class ModelConfig:
    """Options of hBehaveMAE; the defaults are the published Shot7M2 model.

    Lists are taken for tuples, so that a configuration file can be passed as it is.

    Attributes:
        input_size: Window (T, I, F).
        patch_kernel: Values of one token along each axis.
        stages: Blocks per stage.
        q_strides: Pooling (t, h, w) between the stages, finest first.
        mask_unit_attn: Per stage: attention inside each mask unit instead of over all tokens.
        init_embed_dim: Width of stage 1; it doubles from stage to stage.
        init_num_heads: Attention heads of stage 1; they double too.
        out_embed_dims: Features of each level's embedding.
        non_hierarchical: BehaveMAE: constant width, no pooling, global attention.
        decoding_strategy: What the decoder sees: ``single`` the coarsest level, ``multi`` all.
        decoder_embed_dim: Width of the decoder.
        decoder_depth: Blocks of the decoder.
        decoder_num_heads: Attention heads of the decoder.
        mask_ratio: Share of the mask units that is hidden.
        norm_loss: Standardise the target of each token.
        mlp_ratio: Hidden width of the MLPs over the width of the block.
        missing: Accept NaN in the input as missing points (not in the published models).
    """

    input_size: Size = (400, 1, 72)
    patch_kernel: Size = (2, 1, 3)
    stages: tuple[int, ...] = (2, 3, 4)
    q_strides: tuple[Size, ...] = ((2, 1, 4), (2, 1, 6))
    mask_unit_attn: tuple[bool, ...] = (True, False, False)
    init_embed_dim: int = 96
    init_num_heads: int = 2
    out_embed_dims: tuple[int, ...] = (78, 128, 256)
    non_hierarchical: bool = False
    decoding_strategy: str = "single"
    decoder_embed_dim: int = 128
    decoder_depth: int = 1
    decoder_num_heads: int = 1
    mask_ratio: float = 0.7
    norm_loss: bool = False
    mlp_ratio: float = 4.0
    missing: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, _as_tuple(getattr(self, field.name)))


class BlockSpec(NamedTuple):
    """One transformer block.

    Attributes:
        dim: Width of its input.
        dim_out: Width of its output.
        heads: Attention heads, of ``dim_out``.
        q_stride: Tokens that it pools into one.
        window: Tokens of a mask unit after its pooling.
        mask_unit_attn: Attention inside each mask unit only.
    """

    dim: int
    dim_out: int
    heads: int
    q_stride: int
    window: int
    mask_unit_attn: bool


class Geometry:
    """Everything that follows from a :class:`ModelConfig`.

    Args:
        config: The options.
        masked: The network will be trained with random masks: the mask ratio and the decoder
            are checked as well. An encoder alone does not use them.

    Attributes:
        config: The options.
        strides: Pooling (t, h, w) between the stages as it is applied.
        tokens: Grid of tokens after patch embedding.
        mask_unit: Tokens of a mask unit along each axis.
        mask_grid: Grid of mask units (also the decoder's grid).
        level_grids: Grid of tokens at each level, finest first.
        level_dims: Features of each level's embedding.
        level_units: Tokens of a mask unit along each axis at each level.
        frames_per_token: Frames that one token of each level spans.
        blocks: One :class:`BlockSpec` for each encoder block.
        stage_ends: Index of the last block of each stage.
        fused_levels: Levels that the decoder sees, finest first.
        pred_size: Values predicted per decoder token.
        n_local: Leading blocks in which a mask unit does not see the others.
        tokens_of_unit: Tokens of a mask unit at the finest level.
        n_units: Number of mask units.
        n_kept: Number of mask units that stay visible.

    Raises:
        UserError: All violated constraints at once, each with the numbers that clash.
    """

    def __init__(self, config: ModelConfig, masked: bool = True) -> None:
        self.config = config
        _refuse(_malformed(config))
        n_stages = len(config.stages)
        flat = config.non_hierarchical
        self.strides: tuple[Size, ...] = ((1, 1, 1),) * n_stages if flat else config.q_strides
        self.mask_unit = _product(self.strides)
        _refuse([*_misfits(config, self.mask_unit), *(_mask_problems(self) if masked else [])])

        self.tokens = _divide(config.input_size, config.patch_kernel)
        self.mask_grid = _divide(self.tokens, self.mask_unit)
        self.level_units: tuple[Size, ...] = tuple(
            _product(self.strides[level:]) for level in range(n_stages)
        )
        self.level_grids: tuple[Size, ...] = tuple(
            _multiply(self.mask_grid, unit) for unit in self.level_units
        )
        self.level_dims = (
            config.out_embed_dims[:1] * n_stages if flat else config.out_embed_dims[:n_stages]
        )
        self.frames_per_token = tuple(config.input_size[0] // grid[0] for grid in self.level_grids)
        self.blocks = _block_specs(config, self.strides, self.mask_unit)
        self.stage_ends = tuple(sum(config.stages[: s + 1]) - 1 for s in range(n_stages))
        self.fused_levels = _fused_levels(config, len(self.strides))
        self.n_local = next(
            (i for i, block in enumerate(self.blocks) if not block.mask_unit_attn), len(self.blocks)
        )
        self.tokens_of_unit = prod(self.mask_unit)
        self.n_units = prod(self.mask_grid)
        self.n_kept = kept_units(self.n_units, config.mask_ratio)

    @property
    def pred_size(self) -> int:
        """Values per decoder token: only the first frame of each temporal patch is predicted."""
        return _pred_size(self.config, self.mask_unit)


def kept_units(n_units: int, mask_ratio: float) -> int:
    """Number of visible mask units, by exactly the authors' floating-point expression."""
    return int(n_units * (1 - mask_ratio))


def _block_specs(
    config: ModelConfig, strides: Sequence[Size], mask_unit: Size
) -> tuple[BlockSpec, ...]:
    specs = []
    dim, heads, window = config.init_embed_dim, config.init_num_heads, prod(mask_unit)
    for stage, depth in enumerate(config.stages):
        for position in range(depth):
            first = position == 0 and stage > 0 and not config.non_hierarchical
            pools = first and stage <= len(strides)
            q_stride = prod(strides[stage - 1]) if pools else 1
            dim_out = dim * 2 if first else dim
            heads = heads * 2 if first else heads
            window //= q_stride
            # The flag of a stage lags by one block: the pooling block still sees whole units.
            flag = not config.non_hierarchical and config.mask_unit_attn[stage - first]
            specs.append(BlockSpec(dim, dim_out, heads, q_stride, window, flag))
            dim = dim_out
    return tuple(specs)


def _fused_levels(config: ModelConfig, n_strides: int) -> tuple[int, ...]:
    last = len(config.stages) - 1
    if config.decoding_strategy == "single":
        return (last,)
    return tuple(sorted({*range(n_strides), last}))


def _malformed(config: ModelConfig) -> list[str]:
    """Problems that leave no numbers to check further."""
    problems = [
        f"{name} = {value}: expected three positive whole numbers (frames, individuals, features)"
        for name, value in _triples(config)
        if not _are_positive(value, count=3)
    ]
    if not (config.stages and _are_positive(config.stages)):
        problems.append(f"stages = {config.stages}: expected at least one block in every stage")
    if not _are_positive(config.out_embed_dims):
        problems.append(f"out_embed_dims = {config.out_embed_dims}: expected positive numbers")
    problems += [
        f"{name} = {getattr(config, name)}: expected a positive whole number"
        for name in ("init_embed_dim", "init_num_heads", "decoder_embed_dim", "decoder_num_heads")
        if not _are_positive((getattr(config, name),))
    ]
    if config.decoder_depth < 0:
        problems.append(f"decoder_depth = {config.decoder_depth}: expected 0 or more blocks")
    if not config.mlp_ratio > 0:
        problems.append(f"mlp_ratio = {config.mlp_ratio}: expected more than 0")
    if config.decoding_strategy not in STRATEGIES:
        hint = suggest(config.decoding_strategy, STRATEGIES)
        problems.append(f"decoding_strategy = {config.decoding_strategy!r}: {hint}")
    return problems


def _misfits(config: ModelConfig, mask_unit: Size) -> list[str]:
    """Numbers that are fine alone and clash together."""
    problems = [
        f"{axis}: {'window' if axis == 'frames' else 'number'} {size} is not a multiple of "
        f"patch {patch} x pooling {pooling} = {patch * pooling}"
        for axis, size, patch, pooling in zip(
            AXES, config.input_size, config.patch_kernel, mask_unit, strict=True
        )
        if size % (patch * pooling)
    ]
    n_stages = len(config.stages)
    needed = {"out_embed_dims": 1 if config.non_hierarchical else n_stages}
    if not config.non_hierarchical:
        needed["mask_unit_attn"] = n_stages
        if len(config.q_strides) > n_stages - 1:
            problems.append(
                f"q_strides: {len(config.q_strides)} poolings, but {n_stages} stages leave room "
                f"for {n_stages - 1} between them"
            )
    problems += [
        f"{name}: {len(getattr(config, name))} values for {n_stages} stages, at least {n} needed"
        for name, n in needed.items()
        if len(getattr(config, name)) < n
    ]
    if config.init_embed_dim % config.init_num_heads:
        problems.append(
            f"init_embed_dim: width {config.init_embed_dim} is not a multiple of "
            f"{config.init_num_heads} heads"
        )
    return problems


def _mask_problems(geometry: Geometry) -> list[str]:
    """What only matters where units are hidden and predicted."""
    config, unit = geometry.config, geometry.mask_unit
    problems = []
    if config.decoder_embed_dim % config.decoder_num_heads:
        problems.append(
            f"decoder_embed_dim: width {config.decoder_embed_dim} is not a multiple of "
            f"{config.decoder_num_heads} heads"
        )
    if config.norm_loss and _pred_size(config, unit) < 2:
        problems.append(
            "norm_loss: a decoder token predicts 1 value, its standard deviation needs 2"
        )
    if not 0 <= config.mask_ratio < 1:
        return [*problems, f"mask_ratio = {config.mask_ratio}: expected a share in [0, 1)"]
    if any(
        s % (p * u) for s, p, u in zip(config.input_size, config.patch_kernel, unit, strict=True)
    ):
        return problems
    n_units = prod(_divide(_divide(config.input_size, config.patch_kernel), unit))
    kept = kept_units(n_units, config.mask_ratio)
    if kept < 1:
        problems.append(
            f"mask_ratio {config.mask_ratio} of {n_units} mask units leaves 0 visible, at least 1 "
            "needed: lower it, or take smaller patches, less pooling or a longer window"
        )
    if kept == n_units:
        problems.append(
            f"mask_ratio {config.mask_ratio} of {n_units} mask units hides 0: nothing to predict"
        )
    return problems


def _pred_size(config: ModelConfig, mask_unit: Size) -> int:
    return prod(config.patch_kernel[1:]) * prod(mask_unit)


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise UserError("geometry: " + "; ".join(problems))


def _triples(config: ModelConfig) -> Iterable[tuple[str, Any]]:
    yield "input_size", config.input_size
    yield "patch_kernel", config.patch_kernel
    for index, stride in enumerate(config.q_strides):
        yield f"q_strides[{index}]", stride


def _are_positive(values: Any, count: int | None = None) -> bool:
    return (
        isinstance(values, tuple)
        and count in (None, len(values))
        and all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in values)
    )


def _as_tuple(value: Any) -> Any:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(_as_tuple(item) for item in value)
    return value


def _product(sizes: Iterable[Size]) -> Size:
    total = (1, 1, 1)
    for size in sizes:
        total = _multiply(total, size)
    return total


def _multiply(a: Size, b: Size) -> Size:
    return (a[0] * b[0], a[1] * b[1], a[2] * b[2])


def _divide(a: Size, b: Size) -> Size:
    return (a[0] // b[0], a[1] // b[1], a[2] // b[2])
