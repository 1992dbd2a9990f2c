"""Settings of a run: the keys of the tree with their types, checked all at once.

The names are the original's, :mod:`sgear.conf` holds its defaults. Every key is regular here, also
those that the original's TXT files add with ``+``; old names (``mod_attn``, ``freeze_gamma``,
``org_gamma``, ``CrossModAttn``, ``TimeShift``) are read as the new ones.

What ``compat`` switches (``upstream`` is the default):

==================================  ==============================  ==============================
what                                upstream                        corrected
==================================  ==============================  ==============================
tokens of prototype attention       of several clips of the batch,  of the clip itself
                                    mixed, as weights were trained
clip without label (-1)             class 1 in the semantic loss,   counts nothing there; no class
                                    the last prototype in the       in mixup
                                    regulariser, class 0 in mixup
prototype of the regulariser        that of the last label type     that of the action
``feature_mixup``                   in evaluation, too              in training only
past label where actions overlap    nearest to half the duration;   nearest to the centre; exact
                                    times rounded to float32        times
times of a clip's frames            evenly spread over the clip     those of the frames
colour jitter of strength 0         cuts pixels to 8 bits           leaves them
times of 50 Salads segments         float16 (0.25 s steps above     float64
                                    256 s)
==================================  ==============================  ==============================

``sgear prototypes language`` has its own ``--compat``: ``upstream`` words the classes of 50 Salads
by the rules of EGTEA; by default they are read as they are meant.

The order in which the heads of an attention are merged stays the original's in both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any, Literal, get_type_hints

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.schema import Problem, convert, report, to_yaml
from behaviorzoo.schema_keys import describe
from sgear.data.config import AnticipationConfig, DataConfig, DatasetConfig
from sgear.data.config_reading import data_from_mapping, dataset_from_mapping
from sgear.model.config import ModelConfig
from sgear.optim import read_optimizer
from sgear.schedule import read_scheduler
from sgear.settings import (
    EvalSettings,
    MocoSettings,
    ModelSettings,
    OptSettings,
    TrainEvalOpSettings,
    TrainSettings,
    VideoSettings,
)
from sgear.tree import DATASETS, Tree, compose

OLD_BLOCKS = {
    "CrossModAttn": "ProtAttn",
    "mod_attn": "ProtAttn",
    "TimeShift": "TCA",
    "org_gamma": "vis_prototypes",
}
"""Blocks of the network under the names that older files of the authors use."""


@dataclass
class Settings:
    """All settings of a run but its data sets and how their clips become tensors.

    Raises:
        UserError: A number out of its range.
    """

    expt_name: str = field(default="default", metadata={"help": "name of the experiment"})
    run_id: int = field(default=0, metadata={"help": "free number, to repeat an experiment"})
    seed: int = field(default=42, metadata={"help": "the one number behind all randomness"})
    cwd: str = field(default=".", metadata={"help": "folder that relative paths start from"})
    compat: Literal["upstream", "corrected"] = field(
        default="upstream",
        metadata={"help": "upstream: numerics as weights were trained; corrected: as meant"},
    )
    precision: Literal["auto", "fp32", "fp16", "bf16"] = field(
        default="auto",
        metadata={"help": "arithmetic of the network; auto: fp16 on CUDA, fp32 elsewhere"},
    )
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda, cuda:1, mps"})
    sync_bn: bool = field(
        default=False, metadata={"help": "batch statistics over all processes together"}
    )
    transductive: bool = field(
        default=False, metadata={"help": "also train one epoch on the evaluation sets"}
    )
    test_only: bool = field(default=False, metadata={"help": "evaluate, do not train"})
    pre_train: bool = field(
        default=False, metadata={"help": "take pretrain_blocks from pre_train_path"}
    )
    pre_train_path: str = field(default="", metadata={"help": "checkpoint of another run"})
    pretrain_blocks: list[str] = field(
        default_factory=list, metadata={"help": "parameters whose name holds one of these"}
    )
    data_parallel: bool = field(
        default=False,
        metadata={"help": "one process for all devices: batch sizes grow with their number"},
    )
    dist_backend: Literal["nccl", "gloo"] = field(
        default="nccl", metadata={"help": "how processes talk; gloo is taken on CPUs"}
    )
    pytorch: VideoSettings = field(default_factory=VideoSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    eval: EvalSettings = field(default_factory=EvalSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    opt: OptSettings = field(default_factory=OptSettings)
    train_eval_op: TrainEvalOpSettings = field(default_factory=TrainEvalOpSettings)
    moco: MocoSettings = field(default_factory=MocoSettings)

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UserError(f"seed = {self.seed} must be at least 0")
        if self.pre_train and not self.pretrain_blocks:
            raise UserError("pre_train=true takes nothing: name blocks, pretrain_blocks=[ProtAttn]")
        if self.pre_train and not self.pre_train_path:
            raise UserError("pre_train=true needs pre_train_path=CHECKPOINT")


@dataclass(frozen=True)
class Config:
    """Everything a run is told.

    Attributes:
        settings: All but the data.
        train_sets: Root key -> data set; all of them are trained on together.
        eval_sets: Root key -> data set; each is evaluated on its own.
        data_train: How clips of the former become tensors.
        data_eval: The same for the latter.
        plain: All of it as plain containers, as it is saved.
    """

    settings: Settings
    train_sets: dict[str, DatasetConfig]
    eval_sets: dict[str, DatasetConfig]
    data_train: DataConfig
    data_eval: DataConfig
    plain: dict[str, Any]

    def network(self) -> ModelConfig:
        """Options of the network, checked.

        Raises:
            UserError: Options that do not fit each other, all in one line.
        """
        return ModelConfig.from_authors(self.plain["model"]).check()

    def to_yaml(self) -> str:
        """The resolved settings as text; sections that only serve interpolations are left out."""
        return to_yaml({key: value for key, value in self.plain.items() if key != "dataset"})


def configure(
    words: Sequence[str] = (), run_dir: str | None = None, job: int = 0
) -> tuple[Config, Tree]:
    """Settings of the user's words over the tree; files of data are not looked at.

    Args:
        words: As in a TXT file, without sweeps.
        run_dir: Folder of the experiment, default that of the tree.
        job: Number of the run within it.

    Raises:
        UserError: Every mistake in one message.
    """
    tree = compose(words, run_dir, job)
    _check_launcher(tree)
    return checked(tree.resolved()), tree


def checked(plain: Mapping[str, Any], where: str = "configuration") -> Config:
    """Typed settings of a resolved tree, such as one that was saved with a run.

    Raises:
        UserError: Unknown keys, wrong types, values out of their range: all in one message.
    """
    plain = _new_names(plain)
    rest = {key: value for key, value in plain.items() if key != "dataset"}
    known = [key for key in plain if key.startswith(DATASETS)]
    value, problems = convert(_everything(known), rest)
    if problems or value is None:
        raise UserError(report(problems, where))
    settings = Settings(**{entry.name: getattr(value, entry.name) for entry in fields(Settings)})
    read_optimizer(settings.opt.optimizer)
    read_scheduler(settings.opt.scheduler)
    sets = {key: dataset_from_mapping(_given(plain[key]), key) for key in known}
    config = Config(
        settings,
        {key: value for key, value in sets.items() if key.startswith("dataset_train")},
        {key: value for key, value in sets.items() if key.startswith("dataset_eval")},
        data_from_mapping(plain["data_train"], "data_train"),
        data_from_mapping(plain["data_eval"], "data_eval"),
        plain,
    )
    missing = [name for name in DATASETS if not any(key.startswith(name) for key in known)]
    if missing:
        raise UserError(f"{where}: no {' and no '.join(missing)}: at least one of each is needed")
    return config


def help_text() -> str:
    """Every key with its type, default and meaning."""
    sections = [
        describe(Settings),
        *(f"{name}{text}" for name, text in _data_help()),
        "hydra.launcher.nodes, gpus_per_node, tasks_per_node, cpus_per_task, mem_gb, timeout_min,\n"
        "    partition, ...: what a scheduler is asked for",
    ]
    return "\n".join(sections)


def _data_help() -> Iterator[tuple[str, str]]:
    for key, schema in (("data_train", DataConfig), ("dataset_train", DatasetConfig)):
        eval_key = key.replace("train", "eval")
        for line in describe(schema).splitlines():
            yield ("", line) if line.startswith(" ") else (f"{key}, {eval_key}: ", line)


def _new_names(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The tree with blocks of the network under their new names, and names as text."""
    plain = dict(plain)
    if isinstance(blocks := plain.get("pretrain_blocks"), list):
        plain["pretrain_blocks"] = [OLD_BLOCKS.get(name, name) for name in blocks]
    if isinstance(plain.get("expt_name"), int | float):
        plain["expt_name"] = str(plain["expt_name"])  # a name that looks like a number
    return plain


