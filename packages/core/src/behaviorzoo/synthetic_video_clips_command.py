"""The verb ``behaviorzoo synth-clips``: write short videos of known classes."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    from behaviorzoo.synthetic_video_scene import MOTION_CURVES

    parser.description = "Write short videos of moving objects, a folder for each class of motion."
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="target folder")
    parser.add_argument(
        "--motions",
        nargs="+",
        default=list(MOTION_CURVES),
        metavar="NAME",
        help="classes (all): " + ", ".join(MOTION_CURVES),
    )
    parser.add_argument("--clips", type=int, default=20, metavar="N", help="clips per class (20)")
    parser.add_argument("--frames", type=int, default=32, metavar="N", help="frames per clip (32)")
    parser.add_argument("--size", type=int, default=112, metavar="N", help="pixels of a side (112)")
    parser.add_argument("--fps", type=float, default=15.0, help="frames per second (15)")
    parser.add_argument("--seed", type=int, default=0, help="decides everything (0)")


def run(args: argparse.Namespace) -> None:
    """Write the clips and say what was written."""
    from behaviorzoo.synthetic_video import write_clips

    paths = write_clips(
        args.out,
        args.motions,
        args.clips,
        n_frames=args.frames,
        size=args.size,
        fps=args.fps,
        seed=args.seed,
    )
    print(f"{len(paths)} clips of {len(args.motions)} motions in {args.out}")
