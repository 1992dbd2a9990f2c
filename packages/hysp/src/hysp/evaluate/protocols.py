"""One round of a protocol: training samples and test samples in, logits out.

Letters: N samples, C classes, D features.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from behaviorzoo.errors import UserError
from behaviorzoo.probes.logistic import choose_logistic_penalty, fit_logistic
from hysp.data.splits import group_folds, semi_supervised
from hysp.evaluate.config import EvaluateConfig, ProbeOptim
from hysp.evaluate.features import autocast
from hysp.evaluate.fitting import Fitted, Inputs, Samples, fit
from hysp.evaluate.neighbours import neighbour_votes
from hysp.model.classifier import Classifier
from hysp.model.config import ClassifierConfig
from hysp.streams import apply_stream

if TYPE_CHECKING:
    from hysp.data.dataset import SkeletonData
    from hysp.model.stgcn import STGCN

INNER_FOLDS = 4


@dataclass(frozen=True)
class Side:
    """Samples of one side of a round.

    Attributes:
        data: Where they are; labels are those of the task.
        rows: Their numbers in the data, int64 (n,).
        features: (N, D) of all samples of the data, where the encoder is frozen.
    """

    data: SkeletonData
    rows: np.ndarray
    features: Tensor | None = None

    @property
    def labels(self) -> np.ndarray:
        """int64 (n,), -1 = unlabelled."""
        assert self.data.labels is not None
        return self.data.labels[self.rows]

    @property
    def embedded(self) -> Tensor:
        """Features (n, D) of the samples of this side."""
        assert self.features is not None
        return self.features[torch.from_numpy(self.rows).to(self.features.device)]

    def labelled(self) -> Side:
        """Without the samples that have no label."""
        return replace(self, rows=self.rows[self.labels >= 0])

    def among(self, chosen: np.ndarray) -> Side:
        """Some of them, by their place in ``rows``."""
        return replace(self, rows=self.rows[chosen])


@dataclass
class Outcome:
    """What a round gives.

    Attributes:
        logits: (n, C) of the test samples.
        model: Encoder and trained head, where there is one.
        fitted: The course of the training, where there was one.
        notes: What the user should know.
    """

    logits: np.ndarray
    model: Classifier | None = None
    fitted: Fitted | None = None
    notes: list[str] = field(default_factory=list)


def run_round(
    config: EvaluateConfig,
    encoder: STGCN,
    stream: str,
    train: Side,
    test: Side,
    seed: int,
    label: str = "",
) -> Outcome:
    """Train on one side, test on the other, as the protocol says.

    Args:
        config: Settings.
        encoder: On its device, in evaluation mode; it is not changed.
        stream: What it sees.
        train: Training samples.
        test: Test samples.
        seed: Of the head's first weights, the order of samples and dropout.
        label: Of a bar over the epochs where sequences are trained on; empty for none.

    Raises:
        UserError: No labelled training sample, or settings that do not fit the samples.
    """
    train = train.labelled()
    if not len(train.rows):
        raise UserError(f"{train.data.where}: no training sample has a label of {train.data.task}")
    if config.protocol == "semi":
        train = train.among(labelled_fraction(train.labels, config.fraction, config.seed))
    if config.protocol == "knn":
        return Outcome(_vote(config, train, test))
    if config.head == "logistic" and config.frozen and config.compat == "paper":
        return _logistic(config, encoder, train, test, seed)
    return _trained(config, encoder, stream, train, test, seed, label)


def labelled_fraction(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Samples of the semi-supervised protocol.

    Raises:
        UserError: Too few for one of each class.
    """
    classes = len(np.unique(labels))
    if int(fraction * len(labels)) < classes:
        raise UserError(
            f"fraction={fraction:g} of {len(labels)} training samples is fewer than one for each "
            f"of {classes} classes; use a larger fraction"
        )
    return semi_supervised(labels, fraction, seed)


def classifier_on(
    encoder: STGCN, n_classes: int, hyper: bool, frozen: bool, hyper_c: float = 1.0
) -> Classifier:
    """A copy of an encoder with a new head.

    Args:
        encoder: The trained encoder.
        n_classes: C.
        hyper: Moebius head.
        frozen: Only the head is trained.
        hyper_c: Curvature of the map into the ball.
    """
    model = Classifier(ClassifierConfig(encoder.config, n_classes, hyper, hyper_c))
    model.online_encoder = copy.deepcopy(encoder).requires_grad_(not frozen)
    return model.to(encoder.A.device)


class StreamInputs:
    """Sequences of one side as the encoder sees them; for :func:`hysp.evaluate.fitting.fit`.

    Args:
        side: The samples.
        stream: What is seen of them.
        encoder: Whose joints and device.
    """

    def __init__(self, side: Side, stream: str, encoder: STGCN) -> None:
        self.side = side
        self.stream = stream
        self.parents = torch.as_tensor(encoder.graph.parents)
        self.device = encoder.A.device

    def __call__(self, indices: np.ndarray) -> Tensor:
        """Places (B,) among the rows to sequences (B, C, T, V, M)."""
        x = self.side.data.batch(self.side.rows[indices]).x.to(self.device)
        return apply_stream(x, self.stream, self.parents)


