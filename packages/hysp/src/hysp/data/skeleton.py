"""What the joints of a data set are called, how they are joined, and which are left and right."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from behaviorzoo.errors import UserError, suggest
from hysp.graph import LAYOUTS, hop_distance

# fmt: off
KINECT_2_JOINTS = (
    "spine_base", "spine_mid", "neck", "head",
    "left_shoulder", "left_elbow", "left_wrist", "left_hand",
    "right_shoulder", "right_elbow", "right_wrist", "right_hand",
    "left_hip", "left_knee", "left_ankle", "left_foot",
    "right_hip", "right_knee", "right_ankle", "right_foot",
    "spine_shoulder", "left_hand_tip", "left_thumb", "right_hand_tip", "right_thumb",
)
KINECT_1_JOINTS = (
    "hip_center", "spine", "shoulder_center", "head",
    "left_shoulder", "left_elbow", "left_wrist", "left_hand",
    "right_shoulder", "right_elbow", "right_wrist", "right_hand",
    "left_hip", "left_knee", "left_ankle", "left_foot",
    "right_hip", "right_knee", "right_ankle", "right_foot",
)
OPENPOSE_JOINTS = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist",
    "left_shoulder", "left_elbow", "left_wrist", "right_hip", "right_knee", "right_ankle",
    "left_hip", "left_knee", "left_ankle", "right_eye", "left_eye", "right_ear", "left_ear",
)
# fmt: on
NAMES_OF_LAYOUTS = {
    "ntu-rgb+d": KINECT_2_JOINTS,
    "openpose": OPENPOSE_JOINTS,
    "nw-ucla": KINECT_1_JOINTS,
}
_SIDES = (("left", "right"), ("l", "r"))


@dataclass(frozen=True)
class Skeleton:
    """The joints of a data set.

    Attributes:
        joints: V names.
        edges: Pairs of joints, undirected.
        centre: Joint in the middle of the body.
        mirror: (V,) joint that takes the place of each when left and right are exchanged.
        layout: Name of the graph if it is one of :data:`hysp.graph.LAYOUTS`, else None.
    """

    joints: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    centre: int
    mirror: tuple[int, ...]
    layout: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for json."""
        return {
            "joints": list(self.joints),
            "edges": [list(edge) for edge in self.edges],
            "centre": self.centre,
            "mirror": list(self.mirror),
            "layout": self.layout,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Skeleton:
        """Back from :meth:`to_dict`."""
        return cls(
            tuple(map(str, values["joints"])),
            tuple((int(a), int(b)) for a, b in values["edges"]),
            int(values["centre"]),
            tuple(map(int, values["mirror"])),
            values.get("layout"),
        )


def named_skeleton(layout: str) -> Skeleton:
    """The skeleton of a published layout, one of :data:`hysp.graph.LAYOUTS`."""
    joints = NAMES_OF_LAYOUTS[layout]
    _, centre, edges = LAYOUTS[layout]
    return Skeleton(joints, edges, centre, mirror_order(joints), layout)


def mirror_order(joints: Sequence[str], pairs: Sequence[Sequence[str]] = ()) -> tuple[int, ...]:
    """Joint that takes the place of each in a mirror image.

    Args:
        joints: V names.
        pairs: Names that change places; none = found by their names (``left_ear``/``right_ear``,
            ``Hand_L``/``Hand_R``, ``LPaw``/``RPaw``).

    Raises:
        UserError: A name that is no joint, or one in two pairs.
    """
    found = [tuple(pair) for pair in pairs] or _pairs_by_name(joints)
    order = list(range(len(joints)))
    for pair in found:
        for name in pair:
            if name not in joints:
                raise UserError(f"mirror_pairs: no joint {name!r}; {suggest(name, joints)}")
        a, b = (joints.index(name) for name in pair)
        if (order[a], order[b]) != (a, b):
            raise UserError(f"mirror_pairs: {pair[0]!r} or {pair[1]!r} is in more than one pair")
        order[a], order[b] = b, a
    return tuple(order)


def middle_joint(n_joints: int, edges: Sequence[tuple[int, int]]) -> int:
    """The joint with the fewest bones to all others; the first of several."""
    distance = hop_distance(n_joints, list(edges), n_joints)
    return int(np.where(np.isinf(distance), 10 * n_joints, distance).sum(axis=0).argmin())


def _pairs_by_name(joints: Sequence[str]) -> list[tuple[str, ...]]:
    """Pairs of names that differ in their word for the side only."""
    sides: dict[tuple[str, ...], dict[int, str]] = {}
    for joint in joints:
        words = _words(joint)
        for at, word in enumerate(words):
            for pair in _SIDES:
                if word in pair:
                    key = (*words[:at], "/".join(pair), *words[at + 1 :])
                    sides.setdefault(key, {}).setdefault(pair.index(word), joint)
    return [(both[0], both[1]) for both in sides.values() if len(both) == 2]


def _words(joint: str) -> list[str]:
    """Lower-case words of a name: ``LeftHand_2`` -> left, hand, 2."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", joint)]
