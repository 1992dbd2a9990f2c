"""Which parameters are trained when the backbone is frozen, and how many they are."""

from __future__ import annotations

from torch import nn

TRAINED = ("cls_head", "lora")
"""Words in the dotted name of a MODULE whose own parameters stay trained."""


def freeze_backbone(model: nn.Module) -> list[str]:
    """Train the head and low-rank branches only.

    As in the authors' code nothing is put into evaluation mode: stochastic depth goes on in the
    frozen backbone, so the features of a clip differ from step to step.

    Args:
        model: A recognizer.

    Returns:
        Names of the parameters that are trained.
    """
    trained = []
    for module_name, module in model.named_modules():
        wanted = any(word in module_name for word in TRAINED)
        for name, parameter in module.named_parameters(prefix=module_name, recurse=False):
            parameter.requires_grad = wanted
            if wanted:
                trained.append(name)
    return trained


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Numbers of all and of trained values."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, _ in sizes), sum(n for n, trained in sizes if trained)
