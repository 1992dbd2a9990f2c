"""Which keys a configuration may have: those that the parts it names take.

A part with a ``type`` takes the arguments of that class. The other parts (data loaders, loops, ...)
are listed here. A key that nothing takes is refused with the nearest one that exists.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from behaviorzoo.errors import UserError, suggest

SHORTCUTS = ("freeze_backbone", "classes", "lists")
SPECIAL = ("type", "_scope_", "_delete_")
TOP = (
    *("model_wrapper_cfg", "find_unused_parameters", "sync_bn", "compile"),
    *("activation_checkpointing", "custom_imports", "strategy", "tta_model"),
)
"""Keys of a configuration that mmengine reads besides the arguments of its runner."""

UNTYPED: dict[str, tuple[str, ...]] = {
    "lists": ("train", "val", "test", "videos"),
    "randomness": ("seed", "deterministic", "diff_rank_seed"),
    "env_cfg": ("cudnn_benchmark", "mp_cfg", "dist_cfg", "resource_limit"),
    "mp_cfg": ("mp_start_method", "opencv_num_threads", "omp_num_threads", "mkl_num_threads"),
    "paramwise_cfg": (
        *("custom_keys", "bias_lr_mult", "bias_decay_mult", "norm_decay_mult", "dwconv_decay_mult"),
        *("flat_decay_mult", "dcn_offset_lr_mult", "bypass_duplicate"),
    ),
    "custom_keys.*": ("lr_mult", "decay_mult"),
    "arch": ("embed_dims", "depths", "num_heads"),
    "model.test_cfg": ("max_testing_views", "feature_extraction", "average_clips"),
}
"""Part without a type (its last word, or all of them) -> keys."""

FREE = ("custom_keys", "data_prefix", "metainfo", "dist_cfg", "default_hooks", "init_cfg")
"""Parts whose keys are names of the user's."""

RENAMED = {
    "data.videos_per_gpu": "train_dataloader.batch_size (clips of an iteration; "
    "optim_wrapper.accumulative_counts of them make a step)",
    "data.workers_per_gpu": "train_dataloader.num_workers",
    "data.train": "train_dataloader.dataset",
    "data.val": "val_dataloader.dataset",
    "data.test": "test_dataloader.dataset",
    "data": "train_dataloader, val_dataloader, test_dataloader",
    "optimizer.lr": "optim_wrapper.optimizer.lr",
    "optimizer": "optim_wrapper.optimizer",
    "optimizer_config": "optim_wrapper.accumulative_counts",
    "lr_config": "param_scheduler",
    "total_epochs": "train_cfg.max_epochs",
    "evaluation": "train_cfg.val_interval, val_evaluator",
    "checkpoint_config": "default_hooks.checkpoint",
    "log_config": "default_hooks.logger",
    "resume_from": "--resume-from FILE",
    "model.backbone.use_checkpoint": "model.backbone.with_cp",
    "model.backbone.embed_dim": "model.backbone.arch",
    "model.backbone.depths": "model.backbone.arch",
    "model.backbone.num_heads": "model.backbone.arch",
    "model.test_cfg.average_clips": "--average-clips, or model.cls_head.average_clips",
}
"""Key of the original -> what it is called today."""


def check_options(options: Mapping[str, Any], config: Any) -> None:
    """Refuse ``--cfg-options`` that nothing takes.

    Args:
        options: Dotted key -> value.
        config: The configuration before they are merged.

    Raises:
        UserError: Names the key and the nearest one.
    """
    for key in options:
        words = key.split(".")
        _check_renamed(key)
        top = _top_keys()
        if words[0] not in top:
            if words[0] in config:
                raise UserError(
                    f"--cfg-options {key}: {words[0]!r} is a variable of the file, to change it "
                    "now has no effect; change where it is used, such as "
                    "train_dataloader.dataset.pipeline.1.clip_len"
                )
            raise UserError(f"--cfg-options {key}: no key {words[0]!r}; {suggest(words[0], top)}")
        node: Any = dict(config.items())
        path: list[str] = []
        for word in words:
            if isinstance(node, Mapping):
                _check_word(word, node, path, f"--cfg-options {key}")
                node, path = node.get(word), [*path, word]
            elif isinstance(node, list) and word.isdigit():
                if int(word) >= len(node):
                    raise UserError(f"--cfg-options {key}: the list has {len(node)} entries")
                node = node[int(word)]
            else:
                break  # below something that does not exist yet: the whole is checked afterwards


def check_file(config: Any) -> None:
    """Refuse keys of a configuration that nothing takes.

    Names at the top are also variables of the file; one that is near to a key is a misspelt key.

    Raises:
        UserError: Names the key and the nearest one.
    """
    top = _top_keys()
    for name in config:
        if name in top:
            continue
        _check_renamed(name, f"{config.filename}: ", exact=True)
        near = difflib.get_close_matches(name, top, n=1, cutoff=0.85)
        if near:
            raise UserError(f"{config.filename}: no key {name!r}; did you mean {near[0]!r}?")
    used = {name: value for name, value in config.items() if name in top}
    for node, path in _nodes(used, []):
        for word in node:
            _check_word(word, node, path, str(config.filename))


