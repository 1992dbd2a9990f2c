"""Settings of the data out of plain mappings, checked as far as it goes without the files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, get_args

from behaviorzoo.errors import UserError, suggest
from sgear.data.config import (
    LABEL_TYPES,
    RECOGNITION,
    AnticipationConfig,
    DataConfig,
    DatasetConfig,
    DropStyle,
    Kind,
    ReaderConfig,
    ReaderKind,
    ReadType,
    Strategy,
    SubclipConfig,
)


def dataset_from_mapping(group: Mapping[str, Any], where: str = "dataset") -> DatasetConfig:
    """A :class:`DatasetConfig` of a plain mapping, the original's notations included.

    Taken: a text where a list is expected; ``reader_fn`` as mapping, list, or with the original's
    ``_target_`` (text or list), ``lmdb_path``; ``_target_`` of the set in place of ``kind``.

    Args:
        group: Keys of the group, interpolations resolved.
        where: Name of the group, for messages.

    Raises:
        UserError: Unknown keys or values; names the nearest valid one.
    """
    values = dict(group)
    values.setdefault("kind", _kind_of_target(values.pop("_target_", None)))
    values = {key: value for key, value in values.items() if value is not None or key in _NULLABLE}
    for key in ("root", "annotation_path", "actions_from", "label_type"):
        if key in values:
            values[key] = _texts(values[key])
    if (taken := values.get("conv_to_anticipate_fn")) is not None:
        plain = {key: value for key, value in taken.items() if key != "_target_"}
        values["conv_to_anticipate_fn"] = _build(
            AnticipationConfig, plain, f"{where}.conv_to_anticipate_fn"
        )
    if "reader_fn" in values:
        values["reader_fn"] = _readers(values["reader_fn"], f"{where}.reader_fn")
    config = _build(DatasetConfig, values, where)
    check_dataset(config, where)
    return config


def data_from_mapping(group: Mapping[str, Any], where: str = "data") -> DataConfig:
    """A :class:`DataConfig` of a plain mapping.

    Raises:
        UserError: Unknown keys or values; names the nearest valid one.
    """
    values = dict(group)
    if values.get("subclips") is not None:
        values["subclips"] = _build(SubclipConfig, values["subclips"], f"{where}.subclips")
    else:
        values.pop("subclips", None)
    config = _build(DataConfig, values, where)
    check_data(config, where)
    return config


def check_dataset(config: DatasetConfig, where: str = "dataset") -> None:
    """Validate what can be validated without the files.

    Raises:
        UserError: All problems in one line.
    """
    problems = [
        *_choice(config.kind, Kind, "kind"),
        *_choice(config.sample_strategy, Strategy, "sample_strategy"),
        *(p for name in config.label_type for p in _choice(name, LABEL_TYPES, "label_type")),
    ]
    if not config.label_type:
        problems.append("label_type is empty")
    if config.tubelets < 1:
        problems.append(f"tubelets={config.tubelets} must be at least 1")
    if config.repeat_data_times <= 0:
        problems.append(f"repeat_data_times={config.repeat_data_times} must be positive")
    if config.conv_to_anticipate_fn is not None:
        problems += _anticipation_problems(config.conv_to_anticipate_fn)
    if not config.reader_fn:
        problems.append("reader_fn is empty")
    for reader in config.reader_fn:
        problems += _reader_problems(reader)
    _refuse(problems, where)


def check_data(config: DataConfig, where: str = "data") -> None:
    """Validate what can be validated without the files.

    Raises:
        UserError: All problems in one line.
    """
    frames, stride = config.window
    problems = []
    for key, value in (("num_frames", config.num_frames), ("subclips", min(frames, stride))):
        if value < 1:
            problems.append(f"{key}={value} must be at least 1")
    if frames > config.num_frames:
        problems.append(f"subclips.num_frames={frames} is more than num_frames={config.num_frames}")
    if config.frame_rate is not None and config.frame_rate <= 0:
        problems.append(f"frame_rate={config.frame_rate} must be positive")
    if config.eval_num_crops not in (1, 3):
        problems.append(f"eval_num_crops={config.eval_num_crops} must be 1 or 3")
    if len(config.mean) != len(config.std) or 0 in config.std:
        problems.append(f"mean={config.mean} and std={config.std}: one of each per channel, not 0")
    if not 0 <= config.flip_p <= 1:
        problems.append(f"flip_p={config.flip_p} must lie between 0 and 1")
    if not 0 <= config.color_jitter_hue <= 0.5:
        problems.append(f"color_jitter_hue={config.color_jitter_hue} must lie between 0 and 0.5")
    for name in ("brightness", "contrast", "saturation"):
        if getattr(config, f"color_jitter_{name}") < 0:
            problems.append(f"color_jitter_{name} must not be negative")
    if isinstance(config.scale_h, str) and not _is_range(config.scale_h):
        problems.append(f"scale_h={config.scale_h!r}: a number or two, as in '384-425'")
    _refuse(problems, where)


_NULLABLE = {"conv_to_anticipate_fn"}
_TARGETS: dict[str, Kind] = {
    "EPICKitchens": "epic",
    "Breakfast50Salads": "salads",
    "Dundee50Salads": "salads",
}
_READER_TARGETS: dict[str, ReaderKind] = {
    "DefaultReader": "video",
    "EpicRULSTMFeatsReader": "lmdb",
    "SenerFeatsReader": "text",
}


def _readers(given: Any, where: str) -> list[ReaderConfig]:
    """Readers of a mapping, a list of mappings, or the original's list of targets."""
    if isinstance(given, Mapping):
        targets = given.get("_target_")
        rest = {key: value for key, value in given.items() if key != "_target_"}
        given = [{"_target_": one, **rest} for one in _texts(targets)] if targets else [rest]
    return [
        reader if isinstance(reader, ReaderConfig) else _reader(reader, where) for reader in given
    ]


