"""The verb ``behaviorzoo features``: hand-made features of recordings as an embedding file."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.description = (
        "Write hand-made features (speeds, distances, missing points and their rolling statistics) "
        "of recordings as an embedding file with the level 'hand', to probe it like any other."
    )
    parser.add_argument("recordings", nargs="+", help="recording files, folders or patterns")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.nc", help="target file")
    parser.add_argument(
        "--windows",
        type=int,
        nargs="+",
        metavar="FRAMES",
        help="rolling windows in frames (about 0.5, 2 and 6 seconds)",
    )


def run(args: argparse.Namespace) -> None:
    """Write the features and say what was written."""
    from behaviorzoo.embeddings import open_embeddings
    from behaviorzoo.errors import UserError
    from behaviorzoo.handcrafted import LEVEL, write_hand_features

    if any(window < 1 for window in args.windows or ()):
        raise UserError(f"--windows {min(args.windows)}: a window has at least 1 frame")
    path = write_hand_features(args.recordings, args.out, args.windows)
    with open_embeddings(path) as written:
        count, features = len(written.recordings), written.features(LEVEL)
    print(f"{features} features of {count} recordings in {path}")
