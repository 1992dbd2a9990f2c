"""What every preparation ends with: check the videos, write the lists, tell what came of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.files import atomic_path
from uas_swin.data.checking import Finding, check_files, check_level, split_by_findings
from uas_swin.data.classes import check_classes, write_classes
from uas_swin.data.lists import Entry, write_list

BAD_VIDEOS = ("error", "skip")
SHOWN = 20
"""Bad videos that the text names; the report has all."""


@dataclass(frozen=True)
class Checks:
    """How videos are looked at.

    Attributes:
        level: One of :data:`uas_swin.data.checking.LEVELS`.
        bad_videos: ``error`` writes no list if a video is bad; ``skip`` leaves it out.
        workers: Videos at a time; one per core by default.
        progress: Show a bar where there is a terminal.
    """

    level: str = "decode"
    bad_videos: str = "error"
    workers: int | None = None
    progress: bool = True

    def __post_init__(self) -> None:
        check_level(self.level)
        if self.bad_videos not in BAD_VIDEOS:
            hint = suggest(self.bad_videos, BAD_VIDEOS)
            raise UserError(f"bad_videos: unknown {self.bad_videos!r}; {hint}")


@dataclass(frozen=True)
class Prepared:
    """What a preparation wrote.

    Attributes:
        lists: Split -> list file.
        classes_file: The names of the classes.
        report_file: Everything below as json.
        classes: Names of the classes.
        counts: Split -> samples of each class.
        bad: (split, list entry, what is wrong) of every video left out.
        frames: Shortest, median and longest number of frames; None where nobody counted.
        notes: What else the user should know.
    """

    lists: dict[str, Path]
    classes_file: Path
    report_file: Path
    classes: list[str]
    counts: dict[str, list[int]]
    bad: list[tuple[str, Entry, str]] = field(default_factory=list)
    frames: tuple[int, int, int] | None = None
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        """For the screen: classes with their counts per split, what is bad, notes."""
        splits = list(self.counts)
        width = max(5, *(len(name) for name in self.classes))
        rows = [
            (f"{number:>3} {name:<{width}}", number) for number, name in enumerate(self.classes)
        ]
        lines = [" " * (width + 4) + "".join(f"{split:>9}" for split in splits)]
        lines += [
            title + "".join(f"{self.counts[split][number]:>9}" for split in splits)
            for title, number in rows
        ]
        total = f"{'all':<{width + 4}}"
        lines.append(total + "".join(f"{sum(self.counts[split]):>9}" for split in splits))
        if self.frames is not None:
            lines.append("frames: {} to {}, median {}".format(*np.array(self.frames)[[0, 2, 1]]))
        lines.append(f"{len(self.bad)} videos left out")
        lines += [f"  {split}: {entry.name}: {what}" for split, entry, what in self.bad[:SHOWN]]
        if len(self.bad) > SHOWN:
            lines.append(f"  ... all of them in {self.report_file}")
        lines += [f"note: {note}" for note in self.notes]
        written = [*self.lists.values(), self.classes_file, self.report_file]
        return "\n".join([*lines, *(f"wrote {path}" for path in written)])


def write_prepared(
    name: str,
    splits: Mapping[str, Sequence[Entry]],
    classes: Sequence[str],
    folders: Mapping[str, Path],
    files: Mapping[str, Path],
    checks: Checks,
    notes: Sequence[str] = (),
) -> Prepared:
    """Check the videos of every split and write lists, class names and report.

    Args:
        name: What class file and report are called.
        splits: Split -> entries with paths below the split's folder.
        classes: Names of the classes.
        folders: Split -> folder of its videos (the ``data_prefix`` of the configuration).
        files: Split -> list file; all in one folder, where the other files go.
        checks: How the videos are looked at.
        notes: For the report.

    Raises:
        UserError: No entry in a split, or bad videos (then only the report is written).
    """
    check_classes(classes, "classes")
    for split, entries in splits.items():
        if not entries:
            raise UserError(f"{folders[split]}: no video for the split {split!r}")
    out = next(iter(files.values())).parent
    classes_file, report_file = out / f"{name}_classes.txt", out / f"{name}_report.json"
    findings = _look(splits, folders, checks)
    good: dict[str, list[Entry]] = {}
    bad: list[tuple[str, Entry, str]] = []
    for split, entries in splits.items():
        placed = {e.under(folders[split]): e for e in entries}
        fine, wrong = split_by_findings(list(placed), findings)
        good[split] = [placed[entry] for entry in fine]
        bad += [(split, placed[entry], what) for entry, what in wrong]
    result = Prepared(
        lists=dict(files),
        classes_file=classes_file,
        report_file=report_file,
        classes=list(classes),
        counts={split: _counts(entries, len(classes)) for split, entries in good.items()},
        bad=bad,
        frames=_frames(findings),
        notes=[*notes, *_warnings(good, folders, classes, findings)],
    )
    _write_report(result, checks, folders)
    _refuse(result, checks, good)
    for split, entries in good.items():
        write_list(entries, files[split])
    write_classes(classes, classes_file)
    return result


def _look(
    splits: Mapping[str, Sequence[Entry]], folders: Mapping[str, Path], checks: Checks
) -> dict[str, Finding]:
    from tqdm import tqdm

    paths = [e.under(folders[split]).path for split, entries in splits.items() for e in entries]
    hidden = None if checks.progress else True  # None: hidden where there is no terminal
    with tqdm(total=len(set(paths)), unit="video", desc="checking", disable=hidden) as bar:

        def tell(done: int, total: int) -> None:
            bar.update(done - bar.n)

        return check_files(paths, checks.level, checks.workers, tell)


def _refuse(result: Prepared, checks: Checks, good: Mapping[str, Sequence[Entry]]) -> None:
    if result.bad and checks.bad_videos == "error":
        split, entry, what = result.bad[0]
        raise UserError(
            f"{len(result.bad)} of {len(result.bad) + sum(map(len, good.values()))} videos are bad,"
            f" the first: {entry.name} ({split}): {what}; see {result.report_file}, or leave them "
            "out with bad_videos=skip"
        )
    for split, entries in good.items():
        if not entries:
            raise UserError(f"no video of the split {split!r} is good; see {result.report_file}")


def _write_report(result: Prepared, checks: Checks, folders: Mapping[str, Path]) -> None:
    content: dict[str, Any] = {
        "classes": result.classes,
        "splits": {
            split: {
                "list": str(path),
                "videos": str(folders[split]),
                "counts": result.counts[split],
            }
            for split, path in result.lists.items()
        },
        "check": checks.level,
        "frames": result.frames
        and dict(zip(("least", "median", "most"), result.frames, strict=True)),
        "bad": [
            {"split": split, "video": entry.name, "line": entry.line or None, "problem": what}
            for split, entry, what in result.bad
        ],
        "notes": result.notes,
    }
    with atomic_path(result.report_file) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _counts(entries: Sequence[Entry], n_classes: int) -> list[int]:
    found = Counter(label for entry in entries for label in entry.labels)
    return [found[number] for number in range(n_classes)]


def _frames(findings: Mapping[str, Finding]) -> tuple[int, int, int] | None:
    counted = [f.n_frames for f in findings.values() if f.problem is None and f.n_frames]
    if not counted:
        return None
    return min(counted), int(np.median(counted)), max(counted)


def _warnings(
    good: Mapping[str, Sequence[Entry]],
    folders: Mapping[str, Path],
    classes: Sequence[str],
    findings: Mapping[str, Finding],
) -> list[str]:
    """What makes a split doubtful: clips in two of them, classes without samples, short clips."""
    notes = []
    seen: dict[str, str] = {}
    shared: Counter[tuple[str, str]] = Counter()
    for split, entries in good.items():
        for name in {str(entry.under(folders[split]).name) for entry in entries}:
            if name in seen:
                shared[seen[name], split] += 1
            seen.setdefault(name, split)
    for split, entries in good.items():
        twice = len(entries) - len({entry.name for entry in entries})
        if twice:
            notes.append(f"{twice} videos are listed twice in {split}")
    for (first, second), number in shared.items():
        notes.append(f"{number} videos are in {first} and in {second}")
    for split, entries in good.items():
        counts = _counts(entries, len(classes))
        empty = [name for name, count in zip(classes, counts, strict=True) if count == 0]
        if empty:
            notes.append(f"no video of {', '.join(empty)} in {split}")
    short = sum(1 for f in findings.values() if f.problem is None and 0 < (f.n_frames or 0) < 32)
    if short:
        notes.append(f"{short} videos have fewer than 32 frames: clips of 32 begin them anew")
    return notes
