"""Evaluation: the network over a data set, results of every clip, and the figures of the tables."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from behaviorzoo.errors import UserError
from sgear.config import Config
from sgear.data.dataset import ActionDataset
from sgear.distributed import Processes
from sgear.evaluate import evaluate_results
from sgear.evaluation_set import of_dataset
from sgear.loader import Batch, BatchPlan, check_plan, load, n_clips, names_of, to_device
from sgear.losses import AnticipationLoss, Targets
from sgear.precision import autocast, choose_precision
from sgear.prototypes.files import write_stored
from sgear.prototypes.visual import EmbeddingStore
from sgear.results import ResultsWriter, read_results, result_files

RESULTS = "results"
STORED = "embeddings.pth"
EMBEDDING = "future_agg"

Forward = Callable[[Batch], tuple[dict[str, Tensor], dict[str, Tensor]]]


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation of a data set gave, the same in all processes.

    Attributes:
        metrics: ``final_acc/<type>/<figure>`` in percent, and ``loss/<name>`` means.
        value: The figure that counts; nan where there is none.
        text: The figures as text, only in the first process.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    value: float = float("nan")
    text: str = ""


def evaluate_set(
    forward: Forward,
    dataset: ActionDataset,
    config: Config,
    processes: Processes,
    folder: Path,
    *,
    suffix: str = "",
    epoch: float = 0.0,
    between_batches: Callable[[], None] = lambda: None,
) -> Evaluated:
    """Evaluate a network on a data set; results of every clip go to ``results<suffix>/``.

    Args:
        forward: Batch on the device -> outputs and unreduced losses, not reduced.
        dataset: The data set.
        config: Settings.
        processes: Who shares the work.
        folder: Run folder.
        suffix: Of the data set's key.
        epoch: Epochs that were trained.
        between_batches: Called by all processes alike; may raise to end the evaluation.

    Raises:
        UserError: No clip could be read, or scores that are no numbers.
    """
    asked = config.settings.eval.eval_fn
    results = folder / f"{RESULTS}{suffix}"
    if processes.is_main:
        _clear(results, processes.place.world_size)
    processes.wait()
    plan = _plan(dataset, config, processes, suffix)
    number = dataset.num_classes[dataset.label_types[0]]
    store = EmbeddingStore(number) if asked.store_embeddings else None
    sums: dict[str, Tensor] = {}
    n_broken, message = 0, ""
    with ResultsWriter(results, processes.place.rank, store="") as writer:
        for batch in load(dataset, plan, 0, workers=config.data_eval.workers):
            between_batches()
            n_broken += len(batch["broken"])
            message = batch["broken"][-1].message if batch["broken"] else message
            if n_clips(batch) == 0:
                continue
            outputs, losses = forward(to_device(batch, processes.device))
            _check(outputs, batch)
            writer.append(
                _wanted(outputs, asked.store_endpoint, results),
                idx=batch["idx"],
                uid=batch["uid"],
                target=batch["target"],
                losses=losses,
                epoch=epoch,
            )
            _add(sums, losses, n_clips(batch))
            if store is not None:
                store.add(outputs[EMBEDDING], batch["target"][dataset.label_types[0]])
    metrics = _means(sums, processes)
    n_broken = int(processes.sums(torch.tensor([n_broken]))[0])
    if n_broken == len(dataset):
        raise UserError(f"{dataset.config.kind} data: not one clip can be read; {message}")
    if store is not None:
        _write_stored(store, config, processes, folder)
    processes.wait()
    evaluated = Evaluated(metrics)
    if processes.is_main:
        evaluated = _figures(dataset, results, metrics, asked.only_run_featext, n_broken)
        if not asked.store:
            shutil.rmtree(results)
    return _agreed(evaluated, processes)


def evaluate_sets(
    model: nn.Module,
    criterion: AnticipationLoss,
    sets: Mapping[str, ActionDataset],
    config: Config,
    processes: Processes,
    folder: Path,
    *,
    epoch: float = 0.0,
    between_batches: Callable[[], None] = lambda: None,
) -> dict[str, Evaluated]:
    """Evaluate a network on every data set, and print the figures.

    Args:
        model: The network, not wrapped.
        criterion: Its losses.
        sets: Suffix -> data set.
        config: Settings.
        processes: Who shares the work.
        folder: Run folder.
        epoch: Epochs that were trained.
        between_batches: See :func:`evaluate_set`.
    """
    forward = _forward_with(model, criterion, config, processes.device)
    found = {}
    for suffix, dataset in sets.items():
        evaluated = evaluate_set(
            forward,
            dataset,
            config,
            processes,
            folder,
            suffix=suffix,
            epoch=epoch,
            between_batches=between_batches,
        )
        processes.tell(f"\ndataset_eval{suffix} after {epoch:g} epochs\n{evaluated.text}\n")
        found[suffix] = evaluated
    return found


def _forward_with(
    model: nn.Module, criterion: AnticipationLoss, config: Config, device: torch.device
) -> Forward:
    """The network for an evaluation: no gradients, the run's number format."""
    precision = choose_precision(config.settings.precision, device)

    def forward(batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        model.eval()
        target, past = batch["target"], batch.get("past_target") or {}
        shape = tuple(next(iter(target.values())).shape)
        with torch.no_grad(), autocast(precision, device):
            outputs, losses = model(batch["video"], shape)
            prototypes = model.get_parameter("vis_prototypes")
            more, _ = criterion(outputs, Targets(target, past), prototypes)
        return outputs, {**losses, **more}

    return forward


def _plan(dataset: ActionDataset, config: Config, processes: Processes, suffix: str) -> BatchPlan:
    settings, place = config.settings, processes.place
    share = config.data_eval.use_dist_sampler
    plan = BatchPlan(
        len(dataset),
        settings.eval.batch_size or 4 * settings.train.batch_size,
        seed=settings.seed,
        shuffle=False,
        rank=place.rank if share else 0,
        world_size=place.world_size if share else 1,
    )
    return check_plan(plan, f"dataset_eval{suffix}")


def _clear(results: Path, world_size: int) -> None:
    """Remove files of more processes than there are now: they are of an earlier evaluation."""
    for file in result_files(results) if results.is_dir() else []:
        if int(file.stem) >= world_size:
            file.unlink()


def _wanted(outputs: Mapping[str, Tensor], endpoint: str, results: Path) -> dict[str, Tensor]:
    """The outputs that are stored: what the user names, and the scores."""
    if not any(name.startswith(endpoint) for name in outputs):
        from behaviorzoo.errors import suggest

        raise UserError(
            f"{results}: no output of the network begins with {endpoint!r} "
            f"(eval.eval_fn.store_endpoint); {suggest(endpoint, outputs)}"
        )
    return {name: v for name, v in outputs.items() if name.startswith((endpoint, "logits/"))}


def _check(outputs: Mapping[str, Tensor], batch: Batch) -> None:
    for name, scores in outputs.items():
        if name.startswith("logits") and not torch.isfinite(scores).all():
            raise UserError(
                f"{name}: scores are no numbers for clips among {names_of(batch)}; are the weights "
                "sound, are the features finite?"
            )


def _add(sums: dict[str, Tensor], losses: Mapping[str, Tensor], clips: int) -> None:
    for name, loss in losses.items():
        row = torch.stack([loss.detach().double().mean() * clips, torch.tensor(float(clips))])
        sums[name] = sums[name] + row.cpu() if name in sums else row.cpu()


def _means(sums: Mapping[str, Tensor], processes: Processes) -> dict[str, float]:
    means = {}
    for name in sorted(sums):
        total, clips = processes.sums(sums[name]).tolist()
        means[f"loss/{name}"] = total / clips
    return means


def _write_stored(
    store: EmbeddingStore, config: Config, processes: Processes, folder: Path
) -> None:
    """Embeddings of all processes, up to the store's capacity of each class."""
    parts = processes.gather(store.stored())
    if not processes.is_main:
        return
    whole = EmbeddingStore(len(store.vectors), store.capacity)
    for part in parts:
        for code, vectors in part.items():
            if len(vectors):
                whole.add(vectors, torch.full((len(vectors),), code))
    path = Path(config.settings.eval.eval_fn.store_embeddings_path or folder / STORED)
    write_stored(path, whole.stored(), whole.width)
    processes.tell(f"embeddings: {path}")


def _figures(
    dataset: ActionDataset,
    results: Path,
    metrics: Mapping[str, float],
    features_only: bool,
    n_broken: int,
) -> Evaluated:
    """Accuracies of stored results, where there are labels."""
    items = of_dataset(dataset)
    items.save(results)
    lines = [f"{n_broken} clips cannot be read and do not count"] if n_broken else []
    labels = items.labels(dataset.label_types[0])
    if features_only or labels is None or (labels < 0).all():
        lines.append(f"results: {results}" + ("" if features_only else " (no labels, no figures)"))
        return Evaluated(dict(metrics), text="\n".join(lines))
    found = evaluate_results(read_results(results), items)
    lines += [f"note: {note}" for note in found.notes]
    value = found.metrics.get(found.primary, float("nan"))
    return Evaluated({**metrics, **found.metrics}, value, "\n".join([*lines, found.table]))


def _agreed(evaluated: Evaluated, processes: Processes) -> Evaluated:
    """The figures of the first process, in all of them."""
    if processes.place.world_size == 1:
        return evaluated
    parts = processes.gather(evaluated if processes.is_main else None, to_all=True)
    first = parts[0]
    return Evaluated(first.metrics, first.value, first.text if processes.is_main else "")
