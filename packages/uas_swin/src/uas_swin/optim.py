"""The optimiser of the published runs: AdamW, rates by name, gradients accumulated over steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper, DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn

from behaviorzoo.errors import UserError
from uas_swin.model.freeze import count_parameters

CUSTOM_KEYS: dict[str, dict[str, float]] = {
    "absolute_pos_embed": {"decay_mult": 0.0},
    "relative_position_bias_table": {"decay_mult": 0.0},
    "norm": {"decay_mult": 0.0},
    "backbone": {"lr_mult": 0.1},
}
"""The published rules. Only the longest key that is part of a name applies: tables of biases have
no decay but the FULL rate, and the norms of the backbone do decay."""

UPDATE_INTERVAL = 8
"""Iterations of one step of the optimiser in the published runs."""


def optim_wrapper(
    lr: float = 3e-4,
    weight_decay: float = 0.05,
    accumulate: int = UPDATE_INTERVAL,
    amp: bool = False,
) -> dict[str, Any]:
    """The published optimiser as a configuration of mmengine.

    Args:
        lr: Base rate.
        weight_decay: Base decay.
        accumulate: Iterations of a step.
        amp: Mixed precision, on GPUs.
    """
    return {
        "type": "CarriedAmpOptimWrapper" if amp else "CarriedOptimWrapper",
        "constructor": "GroupedOptimWrapperConstructor",
        "optimizer": {
            "type": "AdamW",
            "lr": lr,
            "betas": (0.9, 0.999),
            "weight_decay": weight_decay,
        },
        "paramwise_cfg": {"custom_keys": CUSTOM_KEYS},
        "accumulative_counts": accumulate,
    }


def group_settings(
    name: str, lr: float, weight_decay: float, custom_keys: Mapping[str, Mapping[str, float]]
) -> tuple[float, float]:
    """Rate and decay of a parameter: of all keys that are part of its name, the longest decides.

    Args:
        name: Dotted name.
        lr: Base rate.
        weight_decay: Base decay.
        custom_keys: Key -> ``lr_mult`` and ``decay_mult``. Keys as long as each other: the first
            in the alphabet.
    """
    for key in sorted(sorted(custom_keys), key=len, reverse=True):
        if key in name:
            rule = custom_keys[key]
            return lr * rule.get("lr_mult", 1.0), weight_decay * rule.get("decay_mult", 1.0)
    return lr, weight_decay


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class GroupedOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's rules for ``custom_keys``, one group for each pair of rate and decay.

    mmengine makes a group, and prints lines, for every parameter. Parameters that are not trained
    are left out, and counted.
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimiser.

        Args:
            model: The network, maybe in a wrapper for several devices.

        Raises:
            UserError: Rules other than ``custom_keys``, or nothing to train.
        """
        others = set(self.paramwise_cfg) - {"custom_keys"}
        if others or self.base_lr is None:
            what = ", ".join(sorted(others)) or "an optimizer without lr"
            raise UserError(
                f"optim_wrapper: {what} is for mmengine's DefaultOptimWrapperConstructor; "
                "this one knows paramwise_cfg.custom_keys"
            )
        within = getattr(model, "module", None)
        model = within if isinstance(within, nn.Module) else model
        optimizer = OPTIMIZERS.build({**self.optimizer_cfg, "params": self.groups(model)})
        total, trained = count_parameters(model)
        print_log(f"parameters: {total:,}, of which {trained:,} are trained", logger="current")
        wrapper = {"type": "CarriedOptimWrapper", **self.optim_wrapper_cfg}
        return OPTIM_WRAPPERS.build(wrapper, default_args={"optimizer": optimizer})

    def groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """Trained parameters by rate and decay.

        Raises:
            UserError: Nothing to train.
        """
        keys = self.paramwise_cfg.get("custom_keys", {})
        found: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                pair = group_settings(name, self.base_lr, self.base_wd or 0.0, keys)
                found.setdefault(pair, []).append(parameter)
        if not found:
            raise UserError("no parameter is trained; is there a head, or a branch?")
        decays = self.base_wd is not None
        return [
            {"params": parameters, "lr": lr, **({"weight_decay": decay} if decays else {})}
            for (lr, decay), parameters in found.items()
        ]


class _Carried:
    """Gradients that the end of an epoch, or of the training, cuts off.

    As in the original they are carried into the next epoch, and dropped at the end: mmengine
    would take a step of its own with what is left. A checkpoint holds them, so that a resumed
    training goes on as if it had not stopped. (With several processes each has its own, and those
    of the first are kept.)
    """

    _KEY = "carried_gradients"

    def initialize_count_status(self, model: nn.Module, init_counts: int, max_counts: int) -> None:
        """Count iterations from where the training stands, without an end."""
        self._inner_count = init_counts
        self._max_counts = -1

    def state_dict(self) -> dict[str, Any]:
        """State of the optimiser, with gradients that await their step."""
        wrapper: Any = self
        state: dict[str, Any] = super().state_dict()  # type: ignore[misc]
        if wrapper._inner_count % wrapper._accumulative_counts:
            state[self._KEY] = [p.grad for p in _parameters(wrapper.optimizer)]
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The reverse of :meth:`state_dict`."""
        state = dict(state_dict)
        gradients = state.pop(self._KEY, None)
        super().load_state_dict(state)  # type: ignore[misc]
        if gradients is not None:
            parameters = _parameters(self.optimizer)  # type: ignore[attr-defined]
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = None if gradient is None else gradient.to(parameter, copy=True)


@OPTIM_WRAPPERS.register_module()
class CarriedOptimWrapper(_Carried, OptimWrapper):
    """mmengine's wrapper with the original's accumulation."""


@OPTIM_WRAPPERS.register_module()
class CarriedAmpOptimWrapper(_Carried, AmpOptimWrapper):
    """The same with mixed precision.

    Raises:
        UserError: No GPU.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        if not torch.cuda.is_available():
            raise UserError("mixed precision needs a GPU; train without --amp")
        super().__init__(*args, **kwargs)


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
