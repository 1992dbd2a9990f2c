"""Graphs, encoder, streams, ball and losses, number by number."""

from __future__ import annotations

import json
import os
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from behaviorzoo.weights import load_torch_file, strict_load
from hysp.author_options import encoder_options, pretrain_options, strip_prefix
from hysp.contrast import mixed_nce
from hysp.curriculum import hyper_weight
from hysp.graph import Graph
from hysp.hyperbolic import (
    MoebiusLinear,
    cosine_distance,
    distance,
    exp_map,
    log_map,
    uncertainty,
)
from hysp.losses import pair_loss, pair_metrics
from hysp.model import STGCN, build_model
from hysp.optim import OPTIMIZERS, OptimConfig, build_optimizer, build_scheduler
from hysp.streams import apply_stream

ROOT = Path(__file__).resolve().parents[3]
GOLDENS = Path(os.environ.get("BEHAVIORZOO_GOLDENS", ROOT.parent / "shared" / "goldens"))


def read_case(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "case.json").read_text())


def cases(kind: str) -> list[Any]:
    folders = sorted(GOLDENS.glob("hysp_*")) if GOLDENS.is_dir() else []
    found = [folder for folder in folders if read_case(folder)["kind"] == kind]
    absent = pytest.mark.skip(reason="no folder 'goldens': set $BEHAVIORZOO_GOLDENS")
    return [pytest.param(f, id=f.name) for f in found] or [pytest.param(None, marks=absent)]


def tolerance_of(name: str, case: dict[str, Any], dtype: np.dtype) -> tuple[float, float, bool]:
    """Relative and absolute tolerance, and whether the first is relative to the largest entry.

    Gradients stored in single precision cancel: their entries cannot agree to more digits than
    the largest of them has.
    """
    rules = case["tolerance"]
    chosen = rules
    for pattern, rule in rules.items():
        if isinstance(rule, dict) and fnmatch(name, pattern):
            chosen = rule
    largest = "relative to" in chosen or ("grad" in name and dtype == np.float32)
    return chosen["rtol"], chosen["atol"], largest


def check(
    name: str, found: Any, expected: np.ndarray, case: dict[str, Any], slack: float = 0.0
) -> None:
    value = found.detach().numpy() if isinstance(found, torch.Tensor) else np.asarray(found)
    assert value.shape == expected.shape, name
    if expected.dtype.kind in "US":
        assert value.tolist() == expected.tolist(), name
        return
    rtol, atol, largest = tolerance_of(name, case, expected.dtype)
    if largest:
        finite = np.abs(expected[np.isfinite(expected)])
        atol, rtol = atol + rtol * finite.max(initial=0.0), 0.0
    np.testing.assert_allclose(value, expected, rtol=rtol, atol=atol + slack, err_msg=name)


def files(folder: Path) -> tuple[dict[str, Any], Any, Any]:
    """Case, inputs (None without any) and expected arrays: exactly those the case declares."""
    case = read_case(folder)
    expected = np.load(folder / "expected.npz")
    declared = case.get("arrays", {}).get("expected.npz")
    assert declared is None or set(declared) == set(expected.files)
    path = folder / "inputs.npz"
    return case, np.load(path) if path.exists() else None, expected


@pytest.mark.parametrize("folder", cases("hysp_graphs"))
def test_graphs(folder):
    case, _, expected = files(folder)
    for name in expected.files:
        what, layout, *rest = name.split(".")
        if what == "A":
            strategy, hop, dilation = rest
            options = (int(hop.removeprefix("hop")), int(dilation.removeprefix("dil")))
            found = Graph(layout, strategy, *options).A
        else:
            assert what == "hop_distance", name
            found = Graph(layout, max_hop=int(rest[0].removeprefix("hop"))).hop_distance
        check(name, found, expected[name], case)


def run_blocks(encoder: STGCN, x: torch.Tensor) -> list[torch.Tensor]:
    return encoder.block_outputs(encoder.normalise(encoder.persons(x)))


