"""Features of every view of every video, computed once.

While the network works on some views, threads decode the next ones. What is done is kept in parts
of some videos each, so that a run that was stopped goes on. The network is in evaluation mode:
stochastic depth is off, unlike in the training of the original.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import torch
from torch import nn

from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path
from uas_swin.extract_plan import (
    RANDOM,
    ExtractSettings,
    Item,
    Plan,
    as_json,
    make_plan,
    plain,
)
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
from uas_swin.view_encoding import Encoded, Encoder, Loaded, prefetched

if TYPE_CHECKING:
    from mmengine.config import Config


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
    encode = Encoder(
        cast(Any, model).backbone,
        views,
        torch.device(device),
        settings.batch_size,
        settings.precision,
    )
    _compute(plan, encode, settings, out, progress)
    _finish(plan, settings, about, out)
    failed = pd.read_csv(out / SKIPPED)["video"].nunique()
    store = FeatureStore(out)
    tell(
        f"{len(store.features)} views of {len(store.items)} items, {store.features.shape[1]} "
        f"features each; {failed} videos left out"
    )
    return store


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
    splits = plan.samples.groupby("item")["split"].unique()
    skipped = [
        {"split": split, "video": item.info["video_id"], "kind": item.kind, "reason": problem}
        for number, (item, problem) in enumerate(zip(plan.items, problems, strict=True))
        if problem
        for split in splits[number]
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
            told
            for name, told in _FINGERPRINTED.items()
            if before.get(name) != json.loads(as_json(about[name]))
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
        "normalisation": plain(config.model.data_preprocessor),
        "lists": fingerprint(json.loads(as_json(items)), plan.samples.to_dict("list")),
        "seed": settings.seed if settings.augmented_views else None,
        "precision": settings.precision,
        "bad_videos": settings.bad_videos,
        "part": settings.part,
    }
    head, loader = config.model.cls_head, config.train_dataloader
    optim = config.optim_wrapper
    return {
        **made_of,
        "fingerprint": fingerprint(json.loads(as_json(made_of))),
        "checkpoint": checkpoint,
        "config": str(config.filename),
        "classes": plan.classes,
        "num_classes": head.num_classes,
        "training": {
            "optimizer": plain(optim.optimizer),
            "custom_keys": plain(optim.get("paramwise_cfg", {}).get("custom_keys", {})),
            "batch_size": loader.batch_size,
            "accumulate": optim.get("accumulative_counts", 1),
            "epochs": config.train_cfg.max_epochs,
            "schedule": plain(config.param_scheduler),
            "dropout": head.get("dropout_ratio", 0.5),
            "init_std": head.get("init_std", 0.01),
        },
        "versions": {"uas_swin": __version__, "torch": torch.__version__},
    }


def _preprocessor(config: Config) -> nn.Module:
    from mmengine.registry import DefaultScope

    from uas_swin.mmlab import MODELS

    with DefaultScope.overwrite_default_scope("mmaction"):
        return MODELS.build(config.model.data_preprocessor)


def _size(path: str) -> int:
    return Path(path).stat().st_size if Path(path).is_file() else -1


_SKIPPED = ["split", "video", "kind", "reason"]
_FINGERPRINTED = {
    "weights": "weights",
    "pipelines": "views",
    "normalisation": "normalisation",
    "lists": "lists or number of views",
    "seed": "seed",
    "precision": "precision",
    "bad_videos": "bad_videos",
    "part": "part",
}
"""What makes features others -> what a user calls it."""
