"""What a benchmark is: tasks, clips, splits, seeds, penalties; and how to get a published one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from behaviorzoo.errors import UserError, suggest

if TYPE_CHECKING:
    from hieras_eval.definitions.rules import Rules
    from hieras_eval.label_files import LabelFile
    from hieras_eval.metadata import Metadata

Compat: TypeAlias = Literal["upstream", "corrected"]
Clips: TypeAlias = Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Task:
    """One thing to predict for every frame.

    Attributes:
        name: As in the labels' vocabulary.
        kind: ``"class"`` (labels 0 and 1, scored by F1 of class 1) or ``"value"`` (scored by the
            mean squared error).
        group: Level of the label hierarchy: ``activity``, ``action``, ``moveme`` (Shot7M2);
            ``segment``, ``frame`` (hBABEL); ``sequence``, ``frame`` (MABe22).
        sequence_level: The label describes the whole clip, so it has a pooled score too.
    """

    name: str
    kind: Literal["class", "value"] = "class"
    group: str = ""
    sequence_level: bool = False


@dataclass(frozen=True)
class Benchmark:
    """Everything that the protocol needs to know besides embeddings and labels.

    Attributes:
        name: Such as ``Shot7M2``; begins the names of result files.
        tasks: In the order of the result table; one may stand there twice (it is fitted once).
        clips: Clip -> rows [start, stop) of embeddings and labels.
        train: Clips to fit on; for each seed a part of them is set aside.
        public: Test clips.
        private: More test clips, or the same ones.
        seeds: One set of models for each.
        inner_test_size: Share of ``train`` that is set aside, between 0 and 1.
        max_width: Most features an embedding may have; None = any number.
        penalties: Ridge penalties.
        reported_penalty: The one whose scores are reported.
        averaged_pattern: Tasks whose names hold this text are averaged in the table, by the name
            before it (the single flies of MABe22); empty = none.

    Raises:
        UserError: A split names a clip that is not in ``clips``, a split is empty, a range is
            not one, the reported penalty is none of the penalties, or there are no tasks.
    """

    name: str
    tasks: tuple[Task, ...]
    clips: Clips
    train: tuple[str, ...]
    public: tuple[str, ...]
    private: tuple[str, ...]
    seeds: tuple[int, ...]
    inner_test_size: float
    max_width: int | None = None
    penalties: tuple[float, ...] = (0.1, 0.5, 1.0, 2.0, 5.0)
    reported_penalty: float = 1.0
    averaged_pattern: str = ""
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        where = self.source or self.name
        for part, names in self.splits.items():
            unknown = [name for name in names if name not in self.clips]
            if unknown:
                raise UserError(
                    f"{where}: {part} names the clip {unknown[0]!r}"
                    f"{_and_more(unknown)}, which is not in the frame map; "
                    f"{suggest(unknown[0], list(self.clips)[:2000])}"
                )
            if not names:
                raise UserError(f"{where}: {part} names no clips; nothing can be fitted or scored")
        for name, (start, stop) in self.clips.items():
            if not 0 <= start < stop:
                raise UserError(f"{where}: clip {name!r} has the rows [{start}, {stop})")
        if not self.tasks or not self.seeds:
            raise UserError(f"{where}: a benchmark needs at least one task and one seed")
        if self.reported_penalty not in self.penalties:
            raise UserError(
                f"{where}: the reported penalty {self.reported_penalty} is not among "
                f"{', '.join(map(str, self.penalties))}"
            )

    @property
    def splits(self) -> dict[str, tuple[str, ...]]:
        """The three lists of clips under the names that the benchmark's own files use."""
        return {
            "SubmissionTrain": self.train,
            "publicTest": self.public,
            "privateTest": self.private,
        }

    @property
    def unique_tasks(self) -> tuple[Task, ...]:
        """Each task once, in order of first appearance."""
        return tuple({task.name: task for task in self.tasks}.values())

    @property
    def reported(self) -> int:
        """Index of the reported penalty."""
        return self.penalties.index(self.reported_penalty)


def rules(name: str) -> Rules:
    """Rules of a published benchmark by any of its names.

    Raises:
        UserError: Not a published benchmark.
    """
    from hieras_eval.definitions import RULES

    if name not in RULES:
        raise UserError(f"no benchmark {name!r}; {suggest(name, RULES)}")
    return RULES[name]


