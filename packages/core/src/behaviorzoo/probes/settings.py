"""How a probe is to be done."""

from __future__ import annotations

from dataclasses import dataclass

from behaviorzoo.errors import UserError, suggest

# Wide, because neighbouring frames are alike: a million frames carry the information of few.
RIDGE_ALPHAS = (1.0, 10.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5, 3e5, 1e6)
LOGISTIC_ALPHAS = (1.0,)
SELECT = ("score", "error")


@dataclass(frozen=True)
class ProbeSettings:
    """How to probe.

    Attributes:
        tasks: Tasks of the label table; None = all.
        regression: Tasks whose labels are numbers.
        levels: Levels; None = all, and all together if they are not too wide.
        combine: Also probe the chosen levels together.
        test: Test recordings; None = folds.
        folds: Number of folds without ``test``; None = 5 or fewer.
        estimator: ``ridge``, or ``logistic`` for the multi-class models.
        alphas: Penalties; None = 1 to 1e6 for ridge, 1 for logistic.
        select: What chooses among the penalties of a ridge classifier, on left-out folds of the
            training recordings: ``score``, the F1 of the class and the macro F1 of the
            multi-class model (the largest penalty within 0.001 of the best), or ``error``, the
            squared error. The squared error also decides for a class that is never hit, such as
            one that occurs in a single fold, and for regressions; accuracy for logistic models.
        class_weight: ``balanced`` or ``none`` for the multi-class models; None = balanced for
            ridge, none for logistic. The one-vs-rest probes are always balanced.
        standardise: Scale the features by their deviation in the training frames.
        every: Train on every k-th frame of a recording; all frames are tested.
        context: Windows in frames, see :class:`Features`.
        background: Classes left out of the mean over one-vs-rest probes, as ``label`` or, for
            one task only, ``task:label``.
    """

    tasks: tuple[str, ...] | None = None
    regression: tuple[str, ...] = ()
    levels: tuple[str, ...] | None = None
    combine: bool = False
    test: tuple[str, ...] | None = None
    folds: int | None = None
    estimator: str = "ridge"
    alphas: tuple[float, ...] | None = None
    select: str = "score"
    class_weight: str | None = None
    standardise: bool = True
    every: int = 1
    context: tuple[int, ...] = ()
    background: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse an unknown way to choose.

        Raises:
            UserError: ``select`` is neither ``score`` nor ``error``.
        """
        if self.select not in SELECT:
            raise UserError(
                f"--select {self.select}: penalties are chosen by score or by error; "
                f"{suggest(self.select, SELECT)}"
            )

    @property
    def ridge_alphas(self) -> tuple[float, ...]:
        """Penalties of the ridge probes."""
        return RIDGE_ALPHAS if self.alphas is None or self.logistic else self.alphas

    @property
    def logistic(self) -> bool:
        """Whether the multi-class models are logistic."""
        return self.estimator == "logistic"

    @property
    def balanced(self) -> bool:
        """Whether the multi-class models are balanced."""
        return self.class_weight == "balanced" or (self.class_weight is None and not self.logistic)
