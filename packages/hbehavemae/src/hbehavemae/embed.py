"""From a checkpoint and whole recordings to the embedding file, one vector per frame and level."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tqdm.auto import tqdm

from behaviorzoo.devices import resolve_device
from behaviorzoo.embeddings import (
    Embeddings,
    EmbeddingWriter,
    export_submission,
    open_embeddings,
)
from behaviorzoo.errors import UserError
from hbehavemae import pca as principal
from hbehavemae.checkpoints import build_encoder, build_mae
from hbehavemae.extraction import COMBINED, Compat, Extractor, Mode, Precision


class Recordings(Protocol):
    """What :func:`embed` needs of ``hbehavemae.data.Sequences``.

    Items have ``name``, ``first_frame`` and ``features`` float32 (n, I, F).
    """

    def __len__(self) -> int:
        """Number of recordings."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """Recordings, one at a time."""
        ...


def embed(
    checkpoint: str | Path,
    sequences: Recordings,
    out: str | Path,
    *,
    mode: Mode = "averaging",
    stride: int = 1,
    batch_size: int | None = None,
    embedsum: bool = False,
    fusion: bool = False,
    combine: bool = False,
    submissions: str | Path | None = None,
    pca: int | None = None,
    compat: Compat = "none",
    device: str = "auto",
    levels: Sequence[int] | None = None,
    workers: int | None = None,
    precision: Precision = "32",
    progress: bool = True,
) -> Path:
    """Write the embeddings of whole recordings.

    Recordings pass one at a time: memory is bounded by one recording's output plus a batch.

    Args:
        checkpoint: Run folder, checkpoint folder, or the authors' ``.pth`` file.
        sequences: From ``hbehavemae.data.open_sequences``.
        out: Embedding file (.nc) with one level per level of the model, ``level_1`` the finest,
            and ``combined`` on request. It appears only when it is complete.
        mode: ``averaging``: mean over all windows that contain a frame. ``fast``: the token at
            the middle of one window per frame pair.
        stride: Averaging: frames between windows. 1 = exact; s costs s times less and averages
            over s times fewer windows. It is nearest to the exact result where it has no factor
            in common with the frames of a mask unit, such as 7.
        batch_size: Windows at a time; chosen for the device by default. No effect on the result
            beyond rounding.
        embedsum: Average the tokens of one time over individuals and key points; else they lie
            side by side.
        fusion: Add ``combined`` = the levels fused by the trained convolution heads.
        combine: Add ``combined`` = all levels side by side (unless ``fusion``).
        submissions: Folder for MABe files ``test_submission_{0..}.npy`` (and ``_combined``).
        pca: Reduce wider levels to this many principal components of these very recordings. The
            full embeddings pass through a temporary file beside ``out``.
        compat: ``upstream``: fusion ends with a fresh LayerNorm instead of the trained one, and
            ``pca`` follows the original's choice of solver.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        levels: Levels to compute, 1 is the finest; all by default.
        workers: CPU threads that encode batches side by side; all of torch's by default.
        precision: ``bf16``: autocast, for accelerators with bfloat16 units.
        progress: Show a bar with windows/s and the remaining time.

    Returns:
        ``out``.

    Raises:
        UserError: Wrong checkpoint, level, stride or device; missing values that the model cannot
            take; too few frames for ``pca``; no recording.
    """
    out = Path(out)
    _check_options(mode, stride, pca, compat, batch_size)
    if not len(sequences):
        raise UserError("no recording to embed; check data.path")
    target = resolve_device(device)
    model = (build_mae if fusion else build_encoder)(checkpoint).to(target)
    extractor = Extractor(
        model,
        mode=mode,
        stride=stride,
        batch_size=batch_size,
        embedsum=embedsum,
        fusion=fusion,
        combine=combine,
        compat=compat,
        levels=levels,
        workers=workers,
        precision=precision,
    )
    attrs = {
        "method": "hbehavemae",
        "checkpoint": Path(checkpoint).name,
        "mode": mode,
        "stride": stride,
        "embedsum": embedsum,
        "fusion": fusion,
        "compat": compat,
        "precision": precision,
    }
    if pca is None or all(width <= pca for width in extractor.widths.values()):
        _write(extractor, sequences, out, attrs, progress)
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
            raw = Path(folder) / "raw.nc"
            _write(extractor, sequences, raw, attrs, progress)
            reduce_levels(raw, out, pca, compat)
    if submissions is not None:
        write_submissions(out, Path(submissions))
    return out


def reduce_levels(raw: str | Path, out: str | Path, k: int, compat: Compat = "none") -> Path:
    """Copy an embedding file with every level of more than ``k`` features cut to components.

    Two passes over the file for each level; memory is one recording.

    Args:
        raw: Embedding file.
        out: Embedding file to write.
        k: Principal components that are kept.
        compat: ``upstream``: the original's choice of solver.

    Returns:
        ``out``.

    Raises:
        UserError: Fewer frames than components.
    """
    fit = principal.fit_upstream if compat == "upstream" else principal.fit
    with open_embeddings(raw) as source:
        rows = sum(source.span(name)[1] for name in source.recordings)
        projections = {
            level: fit(_blocks(source, level), rows, source.features(level), k, level)
            for level in source.levels
            if source.features(level) > k
        }
        widths = {level: min(source.features(level), k) for level in source.levels}
        kept = {level: round(p.explained, 4) for level, p in projections.items()}
        attrs = {**source.attrs, "pca": k, "pca_explained_variance": kept}
        with EmbeddingWriter(out, widths, attrs) as writer:
            for name in source.recordings:
                values = {level: source.read(level, name) for level in source.levels}
                for level, projection in projections.items():
                    values[level] = projection(values[level])
                writer.write(name, source.span(name)[0], values)
    return Path(out)


def write_submissions(embeddings: str | Path, folder: str | Path) -> list[Path]:
    """Write every level of an embedding file as a MABe submission.

    Args:
        embeddings: Embedding file with the levels ``level_1`` ... and perhaps ``combined``.
        folder: Gets ``test_submission_0.npy`` (finest) ... and ``test_submission_combined.npy``.

    Returns:
        The files.
    """
    folder = Path(folder)
    with open_embeddings(embeddings) as source:
        levels = source.levels
    files = []
    for level in levels:
        suffix = COMBINED if level == COMBINED else int(level.removeprefix("level_")) - 1
        files.append(export_submission(embeddings, level, folder / f"test_submission_{suffix}.npy"))
    return files


def _write(
    extractor: Extractor,
    sequences: Recordings,
    out: Path,
    attrs: Mapping[str, Any],
    progress: bool,
) -> None:
    transform = getattr(sequences, "window_transform", None)
    with (
        EmbeddingWriter(out, extractor.widths, attrs) as writer,
        tqdm(unit="window", unit_scale=True, disable=not progress, desc="embed") as bar,
    ):
        expected = 0
        for number, sequence in enumerate(sequences):
            expected += extractor.n_windows(len(sequence.features))
            # The rest is taken to be as long as what was seen: lengths are known when loaded.
            bar.total = round(expected / (number + 1) * len(sequences))
            bar.set_postfix_str(f"{number + 1}/{len(sequences)} {sequence.name}")
            values = extractor(
                sequence.features, name=sequence.name, transform=transform, on_batch=bar.update
            )
            writer.write(sequence.name, sequence.first_frame, values)


def _blocks(source: Embeddings, level: str) -> Iterator[Any]:
    for name in source.recordings:
        yield source.read(level, name)


def _check_options(
    mode: str, stride: int, pca: int | None, compat: str, batch_size: int | None
) -> None:
    if mode not in ("averaging", "fast"):
        raise UserError(f"mode={mode}: choose averaging or fast")
    if mode == "fast" and stride != 1:
        raise UserError(f"stride={stride} is for mode=averaging; fast has its own step")
    if compat not in ("none", "upstream"):
        raise UserError(f"compat={compat}: choose none or upstream")
    for key, value in (("pca", pca), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise UserError(f"{key}={value} must be at least 1")
