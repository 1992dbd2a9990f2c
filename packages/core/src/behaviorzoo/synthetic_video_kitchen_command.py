"""The verb ``behaviorzoo synth-kitchen``: write long videos of actions in a known order."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.description = (
        "Write videos of actions (motion = verb, object = noun) whose order follows a grammar, "
        "with the annotation files of EPIC-KITCHENS-100."
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="target folder")
    parser.add_argument("--videos", type=int, default=12, metavar="N", help="videos (12)")
    parser.add_argument("--participants", type=int, default=4, metavar="N", help="people (4)")
    parser.add_argument("--actions", type=int, default=24, metavar="N", help="per video (24)")
    parser.add_argument("--verbs", type=int, default=4, metavar="N", help="verb classes (4)")
    parser.add_argument("--nouns", type=int, default=4, metavar="N", help="noun classes (4)")
    parser.add_argument("--classes", type=int, default=12, metavar="N", help="action classes (12)")
    parser.add_argument(
        "--predictability",
        type=float,
        default=0.8,
        metavar="P",
        help="probability that the successor follows (0.8)",
    )
    parser.add_argument("--size", type=int, default=96, metavar="N", help="pixels of a side (96)")
    parser.add_argument("--fps", type=float, default=10.0, help="frames per second (10)")
    parser.add_argument("--seed", type=int, default=0, help="decides everything (0)")


def run(args: argparse.Namespace) -> None:
    """Write the videos and say what was written, and what can be predicted."""
    from behaviorzoo.synthetic_video import write_kitchen

    kitchen = write_kitchen(
        args.out,
        args.videos,
        participants=args.participants,
        actions_per_video=args.actions,
        verbs=args.verbs,
        nouns=args.nouns,
        actions=args.classes,
        predictability=args.predictability,
        size=args.size,
        fps=args.fps,
        seed=args.seed,
    )
    print(f"{args.videos} videos in {kitchen.videos}")
    print(
        f"{len(kitchen.train)} training and {len(kitchen.validation)} validation actions "
        f"in {kitchen.annotations} and {kitchen.rulstm}"
    )
    for task, best in kitchen.bayes.items():
        reached = kitchen.oracle[task]
        print(
            f"best possible guess of the next {task}: top-1 {best['top1']:.1%}, "
            f"top-5 {best['top5']:.1%} (on this validation set {reached['top1']:.1%}, "
            f"{reached['top5']:.1%})"
        )
