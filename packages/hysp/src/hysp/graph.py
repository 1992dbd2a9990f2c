"""The graph of joints and its adjacency matrices (spec of ST-GCN, Yan et al., AAAI 2018).

Letters: V joints, K matrices of the partition.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from behaviorzoo.errors import UserError, suggest

Edge = tuple[int, int]

STRATEGIES = ("uniform", "distance", "spatial")
CUSTOM = "custom"
"""Name of the layout of a graph that is given by its edges."""


def _from_one(text: str) -> tuple[Edge, ...]:
    """Edges as the data sets publish them: ``"1-2 2-21"``, joints counted from one."""
    pairs = (edge.split("-") for edge in text.split())
    return tuple((int(a) - 1, int(b) - 1) for a, b in pairs)


_KINECT_2 = """
1-2 2-21 3-21 4-3 5-21 6-5 7-6 8-7 9-21 10-9 11-10 12-11 13-1 14-13 15-14 16-15 17-1 18-17 19-18
20-19 22-23 23-8 24-25 25-12
"""
_KINECT_1 = """
1-2 2-3 4-3 5-3 6-5 7-6 8-7 9-3 10-9 11-10 12-11 13-1 14-13 15-14 16-15 17-1 18-17 19-18 20-19
"""
_OPENPOSE = """
5-4 4-3 8-7 7-6 14-13 13-12 11-10 10-9 12-6 9-3 6-2 3-2 1-2 16-1 15-1 18-16 17-15
"""

LAYOUTS: dict[str, tuple[int, int, tuple[Edge, ...]]] = {
    "ntu-rgb+d": (25, 20, _from_one(_KINECT_2)),
    "openpose": (18, 1, _from_one(_OPENPOSE)),
    "nw-ucla": (20, 2, _from_one(_KINECT_1)),
}
"""Name -> (joints, centre, edges): Kinect v2 (NTU RGB+D, PKU-MMD), OpenPose 18, Kinect v1."""


class Graph:
    """Joints, the bones between them, and the matrices that the graph convolution uses.

    Args:
        layout: One of :data:`LAYOUTS`; see :meth:`from_edges` for any other graph.
        strategy: How neighbours are parted: ``uniform`` not at all, ``distance`` by hops,
            ``spatial`` by hops and by who is nearer to the centre.
        max_hop: Neighbours are joints at most so many bones away.
        dilation: Of these, only every so many hops.

    Attributes:
        n_joints: V.
        centre: Joint from which ``spatial`` measures.
        edges: Pairs of joints, undirected, without self links.
        hop_distance: (V, V) float64, bones between two joints; infinite beyond ``max_hop``.
        A: (K, V, V) float64; K is 1, the number of hops, or (spatial) two per hop less one.

    Raises:
        UserError: Unknown layout or strategy, or numbers out of range.
    """

    def __init__(
        self,
        layout: str = "ntu-rgb+d",
        strategy: str = "spatial",
        max_hop: int = 1,
        dilation: int = 1,
    ) -> None:
        if layout not in LAYOUTS:
            raise UserError(f"graph: unknown layout {layout!r}; {suggest(layout, LAYOUTS)}")
        self._build(*LAYOUTS[layout], strategy, max_hop, dilation)

    @classmethod
    def from_edges(
        cls,
        n_joints: int,
        edges: Sequence[Sequence[int]],
        centre: int,
        strategy: str = "spatial",
        max_hop: int = 1,
        dilation: int = 1,
    ) -> Graph:
        """A graph of any joints.

        Args:
            n_joints: V.
            edges: Pairs of joints, counted from 0.
            centre: A joint in the middle of the body.
            strategy: See :class:`Graph`.
            max_hop: See :class:`Graph`.
            dilation: See :class:`Graph`.

        Raises:
            UserError: An edge or the centre names a joint that does not exist, or the options
                are not those of :class:`Graph`.
        """
        graph = cls.__new__(cls)
        pairs = tuple((int(a), int(b)) for a, b in edges)
        graph._build(n_joints, centre, pairs, strategy, max_hop, dilation)
        return graph

    def _build(
        self,
        n_joints: int,
        centre: int,
        edges: tuple[Edge, ...],
        strategy: str,
        max_hop: int,
        dilation: int,
    ) -> None:
        if strategy not in STRATEGIES:
            raise UserError(
                f"graph: unknown strategy {strategy!r}; {suggest(strategy, STRATEGIES)}"
            )
        if n_joints < 1 or max_hop < 0 or dilation < 1:
            raise UserError(
                f"graph: n_joints = {n_joints} and dilation = {dilation} must be at least 1, "
                f"max_hop = {max_hop} at least 0"
            )
        outside = sorted({j for j in (*sum(edges, ()), centre) if not 0 <= j < n_joints})
        if outside:
            raise UserError(
                f"graph: joints {outside} in the edges or as the centre, "
                f"but {n_joints} joints are counted from 0 to {n_joints - 1}"
            )
        self.n_joints, self.centre, self.edges = n_joints, centre, edges
        self.strategy, self.max_hop, self.dilation = strategy, max_hop, dilation
        self.hop_distance = hop_distance(n_joints, edges, max_hop)

    @cached_property
    def A(self) -> np.ndarray:  # noqa: N802  (the paper's letter)
        """(K, V, V) float64, ``A[k, v, w]`` = weight of joint v in what joint w receives."""
        hops = range(0, self.max_hop + 1, self.dilation)
        weight = _columns_normalised(np.isin(self.hop_distance, hops))
        if self.strategy == "uniform":
            return weight[None]
        by_hop = [np.where(self.hop_distance == hop, weight, 0) for hop in hops]
        if self.strategy == "distance":
            return np.stack(by_hop)
        # A joint is as near as itself: its own link (hop 0) has one part only.
        return np.stack([by_hop[0], *(part for m in by_hop[1:] for part in self._by_side(m))])

    def _by_side(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Split a matrix into what comes from joints as near or farther, and from nearer ones.

        Distances to the centre stop at ``max_hop`` too: with one hop nearly all joints are
        infinitely far, equally far from the centre. The published weights were trained so.
        """
        to_centre = self.hop_distance[:, self.centre]
        nearer = to_centre[:, None] < to_centre[None, :]
        return np.where(nearer, 0, matrix), np.where(nearer, matrix, 0)

    @cached_property
    def parents(self) -> np.ndarray:
        """(V,) int64, the next joint on the way to the centre; the centre is its own parent.

        Joints that no way joins to the centre hang on the lowest-numbered joint among them.
        """
        parents = np.full(self.n_joints, -1, dtype=np.int64)
        neighbours: list[list[int]] = [[] for _ in range(self.n_joints)]
        for a, b in self.edges:
            neighbours[a].append(b)
            neighbours[b].append(a)
        for root in (self.centre, *range(self.n_joints)):
            if parents[root] >= 0:
                continue
            parents[root] = root
            queue = [root]
            for joint in queue:
                for other in sorted(neighbours[joint]):
                    if parents[other] < 0:
                        parents[other] = joint
                        queue.append(other)
        return parents


def hop_distance(n_joints: int, edges: Sequence[Edge], max_hop: int) -> np.ndarray:
    """Bones on the shortest way between two joints.

    Args:
        n_joints: V.
        edges: Pairs of joints.
        max_hop: Longer ways count as none.

    Returns:
        (V, V) float64; 0 on the diagonal, infinite beyond ``max_hop``.
    """
    linked = np.eye(n_joints, dtype=bool)
    for a, b in edges:
        linked[a, b] = linked[b, a] = True
    distance = np.full((n_joints, n_joints), np.inf)
    reached = np.eye(n_joints, dtype=bool)
    for hop in range(max_hop + 1):
        distance[reached & np.isinf(distance)] = hop
        reached = reached @ linked
    return distance


def _columns_normalised(linked: np.ndarray) -> np.ndarray:
    """Columns that sum to one; a column without any link stays zero."""
    total = linked.sum(axis=0)
    return linked / np.where(total > 0, total, 1)
