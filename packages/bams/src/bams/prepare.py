"""``bams prepare``: from raw files to files that training reads."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from bams.annotation_files import save_annotations
from bams.annotations import NAMES
from bams.data import DataConfig
from bams.data.arrays import KEY
from bams.data.arrays import NAMES as SAMPLE_NAMES
from bams.data.build import cache_settings, open_source, process
from bams.data.cache import ON_TRUST, Processed, save_processed
from bams.data.config import Compat
from bams.data.dataset import Rows
from bams.data.quadrupeds import quadruped_annotations, trajectory_names
from bams.data.quantise import MISSING_BIN, Scaling
from bams.data.simulator import prepare_quadrupeds
from behaviorzoo.errors import UserError, suggest
from behaviorzoo.files import atomic_path, existing_file
from behaviorzoo.mabe import load_dictionary, required
from behaviorzoo.recordings import natural_key

log = logging.getLogger("bams")

What = Literal["quadrupeds", "mice", "flies", "arrays", "authors-cache"]

PUBLISHED_BINS = 32


def prepare(
    what: What, source: str | Path, out: str | Path | None = None, *, compat: Compat = "paper"
) -> str:
    """Make a file for training.

    Args:
        what: ``quadrupeds``: files of the simulator -> ``robot_dataset.npy`` and its labels.
            ``mice``, ``flies``: MABe files -> features (.npz), for ``data.cache``. ``arrays``:
            tables (.csv) or arrays (.npy) of one sequence each -> one ``.npz``.
            ``authors-cache``: the original's pickled features -> the same as ``mice``.
        source: File, or folder with the files.
        out: File to write; beside the source by default.
        compat: By whose rules.

    Returns:
        What was made, in a sentence.

    Raises:
        UserError: Unknown kind, missing or malformed files.
    """
    if what not in KINDS:
        raise UserError(f"prepare {what}: {suggest(what, KINDS)}")
    source = Path(source).expanduser()
    if not source.exists():
        raise UserError(f"{source}: no such file or folder; check the path")
    beside = source if source.is_dir() else source.parent
    target = Path(out).expanduser() if out else beside / _DEFAULT_NAMES[what]
    return KINDS[what](source, target, compat)


def _quadrupeds(source: Path, out: Path, compat: Compat) -> str:
    files = [file for file in _inside(source, (".npy",)) if file.resolve() != out.resolve()]
    path = prepare_quadrupeds(files, out, compat)
    annotations, utils = quadruped_annotations(path)
    content = load_dictionary(path, memory_map=True)
    names = trajectory_names(content, len(content["body_mass"]))
    labels = path.with_name(f"{path.stem}_labels.npz")
    save_annotations(labels, {**annotations, NAMES: np.array(names)}, utils)
    return (
        f"{path}: {len(names)} trajectories of {len(files)} recordings\n"
        f"{labels}: their labels, for data.annotations"
    )


def _benchmark(dataset: Literal["mice", "flies"]) -> Callable[[Path, Path, Compat], str]:
    def make(source: Path, out: Path, compat: Compat) -> str:
        config = DataConfig(dataset=dataset, path=str(source))
        processed = process(open_source(config, compat), PUBLISHED_BINS, compat)
        save_processed(processed, out, cache_settings(config, compat, PUBLISHED_BINS))
        return (
            f"{out}: {processed.inputs.shape[1]} features and {processed.bins.shape[1]} actions of "
            f"{len(processed.rows.lengths)} sequences, {PUBLISHED_BINS} bins; train with "
            f"data.cache={out}"
        )

    return make


def _arrays(source: Path, out: Path, compat: Compat) -> str:
    files = [f for f in _inside(source, (".csv", ".npy")) if f.resolve() != out.resolve()]
    sequences = [_sequence(file) for file in files]
    widths = {len(values[0]) for values in sequences}
    if len(widths) > 1:
        odd = next(
            k for k, values in enumerate(sequences) if len(values[0]) != len(sequences[0][0])
        )
        raise UserError(
            f"{files[odd]}: {len(sequences[odd][0])} values in a frame, {files[0]} has "
            f"{len(sequences[0][0])}; all must have the same"
        )
    length = max(map(len, sequences))
    padded = np.full((len(files), length, widths.pop()), np.nan)
    for row, values in zip(padded, sequences, strict=True):
        row[: len(values)] = values
    if out.suffix != ".npz":
        raise UserError(f"{out}: arrays are written as .npz")
    with atomic_path(out) as temporary, temporary.open("wb") as handle:
        names = np.array([file.stem for file in files])
        np.savez(handle, **{KEY: padded, SAMPLE_NAMES: names})  # pyright: ignore[reportArgumentType]
    return f"{out}: {len(files)} sequences of up to {length} frames, {padded.shape[-1]} values each"


def _authors_cache(source: Path, out: Path, compat: Compat) -> str:
    """The original's ``<cache>_bins<K>.pkl``; the scale of its inputs is not in it."""
    content = required(load_dictionary(source, memory_map=True), "data", source)
    inputs, bins, ignored = (
        np.asarray(required(content, name, source))
        for name in ("input_feats", "quantized_target_feats", "ignore_frames")
    )
    if inputs.ndim != 3 or inputs.shape[:2] != bins.shape[:2] or bins.shape[:2] != ignored.shape:
        raise UserError(
            f"{source}: arrays {inputs.shape}, {bins.shape} and {ignored.shape} do not belong "
            "together"
        )
    if not np.isfinite(inputs).all():
        raise UserError(
            f"{source}: the inputs hold NaN (the original makes them of a feature that is 0 "
            "everywhere); train from the raw files with compat=paper"
        )
    n_bins = _bins_in_name(source) or int(bins.max()) + 1
    count, length = ignored.shape
    numbers = np.arange(count)
    scaling = Scaling(
        np.empty(0, np.float32),
        np.zeros((bins.shape[-1], n_bins - 1), np.float32),
        np.zeros(bins.shape[-1]),
        tuple(f"input {n + 1}" for n in range(inputs.shape[-1])),
        tuple(f"action {n + 1}" for n in range(bins.shape[-1])),
    )
    processed = Processed(
        inputs.reshape(count * length, -1).astype(np.float32),
        bins.reshape(count * length, -1).astype(np.uint8),
        ignored.reshape(-1).astype(bool),
        Rows(np.full(count, length), numbers, np.zeros_like(numbers), np.ones(count, bool)),
        scaling,
        tuple(f"sequence_{number:05d}" for number in numbers),
    )
    save_processed(processed, out, {"files": ON_TRUST, "hoa_bins": n_bins})
    return (
        f"{out}: {count} sequences of {length} frames, {n_bins} bins; train with data.cache={out}"
    )


