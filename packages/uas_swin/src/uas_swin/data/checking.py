"""Looking at the videos of a list before they are needed: are they there, do they decode?"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from behaviorzoo.errors import UserError, suggest
from uas_swin.data.lists import Entry

LEVELS = ("none", "exists", "open", "decode")
"""How closely: not at all; the file is there; its first frame decodes and its frames are counted;
every frame decodes."""


@dataclass(frozen=True)
class Finding:
    """What became of a video.

    Attributes:
        path: The video.
        n_frames: Frames it lists; None where nobody counted, 0 where it is no video.
        problem: What is wrong, without the name of the file; None for nothing.
    """

    path: str
    n_frames: int | None = None
    problem: str | None = None


def check_file(path: str, level: str = "decode") -> Finding:
    """Look at one video.

    Args:
        path: The file.
        level: One of :data:`LEVELS` but ``none``.

    Returns:
        What was found; a broken video is no error here.
    """
    if not os.path.isfile(path):
        return Finding(path, 0, "no such file")
    if level == "exists":
        return Finding(path)
    from behaviorzoo.video import VideoError, check_video, video_info

    if level == "decode":
        found = check_video(path, threads=1)
        return Finding(path, found.n_frames, found.problem)
    try:
        return Finding(path, video_info(path).n_frames)
    except VideoError as error:
        return Finding(path, 0, error.reason)


def check_files(
    paths: Iterable[str],
    level: str = "decode",
    workers: int | None = None,
    tell: Callable[[int, int], None] | None = None,
) -> dict[str, Finding]:
    """Look at many videos at once, each file once.

    Threads suffice: the decoder works outside Python's lock.

    Args:
        paths: The files.
        level: One of :data:`LEVELS`.
        workers: Videos at a time; by default one per core (more where only the disk is asked).
        tell: Called with the number of videos done and of all, after every one.

    Returns:
        Path -> finding, in the order of the paths.

    Raises:
        UserError: Unknown level.
    """
    check_level(level)
    files = list(dict.fromkeys(paths))
    if level == "none":
        return {path: Finding(path) for path in files}
    workers = workers or (os.cpu_count() or 1) * (8 if level == "exists" else 1)
    findings: dict[str, Finding] = {}
    with ThreadPoolExecutor(workers) as pool:
        for finding in pool.map(lambda path: check_file(path, level), files):
            findings[finding.path] = finding
            if tell is not None:
                tell(len(findings), len(files))
    return findings


def check_level(level: str) -> None:
    """Refuse an unknown level.

    Raises:
        UserError: With the nearest one.
    """
    if level not in LEVELS:
        raise UserError(f"check: unknown {level!r}; {suggest(level, LEVELS)}")


def split_by_findings(
    entries: Sequence[Entry], findings: dict[str, Finding]
) -> tuple[list[Entry], list[tuple[Entry, str]]]:
    """Part entries into good ones and bad ones with what is wrong.

    Args:
        entries: With the paths that were checked.
        findings: Of :func:`check_files`.
    """
    good: list[Entry] = []
    bad: list[tuple[Entry, str]] = []
    for entry in entries:
        problem = findings[entry.path].problem
        if problem is None:
            good.append(entry)
        else:
            bad.append((entry, problem))
    return good, bad
