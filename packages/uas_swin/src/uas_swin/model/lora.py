"""Low-rank branches beside linear layers: LoRA(x) = (alpha / r) B A x.

Which layers get one is told by ``lora_layer_type``; the names are those of the authors' state
dicts: ``lora_q``, ``lora_k``, ``lora_v``, ``lora_o`` of an attention, ``lora_fc1``, ``lora_fc2``
of an MLP. (Hu et al. 2022, LoRA, section 4.1.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from behaviorzoo.errors import UserError, suggest

LAYER_TYPES: dict[str, tuple[str, ...]] = {
    "qv": ("q", "v"),
    "qkv": ("q", "v", "k"),
    "qkvo": ("q", "v", "k", "o"),
    "mlp": ("fc1", "fc2"),
    "all": ("q", "v", "k", "o", "fc1", "fc2"),
}
"""``lora_layer_type`` -> branches, in the authors' order."""

STAGES = ("all", "first", "last")
"""Values of ``lora_type``."""

INITS = ("zero_b", "upstream")
"""``zero_b``: the adapted network starts equal to the pre-trained one. ``upstream``: A and B are
both drawn, as happens in the authors' code, whose backbone initialises every linear layer."""

STD = 0.02
"""Of the (practically normal) distribution of every linear layer of the backbone."""


@dataclass(frozen=True)
class LoraOptions:
    """Branches of a network.

    Attributes:
        rank: Inner width r.
        alpha: The branch is scaled by ``alpha / rank``; None for ``rank``, that is by 1.
        stages: ``all``, ``first`` or ``last``.
        layers: A key of ``LAYER_TYPES``.
        init: A value of ``INITS``.

    Raises:
        UserError: An unknown word, or a rank below 1.
    """

    rank: int
    alpha: float | None = None
    stages: str = "all"
    layers: str = "qv"
    init: str = "zero_b"

    def __post_init__(self) -> None:
        for option, value, known in (
            ("lora_type", self.stages, STAGES),
            ("lora_layer_type", self.layers, LAYER_TYPES),
            ("lora_init", self.init, INITS),
        ):
            if value not in known:
                raise UserError(f"{option}: unknown {value!r}; {suggest(value, known)}")
        if self.rank < 1:
            raise UserError(f"lora_rank: {self.rank}, a branch needs a rank of 1 or more")

    @property
    def branches(self) -> tuple[str, ...]:
        """What gets a branch: of q, k, v, o, fc1, fc2."""
        return LAYER_TYPES[self.layers]

    def in_stage(self, stage: int, n_stages: int) -> bool:
        """Whether a stage has branches."""
        return self.stages == "all" or stage == {"first": 0, "last": n_stages - 1}[self.stages]


class LoRA(nn.Module):
    """A branch of rank r.

    Args:
        n_in: Width of the input.
        n_out: Width of the output.
        options: Rank, scaling and initialisation.
    """

    def __init__(self, n_in: int, n_out: int, options: LoraOptions):
        super().__init__()
        self.options = options
        alpha = options.rank if options.alpha is None else options.alpha
        self.scaling = alpha / options.rank
        self.lora_A = nn.Linear(n_in, options.rank, bias=False)
        self.lora_B = nn.Linear(options.rank, n_out, bias=False)
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """Draw the weights anew.

        A is drawn like every linear layer of the backbone, which is the size that the published
        learning rate was used with; only B differs between the two initialisations.
        """
        nn.init.trunc_normal_(self.lora_A.weight, std=STD)
        if self.options.init == "zero_b":
            nn.init.zeros_(self.lora_B.weight)
        else:
            nn.init.trunc_normal_(self.lora_B.weight, std=STD)

    def forward(self, x: Tensor) -> Tensor:
        """(..., n_in) to (..., n_out)."""
        return self.scaling * self.lora_B(self.lora_A(x))

    def update(self) -> Tensor:
        """The matrix that the branch amounts to, (n_out, n_in), in double precision."""
        return self.scaling * self.lora_B.weight.double() @ self.lora_A.weight.double()


def reset_branches(module: nn.Module) -> None:
    """Draw all branches within a module anew."""
    for part in module.modules():
        if isinstance(part, LoRA):
            part.reset()


def add_branches(
    module: nn.Module, sizes: dict[str, tuple[int, int]], options: LoraOptions
) -> None:
    """Give a module ``lora_<name>`` for every name that the options ask for.

    Args:
        module: An attention or an MLP.
        sizes: Branch -> widths of input and output.
        options: Which branches, and how.
    """
    for name in options.branches:
        if name in sizes:
            module.add_module(f"lora_{name}", LoRA(*sizes[name], options))


def branch(module: nn.Module, name: str) -> LoRA | None:
    """The branch ``lora_<name>`` of a module, if it has one."""
    found: Any = getattr(module, f"lora_{name}", None)
    return found
