"""The training step and the data set of BAMS as in the original code, to measure against.

Same parameters and names, same mathematics, same results: convolutions padded on both sides and
cropped, every head on every frame, histograms of all frames made on the host one sequence at a
time. Written anew from the description of the method; nothing is copied.
"""

from __future__ import annotations

import warnings
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bams.author_layout import with_aliases
from bams.losses.draws import Draws
from bams.model import BAMS, ModelConfig

WINDOW = 30


class Chomp(nn.Module):
    """Drop the last frames."""

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, L + size) to (B, C, L)."""
        return x[:, :, : -self.size].contiguous()


class Block(nn.Module):
    """Two convolutions, the second one with weight norm, and a residual connection."""

    def __init__(self, n_in: int, n_out: int, k: int, dilation: int, dropout: float):
        super().__init__()
        past = (k - 1) * dilation
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            self.conv1 = nn.Conv1d(n_in, n_out, k, padding=past, dilation=dilation)
            self.relu1 = nn.PReLU(init=0.1)
            self.conv2 = nn.utils.weight_norm(
                nn.Conv1d(n_out, n_out, k, padding=past, dilation=dilation)
            )
        self.relu2 = nn.PReLU(init=0.1)
        crop, drop = Chomp(past), nn.Dropout(dropout)
        self.net = nn.Sequential(
            self.conv1, crop, self.relu1, drop, self.conv2, crop, self.relu2, drop
        )
        self.downsample = nn.Conv1d(n_in, n_out, 1) if n_in != n_out else None
        self.relu = nn.PReLU(init=0.1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, L) to (B, C_out, L)."""
        residual = x if self.downsample is None else self.downsample(x)
        return self.relu(self.net(x) + residual)


class Encoder(nn.Module):
    """A stack of blocks."""

    def __init__(self, n_inputs: int, config) -> None:
        super().__init__()
        widths = (n_inputs, *config.channels)
        self.network = nn.Sequential(
            *(
                Block(widths[i], widths[i + 1], k, d, config.dropout)
                for i, (k, d) in enumerate(zip(config.kernel_sizes, config.dilations, strict=True))
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, N) to (B, L, E)."""
        return self.network(x.transpose(1, 2)).transpose(1, 2)


class Predictor(nn.Module):
    """Linear and PReLU in turns."""

    def __init__(self, widths: tuple[int, ...]):
        super().__init__()
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(widths):
            layers += [nn.Linear(n_in, n_out), nn.PReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """(..., F) to (..., M * K)."""
        return self.layers(x)


class Original(nn.Module):
    """The network with the weights of one of ours; loads them under the authors' names."""

    def __init__(self, model: BAMS):
        super().__init__()
        config: ModelConfig = model.config
        self.config = config
        self.encoders = nn.ModuleDict(
            {name: Encoder(config.n_inputs, c) for name, c in config.encoders.items()}
        )
        outputs = config.n_targets * config.hoa_bins
        n_features = config.embedding_size + config.n_inputs
        self.predictor = Predictor((n_features, *config.predictor_hidden, outputs))
        self.byol_predictors = nn.ModuleDict()
        for name, c in config.encoders.items():
            size = c.channels[-1]
            self.byol_predictors[name] = nn.Sequential(
                nn.Linear(size, 4 * size, bias=False),
                nn.BatchNorm1d(4 * size),
                nn.ReLU(),
                nn.Linear(4 * size, size),
            )
        self.load_state_dict(with_aliases(model.state_dict()))

    def forward(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]:
        """Embeddings, logits and latent predictions of every frame."""
        embeddings = {name: encoder(x) for name, encoder in self.encoders.items()}
        logits = self.predictor(torch.cat([*embeddings.values(), x], dim=-1))
        latents = {
            name: self.byol_predictors[name](e.flatten(0, 1)).view(e.shape)
            for name, e in embeddings.items()
        }
        return embeddings, logits, latents

    def loss(self, x: Tensor, histograms: Tensor, valid: Tensor, draws: Draws, skip: int) -> Tensor:
        """The objective from histograms (B, L, M, K) and valid fractions (B, L)."""
        embeddings, logits, latents = self(x)
        total = 500 * hoa_loss(histograms, logits, valid, skip)
        rows = torch.arange(len(x))
        for name, (anchors, partners) in draws.pairs.items():
            target = embeddings[name][rows, partners].detach()
            predicted = latents[name][rows, anchors]
            total = total + 0.5 * (1 - F.cosine_similarity(predicted, target).mean())
        return total


def hoa_loss(target: Tensor, logits: Tensor, valid: Tensor, skip: int) -> Tensor:
    """Squared distance of cumulative histograms, weighted as the public code does."""
    predicted = logits.view(target.shape).softmax(-1).cumsum(-1)
    distance = (predicted - target.cumsum(-1)).square().mean(-1)  # (B, L, M)
    valid = valid.clone()
    valid[:, :skip] = 1
    weights = (1 - valid).tile(1, target.shape[2]).view(distance.shape)
    return (distance * weights).sum() / weights.sum()


class Items(torch.utils.data.Dataset):
    """Sequences one by one with their histograms, as the original's data set gives them."""

    def __init__(self, inputs: np.ndarray, bins: np.ndarray, ignored: np.ndarray, n_bins: int):
        self.inputs, self.bins, self.ignored, self.n_bins = inputs, bins, ignored, n_bins

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        bins, ignored = self.bins[index], self.ignored[index]
        length, n_targets = bins.shape
        mass = np.minimum(WINDOW, length - 1 - np.arange(length)) / WINDOW
        histogram = np.zeros((length, n_targets, self.n_bins))
        np.put_along_axis(histogram, bins[..., None].astype(np.int64), mass[:, None, None], 2)
        padded = np.concatenate([~ignored, np.zeros(WINDOW, bool)])
        windows = np.lib.stride_tricks.sliding_window_view(padded[1:], WINDOW)
        valid = windows.mean(axis=1, dtype=np.float32)[:length]
        return {"input": self.inputs[index], "target_hist": histogram, "ignore_weights": valid}


def collated(items: Items, indices: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """A batch as its training loop uses it, cast to single precision."""
    batch = torch.utils.data.default_collate([items[i] for i in indices])
    return tuple(  # type: ignore[return-value]
        batch[name].float() for name in ("input", "target_hist", "ignore_weights")
    )
