"""The ST-GCN encoder: a skeleton sequence in, one embedding out (Yan et al., AAAI 2018).

Letters: N sequences, C channels, T frames, V joints, M persons, B = N * M persons in a row,
K matrices of the graph, D features of the embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, relu

from behaviorzoo.dropout import Dropout
from behaviorzoo.errors import UserError
from hysp.model.config import EncoderConfig
from hysp.model.temporal import TemporalConv

TEMPORAL_KERNEL = 9
"""Frames that one temporal convolution sees."""


class GraphConv(nn.Module):
    """Graph convolution: every joint gathers from its neighbours, each part by its own weights.

    ``out[b,c,t,w] = sum_k sum_v A[k,v,w] (W_k x + b_k)[b,c,t,v]``; the joints are gathered before
    the weights are applied, which is the same and cheaper where channels grow.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        n_parts: K.
    """

    def __init__(self, in_channels: int, out_channels: int, n_parts: int) -> None:
        super().__init__()
        self.n_parts = n_parts
        self.conv = nn.Conv2d(in_channels, out_channels * n_parts, 1)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        """Convolve: (B, C, T, V) with (K, V, V) to (B, C', T, V)."""
        K = self.n_parts
        assert self.conv.bias is not None
        gathered = torch.cat([x @ part for part in adjacency], dim=1)  # (B, K * C, T, V)
        weight = self.conv.weight.unflatten(0, (K, -1)).transpose(0, 1).flatten(1, 2)
        bias = self.conv.bias.unflatten(0, (K, -1)).T @ adjacency.sum(1)  # (C', V)
        return conv2d(gathered, weight) + bias[:, None]


class Block(nn.Module):
    """One spatial and one temporal convolution with a shortcut.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        n_parts: K.
        stride: Frames per frame of the output.
        dropout: Probability.
        residual: Add the input, projected where its shape differs.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        n_parts: int,
        stride: int = 1,
        dropout: float = 0.0,
        residual: bool = True,
    ) -> None:
        super().__init__()
        self.gcn = GraphConv(in_channels, out_channels, n_parts)
        self.tcn = nn.Sequential(
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            TemporalConv(out_channels, TEMPORAL_KERNEL, stride),
            nn.BatchNorm2d(out_channels),
            Dropout(dropout),
        )
        self.has_residual = residual
        self.residual: nn.Module = nn.Identity()
        if residual and (in_channels != out_channels or stride != 1):
            self.residual = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=(stride, 1)),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        """(B, C, T, V) with (K, V, V) to (B, C', T', V)."""
        z = self.tcn(self.gcn(x, adjacency))
        return relu(z + self.residual(x) if self.has_residual else z)


class STGCN(nn.Module):
    """Encoder of HYSP, SimSiam and SkeletonCLR: ten blocks, three widths, mean over what is left.

    Persons that are absent (all zero) are not masked: they pass through and are averaged in.

    Args:
        config: Options.

    Raises:
        UserError: A graph that cannot be.
    """

    A: Tensor

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.graph = config.graph.build()
        self.register_buffer("A", torch.tensor(self.graph.A, dtype=torch.float32))
        K, V, _ = self.A.shape
        C, H, D = config.in_channels, config.hidden_channels, config.out_channels
        self.data_bn = nn.BatchNorm1d(V * C)
        p = config.dropout
        self.st_gcn_networks = nn.ModuleList(
            [
                Block(C, H, K, residual=False),
                *(Block(H, H, K, dropout=p) for _ in range(3)),
                Block(H, 2 * H, K, stride=2, dropout=p),
                *(Block(2 * H, 2 * H, K, dropout=p) for _ in range(2)),
                Block(2 * H, 4 * H, K, stride=2, dropout=p),
                Block(4 * H, 4 * H, K, dropout=p),
                Block(4 * H, D, K, dropout=p),
            ]
        )
        if config.edge_importance_weighting:
            self.edge_importance = nn.ParameterList(
                nn.Parameter(torch.ones_like(self.A)) for _ in self.st_gcn_networks
            )

    def forward(self, x: Tensor, *, skip_absent: bool = False) -> Tensor:
        """Embed sequences.

        Args:
            x: (N, C, T, V, M).
            skip_absent: Compute an absent (all-zero) person once for the whole batch. The result
                is the same; only evaluation mode can do it, where persons do not meet.

        Returns:
            (N, D).

        Raises:
            UserError: Another shape than the network's.
        """
        rows = self.persons(x)
        if skip_absent and not self.training:
            return self._present(rows, len(x))
        return self._pooled(self.normalise(rows)).unflatten(0, (len(x), -1)).mean(1)

    def persons(self, x: Tensor) -> Tensor:
        """Persons in a row: (N, C, T, V, M) to (N * M, V * C, T)."""
        V, C = self.A.shape[1], self.config.in_channels
        if x.ndim != 5 or x.shape[1] != C or x.shape[3] != V:
            raise UserError(
                f"input: (N, C, T, V, M) = {tuple(x.shape)}, but the network was built for "
                f"C = {C} channels and V = {V} joints"
            )
        return x.permute(0, 4, 3, 1, 2).flatten(0, 1).flatten(1, 2)

    def normalise(self, rows: Tensor) -> Tensor:
        """Batch norm of every coordinate: (B, V * C, T) to (B, C, T, V)."""
        V = self.A.shape[1]
        return self.data_bn(rows).unflatten(1, (V, -1)).permute(0, 2, 3, 1).contiguous()

    def block_outputs(self, x: Tensor) -> list[Tensor]:
        """Output (B, C', T', V) of every block for persons (B, C, T, V)."""
        outputs = []
        for index, block in enumerate(self.st_gcn_networks):
            x = block(x, self.adjacency(index))
            outputs.append(x)
        return outputs

    def adjacency(self, index: int) -> Tensor:
        """Weighted matrices (K, V, V) of a block."""
        if not self.config.edge_importance_weighting:
            return self.A
        return self.A * self.edge_importance[index]

    def _pooled(self, x: Tensor) -> Tensor:
        """Persons (B, C, T, V) to their embeddings (B, D)."""
        for index, block in enumerate(self.st_gcn_networks):
            x = block(x, self.adjacency(index))
        return x.mean((2, 3))

    def _present(self, rows: Tensor, n: int) -> Tensor:
        """Embed with one row for all absent persons: (N * M, V * C, T) to (N, D)."""
        present = rows.flatten(1).any(1)
        if bool(present.all()):
            return self._pooled(self.normalise(rows)).unflatten(0, (n, -1)).mean(1)
        kept = torch.cat([rows[present], torch.zeros_like(rows[:1])])
        embedded = self._pooled(self.normalise(kept))
        place = torch.where(present, present.cumsum(0) - 1, len(kept) - 1)
        return embedded[place].unflatten(0, (n, -1)).mean(1)