def _reader(group: Mapping[str, Any] | str, where: str) -> ReaderConfig:
    values: dict[str, Any] = {"_target_": group} if isinstance(group, str) else dict(group)
    target = values.pop("_target_", None)
    if target is not None:
        name = str(target).rsplit(".", 1)[-1]
        if name not in _READER_TARGETS:
            raise UserError(f"{where}: no reader {name!r}; {suggest(name, _READER_TARGETS)}")
        values.setdefault("kind", _READER_TARGETS[name])
    values.pop("warn_if_using_closeby_frame", None)
    for old in ("lmdb_path", "feat_root"):
        given = values.pop(old, None)
        # The authors' experiments set the old names: a path laid over them is the one meant.
        if given and not values.get("path"):
            values["path"] = given
    values["path"] = _texts(values.get("path", []))
    return _build(ReaderConfig, values, where)


def _kind_of_target(target: Any) -> Kind:
    if target is None:
        return "epic"
    name = str(target).rsplit(".", 1)[-1]
    if name not in _TARGETS:
        raise UserError(f"no data set {name!r}; {suggest(name, _TARGETS)}")
    return _TARGETS[name]


def _build(kind: Any, values: Mapping[str, Any], where: str) -> Any:
    known = {entry.name for entry in dataclasses.fields(kind)}
    for key in values:
        if key not in known:
            raise UserError(f"{where}: no key {key!r}; {suggest(str(key), known)}")
    return kind(**values)


def _texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(item) for item in value or []]


def _choice(value: Any, choices: Any, key: str) -> list[str]:
    names = choices if isinstance(choices, tuple) else get_args(choices)
    return [] if value in names else [f"{key}={value}: {suggest(str(value), names)}"]


def _anticipation_problems(config: AnticipationConfig) -> list[str]:
    problems = _choice(config.drop_style, DropStyle, "drop_style")
    if config.tau_o <= 0 and config.tau_a != RECOGNITION:
        problems.append(f"tau_o={config.tau_o} must be positive")
    for ratio in config.future_clip_ratios:
        if abs(ratio) >= 10 and ratio != RECOGNITION:
            problems.append(f"future_clip_ratios: {ratio:g} must lie between -10 and 10")
    return problems


def _reader_problems(config: ReaderConfig) -> list[str]:
    problems = [
        *_choice(config.kind, ReaderKind, "reader_fn.kind"),
        *_choice(config.read_type, ReadType, "reader_fn.read_type"),
    ]
    if config.kind != "video" and not config.path:
        problems.append(f"reader_fn.path is empty: where are the features ({config.kind})?")
    if config.fps <= 0:
        problems.append(f"reader_fn.fps={config.fps} must be positive")
    return problems


def _is_range(text: str) -> bool:
    parts = text.split("-")
    return len(parts) in (1, 2) and all(part.strip().isdigit() for part in parts)


def _refuse(problems: list[str], where: str) -> None:
    if problems:
        raise UserError(f"{where}: " + "; ".join(problems))
