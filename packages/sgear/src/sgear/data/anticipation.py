"""From annotated actions to the clips that are seen before them.

    clip end = start of the action - tau_a        clip start = clip end - tau_o

The annotated times stay as ``orig_start`` and ``orig_end``. What lies before the start of the video
is cut later, when the clip is sampled.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from behaviorzoo.errors import UserError
from sgear.data.config import RECOGNITION, AnticipationConfig

_FIRST_FRAME = 1.0 / 30.0
"""Seconds; features are numbered from 1 at 30 frames per second."""
_ACTION_BANKS = 2.0
"""Seconds of context that the action banks of Sener et al. need."""


def convert_to_anticipation(
    table: pd.DataFrame, config: AnticipationConfig, where: str = "annotations"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Replace the times of the actions by those of the clips before them.

    Args:
        table: Annotated actions with the columns ``uid``, ``start`` and ``end`` in seconds.
        config: How far ahead, and how much is seen.
        where: What the rows are, for messages.

    Returns:
        The rows that stay, numbered from 0, with ``start``, ``end``, ``orig_start``, ``orig_end``
        and ``future_<i>_start``, ``future_<i>_end`` for every ratio; and the rows that were
        dropped, as they were given.

    Raises:
        UserError: No row stays.
    """
    action_start, action_end = table["start"], table["end"]
    if config.tau_a == RECOGNITION:
        tau_a, tau_o = action_start - action_end, action_end - action_start
    else:
        tau_a, tau_o = config.tau_a, config.tau_o
    clip_end = action_start - tau_a
    clip_start = clip_end - tau_o
    clips = table.assign(
        orig_start=action_start, orig_end=action_end, start=clip_start, end=clip_end
    )
    for number, ratio in enumerate(config.future_clip_ratios):
        if ratio == RECOGNITION:
            future_start, future_end = clip_start, clip_end
        else:
            future_start = clip_end + tau_a * ratio
            future_end = future_start + tau_o
        clips[f"future_{number}_start"] = future_start
        clips[f"future_{number}_end"] = future_end
    stays = np.flatnonzero(_enough_context(clips, config.drop_style))
    if len(stays) == 0:
        raise UserError(
            f"{where}: none of {len(table)} actions has enough video before it (tau_a="
            f"{config.tau_a:g} s, drop_style={config.drop_style}); give a smaller tau_a"
        )
    kept = clips.iloc[stays].reset_index(drop=True)
    # By uid, not by row: a uid that stays in one row is not discarded for another one.
    gone = np.flatnonzero(~table["uid"].isin(kept["uid"].tolist()).to_numpy())
    return kept, table.iloc[gone].reset_index(drop=True)


def without_anticipation(table: pd.DataFrame) -> pd.DataFrame:
    """The annotated segments as clips, with the columns that the past labels need."""
    return table.assign(orig_start=table["start"], orig_end=table["end"]).reset_index(drop=True)


def _enough_context(clips: pd.DataFrame, drop_style: str) -> np.ndarray:
    start, end = clips["start"].to_numpy(), clips["end"].to_numpy()
    if drop_style == "full_context_in":
        return start >= _FIRST_FRAME
    return end >= (_ACTION_BANKS if drop_style == "action_banks" else _FIRST_FRAME)
