"""The verbs ``train`` and ``test``: a configuration, changed by the words of the command line."""

from __future__ import annotations

import os
import re
import signal
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.files import existing_file
from behaviorzoo.launch import is_main_process, tell
from behaviorzoo.training.signals import StopTraining, leave
from uas_swin.config import load_config

if TYPE_CHECKING:
    from mmengine.config import Config

    from uas_swin.metrics import Evaluation

LAUNCHERS = ("none", "pytorch", "slurm", "mpi")
EVAL_OPTIONS = ("topk", "num_classes", "compat", "class_names", "out_dir")
WEIGHTS = (
    "published weights are at https://github.com/SwinTransformer/storage/releases/tag/v1.0.4 "
    "and with the Universal Action Space; or set load_from=FILE (load_from=None for none)"
)


@dataclass(frozen=True)
class RunOptions:
    """What the command line says beside the configuration.

    Attributes:
        work_dir: Folder of the run.
        cfg_options: ``key=value`` words.
        launcher: How several processes were started: ``none``, ``pytorch``, ``slurm``, ``mpi``.
        seed: Of everything random.
        deterministic: Only deterministic algorithms.
        validate: Evaluate the validation list while training.
        resume: Go on from this checkpoint; an empty word for the newest one of the run.
        overwrite: Begin anew in a folder that has checkpoints.
        amp: Mixed precision, on GPUs.
        dry_run: Check configuration, lists and weights, and train nothing.
    """

    work_dir: str | None = None
    cfg_options: Sequence[str] = ()
    launcher: str = "none"
    seed: int | None = None
    deterministic: bool = False
    validate: bool = False
    resume: str | None = None
    overwrite: bool = False
    amp: bool = False
    dry_run: bool = False


def train(config: str | Path, options: RunOptions | None = None) -> Path:
    """Train; every epoch leaves a checkpoint, and so does whoever asks the run to end.

    Args:
        config: Name or file of a configuration.
        options: What changes it.

    Returns:
        Folder of the run.

    Raises:
        UserError: A configuration, list, video or checkpoint that does not do.
    """
    from uas_swin.runner import LAST
    from uas_swin.train_loop import interruptible

    options = options or RunOptions()
    settings = _settings(config, options)
    if options.validate:
        _check_evaluator(settings.val_evaluator, settings.val_dataloader.dataset)
    else:
        for key in ("val_dataloader", "val_cfg", "val_evaluator"):
            settings[key] = None
    for key in ("test_dataloader", "test_cfg", "test_evaluator"):
        settings[key] = None
    if options.amp:
        settings.optim_wrapper.type = "CarriedAmpOptimWrapper"
    hooks = [{"type": name} for name in ("SeedIterations", "EndValidation", "ResumeChecks")]
    settings.custom_hooks = [*settings.get("custom_hooks", []), *hooks]
    interruptible(settings)
    folder = Path(settings.work_dir)
    if not _resumes(settings, options.resume):
        if options.resume is None:
            _refuse_used(folder, options.overwrite)
        if settings.get("load_from"):
            _weights_exist(settings.load_from)
    if options.dry_run:
        _open_lists(settings)
        return folder
    if options.resume is None and is_main_process():
        # What an overwritten run wrote last is nothing that this one could go on from.
        (folder / LAST).unlink(missing_ok=True)
    _run(settings, "train")
    return folder


def score(
    config: str | Path,
    checkpoint: str | Path,
    options: RunOptions | None = None,
    *,
    metrics: Sequence[str] = (),
    metric_options: Sequence[str] = (),
    average_clips: str | None = None,
    out: str | Path | None = None,
) -> Evaluation:
    """Score the test list.

    Args:
        config: Name or file of a configuration.
        checkpoint: ``.pth`` file, or the folder of a head of ``uas-swin probe``.
        options: What changes the configuration.
        metrics: Some of :data:`uas_swin.metrics.METRICS`; the default ones without any.
        metric_options: ``key=value`` of the evaluator, such as ``compat=corrected``.
        average_clips: How views are averaged: ``prob`` or ``score``.
        out: File for the scores of every video, ``.pkl``, ``.json`` or ``.yaml``.

    Raises:
        UserError: A configuration, list, video or checkpoint that does not do.
    """
    from uas_swin.config import parse_value
    from uas_swin.heads import is_head_folder
    from uas_swin.metrics import check_metrics
    from uas_swin.score_files import check_score_file

    options = options or RunOptions()
    check_metrics(metrics)
    if out is not None:
        check_score_file(out)
    settings = _settings(config, options)
    for key in ("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler",
                "val_dataloader", "val_cfg", "val_evaluator"):  # fmt: skip
        settings[key] = None
    evaluator = settings.test_evaluator
    if metrics:
        evaluator.metric_list = list(metrics)
    for word in metric_options:
        key, mark, text = word.partition("=")
        if not mark:
            raise UserError(f"--eval-options {word}: write key=value, such as topk=1,3")
        if key not in EVAL_OPTIONS:
            raise UserError(f"--eval-options: no key {key!r}; {suggest(key, EVAL_OPTIONS)}")
        evaluator[key] = parse_value(text)
    _check_evaluator(evaluator, settings.test_dataloader.dataset)
    evaluator.setdefault("out_dir", str(settings.work_dir))
    if average_clips is not None:
        settings.model.cls_head.average_clips = average_clips
    if not is_head_folder(checkpoint):
        existing_file(checkpoint, "checkpoint")
    settings.load_from = str(Path(checkpoint).expanduser())
    if out is not None:
        settings.test_evaluator = [evaluator, {"type": "UasScores", "out": str(out)}]
    runner = _run(settings, "test")
    metrics_of_run = runner.test_loop.evaluator.metrics
    return next(metric.evaluation for metric in metrics_of_run if hasattr(metric, "evaluation"))


