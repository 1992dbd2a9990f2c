"""A small network with weights that mean something, trained in a minute on synthetic behaviour."""

from __future__ import annotations

import numpy as np
import torch
from training_parts import step

from behaviorzoo.synthetic import make_behaviour
from hbehavemae.data import WindowDataset
from hbehavemae.model import HBehaveMAE, ModelConfig

WINDOW = 120


def trained_network(quick: bool) -> tuple[HBehaveMAE, np.ndarray, int]:
    """Train, and return the network, a held-out recording (n, 1, F), and the number of steps."""
    steps, n_test = (60, 240) if quick else (600, 1200)
    recordings = [positions(ds) for ds, _ in make_behaviour(5, 3000, seed=0)]
    features = recordings[0].shape[-1]
    together = np.concatenate(recordings[1:])
    mean, std = together.mean(), together.std()
    recordings = [(x - mean) / std for x in recordings]
    config = ModelConfig(
        input_size=(WINDOW, 1, features),
        patch_kernel=(2, 1, features),
        stages=(2, 2, 2),
        q_strides=((2, 1, 1), (2, 1, 1)),
        init_embed_dim=48,
        out_embed_dims=(32, 48, 64),
        decoding_strategy="multi",
        decoder_embed_dim=48,
    )
    model = HBehaveMAE(config, generator=torch.Generator().manual_seed(0)).train()
    names = [str(i) for i in range(len(recordings) - 1)]
    data = WindowDataset(recordings[1:], names, window=WINDOW)
    rng = np.random.default_rng(0)

    def loss(_: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        return model(data.batch(rng.integers(len(data), size=32)), noise=noise[:, :data_units]).loss

    data_units = model.geometry.n_units
    run = step(model, loss, 32, fused=True)
    for _ in range(steps):
        run()
    return model.eval(), recordings[0][:n_test], steps


def positions(recording: object) -> np.ndarray:
    """Key points of the only individual: (frames, 1, key points x axes)."""
    x = recording.position.isel(individuals=0).transpose("time", "keypoints", "space")  # type: ignore[attr-defined]
    return np.asarray(x, np.float32).reshape(x.sizes["time"], 1, -1)
