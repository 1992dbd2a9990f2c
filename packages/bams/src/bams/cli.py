"""The command ``bams``: verbs to functions. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bams import __version__
from behaviorzoo import commands
from behaviorzoo.errors import UserError
from behaviorzoo.launch.words import trainer_words

DESCRIPTION = """\
BAMS: representations of behaviour at several timescales, learned from tracked poses.

  bams VERB --help          what a verb does, with an example
  bams train --help-config  every key=value that can be set
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Words after the program's name; those of the process by default.

    Returns:
        0, 2 for a mistake of the user's, 130 after Ctrl-C.
    """
    return commands.run_verbs("bams", __version__, DESCRIPTION, VERBS, argv, TRAINING)


_parser = partial(commands.verb_parser, "bams")


def _prepare(words: list[str]) -> None:
    """Make training files from raw ones."""
    parser = _parser(
        "prepare",
        "Make a file for training:\n"
        "  quadrupeds     files of the simulator -> robot_dataset.npy and its labels\n"
        "  arrays         tables (.csv) or arrays (.npy), one sequence each -> keypoints.npz\n"
        "  mice, flies    MABe files -> computed features, for data.cache=\n"
        "  authors-cache  the original's pickled features -> the same",
        "bams prepare quadrupeds data/raw --out data/robot_dataset.npy\n"
        "bams prepare arrays tables/ --out keypoints.npz",
    )
    kinds = ["quadrupeds", "arrays", "mice", "flies", "authors-cache"]
    parser.add_argument("what", choices=kinds, help="what to make")
    parser.add_argument("source", type=Path, help="file, or folder with the files")
    parser.add_argument("--out", type=Path, help="file to write (default: beside the source)")
    _add_compat(parser, "default paper")
    given = parser.parse_intermixed_args(words)

    from bams.prepare import prepare

    print(prepare(given.what, given.source, given.out, compat=given.compat or "paper"))


def _train(words: list[str]) -> None:
    """Train a model on recordings without labels."""
    parser = commands.training_parser(
        "bams",
        "train",
        "Train by predicting which actions come next, and what other frames look like to the\n"
        "network. Settings are key=value words; experiment=NAME starts from a recipe\n"
        "(mouse_triplets, fruit_flies, quadrupeds, custom, rats or a file).",
        "bams train data.path=recordings/ out=runs/mice optim.epochs=50\n"
        "bams train experiment=mouse_triplets data.path=data/mabe\n"
        "bams train experiment=custom data.path=keypoints.npy data.annotations=labels.npz\n"
        "bams train --resume out=runs/mice",
    )
    given = parser.parse_intermixed_args(words)

    from bams import config

    if given.help_config:
        print(config.help_text())
        return
    settings = config.checked(config.configure(given.words, resume=given.resume))

    from behaviorzoo.launch import tell

    tell(config.overview(settings))
    if given.dry_run:
        return

    from bams.training import train

    folder = train(settings, resume=given.resume)
    tell(f"run: {folder}")


def _embed(words: list[str]) -> None:
    """Compute the embeddings of a trained model at every timescale."""
    parser = _parser(
        "embed",
        "Compute per-frame embeddings of recordings with a checkpoint: a run folder, a checkpoint\n"
        "folder or an authors' .pt file. Only the encoders run.",
        "bams embed runs/mice --out embeddings.nc data.path=recordings/\n"
        "bams embed runs/mouse_triplets --out mice.nc --submission mice_submission.npy",
    )
    add = parser.add_argument
    add("checkpoint", help="run folder, checkpoint folder or .pt file")
    add("words", nargs="*", metavar="key=value", help="settings of the data, such as data.path=...")
    add("--out", required=True, type=Path, help="embedding file to write (.nc)")
    add("--split", choices=["all", "train", "test"], default="all", help="which data (default all)")
    add("--levels", nargs="+", metavar="LEVEL", help="timescales to compute (default all)")
    add(
        "--aggregate",
        choices=["mean_range", "mean", "side_by_side"],
        default="mean_range",
        help="how animals that the network sees one by one are joined (default mean_range)",
    )
    add("--submission", type=Path, metavar="FILE", help="also write the MABe submission (.npy)")
    add("--frame-map", type=Path, metavar="FILE", help="its frame map (default: beside the data)")
    add("--device", default="auto", help="cpu, cuda, mps (default: what the machine has)")
    add("--frames", type=int, help="frames at a time (default: chosen for the device)")
    add("--precision", choices=["32", "bf16"], default="32", help="bf16: on GPUs only (default 32)")
    _add_compat(parser, "default: that of the training")
    given = parser.parse_intermixed_args(words)

    from bams.embed import embed
    from bams.embed_inputs import open_inputs

    inputs = open_inputs(given.checkpoint, given.words, given.split, given.compat)
    written = embed(
        given.checkpoint,
        inputs.sequences,
        given.out,
        levels=given.levels,
        aggregate=given.aggregate,
        submission=given.submission,
        frame_map=given.frame_map or inputs.frame_map,
        compat=inputs.compat,
        device=given.device,
        frames=given.frames,
        precision=given.precision,
    )
    print(f"embeddings: {written}")


def _evaluate(words: list[str]) -> None:
    """Score embeddings against labels, timescale by timescale."""
    parser = _parser(
        "evaluate",
        "Read labels from embeddings by linear models, at every timescale and from all together.\n"
        "Labels are a table (.csv) or an annotation file (.npz), of frames or of recordings.",
        "bams evaluate embeddings.nc --labels labels.csv --out scores\n"
        "bams evaluate custom.nc --labels labels.npz --out scores --readout original",
    )
    add = parser.add_argument
    add("embeddings", type=Path, help="embedding file (.nc) of bams embed")
    add("--labels", required=True, type=Path, help="label table (.csv) or annotations (.npz)")
    add("--out", required=True, type=Path, metavar="DIR", help="folder for the results")
    add(
        "--readout",
        choices=["probes", "original"],
        default="probes",
        help="probes with chosen penalties, or the authors' recipe and split (default probes)",
    )
    add("--tasks", nargs="+", metavar="TASK", help="tasks of the labels (default all)")
    add("--regression", nargs="+", default=[], metavar="TASK", help="tasks that are numbers")
    add("--device", default="cpu", help="where --readout original is trained (default cpu)")
    add(
        "--train",
        type=float,
        default=0.8,
        choices=[0.2, 0.8],
        help="--readout original: share of the recordings that train (default 0.8)",
    )
    _add_compat(parser, "--readout original: values without spread become NaN")

    from behaviorzoo.probe_command import add_split_arguments, recordings_that_test

    add_split_arguments(parser)
    given = parser.parse_intermixed_args(words)

    from bams.evaluate import evaluate
    from bams.label_scores import OriginalReadout
    from behaviorzoo.probes import ProbeSettings
    from behaviorzoo.probes.scores import summary

    result = evaluate(
        given.embeddings,
        given.labels,
        given.out,
        readout=given.readout,
        tasks=given.tasks,
        regression=given.regression,
        probes=ProbeSettings(test=recordings_that_test(given), folds=given.folds),
        original=OriginalReadout(train=given.train, compat=given.compat or "paper"),
        device=given.device,
    )
    for note in result.details.get("notes", []):
        print(f"note: {note}")
    print(summary(result.scores))
    print(f"results in {given.out}")


def _visualize(words: list[str]) -> None:
    """Draw maps of the latent space, PCA and UMAP, at every timescale."""
    parser = _parser(
        "visualize",
        "Draw every timescale, and all together, in two dimensions by PCA and UMAP (the latter\n"
        "with the extra: pip install 'behaviorzoo-bams[umap]'), coloured by labels.",
        "bams visualize embeddings.nc --out maps --labels labels.csv",
    )
    add = parser.add_argument
    add("embeddings", type=Path, help="embedding file (.nc) of bams embed")
    add("--out", required=True, type=Path, metavar="DIR", help="folder for the pictures")
    add("--labels", type=Path, help="label table (.csv) or annotations (.npz) to colour by")
    add("--tasks", nargs="+", metavar="TASK", help="tasks to colour by (default all)")
    add("--regression", nargs="+", default=[], metavar="TASK", help="tasks that are numbers")
    add("--methods", nargs="+", choices=["pca", "umap"], help="maps (default: all installed)")
    add("--max-points", type=int, default=5000, help="frames to draw (default 5000)")
    add("--neighbours", type=int, default=15, help="neighbours of a point in UMAP (default 15)")
    add("--seed", type=int, default=0, help="for UMAP (default 0)")
    add("--notebook", action="store_true", help="also the picture of the authors' notebook")
    given = parser.parse_intermixed_args(words)

    from bams.visualize import visualize

    options = {key: value for key, value in vars(given).items() if key not in ("embeddings", "out")}
    for path in visualize(given.embeddings, given.out, **options):
        print(path)


def _convert(words: list[str]) -> None:
    """Change a checkpoint between our layout and the authors'."""
    parser = _parser(
        "convert",
        "Change an authors' .pt file into a checkpoint folder of ours, or back. Every key and\n"
        "shape is checked; the optimiser's state is not carried.",
        "bams convert bams-custom.pt mine --to ours\n"
        "bams convert runs/mice bams-mice.pt --to authors",
    )
    parser.add_argument("source", type=Path, help="checkpoint to read")
    parser.add_argument("out", type=Path, help="folder (ours) or .pt file (authors) to write")
    parser.add_argument("--to", choices=["ours", "authors"], required=True, help="layout to write")
    parser.add_argument(
        "--dilation-base",
        nargs="+",
        default=[],
        metavar="ENCODER=BASE",
        help="what an authors' file does not tell of encoders other than short_term and long_term",
    )
    given = parser.parse_intermixed_args(words)

    from bams.convert import convert

    bases = dict(map(_dilation_base, given.dilation_base))
    print(convert(given.source, given.out, to=given.to, dilation_bases=bases))


