"""The verb ``behaviorzoo import``: tracker files in, recordings and a missing report out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from behaviorzoo.errors import UserError
from behaviorzoo.importers.detect import POSE_SUFFIXES, SOURCES, check_source

if TYPE_CHECKING:
    import pandas as pd

    from behaviorzoo.importers import ImportOptions

REPORT_NAME = "missing_report.csv"
DESCRIPTION = """\
Turn the output of a tracker into recordings (one netCDF file each) that keep the tracker's own
frame numbers. Missing points stay NaN unless you choose a policy; nothing becomes zero.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the verb."""
    parser.description = DESCRIPTION
    parser.add_argument("files", nargs="+", metavar="FILE", help="file, folder or pattern; .gz too")
    parser.add_argument("--source", default="auto", help=f"{', '.join(SOURCES)} or auto (default)")
    parser.add_argument("--fps", type=float, help="frames per second, unless the file says so")
    parser.add_argument("--out", type=Path, required=True, help="folder for the recordings")
    parser.add_argument(
        "--name-pattern", metavar="REGEX", help="finds the name (one group) in the file name"
    )
    parser.add_argument(
        "--missing",
        default="keep",
        help="missing points: keep as NaN (default), interpolate gaps up to --max-gap, or mask "
        "(keep and mark)",
    )
    parser.add_argument("--max-gap", type=int, metavar="FRAMES", help="longest gap to interpolate")
    parser.add_argument(
        "--zero-is-missing", action="store_true", help="points at exactly 0 become missing"
    )
    parser.add_argument(
        "--min-confidence", type=float, metavar="P", help="less confident points become missing"
    )
    parser.add_argument(
        "--max-individuals", type=int, metavar="N", help="join track fragments into N individuals"
    )
    parser.add_argument(
        "--first-frame", type=int, metavar="N", help="number of the first row, if the file has none"
    )
    parser.add_argument(
        "--keypoints-rename", nargs="+", default=[], metavar="OLD=NEW", help="new key point names"
    )


def run(args: argparse.Namespace) -> None:
    """Import every file; one that cannot be read does not stop the others.

    Raises:
        UserError: Wrong options, or some files could not be imported.
    """
    from behaviorzoo.importers import ImportOptions

    check_source(args.source)
    files = find_pose_files(args.files)
    names = _unique_names(files, args.name_pattern)
    options = ImportOptions(
        source=args.source,
        fps=args.fps,
        first_frame=args.first_frame,
        zero_is_missing=args.zero_is_missing,
        min_confidence=args.min_confidence,
        max_individuals=args.max_individuals,
        rename=_renaming(args.keypoints_rename),
        missing=args.missing,
        max_gap=args.max_gap,
    )
    _check_options(options, files)
    reports, failed = _import_all(files, names, options, args.out)
    if reports:
        _finish(reports, args.out)
    if failed:
        raise UserError(
            f"{failed} of {len(files)} files could not be imported (see the lines above)"
        )


def find_pose_files(paths: Iterable[str | Path]) -> list[Path]:
    """Expand folders and patterns to pose files, in natural order.

    Raises:
        UserError: A path matches nothing, or a folder has zero pose files.
    """
    import glob

    from behaviorzoo.recordings import natural_key

    files: list[Path] = []
    for item in paths:
        path = Path(item).expanduser()
        if path.is_dir():
            found = [file for file in path.iterdir() if file.is_file() and _is_pose_file(file)]
            if not found:
                kinds = ", ".join(POSE_SUFFIXES)
                raise UserError(f"{path}: zero pose files ({kinds}, also .gz) in this folder")
        elif path.exists():
            found = [path]
        else:
            found = [Path(name) for name in glob.glob(str(path)) if Path(name).is_file()]
            if not found:
                raise UserError(f"{item}: no such pose file; check the path")
        files.extend(sorted(found, key=natural_key))
    return list(dict.fromkeys(files))


def _is_pose_file(path: Path) -> bool:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    last = suffixes[-2:-1] if suffixes[-1:] == [".gz"] else suffixes[-1:]
    return bool(last) and last[0] in POSE_SUFFIXES and path.name != REPORT_NAME


def _unique_names(files: list[Path], pattern: str | None) -> list[str]:
    from behaviorzoo.importers import recording_name

    owners: dict[str, Path] = {}
    for file in files:
        name = recording_name(file, pattern)
        if name in owners:
            raise UserError(
                f"two files would become the recording {name!r}: {owners[name]} and {file}; "
                "import one of them, or tell them apart with --name-pattern"
            )
        owners[name] = file
    return list(owners)


def _renaming(pairs: list[str]) -> dict[str, str]:
    names = {}
    for pair in pairs:
        old, equals, new = pair.partition("=")
        if not (old and equals and new):
            raise UserError(f"--keypoints-rename {pair!r}: write OLD=NEW")
        names[old] = new
    return names


def _check_options(options: ImportOptions, files: list[Path]) -> None:
    """Refuse before the first file what would fail for every file."""
    from behaviorzoo.missing import check_policy

    check_policy(options.missing, options.max_gap)
    with_rate = [file for file in files if ".nwb" in file.suffixes]
    if options.fps is None and not with_rate:
        raise UserError(f"{files[0]}: the file does not say its frame rate; add --fps N")


def _import_all(
    files: list[Path], names: list[str], options: ImportOptions, out: Path
) -> tuple[list[pd.DataFrame], int]:
    from behaviorzoo.importers import import_poses
    from behaviorzoo.recordings import SUFFIX, missing_report, save_recording

    reports, failed = [], 0
    for number, (file, name) in enumerate(zip(files, names, strict=True), start=1):
        try:
            ds, notes = import_poses(file, name, options)
            save_recording(ds, out / f"{name}{SUFFIX}")
        except UserError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            failed += 1
            continue
        report = missing_report(ds)
        reports.append(report)
        frames = ds["time"].to_numpy()
        share = float(report["missing"].to_numpy().sum() / report["frames"].to_numpy().sum())
        print(
            f"[{number}/{len(files)}] {name}{SUFFIX}: {len(frames)} frames ({frames[0]} to "
            f"{frames[-1]}), {ds.sizes['keypoints']} key points, {ds.sizes['individuals']} "
            f"individuals, {_percent(share)} missing, {ds.attrs['source']} ({file.name})",
            flush=True,
        )
        for note in notes:
            print(f"  note: {name}: {note}", file=sys.stderr, flush=True)
    return reports, failed


def _finish(reports: list[pd.DataFrame], out: Path) -> None:
    """Write the report of all recordings and print its summary."""
    import pandas as pd

    from behaviorzoo.files import atomic_path

    report = pd.concat(reports, ignore_index=True)
    with atomic_path(out / REPORT_NAME) as temporary:
        report.to_csv(temporary, index=False)
    print()
    print(summary_table(report))
    print(f"\n{len(reports)} recordings in {out}; all missing points in {out / REPORT_NAME}")


def summary_table(report: pd.DataFrame, longest: int = 60) -> str:
    """Missing points per individual and key point, over all recordings of a report.

    Args:
        report: Rows of :func:`behaviorzoo.missing.missing_report`.
        longest: Number of rows to print; the worst come first when there are more.

    Returns:
        A table in plain text.
    """
    groups = report.groupby(["individual", "keypoint"], sort=False)
    several = len(set(report["recording"])) > 1
    table = groups.agg(
        recordings=("recording", "nunique"),
        frames=("frames", "sum"),
        missing=("missing", "sum"),
        longest_gap=("longest_gap", "max"),
        first_seen=("first_seen", "min"),
        last_seen=("last_seen", "max"),
    ).reset_index()
    table.insert(5, "share", table["missing"] / table["frames"])
    if not several:
        table = table.drop(columns="recordings")
    hidden = len(table) - longest
    if hidden > 0:
        table = table.nlargest(longest, "share")
    table["share"] = [_percent(share) for share in table["share"]]
    for column in ("first_seen", "last_seen"):
        table[column] = table[column].astype(str).replace("<NA>", "never")
    text = table.to_string(index=False)
    return text + (f"\n... and {hidden} rows with fewer missing points" if hidden > 0 else "")


def _percent(share: float) -> str:
    if 0 < share < 0.001:
        return "< 0.1 %"
    return f"{100 * share:.1f} %"
