"""The verb ``behaviorzoo info``: what a recording, label table or embedding file holds."""

from __future__ import annotations

import argparse
from pathlib import Path

from behaviorzoo.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the verb."""
    parser.description = "Print what a recording, a label table or an embedding file holds."
    parser.add_argument("files", nargs="+", metavar="FILE")


def run(args: argparse.Namespace) -> None:
    """Describe each file.

    Raises:
        UserError: A file is none of the three, or damaged.
    """
    print("\n\n".join(describe(Path(file)) for file in args.files))


def describe(path: Path) -> str:
    """A few lines about a file.

    Args:
        path: A recording or embedding file (``.nc``), a label table (``.csv``, ``.parquet``),
            or a folder of recordings.

    Returns:
        Text of several lines.

    Raises:
        UserError: The file is none of these, or damaged.
    """
    from behaviorzoo.files import existing_file

    if path.is_dir():
        return _folder(path)
    path = existing_file(path, "file")
    if path.suffix in (".csv", ".parquet"):
        return _labels(path)
    if path.suffix == ".nc":
        return _recording(path) if _has_position(path) else _embeddings(path)
    raise UserError(f"{path}: unknown kind of file; known are .nc, .csv and .parquet")


def _has_position(path: Path) -> bool:
    import h5py

    try:
        with h5py.File(path) as file:
            return "position" in file or not any(isinstance(file[n], h5py.Group) for n in file)
    except (OSError, RuntimeError) as error:
        raise UserError(f"{path}: not a netCDF-4 file, or damaged or truncated") from error


def _recording(path: Path) -> str:
    from behaviorzoo.importers.command import summary_table
    from behaviorzoo.recordings import load_recording, missing_report

    ds = load_recording(path)
    frames = ds["time"].to_numpy()
    fps = float(ds.attrs["fps"])
    lines = [
        f"{path}: recording {ds.attrs['name']!r}",
        f"  frames       {len(frames)} ({frames[0]} to {frames[-1]}), {fps:g} per second, "
        f"{len(frames) / fps:.1f} s",
        f"  space        {', '.join(ds['space'].to_numpy())}",
        f"  individuals  {', '.join(ds['individuals'].to_numpy())}",
        f"  key points   {', '.join(ds['keypoints'].to_numpy())}",
        f"  confidence   {'yes' if 'confidence' in ds else 'no'}",
    ]
    shown = {"name", "fps", "time_unit"}
    lines += [f"  {key:<12} {value}" for key, value in ds.attrs.items() if key not in shown]
    return "\n".join(lines) + "\n\n" + summary_table(missing_report(ds))


def _embeddings(path: Path) -> str:
    from behaviorzoo.embeddings import open_embeddings

    with open_embeddings(path) as embeddings:
        lines = [f"{path}: embeddings", f"  levels       {', '.join(embeddings.levels)}"]
        lines += [f"  {key:<12} {value}" for key, value in embeddings.attrs.items()]
        return "\n".join(lines) + "\n\n" + embeddings.table.to_string(index=False)


def _labels(path: Path) -> str:
    from behaviorzoo.annotations.command import summary_table
    from behaviorzoo.labels import read_labels

    table = read_labels(path)
    recordings = len(set(table["recording"]))
    return f"{path}: label table, {len(table)} rows, {recordings} recordings\n\n" + summary_table(
        table
    )


def _folder(path: Path) -> str:
    from behaviorzoo.recordings import find_recordings, frame_range

    lines = [f"{path}: recordings"]
    for file in find_recordings(path):
        first, stop = frame_range(file)
        lines.append(f"  {file.name:<24} {stop - first} frames ({first} to {stop - 1})")
    return "\n".join(lines)
