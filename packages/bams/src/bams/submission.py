"""MABe 2022 submissions of mice and flies from an embedding file.

The authors' recipe for mouse triplets: of the embeddings of the animals of a clip, the mean and the
range (largest less smallest) over animals, then a z-score over the clips, apart for every frame
number and feature, training and test clips together. 2 x (32 + 32) features make the 128 that the
benchmark allows for mice. The original has no job for flies; the same recipe on the published fly
network gives 2 x (64 + 64), the 256 allowed there, and a fly that is never seen in a clip does not
count in its mean and range.

``compat="upstream"``: an entry that is equal in all clips becomes NaN (0 / 0); else it becomes 0.

Letters: S clips, L frames of a clip, E features of a level, D features of a submission.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from bams.data.config import Compat
from behaviorzoo.embeddings import Embeddings, open_embeddings
from behaviorzoo.errors import UserError, suggest
from behaviorzoo.files import atomic_path
from behaviorzoo.mabe import load_dictionary, save_dictionary

log = logging.getLogger("bams")

FrameMap = dict[str, tuple[int, int]]

MAP_FILES = {
    "mice": "mouse_triplet_frame_number_map.npy",
    "flies": "fly_group_frame_number_map.npy",
}
# Deviations this much smaller than the feature itself are rounding of the network.
_ROUNDING = 1e-6


def write_submission(
    embeddings: str | Path,
    out: str | Path,
    test: Sequence[str],
    *,
    frame_map: str | Path | None = None,
    compat: Compat = "paper",
) -> Path:
    """Write the submission of the test clips.

    Two passes over the file; memory is a few clips.

    Args:
        embeddings: File of :func:`bams.embed.embed` with ``aggregate="mean_range"``, of the
            training and the test clips.
        out: Target ``.npy``: ``{"frame_number_map", "embeddings"}``, embeddings float32
            (frames of all test clips, D).
        test: Names of the test clips.
        frame_map: The benchmark's dictionary clip -> (start, stop), which says where each clip
            goes; default: in the order of ``test``.
        compat: See the module.

    Returns:
        ``out``.

    Raises:
        UserError: Clips of different lengths, embeddings that were joined in another way, a test
            clip that is not in the file or not in the map, or a map that leaves gaps.
    """
    out = Path(out)
    with open_embeddings(embeddings) as source:
        length = _common_length(source, test)
        places = contiguous_map(test, length) if frame_map is None else read_map(frame_map)
        _check_places(places, test, length, str(frame_map))
        columns = _mean_then_range(source)
        if len(test) == len(source.recordings):
            log.warning(
                "%s has no training clips: the z-score is over %d test clips alone, the authors' "
                "is over training and test clips",
                source.path.name,
                len(test),
            )
        mean, deviation = _moments(source, columns, compat)
        n_undefined = int(np.isnan(mean).sum())
        if n_undefined:
            log.warning(
                "%d of %d entries (frame, feature) are NaN in some clip and so in the submission, "
                "which the benchmark refuses; the cause is an input that is 0 throughout "
                "(compat=upstream)",
                n_undefined,
                mean.size,
            )
        n_constant = int((deviation == 0).sum())
        if n_constant:
            log.warning(
                "%d of %d entries (frame, feature) are equal in all %d clips and become %s",
                n_constant,
                deviation.size,
                len(source.recordings),
                "NaN (compat=upstream)" if compat == "upstream" else "0",
            )
        with atomic_path(out) as temporary:
            raw = temporary.with_name("rows")
            rows = np.memmap(raw, np.float32, "w+", shape=(len(test) * length, len(columns)))
            for name in test:
                start, stop = places[name]
                values = _clip(source, name, columns)
                rows[start:stop] = _scaled(values, mean, deviation, compat)
            content = {"frame_number_map": {n: places[n] for n in places}, "embeddings": rows}
            save_dictionary(temporary, content)
    return out


def read_map(path: str | Path) -> FrameMap:
    """Read a frame map, clip -> (start, stop).

    Raises:
        UserError: No such file, or not such a dictionary.
    """
    places: FrameMap = {}
    for name, entry in load_dictionary(path).items():
        try:
            start, stop = entry
            places[str(name)] = (int(start), int(stop))
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{path}: clip {name!r} has {entry!r}, expected (start, stop)"
            ) from error
    return places


def find_map(paths: Sequence[str], dataset: str) -> Path | None:
    """The benchmark's frame map beside the data, if it is there.

    Args:
        paths: Folder or files of the data.
        dataset: ``mice`` or ``flies``; other data have none.
    """
    if dataset not in MAP_FILES:
        return None
    places = [Path(path).expanduser() for path in paths]
    found = [(p if p.is_dir() else p.parent) / MAP_FILES[dataset] for p in places]
    return next((path for path in found if path.is_file()), None)


def contiguous_map(names: Sequence[str], length: int) -> FrameMap:
    """One clip of ``length`` frames after the other."""
    return {name: (k * length, (k + 1) * length) for k, name in enumerate(names)}


def _common_length(source: Embeddings, test: Sequence[str]) -> int:
    if not test:
        raise UserError(f"{source.path}: no test clip to submit; embed the test clips as well")
    absent = [name for name in test if name not in source.recordings]
    if absent:
        hint = suggest(absent[0], source.recordings)
        raise UserError(f"{source.path}: no test clip {absent[0]!r}; {hint}")
    lengths = {name: source.span(name)[1] for name in source.recordings}
    length = lengths[test[0]]
    for name, n in lengths.items():
        if n != length:
            raise UserError(
                f"{source.path}: clip {name!r} has {n} frames, {test[0]!r} has {length}; a "
                "submission normalises frame by frame over clips of equal length"
            )
    return length


def _check_places(
    places: Mapping[str, tuple[int, int]], test: Sequence[str], length: int, where: str
) -> None:
    for name in test:
        if name not in places:
            raise UserError(f"{where}: no clip {name!r}; {suggest(name, places)}")
        start, stop = places[name]
        if stop - start != length:
            raise UserError(
                f"{where}: clip {name!r} has the frames [{start}, {stop}), the data {length} frames"
            )
    if len(places) != len(test):
        other = next(name for name in places if name not in set(test))
        raise UserError(f"{where}: clip {other!r} is not among the {len(test)} test clips")
    starts = sorted(start for start, _ in places.values())
    if starts != [k * length for k in range(len(test))]:
        raise UserError(f"{where}: the clips do not follow each other without gap from frame 0")


def _mean_then_range(source: Embeddings) -> np.ndarray:
    """Order of the columns: the means of all levels, then their ranges."""
    sizes = source.attrs.get("embedding_sizes", {})
    order: tuple[list[int], list[int]] = ([], [])
    begin = 0
    for level in source.levels:
        size, width = sizes.get(level, 0), source.features(level)
        if source.attrs.get("aggregate") != "mean_range" or width != 2 * size:
            raise UserError(
                f"{source.path}: {level} does not hold mean and range over several animals; embed "
                "with aggregate=mean_range"
            )
        order[0].extend(range(begin, begin + size))
        order[1].extend(range(begin + size, begin + width))
        begin += width
    return np.array([*order[0], *order[1]])


def _clip(source: Embeddings, name: str, columns: np.ndarray) -> np.ndarray:
    """Features of a clip (L, D)."""
    return np.concatenate([source.read(level, name) for level in source.levels], axis=1)[:, columns]


def _moments(
    source: Embeddings, columns: np.ndarray, compat: Compat
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and population deviation (L, D) over all clips, for each frame number apart."""
    clips: Iterator[np.ndarray] = (_clip(source, name, columns) for name in source.recordings)
    first = next(clips).astype(np.float64)
    # Sums of what differs from the first clip: nothing cancels where all clips are alike.
    total, squares, count = np.zeros_like(first), np.zeros_like(first), 1
    for clip in clips:
        difference = clip - first
        total += difference
        squares += np.square(difference)
        count += 1
    shift = total / count
    mean = first + shift
    deviation = np.sqrt(np.maximum(squares / count - np.square(shift), 0))
    if compat != "upstream":
        size = np.sqrt((np.square(mean) + np.square(deviation)).mean(axis=0))
        deviation[deviation <= _ROUNDING * size] = 0
    return mean, deviation


def _scaled(
    values: np.ndarray, mean: np.ndarray, deviation: np.ndarray, compat: Compat
) -> np.ndarray:
    centred = values - mean
    if compat == "upstream":
        with np.errstate(divide="ignore", invalid="ignore"):
            return centred / deviation
    return np.divide(centred, deviation, out=np.zeros_like(centred), where=deviation != 0)
