"""LARS: a learning rate for every layer, by the size of its weights (You et al., 2017)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT


class LARS(Optimizer):
    """SGD with momentum whose steps are scaled to the norm of each parameter.

    ``g <- trust |p| / (|g| + wd |p| + eps) (g + wd p)``, then ``v <- momentum v + g`` and
    ``p <- p - lr v``. Parameters whose weight or gradient is zero are not scaled.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        momentum: Of the velocity.
        weight_decay: On every parameter.
        trust: Share of its own norm that a parameter may move at rate 1.
        eps: Keeps the quotient finite.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 0.001,
        eps: float = 1e-8,
    ) -> None:
        options = {"momentum": momentum, "weight_decay": weight_decay, "trust": trust, "eps": eps}
        super().__init__(params, {"lr": lr, **options})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take one step; ``closure`` recomputes the loss where it is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group)
        return loss

    def _move(self, parameter: Tensor, group: dict[str, Any]) -> None:
        assert parameter.grad is not None
        decay = group["weight_decay"]
        size, slope = parameter.norm(), parameter.grad.norm()
        scale = group["trust"] * size / (slope + decay * size + group["eps"])
        scale = torch.where((size > 0) & (slope > 0), scale, 1.0)
        step = scale * (parameter.grad + decay * parameter)
        state = self.state[parameter]
        velocity = state.get("momentum_buffer")
        if velocity is None:
            state["momentum_buffer"] = velocity = step.clone()
        else:
            velocity.mul_(group["momentum"]).add_(step)
        parameter.add_(velocity, alpha=-group["lr"])
