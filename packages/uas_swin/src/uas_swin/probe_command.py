"""The verb ``uas-swin probe``: words to functions."""

from __future__ import annotations

from pathlib import Path

from behaviorzoo import commands
from behaviorzoo.errors import UserError

ABOUT = """\
Train linear probes on the features of `uas-swin extract`, as `uas-swin train` would with a frozen
backbone: the optimiser, schedule, batch and dropout of the configuration, unless given here. Each
epoch takes one view of a video at random; test scores are means over its views. Several seeds and
rates are trained at once. Neighbours come along.

Small sets: --folds loo leaves out one video at a time, --folds 5 a fifth; --group keeps the videos
of one recording together."""
EXAMPLE = """\
uas-swin probe features --out probe
uas-swin probe features --out probe --lr 1e-4 3e-4 1e-3 --seeds 0 1 2
uas-swin probe features --out probe --folds loo --group '^[^/]+/[^_]+'
uas-swin test mammalnet_k600 probe/head --eval top_k_accuracy mean_class_accuracy"""


def run(words: list[str]) -> None:
    """Do what ``uas-swin probe`` is told.

    Args:
        words: What stands behind it.

    Raises:
        UserError: Wrong options or features.
    """
    parser = commands.verb_parser("uas-swin", "probe", ABOUT, EXAMPLE)
    add = parser.add_argument
    add("features", type=Path, help="folder of uas-swin extract")
    add("--out", required=True, type=Path, metavar="DIR", help="folder to write")
    add("--lr", nargs="+", type=float, metavar="LR", help="learning rates")
    add("--seeds", nargs="+", type=int, default=[0], metavar="N", help="seeds (default 0)")
    add("--epochs", type=int, metavar="N", help="epochs")
    add("--batch-size", type=int, metavar="N", help="samples of an iteration")
    add("--accumulate", type=int, metavar="N", help="iterations of a step")
    add("--weight-decay", type=float, metavar="X", help="weight decay")
    add("--dropout", type=float, metavar="X", help="share of features that is left out")
    add("--warmup-epochs", type=float, metavar="X", help="epochs of the warm-up")
    add("--folds", metavar="K", help="leave out in turn: loo for one at a time, or a number")
    add("--group", metavar="REGEX", help="videos that are left out together (with --folds)")
    add("--split", default="train", metavar="SPLIT", help="whose samples --folds takes")
    add("--eval", nargs="+", metavar="METRIC", help="metrics, as of uas-swin test")
    add("--compat", choices=["upstream", "corrected"], default="upstream", help="whose metrics")
    given = parser.parse_args(words)
    if given.group is not None and given.folds is None:
        raise UserError("--group is for --folds")

    from uas_swin.feature_store import FeatureStore
    from uas_swin.metrics import DEFAULT_METRICS, check_metrics
    from uas_swin.probe import cross_validate, probe, refuse_used, settings_of, write_result

    metrics = tuple(given.eval or DEFAULT_METRICS)
    check_metrics(metrics)
    refuse_used(given.out)
    store = FeatureStore(given.features)
    settings = settings_of(
        store.about,
        lrs=None if given.lr is None else tuple(dict.fromkeys(given.lr)),
        seeds=tuple(dict.fromkeys(given.seeds)),
        epochs=given.epochs,
        batch_size=given.batch_size,
        accumulate=given.accumulate,
        weight_decay=given.weight_decay,
        dropout=given.dropout,
        warmup_epochs=given.warmup_epochs,
    )
    if given.folds is None:
        result = probe(store, settings, metrics=metrics, compat=given.compat)
    else:
        result = cross_validate(
            store,
            settings,
            folds=_folds(given.folds),
            split=given.split,
            group=given.group,
            metrics=metrics,
            compat=given.compat,
        )
    write_result(result, store, settings, given.out)
    print(result.text())
    print(f"probe: {given.out}")


def _folds(word: str) -> int | None:
    if word == "loo":
        return None
    if not word.isdigit():
        raise UserError(f"--folds {word}: a number of folds, or loo for one sample at a time")
    return int(word)
