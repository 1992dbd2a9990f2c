"""Shot7M2: basketball episodes in four activities, with actions and movemes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from behaviorzoo.errors import UserError, suggest
from hieras_eval.benchmarks import Clips
from hieras_eval.definitions.rules import Rules, Sizes

if TYPE_CHECKING:
    from hieras_eval.label_files import LabelFile

_ACTIVITIES = ("casual", "intense", "dribbling", "notplaying")
_EPISODES = range(320, 1000)
_FIRST_TEST_EPISODE = 830
_FRAMES = 1800

# The capitals are the authors': LTurn, but Rturn.
_TASKS = {
    "activity_Episode_": "Casual Intense Dribbling Not_Playing",
    "action_": "Idle Move Dribble Hold Feint Shoot LSpin RSpin Sprint Force LTurn Rturn",
    "moveme_": "Lfoot Rfoot Lhand Rhand Ball Switch Lelbow_flex Lelbow_ext Relbow_flex Relbow_ext "
    "Lknee_flex Lknee_ext Rknee_flex Rknee_ext",
}


def clips(labels: LabelFile | None) -> Clips:
    """Rows of the test episodes: those of the labels' own map, else one after the other."""
    names = [f"{a}_player_1_episode_{e}" for a in _ACTIVITIES for e in _EPISODES]
    if labels is None or labels.clips is None:
        return {name: (i * _FRAMES, (i + 1) * _FRAMES) for i, name in enumerate(names)}
    for name in names:
        if name not in labels.clips:
            raise UserError(
                f"{labels.path}: the labels' frame map has no clip {name!r} ({len(labels.clips)} "
                f"clips; {suggest(name, labels.clips)}); "
                "for another set of episodes give --metadata"
            )
    return {name: labels.clips[name] for name in names}


def split(clips: Clips) -> tuple[list[str], list[str], list[str]]:
    """Episodes before 830 train, the others test; public and private are the same."""
    test = [name for name in clips if int(name.rsplit("_", 1)[1]) >= _FIRST_TEST_EPISODE]
    train = [name for name in clips if int(name.rsplit("_", 1)[1]) < _FIRST_TEST_EPISODE]
    return train, test, test


SHOT7M2 = Rules(
    title="Shot7M2",
    max_width=64,
    seeds=(41, 42, 43),
    inner_test_size=None,
    tasks=tuple(prefix + name for prefix, names in _TASKS.items() for name in names.split()),
    group=lambda task, sequence_level: task.split("_", 1)[0],
    clips=clips,
    split=split,
    sizes=Sizes(2720, 2040, 680, 680),
)
