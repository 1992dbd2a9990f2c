"""What S-GEAR is trained with: classes, next features, and two ties to the prototypes.

B batch, T clips, N action classes (and prototypes), D features. Every loss is given without a
mean; :mod:`sgear.step` weighs them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from behaviorzoo.errors import UserError
from sgear.accuracy import batch_accuracy
from sgear.mixup import Mixed, labels_of_clips
from sgear.model.config import Compat, check_compat

IGNORED = -1
"""Label of an item without one."""


@dataclass(frozen=True)
class Targets:
    """Labels of a batch.

    Attributes:
        target: Label type -> (B), -1 without a label.
        past: Label type -> (B, T) or (B, T, F); empty where the past is not labelled.
        mixed: What the network saw instead, where the batch was mixed.
    """

    target: Mapping[str, Tensor]
    past: Mapping[str, Tensor]
    mixed: Mixed | None = None


class AnticipationLoss(nn.Module):
    """The losses by name, and accuracies.

    ``cls_<type>`` (B) and ``past_cls_<type>`` (B T): cross entropy; without a label 0, which
    counts in a mean. ``global_simContrast`` (B), the semantic loss: distance of how similar the
    prediction is to the prototypes from how similar the actions' names are.
    ``target_distance`` (B), the regulariser: squared distance of the prediction from the true
    prototype, both of length 1. ``past_target_global_simContrast`` (B, T): the semantic loss of
    the past clips.

    Of several label types the last one given picks the prototype of the regulariser, as in the
    published code; with ``compat="corrected"`` it is the action. Items without a label: with
    ``upstream`` they have class 1's similarities in the semantic loss and the last prototype in
    the regulariser; with ``corrected`` both are 0.

    Args:
        similarities: (N, N), cosine similarities of the actions' names; None leaves the semantic
            losses out.
        class_weights: Label type -> (classes) weights of the cross entropy.
        compat: See above.
    """

    def __init__(
        self,
        similarities: Tensor | None,
        class_weights: Mapping[str, Tensor] | None = None,
        *,
        compat: Compat = "upstream",
    ) -> None:
        super().__init__()
        check_compat(compat)
        self.compat: Compat = compat
        self.register_buffer("similarities", _square(similarities), persistent=False)
        self.weighted = tuple(class_weights or {})
        for name, weights in (class_weights or {}).items():
            self.register_buffer(f"weights_{name}", weights.float(), persistent=False)

    def forward(
        self, outputs: Mapping[str, Tensor], targets: Targets, prototypes: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Losses without a mean, and ``acc1/<type>`` and ``acc5/<type>`` in percent.

        Args:
            outputs: Of the network.
            targets: Labels.
            prototypes: (N, D), the network's visual prototypes.

        Raises:
            UserError: Labels, scores and prototypes that do not fit each other.
        """
        losses, accuracies = self._classification(outputs, targets)
        types = list(targets.target)
        action = "action" if "action" in types else types[-1]
        of_prototype = action if self.compat == "corrected" else types[-1]
        if self.similarities is not None:
            self._check(outputs["similarities"])
            losses["global_simContrast"] = self._of_mixed(
                lambda y: self._semantic(outputs["similarities"], y), targets, action
            )
        losses["target_distance"] = self._of_mixed(
            lambda y: self._distance(outputs["future_z"], y, prototypes), targets, of_prototype
        )
        if self.similarities is not None and targets.past:
            past = labels_of_clips(targets.past.get(action, list(targets.past.values())[-1]))
            losses["past_target_global_simContrast"] = self._semantic(
                outputs["similarities_past"], past
            ) * (past >= 0)
        return losses, accuracies

    def _classification(
        self, outputs: Mapping[str, Tensor], targets: Targets
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        losses: dict[str, Tensor] = {}
        accuracies: dict[str, Tensor] = {}
        mixed = targets.mixed
        for name, labels in targets.target.items():
            if f"logits/{name}" not in outputs:
                raise UserError(f"the network has no scores of {name!r}, the data have labels")
            scores = outputs[f"logits/{name}"]
            y = labels if mixed is None else mixed.target[name]
            losses[f"cls_{name}"] = self._cross_entropy(scores, y, name)
            accuracies[f"acc1/{name}"], accuracies[f"acc5/{name}"] = batch_accuracy(scores, y)
            if f"past_logits/{name}" in outputs and name in targets.past:
                scores = outputs[f"past_logits/{name}"]
                past = labels_of_clips(targets.past[name]) if mixed is None else None
                y = mixed.past_target[name] if mixed is not None else past
                assert y is not None
                if scores.shape[:2] != y.shape[:2]:
                    raise UserError(
                        f"{name}: past labels {tuple(y.shape[:2])} (items, clips) for predictions "
                        f"{tuple(scores.shape[:2])}"
                    )
                losses[f"past_cls_{name}"] = self._cross_entropy(
                    scores.flatten(0, 1), y.flatten(0, 1), name
                )
        return losses, accuracies

    def _cross_entropy(self, scores: Tensor, y: Tensor, name: str) -> Tensor:
        """(M, N) scores and (M) labels or (M, N) shares to (M)."""
        weight = self.get_buffer(f"weights_{name}") if name in self.weighted else None
        if y.ndim == 2:  # shares of classes
            return F.cross_entropy(scores, y, weight=weight, reduction="none")
        return F.cross_entropy(scores, y, weight=weight, ignore_index=IGNORED, reduction="none")

    def _semantic(self, similarities: Tensor, labels: Tensor) -> Tensor:
        """L1 distance of similarities (..., N) from those of the labels' (...) names."""
        assert isinstance(self.similarities, Tensor)
        of_names = self.similarities[labels.abs()]
        seen, wanted = (F.normalize(x.float(), p=1, dim=-1) for x in (similarities, of_names))
        return self._where_labelled((seen - wanted).abs().sum(-1), labels)

    def _distance(self, z: Tensor, labels: Tensor, prototypes: Tensor) -> Tensor:
        """Squared distance of the directions of (B, D) and of the labels' prototypes."""
        wanted = prototypes.detach()[labels]
        seen, wanted = (F.normalize(x.float(), dim=-1) for x in (z, wanted))
        return self._where_labelled((seen - wanted).square().sum(-1), labels)

    def _where_labelled(self, loss: Tensor, labels: Tensor) -> Tensor:
        return loss * (labels >= 0) if self.compat == "corrected" else loss

    @staticmethod
    def _of_mixed(loss: Callable[[Tensor], Tensor], targets: Targets, name: str) -> Tensor:
        """A loss of labels; of a mixed batch the mean of the losses of both."""
        labels = targets.target[name]
        if targets.mixed is None:
            return loss(labels)
        lam = targets.mixed.lam
        return lam * loss(labels) + (1 - lam) * loss(labels.flip(0))

    def _check(self, similarities: Tensor) -> None:
        assert isinstance(self.similarities, Tensor)
        if similarities.shape[-1] != len(self.similarities):
            raise UserError(
                f"similarities of {len(self.similarities)} action names for "
                f"{similarities.shape[-1]} visual prototypes; they must be of the same data set "
                "(similarities_path, visual_encodings_path)"
            )


def balanced_weights(counts: Mapping[int, int], n_classes: int) -> Tensor:
    """Weights of classes so that rare ones count as much as frequent ones.

    Args:
        counts: Class -> how often it occurs; -1 and absent classes do not count.
        n_classes: N.

    Returns:
        (N), one over the share of the class; 0 where it does not occur.
    """
    n = torch.zeros(n_classes)
    for label, count in counts.items():
        if label >= 0:
            n[label] = count
    return torch.where(n > 0, n.sum() / n.clamp(min=1), torch.zeros(()))


def _square(similarities: Tensor | None) -> Tensor | None:
    """Check (N, N)."""
    if similarities is None:
        return None
    if similarities.ndim != 2 or similarities.shape[0] != similarities.shape[1]:
        raise UserError(
            f"similarities of the actions' names have shape {tuple(similarities.shape)}, "
            "expected (N, N)"
        )
    return similarities.detach().float()
