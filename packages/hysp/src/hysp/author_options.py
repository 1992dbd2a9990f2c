"""Options of the networks from the authors' configurations, or from the shapes of weights."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch import Tensor

from behaviorzoo.errors import UserError
from hysp.graph import LAYOUTS, STRATEGIES, Graph
from hysp.model.config import ClassifierConfig, EncoderConfig, GraphConfig, ModelConfig

AUTHORS_GRAPH = {"layout": "openpose", "strategy": "uniform", "max_hop": 1, "dilation": 1}
"""What the authors' graph takes where a configuration does not say."""

AUTHORS_QUEUE_SIZE = 32768

ENCODER_OPTIONS = (
    "in_channels",
    "hidden_channels",
    "out_channels",
    "edge_importance_weighting",
    "dropout",
)
"""Options of the encoder that have the same name on both sides."""

MODEL_OPTIONS = (
    "projection_hidden_size",
    "predictor_hidden_size",
    "hyper_c",
    "moving_average_decay",
    "queue_size",
    "temperature",
)
"""Options of the networks for pre-training that have the same name on both sides."""

_BEFORE_THE_NETWORK = re.compile(r"^(?:.*\bmodel\.)?(?:module\.)*")
_MOST_HOPS = 4


def strip_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names as the network has them, without what learners and wrappers put before.

    Args:
        state: Name -> tensor, such as ``model.online_encoder.A``.
    """
    return {
        _BEFORE_THE_NETWORK.sub("", name.replace("_orig_mod.", "")): tensor
        for name, tensor in state.items()
    }


def encoder_options(arguments: Mapping[str, Any]) -> EncoderConfig:
    """The encoder among the authors' ``model_args``.

    Args:
        arguments: Option -> value; what is left out is as published.

    Raises:
        UserError: A graph that they do not know either.
    """
    graph = {**AUTHORS_GRAPH, **(arguments.get("graph_args") or {})}
    known = {name: arguments[name] for name in ENCODER_OPTIONS if name in arguments}
    return EncoderConfig(graph=GraphConfig(**graph), **known)


def pretrain_options(
    arguments: Mapping[str, Any], method: str = "hysp", hyper: bool = True
) -> ModelConfig:
    """A network for pre-training from the authors' ``model_args``, ``model`` and ``hyper``.

    Args:
        arguments: Option -> value.
        method: Their ``model``.
        hyper: Their ``hyper``.

    Raises:
        UserError: Options that they do not know either.
    """
    known = {name: arguments[name] for name in MODEL_OPTIONS if name in arguments}
    known.setdefault("queue_size", AUTHORS_QUEUE_SIZE)
    return ModelConfig(method=method, hyper=hyper, encoder=encoder_options(arguments), **known)


def infer_options(state: Mapping[str, Tensor], where: str) -> dict[str, Any]:
    """``model_args`` (and ``model``) that a state dict determines by its names and shapes.

    Dropout, curvature, decay and temperature leave no trace in the weights.

    Args:
        state: Names as :func:`strip_prefix` gives them.
        where: File they come from, for messages.

    Returns:
        Option of the authors -> value.

    Raises:
        UserError: No encoder of this family, or its graph is none of the known ones.
    """
    encoder = {
        name.removeprefix("online_encoder."): tensor
        for name, tensor in state.items()
        if name.startswith("online_encoder.")
    }
    first, last = (f"st_gcn_networks.{index}.tcn.0.weight" for index in (0, 9))
    mix = "st_gcn_networks.0.gcn.conv.weight"
    absent = [name for name in ("A", first, last, mix) if name not in encoder]
    if absent:
        raise UserError(
            f"{where}: no ST-GCN encoder, {', '.join(absent)} under 'online_encoder.' is missing; "
            "is it a checkpoint of HYSP, SimSiam or SkeletonCLR?"
        )
    found: dict[str, Any] = {
        "in_channels": encoder[mix].shape[1],
        "hidden_channels": len(encoder[first]),
        "out_channels": len(encoder[last]),
        "graph_args": find_graph(encoder["A"], where),
        "edge_importance_weighting": "edge_importance.0" in encoder,
    }
    for option, part in (("projection", "projector"), ("predictor", "predictor")):
        sizes = _layer_widths(state, f"online_{part}.net.")
        if sizes:
            found[f"{option}_hidden_size"] = sizes
    if "queue" in state:
        found |= {"model": "skeletonclr", "queue_size": state["queue"].shape[1]}
    elif "target_encoder.A" in state:
        found["model"] = "hysp"
    elif "predictor_hidden_size" in found:
        found["model"] = "simsiam"
    return found


def find_graph(adjacency: Tensor, where: str) -> dict[str, Any]:
    """``graph_args`` of the graph whose matrices these are.

    Args:
        adjacency: (K, V, V).
        where: File it comes from, for messages.

    Raises:
        UserError: None of the published layouts.
    """
    matrices = adjacency.double().numpy()
    for max_hop in range(1, _MOST_HOPS + 1):
        for dilation in range(1, max_hop + 1):
            for layout in (n for n, (v, _, _) in LAYOUTS.items() if v == matrices.shape[-1]):
                for strategy in STRATEGIES:
                    candidate = Graph(layout, strategy, max_hop, dilation).A
                    if candidate.shape == matrices.shape and abs(candidate - matrices).max() < 1e-6:
                        options = (layout, strategy, max_hop, dilation)
                        return dict(zip(AUTHORS_GRAPH, options, strict=True))
    raise UserError(
        f"{where}: its graph of {matrices.shape[-1]} joints is none of {', '.join(LAYOUTS)}; "
        "pass the configuration of the network"
    )


def classifier_options(
    arguments: Mapping[str, Any], state: Mapping[str, Tensor]
) -> ClassifierConfig:
    """An encoder with a head, from ``model_args`` and the head's shapes.

    Args:
        arguments: Option -> value.
        state: Names as :func:`strip_prefix` gives them.

    Raises:
        UserError: Options that the authors do not know either.
    """
    widths = _layer_widths(state, "online_projector.net.")
    return ClassifierConfig(
        encoder=encoder_options(arguments),
        n_classes=widths[-1],
        hyper="online_projector.net.0.ball.isp_c" in state,
        hyper_c=arguments.get("hyper_c", 1.0),
        head_hidden_size=tuple(widths) if len(widths) > 1 else (),
    )


def authors_arguments(config: ModelConfig) -> dict[str, Any]:
    """``model_args`` that mean our options.

    Args:
        config: Options of a network for pre-training.

    Raises:
        UserError: A graph that the authors' code does not have.
    """
    graph = config.encoder.graph
    if graph.layout not in LAYOUTS:
        raise UserError(
            f"graph: the authors' code knows no layout {graph.layout!r}, only {', '.join(LAYOUTS)}"
        )
    arguments: dict[str, Any] = {"pretrain": True}
    arguments |= {name: getattr(config.encoder, name) for name in ENCODER_OPTIONS}
    arguments |= {name: getattr(config, name) for name in MODEL_OPTIONS}
    arguments["graph_args"] = {name: asdict(graph)[name] for name in AUTHORS_GRAPH}
    return {n: list(v) if isinstance(v, tuple) else v for n, v in arguments.items()}


def plain_options(value: Any) -> Any:
    """Namespaces, mappings and lists within each other as dictionaries and lists."""
    if isinstance(value, Namespace):
        value = vars(value)
    if isinstance(value, Mapping):
        return {str(key): plain_options(item) for key, item in value.items()}
    return [plain_options(v) for v in value] if isinstance(value, list | tuple) else value


def _layer_widths(state: Mapping[str, Tensor], prefix: str) -> list[int]:
    """Outputs of the linear layers (2-D weights) of a stack, from first to last."""
    widths = {}
    for name, tensor in state.items():
        match = re.fullmatch(re.escape(prefix) + r"(\d+)\.weight", name)
        if match and tensor.ndim == 2:
            widths[int(match[1])] = tensor.shape[0]
    return [widths[index] for index in sorted(widths)]
