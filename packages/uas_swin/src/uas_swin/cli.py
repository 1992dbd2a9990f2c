"""The command ``uas-swin``: verbs to functions. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from behaviorzoo import commands
from behaviorzoo.errors import UserError
from uas_swin import __version__

if TYPE_CHECKING:
    from uas_swin.training import RunOptions

DESCRIPTION = """\
UAS-Swin: the universal action space of a Video Swin transformer, for animal behaviour in video.

  uas-swin VERB --help       what a verb does, with an example
  uas-swin info              the packaged configurations
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Words after the program's name; those of the process by default.

    Returns:
        0, 2 for a mistake of the user's, 130 after Ctrl-C.
    """
    training = {"train": _process_words}
    return commands.run_verbs("uas-swin", __version__, DESCRIPTION, VERBS, argv, training)


def _process_words(nodes: int, tasks: int) -> list[str]:
    """Words that let ``train`` join the processes that were started together."""
    return ["--launcher", "pytorch"]


_parser = partial(commands.verb_parser, "uas-swin")


def _train(words: list[str]) -> None:
    """Train a network, or with freeze_backbone its head and low-rank branches."""
    parser = _parser(
        "train",
        "Train by a configuration: the name of a packaged one (uas-swin info lists them) or a\n"
        "file of mmengine (a file in Python is run). For a linear probe, `uas-swin extract` and\n"
        "`uas-swin probe` are about 30 times as fast.",
        "uas-swin train mammalnet_k600 --work-dir runs/mammalnet --validate\n"
        "uas-swin train own_videos --cfg-options lists.train=train.txt lists.val=val.txt \\\n"
        "    lists.videos=videos classes=classes.txt load_from=k600.pth\n"
        "uas-swin train kinetics700_diff_k600_lora --cfg-options model.backbone.lora_rank=16\n"
        "uas-swin train mammalnet_k600 --launch slurm launch.nodes=2 launch.gpus_per_node=4\n"
        "torchrun --nproc-per-node 2 -m uas_swin.cli train mammalnet_k600 --launcher pytorch",
    )
    _add_run(parser)
    add = parser.add_argument
    add("--validate", action="store_true", help="evaluate the validation list every few epochs")
    add(
        "--resume",
        nargs="?",
        const="",
        metavar="FILE",
        help="go on from a checkpoint, by default from the newest one of the folder",
    )
    add("--resume-from", metavar="FILE", help="the same, as the original calls it")
    add("--overwrite", action="store_true", help="begin anew in a folder that has checkpoints")
    add("--amp", action="store_true", help="mixed precision, on a GPU")
    add("--dry-run", action="store_true", help="check configuration, lists and weights only")
    add("--gpus", type=int, metavar="N", help=argparse.SUPPRESS)
    add("--gpu-ids", type=int, nargs="+", metavar="N", help=argparse.SUPPRESS)
    given = parser.parse_args(words)

    from behaviorzoo.launch import tell

    if (given.gpus or 0) > 1 or len(given.gpu_ids or []) > 1:
        raise UserError(
            "--gpus: one process trains on one device; start several by torchrun "
            "--nproc-per-node N -m uas_swin.cli train ... --launcher pytorch"
        )
    if given.gpus is not None or given.gpu_ids is not None:
        tell("note: --gpus is not needed, a GPU is used if there is one (CUDA_VISIBLE_DEVICES)")
    if given.resume is not None and given.resume_from is not None:
        raise UserError("give --resume or --resume-from, they mean the same")

    from uas_swin.training import train

    resume = given.resume if given.resume_from is None else given.resume_from
    options = _run_options(
        given,
        validate=given.validate,
        resume=resume,
        overwrite=given.overwrite,
        amp=given.amp,
        dry_run=given.dry_run,
    )
    folder = train(given.config, options)
    tell(f"run: {folder}" if not given.dry_run else f"{folder}: nothing is in the way")


def _test(words: list[str]) -> None:
    """Score the test list with a checkpoint."""
    parser = _parser(
        "test",
        "Score the test list of a configuration. At least one of --eval and --out.\n"
        "Metrics: top_k_accuracy, mean_class_accuracy, mean_average_precision,\n"
        "mmit_mean_average_precision, micro_macro_accuracy, micro_top_k_accuracy,\n"
        "macro_top_k_accuracy.",
        "uas-swin test mammalnet_k600 runs/mammalnet/epoch_30.pth \\\n"
        "    --eval top_k_accuracy mean_class_accuracy\n"
        "uas-swin test mammalnet_k600 probe/head --eval top_k_accuracy --out scores.pkl",
    )
    _add_run(parser)
    add = parser.add_argument
    add("checkpoint", type=Path, help=".pth file, or the folder of a head of uas-swin probe")
    add("--eval", nargs="+", metavar="METRIC", help="metrics")
    add("--eval-options", nargs="+", default=[], metavar="key=value", help="topk, compat, ...")
    add("--out", type=Path, metavar="FILE", help="scores of every video: .pkl, .json or .yaml")
    add("--average-clips", choices=["prob", "score"], help="how views are averaged")
    given = parser.parse_args(words)
    if not given.eval and given.out is None:
        raise UserError("uas-swin test: give --eval METRIC ... or --out FILE, or both")

    from uas_swin.training import score

    score(
        given.config,
        given.checkpoint,
        _run_options(given),
        metrics=given.eval or (),
        metric_options=given.eval_options,
        average_clips=given.average_clips,
        out=given.out,
    )


def _extract(words: list[str]) -> None:
    """Compute the features of every view once, for probes."""
    from uas_swin.extract_command import run

    run(words)


def _probe(words: list[str]) -> None:
    """Train linear probes on extracted features, in seconds."""
    from uas_swin.probe_command import run

    run(words)


def _embed(words: list[str]) -> None:
    """Write an embedding of every frame of videos."""
    parser = _parser(
        "embed",
        "Slide a window over videos of any length and write the features that the network has of\n"
        "it: one row per frame, the mean of the windows over it. Videos are streamed.",
        "uas-swin embed cage_1.mp4 cage_2.mp4 --checkpoint k600.pth --out cages.nc",
    )
    add = parser.add_argument
    add("videos", nargs="+", type=Path, metavar="VIDEO", help="video files, or folders of them")
    add("--checkpoint", required=True, type=Path, metavar="FILE", help="trained weights (.pth)")
    add("--out", required=True, type=Path, metavar="FILE", help="embedding file to write (.nc)")
    add("--window", type=int, default=32, metavar="N", help="frames of a window (default 32)")
    add("--stride", type=int, default=16, metavar="N", help="frames between windows (default 16)")
    add("--interval", type=int, default=1, metavar="N", help="every n-th frame (default 1)")
    add("--size", type=int, default=224, metavar="N", help="pixels of a side (default 224)")
    add("--crops", choices=["centre", "three"], default="centre", help="parts of the picture")
    add("--batch-size", type=int, metavar="N", help="windows at a time (default: by device)")
    add("--device", default="auto", help="cpu, cuda, mps (default: what the machine has)")
    add("--no-progress", action="store_true", help="no progress bar")
    given = parser.parse_args(words)

    from uas_swin.embed import WindowSettings, embed

    settings = WindowSettings(given.window, given.stride, given.interval, given.size, given.crops)
    path = embed(
        given.videos,
        given.checkpoint,
        given.out,
        settings,
        device=given.device,
        batch_size=given.batch_size,
        progress=not given.no_progress,
    )
    print(f"embeddings: {path}")


def _prepare(words: list[str]) -> None:
    """Make lists from data sets and folders, and check every video."""
    from uas_swin.prepare_command import run

    run(words)


def _convert(words: list[str]) -> None:
    """Change a checkpoint between the authors' names and mmaction2's."""
    parser = _parser(
        "convert",
        "Change a checkpoint between the names of the authors' code and those of mmaction2, which\n"
        "are ours. Every name and shape is checked; both load everywhere here, too.",
        "uas-swin convert swin_base_k600.pth ours.pth --to ours",
    )
    _add_files(parser)
    parser.add_argument("--to", choices=["ours", "authors"], required=True, help="names to write")
    given = parser.parse_args(words)

    from uas_swin.convert import convert

    _done(convert(given.source, given.out, to=given.to, lora_alpha=given.lora_alpha), given.out)


def _merge_lora(words: list[str]) -> None:
    """Put low-rank branches into the layers beside them."""
    parser = _parser(
        "merge-lora",
        "Write a checkpoint without branches that computes the same.",
        "uas-swin merge-lora runs/lora/epoch_30.pth merged.pth",
    )
    _add_files(parser)
    parser.add_argument("--to", choices=["ours", "authors"], default="ours", help="names to write")
    given = parser.parse_args(words)

    from uas_swin.merge import merge_file

    _done(merge_file(given.source, given.out, to=given.to, lora_alpha=given.lora_alpha), given.out)


def _info(words: list[str]) -> None:
    """Show a checkpoint, a configuration, or the list of configurations."""
    parser = _parser(
        "info",
        "Show the network and the sizes of a checkpoint or of a configuration; without anything,\n"
        "the packaged configurations. --dump writes a configuration as one file, to change it.",
        "uas-swin info\nuas-swin info epoch_30.pth\n"
        "uas-swin info mammalnet_k600 --dump my_config.py",
    )
    parser.add_argument("what", nargs="?", help="checkpoint, or name or file of a configuration")
    parser.add_argument("--dump", type=Path, metavar="FILE", help="write the configuration (.py)")
    given = parser.parse_args(words)

    from uas_swin.info_command import show

    show(given.what, given.dump)


def _report(words: list[str]) -> None:
    """Make a page of runs, probes and lists."""
    parser = _parser(
        "report",
        "One self-contained page: losses and scores of runs (uas-swin train), scores, confusion\n"
        "matrix and class counts of probes and tests, and what is in the lists (uas-swin prepare).",
        "uas-swin report runs/mammalnet probe lists/mammalnet_report.json --out report.html",
    )
    add = parser.add_argument
    add("sources", nargs="+", type=Path, metavar="PATH", help="folders of runs and probes, reports")
    add("--out", required=True, type=Path, metavar="FILE", help="page to write (.html)")
    add("--title", default="UAS-Swin: report", help="title of the page")
    given = parser.parse_args(words)

    from uas_swin.report import scores_text, write_report

    if scores := scores_text(given.sources):
        print(scores)
    print(f"report: {write_report(given.sources, given.out, given.title)}")


def _add_run(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("config", help="name of a packaged configuration, or a file of mmengine")
    add("--work-dir", metavar="DIR", help="folder of the run (default: that of the configuration)")
    add("--cfg-options", nargs="+", default=[], metavar="key=value", help="change settings")
    add("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none",
        help="how several processes were started (default none)")  # fmt: skip
    add("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)
    add("--seed", type=int, metavar="N", help="of everything random")
    add("--deterministic", action="store_true", help="only deterministic algorithms")


def _run_options(given: argparse.Namespace, **others: object) -> RunOptions:
    from uas_swin.training import RunOptions

    return RunOptions(
        work_dir=given.work_dir,
        cfg_options=given.cfg_options,
        launcher=given.launcher,
        seed=given.seed,
        deterministic=given.deterministic,
        **others,  # type: ignore[arg-type]
    )


def _add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, help="checkpoint to read")
    parser.add_argument("out", type=Path, help="file to write")
    parser.add_argument(
        "--lora-alpha", type=float, metavar="A", help="of branches, where the file does not tell"
    )


def _done(notes: list[str], out: Path) -> None:
    for note in notes:
        print(f"note: {note}")
    print(out)


VERBS: dict[str, commands.Verb] = {
    "train": _train,
    "test": _test,
    "extract": _extract,
    "probe": _probe,
    "embed": _embed,
    "prepare": _prepare,
    "convert": _convert,
    "merge-lora": _merge_lora,
    "info": _info,
    "report": _report,
}


if __name__ == "__main__":
    sys.exit(main())