def known_keys(node: Mapping[str, Any], path: list[str]) -> tuple[set[str], bool]:
    """Keys that a part may have, and whether it may have others too.

    Args:
        node: The part.
        path: Where it stands, such as ``["model", "backbone"]``.
    """
    if not path:
        return _top_keys() | set(node), False
    last = path[-1]
    if last in FREE:
        return set(), True
    for name in (".".join(path), last, f"{path[-2]}.*" if len(path) > 1 else ""):
        if name in UNTYPED and "type" not in node:
            return {*UNTYPED[name], *SPECIAL}, False
    found, others = _of_context(path), False
    if "type" in node:
        own, others = _of_type(node["type"], path)
        found |= own
    return found | set(SPECIAL), others or not found


def _check_word(word: str, node: Mapping[str, Any], path: list[str], where: str) -> None:
    known, others = known_keys(node, path)
    if word in known or (others and not difflib.get_close_matches(word, known, 1, 0.85)):
        return
    _check_renamed(".".join([*path, word]), f"{where}: ")
    place = ".".join(path) or "the configuration"
    raise UserError(f"{where}: no key {word!r} in {place}; {suggest(word, known)}")


def _check_renamed(key: str, where: str = "--cfg-options: ", exact: bool = False) -> None:
    words = key.split(".")
    for length in range(len(words), 0, -1):
        old = ".".join(words[:length])
        if old in RENAMED and (not exact or old == key):
            raise UserError(f"{where}{key} of the original is {RENAMED[old]} today")


def _nodes(value: Any, path: list[str]) -> Iterator[tuple[Mapping[str, Any], list[str]]]:
    """Every mapping below, with its place; list indices are left out of it."""
    if isinstance(value, Mapping):
        if path:
            yield value, path
        for key, below in value.items():
            yield from _nodes(below, [*path, str(key)])
    elif isinstance(value, list | tuple):
        for below in value:
            yield from _nodes(below, path)


def _top_keys() -> set[str]:
    from mmengine.runner import Runner

    return {*_names(Runner), *TOP, *SHORTCUTS} - {"cfg"}


def _of_context(path: list[str]) -> set[str]:
    """Keys that a part has by its place, whatever its type."""
    from mmengine.runner import TestLoop, ValLoop
    from torch.utils.data import DataLoader

    from uas_swin.train_loop import InterruptibleEpochs

    last = path[-1]
    if last.endswith("_dataloader"):
        return {*_names(DataLoader), "num_batch_per_epoch"}
    if path == ["train_cfg"]:
        return {*_names(InterruptibleEpochs), "by_epoch"} - {"runner", "dataloader"}
    if path in (["val_cfg"], ["test_cfg"]):
        return _names(ValLoop, TestLoop) - {"runner", "dataloader", "evaluator"}
    if last == "optim_wrapper":
        return {"optimizer", "constructor", "paramwise_cfg"}
    if last == "param_scheduler":
        return {"convert_to_iter_based"}
    return set()


def _of_type(kind: Any, path: list[str]) -> tuple[set[str], bool]:
    """Arguments of every registered class of that name, and whether one takes others too."""
    parts = list(_registered(kind)) if isinstance(kind, str) else [kind]
    if not parts:
        raise UserError(f"{'.'.join(path)}: no part is called type={kind!r}; check its spelling")
    if kind == "UasSampleFrames":  # hands its arguments to a table of settings
        from uas_swin.data.sampling import SamplingConfig

        parts = [SamplingConfig]
    taken = [_arguments(part) for part in parts]
    return set().union(*(names for names, _ in taken)), any(others for _, others in taken)


def _registered(name: str) -> Iterator[Any]:
    from mmaction import registry as ours
    from mmengine import registry as root
    from mmengine.registry import Registry

    bare = name.rpartition(".")[2]
    for module in (ours, root):
        for value in vars(module).values():
            if isinstance(value, Registry) and bare in value.module_dict:
                yield value.module_dict[bare]


def _arguments(part: Any) -> tuple[set[str], bool]:
    """Names of the arguments of a class or function, and whether it takes others too.

    Arguments that are passed on to a base class count; a class whose last base still passes them
    on checks them itself.
    """
    if not inspect.isclass(part):
        return _named(part)
    found: set[str] = set()
    passes_on = True
    for base in part.__mro__:
        if "__init__" in vars(base) and base is not object and passes_on:
            names, passes_on = _named(vars(base)["__init__"])
            found |= names
    return found, passes_on


def _named(function: Any) -> tuple[set[str], bool]:
    parameters = inspect.signature(function).parameters.values()
    kinds = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    names = {p.name for p in parameters if p.kind not in kinds and p.name != "self"}
    return names, any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)


def _names(*parts: Any) -> set[str]:
    return set().union(*(_arguments(part)[0] for part in parts))