@pytest.mark.parametrize("folder", cases("hysp_encoder"))
def test_encoder(folder):
    case, inputs, expected = files(folder)
    states = load_torch_file(folder / "checkpoint.pth")
    for options in case["encoders"]:
        prefix = options["id"]
        encoder = STGCN(encoder_options(options))
        strict_load(encoder, states[prefix], prefix)
        single = torch.from_numpy(inputs[f"x.{prefix}"])
        outputs = {f"{prefix}.eval.float32.output": encoder.eval()(single)}

        encoder.double().eval()
        x = single.double().requires_grad_()
        outputs[f"{prefix}.eval.float64.output"] = encoder(x)
        skipped = encoder(x, skip_absent=True)
        check(f"{prefix}.eval.float64.output", skipped, encoder(x).detach().numpy(), case)
        for index, block in enumerate(run_blocks(encoder, x)):
            outputs[f"{prefix}.eval.block{index}.mean"] = block.mean((2, 3))
            outputs[f"{prefix}.eval.block{index}.shape"] = torch.tensor(block.shape)
            outputs[f"{prefix}.eval.block{index}.sample0"] = block[0]

        out = encoder.train()(x)
        (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum().backward()
        grads = {name: p.grad.norm() for name, p in encoder.named_parameters()}
        order = expected[f"{prefix}.train.gradnorm_names"].tolist()
        assert sorted(order) == sorted(grads), prefix
        outputs[f"{prefix}.train.output"] = out
        outputs[f"{prefix}.train.grad_input"] = x.grad
        outputs[f"{prefix}.train.gradnorms"] = torch.stack([grads[name] for name in order])
        state = encoder.state_dict()
        for name in [n for n in expected.files if n.startswith(f"{prefix}.")]:
            if name == f"{prefix}.train.gradnorm_names":
                continue
            after = name.removeprefix(f"{prefix}.train.after.")
            check(name, state[after] if after != name else outputs[name], expected[name], case)
    ids = tuple(f"{options['id']}." for options in case["encoders"])
    assert all(name.startswith(ids) for name in expected.files)


@pytest.mark.parametrize("folder", cases("hysp_streams"))
def test_streams(folder):
    case, inputs, expected = files(folder)
    x, parents = torch.from_numpy(inputs["x"]), Graph("ntu-rgb+d").parents
    for name in expected.files:
        check(name, apply_stream(x, name, parents), expected[name], case)


def distances(u: torch.Tensor, v: torch.Tensor, c: float, compat: str) -> dict[str, Any]:
    u, v = u.clone().requires_grad_(), v.clone().requires_grad_()
    value = distance(exp_map(u, c), exp_map(v, c), c, compat)
    of_u, of_v = torch.autograd.grad(value.sum(), (u, v))
    return {"dist": value, "grad_dist_u": of_u, "grad_dist_v": of_v}


@pytest.mark.parametrize("folder", cases("hysp_hyperbolic"))
def test_ball(folder):
    case, inputs, expected = files(folder)
    single = torch.from_numpy(inputs["u"])
    u, v = single.double(), torch.from_numpy(inputs["v"]).double()
    weights = torch.linspace(-1, 1, u.shape[1], dtype=torch.float64)
    found: dict[str, Any] = {}
    for c in case["curvatures"]:
        w = u.clone().requires_grad_()
        mapped = exp_map(w, c)
        (grad_map,) = torch.autograd.grad((mapped * weights).sum(), w, retain_graph=True)
        cosine = cosine_distance(mapped, exp_map(v, c))
        (grad_cosine,) = torch.autograd.grad(cosine.sum(), w)
        values = {
            "expmap_u": mapped,
            "expmap_v": exp_map(v, c),
            "logmap_of_expmap_u": log_map(mapped, c, "upstream"),
            "grad_expmap_u": grad_map,
            "cosine": cosine,
            "grad_cosine_u": grad_cosine,
            "expmap_u_from_float32": exp_map(single, c),
            **distances(u, v, c, "upstream"),
        }
        found |= {f"c{c}.{name}": value for name, value in values.items()}
    found |= {f"paper_{k}": value for k, value in distances(u, v, 1.0, "paper").items()}

    x = torch.from_numpy(inputs["lin.x"]).requires_grad_()
    weight, bias = (torch.from_numpy(inputs[f"lin.{n}"]) for n in ("weight", "bias"))
    head = MoebiusLinear(weight.shape[1], weight.shape[0])
    state = {"weight": weight, "bias": bias, "ball.isp_c": head.ball.isp_c}
    head.load_state_dict(state, strict=True)
    ball = exp_map(x)
    logits = head(ball)
    labels = case.get("labels", [0, 1, 2, 3, 1])
    loss = cross_entropy(logits, torch.tensor(labels))
    loss.backward()
    found |= {"lin.ball_input": ball, "lin.logits": logits, "lin.cross_entropy": loss}
    found |= {"lin.grad_weight": head.weight.grad, "lin.grad_bias": head.bias.grad}
    found["lin.grad_x"] = x.grad
    for name in expected.files:
        check(name, found[name], expected[name], case)


@pytest.mark.parametrize("folder", cases("hysp_loss"))
def test_losses(folder):
    case, inputs, expected = files(folder)
    k, queue = (torch.from_numpy(inputs[name]) for name in ("k", "queue"))
    q, c = torch.from_numpy(inputs["q"]).requires_grad_(), case["c"]
    found: dict[str, Any] = {}
    for lam in case["lambdas"]:
        pair = pair_loss(q, k, lam, c, "upstream")
        loss = pair.mixed(lam).mean()
        values = [pair.euclidean, pair.hyperbolic, loss, *torch.autograd.grad(loss, q)]
        keys = ("euc", "hyp", "loss", "grad_q")
        found |= {f"hysp.lam{lam}.{key}": v for key, v in zip(keys, values, strict=True)}
        loss, euc, hyp = mixed_nce(q, k, queue, lam, case["temperature"], c, "upstream")
        values = [euc, hyp, loss, *torch.autograd.grad(loss, q)]
        contrast = f"nce.lam{lam}"  # codespell:ignore nce
        found |= {f"{contrast}.{key}": v for key, v in zip(keys, values, strict=True)}
    euclidean = cosine_distance(q, k)
    found["euclidean.loss_per_sample"] = euclidean
    found["euclidean.grad_q"] = torch.autograd.grad(euclidean.mean(), q)[0]
    metrics = pair_metrics(q, k, c, "upstream")
    found |= {f"metric.{name}": value for name, value in metrics.items()}
    for name, (curriculum, initial, final, epochs) in case["schedules"].items():
        rows = [hyper_weight(e, initial, final, curriculum) for e in range(epochs)]
        found[f"lambda.{name}"] = rows
    for name in expected.files:
        # 2 - 2 cos of nearly equal vectors is the last bits of numbers near 2: old versions of
        # torch round the lowest one otherwise.
        distances = ("euclidean.loss_per_sample", "metric.cosine_dist")
        slack = 2.0**-22 if name in distances and torch.__version__ < (2, 6) else 0.0
        check(name, found[name], expected[name], case, slack)


def grad_norms(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Norm of the gradient of each part of a network."""
    norms = {}
    for name, module in model.named_children():
        grads = [p.grad.flatten() for p in module.parameters() if p.grad is not None]
        if grads:
            norms[name] = torch.cat(grads).norm()
    return norms


def batches(inputs: Any, case: dict[str, Any], steps: int) -> list[tuple[torch.Tensor, ...]]:
    """Pairs of views of each step, in double precision and as the case's stream."""
    parents, stream = Graph("ntu-rgb+d").parents, case.get("stream", "joint")
    views = [torch.from_numpy(inputs[name]).double() for name in ("view1", "view2")]
    n = case["batch"]
    return [
        tuple(apply_stream(v[i * n : (i + 1) * n], stream, parents) for v in views)
        for i in range(steps)
    ]


def trained_network(
    state: dict[str, torch.Tensor], options: dict[str, Any], method: str, hyper: bool
) -> torch.nn.Module:
    model = build_model(pretrain_options(options, method, hyper), "upstream")
    strict_load(model, state, method)
    return model.double().train()


@pytest.mark.parametrize("folder", cases("hysp_variants"))
def test_variants(folder):
    case, inputs, expected = files(folder)
    content = load_torch_file(folder / "checkpoint.pth")
    names = {
        "simsiam.hyper1": ("simsiam", True),
        "simsiam.hyper0": ("simsiam", False),
        "hyperskeletonclr": ("skeletonclr", True),
        "skeletonclr": ("skeletonclr", False),
    }
    found: dict[str, Any] = {}
    for prefix, (method, hyper) in names.items():
        state = strip_prefix(content[method])
        model = trained_network(state, case[method], method, hyper)
        for i, views in enumerate(batches(inputs, case, case["steps"])):
            model.zero_grad()
            output = model(*views, case["lambdas"][i])
            output.loss.mean().backward()
            roles = ("p1", "z2") if method == "simsiam" else ("q", "k")
            values = {"loss": output.loss, roles[0]: output.q, roles[1]: output.k}
            values |= {"loss_euc": output.loss_euc, "loss_hyp": output.loss_hyp}
            values |= {f"gradnorm.{part}": norm for part, norm in grad_norms(model).items()}
            if method == "skeletonclr":
                values["queue_after"] = model.queue.clone()
                values["target_data_bn_weight"] = model.target_encoder.data_bn.weight.clone()
            found |= {f"{prefix}.{i}.{name}": value for name, value in values.items()}
    for name in expected.files:
        check(name, found[name], expected[name], case)


@pytest.mark.parametrize("folder", cases("hysp_pretrain_step"))
def test_pretraining(folder):
    case, inputs, expected = files(folder)
    content = load_torch_file(folder / "checkpoint.pth")
    state, options = strip_prefix(content["state_dict"]), case["model_args"]
    steps = batches(inputs, case, len(case["epochs"]))
    decay = case.get("weight_decay", content["hyper_parameters"]["cfg"].weight_decay)
    checked = set()

    def compare(name: str, value: Any) -> None:
        if name in expected.files:
            check(name, value, expected[name], case)
            checked.add(name)

    def train(optimizer: str, each_step: Any) -> torch.nn.Module:
        """Steps in the authors' order: forward, target, zero, backward, optimiser."""
        model = trained_network(state, options, "hysp", True)
        trainable = [p for p in model.parameters() if p.requires_grad]
        each_step(model, build_optimizer(optimizer, trainable, case["lr"], float(decay)))
        return model

    def step(model: Any, optimizer: Any, views: Any, lam: float) -> Any:
        output = model(*views, lam)
        model.update_target()
        optimizer.zero_grad()
        output.loss.mean().backward()
        norms = grad_norms(model)  # before the optimiser changes gradients in place
        optimizer.step()
        return output, norms

    def single_steps(prefix: str) -> Any:
        def run(model: Any, optimizer: Any) -> None:
            for i, (views, epoch) in enumerate(zip(steps, case["epochs"], strict=True)):
                lam = hyper_weight(epoch, case["e1"], case["e2"])
                output, norms = step(model, optimizer, views, lam)
                values = {"lambda": lam, "loss": output.loss, "q1": output.q, "k2": output.k}
                values |= {"loss_euc": output.loss_euc, "loss_hyp": output.loss_hyp}
                values |= {f"gradnorm.{part}": norm for part, norm in norms.items()}
                values |= {f"after.{k}": v.clone() for k, v in model.state_dict().items()}
                for name, value in values.items():
                    compare(f"{prefix}.step{i}.{name}", value)

        return run

    def whole_loop(model: Any, optimizer: Any) -> None:
        settings = OptimConfig(milestones=tuple(case["milestones"]), epochs=case["pl_epochs"])
        scheduler = build_scheduler(optimizer, settings)
        losses = []
        for epoch in range(case["pl_epochs"]):
            lam = hyper_weight(epoch, 1, case["pl_epochs"])
            for views in steps[: len(case["epochs"]) // 2]:
                losses.append(step(model, optimizer, views, lam)[0].loss.mean().detach())
            scheduler.step()
        compare("loop.losses", torch.stack(losses))

    for prefix in sorted({name.split(".")[0] for name in expected.files} & set(OPTIMIZERS)):
        model = train(prefix, single_steps(prefix))
        for name, value in model.state_dict().items():
            compare(f"{prefix}.final.{name}", value)
    model = train("RiemannianSGD", whole_loop)
    for name, value in model.state_dict().items():
        compare(f"loop.final.{name}", value)

    euclidean = trained_network(state, options, "hysp", False)
    loss = euclidean(*steps[0], 1.0).loss
    loss.mean().backward()
    compare("euclidean.loss", loss)
    for part, norm in grad_norms(euclidean).items():
        compare(f"euclidean.gradnorm.{part}", norm)

    model = trained_network(state, options, "hysp", True).eval()
    embedding = model.online_encoder(steps[0][0])
    compare("eval.embedding", embedding)
    compare("eval.projection", model.online_projector(embedding))
    compare("eval.uncertainty", uncertainty(exp_map(embedding, model.config.hyper_c)))
    target = model.target_projector(model.target_encoder(steps[0][0]))
    compare("eval.target_projection", target)
    assert checked == set(expected.files)
