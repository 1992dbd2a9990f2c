"""Features of every view of every video, computed once.

While the network works on some views, threads decode the next ones. What is done is kept in parts
of some videos each, so that a run that was stopped goes on. The network is in evaluation mode:
stochastic depth is off, unlike in the training of the original.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path
from uas_swin.feature_store import (
    ABOUT,
    ARRAY,
    ITEMS,
    PARTS,
    SAMPLES,
    SKIPPED,
    FeatureStore,
    write_json,
    write_table,
)

if TYPE_CHECKING:
    from mmengine.config import Config

T = TypeVar("T")
R = TypeVar("R")
Loaded: TypeAlias = "tuple[Tensor | None, str]"
"""Views of a video; or None, and what is wrong with it."""
Encoded: TypeAlias = "tuple[NDArray[np.float32] | None, str]"
"""Features of its views; or None, and what is wrong with it."""
RANDOM = "random_"


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
    part: int = 64
    precision: str = "32"

    def __post_init__(self) -> None:
        if self.augmented_views < 0 or self.workers < 1 or self.part < 1:
            raise UserError("augmented views count from 0, workers and videos of a part from 1")
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
    for split in settings.splits:
        options = parts[split].copy()
        options.update(bad_videos=settings.bad_videos, check="exists")
        with DefaultScope.overwrite_default_scope(config.get("default_scope", "mmaction")):
            dataset: Any = DATASETS.build(options)
        plan.classes = dataset.metainfo.get("classes") or plan.classes
        for entry, reason in dataset.left_out:
            plan.skipped.append({"split": split, "video": entry.path, "reason": reason})
        for kind in _kinds(split, settings):
            source = "train" if kind.startswith(RANDOM) else kind
            plan.pipelines[kind] = _plain(parts[source].pipeline)
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


def extract(
    config: Config,
    checkpoint: str | Path,
    out: str | Path,
    settings: ExtractSettings | None = None,
    *,
    device: torch.device | str = "cpu",
    tell: Callable[[str], None] = print,
    progress: bool = False,
) -> FeatureStore:
    """Compute the features, or go on with them.

    Args:
        config: As :func:`uas_swin.config.load_config` gives it.
        checkpoint: Trained weights; the network is the one that fits them.
        out: Folder, see :mod:`uas_swin.feature_store`.
        settings: Which views, and how.
        device: Where the network runs.
        tell: Receives lines about what is done.
        progress: Show a bar.

    Raises:
        UserError: A list, video or checkpoint does not do, or the folder holds other features.
    """
    from uas_swin.checkpoints import network_of, read_checkpoint
    from uas_swin.heads import weights_fingerprint

    settings = settings or ExtractSettings()
    out = Path(out)
    weights = read_checkpoint(checkpoint)
    for note in weights.notes:
        tell(f"note: {note}")
    plan = make_plan(config, settings)
    fingerprint = weights_fingerprint(weights.state)
    about = _about(config, plan, settings, str(Path(checkpoint).resolve()), fingerprint)
    if _is_finished(out, about):
        tell(f"{out}: has these features already")
        return FeatureStore(out)
    model = network_of(weights).to(device)
    views = _preprocessor(config).to(device)
    encode = Encoder(cast(Any, model).backbone, views, settings, torch.device(device))
    _compute(plan, encode, settings, out, progress)
    _finish(plan, settings, about, out)
    failed = pd.read_csv(out / SKIPPED)["video"].nunique()
    store = FeatureStore(out)
    tell(
        f"{len(store.features)} views of {len(store.items)} items, {store.features.shape[1]} "
        f"features each; {failed} videos left out"
    )
    return store


class Encoder:
    """Views of videos to features, some views at a time, across videos."""

    def __init__(
        self,
        backbone: nn.Module,
        preprocess: nn.Module,
        settings: ExtractSettings,
        device: torch.device,
    ) -> None:
        if settings.precision != "32" and device.type == "cpu":
            raise UserError(f"--precision {settings.precision} is for GPUs; on a CPU it is slower")
        self.backbone, self.preprocess, self.device = backbone.eval(), preprocess, device
        self.batch_size = settings.batch_size or (16 if device.type == "cuda" else 1)
        names = {"32": None, "16": torch.float16, "bf16": torch.bfloat16}
        self.dtype = names[settings.precision]

    def __call__(self, videos: Iterable[Loaded]) -> Iterator[Encoded]:
        """Features of each video, in order.

        Views of several videos share a batch, so that short videos fill it too.

        Args:
            videos: Views (V, 3, T, H, W) uint8; None, and the reason, of one that is broken.

        Yields:
            Features (V, C); None, and the reason, of a broken video.
        """
        waiting: deque[tuple[int, str]] = deque()
        pending: list[Tensor] = []
        done: list[Tensor] = []
        for views, problem in videos:
            waiting.append((0 if views is None else len(views), problem))
            if views is not None:
                if pending and pending[0].shape[1:] != views.shape[1:]:
                    done.append(self._pooled(torch.cat(pending)))
                    pending = []
                pending.append(views)
            if (n := sum(map(len, pending))) >= self.batch_size:
                every = torch.cat(pending)
                whole = n - n % self.batch_size
                done.append(self._pooled(every[:whole]))
                pending = [every[whole:]] if whole < n else []
            yield from self._ready(waiting, done)
        if pending:
            done.append(self._pooled(torch.cat(pending)))
        yield from self._ready(waiting, done)

    @staticmethod
    def _ready(waiting: deque[tuple[int, str]], done: list[Tensor]) -> Iterator[Encoded]:
        while waiting and waiting[0][0] <= sum(map(len, done)):
            n, problem = waiting.popleft()
            if n == 0:
                yield None, problem
                continue
            rows = torch.cat(done)
            done[:] = [rows[n:]]
            yield rows[:n].numpy(), problem

    @torch.inference_mode()
    def _pooled(self, views: Tensor) -> Tensor:
        """(V, 3, T, H, W) to (V, C), as the head pools."""
        parts = []
        for part in views.split(self.batch_size):
            data = {"inputs": [part.to(self.device, non_blocking=True)], "data_samples": None}
            inputs = self.preprocess(data)["inputs"][0]
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
                parts.append(self.backbone(inputs).float().mean((2, 3, 4)))
        return torch.cat(parts).cpu()


def prefetched(work: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """``map`` by threads, in order, a few items ahead and no more.

    Threads suffice: decoding, resizing and copying work outside Python's lock.
    """
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _compute(
    plan: Plan, encode: Encoder, settings: ExtractSettings, out: Path, progress: bool
) -> None:
    """Write the parts that are not there yet."""
    from tqdm.auto import tqdm

    parts = [
        (number, plan.items[start : start + settings.part])
        for number, start in enumerate(range(0, len(plan.items), settings.part))
    ]
    todo = [(n, items) for n, items in parts if not _part(out, n).is_file()]
    left = sum(len(items) for _, items in todo)
    bar = tqdm(
        total=len(plan.items),
        initial=len(plan.items) - left,
        unit="video",
        disable=not progress,
        desc="extract",
    )
    # All parts share one stream of decoded videos, so that the network never waits between them.
    every = (item for _, items in todo for item in items)
    loaded = prefetched(_loader(plan, settings), every, settings.workers)
    encoded = encode(loaded)
    with bar:
        for number, items in todo:
            found = []
            for _ in items:
                found.append(next(encoded))
                bar.update()
            _write_part(_part(out, number), found)


def _loader(plan: Plan, settings: ExtractSettings) -> Callable[[Item], Loaded]:
    """A function from an item to its views."""
    from mmengine.dataset import Compose
    from mmengine.registry import DefaultScope

    from behaviorzoo.video import VideoError
    from uas_swin.data.draws import KEY, Draws

    with DefaultScope.overwrite_default_scope("mmaction"):
        pipelines = {kind: Compose(steps) for kind, steps in plan.pipelines.items()}

    def load(item: Item) -> Loaded:
        info = dict(item.info)
        name = zlib.crc32(f"{info['video_id']}".encode())
        turn = int(item.kind.removeprefix(RANDOM)) if item.kind.startswith(RANDOM) else 0
        info[KEY] = Draws.of_sample(settings.seed, turn, name)
        try:
            packed: Any = pipelines[item.kind](info)
        except VideoError as error:
            if settings.bad_videos == "skip":
                return None, str(error)
            raise UserError(f"{item.where}: {error}; --bad-videos skip leaves it out") from error
        except UserError as error:
            raise UserError(f"{item.where}: {error}") from error
        return packed["inputs"], ""

    return load


def _part(out: Path, number: int) -> Path:
    return out / PARTS / f"{number:06d}.npz"


def _write_part(path: Path, found: Sequence[Encoded]) -> None:
    features = [rows for rows, _ in found if rows is not None]
    counts = [0 if rows is None else len(rows) for rows, _ in found]
    with atomic_path(path) as temporary:
        np.savez(
            temporary,
            features=np.concatenate(features) if features else np.empty((0, 0), np.float32),
            counts=np.array(counts),
            problems=np.array([problem for _, problem in found]),
        )


def _finish(plan: Plan, settings: ExtractSettings, about: dict[str, Any], out: Path) -> None:
    """Join the parts; the tables come last and say that all is there."""
    files = sorted((out / PARTS).glob("*.npz"))
    counts, problems, widths = [], [], []
    for file in files:
        with np.load(file) as part:
            counts.append(part["counts"])
            problems += part["problems"].tolist()
            widths.append(part["features"].shape[1])
    count = np.concatenate(counts)
    first = np.concatenate([[0], np.cumsum(count)])
    skipped = [
        {"video": item.info["video_id"], "kind": item.kind, "reason": problem}
        for item, problem in zip(plan.items, problems, strict=True)
        if problem
    ]
    if first[-1] == 0:
        raise UserError(f"no video could be decoded; the first: {skipped[0]['reason']}")
    with atomic_path(out / ARRAY) as temporary:
        shape = (int(first[-1]), max(widths))
        array = np.lib.format.open_memmap(temporary, "w+", np.float32, shape)
        at = 0
        for file in files:
            with np.load(file) as part:
                rows = part["features"]
                array[at : at + len(rows)] = rows if len(rows) else array[at:at]
                at += len(rows)
        array.flush()
        del array
    write_table(pd.DataFrame([*plan.skipped, *skipped], columns=_SKIPPED), out / SKIPPED)
    write_table(plan.samples.loc[count[plan.samples["item"]] > 0], out / SAMPLES)
    write_json(about, out / ABOUT)
    items = [(i, item.info["video_id"], item.kind) for i, item in enumerate(plan.items)]
    table = pd.DataFrame(items, columns=["item", "video", "kind"])
    table = table.assign(first=first[:-1], count=count)
    write_table(table.loc[table["count"] > 0], out / ITEMS)
    shutil.rmtree(out / PARTS)


def _is_finished(out: Path, about: dict[str, Any]) -> bool:
    """Whether the folder has these features; it may have a part of them, but no others.

    Raises:
        UserError: It has other features.
    """
    file = out / ABOUT
    if not file.is_file():
        if out.is_dir() and any(out.iterdir()):
            raise UserError(f"{out}: holds other files; give another --out")
        write_json(about, file)
        return False
    before = json.loads(file.read_text(encoding="utf-8"))
    if before.get("fingerprint") != about["fingerprint"]:
        differs = [
            name for name in _FINGERPRINTED if before.get(name) != json.loads(_text(about[name]))
        ]
        raise UserError(
            f"{out}: has features of another extraction ({', '.join(differs)} differ); give "
            "another --out, or delete it"
        )
    return (out / ITEMS).is_file()


def _about(
    config: Config,
    plan: Plan,
    settings: ExtractSettings,
    checkpoint: str,
    weights: str,
) -> dict[str, Any]:
    """What the features are made of and by; the settings of the probe that the config has."""
    from behaviorzoo.checkpoints import fingerprint
    from uas_swin import __version__

    items = [
        [*item.key[:1], item.info["video_id"], _size(item.info["filename"])] for item in plan.items
    ]
    made_of = {
        "weights": weights,
        "pipelines": plan.pipelines,
        "normalisation": _plain(config.model.data_preprocessor),
        "lists": fingerprint(json.loads(_text(items)), plan.samples.to_dict("list")),
        "seed": settings.seed if settings.augmented_views else None,
        "precision": settings.precision,
        "bad_videos": settings.bad_videos,
        "part": settings.part,
    }
    head, loader = config.model.cls_head, config.train_dataloader
    optim = config.optim_wrapper
    return {
        **made_of,
        "fingerprint": fingerprint(json.loads(_text(made_of))),
        "checkpoint": checkpoint,
        "config": str(config.filename),
        "classes": plan.classes,
        "num_classes": head.num_classes,
        "training": {
            "optimizer": _plain(optim.optimizer),
            "custom_keys": _plain(optim.get("paramwise_cfg", {}).get("custom_keys", {})),
            "batch_size": loader.batch_size,
            "accumulate": optim.get("accumulative_counts", 1),
            "epochs": config.train_cfg.max_epochs,
            "schedule": _plain(config.param_scheduler),
            "dropout": head.get("dropout_ratio", 0.5),
            "init_std": head.get("init_std", 0.01),
        },
        "versions": {"uas_swin": __version__, "torch": torch.__version__},
    }


def _kinds(split: str, settings: ExtractSettings) -> list[str]:
    if split != "train":
        return ["test"]
    fixed = [] if settings.train_views == "none" else [settings.train_views]
    return [*fixed, *(f"{RANDOM}{n}" for n in range(settings.augmented_views))]


def _preprocessor(config: Config) -> nn.Module:
    from mmengine.registry import DefaultScope

    from uas_swin.mmlab import MODELS

    with DefaultScope.overwrite_default_scope("mmaction"):
        return MODELS.build(config.model.data_preprocessor)


def _label(label: Any) -> str:
    """Class ids as text, parted by blanks."""
    ids = np.flatnonzero(label) if isinstance(label, np.ndarray) else [label]
    return " ".join(str(int(number)) for number in ids)


def _size(path: str) -> int:
    return Path(path).stat().st_size if Path(path).is_file() else -1


def _plain(value: Any) -> Any:
    """A part of a configuration as plain containers."""
    return json.loads(_text(value))


def _text(value: Any) -> str:
    return json.dumps(value, default=str)


_SKIPPED = ["split", "video", "kind", "reason"]
_FINGERPRINTED = ("weights", "pipelines", "normalisation", "lists", "seed", "precision",
                  "bad_videos", "part")  # fmt: skip
