"""Which views of which videos an extraction needs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from behaviorzoo.errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config

RANDOM = "random_"
"""What kinds of random views begin with."""


@dataclass(frozen=True)
class ExtractSettings:
    """How views are made and computed.

    Attributes:
        splits: Lists of the configuration.
        train_views: Fixed views of training videos: ``val`` (one), ``test`` (all) or ``none``.
        augmented_views: Random views of each training video, as the training pipeline draws them.
        seed: Of the random views.
        bad_videos: ``error``, or ``skip``: left out, listed and counted.
        batch_size: Views at a time; by default 16 on a GPU and 1 elsewhere.
        workers: Videos that are decoded at a time.
        part: Videos of a part.
        precision: ``32``; ``16`` or ``bf16`` on GPUs.
    """

    splits: Sequence[str] = ("train", "val", "test")
    train_views: str = "val"
    augmented_views: int = 0
    seed: int = 0
    bad_videos: str = "error"
    batch_size: int | None = None
    workers: int = 2
    part: int = 16
    precision: str = "32"

    def __post_init__(self) -> None:
        if self.augmented_views < 0 or self.workers < 1 or self.part < 1:
            raise UserError("augmented views count from 0, workers and videos of a part from 1")
        if self.seed < 0:
            raise UserError(f"--seed {self.seed} must be at least 0")
        if self.batch_size is not None and self.batch_size < 1:
            raise UserError(f"--batch-size {self.batch_size} must be at least 1")
        if self.train_views == "none" and not self.augmented_views and "train" in self.splits:
            raise UserError("--train-views none needs --augmented-views N")


@dataclass(frozen=True)
class Item:
    """A video with one kind of views.

    Attributes:
        kind: See :mod:`uas_swin.feature_store`.
        info: What enters the pipeline.
        where: List and line, for messages.
    """

    kind: str
    info: dict[str, Any]
    where: str

    @property
    def key(self) -> tuple[str, str, str]:
        """The same views of the same video have the same key."""
        return self.kind, self.info["filename"], str(self.info["region"] or "")


@dataclass
class Plan:
    """What has to be computed.

    Attributes:
        items: Every distinct item, in order.
        samples: Table of the list lines and their items.
        skipped: Videos that are left out.
        pipelines: Kind -> steps.
        classes: Names of the classes, or None.
    """

    items: list[Item] = field(default_factory=list)
    samples: pd.DataFrame = field(default_factory=pd.DataFrame)
    skipped: list[dict[str, str]] = field(default_factory=list)
    pipelines: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    classes: list[str] | None = None


def make_plan(config: Config, settings: ExtractSettings) -> Plan:
    """Read the lists and find out which views of which videos are needed.

    Raises:
        UserError: A list or a video does not do.
    """
    from mmengine.registry import DATASETS, DefaultScope

    from uas_swin.config import datasets

    plan = Plan()
    parts = datasets(config)
    places: dict[tuple[str, str, str], int] = {}
    rows: list[dict[str, Any]] = []
    for split in dict.fromkeys(settings.splits):
        options = parts[split].copy()
        options.update(bad_videos=settings.bad_videos, check="exists")
        with DefaultScope.overwrite_default_scope(config.get("default_scope", "mmaction")):
            dataset: Any = DATASETS.build(options)
        plan.classes = dataset.metainfo.get("classes") or plan.classes
        for entry, reason in dataset.left_out:
            plan.skipped.append({"split": split, "video": entry.path, "reason": reason})
        for kind in _kinds(split, settings):
            source = "train" if kind.startswith(RANDOM) else kind
            plan.pipelines[kind] = plain(parts[source].pipeline)
        for index in range(len(dataset)):
            info = dataset.get_data_info(index)
            for kind in _kinds(split, settings):
                item = Item(kind, info, f"{dataset.ann_file}, line {info['line']}")
                place = places.setdefault(item.key, len(plan.items))
                if place == len(plan.items):
                    plan.items.append(item)
                rows.append({
                    "split": split, "line": info["line"], "video": info["video_id"],
                    "label": _label(info["label"]), "kind": kind, "item": place,
                })  # fmt: skip
    if not plan.items:
        raise UserError("no video is left to extract")
    plan.samples = pd.DataFrame(rows)
    return plan


def plain(value: Any) -> Any:
    """A part of a configuration as plain containers."""
    return json.loads(as_json(value))


def as_json(value: Any) -> str:
    """Text of it; what json does not know is written as text."""
    return json.dumps(value, default=str)


def _kinds(split: str, settings: ExtractSettings) -> list[str]:
    if split != "train":
        return ["test"]
    fixed = [] if settings.train_views == "none" else [settings.train_views]
    return [*fixed, *(f"{RANDOM}{n}" for n in range(settings.augmented_views))]


def _label(label: Any) -> str:
    """Class ids as text, parted by blanks."""
    ids = np.flatnonzero(label) if isinstance(label, np.ndarray) else [label]
    return " ".join(str(int(number)) for number in ids)