KINDS: dict[str, Callable[[Path, Path, Compat], str]] = {
    "quadrupeds": _quadrupeds,
    "mice": _benchmark("mice"),
    "flies": _benchmark("flies"),
    "arrays": _arrays,
    "authors-cache": _authors_cache,
}
_DEFAULT_NAMES = {
    "quadrupeds": "robot_dataset.npy",
    "mice": "mouse_triplet_features.npz",
    "flies": "fly_group_features.npz",
    "arrays": "keypoints.npz",
    "authors-cache": "authors_features.npz",
}


def _inside(source: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The file itself, or the files of a folder in natural order."""
    if source.is_file():
        return [source]
    found = [file for file in source.iterdir() if file.suffix in suffixes]
    if not found:
        raise UserError(f"{source}: no {' or '.join(f'*{s}' for s in suffixes)} in this folder")
    return sorted(found, key=natural_key)


def _sequence(file: Path) -> np.ndarray:
    """One sequence of a table or an array, (frames, values); an empty cell is NaN."""
    existing_file(file, "sequence")
    try:
        if file.suffix == ".npy":
            values = np.load(file, allow_pickle=False)
        else:
            first = pd.read_csv(file, header=None, nrows=1)
            named = first.map(lambda cell: isinstance(cell, str)).to_numpy().any()
            values = pd.read_csv(file, header=0 if named else None).to_numpy(np.float64)
    except (ValueError, TypeError, OSError, EOFError, pd.errors.ParserError) as error:
        reason = " ".join(str(error).split())[:80]
        raise UserError(f"{file}: not a table of numbers, one row per frame ({reason})") from error
    if values.ndim != 2 or not values.size or values.dtype.kind not in "fiu":
        raise UserError(
            f"{file}: an array {values.shape} of {values.dtype}, expected numbers (frames, values)"
        )
    if np.isinf(values).any():
        raise UserError(f"{file}: infinite values; a missing value is empty or NaN")
    return values.astype(np.float64)


def _bins_in_name(source: Path) -> int | None:
    """K of ``<name>_bins<K>.pkl``."""
    number = source.stem.rpartition("_bins")[2]
    return int(number) if number.isdigit() and 2 <= int(number) <= MISSING_BIN else None