def _trained(
    config: EvaluateConfig,
    encoder: STGCN,
    stream: str,
    train: Side,
    test: Side,
    seed: int,
    label: str,
) -> Outcome:
    """A head by SGD: on cached features where the encoder does not change, else on sequences."""
    upstream = config.compat == "upstream"
    cached = config.frozen and not upstream
    device = encoder.A.device
    optim = config.optim
    if upstream and len(train.rows) < optim.batch_size:
        raise UserError(
            f"compat=upstream leaves out incomplete batches: {len(train.rows)} training samples, "
            f"batches of {optim.batch_size}; set optim.batch_size"
        )
    with torch.random.fork_rng(devices=_generators(device)):
        torch.manual_seed(seed)
        model = classifier_on(
            encoder, train.data.n_classes, config.head == "hyperbolic", config.frozen
        )
        seen, asked = (
            Samples(
                _inputs(side, cached, stream, encoder), torch.from_numpy(side.labels).to(device)
            )
            for side in (train, test)
        )
        with autocast(device, "32" if cached else config.precision):
            fitted = fit(
                model,
                seen,
                asked,
                optim,
                lr=optim.rate(config.head),
                upstream=upstream,
                on_features=cached,
                seed=seed,
                label="" if cached else label,
            )
    if fitted.state is not None:
        model.load_state_dict(fitted.state)
    notes = []
    if upstream:
        notes.append(
            f"compat=upstream reports the best of {len(fitted.looks)} looks at the test samples "
            f"(epoch {fitted.epoch}): the test labels took part in the choice"
        )
    return Outcome(fitted.logits.double().cpu().numpy(), model.cpu(), fitted, notes)


def _inputs(side: Side, cached: bool, stream: str, encoder: STGCN) -> Inputs:
    if not cached:
        return StreamInputs(side, stream, encoder)
    features = side.embedded
    return lambda indices: features[torch.from_numpy(indices).to(features.device)]


def _logistic(
    config: EvaluateConfig, encoder: STGCN, train: Side, test: Side, seed: int
) -> Outcome:
    """Logistic regression, its penalty chosen by folds of whole groups among the training."""
    x, tested = (side.embedded.double().cpu().numpy() for side in (train, test))
    logits, coef, intercept, penalty = logistic_logits(
        x, train.labels, train.data.groups[train.rows], tested, train.data.n_classes,
        config.penalties, seed,
    )  # fmt: skip
    model = classifier_on(encoder, train.data.n_classes, hyper=False, frozen=True).cpu()
    head = model.online_projector.net[-1]
    assert isinstance(head, torch.nn.Linear)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(coef))
        # A class without training samples: never the best, and a number that files can hold.
        head.bias.copy_(torch.from_numpy(np.where(np.isfinite(intercept), intercept, -1e30)))
    return Outcome(logits, model, notes=[penalty_note(penalty)])


def penalty_note(penalty: float) -> str:
    """What the user is told of a penalty."""
    return f"penalty {penalty:g} chosen among the training samples"


def logistic_logits(
    x: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    tested: np.ndarray,
    n_classes: int,
    penalties: list[float],
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Logistic regression on standardised features.

    Args:
        x: Training features (n, D).
        labels: int (n,).
        groups: Names (n,) of what is not torn apart when the penalty is chosen.
        tested: Test features (m, D).
        n_classes: C.
        penalties: To choose from.
        seed: Of the folds.

    Returns:
        Logits (m, C), coefficients (C, D), intercepts (C,), and the penalty.
    """
    penalty = penalties[0]
    folds = min(INNER_FOLDS, len(np.unique(groups)))
    if len(penalties) > 1 and folds > 1:
        fold = group_folds(groups, folds, seed)
        parts = [fold == k for k in range(folds)]
        penalty = choose_logistic_penalty(
            [x[part] for part in parts], [labels[part] for part in parts], n_classes, penalties
        )
    coef, intercept = fit_logistic(x, labels, n_classes, alpha=penalty)
    return tested @ coef.T + intercept, coef, intercept, penalty


def _vote(config: EvaluateConfig, train: Side, test: Side) -> np.ndarray:
    known = train.embedded
    labels = torch.from_numpy(train.labels).to(known.device)
    votes = neighbour_votes(
        known, labels, test.embedded, train.data.n_classes,
        neighbours=config.neighbours,
        temperature=config.temperature,
        hyper=config.head == "hyperbolic",
    )  # fmt: skip
    return votes.cpu().numpy()


def _generators(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []


def scratch_settings(config: EvaluateConfig) -> EvaluateConfig:
    """The same evaluation, supervised from random weights."""
    epochs = config.scratch_epochs
    optim = ProbeOptim(
        head_lr=config.optim.encoder_lr,
        encoder_lr=config.optim.encoder_lr,
        epochs=epochs,
        milestones=(int(0.6 * epochs), int(0.8 * epochs)),
        batch_size=config.optim.batch_size,
        test_batch_size=config.optim.test_batch_size,
        eval_interval=epochs,
    )
    own = {"protocol": "supervised", "head": "euclidean", "compat": "paper", "baselines": []}
    return replace(config, **own, optim=optim)
