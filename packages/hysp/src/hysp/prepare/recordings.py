"""``hysp prepare recordings | bandai | mmaction``: clips of any recording, cut once."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from hysp.data.bandai import bandai_clips
from hysp.data.config import ClipConfig, DataConfig
from hysp.data.mmaction import mmaction_clips
from hysp.data.prepared import Description, refuse_existing, write_prepared
from hysp.data.recordings import Clips, clips_of_recordings
from hysp.prepare.summary import Summary


def prepare_recordings(config: DataConfig, out: str | Path) -> Summary:
    """Cut clips of recordings (``.nc``) by ``data.labels`` or ``data.clips.window``.

    Args:
        config: What to cut, and how.
        out: Output folder.

    Raises:
        UserError: See :func:`hysp.data.recordings.clips_of_recordings`; also if ``out`` holds
            prepared data.
    """
    refuse_existing(Path(out).expanduser())
    return _written(clips_of_recordings(config), config.clips, out)


def prepare_bandai(raw: str | Path, out: str | Path, clips: ClipConfig | None = None) -> Summary:
    """Make clips of a Bandai-Namco ``.npz``; see :func:`hysp.data.bandai.bandai_clips`."""
    refuse_existing(Path(out).expanduser())
    return _written(bandai_clips(raw, clips), clips, out)


def prepare_mmaction(raw: str | Path, out: str | Path, clips: ClipConfig | None = None) -> Summary:
    """Make clips of a pickle of mmaction2; see :func:`hysp.data.mmaction.mmaction_clips`."""
    refuse_existing(Path(out).expanduser())
    return _written(mmaction_clips(raw, clips), clips, out)


def _written(made: Clips, clips: ClipConfig | None, out: str | Path) -> Summary:
    folder, given = Path(out).expanduser(), made.description
    settings = {} if clips is None else {"clips": json.loads(json.dumps(asdict(clips)))}
    description = Description(
        given.source, given.skeleton, given.tasks, given.benchmarks, settings, given.state
    )
    write_prepared(folder, made.array, made.table, made.dropped, description)
    return Summary(folder, made.table, made.dropped, tuple(given.benchmarks), made.notes)
