"""Configurations: mmengine files, packaged ones by name, changed by ``--cfg-options``.

A configuration in Python is a program: opening one runs it. The packaged ones and your own are
opened; a configuration that lies in a checkpoint is never run.

Three shortcuts stand at the top of a configuration and set what belongs together:

    freeze_backbone   train the head and low-rank branches only (the original's key)
    classes           names of the classes, or a file of them: sets their number everywhere
    lists             train, val, test: list files; videos: the folder they are relative to
"""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from behaviorzoo.errors import UserError, suggest

if TYPE_CHECKING:
    from mmengine.config import Config

FOLDER = Path(__file__).parent / "configs"
PREFIX = "swin_base_patch244_window877_"
SUFFIXES = (".py", ".yaml", ".yml", ".json")
LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


def packaged() -> list[str]:
    """Names of the packaged configurations, without what all of the original's begin with."""
    return sorted(path.stem.removeprefix(PREFIX) for path in FOLDER.glob("*.py"))


def config_path(name: str | Path) -> Path:
    """The file of a configuration.

    Args:
        name: A file; or the name of a packaged configuration as :func:`packaged` gives it, also
            with the original's prefix and folder (``configs/recognition/swin/swin_base_....py``).

    Raises:
        UserError: Neither; with the nearest name.
    """
    path = Path(name).expanduser()
    if path.is_file():
        if path.suffix not in SUFFIXES:
            raise UserError(f"{path}: not a configuration; these end in {', '.join(SUFFIXES)}")
        return path
    short = path.name.removesuffix(".py").removeprefix(PREFIX)
    for file in FOLDER.glob("*.py"):
        if file.stem.removeprefix(PREFIX) == short:
            return file
    hint = suggest(short, packaged())
    raise UserError(f"{name}: no such file, and no configuration is called {short!r}; {hint}")


def load_config(name: str | Path, words: Sequence[str] = ()) -> Config:
    """Open a configuration, change it, and complete it.

    Args:
        name: See :func:`config_path`.
        words: ``key=value`` of ``--cfg-options``.

    Returns:
        The configuration, its shortcuts applied.

    Raises:
        UserError: It cannot be opened, or has a key that nothing takes.
    """
    from uas_swin.config_keys import check_file, check_options
    from uas_swin.registration import register_all

    config = open_config(config_path(name))
    options = dict(map(_option, words))
    register_all()
    check_file(config)
    check_options(options, config)
    _check_numbers(options, config)
    try:
        config.merge_from_dict(options)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"--cfg-options: {_first_line(error)}") from error
    finish(config)
    check_file(config)
    return config


def open_config(path: Path) -> Config:
    """Open a file; one in Python is run.

    Raises:
        UserError: It fails, or a file that it builds on is missing.
    """
    from mmengine.config import Config

    try:
        return Config.fromfile(path)
    except Exception as error:
        # A configuration is a program of the user's: whatever it raises is to be mended there.
        kind = type(error).__name__
        raise UserError(f"{path}: cannot be opened ({kind}: {_first_line(error)})") from error


def finish(config: Config) -> None:
    """Apply the shortcuts, and set what follows from something else.

    Raises:
        UserError: A part is missing, or the class names cannot be read.
    """
    for key in ("model", "work_dir", *LOADERS):
        if key not in config:
            raise UserError(
                f"{config.filename}: no {key!r}; build on a packaged configuration with _base_"
            )
    if config.get("freeze_backbone"):
        config.model.freeze_backbone = True
    _apply_lists(config)
    _apply_classes(config)
    _apply_width(config.model)
    for key in LOADERS:
        if not config[key].get("num_workers", 0):
            config[key].persistent_workers = False
    views = (config.model.get("test_cfg") or {}).get("max_testing_views")
    for key in LOADERS[1:]:
        size = config[key].get("batch_size", 1)
        if views and size > 1:
            raise UserError(
                f"{key}.batch_size={size}: model.test_cfg.max_testing_views={views} parts the "
                "views of one video at a time; set it to None, or the batch size to 1"
            )


def datasets(config: Config) -> dict[str, Any]:
    """Split -> configuration of its data set."""
    return {key.removesuffix("_dataloader"): config[key].dataset for key in LOADERS}


def _apply_lists(config: Config) -> None:
    lists = dict(config.get("lists") or {})
    if lists.get("val") and not lists.get("test"):
        lists["test"] = lists["val"]
    for split, dataset in datasets(config).items():
        if lists.get(split):
            dataset.ann_file = lists[split]
        if lists.get("videos"):
            dataset.data_prefix = {"video": lists["videos"]}
        if "ann_file" not in dataset:
            raise UserError(f"{config.filename}: no list for {split!r}; set lists.{split}=FILE")


def _apply_classes(config: Config) -> None:
    from uas_swin.data.classes import check_classes, read_classes

    classes = config.get("classes")
    names = read_classes(classes) if isinstance(classes, str) else classes
    head = config.model.get("cls_head")
    if names is not None:
        check_classes(names, "classes")
        head.num_classes = len(names)
    for dataset in datasets(config).values():
        dataset.num_classes = head.num_classes
        if names is not None:
            dataset.classes = list(names)


def _apply_width(model: Any) -> None:
    """The head takes as many features as the backbone gives."""
    from uas_swin.model.backbone import checked_arch

    arch = checked_arch(model.backbone.get("arch", "base"))
    model.cls_head.in_channels = arch["embed_dims"] << (len(arch["depths"]) - 1)


def _check_numbers(options: dict[str, Any], config: Config) -> None:
    """Refuse words where a number stands: far from here they fail without the name of the key."""
    for key, value in options.items():
        node: Any = dict(config.items())
        for word in key.split("."):
            if isinstance(node, list) and word.isdigit():
                node = node[int(word)]
            else:
                node = node.get(word) if isinstance(node, Mapping) else None
        if isinstance(node, int | float) and not isinstance(node, bool) and isinstance(value, str):
            raise UserError(f"--cfg-options {key}={value}: expected a number, such as {node}")


def _option(word: str) -> tuple[str, Any]:
    key, mark, text = word.partition("=")
    if not mark or not key:
        raise UserError(
            f"--cfg-options {word}: write key=value, such as model.backbone.lora_rank=8"
        )
    return key, parse_value(text)


def parse_value(text: str) -> Any:
    """A value as users of mmengine write it: a number, true, None, words parted by commas, or text.

    Unlike mmengine's own parser this one keeps blanks, which paths may have.
    """
    known = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in known:
        return known[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        pass
    if text[:1] in "[(" and text[-1:] in "])" and text:
        return [parse_value(part.strip()) for part in text[1:-1].split(",") if part.strip()]
    if "," in text and not os.path.exists(text):
        return [parse_value(part.strip()) for part in text.split(",")]
    return text


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