def _is_data(key: str) -> bool:
    return key in _DATA or key.startswith(DATASETS)


def _given(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """A data set without the reader's keys that say nothing, which would hide those that do."""
    reader = dataset.get("reader_fn")
    if not isinstance(reader, Mapping):
        return dict(dataset)
    said = {key: value for key, value in reader.items() if value is not None}
    return {**dataset, "reader_fn": said}


def _everything(datasets: Sequence[str]) -> type:
    """One schema of all keys, so that a wrong one is compared with all of them."""
    data = [(key, DataConfig, field(default_factory=DataConfig)) for key in _DATA]
    sets = [(key, _DatasetSection, field(default_factory=_DatasetSection)) for key in datasets]
    return make_dataclass("Everything", [*data, *sets], bases=(Settings,))


@dataclass
class _AnticipationSection(AnticipationConfig):
    _target_: str | None = None


# Types of a data set's keys with the notations of the original's files: a text for a list of one,
# a reader by its class, null for what is not there.
_LOOSER: dict[str, Any] = {
    **dict.fromkeys(["root", "annotation_path", "actions_from", "label_type"], str | list[str]),
    **dict.fromkeys(["annotation_dir", "action_labels_fpath"], str | None),
    "conv_to_anticipate_fn": _AnticipationSection | None,
    "reader_fn": Any,
    "_target_": str | None,
}
_DatasetSection = make_dataclass(
    "Dataset",
    [
        (name, hint, field(default=None))
        for name, hint in {**get_type_hints(DatasetConfig), **_LOOSER}.items()
    ],
)
_DATA = ("data_train", "data_eval")


def _check_launcher(tree: Tree) -> None:
    """Refuse keys that the scheduler's plugin does not know; Hydra accepts them after ``+``."""
    from hydra_plugins.hydra_submitit_launcher.config import LocalQueueConf, SlurmQueueConf

    given = tree.launcher()
    schemas = {"SlurmLauncher": SlurmQueueConf, "LocalLauncher": LocalQueueConf}
    schema = schemas.get(given.get("_target_", "").rpartition(".")[2])
    if schema is None:  # Hydra's own, or another plugin
        return
    known = {entry.name for entry in fields(schema)}
    problems = [
        Problem(f"hydra.launcher.{key}", f"unknown key; {suggest(key, known)}")
        for key in given
        if key not in known
    ]
    if problems:
        raise UserError(report(problems))
