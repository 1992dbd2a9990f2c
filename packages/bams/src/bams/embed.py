"""From a checkpoint and whole recordings to the embedding file, a vector per frame and timescale.

Letters: S sequences, A animals of a recording, L frames, N features of a frame, E features of an
embedding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from bams.checkpoints import build_model
from bams.data import FeatureSequence, Sequences
from bams.data.config import Compat
from bams.encoding import AGGREGATES, Aggregate, FrameEncoder, Precision, aggregate_animals
from bams.model.bams import BAMS
from bams.submission import write_submission
from behaviorzoo.devices import resolve_device
from behaviorzoo.embeddings import EmbeddingWriter
from behaviorzoo.errors import UserError, suggest


def embed(
    checkpoint: str | Path,
    sequences: Sequences,
    out: str | Path,
    *,
    levels: Sequence[str] | None = None,
    aggregate: Aggregate = "mean_range",
    submission: str | Path | None = None,
    frame_map: str | Path | None = None,
    compat: Compat = "paper",
    device: str = "auto",
    frames: int | None = None,
    precision: Precision = "32",
    progress: bool = True,
) -> Path:
    """Write the embeddings of whole recordings.

    Only the encoders run. Recordings pass one at a time, short ones of equal length together, long
    ones in pieces: memory is bounded by one recording and its output.

    Args:
        checkpoint: Run folder, checkpoint folder, or the authors' ``.pt`` file.
        sequences: From ``bams.data.open_sequences``.
        out: Embedding file (.nc) with one level per encoder, such as ``short_term`` and
            ``long_term``. It appears only when it is complete.
        levels: Which encoders; all by default.
        aggregate: How the animals of a recording are joined where each is seen by itself and there
            are several: ``mean_range`` (mean over animals, and largest less smallest), ``mean``,
            or ``side_by_side``. An animal that is never seen in a recording does not count.
        submission: Also write the MABe submission of the test clips to this ``.npy`` file, see
            :mod:`bams.submission`; for mice and flies.
        frame_map: The benchmark's frame map for the submission.
        compat: ``upstream``: absent animals count like all others, and values that are not finite
            are written as they are.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        frames: Frames at a time; chosen for the device by default. No effect on the result beyond
            rounding.
        precision: ``bf16``: autocast, on GPUs only.
        progress: Show a bar with frames/s and the remaining time.

    Returns:
        ``out``.

    Raises:
        UserError: Wrong checkpoint, level or device; no recording; features that are not those of
            the network; clips that cannot make a submission.
    """
    out = Path(out)
    if aggregate not in AGGREGATES:
        raise UserError(f"aggregate={aggregate}: {suggest(aggregate, AGGREGATES)}")
    if submission is not None and aggregate != "mean_range":
        raise UserError("a submission holds mean and range over animals: aggregate=mean_range")
    if not len(sequences):
        raise UserError("no recording to embed; check data.path")
    model = build_model(checkpoint).to(resolve_device(device))
    only_levels(model, levels)
    encoder = FrameEncoder(model, frames, precision)
    sizes = {name: model.config.encoders[name].channels[-1] for name in model.encoders}
    how, factor = _joining(aggregate, len(sequences.individuals))
    attrs = {
        "method": "bams",
        "checkpoint": Path(checkpoint).name,
        "aggregate": how,
        "individuals": list(sequences.individuals),
        "embedding_sizes": sizes,
        "receptive_fields": {name: model.receptive_fields[name] for name in sizes},
        "compat": compat,
        "precision": precision,
    }
    widths = {level: size * factor for level, size in sizes.items()}
    upstream = compat == "upstream"
    with EmbeddingWriter(out, widths, attrs, allow_missing=upstream) as writer:
        for row in embedded(encoder, _with_bar(sequences, progress), how, absent=upstream):
            writer.write(*row)
    if submission is not None:
        test = [
            n for n, train in zip(sequences.names, sequences.is_train, strict=True) if not train
        ]
        write_submission(out, submission, test, frame_map=frame_map, compat=compat)
    return out


def embedded(
    encoder: FrameEncoder,
    sequences: Iterable[FeatureSequence],
    how: Aggregate,
    *,
    absent: bool = False,
) -> Iterator[tuple[str, int, dict[str, np.ndarray]]]:
    """Embed recordings, consecutive short ones of equal length together.

    Args:
        encoder: What encodes them.
        sequences: The recordings.
        how: How the animals of a recording are joined.
        absent: Animals that are never seen count too.

    Yields:
        Name, first frame, and level -> (L, features) float32 of each recording, in order.

    Raises:
        UserError: A recording without frames, or with other features than the network's.
    """
    for group in _groups(sequences, encoder):
        inputs = [sequence.inputs for sequence in group]
        rows = inputs[0] if len(group) == 1 else np.concatenate(inputs)
        edges = np.cumsum([0, *map(len, inputs)]).tolist()
        animals = [slice(*pair) for pair in pairwise(edges)]
        present = [None if absent else _present(sequence) for sequence in group]
        found: list[dict[str, np.ndarray]] = [{} for _ in group]
        for piece in encoder.pieces(rows):
            for k, values in enumerate(found):
                for level, part in piece.values.items():
                    joined = aggregate_animals(part[animals[k]], how, present[k]).cpu().numpy()
                    # The whole output once, filled piece by piece: it may be the largest array.
                    whole = values.setdefault(
                        level, np.empty((rows.shape[1], joined.shape[1]), np.float32)
                    )
                    whole[piece.start : piece.stop] = joined
        for sequence, values in zip(group, found, strict=True):
            yield sequence.name, sequence.first_frame, values


def only_levels(model: BAMS, levels: Sequence[str] | None) -> None:
    """Drop the encoders that are not wanted, so that they are not computed.

    Raises:
        UserError: No such encoder.
    """
    known = list(model.encoders)
    if levels is None:
        return
    for level in levels:
        if level not in known:
            raise UserError(f"levels={level}: {suggest(level, known)}")
    if not levels:
        raise UserError(f"levels is empty; choose among {', '.join(known)}")
    for name in known:
        if name not in levels:
            del model.encoders[name]


def _joining(aggregate: Aggregate, n_animals: int) -> tuple[Aggregate, int]:
    """How animals are joined, and how many times wider an embedding becomes."""
    if n_animals == 1:  # one animal has no range
        return "mean", 1
    return aggregate, {"mean_range": 2, "mean": 1, "side_by_side": n_animals}[aggregate]


def _present(sequence: FeatureSequence) -> np.ndarray:
    """Which animals are seen: not those that are ignored in all frames and never change, (A,)."""
    inputs = sequence.inputs
    still = (inputs == inputs[:, :1]).all(axis=(1, 2))
    return np.asarray(~(still & sequence.ignored.all(axis=1)))


def _groups(
    sequences: Iterable[FeatureSequence], encoder: FrameEncoder
) -> Iterator[list[FeatureSequence]]:
    """Consecutive recordings of equal length whose frames fit into one piece; else one alone."""
    group: list[FeatureSequence] = []
    rows = 0
    for sequence in sequences:
        _check(sequence, encoder.model)
        n_rows, n_frames, _ = sequence.inputs.shape
        same = bool(group) and group[0].inputs.shape[1] == n_frames
        if group and not (same and (rows + n_rows) * n_frames <= encoder.frames):
            yield group
            group, rows = [], 0
        group.append(sequence)
        rows += n_rows
    if group:
        yield group


def _check(sequence: FeatureSequence, model: BAMS) -> None:
    _, n_frames, n_inputs = sequence.inputs.shape
    if not n_frames:
        raise UserError(f"{sequence.name}: the recording has 0 frames; leave it out")
    if n_inputs != model.config.n_inputs:
        raise UserError(
            f"{sequence.name}: {n_inputs} features per frame, the network takes "
            f"{model.config.n_inputs}; embed with the key points and features of training"
        )


def _with_bar(sequences: Sequences, progress: bool) -> Iterator[FeatureSequence]:
    total = sum(sequences.lengths)
    with tqdm(total=total, unit="frame", unit_scale=True, disable=not progress) as bar:
        for sequence in sequences:
            bar.set_description(f"embed {sequence.name}")
            yield sequence
            bar.update(sequence.inputs.shape[1])
