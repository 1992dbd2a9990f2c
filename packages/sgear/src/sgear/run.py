"""One run: its folder, its processes, its data and network; then it trains or evaluates."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path
from sgear.assembly import DataSets, build_network, language_similarities, open_data
from sgear.checkpoints import (
    SGearCheckpoint,
    load_checkpoint,
    load_init,
    load_pretrained_blocks,
)
from sgear.config import Config
from sgear.distributed import Processes, processes
from sgear.evaluating import Evaluated, evaluate_sets
from sgear.losses import AnticipationLoss, balanced_weights
from sgear.model import SGear
from sgear.run_folder import FIGURES, save_settings
from sgear.run_state import CHECKPOINT, check_same_run, read_state
from sgear.training import Trainer
from sgear.tree import Tree


def run(
    config: Config, tree: Tree, folder: Path, *, resume: bool = False, profile: bool = False
) -> Path:
    """Train, or evaluate with ``test_only``, in a run folder.

    Args:
        config: Settings.
        tree: What they were composed from, saved in ``.hydra/``.
        folder: Run folder.
        resume: Go on from its checkpoint if there is one; otherwise such a folder is refused.
        profile: Write where the time goes to ``profile.txt``.

    Returns:
        The folder.

    Raises:
        UserError: What the user can mend, in one line.
        KeyboardInterrupt: Ctrl-C; the state has been saved.
        SystemExit: After a signal; the state has been saved.
    """
    folder = Path(folder)
    settings = config.settings
    checkpoint = folder / CHECKPOINT
    if checkpoint.exists() and not (resume or settings.test_only):
        raise UserError(
            f"{folder}: holds a run already; add --resume to go on with it, or choose another "
            "folder"
        )
    with processes(folder, settings.device, settings.dist_backend) as all_:
        all_.tell(f"{config.to_yaml()}\nrun: {folder}")

        def accepted() -> None:
            if all_.is_main:
                save_settings(folder, config, tree)

        if settings.test_only:
            work = partial(evaluate_checkpoint, config, folder, all_, accepted=accepted)
        else:
            work = partial(train, config, folder, all_, accepted)
        if profile and all_.is_main:
            _profiled(work, folder, all_)
        else:
            work()
    return folder


def train(
    config: Config, folder: Path, all_: Processes, accepted: Callable[[], None] = lambda: None
) -> None:
    """Train, from the folder's checkpoint if there is one.

    Args:
        config: Settings.
        folder: Run folder.
        all_: Who trains together.
        accepted: Called once the data are there and the run in the folder, if any, can go on with
            these settings: what is refused must not replace the settings of that run.
    """
    data = open_data(config, all_.tell)
    path, n_epochs = folder / CHECKPOINT, config.settings.train.num_epochs
    state = read_state(path) if path.exists() else None
    if state is not None:
        check_same_run(path, state, config.plain, all_.place.world_size, data.fingerprint())
        if state.progress.evaluated >= n_epochs:
            all_.tell(f"all {n_epochs} epochs are done, nothing to go on with")
            return
    model = build_network(config, data.main, known=path.exists())
    trained = load_weights(model, path, config) if path.exists() else None
    accepted()
    if trained is None:
        _initial_weights(model, config, all_)
    criterion = build_criterion(config, data).to(all_.device)
    trainer = Trainer(config, model.to(all_.device), criterion, data, all_, folder)
    if state is None and trained is not None:
        state = trainer.state_of_authors(trained)
    trainer.fit(state)


def evaluate_checkpoint(
    config: Config,
    folder: Path,
    all_: Processes,
    checkpoint: Path | None = None,
    accepted: Callable[[], None] = lambda: None,
) -> dict[str, Evaluated]:
    """Evaluate the folder's checkpoint on every ``dataset_eval*``.

    Args:
        config: Settings.
        folder: Run folder; results go there.
        all_: Who shares the work.
        checkpoint: Another file than the folder's ``checkpoint.pth``.
        accepted: Called once data and weights are there.

    Raises:
        UserError: No weights, or data that do not fit them.
    """
    path = checkpoint or folder / CHECKPOINT
    there = path.exists()
    whole = any(len(entry) == 1 for entry in config.settings.train.init_from_model or [])
    if not there and (checkpoint is not None or not whole):
        raise UserError(
            f"{path}: no checkpoint to evaluate; train first (test_only=false), or give weights, "
            "train.init_from_model=[[FILE]]"
        )
    found = load_checkpoint(path, config.network()) if there else None
    data = open_data(config, all_.tell, False, None if found is None else found.classes)
    model = build_network(config, data.main, known=True)
    epoch = 0.0
    if found is not None:
        found.load_into(model)
        epoch = found.epoch
        all_.tell(f"weights: {path}")
    else:
        _initial_weights(model, config, all_)
    accepted()
    model.to(all_.device)
    criterion = build_criterion(config, data).to(all_.device)
    evaluated = evaluate_sets(model, criterion, data.evals, config, all_, folder, epoch=epoch)
    if all_.is_main:
        write_figures(folder, evaluated)
    return evaluated


def build_criterion(config: Config, data: DataSets) -> AnticipationLoss:
    """The losses, with what they need of language and of how often classes occur."""
    main, weights = data.main, {}
    if config.settings.train_eval_op.cls_loss_acc_fn.get("balance_classes"):
        for kind in main.label_types:
            counts = main.table[f"{kind}_class"].value_counts().to_dict()
            weights[kind] = balanced_weights(counts, main.num_classes[kind])
    return AnticipationLoss(
        language_similarities(config, main), weights, compat=config.settings.compat
    )


def write_figures(folder: Path, found: Mapping[str, Evaluated]) -> Path:
    """Figures of all data sets as ``figures.json``: suffix -> name -> number."""
    content = {
        f"dataset_eval{suffix}": {
            name: None if math.isnan(value) else value for name, value in part.metrics.items()
        }
        for suffix, part in found.items()
    }
    with atomic_path(folder / FIGURES) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return folder / FIGURES


def load_weights(model: SGear, path: Path, config: Config) -> SGearCheckpoint:
    """Weights of a checkpoint, ours or the authors', into a network of the settings.

    Raises:
        UserError: They do not fit.
    """
    found = load_checkpoint(path, config.network(), model.num_classes)
    found.load_into(model)
    return found


def _initial_weights(model: SGear, config: Config, all_: Processes) -> None:
    """Weights of other runs, as the settings name them."""
    settings, cwd = config.settings, Path(config.settings.cwd)
    if settings.train.init_from_model:
        entries = [_from(cwd, entry) for entry in settings.train.init_from_model]
        for report in load_init(model, entries):
            all_.tell("\n".join(report.lines()))
    if settings.pre_train:
        path = cwd / settings.pre_train_path
        report = load_pretrained_blocks(model, path, settings.pretrain_blocks)
        all_.tell("\n".join(report.lines()))


def _from(cwd: Path, entry: Any) -> list[Any]:
    """An entry with its path, the last word, from the run's working folder."""
    *names, path = entry if isinstance(entry, list) else [entry]
    return [*names, str(cwd / Path(path).expanduser())]


def _profiled(work: Callable[[], object], folder: Path, all_: Processes) -> None:
    import cProfile
    import pstats

    profile = cProfile.Profile()
    try:
        profile.runcall(work)
    finally:
        with (folder / "profile.txt").open("w", encoding="utf-8") as out:
            pstats.Stats(profile, stream=out).sort_stats("cumulative").print_stats(80)
        all_.tell(f"profile: {folder / 'profile.txt'}")