def _info(words: list[str]) -> None:
    """Show a model: settings, timescales, sizes."""
    parser = _parser(
        "info",
        "Show the settings, the timescales in frames and seconds, the sizes and what the network\n"
        "sees, of a checkpoint or of the model that the given settings would make.",
        "bams info runs/mice\nbams info experiment=mouse_triplets",
    )
    parser.add_argument("words", nargs="*", metavar="CHECKPOINT | key=value", help="what to show")
    given = parser.parse_intermixed_args(words)

    from bams.info import information

    print(information(given.words))


def _dilation_base(word: str) -> tuple[str, int]:
    encoder, _, base = word.partition("=")
    if not (encoder and base.isdigit()):
        raise UserError(f"--dilation-base {word}: write ENCODER=BASE, such as short_term=2")
    return encoder, int(base)


def _add_compat(parser: argparse.ArgumentParser, about: str) -> None:
    parser.add_argument("--compat", choices=["paper", "upstream"], help=f"whose rules ({about})")


VERBS: dict[str, commands.Verb] = {
    "prepare": _prepare,
    "train": _train,
    "embed": _embed,
    "evaluate": _evaluate,
    "visualize": _visualize,
    "convert": _convert,
    "info": _info,
}

TRAINING = {"train": trainer_words}
"""Verbs that train, and what tells them of several processes."""


if __name__ == "__main__":
    sys.exit(main())
