"""One vector of the vectors of all clips. B batch, T clips, D features."""

from __future__ import annotations

from torch import Tensor, nn

from behaviorzoo.dropout import Dropout
from sgear.model.config import AggregatorConfig


class Mean(nn.Module):
    """Mean over the clips."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, D)."""
        return x.mean(1)


class RollingUnrollingLSTM(nn.Module):
    """RULSTM (Furnari & Farinella 2020): one LSTM takes in the past, another one looks ahead.

    The second starts in the state of the first after the last clip and sees that clip again and
    again; its last output is taken.

    Args:
        dim: D.
        dropout: Share of inputs dropped in training.
        n_ahead: Steps that the second one makes beyond the two it always makes.
    """

    def __init__(self, dim: int, dropout: float, n_ahead: int) -> None:
        super().__init__()
        self.n_steps = 2 + n_ahead
        self.dropout = Dropout(dropout)
        # The names are those of the authors' modules.
        self.rolling_lstm = nn.ModuleDict({"lstm": nn.LSTM(dim, dim, batch_first=True)})
        self.unrolling_lstm = nn.LSTM(dim, dim, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, D)."""
        _, state = self.rolling_lstm["lstm"](self.dropout(x))
        repeated = x[:, -1:].expand(-1, self.n_steps, -1)
        _, (hidden, _) = self.unrolling_lstm(self.dropout(repeated), state)
        return hidden[-1]


class TransformerAggregator(nn.Module):
    """A transformer encoder without places, and the mean or the last of what it gives.

    Args:
        dim: D.
        config: Options.
    """

    def __init__(self, dim: int, config: AggregatorConfig) -> None:
        super().__init__()
        width = config.inter_rep
        self.takes_last = config.agg_style == "last"
        self.downproject = nn.Linear(dim, width)
        layer = nn.TransformerEncoderLayer(width, config.nheads, batch_first=True)
        self.transformer_encoder = nn.TransformerEncoder(
            layer, config.nlayers, norm=nn.LayerNorm(width), enable_nested_tensor=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, ``inter_rep``)."""
        out = self.transformer_encoder(self.downproject(x))
        return out[:, -1] if self.takes_last else out.mean(1)


def build_aggregator(dim: int, config: AggregatorConfig) -> tuple[nn.Module | None, int]:
    """The aggregator that the options name, None for the identity, and what it gives.

    Args:
        dim: D.
        config: Options.

    Returns:
        Module of (B, T, D) to (B, D'), and D'.
    """
    if config.kind == "identity":
        return None, dim
    if config.kind == "mean":
        return Mean(), dim
    if config.kind == "rulstm":
        return RollingUnrollingLSTM(dim, config.dropout, config.num_pad_feats), dim
    return TransformerAggregator(dim, config), config.inter_rep


def add_time(x: Tensor) -> Tensor:
    """(B, D) to (B, 1, D); (B, T, D) as it is."""
    return x[:, None] if x.ndim == 2 else x
