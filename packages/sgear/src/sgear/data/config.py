"""What a user can say about the data: the keys of the groups ``dataset`` and ``data``, with help.

The names are the original's. Every key has a default, so that a set can be described by what
differs. Mappings become these classes, and are checked, in :mod:`sgear.data.config_reading`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Compat = Literal["upstream", "corrected"]
Kind = Literal["epic", "egtea", "salads", "breakfast", "table"]
Strategy = Literal["random_clip", "center_clip", "last_clip", "first_clip"]
DropStyle = Literal["correct", "full_context_in", "action_banks"]
ReaderKind = Literal["video", "lmdb", "hdf5", "npy", "text", "embeddings"]
ReadType = Literal["normal", "exact_rulstm"]
LABEL_TYPES = ("action", "verb", "noun")
RECOGNITION = -999.0


def _help(text: str) -> dict[str, str]:
    """Metadata of a field: what ``--help-config`` prints."""
    return {"help": text}


@dataclass
class AnticipationConfig:
    """Which part of the video is seen before an action (``conv_to_anticipate_fn``)."""

    tau_a: float = field(
        default=1.0,
        metadata=_help(
            "seconds between the end of the clip and the start of the action; -999 = recognition "
            "(the clip is the action)"
        ),
    )
    tau_o: float = field(default=2.5, metadata=_help("seconds of video that are seen"))
    drop_style: DropStyle = field(
        default="correct",
        metadata=_help(
            "rows that stay: correct (clip ends at or after 1/30 s) | full_context_in (starts at "
            "or after 1/30 s) | action_banks (ends at or after 2 s)"
        ),
    )
    future_clip_ratios: list[float] = field(
        default_factory=lambda: [1.0],
        metadata=_help("future clips start this many tau_a behind the end; -999 = the clip itself"),
    )


@dataclass
class ReaderConfig:
    """Where frames or features are read (``reader_fn``)."""

    kind: ReaderKind = field(
        default="video",
        metadata=_help(
            "video | lmdb (records <video>_frame_<10 digits>.jpg of float32) | hdf5 (one data set "
            "per video) | npy (<video>.npy, (C, T)) | text (<video>.gz or .txt, a row per frame) | "
            "embeddings (of `sgear embed --every`, FILE.nc or FILE.nc:LEVEL)"
        ),
    )
    path: list[str] = field(
        default_factory=list,
        metadata=_help("feature files or folders; several are joined along the channels"),
    )
    read_type: ReadType = field(
        default="normal",
        metadata=_help("normal (every frame of the clip) | exact_rulstm (11 frames, 0.25 s apart)"),
    )
    fps: float = field(default=30.0, metadata=_help("frames per second of stored features"))
    look_back: int = field(
        default=9, metadata=_help("a missing feature frame is replaced by one up to this far back")
    )
    key_format: str = field(
        default="{video}_frame_{frame:010d}.jpg", metadata=_help("lmdb: key of a record")
    )


@dataclass
class SubclipConfig:
    """Windows of a clip, one time token each; null = the whole clip."""

    num_frames: int | None = field(default=None, metadata=_help("frames of a window"))
    stride: int | None = field(default=None, metadata=_help("frames between two windows"))


@dataclass
class DatasetConfig:
    """One set of annotated videos (a root key ``dataset_train*`` or ``dataset_eval*``)."""

    kind: Kind = field(
        default="epic",
        metadata=_help(
            "epic (EPIC-Kitchens-55/100) | egtea | salads (50 Salads) | breakfast | table (any "
            "csv: video,start,stop,label[,verb,noun])"
        ),
    )
    version: float = field(
        default=0.2, metadata=_help("0.1 = EPIC-55, 0.2 = EPIC-100, -1 = EGTEA Gaze+")
    )
    root: list[str] = field(
        default_factory=list, metadata=_help("folders of videos, searched in order")
    )
    annotation_path: list[str] = field(
        default_factory=list,
        metadata=_help("annotation files: csv, pickle, RULSTM csv, bundle; several are joined"),
    )
    annotation_dir: str = field(
        default="", metadata=_help("folder with the verb and noun lists, or the frame labels")
    )
    rulstm_annotation_dir: str | None = field(
        default=None, metadata=_help("folder of RULSTM's lists (tail, unseen, actions)")
    )
    action_labels_fpath: str = field(
        default="",
        metadata=_help("actions.csv; empty = `actions_from`, else every verb with every noun"),
    )
    actions_from: list[str] = field(
        default_factory=list,
        metadata=_help("annotation files whose (verb, noun) pairs are the actions"),
    )
    only_keep_videos: str | None = field(
        default=None, metadata=_help("file with a video per line: others are left out")
    )
    embeddings_path: str | None = field(
        default=None, metadata=_help("language encodings of the classes")
    )
    similarities_path: str | None = field(
        default=None, metadata=_help("language similarities of the classes")
    )
    visual_encodings_path: str | None = field(
        default=None, metadata=_help("visual prototypes of the classes")
    )
    label_type: list[str] = field(
        default_factory=lambda: ["action"], metadata=_help("action, verb, noun: what is learned")
    )
    tubelets: int = field(default=1, metadata=_help("past labels of every n-th window only"))
    sample_strategy: Strategy = field(
        default="random_clip",
        metadata=_help(
            "which part of a longer clip: random_clip | center_clip | last_clip | first_clip"
        ),
    )
    conv_to_anticipate_fn: AnticipationConfig | None = field(
        default_factory=AnticipationConfig,
        metadata=_help("what is seen before the action; null = the annotated segment"),
    )
    reader_fn: list[ReaderConfig] = field(
        default_factory=lambda: [ReaderConfig()], metadata=_help("one reader per modality")
    )
    is_train: bool = field(
        default=False, metadata=_help("cut a random part (up to half) off the start of the clip")
    )
    return_future_clips_too: bool = field(
        default=False, metadata=_help("items also hold the clips of future_clip_ratios")
    )
    sample_classes_balanced: bool = field(
        default=False, metadata=_help("every class is drawn equally often")
    )
    repeat_data_times: float = field(
        default=1.0, metadata=_help("an epoch is this many times the set")
    )
    fold: int = field(default=1, metadata=_help("salads, breakfast: split"))
    split: Literal["train", "test"] = field(
        default="train", metadata=_help("salads, breakfast: which bundle of the split")
    )
    annotation_style: Literal["orig", "frames"] = field(
        default="orig",
        metadata=_help(
            "salads: orig (<id>-activityAnnotation.txt with timestamps) | frames (a class name "
            "per frame)"
        ),
    )
    frame_rate: float | None = field(
        default=None,
        metadata=_help("salads, breakfast: frames per second of the labels; null = of each video"),
    )


@dataclass
class DataConfig:
    """How clips become tensors (a root key ``data_train`` or ``data_eval``)."""

    num_frames: int = field(default=16, metadata=_help("frames of a clip"))
    frame_rate: float | None = field(
        default=None, metadata=_help("frames per second of a clip; null = of the video")
    )
    subclips: SubclipConfig = field(
        default_factory=SubclipConfig, metadata=_help("windows of a clip")
    )
    load_seg_labels: bool = field(default=False, metadata=_help("labels of the frames seen, too"))
    train_bs_multiplier: int = field(default=5, metadata=_help("unused, as in the original"))
    val_clips_per_video: int = field(default=1, metadata=_help("unused, as in the original"))
    workers: int = field(default=10, metadata=_help("processes that load"))
    scale_h: int | str | None = field(
        default=128,
        metadata=_help("height after resizing, or of the short side if scale_w is -1; 'a-b' draws"),
    )
    scale_w: int = field(default=174, metadata=_help("width after resizing; -1 = keep the shape"))
    crop_size: int | None = field(default=112, metadata=_help("side of the crop; null = none"))
    mean: list[float] = field(
        default_factory=lambda: [0.43216, 0.394666, 0.37645],
        metadata=_help("subtracted from the channels"),
    )
    std: list[float] = field(
        default_factory=lambda: [0.22803, 0.22145, 0.216989],
        metadata=_help("the channels are divided by it"),
    )
    flip_p: float = field(default=0.5, metadata=_help("training: share of mirrored clips"))
    scale_pix_val: float = field(default=1.0, metadata=_help("factor on values from 0 to 1"))
    reverse_channels: bool = field(default=False, metadata=_help("RGB to BGR"))
    color_jitter_brightness: float = field(default=0.0, metadata=_help("training"))
    color_jitter_contrast: float = field(default=0.0, metadata=_help("training"))
    color_jitter_saturation: float = field(default=0.0, metadata=_help("training"))
    color_jitter_hue: float = field(default=0.0, metadata=_help("training, up to 0.5"))
    use_dist_sampler: bool = field(default=True, metadata=_help("share the set among processes"))
    eval_num_crops: int = field(default=1, metadata=_help("evaluation: 1 (centre) or 3"))
    eval_flip_crops: bool = field(default=False, metadata=_help("evaluation: mirrored crops too"))

    @property
    def window(self) -> tuple[int, int]:
        """Frames and stride of the windows of a clip."""
        frames = self.subclips.num_frames or self.num_frames
        return frames, self.subclips.stride or frames
