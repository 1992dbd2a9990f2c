"""Options of the network: any number of temporal encoders and one predictor of actions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from behaviorzoo.errors import UserError

MAX_BINS = 255
"""Bins of actions travel as bytes."""


def _one_for_each(value: int | Sequence[int], n_blocks: int) -> tuple[int, ...]:
    return (value,) * n_blocks if isinstance(value, int) else tuple(value)


@dataclass(frozen=True)
class EncoderConfig:
    """One temporal convolutional network; its reach in time is its timescale.

    Lists are taken for tuples, so that a configuration file can be passed as it is.

    Raises:
        UserError: Every option that cannot be, in one message.
    """

    channels: tuple[int, ...] = field(
        default=(64, 64, 64, 64), metadata={"help": "channels of each block"}
    )
    kernel_size: int | tuple[int, ...] = field(
        default=3, metadata={"help": "taps of the convolutions, one number or one for each block"}
    )
    dilation_base: int = field(
        default=2, metadata={"help": "block i has frames dilation_base ** i between its taps"}
    )
    layers_per_block: int | tuple[int, ...] = field(
        default=2, metadata={"help": "convolutions of a block, 1 or 2, or one for each block"}
    )
    dropout: float = field(
        default=0.2, metadata={"help": "share of activations dropped in training"}
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        for name in ("kernel_size", "layers_per_block"):
            value = getattr(self, name)
            object.__setattr__(self, name, value if isinstance(value, int) else tuple(value))
        problems = self._problems()
        if problems:
            raise UserError("; ".join(problems))

    @property
    def kernel_sizes(self) -> tuple[int, ...]:
        """Taps of each block's convolutions."""
        return _one_for_each(self.kernel_size, len(self.channels))

    @property
    def layers(self) -> tuple[int, ...]:
        """Convolutions of each block."""
        return _one_for_each(self.layers_per_block, len(self.channels))

    @property
    def dilations(self) -> tuple[int, ...]:
        """Frames between neighbouring taps in each block."""
        return tuple(self.dilation_base**block for block in range(len(self.channels)))

    @property
    def receptive_field(self) -> int:
        """Frames from the oldest one that an output can depend on up to its own, both counted."""
        reach = zip(self.layers, self.kernel_sizes, self.dilations, strict=True)
        return 1 + sum(layers * (k - 1) * dilation for layers, k, dilation in reach)

    def _problems(self) -> list[str]:
        found = []
        if not self.channels or min(self.channels) < 1:
            found.append(f"channels = {list(self.channels)}: give a positive number for each block")
        for name, values, valid in (
            ("kernel_size", self.kernel_sizes, lambda k: k >= 1),
            ("layers_per_block", self.layers, lambda n: n in (1, 2)),
        ):
            if len(values) != len(self.channels):
                found.append(
                    f"{name} has {len(values)} numbers for {len(self.channels)} blocks; give one "
                    "number, or one for each block"
                )
            if not all(map(valid, values)):
                rule = "1 or 2" if name == "layers_per_block" else "at least 1"
                found.append(f"{name} = {getattr(self, name)} must be {rule}")
        if self.dilation_base < 1:
            found.append(f"dilation_base = {self.dilation_base} must be at least 1")
        if not 0 <= self.dropout < 1:
            found.append(f"dropout = {self.dropout} must lie in [0, 1)")
        return found


def _encoders() -> dict[str, EncoderConfig]:
    return {
        "short_term": EncoderConfig(channels=(64, 64, 64, 64), dilation_base=2),
        "long_term": EncoderConfig(channels=(64, 64, 64, 64, 64), dilation_base=4),
    }


@dataclass(frozen=True)
class ModelConfig:
    """Options of BAMS; the defaults are the published network for flies and for own data.

    Raises:
        UserError: Every option that cannot be, in one message.
    """

    n_inputs: int = field(
        default=0, metadata={"help": "features of a frame that go in; 0: as many as the data have"}
    )
    n_targets: int = field(
        default=0, metadata={"help": "actions to predict; 0: as many as the data have"}
    )
    encoders: dict[str, EncoderConfig] = field(
        default_factory=_encoders,
        metadata={"help": "name -> encoder; their order is that of the concatenated embedding"},
    )
    predictor_hidden: tuple[int, ...] = field(
        default=(256, 512, 512), metadata={"help": "hidden widths of the predictor of actions"}
    )
    predictor_bias: bool = field(
        default=True, metadata={"help": "biases in the layers of the predictor"}
    )
    predictor_batchnorm: bool = field(
        default=False, metadata={"help": "batch norm before the predictor's activations"}
    )
    hoa_bins: int = field(default=32, metadata={"help": "bins of the histogram of an action"})

    def __post_init__(self) -> None:
        object.__setattr__(self, "predictor_hidden", tuple(self.predictor_hidden))
        problems = self._problems()
        if problems:
            raise UserError("; ".join(problems))

    @property
    def embedding_size(self) -> int:
        """Features of the concatenated embedding."""
        return sum(encoder.channels[-1] for encoder in self.encoders.values())

    @property
    def receptive_fields(self) -> dict[str, int]:
        """Frames that each encoder sees."""
        return {name: encoder.receptive_field for name, encoder in self.encoders.items()}

    def _problems(self) -> list[str]:
        found = []
        if not self.encoders:
            found.append("encoders is empty; give at least one, such as short_term")
        found += [
            f"encoders: the name {name!r} must consist of letters, digits and underscores"
            for name in self.encoders
            if not name.isidentifier()
        ]
        found += [
            f"{name} = {getattr(self, name)} must be at least 0"
            for name in ("n_inputs", "n_targets")
            if getattr(self, name) < 0
        ]
        if any(width < 1 for width in self.predictor_hidden):
            found.append(f"predictor_hidden = {list(self.predictor_hidden)} must be positive")
        if not 2 <= self.hoa_bins <= MAX_BINS:
            found.append(f"hoa_bins = {self.hoa_bins} must lie between 2 and {MAX_BINS}")
        return found
