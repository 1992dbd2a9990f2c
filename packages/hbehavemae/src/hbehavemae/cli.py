"""The command ``hbehavemae``: verbs to functions. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from behaviorzoo import commands
from behaviorzoo.errors import UserError
from behaviorzoo.launch.words import trainer_words
from hbehavemae import __version__

DESCRIPTION = """\
hBehaveMAE: hierarchical masked autoencoders that learn behaviour from tracked poses.

  hbehavemae VERB --help          what a verb does, with an example
  hbehavemae pretrain --help-config   every key=value that can be set
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Words after the program's name; those of the process by default.

    Returns:
        0, 2 for a mistake of the user's, 130 after Ctrl-C.
    """
    return commands.run_verbs("hbehavemae", __version__, DESCRIPTION, VERBS, argv, TRAINING)


_parser = partial(commands.verb_parser, "hbehavemae")


def _pretrain(words: list[str]) -> None:
    """Train a model on recordings without labels."""
    parser = commands.training_parser(
        "hbehavemae",
        "pretrain",
        "Train by hiding parts of the movement and predicting them. Settings are key=value words;\n"
        "experiment=NAME starts from a recipe (shot7m2, hbabel, mabe22, rats, demo or a file).",
        "hbehavemae pretrain data.path=recordings/ out=runs/mice optim.epochs=50\n"
        "hbehavemae pretrain experiment=shot7m2 data.path=train_dictionary_poses.npy "
        "trainer.devices=2",
    )
    given = parser.parse_intermixed_args(words)

    from hbehavemae import config

    if given.help_config:
        print(config.help_text())
        return
    settings = config.resolve(config.configure(given.words, resume=given.resume))

    from behaviorzoo.launch import tell

    tell(config.overview(settings))
    if given.dry_run:
        return

    from hbehavemae.training import pretrain

    folder = pretrain(settings, resume=given.resume)
    tell(f"run: {folder}")


def _embed(words: list[str]) -> None:
    """Compute the embeddings of every level of a trained model."""
    parser = _parser(
        "embed",
        "Compute per-frame embeddings of recordings with a checkpoint: a run folder, a checkpoint\n"
        "folder or a published .pth file.",
        "hbehavemae embed runs/mice --out embeddings.nc data.path=recordings/\n"
        "hbehavemae embed hBehaveMAE_Shot7M2.pth --out shot7m2.nc --pca 64 "
        "--submissions submissions data.path=test_dictionary_poses.npy",
    )
    add = parser.add_argument
    add("checkpoint", help="run folder, checkpoint folder or .pth file")
    add("words", nargs="*", metavar="key=value", help="settings of the data, such as data.path=...")
    add("--out", required=True, type=Path, help="embedding file to write (.nc)")
    add("--split", choices=["train", "test"], default="test", help="which data (default test)")
    add("--mode", choices=["averaging", "fast"], default="averaging", help="default averaging")
    add("--stride", type=int, default=1, help="frames between windows (averaging; 1 is exact)")
    add("--levels", type=int, nargs="+", help="levels to compute, 1 is the finest (default all)")
    add("--batch-size", type=int, help="windows at a time (default: chosen for the device)")
    add("--embedsum", action="store_true", help="average over individuals and key points")
    add("--fusion", action="store_true", help="add the fused level of the decoder's input")
    add("--combine", action="store_true", help="add all levels side by side as one level")
    add("--pca", type=int, metavar="N", help="reduce wider levels to N components")
    add("--submissions", type=Path, metavar="DIR", help="also write one MABe file per level")
    add("--device", default="auto", help="cpu, cuda, mps (default: what the machine has)")
    add("--compat", action="store_true", help="reproduce the defects of the original extraction")
    given = parser.parse_intermixed_args(words)

    from hbehavemae.embed import embed
    from hbehavemae.embed_inputs import open_inputs

    sequences = open_inputs(given.checkpoint, given.words, given.split, given.compat)
    written = embed(
        given.checkpoint,
        sequences,
        given.out,
        mode=given.mode,
        stride=given.stride,
        batch_size=given.batch_size,
        embedsum=given.embedsum,
        fusion=given.fusion,
        combine=given.combine,
        submissions=given.submissions,
        pca=given.pca,
        compat="upstream" if given.compat else "none",
        device=given.device,
        levels=given.levels,
    )
    print(f"embeddings: {written}")


def _info(words: list[str]) -> None:
    """Show a model: settings, hierarchy, sizes."""
    parser = _parser(
        "info",
        "Show the settings, the hierarchy and the parameter counts of a checkpoint, or of the\n"
        "model that the given settings would make.",
        "hbehavemae info runs/mice\nhbehavemae info experiment=mabe22",
    )
    parser.add_argument("words", nargs="*", metavar="CHECKPOINT | key=value", help="what to show")
    given = parser.parse_intermixed_args(words)

    from hbehavemae.info import information

    print(information(given.words))


def _prepare(words: list[str]) -> None:
    """Make training files from downloaded data (hBABEL)."""
    parser = _parser(
        "prepare",
        "Make the files of hBABEL from BABEL labels and AMASS motions (see: download hbabel).",
        "hbehavemae prepare hbabel-poses data/babel\n"
        "hbehavemae prepare hbabel-labels data/babel --out data/hBABEL",
    )
    parser.add_argument("what", choices=["hbabel-poses", "hbabel-labels"], help="what to make")
    parser.add_argument("source", type=Path, help="folder with the downloaded data")
    parser.add_argument("--out", type=Path, help="output folder (default: beside the source)")
    parser.add_argument(
        "--compat", action="store_true", help="reproduce the defects of the original labels"
    )
    given = parser.parse_intermixed_args(words)

    from hbehavemae.prepare import hbabel_labels, hbabel_poses

    work = {
        "hbabel-poses": hbabel_poses,
        "hbabel-labels": partial(hbabel_labels, compat="upstream" if given.compat else "none"),
    }
    for path in work[given.what](given.source, given.out):
        print(path)


def _convert(words: list[str]) -> None:
    """Change a checkpoint between our layout and the authors'."""
    parser = _parser(
        "convert",
        "Change a published .pth file into a checkpoint folder of ours, or back. Weights and\n"
        "settings are kept, every key and shape is checked; the optimiser's state is not carried.",
        "hbehavemae convert hBehaveMAE_Shot7M2.pth shot7m2 --to ours\n"
        "hbehavemae convert runs/mice checkpoint-00199.pth --to authors",
    )
    parser.add_argument("source", type=Path, help="checkpoint to read")
    parser.add_argument("out", type=Path, help="folder (ours) or .pth file (authors) to write")
    parser.add_argument("--to", choices=["ours", "authors"], required=True, help="layout to write")
    given = parser.parse_intermixed_args(words)

    from hbehavemae.convert import to_authors, to_ours

    print({"ours": to_ours, "authors": to_authors}[given.to](given.source, given.out))


def _download(words: list[str]) -> None:
    """Fetch published weights and data sets."""
    parser = _parser(
        "download",
        "Fetch published weights and data sets. A broken download goes on where it stopped;\n"
        "hashes are checked where the publisher states one. 'list' shows all names.",
        "hbehavemae download list\nhbehavemae download hBehaveMAE_Shot7M2.pth shot7m2 --out data",
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help="'list', or names of files, sets")
    parser.add_argument("--out", type=Path, help="output folder")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    given = parser.parse_intermixed_args(words)

    from hbehavemae.download import fetch
    from hbehavemae.registry import REGISTRY

    if given.names == ["list"]:
        print(REGISTRY.table())
        return
    files = REGISTRY.find(given.names)
    if given.out is None:
        raise UserError(f"give --out FOLDER for the {len(files)} files")
    fetch(given.names, given.out, progress=not given.quiet)


VERBS: dict[str, commands.Verb] = {
    "prepare": _prepare,
    "pretrain": _pretrain,
    "embed": _embed,
    "info": _info,
    "convert": _convert,
    "download": _download,
}

TRAINING = {"pretrain": trainer_words}
"""Verbs that train, and what tells them of several processes."""


if __name__ == "__main__":
    sys.exit(main())
