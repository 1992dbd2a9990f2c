"""Dynamics of the synthetic animal: from a movement per frame to key points in pixels.

Body frame: x forward, y left, z up, in body lengths. Letters: T frames, I individuals,
K key points. Frequencies are in Hz, so that the same behaviour can be sampled at any fps.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, fields

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.signal import lfilter
from scipy.special import ndtr

BODY_LENGTH = 60.0  # pixels
ARENA = (800.0, 600.0)  # pixels
WALL_MARGIN = 70.0  # pixels from the wall at which the animal starts to turn away
BLEND_SECONDS = 0.25  # movements fade into each other over this time
JITTER = 0.012  # standard deviation of the tracking noise, body lengths
MOUTH = np.array([-0.08, 0.0, -0.02])  # where tucked paws go, relative to the nose
BURST_FRAMES = 12.0  # correlation time of losing a key point

# Where each key point is when the animal stands still (x, y, z), and how much more often than
# the average point a tracker loses it.
BODY: dict[str, tuple[tuple[float, float, float], float]] = {
    "nose": ((0.55, 0.00, 0.15), 1.0),
    "left_ear": ((0.38, 0.12, 0.25), 0.8),
    "right_ear": ((0.38, -0.12, 0.25), 0.8),
    "neck": ((0.27, 0.00, 0.22), 0.5),
    "left_forepaw": ((0.25, 0.14, 0.00), 1.5),
    "right_forepaw": ((0.25, -0.14, 0.00), 1.5),
    "body_center": ((0.00, 0.00, 0.22), 0.4),
    "left_hindpaw": ((-0.28, 0.17, 0.00), 1.2),
    "right_hindpaw": ((-0.28, -0.17, 0.00), 1.2),
    "tail_base": ((-0.45, 0.00, 0.12), 0.6),
    "tail_mid": ((-0.75, 0.00, 0.08), 1.1),
    "tail_tip": ((-1.05, 0.00, 0.05), 1.6),
}
KEYPOINTS = list(BODY)
SKELETON = [
    ("nose", "left_ear"),
    ("nose", "right_ear"),
    ("left_ear", "neck"),
    ("right_ear", "neck"),
    ("neck", "left_forepaw"),
    ("neck", "right_forepaw"),
    ("neck", "body_center"),
    ("body_center", "left_hindpaw"),
    ("body_center", "right_hindpaw"),
    ("body_center", "tail_base"),
    ("tail_base", "tail_mid"),
    ("tail_mid", "tail_tip"),
]


@dataclass(frozen=True)
class Dynamics:
    """What a movement does to the animal while it lasts.

    Attributes:
        speed: Body lengths per second.
        turn: Turning rate, radians per second; the side is drawn for each bout.
        head_hz: Frequency of the head's sideways oscillation.
        head: Its amplitude, radians.
        paw_hz: Frequency of the forepaws.
        paw: Their amplitude, body lengths.
        tuck: How far the forepaws are brought to the nose, 0 to 1.
        rear: How far the front of the body is raised, radians.
        curl: Bend of the spine to one side, radians.
        social: +1 steers towards the other individual, -1 away from it, 0 ignores it.
    """

    speed: float = 0.0
    turn: float = 0.0
    head_hz: float = 0.5
    head: float = 0.05
    paw_hz: float = 1.0
    paw: float = 0.0
    tuck: float = 0.0
    rear: float = 0.0
    curl: float = 0.0
    social: float = 0.0


MOVEMENTS: dict[str, Dynamics] = {
    "still": Dynamics(),
    "walk": Dynamics(speed=1.3, paw_hz=2.2, paw=0.12),
    "run": Dynamics(speed=3.2, paw_hz=4.0, paw=0.20, head=0.02),
    "turn": Dynamics(speed=0.4, turn=2.6, paw_hz=2.5, paw=0.08, curl=0.55),
    "rear": Dynamics(rear=1.0, head_hz=1.0, head=0.20),
    "sniff": Dynamics(speed=0.25, head_hz=5.0, head=0.28, paw_hz=2.0, paw=0.03),
    "groom": Dynamics(tuck=0.9, paw_hz=4.5, paw=0.07, curl=0.25, rear=0.25),
    "dig": Dynamics(paw_hz=6.0, paw=0.14, head_hz=3.0, head=0.10, rear=-0.10),
    "approach": Dynamics(speed=1.5, paw_hz=2.4, paw=0.13, social=1.0),
    "flee": Dynamics(speed=3.2, paw_hz=4.0, paw=0.20, head=0.02, social=-1.0),
}


def simulate(
    movement: np.ndarray, *, fps: float, dimensions: int, rng: np.random.Generator
) -> np.ndarray:
    """Poses of animals that carry out the given movements, free of missing points.

    Args:
        movement: Index into ``MOVEMENTS`` for each frame and individual (T, I).
        fps: Frames per second.
        dimensions: 2 (seen from above) or 3.
        rng: Source of all randomness.

    Returns:
        Positions in pixels (T, dimensions, K, I), float32.
    """
    control, side = _controls(movement, fps, rng)
    centre, heading = _steer(control, side, fps, rng)
    body = _body(control, side, heading, fps, rng)  # (T, I, K, 3), body frame
    cos, sin = np.cos(heading)[..., None], np.sin(heading)[..., None]
    world = np.stack(
        [
            centre[..., :1] + BODY_LENGTH * (cos * body[..., 0] - sin * body[..., 1]),
            centre[..., 1:] + BODY_LENGTH * (sin * body[..., 0] + cos * body[..., 1]),
            BODY_LENGTH * body[..., 2],
        ],
        axis=1,
    )  # (T, 3, I, K)
    return world[:, :dimensions].transpose(0, 1, 3, 2).astype(np.float32)


def lost_points(shape: tuple[int, int, int], share: float, rng: np.random.Generator) -> np.ndarray:
    """Which points the tracker loses: bursts per key point, exposed points more often.

    A slowly varying Gaussian below its quantile: the share is exact on average, and the
    losses come in bursts because neighbouring frames are correlated.

    Args:
        shape: (T, K, I).
        share: Share of all points that is lost, 0 to 1.
        rng: Source of all randomness.

    Returns:
        Boolean (T, K, I), True where the point is lost.
    """
    weights = np.array([weight for _, weight in BODY.values()])
    # A weight above 1 must not ask for more than all frames of a point.
    shares = np.minimum(share * weights / weights.mean(), 1.0)
    shares += (share - shares.mean()) * (1 - shares) / max(1 - shares.mean(), 1e-9)
    decay = math.exp(-1 / BURST_FRAMES)
    noise = _smooth_noise(rng, shape, decay)
    return ndtr(noise) < shares[None, :, None]


def _controls(
    movement: np.ndarray, fps: float, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Dynamics per frame (T, I), varied per bout and blended between bouts; side -1 or 1."""
    table = np.array([astuple(dynamics) for dynamics in MOVEMENTS.values()])
    starts = np.ones(movement.shape, dtype=bool)
    starts[1:] = movement[1:] != movement[:-1]
    # A bout's number, counted on through the individuals so that each bout is unique.
    bout = np.cumsum(starts.T.reshape(-1)).reshape(movement.shape[::-1]).T - 1
    n_bouts = int(bout.max()) + 1
    vigour = rng.uniform(0.8, 1.25, (n_bouts, table.shape[1]))
    side = rng.choice([-1.0, 1.0], n_bouts)[bout]
    values = table[movement] * vigour[bout]  # (T, I, number of controls)
    width = max(1, round(BLEND_SECONDS * fps))
    values = uniform_filter1d(values, width, axis=0, mode="nearest")
    names = [field.name for field in fields(Dynamics)]
    control = {name: values[..., i] for i, name in enumerate(names)}
    return control, uniform_filter1d(side, width, axis=0, mode="nearest")


