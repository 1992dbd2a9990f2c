"""The command ``sgear``: verbs to functions. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from behaviorzoo import commands
from behaviorzoo.errors import UserError
from sgear import __version__

DESCRIPTION = """\
S-GEAR: which action comes next in a video, learned with prototypes of the actions.

  sgear VERB --help          what a verb does, with an example
  sgear train --help-config  every key=value that can be set
  sgear launch --list        the experiments that come with it
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Words after the program's name; those of the process by default.

    Returns:
        0, 2 for a mistake of the user's, 130 after Ctrl-C, 143 after SIGTERM.
    """
    # The processes of a job find each other without being told.
    training: dict[str, commands.ProcessWords] = {"train": lambda nodes, tasks: []}
    return commands.run_verbs("sgear", __version__, DESCRIPTION, VERBS, argv, training)


_parser = partial(commands.verb_parser, "sgear")


def _train(words: list[str]) -> None:
    """Train a network on annotated videos or features."""
    parser = commands.training_parser(
        "sgear",
        "train",
        "Train with key=value words over the configuration tree; group=option picks a part\n"
        "(model/backbone=vit_b_384, dataset@dataset_train=egtea/anticipation_train). --experiment\n"
        "starts from a TXT experiment; `sgear launch` runs those on a cluster.",
        "sgear train --experiment expts/ek100_SGEAR_tsn.txt --out runs/tsn train.batch_size=8\n"
        "sgear train dataset@dataset_train=own/anticipation_train\n"
        "    dataset@dataset_eval=own/anticipation_val dataset.own.common.folder=kitchen\n"
        "    --experiment expts/ek100_SGEAR_vit.txt --out runs/kitchen test_only=false\n"
        "sgear train --resume --out runs/kitchen\n"
        "torchrun --nproc-per-node 4 -m sgear.cli train --experiment ... --out ...",
    )
    add = parser.add_argument
    add("--experiment", metavar="TXT", help="expts/NAME.txt; words change it")
    add("--out", type=Path, metavar="DIR", help="run folder (default hydra.run.dir, outputs/)")
    given = parser.parse_intermixed_args(words)

    from sgear import config

    if given.help_config:
        print(config.help_text())
        return

    from sgear.run_folder import settings_for

    settings, tree, folder = settings_for(given.words, given.experiment, given.out, given.resume)
    network = settings.network()
    if given.dry_run:
        print(f"{settings.to_yaml()}\nrun: {folder}\n{network}")
        return

    from sgear.run import run

    run(settings, tree, folder, resume=given.resume)


def _test(words: list[str]) -> None:
    """Evaluate a run on its evaluation sets, or on others."""
    parser = _parser(
        "test",
        "Evaluate the checkpoint of a run on every dataset_eval* of its settings: figures, and\n"
        "results of every clip in results*/ for `sgear fuse`, `submit` and `report`.",
        "sgear test OUTPUTS/expts/ek100_SGEAR_tsn.txt/0\n"
        "sgear test runs/tsn dataset@dataset_eval=epic_kitchens100/anticipation_test --out test\n"
        "sgear test runs/AR eval.eval_fn.store_embeddings=true --checkpoint best.pth",
    )
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="run folder")
    add("words", nargs="*", metavar="key=value", help="settings of the run that differ")
    add("--checkpoint", type=Path, metavar="FILE", help="other weights than the run's")
    add("--out", type=Path, metavar="DIR", help="folder for the results (default: the run)")
    given = parser.parse_intermixed_args(words)

    from sgear.run_folder import read_settings

    settings, _ = read_settings(given.run, [*given.words, "test_only=true"])

    from sgear.distributed import processes
    from sgear.run import evaluate_checkpoint
    from sgear.run_state import CHECKPOINT

    checkpoint = given.checkpoint or given.run / CHECKPOINT
    folder = given.out or given.run
    if folder.resolve() != given.run.resolve() and (folder / CHECKPOINT).exists():
        raise UserError(f"--out {folder}: holds another run; choose another folder")
    place = settings.settings
    with processes(folder, place.device, place.dist_backend) as all_:
        evaluate_checkpoint(settings, folder, all_, checkpoint)


def _launch(words: list[str]) -> None:
    """Run a TXT experiment, on a SLURM cluster or here."""
    parser = _parser(
        "launch",
        "Run expts/NAME.txt, of the working folder or of those that come with the package. Each\n"
        "line is key=value; a,b is a sweep. Runs go to SLURM, one job each, or with -l one of\n"
        "them runs here. Results: OUTPUTS/expts/NAME.txt/<number>/. A run that was stopped goes\n"
        "on when it is launched again.",
        "sgear launch --list\n"
        "sgear launch -c expts/ek100_SGEAR_tsn.txt -p gpu hydra.launcher.gpus_per_node=4\n"
        "sgear launch -c expts/50salads_SGEAR_vit.txt -l --run_id 2\n"
        "sgear launch -c expts/ek100_SGEAR_vit.txt -l -t\n"
        "sgear launch -c expts/ek100_SGEAR_vit.txt --tb",
    )
    add = parser.add_argument
    add("-c", "--cfg", metavar="TXT", help="the experiment, expts/NAME.txt")
    add("-l", "--local", action="store_true", help="run on this machine")
    add("-g", "--debug", action="store_true", help="run in this process, without workers")
    add("-t", "--test", action="store_true", help="evaluate only")
    add("-p", "--partition", metavar="PART", help="queue of the scheduler")
    add("--tb", action="store_true", help="show the runs in TensorBoard")
    add("-f", "--fl", action="store_true", help="show the folder of the runs in a browser")
    add("-d", "--delete", action="store_true", help="delete the runs")
    add("-k", "--kill", action="store_true", help="cancel the jobs")
    add("--profile", action="store_true", help="write where the time goes, profile.txt")
    add("--run_id", "--run-id", type=int, metavar="N", help="which run of a sweep")
    add("--cls", action="store_true", help="accepted and not used, as in the original")
    add("--yes", action="store_true", help="answer yes where something is asked")
    add("--list", action="store_true", help="list the experiments that come with the package")
    add("rest", nargs="*", metavar="key=value", help="further overrides")
    given = parser.parse_intermixed_args(words)

    from sgear import experiments

    if given.list:
        for name in experiments.packaged():
            print(f"{name:<32}{experiments.heading(name)}")
        return
    if given.cfg is None:
        raise UserError("sgear launch: name an experiment, -c expts/NAME.txt; --list shows some")

    from sgear import launcher

    experiments.check_name(given.cfg)
    if given.kill:
        gone = launcher.kill(given.cfg, given.yes)
        print(f"cancelled: {', '.join(gone) or 'nothing'}")
    elif given.tb or given.fl:
        launcher.serve(given.cfg, "tensorboard" if given.tb else "files")
    elif given.delete:
        print("deleted" if launcher.delete(given.cfg, given.yes) else "nothing deleted")
    else:
        launcher.launch(
            launcher.Launch(
                config=given.cfg,
                local=given.local,
                debug=given.debug,
                test=given.test,
                partition=given.partition,
                run_id=given.run_id,
                profile=given.profile,
                rest=given.rest,
                yes=given.yes,
            )
        )


def _prototypes(words: list[str]) -> None:
    """Make prototypes of the classes, from language or from a network."""
    from sgear.prototypes.command import command

    command(words)


def _fuse(words: list[str]) -> None:
    """Fuse the scores of several runs."""
    from sgear.fuse_command import command

    command(words)


def _submit(words: list[str]) -> None:
    """Write the files of the EPIC-Kitchens challenges."""
    from sgear.submit_command import command

    command(words)


def _embed(words: list[str]) -> None:
    """Write what a network expects as an embedding file."""
    from sgear.embed_command import command

    command(words)


def _report(words: list[str]) -> None:
    """Write a page on runs or on a fusion."""
    from sgear.report_command import command

    command(words)


def _convert(words: list[str]) -> None:
    """Change a checkpoint between our layout and the authors'."""
    parser = _parser(
        "convert",
        "Change a checkpoint.pth into a folder of ours (safetensors, yaml, json), or back. Every\n"
        "key and shape is checked.",
        "sgear convert OUTPUTS/expts/ek100_SGEAR_tsn.txt/0 tsn --to ours\n"
        "sgear convert tsn checkpoint.pth --to authors",
    )
    parser.add_argument("source", type=Path, help="checkpoint or run folder to read")
    parser.add_argument("out", type=Path, help="folder (ours) or .pth file (authors) to write")
    parser.add_argument("--to", choices=["ours", "authors"], required=True, help="layout to write")
    given = parser.parse_intermixed_args(words)

    from sgear.convert import to_authors, to_ours

    print((to_ours if given.to == "ours" else to_authors)(given.source, given.out))


def _info(words: list[str]) -> None:
    """Show a network: settings, classes, sizes."""
    parser = _parser(
        "info",
        "Show the options, the classes and the sizes of a checkpoint: a run folder, a .pth file\n"
        "(ours or the authors'), or a folder of `sgear convert`.",
        "sgear info runs/tsn\nsgear info checkpoint.pth",
    )
    parser.add_argument("checkpoint", type=Path, help="what to show")
    given = parser.parse_intermixed_args(words)

    from sgear.info import information

    print(information(given.checkpoint))


VERBS: dict[str, commands.Verb] = {
    "train": _train,
    "test": _test,
    "launch": _launch,
    "prototypes": _prototypes,
    "fuse": _fuse,
    "submit": _submit,
    "embed": _embed,
    "report": _report,
    "convert": _convert,
    "info": _info,
}


if __name__ == "__main__":
    sys.exit(main())
