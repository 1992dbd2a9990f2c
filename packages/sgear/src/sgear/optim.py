"""Parameter groups and optimisers. Torch is imported where it is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.schema import from_dict

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

ALL = "__all__"
"""Name that means the whole network."""

KINDS = {"SGD": "sgd", "Adam": "adam", "AdamW": "adamW", "Adafactor": "adafactor"}
"""Last word of the authors' ``_target_`` -> ours."""


@dataclass(frozen=True)
class OptimizerConfig:
    """Which optimiser; learning rates and decays are those of the parameter groups."""

    kind: Literal["adam", "adamW", "sgd", "adafactor"] = field(
        default="adam", metadata={"help": "optimiser"}
    )
    momentum: float = field(default=0.9, metadata={"help": "sgd: momentum"})
    nesterov: bool = field(default=False, metadata={"help": "sgd: Nesterov's momentum"})
    betas: tuple[float, float] = field(
        default=(0.9, 0.999), metadata={"help": "adam, adamW: decays of the running means"}
    )
    eps: float = field(default=1e-8, metadata={"help": "adam, adamW: added to the denominator"})
    warmup_init: bool = field(
        default=False, metadata={"help": "adafactor: warm-up of its own learning rate"}
    )


def read_optimizer(cfg: Mapping[str, Any]) -> OptimizerConfig:
    """Options from the authors' section ``opt.optimizer``, or from ours.

    Args:
        cfg: Key -> value.

    Raises:
        UserError: Unknown names or wrong types.
    """
    given = {str(key): value for key, value in cfg.items() if key != "_target_"}
    name = str(cfg.get("_target_", "")).rsplit(".", 1)[-1]
    if name:
        if name not in KINDS:
            raise UserError(f"opt.optimizer._target_: unknown {name!r}; {suggest(name, KINDS)}")
        given["kind"] = KINDS[name]
    return from_dict(OptimizerConfig, given, where="opt.optimizer")


def parameter_groups(
    model: nn.Module,
    lr_wd: Sequence[Sequence[Any]],
    bias_bn_wd_scale: float = 1.0,
    world_size: int = 1,
    batch_scale: float = 1.0,
) -> list[dict[str, Any]]:
    """Two groups for every entry: weights, and biases with the norms of batches.

    Entries with a learning rate of 0 freeze their parameters and give no group.

    Args:
        model: The network, not wrapped.
        lr_wd: Entries ``[names, learning rate, weight decay]``; names are a module's path, a list
            of paths, or ``__all__``.
        bias_bn_wd_scale: Factor of the weight decay of the second group.
        world_size: Processes; learning rates grow with them.
        batch_scale: Batch size where learning rates grow with it, else 1.

    Raises:
        UserError: Entries of another form, unknown paths, parameters named twice, or nothing to
            train.
    """
    groups: list[dict[str, Any]] = []
    owners: dict[str, str] = {}
    for entry in lr_wd:
        names, lr, wd = _entry(entry)
        chosen = _parameters(model, names)
        if lr == 0:
            for parameter in chosen.values():
                parameter.requires_grad_(False)
            continue
        trained = {name: p for name, p in chosen.items() if p.requires_grad}
        twice = [name for name in trained if name in owners]
        if twice:
            raise UserError(
                f"opt.lr_wd: {twice[0]} belongs to {owners[twice[0]]!r} and to {names!r}; every "
                "parameter may be named once"
            )
        owners |= dict.fromkeys(trained, str(names))
        apart = {name for name in trained if name.endswith("bias") or ".bn" in name}
        rate = lr * world_size * batch_scale
        groups += [
            {
                "params": [p for n, p in trained.items() if n not in apart],
                "lr": rate,
                "weight_decay": wd,
            },
            {
                "params": [p for n, p in trained.items() if n in apart],
                "lr": rate,
                "weight_decay": wd * bias_bn_wd_scale,
            },
        ]
    if not any(group["params"] for group in groups):
        raise UserError("opt.lr_wd: no parameter is left to be trained")
    return groups


def build_optimizer(config: OptimizerConfig, groups: list[dict[str, Any]]) -> Optimizer:
    """The optimiser.

    PyTorch's fused kernels are used: they need no copy of all gradients, which the default ones
    make for the weight decay.

    Args:
        config: Which one.
        groups: See :func:`parameter_groups`.
    """
    import torch

    if config.kind == "adafactor":
        from transformers.optimization import Adafactor

        return Adafactor(groups, warmup_init=config.warmup_init)  # type: ignore[return-value]
    if config.kind == "sgd":
        return torch.optim.SGD(
            groups, lr=0.0, momentum=config.momentum, nesterov=config.nesterov, fused=True
        )
    kinds = {"adam": torch.optim.Adam, "adamW": torch.optim.AdamW}
    return kinds[config.kind](groups, betas=config.betas, eps=config.eps, fused=True)


def load_optimizer(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Go on where a run was; the choice of kernels stays ours.

    Args:
        optimizer: Built with the same groups.
        state: Its state dict, also one of the authors'.

    Raises:
        UserError: Other groups or other sizes.
    """
    kept = [{k: g[k] for k in ("fused", "foreach") if k in g} for g in optimizer.param_groups]
    _check_sizes(optimizer, state)
    optimizer.load_state_dict(dict(state))
    for group, own in zip(optimizer.param_groups, kept, strict=True):
        group.update(own)


def _entry(entry: Sequence[Any]) -> tuple[Any, float, float]:
    form = "expected [names, learning rate, weight decay], such as [__all__, 0.0001, 0.00001]"
    if isinstance(entry, str) or len(entry) != 3:
        raise UserError(f"opt.lr_wd: got {entry!r}, {form}")
    try:
        return entry[0], float(entry[1]), float(entry[2])
    except (TypeError, ValueError) as error:
        raise UserError(f"opt.lr_wd: got {entry!r}, {form}") from error


def _parameters(model: nn.Module, names: Any) -> dict[str, Any]:
    """Parameters of the modules or parameters that are named, in the network's order."""
    everything = dict(model.named_parameters())
    if names == ALL:
        return everything
    paths = [names] if isinstance(names, str) else list(names)
    for path in paths:
        if not any(name == path or name.startswith(f"{path}.") for name in everything):
            parts = {name.rsplit(".", 1)[0] for name in everything} | set(everything)
            raise UserError(f"opt.lr_wd: the network has no {path!r}; {suggest(path, parts)}")
    chosen: dict[str, Any] = {}
    for path in paths:
        chosen |= {n: p for n, p in everything.items() if n == path or n.startswith(f"{path}.")}
    return chosen


def _check_sizes(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    sizes = [len(group["params"]) for group in optimizer.param_groups]
    found = [len(group["params"]) for group in state.get("param_groups", [])]
    if sizes != found:
        raise UserError(
            f"the optimiser of the checkpoint has groups of {found} parameters, this one of "
            f"{sizes}; was it trained with other opt.lr_wd or freeze_* settings?"
        )
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, kept in state.get("state", {}).items():
        for name, value in kept.items():
            shape = getattr(value, "shape", ())
            if len(shape) and int(index) < len(parameters):
                own = parameters[int(index)].shape
                if name.endswith(("momentum_buffer", "exp_avg", "exp_avg_sq")) and shape != own:
                    raise UserError(
                        f"the optimiser of the checkpoint has {name} {tuple(shape)} for parameter "
                        f"{index} of shape {tuple(own)}"
                    )
