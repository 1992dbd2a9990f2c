"""What a trained network is given: the data it can read, treated as those it was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from behaviorzoo.errors import UserError
from behaviorzoo.schema import from_dict
from hysp.checkpoints import LoadedModel
from hysp.data.config import ClipConfig, DataConfig
from hysp.model.config import EncoderConfig

if TYPE_CHECKING:
    from hysp.data.dataset import SkeletonData

JOINTS = ("keypoints", "edges", "centre", "mirror_pairs")
"""Keys of clips that a trained network has fixed."""

CHOICE = ("recordings", "exclude")
"""Keys of clips that say which recordings, not how they are cut."""


def data_state(
    loaded: LoadedModel | None, *, classes: bool = False, scale: bool = True
) -> dict[str, Any]:
    """What other data must share with those of the training.

    Args:
        loaded: The checkpoint.
        classes: The numbers of the classes too.
        scale: The scale of recordings too.
    """
    state = dict((loaded.metadata.get("data_state") if loaded else None) or {})
    left_out = [*(() if classes else ("tasks", "task")), *(() if scale else ("scale",))]
    return {key: value for key, value in state.items() if key not in left_out}


def stream_of(loaded: LoadedModel | None, wanted: str | None = None) -> str:
    """The stream that was asked for, else that of the checkpoint, else joints.

    Raises:
        UserError: No such stream.
    """
    from hysp.streams import stream_channels  # needs torch, which settings do not

    options: Mapping[str, Any] = {}
    if loaded is not None:
        authors = loaded.metadata.get("cfg", {})
        options = authors if loaded.full_config is None else loaded.full_config
    stream = wanted or str(options.get("stream", "joint"))
    stream_channels(stream)  # names the nearest one
    return stream


def trained_clips(loaded: LoadedModel | None) -> ClipConfig | None:
    """How the clips of the training were cut, where the checkpoint says it."""
    if loaded is None or loaded.full_config is None:
        return None
    data = loaded.full_config.get("data")
    clips = data.get("clips") if isinstance(data, Mapping) else None
    where = f"{loaded.path}, data.clips"
    return from_dict(ClipConfig, clips, where) if isinstance(clips, Mapping) else None


def cut_alike(data: DataConfig, loaded: LoadedModel | None, words: Iterable[str]) -> DataConfig:
    """Settings of data whose clips are cut as in the training, but for what the user says.

    Args:
        data: Settings; what differs from the defaults in them was said by the user.
        loaded: The checkpoint.
        words: The user's words, for what was set to its default on purpose.

    Raises:
        UserError: Words that change the joints, which are those of the training.
    """
    trained = trained_clips(loaded)
    if trained is None:
        return data
    plain = ClipConfig()
    said = {word.partition("=")[0].removeprefix("data.clips.") for word in words}
    fixed = sorted(said & set(JOINTS)) if loaded and loaded.metadata.get("data_state") else []
    if fixed:
        raise UserError(
            f"data.clips.{fixed[0]}: the joints and their graph are those of the training; "
            "leave it out"
        )
    own = {
        field.name: getattr(data.clips, field.name)
        for field in fields(ClipConfig)
        if field.name in (*said, *CHOICE)
        or getattr(data.clips, field.name) != getattr(plain, field.name)
    }
    if "window" in own and own["window"] is None:
        own.setdefault("stride", None)  # what is no window has no stride
    return replace(data, clips=replace(trained, **own))


def check_fit(encoder: EncoderConfig, data: SkeletonData, stream: str) -> None:
    """Refuse clips that a trained encoder cannot take.

    Raises:
        UserError: They have other joints, or the stream other channels.
    """
    from hysp.streams import stream_channels  # needs torch, which settings do not

    joints, channels = encoder.graph.build().n_joints, stream_channels(stream, data.shape[0])
    if (joints, encoder.in_channels) != (len(data.skeleton.joints), channels):
        raise UserError(
            f"{data.where}: {len(data.skeleton.joints)} joints and {channels} channels (stream "
            f"{stream}), the network takes {joints} joints and {encoder.in_channels} channels"
        )
