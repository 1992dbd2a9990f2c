"""The verb ``uas-swin extract``: words to functions."""

from __future__ import annotations

import os
from pathlib import Path

from behaviorzoo import commands

ABOUT = """\
Compute the pooled features of every view of every video of a configuration's lists, once. The
test and validation lists get the views of the test pipeline; the training list one fixed view per
video (--train-views test: all of them), and --augmented-views N random ones.

The network does not move while it is read out, so its features need not be computed again in
every epoch. It is in evaluation mode: stochastic depth, which the original leaves on in the frozen
backbone, is off."""
EXAMPLE = """\
uas-swin extract mammalnet_k600 k600.pth --out features
uas-swin extract own_videos k600.pth --out features --augmented-views 4 --bad-videos skip \\
    --cfg-options lists.train=train.txt lists.val=val.txt lists.videos=videos classes=classes.txt"""


def run(words: list[str]) -> None:
    """Do what ``uas-swin extract`` is told.

    Args:
        words: What stands behind it.

    Raises:
        UserError: Wrong options, lists, videos or weights.
    """
    parser = commands.verb_parser("uas-swin", "extract", ABOUT, EXAMPLE)
    add = parser.add_argument
    add("config", help="name of a packaged configuration, or a file of mmengine")
    add("checkpoint", type=Path, help="trained weights (.pth)")
    add("--out", required=True, type=Path, metavar="DIR", help="folder to write, or to go on with")
    add("--splits", nargs="+", choices=["train", "val", "test"], default=["train", "val", "test"])
    add("--train-views", choices=["val", "test", "none"], default="val", help="fixed views of "
        "training videos: as in validation (one), as in testing (default val)")  # fmt: skip
    add("--augmented-views", type=int, default=0, metavar="N", help="random views of each as well")
    add("--seed", type=int, default=0, metavar="N", help="of the random views (default 0)")
    add("--bad-videos", choices=["error", "skip"], default="error", help="skip: leave out and list")
    add("--batch-size", type=int, metavar="N", help="views at a time (default: by device)")
    add("--workers", type=int, default=max(2, (os.cpu_count() or 2) // 2), metavar="N",
        help="videos that are decoded at a time")  # fmt: skip
    add("--precision", choices=["32", "16", "bf16"], default="32", help="16, bf16: on GPUs only")
    add("--device", default="auto", help="cpu, cuda, mps (default: what the machine has)")
    add("--cfg-options", nargs="+", default=[], metavar="key=value", help="change settings")
    add("--no-progress", action="store_true", help="no progress bar")
    given = parser.parse_args(words)

    from behaviorzoo.devices import resolve_device
    from behaviorzoo.files import existing_file
    from uas_swin.config import load_config
    from uas_swin.extract import extract
    from uas_swin.extract_plan import ExtractSettings

    settings = ExtractSettings(
        splits=given.splits,
        train_views=given.train_views,
        augmented_views=given.augmented_views,
        seed=given.seed,
        bad_videos=given.bad_videos,
        batch_size=given.batch_size,
        workers=given.workers,
        precision=given.precision,
    )
    existing_file(given.checkpoint, "checkpoint")
    extract(
        load_config(given.config, given.cfg_options),
        given.checkpoint,
        given.out,
        settings,
        device=resolve_device(given.device),
        progress=not given.no_progress,
    )
    print(f"features: {given.out}")
