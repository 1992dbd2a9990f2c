"""Long synthetic videos of actions in a known order, with the annotations of EPIC-KITCHENS-100."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path
from behaviorzoo.synthetic_video_annotations import (
    action_classes,
    write_annotations,
    write_rulstm_lists,
    write_video_list,
)
from behaviorzoo.synthetic_video_grammar import NOUNS, VERBS, Grammar, make_grammar
from behaviorzoo.synthetic_video_scene import (
    CHUNK,
    COLOURS,
    Floats,
    background,
    finish,
    paint,
    trajectory,
)
from behaviorzoo.video.writing import write_video

ACTION_SECONDS = (1.6, 2.4)
GAP_SECONDS = (0.2, 0.6)
LEAD_SECONDS = (0.4, 0.8)
VALIDATION_SHARE = 0.25
TASKS = ("verb", "noun", "action")


@dataclass(frozen=True)
class Kitchen:
    """What :func:`write_kitchen` wrote.

    Attributes:
        videos: Root of ``P01/P01_101.MP4`` ...
        annotations: Folder of the ``EPIC_100_*.csv`` files.
        rulstm: Folder of ``actions.csv``, ``training.csv``, ``validation.csv`` and the id lists.
        train: Annotations of the training participants, columns of ``EPIC_100_train.csv``.
        validation: The same of the other participants.
        grammar: Actions and their transitions.
        bayes: Best possible accuracy of the next verb, noun and action from the actions before it:
            ``{"action": {"top1": 0.8, "top5": 0.9}, ...}``, in expectation.
        oracle: What knowing the grammar and the last action would score on ``validation``.
    """

    videos: Path
    annotations: Path
    rulstm: Path
    train: pd.DataFrame
    validation: pd.DataFrame
    grammar: Grammar
    bayes: dict[str, dict[str, float]]
    oracle: dict[str, dict[str, float]]


def write_kitchen(
    folder: str | Path,
    n_videos: int = 12,
    *,
    participants: int = 4,
    actions_per_video: int = 24,
    verbs: int = 4,
    nouns: int = 4,
    actions: int = 12,
    predictability: float = 0.8,
    size: int = 96,
    fps: float = 10.0,
    seed: int = 0,
) -> Kitchen:
    """Write kitchen videos and their annotations.

    An action lasts 1.6 to 2.4 s, with 0.2 to 0.6 s of the empty kitchen between two, so that one
    second before an action starts the one before it is in view. The last quarter of the
    participants (at least one) is the validation set.

    Files below ``folder``: ``videos/P01/P01_101.MP4``; ``annotations/EPIC_100_train.csv``,
    ``EPIC_100_validation.csv``, ``EPIC_100_verb_classes.csv``, ``EPIC_100_noun_classes.csv``,
    ``EPIC_100_video_info.csv``; ``rulstm/actions.csv``, ``training.csv``, ``validation.csv``,
    ``validation_tail_{verbs,nouns,actions}_ids.csv``, ``validation_unseen_participants_ids.csv``;
    ``grammar.json``.

    Args:
        folder: Target.
        n_videos: Videos, shared evenly among the participants.
        participants: People, at least 2.
        actions_per_video: Actions in each video.
        verbs: Verb classes, up to 10.
        nouns: Noun classes, up to 7.
        actions: Action classes, at most ``verbs * nouns``.
        predictability: Probability that an action is followed by its successor.
        size: Pixels of a side, even.
        fps: Frames per second.
        seed: Decides everything; video i is the same however many are made.

    Raises:
        UserError: A number out of its range, or a file cannot be written.

    Example:
        >>> kitchen = write_kitchen("kitchen", n_videos=8, seed=1)  # doctest: +SKIP
        >>> kitchen.bayes["action"]["top1"]  # doctest: +SKIP
        0.8
    """
    if not 2 <= participants <= n_videos:
        raise UserError(
            f"synthetic kitchen: {participants} participants and {n_videos} videos; "
            "expected 2 or more participants and a video for each"
        )
    if actions_per_video < 2:
        raise UserError("synthetic kitchen: expected 2 or more actions per video")
    folder = Path(folder)
    grammar = make_grammar(verbs, nouns, actions, predictability, np.random.default_rng(seed))
    tables = []
    for number in range(n_videos):
        who = number % participants + 1
        video_id = f"P{who:02d}_{101 + number // participants}"
        rng = np.random.default_rng([seed, 1, number])
        table, n_frames = _timeline(video_id, actions_per_video, grammar, fps, rng)
        scene = np.random.default_rng([seed, 2, who])
        frames = _film(table, n_frames, size, rng, background(size, scene))
        path = folder / "videos" / f"P{who:02d}" / f"{video_id}.MP4"
        write_video(path, frames, fps, key_every=max(int(2 * fps), 1))
        table.attrs = {"video_id": video_id, "duration": n_frames / fps}
        tables.append(table)
    kitchen = _split(folder, tables, participants, grammar)
    write_annotations(kitchen.annotations, kitchen.train, kitchen.validation, grammar)
    write_video_list(kitchen.annotations, tables, fps, size)
    write_rulstm_lists(kitchen.rulstm, kitchen.train, kitchen.validation, grammar, fps)
    _write_grammar(kitchen, folder / "grammar.json")
    return kitchen


def _timeline(
    video_id: str, count: int, grammar: Grammar, fps: float, rng: np.random.Generator
) -> tuple[pd.DataFrame, int]:
    """Annotations of a video, in whole frames, and its length."""
    sequence = grammar.draw(count, rng)
    lengths = np.stack([rng.uniform(*GAP_SECONDS, count), rng.uniform(*ACTION_SECONDS, count)], 1)
    lengths[0, 0] = rng.uniform(*LEAD_SECONDS)
    edges = np.cumsum(np.maximum(np.rint(lengths * fps), 1)).astype(int).reshape(count, 2)
    start, stop = edges[:, 0], edges[:, 1]
    verb, noun = grammar.actions[sequence].T
    verb_names, noun_names = np.array(list(VERBS)), np.array(list(NOUNS))
    table = pd.DataFrame(
        {
            "narration_id": [f"{video_id}_{i}" for i in range(count)],
            "participant_id": video_id.partition("_")[0],
            "video_id": video_id,
            "narration_timestamp": [_clock(t, 3) for t in (start + stop) / 2 / fps],
            "start_timestamp": [_clock(t, 2) for t in start / fps],
            "stop_timestamp": [_clock(t, 2) for t in stop / fps],
            "start_frame": np.maximum(start, 1),
            "stop_frame": stop,
            "narration": [f"{verb_names[v]} {noun_names[n]}" for v, n in grammar.actions[sequence]],
            "verb": verb_names[verb],
            "verb_class": verb,
            "noun": noun_names[noun],
            "noun_class": noun,
            "all_nouns": [f"['{noun_names[n]}']" for n in noun],
            "all_noun_classes": [f"[{n}]" for n in noun],
        }
    )
    return table, int(stop[-1] + np.rint(fps * LEAD_SECONDS[0]))


def _clock(seconds: float, digits: int) -> str:
    units = 10**digits
    whole, rest = divmod(round(seconds * units), units)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}.{rest:0{digits}d}"


def _film(
    table: pd.DataFrame,
    n_frames: int,
    size: int,
    rng: np.random.Generator,
    scene: Floats,
) -> Iterator[NDArray[np.uint8]]:
    """Frames of a video, one after the other: the kitchen, and in it the action going on."""
    motions, shapes = list(VERBS.values()), list(NOUNS.values())
    at = 0
    segments = zip(
        table["start_frame"],
        table["stop_frame"],
        table["verb_class"],
        table["noun_class"],
        strict=True,
    )
    for start, stop, verb, noun in segments:
        yield from _empty(scene, start - at, rng)
        poses = trajectory(motions[verb], stop - start, rng)
        shape = shapes[noun]
        for first in range(0, stop - start, CHUNK):
            part = poses.part(first, first + CHUNK)
            canvas = np.repeat(scene[None], len(part), axis=0)
            yield from finish(paint(canvas, part, shape, COLOURS[shape]), rng)
        at = stop
    yield from _empty(scene, n_frames - at, rng)


def _empty(scene: Floats, count: int, rng: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    yield from finish(np.repeat(scene[None], count, axis=0), rng)


def _split(
    folder: Path, tables: list[pd.DataFrame], participants: int, grammar: Grammar
) -> Kitchen:
    held_out = max(round(participants * VALIDATION_SHARE), 1)
    tables = sorted(tables, key=lambda table: str(table["video_id"].iloc[0]))
    first = f"P{participants - held_out + 1:02d}"
    train, validation = (
        pd.concat(
            [table for table in tables if (table["participant_id"].iloc[0] >= first) == later],
            ignore_index=True,
        )
        for later in (False, True)
    )
    bayes = {task: {"top1": grammar.bayes(task), "top5": grammar.bayes(task, 5)} for task in TASKS}
    return Kitchen(
        videos=folder / "videos",
        annotations=folder / "annotations",
        rulstm=folder / "rulstm",
        train=train,
        validation=validation,
        grammar=grammar,
        bayes=bayes,
        oracle={task: _oracle(validation, grammar, task) for task in TASKS},
    )


def _oracle(table: pd.DataFrame, grammar: Grammar, task: str) -> dict[str, float]:
    """Accuracy of the best guess on the actions of ``table`` that have one before them."""
    last, new = [], []
    action = action_classes(table, grammar)
    for rows in table.groupby("video_id", sort=False).indices.values():
        last.append(action[rows[:-1]])
        new.append(rows[1:])
    classes = action if task == "action" else table[f"{task}_class"].to_numpy()
    truth = classes[np.concatenate(new)]
    scores = grammar.scores(np.concatenate(last), task)
    of_truth = np.take_along_axis(scores, truth[:, None], axis=1)
    rank, ties = (scores > of_truth).sum(axis=1), (scores == of_truth).sum(axis=1)
    # Among equal scores the guess is blind: the share of them that falls into the first k counts.
    return {f"top{k}": float(np.clip((k - rank) / ties, 0, 1).mean()) for k in (1, 5)}


def _write_grammar(kitchen: Kitchen, path: Path) -> None:
    content = {
        "actions": kitchen.grammar.names(),
        "transitions": kitchen.grammar.transitions.tolist(),
        "bayes": kitchen.bayes,
        "oracle": kitchen.oracle,
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")
