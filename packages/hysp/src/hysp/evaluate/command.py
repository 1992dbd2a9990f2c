"""The verb ``hysp evaluate``: words to functions. Nothing heavy is imported before it runs."""

from __future__ import annotations

from behaviorzoo import commands
from behaviorzoo.errors import UserError

ABOUT = """\
Measure how good the representation of a trained encoder is:

  protocol=linear      a linear (or, head=hyperbolic, a Moebius) layer on the frozen encoder
  protocol=semi        all trained with a fraction of the labels (fraction=0.1, 0.01)
  protocol=supervised  all trained with all labels (fine-tuning); without a checkpoint from scratch
  protocol=knn         nearest neighbours, nothing trained
  protocol=transfer    linear, on other data than those of the pre-training

A frozen encoder runs once over all samples. Settings are key=value words; experiment=NAME starts
from a published recipe. The folder gets scores, predictions, logits, pictures and report.html."""
EXAMPLE = """\
hysp evaluate runs/ntu60 experiment=ntu60_xview data.path=data/ntu60 out=scores/joint
hysp evaluate runs/ntu60 protocol=semi fraction=0.01 experiment=ntu60_xview data.path=data/ntu60 \\
    out=scores/semi
hysp evaluate runs/bandai experiment=bandai data.path=data/bandai --folds 5 out=bandai
hysp evaluate epoch-300.ckpt experiment=ntu60_xsub data.path=data/ntu60 compat=upstream"""


def command(words: list[str]) -> None:
    """Measure a representation: linear, semi-supervised, supervised, k-NN, transfer.

    Args:
        words: What stands behind ``hysp evaluate``.

    Raises:
        UserError: Wrong options, checkpoint or data.
    """
    parser = commands.verb_parser("hysp", "evaluate", ABOUT, EXAMPLE)
    add = parser.add_argument
    add("words", nargs="*", metavar="CHECKPOINT | key=value", help="what to evaluate; settings")
    add("--folds", type=int, metavar="K", help="test every sample once, in folds of whole groups")
    add("--help-config", action="store_true", help="list every key and leave")
    add("--no-progress", action="store_true", help="no progress bar")
    given = parser.parse_intermixed_args(words)

    from hysp.evaluate.config import configure, help_text

    if given.help_config:
        print(help_text())
        return
    folds = [] if given.folds is None else [f"folds={given.folds}"]
    config = configure([*_as_words(given.words), *folds])
    if not config.data.path:
        raise UserError(
            "data.path is empty: give data.path=FOLDER, of `hysp prepare` or recordings"
        )

    from behaviorzoo.probes.scores import summary
    from hysp.checkpoints import load_checkpoint
    from hysp.data.opening import idle_words
    from hysp.evaluate.run import evaluate
    from hysp.inputs import cut_alike

    if config.checkpoint:
        config.data = cut_alike(config.data, load_checkpoint(config.checkpoint), given.words)

    for note in idle_words(config.data, given.words):
        print(f"note: {note}")
    result = evaluate(config, progress=not given.no_progress)
    for name, notes in result.details["notes"].items():
        for note in notes:
            print(f"note: {name}: {note}")
    print(f"split: {result.details['split']}\n")
    print(summary(result.scores))
    print(f"results in {result.folder}, page {result.folder / 'report.html'}")


def _as_words(words: list[str]) -> list[str]:
    """The word without ``=`` is the checkpoint."""
    bare = [word for word in words if "=" not in word]
    if len(bare) > 1:
        raise UserError(f"{', '.join(bare)}: one checkpoint, and settings as key=value")
    return [*(f"checkpoint={word}" for word in bare), *(word for word in words if "=" in word)]
