"""Finding the files of the published benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from behaviorzoo.errors import UserError
from behaviorzoo.files import existing_file
from hbehavemae.data.config import DataConfig

Split = Literal["train", "test"]


def benchmark_file(config: DataConfig, split: Split, names: Mapping[str, Sequence[str]]) -> Path:
    """The file of a split.

    ``data.path`` is the training file or a folder with the benchmark's file names. The test file
    is ``data.test_path``, or the benchmark's name in the folder, or the training file's path with
    "train" replaced by "test" in its name and its folder's name. A path without "train" is taken
    for both splits.

    Args:
        config: Where the data are.
        split: Which split.
        names: Relative names that a split's file can have in a folder, split -> names.

    Raises:
        UserError: No such file; it names what was looked for.
    """
    if not config.path and not (split == "test" and config.test_path):
        raise UserError(f"data.path is empty: give the file or folder of {config.dataset}")
    if split == "test" and config.test_path is not None:
        return _in_folder(_single(config.test_path), names["test"], config.dataset)
    path = _single(config.path)
    if path.is_dir():
        return _in_folder(path, names[split], config.dataset)
    if split == "test":
        path = _test_twin(path)
    return existing_file(path, f"{config.dataset} {split} file")


def has_test_file(config: DataConfig, names: Mapping[str, Sequence[str]]) -> bool:
    """Whether there is a test file apart from the training file."""
    try:
        test = benchmark_file(config, "test", names)
    except UserError:
        return False
    return config.test_path is not None or test != _single(config.path).expanduser()


def _single(path: str | list[str]) -> Path:
    paths = [path] if isinstance(path, str | Path) else path
    if len(paths) != 1:
        raise UserError(f"data.path: expected one file or folder, got {len(paths)}")
    return Path(paths[0]).expanduser()


def _in_folder(path: Path, names: Sequence[str], dataset: str) -> Path:
    if not path.is_dir():
        return existing_file(path, f"{dataset} file")
    for name in names:
        if (path / name).is_file():
            return existing_file(path / name, f"{dataset} file")
    raise UserError(f"{path}: this folder has no {' or '.join(names)}; check data.path")


def _test_twin(path: Path) -> Path:
    folder = path.parent.parent / path.parent.name.replace("train", "test")
    name = path.name.replace("train", "test")
    candidates = [folder / name, path.parent / name]
    return next((twin for twin in candidates if twin.is_file()), candidates[0])
