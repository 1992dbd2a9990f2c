"""What an evaluation can be told, and the published recipes as its defaults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from behaviorzoo.config import compose, describe
from behaviorzoo.errors import UserError, suggest
from hysp.data.config import DataConfig
from hysp.model.config import FROM_DATA, EncoderConfig, GraphConfig
from hysp.optim import OptimConfig

CONF = "hysp.evaluate.conf"

Protocol = Literal["linear", "unsupervised", "semi", "supervised", "knn", "transfer"]
Head = Literal["euclidean", "hyperbolic", "logistic"]
Baseline = Literal["hand", "hand_rows", "rows", "random", "scratch"]
Precision = Literal["32", "bf16", "16"]

HEAD_RATES = {"euclidean": 1.0, "hyperbolic": 10.0}
"""Published learning rates of the heads on a frozen encoder."""


def _help(text: str) -> dict[str, str]:
    return {"help": text}


@dataclass
class ProbeOptim:
    """Training of a head, and of the encoder where it is trained too: SGD, momentum 0.9.

    Raises:
        UserError: Numbers out of their range.
    """

    head_lr: float | None = field(
        default=None, metadata=_help("learning rate of the head; empty = 1, hyperbolic 10")
    )
    encoder_lr: float = field(default=0.1, metadata=_help("learning rate of a trained encoder"))
    weight_decay: float = field(default=0.0, metadata=_help("decay of every trained parameter"))
    nesterov: bool = field(default=False, metadata=_help("Nesterov momentum"))
    epochs: int = field(default=100, metadata=_help("passes over the training samples"))
    milestones: tuple[int, ...] = field(
        default=(60, 80), metadata=_help("epochs at which the rates fall to a tenth")
    )
    batch_size: int = field(default=256, metadata=_help("training samples of a batch"))
    test_batch_size: int = field(default=128, metadata=_help("test samples of a batch"))
    accumulate: int = field(
        default=1, metadata=_help("batches whose gradients make one step of the optimiser")
    )
    eval_interval: int = field(
        default=5, metadata=_help("epochs from one look at the test samples to the next")
    )

    def __post_init__(self) -> None:
        self.milestones = tuple(self.milestones)
        names = ("epochs", "batch_size", "test_batch_size", "accumulate", "eval_interval")
        wrong = [
            f"{n} = {getattr(self, n)} must be at least 1" for n in names if getattr(self, n) < 1
        ]
        rates = {"head_lr": self.head_lr, "encoder_lr": self.encoder_lr}
        wrong += [
            f"{n} = {v} must be positive" for n, v in rates.items() if v is not None and not v > 0
        ]
        wrong += [] if self.weight_decay >= 0 else ["weight_decay must not be negative"]
        if wrong:
            raise UserError("; ".join(wrong))

    def rate(self, head: str) -> float:
        """Learning rate of a head."""
        return HEAD_RATES.get(head, 1.0) if self.head_lr is None else self.head_lr

    def schedule(self) -> OptimConfig:
        """The same as settings of the pre-training's scheduler; its rate is a factor."""
        return OptimConfig(
            optimizer="SGD",
            lr=1.0,
            weight_decay=self.weight_decay,
            epochs=self.epochs,
            milestones=self.milestones,
        )


