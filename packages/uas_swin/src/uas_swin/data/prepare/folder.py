"""Anybody's videos, in folders named by class."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from behaviorzoo.errors import UserError
from uas_swin.data.lists import Entry
from uas_swin.data.prepare.splitting import held_out
from uas_swin.data.prepare.writing import Checks, Prepared, write_prepared

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".gif", ".mpg", ".mpeg"),
    *(".m2ts", ".mts", ".ts", ".wmv", ".flv", ".3gp", ".ogv"),
)
SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""Name of a folder -> split."""


def prepare_folder(
    videos: str | Path,
    out: str | Path,
    *,
    name: str = "videos",
    val_share: float = 0.2,
    seed: int = 0,
    group: str | None = None,
    checks: Checks | None = None,
) -> Prepared:
    """Write ``NAME_train.txt`` and ``NAME_val.txt`` (``NAME_test.txt``) of folders named by class.

    Either ``videos/CLASS/...`` (a share of each class is then held out), or
    ``videos/train/CLASS/...`` and ``videos/val/CLASS/...``. Classes are in alphabetical order.

    Args:
        videos: The folder.
        out: Folder of the lists.
        name: What the lists are called.
        val_share: Share of each class that is held out.
        seed: Decides which.
        group: Regular expression on the path below the folder; what its first group matches (all
            of it without groups) names the recording a video comes from. Videos of one recording
            stay on one side, so that clips cut from it do not leak into the validation.
        checks: How the videos are looked at.

    Raises:
        UserError: No such folder, fewer than two classes, or videos that are bad.
    """
    videos, out = Path(videos), Path(out)
    if not videos.is_dir():
        raise UserError(f"{videos}: no such folder")
    below = sorted(p for p in videos.iterdir() if p.is_dir() and not p.name.startswith("."))
    given = {p: SPLIT_FOLDERS[p.name.lower()] for p in below if p.name.lower() in SPLIT_FOLDERS}
    by_split = "train" in given.values() and len(set(given.values())) > 1
    roots = list(given) if by_split else [videos]
    classes = sorted({p.name for root in roots for p in _class_folders(root)})
    if len(classes) < 2:
        raise UserError(
            f"{videos}: {len(classes)} folders with videos; make one folder per class and put the "
            "videos of the class into it"
        )
    notes = _other_files(videos)
    if by_split:
        splits: dict[str, Sequence[Entry]] = {
            split: _entries(root, videos, classes) for root, split in given.items()
        }
    else:
        entries = _entries(videos, videos, classes)
        splits = _split(entries, val_share, seed, group)
        kept = " of whole recordings" if group else ""
        notes.append(f"split: {val_share:.0%} of each class held out{kept}, seed {seed}")
    return write_prepared(
        name,
        splits,
        classes,
        dict.fromkeys(splits, videos),
        {split: out / f"{name}_{split}.txt" for split in splits},
        checks or Checks(),
        notes,
    )


def _class_folders(root: Path) -> list[Path]:
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    return [folder for folder in folders if any(map(is_video, folder.rglob("*")))]


def is_video(path: Path) -> bool:
    """Whether this is a file with a suffix of videos (and no hidden one)."""
    hidden = path.name.startswith(".")
    return path.suffix.lower() in VIDEO_SUFFIXES and not hidden and path.is_file()


def _entries(root: Path, videos: Path, classes: Sequence[str]) -> list[Entry]:
    return [
        Entry(path.relative_to(videos).as_posix(), (classes.index(folder.name),))
        for folder in _class_folders(root)
        for path in sorted(folder.rglob("*"))
        if is_video(path)
    ]


def _split(
    entries: Sequence[Entry], share: float, seed: int, group: str | None
) -> dict[str, Sequence[Entry]]:
    groups = None if group is None else [_group_of(entry.path, group) for entry in entries]
    out = held_out([entry.labels[0] for entry in entries], share, seed, groups)
    return {
        "train": [entry for entry, held in zip(entries, out, strict=True) if not held],
        "val": [entry for entry, held in zip(entries, out, strict=True) if held],
    }


def _group_of(name: str, pattern: str) -> str:
    try:
        match = re.search(pattern, name)
    except re.error as error:
        raise UserError(f"group={pattern!r}: no regular expression ({error})") from error
    if match is None:
        raise UserError(f"{name}: group={pattern!r} does not match; mend the expression")
    return match[1] if match.groups() else match[0]


def _other_files(videos: Path) -> list[str]:
    others = [p for p in videos.rglob("*") if p.is_file() and not is_video(p)]
    if not others:
        return []
    return [f"{len(others)} files are no videos by their names, such as {others[0].name}"]
