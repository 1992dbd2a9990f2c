"""The verb ``behaviorzoo view``: a page, and a picture, to look at one recording."""

from __future__ import annotations

import argparse
from pathlib import Path

from behaviorzoo.errors import require


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.description = (
        "Write one self-contained HTML page: poses over time, the embedding map with the current "
        "frame marked, label tracks. Frame numbers are those of the source."
    )
    parser.add_argument("recording", type=Path, help="recording (.nc)")
    parser.add_argument("--embeddings", type=Path, metavar="FILE", help="embedding file")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="label table")
    parser.add_argument(
        "--predictions", type=Path, metavar="FILE", help="predictions.csv of `behaviorzoo probe`"
    )
    parser.add_argument("--level", help="level shown first (the finest)")
    parser.add_argument("--start", type=int, metavar="FRAME", help="first frame shown")
    parser.add_argument("--stop", type=int, metavar="FRAME", help="frame after the last one shown")
    parser.add_argument(
        "--skeleton",
        default="auto",
        metavar="EDGES",
        help="lines between key points: A-B,B-C,... or none, tree (shortest tree), "
        "auto (known names, else tree)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page (RECORDING.html here)")
    parser.add_argument("--png", type=Path, metavar="FILE", help="also a static picture")


def run(args: argparse.Namespace) -> None:
    """Write the page and say where it is."""
    from behaviorzoo.viewer import load_scene, write_view

    if args.png is not None:
        require("matplotlib", "plots", "a picture (--png)")
    scene = load_scene(
        args.recording,
        embeddings=args.embeddings,
        labels=args.labels,
        predictions=args.predictions,
        level=args.level,
        start=args.start,
        stop=args.stop,
        skeleton=args.skeleton,
    )
    page = write_view(scene, args.out or Path(f"{scene.name}.html"))
    print(f"page: {page} ({page.stat().st_size / 1e6:.1f} MB)")
    if args.png is not None:
        from behaviorzoo.plots import save_figure
        from behaviorzoo.viewer.picture import view_figure

        print(f"picture: {save_figure(view_figure(scene), args.png)}")
