"""The verb ``sgear embed``: embeddings of segments or of whole videos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from behaviorzoo import commands
from behaviorzoo.errors import UserError

if TYPE_CHECKING:
    from sgear.data.dataset import ActionDataset
    from sgear.trained_run import TrainedRun

ABOUT = """\
Write what a trained network expects (and what it has seen) as an embedding file that
`behaviorzoo probe`, `report` and `view` read.

A recording is a video. Without more, its rows are the annotated segments of dataset_eval of the
run. --segments FILE takes a table video,start,stop[,label,verb,noun] with videos below --videos
(or features, key=value as in training). --every S takes a moment every S seconds of whole videos,
and needs no annotation; --labels gives labels in frames of the videos for them."""
EXAMPLE = """\
sgear embed OUTPUTS/expts/ek100_SGEAR_tsn.txt/0 --out tsn.nc
behaviorzoo probe --embeddings tsn.nc --labels tsn_labels.csv --out probe
sgear embed runs/kitchen --segments mine.csv --videos videos/ --out mine.nc
sgear embed runs/kitchen --videos videos/ --every 1 --out videos.nc"""


def command(words: list[str]) -> None:
    """Write embeddings.

    Args:
        words: What stands behind ``sgear embed``.

    Raises:
        UserError: Wrong options, run or data.
    """
    parser = commands.verb_parser("sgear", "embed", ABOUT, EXAMPLE)
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="run folder")
    add("words", nargs="*", metavar="key=value", help="settings of the run that differ")
    add("--out", type=Path, required=True, metavar="FILE.nc", help="embedding file")
    add("--set", default="dataset_eval", metavar="KEY", help="data set of the run (dataset_eval)")
    add("--segments", type=Path, metavar="FILE", help="own table video,start,stop[,label]")
    add("--videos", type=Path, metavar="DIR", help="folder of own videos")
    add("--every", type=float, metavar="S", help="a moment every S seconds of whole videos")
    add("--labels", type=Path, metavar="FILE", help="with --every: label table in frames")
    add("--levels", nargs="+", metavar="LEVEL", help="future past (default), similarities")
    add("--checkpoint", type=Path, metavar="FILE", help="other weights than the run's")
    add("--device", help="where to compute (that of the run)")
    add("--batch-size", type=int, metavar="N", help="clips at a time (that of the evaluation)")
    given = parser.parse_intermixed_args(words)
    _check(given)

    from sgear.embed import LEVELS, embed_dataset
    from sgear.trained_run import open_run

    trained = open_run(given.run, given.words, checkpoint=given.checkpoint, device=given.device)
    dataset, notes = _clips(trained, given)
    for entry in dataset.presence:
        for line in entry.lines():
            print(line)
    attrs = {"every": given.every} if given.every else {"set": given.set}
    embedded = embed_dataset(
        trained,
        dataset,
        given.out,
        levels=given.levels or LEVELS,
        attrs=attrs,
        batch_size=given.batch_size,
    )
    labels = embedded.labels
    if given.labels is not None:
        labels = _moment_labels(dataset, embedded.segments, given)
    for note in [*notes, *dataset.notes, *embedded.notes]:
        print(f"note: {note}")
    if len(dataset.discarded):
        print(f"note: {len(dataset.discarded)} segments have too little video before them")
    videos = embedded.segments["recording"].nunique()
    print(f"embeddings: {embedded.path} ({len(embedded.segments)} rows of {videos} videos)")
    print(f"rows: {given.out.with_name(f'{given.out.stem}_segments.csv')}")
    if len(labels):
        print(f"labels: {given.out.with_name(f'{given.out.stem}_labels.csv')}")


def _check(given: Any) -> None:
    if given.labels is not None and given.every is None:
        raise UserError("--labels are in frames of whole videos, for --every; segments have labels")
    if given.segments is not None and given.every is not None:
        raise UserError("--segments or --every: rows are the segments of a table, or moments")
    if given.videos is not None and given.segments is None and given.every is None:
        raise UserError("--videos: say what the rows are, --segments FILE or --every S")
    if given.batch_size is not None and given.batch_size < 1:
        raise UserError(f"--batch-size {given.batch_size}: at least 1")


def _clips(trained: TrainedRun, given: Any) -> tuple[ActionDataset, list[str]]:
    """The clips that the options name."""
    from sgear.moments import find_videos, moments_dataset

    config = trained.set_config(given.set)
    root = config.root if given.videos is None else [str(given.videos)]
    if given.segments is not None:
        config = replace(
            config,
            kind="table",
            root=root,
            annotation_path=[str(given.segments)],
            action_labels_fpath="",
            only_keep_videos=None,
            label_type=["action"],
        )
        return trained.dataset("--segments", config), []
    if given.every is None:
        return trained.dataset(given.set), []
    if given.videos is not None:
        videos = find_videos(given.videos)
    else:
        table = trained.dataset(given.set).table
        videos = list(dict.fromkeys(table["video_path"].astype(str)))
    return moments_dataset(
        replace(config, root=root),
        trained.config.data_eval,
        videos,
        given.every,
        compat=trained.config.settings.compat,
    )


def _moment_labels(dataset: ActionDataset, segments: Any, given: Any) -> Any:
    """Labels of moments, written beside the embeddings."""
    from behaviorzoo.labels import read_labels, write_labels
    from behaviorzoo.video import video_info
    from sgear.data.readers import FeatureReader
    from sgear.data.readers.video import VideoClipReader
    from sgear.embed import recording_names
    from sgear.moments import labels_at_moments

    reader = dataset.readers[0]
    fps = {}
    for name, video in zip(
        recording_names(dataset.table), dataset.table["video_path"], strict=True
    ):
        if name in fps:
            continue
        if isinstance(reader, FeatureReader):
            fps[name] = reader.fps
        elif isinstance(reader, VideoClipReader):
            path = reader.path_of(str(video))
            assert path is not None
            fps[name] = video_info(path).fps
    labels = labels_at_moments(read_labels(given.labels), segments, fps)
    write_labels(labels, given.out.with_name(f"{given.out.stem}_labels.csv"))
    return labels