def _steer(
    control: dict[str, np.ndarray], side: np.ndarray, fps: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Path (T, I, 2) in pixels and heading (T, I) in radians.

    Walls and the other individual feed back on the heading, so this part runs frame by
    frame, in plain floats: numpy's cost per call would be several times the work itself.
    """
    n_frames, n_individuals = side.shape
    wander = _smooth_noise(rng, side.shape, math.exp(-1 / fps)) * 0.5
    turning = ((control["turn"] * side + wander) / fps).tolist()
    step = (control["speed"] * BODY_LENGTH / fps).tolist()
    social = control["social"].tolist()
    gain = 5.0 / fps
    width, height = ARENA
    x = rng.uniform(0.25 * width, 0.75 * width, n_individuals).tolist()
    y = rng.uniform(0.25 * height, 0.75 * height, n_individuals).tolist()
    angle = rng.uniform(-math.pi, math.pi, n_individuals).tolist()
    path = np.empty((n_frames, n_individuals, 3))
    for frame in range(n_frames):
        row = []
        for i in range(n_individuals):
            heading, length = angle[i] + turning[frame][i], step[frame][i]
            drive = social[frame][i]
            if drive and n_individuals > 1:
                # Individual i minds the next one in the list.
                j = (i + 1) % n_individuals
                dx, dy = x[j] - x[i], y[j] - y[i]
                bearing = math.atan2(dy, dx) if drive > 0 else math.atan2(-dy, -dx)
                heading += gain * abs(drive) * _wrap(bearing - heading)
                if drive > 0:
                    length *= min(1.0, max(0.0, math.hypot(dx, dy) / BODY_LENGTH - 1.0))
            near = min(x[i], width - x[i], y[i], height - y[i])
            if near < WALL_MARGIN:
                inwards = math.atan2(height / 2 - y[i], width / 2 - x[i])
                depth = 1.0 - near / WALL_MARGIN
                heading += 2 * gain * depth * min(1.0, length * fps) * _wrap(inwards - heading)
            angle[i] = heading
            x[i] = min(max(x[i] + length * math.cos(heading), 5.0), width - 5.0)
            y[i] = min(max(y[i] + length * math.sin(heading), 5.0), height - 5.0)
            row.append((x[i], y[i], heading))
        path[frame] = row
    return path[..., :2], path[..., 2]


def _body(
    control: dict[str, np.ndarray],
    side: np.ndarray,
    heading: np.ndarray,
    fps: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Key points in the body frame (T, I, K, 3): posture, limbs, tail and tracking noise."""
    n_frames, n_individuals = side.shape
    rest = np.array([position for position, _ in BODY.values()])
    size = rng.uniform(0.9, 1.1, (n_individuals, 1, 1))
    body = np.broadcast_to(rest * size, (n_frames, n_individuals, len(KEYPOINTS), 3)).copy()
    index = {name: i for i, name in enumerate(KEYPOINTS)}
    phase = rng.uniform(0, 2 * np.pi, (2, n_individuals))
    paw_phase = phase[0] + 2 * np.pi * np.cumsum(control["paw_hz"], axis=0) / fps
    head_phase = phase[1] + 2 * np.pi * np.cumsum(control["head_hz"], axis=0) / fps

    _move_paws(body, index, control, paw_phase)
    head = [index[name] for name in ("nose", "left_ear", "right_ear")]
    yaw = control["curl"] * side + control["head"] * np.sin(head_phase)
    _rotate(body, head, index["neck"], yaw, (0, 1))
    front = [*head, index["neck"], index["left_forepaw"], index["right_forepaw"]]
    _rotate(body, front, index["body_center"], 0.4 * control["curl"] * side, (0, 1))
    _rotate(body, front, index["body_center"], control["rear"], (0, 2))
    # The tail trails behind a turn: it points to where the heading was a moment ago.
    lag = np.maximum(np.arange(n_frames) - round(0.3 * fps), 0)
    swing = np.clip(heading[lag] - heading, -1.2, 1.2)
    sway = 0.12 * _smooth_noise(rng, side.shape, math.exp(-2 / fps))
    tail = [index["tail_mid"], index["tail_tip"]]
    _rotate(body, tail, index["tail_base"], 0.6 * swing + sway, (0, 1))
    _rotate(body, tail[1:], index["tail_mid"], 0.6 * swing + sway, (0, 1))
    return body + JITTER * rng.standard_normal(body.shape)


def _move_paws(
    body: np.ndarray, index: dict[str, int], control: dict[str, np.ndarray], phase: np.ndarray
) -> None:
    """Gait and paw movements in place: diagonal pairs in phase, tucked paws near the nose."""
    moving = np.clip(control["speed"], 0, 1)
    nose = body[:, :, index["nose"]].copy()
    for name, offset, hind in (
        ("left_forepaw", 0.0, False),
        ("right_hindpaw", 0.0, True),
        ("right_forepaw", np.pi, False),
        ("left_hindpaw", np.pi, True),
    ):
        paw = body[:, :, index[name]]
        # Hind paws step with the gait only; digging and grooming are done by the forepaws.
        stroke = control["paw"] * (moving if hind else 1.0)
        if not hind:
            tuck = control["tuck"][..., None]
            target = nose + MOUTH
            # Tucked paws keep a little of their distance to the sides.
            paw += tuck * (target - paw) * [1.0, 0.7, 1.0]
        paw[..., 0] += stroke * np.sin(phase + offset)
        paw[..., 2] += 0.5 * stroke * np.clip(np.cos(phase + offset), 0, None)


def _rotate(
    body: np.ndarray, points: list[int], pivot: int, angle: np.ndarray, axes: tuple[int, int]
) -> None:
    """Turn some key points about another one, in place. ``angle`` (T, I), radians."""
    a, b = axes
    cos, sin = np.cos(angle)[..., None], np.sin(angle)[..., None]
    origin = body[:, :, pivot].copy()
    u = body[:, :, points, a] - origin[..., None, a]
    v = body[:, :, points, b] - origin[..., None, b]
    body[:, :, points, a] = origin[..., None, a] + cos * u - sin * v
    body[:, :, points, b] = origin[..., None, b] + sin * u + cos * v


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], decay: float) -> np.ndarray:
    """First-order autoregressive Gaussian noise along the first axis, of variance 1."""
    drive = rng.standard_normal(shape)
    drive[1:] *= math.sqrt(1 - decay**2)
    return np.asarray(lfilter([1.0], [1.0, -decay], drive, axis=0))


def _wrap(angle: float) -> float:
    """The angle in [-pi, pi)."""
    return (angle + math.pi) % (2 * math.pi) - math.pi
