"""Scores of verbs and nouns from those of actions.

An action is a pair of a verb and a noun. The probability of a verb is the sum over its actions:
softmax(action logits) M_verb with M_verb[a, v] = 1 where action a has verb v. Scores of actions
stay raw logits, as in the original: a weight in a fusion acts on different scales.

Letters: N items, A actions, V verbs.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from behaviorzoo.errors import UserError

SPACES = ("verb", "noun", "action")
"""Spaces of classes of EPIC-Kitchens, in the order of its tables."""

ClassMappings = Mapping[tuple[str, str], np.ndarray]
"""(of, from) such as ``("verb", "action")`` -> 0/1 matrix (A, V)."""


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (N, A) float64 of logits (N, A)."""
    values = np.asarray(logits, dtype=np.float64)
    values = np.exp(values - values.max(axis=-1, keepdims=True))
    values /= values.sum(axis=-1, keepdims=True)
    return values


def mapping_matrix(parts: np.ndarray, n_parts: int | None = None) -> np.ndarray:
    """0/1 matrix (A, V) of the verb (or noun) of each action.

    Args:
        parts: int (A,), verb of each action; a negative one has none.
        n_parts: V; default: the highest verb + 1.
    """
    parts = np.asarray(parts, dtype=np.int64)
    matrix = np.zeros((len(parts), n_parts or int(parts.max(initial=-1)) + 1))
    known = np.flatnonzero(parts >= 0)
    matrix[known, parts[known]] = 1.0
    return matrix


def space_scores(
    logits: Mapping[str, np.ndarray], mappings: ClassMappings
) -> dict[str, np.ndarray]:
    """Scores of every space that the logits tell of.

    Args:
        logits: Space -> (N, classes) of its head.
        mappings: Used where a space has no head of its own.

    Returns:
        Space -> scores float64 (N, classes), in the order verb, noun, action, others.

    Raises:
        UserError: A mapping does not fit the logits.
    """
    found = {space: np.asarray(values, dtype=np.float64) for space, values in logits.items()}
    probabilities: dict[str, np.ndarray] = {}
    for (of, source), matrix in mappings.items():
        if of in found or source not in logits:
            continue
        matrix = np.asarray(matrix, dtype=np.float64)
        if len(matrix) != logits[source].shape[1]:
            raise UserError(
                f"{source} scores of {logits[source].shape[1]} classes, but the list of actions "
                f"has {len(matrix)}; were they made with another list?"
            )
        if source not in probabilities:
            probabilities[source] = softmax(logits[source])
        found[of] = probabilities[source] @ matrix
    order = [space for space in SPACES if space in found]
    return {space: found[space] for space in [*order, *(s for s in found if s not in order)]}
