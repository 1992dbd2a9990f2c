"""Reading and augmenting one sample at a time, laid out as in the authors' code."""

from __future__ import annotations

import random

import numpy as np

from hysp.augment import NTU_MIRROR

LEGACY = np.random.RandomState(0)
"""Stands for the global generator that the authors draw from."""

_STATES = (
    *("bodyID", "clipedEdges", "handLeftConfidence", "handLeftState", "handRightConfidence"),
    *("handRightState", "isResticted", "leanX", "leanY", "trackingState"),
)
_JOINT = (
    *("x", "y", "z", "depthX", "depthY", "colorX", "colorY"),
    *("orientationW", "orientationX", "orientationY", "orientationZ", "trackingState"),
)


def raw_text(frames: int, bodies: int) -> bytes:
    """A raw file of random joints, as long as a real one."""
    rng = np.random.default_rng(0)
    lines = [str(frames)]
    for _ in range(frames):
        lines.append(str(bodies))
        for body in range(bodies):
            lines += [f"7205759403793001{body} 0 1 1 1 1 0 -0.1159 0.1413 2", "25"]
            for row in rng.normal(size=(25, 11)):
                words = [f"{v:.7f}" for v in row[:3]] + [f"{100 * v:.4f}" for v in row[3:7]]
                lines.append(" ".join([*words, *(f"{v:.7f}" for v in row[7:]), "2"]))
    return ("\r\n".join(lines) + "\r\n").encode()


def original_parse(text: str) -> np.ndarray:
    """A line at a time into dictionaries, then number by number into the array."""
    lines = iter(text.splitlines())
    sequence = []
    for _ in range(int(next(lines))):
        bodies = []
        for _ in range(int(next(lines))):
            info = {key: float(v) for key, v in zip(_STATES, next(lines).split(), strict=True)}
            joints = []
            for _ in range(int(next(lines))):
                joints.append(
                    {key: float(v) for key, v in zip(_JOINT, next(lines).split(), strict=True)}
                )
            bodies.append(info | {"joints": joints})
        sequence.append(bodies)
    data = np.zeros((3, len(sequence), 25, 2))
    for n, bodies in enumerate(sequence):
        for m, body in enumerate(bodies):
            for j, v in enumerate(body["joints"]):
                if m < 2 and j < 25:
                    data[:, n, j, m] = [v["x"], v["y"], v["z"]]
    return data


def original_weak(x: np.ndarray) -> np.ndarray:
    """Temporal crop and shear of (C, T, V, M)."""
    return _shear(_crop(x))


def original_strong(x: np.ndarray) -> np.ndarray:
    """The eight changes in their order."""
    x = _shear(_crop(x))
    if random.random() < 0.5:
        x = x.transpose(1, 2, 3, 0)[:, list(NTU_MIRROR)].transpose(3, 0, 1, 2)
    x = _rotate(x)
    if random.random() < 0.5:
        x = x + LEGACY.normal(0, 0.01, size=x.shape)
    x = _blur(x)
    if random.random() < 0.5:
        x = x.copy()
        x[random.randint(0, 2)] = 0
    return x[:, ::-1].copy() if random.random() < 0.5 else x


def _crop(x: np.ndarray) -> np.ndarray:
    T = x.shape[1]
    P = T // 6
    start = LEGACY.randint(0, 2 * P + 1)
    padded = np.concatenate([x[:, :P][:, ::-1], x, x[:, -P:][:, ::-1]], axis=1)
    return padded[:, start : start + T]


def _shear(x: np.ndarray) -> np.ndarray:
    a1, a2, a3, b1, b2, b3 = (random.uniform(-0.5, 0.5) for _ in range(6))
    R = np.array([[1, a1, b1], [a2, 1, b2], [a3, b3, 1]])
    return np.dot(x.transpose(1, 2, 3, 0), R.T).transpose(3, 0, 1, 2)


def _rotate(x: np.ndarray) -> np.ndarray:
    x = x.transpose(1, 2, 3, 0)
    main = random.randint(0, 2)
    for axis in range(3):
        angle = np.deg2rad(random.uniform(0, 30 if axis == main else 1))
        c, s = np.cos(angle), np.sin(angle)
        R = [
            np.array([[1, 0, 0], [0, c, s], [0, -s, c]]),
            np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]),
            np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]),
        ][axis]
        x = np.dot(x, R.T)
    return x.transpose(3, 0, 1, 2)


def _blur(x: np.ndarray) -> np.ndarray:
    sigma = random.uniform(0.1, 2)
    if LEGACY.random_sample() >= 0.5:
        return x
    import torch

    taps = torch.exp(-(torch.arange(-7, 8, dtype=torch.float64) ** 2) / (2 * sigma**2))
    C, T, V, M = x.shape
    series = torch.from_numpy(np.ascontiguousarray(x)).permute(3, 2, 0, 1).reshape(M * V, C, T)
    kernel = taps.expand(C, 1, -1).contiguous()
    out = torch.nn.functional.conv1d(series, kernel, padding=7, groups=C)
    return out.view(M, V, C, T).permute(2, 3, 1, 0).numpy()
