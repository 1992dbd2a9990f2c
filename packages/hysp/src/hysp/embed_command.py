"""The verb ``hysp embed``: words to functions."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from behaviorzoo import commands
from behaviorzoo.config import compose, keys_of_section
from behaviorzoo.errors import UserError
from hysp.data.config import DataConfig

if TYPE_CHECKING:
    from hysp.checkpoints import LoadedModel
    from hysp.data.dataset import SkeletonData
    from hysp.embed import Embedded
    from hysp.encoding import ClipEncoder

ABOUT = """\
Embed clips or recordings with a checkpoint: a run folder, a checkpoint folder or an authors' file.

  clips (prepared data, rows of a label table)   one row per clip
  recordings without labels                      one row per frame: the mean over sliding windows

Levels: encoder, projection, hyperbolic (the point of the Poincare ball) and uncertainty
(1 - radius). NAME_sequences.csv has radius and uncertainty of every clip or window; --report makes
a page with the Poincare disk and the uncertainty of the classes."""
EXAMPLE = """\
hysp embed runs/bandai --out bandai.nc data.path=data/bandai --report bandai.html
hysp embed runs/mice --out mice.nc data.path=recordings/
hysp embed epoch-300.ckpt --out ntu.nc data.path=data/ntu60 data.benchmark=xsub --split val"""


@dataclass
class EmbedSettings:
    """The ``key=value`` words of the verb."""

    data: DataConfig = field(default_factory=DataConfig)


def run(words: list[str]) -> None:
    """Do what ``hysp embed`` is told.

    Args:
        words: What stands behind it.

    Raises:
        UserError: Wrong options, checkpoint or data.
    """
    parser = commands.verb_parser("hysp", "embed", ABOUT, EXAMPLE)
    add = parser.add_argument
    add("checkpoint", help="run folder, checkpoint folder or authors' file")
    add("words", nargs="*", metavar="key=value", help="settings of the data, such as data.path=...")
    add("--out", required=True, type=Path, metavar="FILE", help="embedding file to write (.nc)")
    add("--split", choices=["all", "train", "val"], default="all", help="which clips (default all)")
    add("--levels", nargs="+", metavar="LEVEL", help="levels to write (default all)")
    add("--branch", choices=["online", "target"], default="online", help="target: moving average")
    add("--stream", help="joint, motion, bone, 2s, 3s (default: that of the checkpoint)")
    add("--report", type=Path, metavar="FILE", help="page with pictures to write (.html)")
    add("--device", default="auto", help="cpu, cuda, mps (default: what the machine has)")
    add("--batch-size", type=int, default=128, metavar="N", help="clips at a time (default 128)")
    add("--precision", choices=["32", "16", "bf16"], default="32", help="16, bf16: on GPUs only")
    add(
        "--compat",
        choices=["paper", "upstream"],
        default="paper",
        help="upstream: points of the ball from the encoder, not from the projection",
    )
    add("--no-progress", action="store_true", help="no progress bar")
    tools = parser.add_argument_group("the authors' tools for uncertainty (clips only)")
    tools.add_argument(
        "--uncertainty-file", type=Path, metavar="FILE", help="number -> value, .pkl"
    )
    tools.add_argument("--halves", type=Path, metavar="DIR", help="data sets low and high in DIR")
    tools.add_argument("--layout", choices=["ours", "authors"], default="ours", help="of --halves")
    given = parser.parse_intermixed_args(words)

    from behaviorzoo.devices import resolve_device
    from hysp.checkpoints import load_checkpoint
    from hysp.data.opening import idle_words
    from hysp.encoding import ClipEncoder

    if given.batch_size < 1:
        raise UserError(f"--batch-size {given.batch_size} must be at least 1")
    if given.halves is not None:
        from hysp.uncertainty import check_halves

        check_halves(given.halves, given.layout)
    loaded = load_checkpoint(given.checkpoint)
    config = data_settings(loaded, given.words)
    encoder = ClipEncoder(
        loaded,
        resolve_device(given.device),
        stream=given.stream,
        branch=given.branch,
        compat=given.compat,
        precision=given.precision,
    )
    result = _embed(given, loaded, config, encoder)
    for note in [*idle_words(config, given.words), *result.notes]:
        print(f"note: {note}")
    print(f"embeddings: {result.path}")
    if given.report is not None:
        from hysp.embed_page import write_page

        print(f"report: {write_page(result, given.report, Path(given.checkpoint).name)}")


def data_settings(loaded: LoadedModel, words: Sequence[str]) -> DataConfig:
    """Settings of the data to embed: those of the training, and what the words change.

    With ``data.path`` just that is read: the training's labels and choice of recordings do not
    apply.

    Raises:
        UserError: Words that are not about data, or wrong ones.
    """
    from hysp.inputs import cut_alike

    given = keys_of_section(words, "data", "the network is the checkpoint's")
    config = cut_alike(compose(EmbedSettings, "hysp.prepare.conf", words).data, loaded, words)
    if "path" in given:
        return config
    trained = (loaded.full_config or {}).get("data")
    if not isinstance(trained, dict) or not trained.get("path"):
        raise UserError("data.path is empty: give data.path=FOLDER with the data to embed")
    from behaviorzoo.schema import from_dict

    own = {key: getattr(config, key) for key in given if "." not in key}
    base = from_dict(DataConfig, trained, where=f"{loaded.path}, data")
    choice = {key: getattr(base.clips, key) for key in ("recordings", "exclude")
              if f"clips.{key}" not in given}  # fmt: skip
    return replace(base, **own, clips=replace(config.clips, **choice), folds=None)


def _embed(
    given: Namespace, loaded: LoadedModel, config: DataConfig, encoder: ClipEncoder
) -> Embedded:
    from hysp.data.opening import is_recordings, open_data
    from hysp.embed import embed_clips, embed_recordings
    from hysp.embed_windows import WindowedRecordings
    from hysp.inputs import check_fit, data_state

    options: dict[str, Any] = {
        "levels": given.levels,
        "attrs": {"checkpoint": Path(given.checkpoint).name, "branch": given.branch},
        "batch_size": given.batch_size,
        "progress": not given.no_progress,
    }
    state = data_state(loaded)
    if is_recordings(config) and not config.labels:
        for option in ("uncertainty_file", "halves"):
            if getattr(given, option) is not None:
                name = option.replace("_", "-")
                raise UserError(f"--{name} is for clips; these are recordings without labels")
        return embed_recordings(encoder, WindowedRecordings(config, state), given.out, **options)
    data = open_data(config, given.split, state)
    check_fit(encoder.encoder.config, data, encoder.stream)
    result = embed_clips(encoder, data, given.out, **options)
    _authors_tools(given, data, result)
    return result


def _authors_tools(given: Namespace, data: SkeletonData, result: Embedded) -> None:
    from hysp.uncertainty import write_halves, write_uncertainty

    if given.uncertainty_file is not None:
        print(f"uncertainty: {write_uncertainty(given.uncertainty_file, result.uncertainty)}")
    if given.halves is not None:
        halves = write_halves(data, result.uncertainty, given.halves, given.layout)
        sizes = f"{len(halves.low)} below, {len(halves.high)} from {halves.median:.6g} on"
        print(f"halves: {given.halves} ({sizes})")
