"""Augmentations: exact single-clip references, and the batched versions that training uses."""

from hbehavemae.augment.batched import BatchNoise, HumanAugment, MiceAugment

__all__ = ["BatchNoise", "HumanAugment", "MiceAugment"]
