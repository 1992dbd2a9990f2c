# ruff: noqa: E402  (the import path is set first, see below)
"""Speed of reading videos.

    python benchmarks/core_video.py [--quick] [--only sparse windows index clips]

It prints tables. "full decode" reads the video from its start, as a reader without an index has to;
decord and OpenCV are measured where they are installed. All read the same frames, with one thread,
in turns; figures are CPU time, best of several.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent / "support")

import video_parts as video
from command import Part, run

PARTS: dict[str, Part] = {
    "sparse": video.sparse,
    "windows": video.windows,
    "index": video.index,
    "clips": video.clips,
}

if __name__ == "__main__":
    raise SystemExit(run(__doc__ or "", PARTS, lambda unit: None))