@dataclass
class EvaluateConfig:
    """What ``hysp evaluate`` is told; saved resolved as ``config.yaml`` beside the results."""

    checkpoint: str = field(
        default="",
        metadata=_help(
            "run folder, checkpoint folder or authors' file; empty only for protocol=supervised, "
            "which then trains `encoder` from random weights"
        ),
    )
    out: str = field(default="evaluation", metadata=_help("folder for the results"))
    protocol: Protocol = field(
        default="linear",
        metadata=_help(
            "linear: head on a frozen encoder | semi: a fraction of the labels, all trained | "
            "supervised: all labels, all trained (fine-tuning) | knn: nearest neighbours, nothing "
            "trained | transfer: linear, on other data than those of pre-training | unsupervised: "
            "the authors' other name of linear"
        ),
    )
    head: Head = field(
        default="euclidean",
        metadata=_help(
            "euclidean: linear layer | hyperbolic: Moebius layer in the ball | logistic: linear "
            "and fully converged on standardised features, for small data (with an encoder that is "
            "trained, or compat=upstream, the same as euclidean). For knn euclidean is "
            "the cosine of two embeddings, hyperbolic their Poincare distance"
        ),
    )
    compat: Literal["paper", "upstream"] = field(
        default="paper",
        metadata=_help(
            "upstream: the public code: a frozen encoder still in training mode (dropout, batch "
            "statistics), accuracy averaged over batches, best epoch by the test samples"
        ),
    )
    branch: Literal["online", "target"] = field(
        default="online", metadata=_help("the encoder, or its moving average")
    )
    stream: str | None = field(
        default=None,
        metadata=_help("joint, motion, bone, 2s, 3s; empty = that of the checkpoint, else joint"),
    )
    tasks: list[str] = field(
        default_factory=list, metadata=_help("which labels; empty = data.task, else all there are")
    )
    data: DataConfig = field(default_factory=DataConfig)
    folds: int | None = field(
        default=None,
        metadata=_help("test every sample once, in this many folds of whole clips or recordings"),
    )
    fraction: float = field(
        default=0.1, metadata=_help("semi: share of the training samples with labels (0.01, 0.1)")
    )
    neighbours: int = field(default=1, metadata=_help("knn: neighbours that vote"))
    temperature: float = field(
        default=0.07, metadata=_help("knn: a neighbour at similarity s has exp(s / this) votes")
    )
    penalties: list[float] = field(
        default_factory=lambda: [0.01, 0.1, 1.0, 10.0],
        metadata=_help(
            "logistic and hand features: penalties to choose from, by folds within the training "
            "samples"
        ),
    )
    baselines: list[Baseline] = field(
        default_factory=list,
        metadata=_help(
            "hand: mean, deviation and mean speed of centred joints, read by logistic regression | "
            "hand_rows: the same over rows in the order of the file (scikit-learn's cv=5) | "
            "rows: the protocol itself over such rows | "
            "random: the same encoder, frozen as it is born | "
            "scratch: the same encoder, supervised from random weights"
        ),
    )
    scratch_epochs: int = field(default=100, metadata=_help("baseline scratch: epochs"))
    encoder: EncoderConfig = field(
        default_factory=lambda: EncoderConfig(in_channels=0, graph=GraphConfig(layout=FROM_DATA)),
        metadata=_help("the encoder where there is no checkpoint"),
    )
    optim: ProbeOptim = field(default_factory=ProbeOptim)
    seed: int = field(default=123, metadata=_help("the one number behind all randomness"))
    device: str = field(default="auto", metadata=_help("cpu, cuda, mps; auto = the best there is"))
    precision: Precision = field(
        default="32", metadata=_help("of the encoder on a GPU; 16 and bf16 by autocast")
    )

    def __post_init__(self) -> None:
        if self.protocol == "unsupervised":
            self.protocol = "linear"
        problems = []
        if not 0 < self.fraction <= 1:
            problems.append(f"fraction = {self.fraction:g} must be above 0 and at most 1")
        if self.folds is not None and self.folds < 2:
            problems.append(f"folds = {self.folds} must be at least 2")
        if self.folds is not None and (self.data.folds is not None or self.data.benchmark):
            problems.append("folds and data.folds (or data.benchmark) both say who tests; give one")
        if self.neighbours < 1 or self.scratch_epochs < 1:
            problems.append("neighbours and scratch_epochs must be at least 1")
        if not self.temperature > 0 or not self.penalties or min(self.penalties) <= 0:
            problems.append("temperature and penalties must be positive")
        if self.seed < 0:
            problems.append(f"seed = {self.seed} must be at least 0")
        for key, kind in {"protocol": Protocol, "head": Head}.items():
            if getattr(self, key) not in get_args(kind):
                hint = suggest(getattr(self, key), get_args(kind))
                problems.append(f"{key}: unknown {getattr(self, key)!r}; {hint}")
        trained = not self.frozen
        if trained and "random" in self.baselines:
            problems.append(
                f"baseline random is a frozen encoder, protocol={self.protocol} trains it: take "
                "scratch"
            )
        if trained and self.precision == "16":
            problems.append("precision=16 is for a frozen encoder; train it with 32 or bf16")
        if not self.checkpoint and self.protocol != "supervised":
            problems.append(f"protocol={self.protocol} needs an encoder: give checkpoint=RUN")
        of_rows = [name for name in self.baselines if name.endswith("rows")]
        if of_rows and self.folds is None:
            problems.append(f"baseline {of_rows[0]} is one of folds: give folds=5")
        if problems:
            raise UserError("; ".join(problems))

    @property
    def frozen(self) -> bool:
        """Whether the encoder is used as it is."""
        return self.protocol not in ("semi", "supervised")


def configure(words: Sequence[str] = ()) -> EvaluateConfig:
    """Settings of the user's words over a recipe; no file of data is looked at.

    Raises:
        UserError: Every mistake in one message.
    """
    return compose(EvaluateConfig, CONF, words)


def help_text() -> str:
    """Every key with its type, default and meaning."""
    return describe(EvaluateConfig)
