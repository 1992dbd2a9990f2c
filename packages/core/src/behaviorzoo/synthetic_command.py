"""The verb ``behaviorzoo synth``: write a labelled synthetic data set."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.description = "Write labelled synthetic behaviour: DIR/recordings/*.nc, DIR/labels.csv."
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="target folder")
    parser.add_argument("--recordings", type=int, default=8, metavar="N", help="recordings (8)")
    parser.add_argument(
        "--frames", type=int, default=6000, metavar="N", help="frames per recording (6000)"
    )
    parser.add_argument(
        "--individuals", type=int, default=1, metavar="N", help="animals per recording (1)"
    )
    parser.add_argument("--dimensions", type=int, default=2, choices=(2, 3), help="2 or 3 (2)")
    parser.add_argument(
        "--missing", type=float, default=0.0, metavar="P", help="share of lost points (0)"
    )
    parser.add_argument("--fps", type=float, default=30.0, help="frames per second (30)")
    parser.add_argument("--seed", type=int, default=0, help="decides everything (0)")


def run(args: argparse.Namespace) -> None:
    """Write the data set and say what was written."""
    from behaviorzoo.synthetic import write_behaviour

    paths, table = write_behaviour(
        args.out,
        args.recordings,
        args.frames,
        seed=args.seed,
        dimensions=args.dimensions,
        individuals=args.individuals,
        missing=args.missing,
        fps=args.fps,
    )
    print(f"{len(paths)} recordings of {args.frames} frames in {paths[0].parent}")
    print(f"labels of the tasks movement, action, activity in {table}")
