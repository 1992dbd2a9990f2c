"""What is fixed for a published benchmark, whoever's files are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from hieras_eval.benchmarks import Clips

if TYPE_CHECKING:
    from hieras_eval.label_files import LabelFile


class Sizes(NamedTuple):
    """Numbers of clips."""

    clips: int
    train: int
    public: int
    private: int


@dataclass(frozen=True)
class Rules:
    """What is fixed for a published benchmark, and what can be said of it without its files.

    Attributes:
        title: What it is, for messages.
        max_width: Limit of the embedding's width.
        seeds: Seeds of the inner splits.
        inner_test_size: Share set aside; None = given by the training size.
        sizes: Numbers of clips of the published release.
        tasks: Task names in order; None = the labels' vocabulary.
        sequence_level: Names of the sequence-level tasks.
        group: Task name, whether it is sequence-level -> level of the label hierarchy.
        clips: Labels -> clips, where the rule gives them; None = only the user's files do.
        split: Clips -> (train, public, private), likewise.
        averaged_pattern: See :class:`hieras_eval.benchmarks.Benchmark`.
        fingerprints: Name of a published file -> beginning of its SHA-256.
    """

    title: str
    max_width: int
    seeds: tuple[int, ...]
    inner_test_size: float | None
    group: Callable[[str, bool], str]
    sizes: Sizes
    tasks: tuple[str, ...] | None = None
    sequence_level: tuple[str, ...] = ()
    clips: Callable[[LabelFile | None], Clips] | None = None
    split: Callable[[Clips], tuple[Sequence[str], Sequence[str], Sequence[str]]] | None = None
    averaged_pattern: str = ""
    fingerprints: Mapping[str, str] = field(default_factory=dict)
