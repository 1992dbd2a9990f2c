"""Which action follows which: a grammar of known predictability.

Actions are pairs of a verb and a noun. They form a cycle; after an action comes, with probability
``p``, its successor in the cycle, else any other action with equal chance. All actions are equally
frequent, the last action tells all that the past can tell about the next one, and the best possible
accuracy follows from the table of transitions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from behaviorzoo.errors import UserError

# The verb names the motion, the noun the object, in words a language model has met.
VERBS: dict[str, str] = {
    "wipe": "left-right",
    "chop": "up-down",
    "stir": "circle",
    "whisk": "zigzag",
    "squeeze": "grow-shrink",
    "shake": "shake",
    "turn": "spin",
    "hold": "still",
    "fold": "figure-eight",
    "knead": "bounce",
}
NOUNS: dict[str, str] = {
    "tomato": "disc",
    "box": "square",
    "cheese": "triangle",
    "lettuce": "cross",
    "plate": "ring",
    "flower": "star",
    "carrot": "bar",
}


@dataclass(frozen=True)
class Grammar:
    """Actions and their order.

    Attributes:
        actions: (verb, noun) class of each action (A, 2).
        transitions: Probability that column follows row (A, A).
    """

    actions: NDArray[np.int64]
    transitions: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.actions)

    def names(self) -> list[str]:
        """Verb and noun of each action, with a blank in between."""
        verbs, nouns = list(VERBS), list(NOUNS)
        return [f"{verbs[verb]} {nouns[noun]}" for verb, noun in self.actions]

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """A sequence of actions (count,)."""
        sequence = [int(rng.integers(len(self)))]
        while len(sequence) < count:
            sequence.append(int(rng.choice(len(self), p=self.transitions[sequence[-1]])))
        return np.array(sequence[:count])

    def scores(self, last: NDArray[np.int64], task: str) -> NDArray[np.float64]:
        """Probability of each class of the next action, given the last one.

        Args:
            last: Last actions (N,).
            task: ``"action"``, ``"verb"`` or ``"noun"``.

        Returns:
            (N, classes).
        """
        table = self.transitions[last]
        if task == "action":
            return table
        column = self.actions[:, ("verb", "noun").index(task)]
        return table @ np.eye(column.max() + 1)[column]

    def bayes(self, task: str, top: int = 1) -> float:
        """Accuracy of the best possible guess of the next class.

        It is the probability of the ``top`` likeliest ones, averaged over the last action.
        """
        scores = np.sort(self.scores(np.arange(len(self)), task), axis=1)
        return float(scores[:, -top:].sum(axis=1).mean())


def make_grammar(
    n_verbs: int, n_nouns: int, n_actions: int, predictability: float, rng: np.random.Generator
) -> Grammar:
    """Draw which pairs are actions, and their order.

    Args:
        n_verbs: Verbs in use, every one in some action.
        n_nouns: Nouns in use, likewise.
        n_actions: A, from max(n_verbs, n_nouns, 3) to n_verbs * n_nouns.
        predictability: Probability of the successor.
        rng: Source of what is drawn.

    Raises:
        UserError: A number out of its range.
    """
    _within("verbs", n_verbs, 1, len(VERBS))
    _within("nouns", n_nouns, 1, len(NOUNS))
    _within("actions", n_actions, max(n_verbs, n_nouns, 3), n_verbs * n_nouns)
    _within("predictability", predictability, 1 / (n_actions - 1), 1)
    # A diagonal over the table of verbs and nouns has each of them; the rest is drawn.
    longer = np.arange(max(n_verbs, n_nouns))
    diagonal = np.stack([longer % n_verbs, longer % n_nouns], axis=1)
    chosen = diagonal[:, 0] * n_nouns + diagonal[:, 1]
    others = np.setdiff1d(np.arange(n_verbs * n_nouns), chosen)
    more = rng.permutation(others)[: n_actions - len(chosen)]
    pairs = np.sort(np.concatenate([chosen, more]))
    order = rng.permutation(n_actions)
    transitions = np.full((n_actions, n_actions), (1 - predictability) / (n_actions - 2))
    transitions[order, order] = 0
    transitions[order, np.roll(order, -1)] = predictability
    return Grammar(np.stack([pairs // n_nouns, pairs % n_nouns], axis=1), transitions)


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UserError(f"synthetic kitchen: {name} is {value}, expected {low:g} to {high:g}")
