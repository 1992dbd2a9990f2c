"""The videos of a list as a data set of mmengine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmengine.registry import DATASETS

from behaviorzoo.errors import UserError, suggest
from uas_swin.data import transforms as _transforms  # noqa: F401  (registers the steps)
from uas_swin.data.checking import check_files, check_level, split_by_findings
from uas_swin.data.classes import check_classes, read_classes
from uas_swin.data.draws import KEY as DRAWS
from uas_swin.data.draws import Draws
from uas_swin.data.lists import Entry, ListFormat, read_list
from uas_swin.data.transforms.pack import multi_hot

BAD_VIDEOS = ("error", "skip")


@DATASETS.register_module()
class UasVideoDataset(BaseDataset):
    """Labelled videos of a list file.

    A sample that enters the pipeline has ``filename``, ``label`` (class id, or a float32 vector
    with ``multi_class``), ``region``, ``video_id`` (the line's path and region), ``modality`` and
    ``start_index``. ``metainfo`` has the names of the ``classes`` and ``num_classes`` where known.

    No video is ever put in the place of another: a broken one is an error that names it, or
    (``bad_videos="skip"``) is left out of the data set at the start, named and counted.

    Args:
        ann_file: List file, see :mod:`uas_swin.data.lists`.
        pipeline: Steps.
        data_prefix: ``dict(video=folder)``.
        test_mode: For mmengine.
        num_classes: Number of classes.
        classes: Names, or a file of them.
        multi_class: Videos may have several labels; needs the number of classes.
        delimiter: See :class:`~uas_swin.data.lists.ListFormat`.
        labelled: False for a list of paths alone; the label is then -1.
        bad_videos: ``error`` or ``skip``.
        check: How closely videos are looked at beforehand, see
            :data:`uas_swin.data.checking.LEVELS`; by default ``exists`` where a bad one is an
            error (it will be one when it is decoded), ``decode`` where it is skipped.
        check_workers: Videos looked at at a time; one per core by default.
        seed: What is random about a sample follows from seed, epoch and index; None draws afresh.
            :class:`~uas_swin.data.seeding.SeedSamples` sets it to that of the run.
        others: See ``mmengine.dataset.BaseDataset``.

    Raises:
        UserError: The list or the classes cannot be read, or videos are bad.
    """

    def __init__(
        self,
        ann_file: str,
        pipeline: Sequence[dict | Callable],
        data_prefix: Mapping[str, str] | None = None,
        test_mode: bool = False,
        num_classes: int | None = None,
        classes: str | Sequence[str] | None = None,
        multi_class: bool = False,
        delimiter: str | None = None,
        labelled: bool = True,
        bad_videos: str = "error",
        check: str | None = None,
        check_workers: int | None = None,
        seed: int | None = None,
        **others: Any,
    ) -> None:
        if bad_videos not in BAD_VIDEOS:
            hint = suggest(bad_videos, BAD_VIDEOS)
            raise UserError(f"bad_videos: unknown {bad_videos!r}; {hint}")
        self.bad_videos = bad_videos
        self.check = check or ("exists" if bad_videos == "error" else "decode")
        check_level(self.check)
        self.check_workers = check_workers
        names = _names(classes)
        self.form = ListFormat(num_classes, names, multi_class, labelled, delimiter)
        if multi_class and self.form.size is None:
            raise UserError(f"{ann_file}: multi_class=True needs num_classes or classes")
        self.left_out: list[tuple[Entry, str]] = []
        self.seed = seed
        # In shared memory, so that workers which outlive an epoch see the next one begin.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        metainfo = dict(others.pop("metainfo", None) or {})
        if names is not None:
            metainfo.setdefault("classes", names)
        if self.form.size is not None:
            metainfo.setdefault("num_classes", self.form.size)
        super().__init__(
            ann_file=ann_file,
            metainfo=metainfo,
            data_prefix=dict(data_prefix or {"video": ""}),
            pipeline=list(pipeline),
            test_mode=test_mode,
            **others,
        )

    def load_data_list(self) -> list[dict]:
        """Read the list and look at its videos."""
        folder = self.data_prefix.get("video", "")
        listed = read_list(str(self.ann_file), self.form)
        entries = [entry.under(folder) for entry in listed]
        findings = check_files((e.path for e in entries), self.check, self.check_workers)
        good, self.left_out = split_by_findings(entries, findings)
        if self.left_out:
            self._tell_or_raise(good)
        ids = {entry.line: entry.name for entry in listed}
        return [
            {
                "filename": entry.path,
                "label": entry.labels if self.form.multi_class else (*entry.labels, -1)[0],
                "region": entry.region,
                "video_id": ids[entry.line],
                "modality": "RGB",
                "start_index": 0,
                "line": entry.line,
            }
            for entry in good
        ]

    def _tell_or_raise(self, good: list[Entry]) -> None:
        entry, problem = self.left_out[0]
        first = f"line {entry.line}: {entry.path}: {problem}"
        total = len(good) + len(self.left_out)
        if self.bad_videos == "error" or not good:
            more = f" ({len(self.left_out)} of {total} videos are bad)"
            raise UserError(
                f"{self.ann_file}, {first}{more if len(self.left_out) > 1 else ''}; mend the list "
                "or, to leave out what is bad, set bad_videos='skip'"
            )
        lines = [
            f"{self.ann_file}: {len(self.left_out)} of {total} videos are left out",
            *(f"  line {e.line}: {e.path}: {what}" for e, what in self.left_out),
        ]
        print_log("\n".join(lines), logger="current", level=logging.WARNING)

    def get_data_info(self, idx: int) -> dict:
        """One line of the list as the pipeline takes it."""
        info = super().get_data_info(idx)
        if self.form.multi_class:
            assert self.form.size is not None
            info["label"] = multi_hot(info["label"], self.form.size)
        if self.seed is not None:
            info[DRAWS] = Draws.of_sample(self.seed, int(self._epoch), info["sample_idx"])
        return info

    def prepare_data(self, idx: int) -> Any:
        """A sample through the pipeline.

        Raises:
            UserError: Its video cannot be decoded, or a step does not fit; names list and line.
        """
        try:
            return super().prepare_data(idx)
        except UserError as error:
            line = super().get_data_info(idx)["line"]
            raise type(error)(f"{self.ann_file}, line {line}: {error}") from error

    def begin_epoch(self, epoch: int, seed: int | None = None) -> None:
        """Say which epoch the next samples are for.

        Args:
            epoch: From 0.
            seed: Of the run; used where the data set has none of its own.
        """
        self._epoch.fill_(epoch)
        if self.seed is None:
            self.seed = seed

    def class_counts(self) -> list[int]:
        """Samples of each class; as long as the number of classes, where it is known."""
        labels = [self._labels(index) for index in range(len(self))]
        size = self.form.size or max((max(ids, default=-1) for ids in labels), default=-1) + 1
        counts = [0] * size
        for ids in labels:
            for label in ids:
                counts[label] += 1
        return counts

    def _labels(self, index: int) -> tuple[int, ...]:
        label = super().get_data_info(index)["label"]
        ids = label if isinstance(label, tuple) else (label,)
        return tuple(number for number in ids if number >= 0)


def _names(classes: str | Sequence[str] | None) -> list[str] | None:
    if classes is None:
        return None
    if isinstance(classes, str):
        return read_classes(classes)
    check_classes(classes, "classes")
    return list(classes)