def _settings(config: str | Path, options: RunOptions) -> Config:
    settings = load_config(config, options.cfg_options)
    if options.work_dir is not None:
        settings.work_dir = options.work_dir
    folder = Path(settings.work_dir)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; give a folder as --work-dir")
    settings.launcher = options.launcher
    if options.seed is not None:
        if not 0 <= options.seed < 2**32:
            raise UserError(f"--seed {options.seed} must be from 0 to {2**32 - 1}")
        settings.randomness.seed = options.seed
    if options.deterministic:
        settings.randomness.deterministic = True
    # Loggers are kept by name: two runs of one process must not share one.
    name = f"{Path(str(settings.filename)).stem}_{Path(settings.work_dir).resolve().name}"
    settings.setdefault("experiment_name", name)
    return settings


def _check_evaluator(evaluator: Any, dataset: Any) -> None:
    """Refuse metrics that do not fit the labels before the videos have been scored for them.

    Raises:
        UserError: With those that do.
    """
    from uas_swin.metrics import DEFAULT_METRICS, check_metrics_fit

    if isinstance(evaluator, dict) and evaluator.get("type") == "UasAccuracy":
        metrics = evaluator.get("metric_list", DEFAULT_METRICS)
        check_metrics_fit(
            [metrics] if isinstance(metrics, str) else metrics,
            bool(dataset.get("multi_class")),
            evaluator.get("num_classes") or dataset.get("num_classes"),
            evaluator.get("compat", "upstream"),
        )


def _resumes(settings: Config, checkpoint: str | None) -> bool:
    """Set a configuration to go on from a checkpoint, if that is asked for and there is one."""
    from uas_swin.runner import newest_checkpoint
    from uas_swin.runtime import load_from_local

    if checkpoint is None:
        return False
    found = newest_checkpoint(settings.work_dir)
    path = existing_file(checkpoint, "checkpoint") if checkpoint else found
    if path is None:  # a job that was taken away before it saved is started again like this
        tell(f"{settings.work_dir}: no checkpoint to resume from, starting from scratch")
        return False
    meta = load_from_local(path).get("meta")
    seed = meta.get("seed") if isinstance(meta, dict) else None
    if seed is not None:  # the order of the samples follows from it
        settings.randomness.seed = seed
    settings.resume, settings.load_from = True, str(path)
    tell(f"going on from {path}")
    return True


def _open_lists(settings: Config) -> None:
    """Read the lists as a training would.

    Raises:
        UserError: A list with a mistake.
    """
    from mmengine.registry import DATASETS, DefaultScope

    for key in ("train_dataloader", "val_dataloader"):
        if settings.get(key):
            with DefaultScope.overwrite_default_scope("mmaction"):
                DATASETS.build(settings[key].dataset)


def _refuse_used(folder: Path, overwrite: bool) -> None:
    if not overwrite and any((*folder.glob("epoch_*.pth"), *folder.glob("iter_*.pth"))):
        raise UserError(
            f"{folder}: has checkpoints of an earlier run; go on with --resume, begin anew with "
            "--overwrite, or give another --work-dir"
        )


def _weights_exist(path: str) -> None:
    try:
        existing_file(path, "weights (load_from)")
    except UserError as error:
        raise UserError(f"{error}; {WEIGHTS}") from error


def _run(settings: Config, what: str) -> Any:
    """Build the runner and let it train or test."""
    from uas_swin.runner import UasRunner, newest_checkpoint

    _join_processes(settings)
    try:
        runner = UasRunner.from_cfg(settings)
        getattr(runner, what)()
    except StopTraining as end:
        tell(f"stopped; {newest_checkpoint(settings.work_dir)}; go on with --resume")
        leave(end.signal or signal.SIGTERM)
    except Exception as error:
        mistake = _users_mistake(error)
        if mistake is None:
            raise
        raise mistake from error
    return runner


def _users_mistake(error: Exception) -> UserError | None:
    """What the user has to read of an exception that passed mmengine or torch; else None."""
    text = str(error)
    caught = re.match(r"Caught (UserError|VideoError) in DataLoader worker", text)
    if caught is not None:  # torch tells the worker's whole traceback as the message
        return UserError(text.rstrip().rpartition(f"{caught[1]}: ")[2])
    if isinstance(error, UserError):
        return error
    trace = traceback.extract_tb(error.__traceback__)
    building = any(frame.name.startswith("build") for frame in trace)
    if building and isinstance(error, KeyError | TypeError | ValueError | AssertionError):
        return UserError(f"the configuration cannot be built: {' '.join(text.split())}")
    if "out of memory" in text:
        return UserError(
            "the device has not enough memory; take fewer clips at a time "
            "(train_dataloader.batch_size, model.test_cfg.max_testing_views) or "
            "model.backbone.with_cp=True"
        )
    return None


def _join_processes(settings: Config) -> None:
    """Meet the other processes; on the CPU by gloo, which mmengine does not do."""
    import torch

    if settings.launcher == "none" or torch.distributed.is_initialized():
        return
    if settings.launcher == "pytorch" and "RANK" not in os.environ:
        raise UserError(
            "--launcher pytorch: start the command by torchrun, such as "
            "torchrun --nproc-per-node 2 -m uas_swin.cli train CONFIG --launcher pytorch"
        )
    if settings.launcher == "pytorch" and not torch.cuda.is_available():
        torch.distributed.init_process_group("gloo")
