"""Which recordings train and which test: never frames of one recording on both sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from behaviorzoo.errors import UserError, suggest

INNER_FOLDS = 5


@dataclass(frozen=True)
class Split:
    """Cells of recordings; every cell is used as a whole.

    Attributes:
        cells: Recording names of each cell.
        rounds: For each round of training: cells that train, cells that test. The cells that
            train are also the folds among which the penalty is chosen.
        description: The split in words.
    """

    cells: tuple[tuple[str, ...], ...]
    rounds: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    description: str

    @property
    def test_recordings(self) -> list[str]:
        """Names of all recordings that are tested, in the order of their cells."""
        return [name for _, test in self.rounds for cell in test for name in self.cells[cell]]


def make_split(
    frames: Mapping[str, int], *, test: Sequence[str] | None = None, folds: int | None = None
) -> Split:
    """Split recordings by name, or into folds of about equal numbers of frames.

    Args:
        frames: Recording -> number of frames.
        test: Recordings that test; all others train.
        folds: Number of folds when ``test`` is not given; each tests once, trained on the
            others. Default 5, or one per recording if there are fewer.

    Returns:
        The split. It depends on nothing but the arguments.

    Raises:
        UserError: Fewer than two recordings, fewer recordings than folds, an unknown test
            recording, or nothing left to train on.
    """
    if len(frames) < 2:
        raise UserError(
            f"{len(frames)} recording with embeddings and labels: at least 2 are needed, one to "
            "train and one to test"
        )
    if test is not None:
        return _named_split(frames, test)
    wanted = min(INNER_FOLDS, len(frames)) if folds is None else folds
    if not 2 <= wanted <= len(frames):
        raise UserError(f"{wanted} folds of {len(frames)} recordings: choose 2 to {len(frames)}")
    cells = _even_cells(frames, wanted)
    everything = range(wanted)
    rounds = tuple((tuple(c for c in everything if c != k), (k,)) for k in everything)
    return Split(cells, rounds, f"{wanted} folds of recordings, each tested once")


def _named_split(frames: Mapping[str, int], test: Sequence[str]) -> Split:
    for name in test:
        if name not in frames:
            raise UserError(
                f"test recording {name!r} has no embeddings and labels; {suggest(name, frames)}"
            )
    tested = set(test)
    train = {name: n for name, n in frames.items() if name not in tested}
    if not tested or not train:
        what = "train" if tested else "test"
        raise UserError(f"no recording is left to {what}; change the test recordings")
    inner = _even_cells(train, min(INNER_FOLDS, len(train)))
    cells = (*inner, tuple(name for name in frames if name in tested))
    rounds = ((tuple(range(len(inner))), (len(inner),)),)
    return Split(cells, rounds, f"{len(train)} recordings train, {len(tested)} test")


def _even_cells(frames: Mapping[str, int], n_cells: int) -> tuple[tuple[str, ...], ...]:
    """Longest recording first, always into the cell with the fewest frames."""
    cells: list[list[str]] = [[] for _ in range(n_cells)]
    filled = [0] * n_cells
    for name in sorted(frames, key=lambda name: (-frames[name], name)):
        # An empty cell comes first even if recordings have no frames.
        cell = min(range(n_cells), key=lambda c: (bool(cells[c]), filled[c], c))
        cells[cell].append(name)
        filled[cell] += frames[name]
    order = {name: position for position, name in enumerate(frames)}
    return tuple(tuple(sorted(cell, key=order.__getitem__)) for cell in cells)