def load_benchmark(
    name: str,
    *,
    metadata: str | Path | None = None,
    labels: LabelFile | None = None,
    training_size: str | int = "75",
    filter: bool = False,
    compat: Compat = "upstream",
) -> Benchmark:
    """Benchmark ready to evaluate.

    Clips and splits come from the metadata folder where one is given (see
    :mod:`hieras_eval.metadata`), else by rule (Shot7M2, hBABEL). The kind of each task is what
    the labels say.

    Args:
        name: ``Shot7M2``, ``hBABEL``, ``mabe_mice`` (``mouse``) or ``mabe_flies`` (``flies``).
        metadata: Folder with ``frame_number_map.json``, ``split.json``, ``task_info.json``.
        labels: The label file; needed for hBABEL without metadata and for ``filter``.
        training_size: Percent of the training clips to fit on (Shot7M2 only).
        filter: Leave out clips with few labels, see :func:`hieras_eval.clip_filter.kept_clips`.
        compat: Rule of the filter.

    Raises:
        UserError: Unknown name, files missing or at odds with each other, a size that is no
            percentage.
    """
    from hieras_eval.clip_filter import kept_clips
    from hieras_eval.metadata import Metadata, read_metadata

    known = rules(name)
    found = Metadata() if metadata is None else read_metadata(metadata)
    clips = _clips(name, known, found, labels)
    if found.splits is not None:
        train, public, private = found.splits
    elif known.split is not None:
        train, public, private = known.split(clips)
    else:
        raise UserError(_files_needed(name, metadata))
    task_names = known.tasks if found.tasks is None else found.tasks
    if task_names is None:
        if labels is None:
            raise UserError(f"{name}: the tasks are those in the labels: give the label file")
        task_names = labels.vocabulary
    sequence_level = set(known.sequence_level if found.tasks is None else found.sequence_level)
    benchmark = Benchmark(
        name=name,
        tasks=tuple(
            Task(
                task,
                _kind(task, labels),
                known.group(task, task in sequence_level),
                task in sequence_level,
            )
            for task in task_names
        ),
        clips=clips,
        train=tuple(train),
        public=tuple(public),
        private=tuple(private),
        seeds=known.seeds if found.seeds is None else found.seeds,
        inner_test_size=inner_test_size(known, training_size),
        max_width=known.max_width,
        averaged_pattern=known.averaged_pattern,
        source=str(metadata or name),
    )
    if not filter:
        return benchmark
    if labels is None:
        raise UserError(f"{name}: the filter looks at the labels: give the label file")
    kept = kept_clips(benchmark.clips, labels, compat)
    splits = [
        tuple(clip for clip in names if clip in kept)
        for names in (benchmark.train, benchmark.public, benchmark.private)
    ]
    if not all(splits):
        raise UserError(
            f"{labels.path}: the filter leaves {len(kept)} of {len(clips)} clips and one of the "
            "splits without any; evaluate without it"
        )
    return replace(benchmark, train=splits[0], public=splits[1], private=splits[2])


def _clips(name: str, known: Rules, found: Metadata, labels: LabelFile | None) -> Clips:
    if found.clips is None:
        if known.clips is None:
            raise UserError(_files_needed(name, found.folder))
        return known.clips(labels)
    if labels is not None and labels.clips:
        _same_rows(found.clips, labels)
    return found.clips


def _same_rows(clips: Clips, labels: LabelFile) -> None:
    """The labels' own map must put the clips where the benchmark has them."""
    for clip, rows in clips.items():
        own = (labels.clips or {}).get(clip, rows)
        if own != rows:
            raise UserError(
                f"{labels.path}: clip {clip!r} has the rows {list(own)} in the labels and "
                f"{list(rows)} in the metadata; take both from one release"
            )


def _kind(task: str, labels: LabelFile | None) -> Literal["class", "value"]:
    if labels is None or task not in labels.vocabulary:
        return "class"
    return "class" if labels.kind(task) == "Discrete" else "value"


def inner_test_size(known: Rules, training_size: str | int) -> float:
    """Share of the training clips that each seed sets aside.

    Args:
        known: Rules of a benchmark; a share that it fixes goes before ``training_size``.
        training_size: Percent of the training clips to fit on.

    Raises:
        UserError: Not a whole number between 1 and 99.
    """
    if known.inner_test_size is not None:
        return known.inner_test_size
    try:
        percent = int(training_size)
    except ValueError as error:
        raise UserError(f"training size {training_size!r} is not a number of percent") from error
    if not 0 < percent < 100:
        raise UserError(f"training size {percent} must be between 1 and 99 percent")
    # The authors' expression: 1 - 90/100 is 0.09999999999999998 and rounds up one clip less.
    return 1 - percent / 100


def _files_needed(name: str, folder: str | Path | None) -> str:
    where = f"{folder}: " if folder else ""
    return (
        f"{where}clips and splits of {name} follow from no rule: make a metadata folder from your "
        f"checkout of the benchmark with `hieras-eval prepare --task {name}` and give it with "
        "--metadata"
    )


def _and_more(names: Sequence[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""
