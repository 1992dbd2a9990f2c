"""Evaluation protocols and the fusion of streams, number by number."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from behaviorzoo.weights import strict_load
from hysp.author_options import encoder_options
from hysp.checkpoints import build_encoder
from hysp.evaluate.accuracy import accuracy
from hysp.evaluate.config import ProbeOptim
from hysp.evaluate.fitting import Samples, fit, predict, trainable_names
from hysp.evaluate.protocols import classifier_on
from hysp.fusion import fuse, fused_accuracy, original_candidates, search_weights
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


def files(folder: Path) -> tuple[dict[str, Any], Any, Any]:
    """Case, inputs and expected arrays: exactly those the case declares."""
    case, expected = read_case(folder), np.load(folder / "expected.npz")
    declared = case["arrays"]["expected.npz"]
    assert set(declared) == set(expected.files)
    return case, np.load(folder / "inputs.npz"), expected


def check(name: str, found: Any, expected: np.ndarray, case: dict[str, Any]) -> None:
    value = found.detach().numpy() if isinstance(found, torch.Tensor) else np.asarray(found)
    assert value.shape == expected.shape, name
    if expected.dtype.kind in "US":
        assert value.tolist() == expected.tolist(), name
        return
    rules = case["tolerance"]
    np.testing.assert_allclose(
        value, expected, rtol=rules["rtol"], atol=rules["atol"], err_msg=name
    )


def network(folder: Path, case: dict[str, Any], inputs: Any, hyper: bool, frozen: bool):
    """The encoder of the checkpoint with the head of the case, in double precision."""
    encoder = build_encoder(folder / "checkpoint.pth")
    assert encoder.config == encoder_options(case["model_args"])
    model = classifier_on(
        encoder, case["model_args"]["num_classes"], hyper, frozen, case["model_args"]["hyper_c"]
    )
    last = model.online_projector.net[-1]
    given = {k: torch.from_numpy(inputs[f"head.{k}"]) for k in ("weight", "bias")}
    strict_load(last, {**last.state_dict(), **given}, "head")
    return model.double()


def samples(inputs: Any, side: str, stream: str, parents: Any) -> Samples:
    x = apply_stream(torch.from_numpy(inputs[f"{side}.x"]).double(), stream, parents)
    return Samples(lambda indices: x[indices], torch.from_numpy(inputs[f"{side}.y"]))


@pytest.mark.parametrize("folder", cases("hysp_probe"))
def test_protocols(folder):
    case, inputs, expected = files(folder)
    optim = ProbeOptim(
        encoder_lr=case["encoder_lr"],
        weight_decay=case["weight_decay"],
        epochs=case["epochs"],
        milestones=case["step"],
        test_batch_size=case["test_batch"],
        eval_interval=1,
    )
    n, size = case["n_train"], case["batch"]
    rows = [np.arange(start, start + size) for start in range(0, n - size + 1, size)]
    checked = set()
    for key in sorted({name.rpartition(".")[0] for name in expected.files}):
        hyper_key, protocol, *_ = key.split(".")
        prefix = f"{hyper_key}.{protocol}"
        if prefix in checked:
            continue
        checked.add(prefix)
        assert protocol in case["protocols"], prefix
        frozen = protocol in ("linear", "unsupervised")  # the authors' two names of one protocol
        model = network(folder, case, inputs, hyper_key == "hyper1", frozen)
        parents = model.online_encoder.graph.parents
        sides = {side: samples(inputs, side, case["stream"], parents) for side in ("train", "test")}
        before = predict(model.eval(), sides["test"], case["test_batch"])
        fitted = fit(
            model,
            **sides,
            optim=optim,
            lr=case["base_lr"],
            upstream=True,
            orders=lambda epoch: rows,
        )
        after = predict(model, sides["test"], case["test_batch"])
        state = model.state_dict()
        found = {
            "trainable": sorted(f"model.{name}" for name in trainable_names(model)),
            "test_logits_before": before,
            "train_losses": fitted.losses,
            "val_history": [
                [
                    round(look.loss, 4),
                    *(round(100 * v, 2) for v in (look.top1, look.top5, look.best)),
                ]
                for look in fitted.looks
            ],
            "test_logits_after": after,
            "exact_top1": 100 * accuracy(after, sides["test"].labels).top1,
            "head.weight": state["online_projector.net.0.weight"],
            "head.bias": state["online_projector.net.0.bias"],
        }
        for name in [n for n in expected.files if n.startswith(f"{prefix}.")]:
            what = name.removeprefix(f"{prefix}.")
            value = found[what] if what in found else of_encoder(state, what)
            check(name, value, expected[name], case)


def of_encoder(state: dict[str, torch.Tensor], what: str) -> torch.Tensor:
    """``encoder.block9.tcn3.running_var`` -> the tensor of that name in the network."""
    place, *rest = what.removeprefix("encoder.").split(".")
    if place.startswith("block"):
        module, leaf = rest
        module = {"gcn": "gcn.conv"}.get(module, module.replace("tcn", "tcn."))
        return state[
            f"online_encoder.st_gcn_networks.{place.removeprefix('block')}.{module}.{leaf}"
        ]
    return state[f"online_encoder.{'.'.join([place, *rest])}"]


@pytest.mark.parametrize("folder", cases("hysp_ensemble"))
def test_fusion(folder):
    case, inputs, expected = files(folder)
    scores, labels = [inputs[name] for name in ("joint", "bone", "motion")], inputs["label"]
    candidates = original_candidates(case["search_seed"])
    searched = search_weights(scores, labels, candidates)
    every = search_weights(scores, labels, original_candidates())
    found: dict[str, Any] = {
        f"fixed{i}": fused_accuracy(fuse(scores, weights), labels)
        for i, weights in enumerate(case["weights"])
    }
    for prefix, result in {"search": searched, "full_search": every}.items():
        weights = np.array(result.weights)
        found[f"{prefix}.top1_top5"] = fused_accuracy(fuse(scores, weights), labels)
        assert result.top1.max() == found[f"{prefix}.top1_top5"].top1
    found["search.weights"] = searched.weights
    found["full_search.first_best_weights"] = every.weights
    found["search.candidates"] = candidates
    found["search.n_candidates"] = len(candidates)
    for name in expected.files:
        check(name, found[name], expected[name], case)
