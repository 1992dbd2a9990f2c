"""The histogram loss and the training steps of the authors, number by number.

Cases of kind ``bams_hoa_target_and_loss`` (all but what the data set computes) and
``bams_train_steps``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import MultiStepLR

from bams.losses.config import LossConfig
from bams.losses.draws import Draws, Pairs
from bams.losses.hoa import (
    cell_weights,
    hoa_targets,
    ignored_after_access,
    mallows_distance,
    valid_fraction,
)
from bams.losses.objective import hoa_loss, objective
from bams.model import BAMS, EncoderConfig, ModelConfig
from behaviorzoo.weights import load_torch_file, strict_load

ROOT = Path(__file__).resolve().parents[3]
GOLDENS = Path(os.environ.get("BEHAVIORZOO_GOLDENS", ROOT.parent / "shared" / "goldens"))
DATA_KEYS = {"norm_input", "norm_target", "quantized"}
"""What the data set computes; compared in its own tests."""


def read_case(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "case.json").read_text())


def cases(kind: str) -> list[Any]:
    folders = sorted(GOLDENS.glob("bams_*")) if GOLDENS.is_dir() else []
    found = [folder for folder in folders if read_case(folder)["kind"] == kind]
    absent = pytest.mark.skip(reason="no folder 'goldens': set $BEHAVIORZOO_GOLDENS")
    return [pytest.param(f, id=f.name) for f in found] or [pytest.param(None, marks=absent)]


def as_size(value: int | list[int]) -> int | tuple[int, ...]:
    return value if isinstance(value, int) else tuple(value)


# -- the histogram loss -----------------------------------------------------------------------


def mean_distance(pred, bins, ignored, n_bins, config, compat):
    """The loss with every intermediate in full, from the public parts."""
    targets = hoa_targets(bins, ignored, n_bins, config.hoa_window, compat, dtype=pred.dtype)
    logits = pred.unflatten(-1, (bins.shape[2], n_bins))
    distance = mallows_distance(logits, targets.cumulative.view(logits.shape))
    weights = cell_weights(bins, ignored, config, compat, pred.dtype)
    return (distance * weights).sum() / weights.sum(), weights


def histogram(targets, shape):
    return torch.diff(targets.cumulative.view(shape), prepend=torch.zeros(*shape[:-1], 1))


@pytest.mark.parametrize("folder", cases("bams_hoa_target_and_loss"))
def test_targets_and_loss(folder):
    case = read_case(folder)
    given = case["config"]
    tolerance = {key: case["tolerance"][key] for key in ("rtol", "atol")}
    inputs, expected = np.load(folder / "inputs.npz"), np.load(folder / "expected.npz")
    ignored = torch.from_numpy(inputs["ignore_frames"])
    bins = torch.from_numpy(expected["quantized"])
    n_bins, window, skip = given["hoa_bins"], given["hoa_window"], given["skip_frames"]
    shape = (*bins.shape, n_bins)

    found: dict[str, torch.Tensor] = {}
    modes = {"first": "upstream", "second": "upstream", "paper": "paper"}
    for tag, compat in modes.items():
        access = "later" if tag == "second" else "first"
        config = LossConfig(hoa_window=window, skip_frames=skip, upstream_access=access)
        seen = ignored_after_access(ignored, window) if tag == "second" else ignored
        valid = valid_fraction(seen, window, torch.float64)
        pred = torch.from_numpy(inputs["pred"]).requires_grad_()
        # A predictor that predicts what it is given.
        loss = hoa_loss(torch.nn.Identity(), pred, bins, ignored, n_bins, config, compat)
        (grad,) = torch.autograd.grad(loss, pred)
        names = ("paper_loss", "paper_loss_grad", "paper_weights")
        if tag != "paper":
            names = (f"loss_{tag}", f"loss_grad_{tag}", f"weights_{tag}")
            after = valid.clone()
            after[:, :skip] = 1
            found[f"ignore_weights_after_loss_{tag}"] = after
        found |= dict(zip(names, (loss, grad, valid), strict=True))

        full, weights = mean_distance(pred, bins, ignored, n_bins, config, compat)
        if weights.sum() > 0:
            torch.testing.assert_close(loss, full, rtol=1e-12, atol=1e-14)
        else:
            # The authors' code divides zero by zero here, ours never does.
            assert loss.isfinite()
            assert np.isnan(expected[names[0]])
            del found[names[0]], found[names[1]]
    found["ignore_after_access"] = ignored_after_access(ignored, window)
    targets = hoa_targets(bins, ignored, n_bins, window, "upstream", dtype=torch.float64)
    found["hist_first"] = histogram(targets, shape)
    targets = hoa_targets(bins, ignored, n_bins, window, "paper", dtype=torch.float64)
    found["paper_hist"] = histogram(targets, shape)

    undefined = {name for name in expected.files if name not in DATA_KEYS | set(found)}
    assert all("loss" in name and np.isnan(expected[name]).any() for name in undefined), undefined
    for name in sorted(set(expected.files) - DATA_KEYS - undefined):
        value = found[name].detach().numpy()
        assert value.shape == expected[name].shape, name
        if value.dtype == bool:
            np.testing.assert_array_equal(value, expected[name], err_msg=name)
        else:
            np.testing.assert_allclose(value, expected[name], **tolerance, err_msg=name)


# -- training steps ---------------------------------------------------------------------------


def model_config(case: dict[str, Any]) -> ModelConfig:
    options = case["config"]
    encoders = {
        name: EncoderConfig(
            channels=tuple(given["num_channels"]),
            kernel_size=as_size(given.get("kernel_size", 2)),
            dilation_base=given.get("dilation", 2),
            layers_per_block=as_size(given.get("num_layers_per_block", 2)),
            dropout=given.get("dropout", 0.0),
        )
        for name, given in options["encoders"].items()
    }
    return ModelConfig(
        n_inputs=options["input_size"],
        n_targets=options["M"],
        encoders=encoders,
        predictor_hidden=tuple(options["predictor_hidden_layers"][1:-1]),
        hoa_bins=options["hoa_bins"],
    )


def bins_of(hist: torch.Tensor) -> torch.Tensor:
    """Bins from a one-hot histogram; where its mass is 0 any bin will do."""
    return hist.argmax(dim=-1).to(torch.uint8)


def ignored_of(valid: torch.Tensor, window: int) -> torch.Tensor:
    """Ignored frames from the valid fractions of the windows after each frame.

    v[t] - v[t + 1] is the share of frame t + 1 less that of frame t + 1 + W. Frame 0 is in no
    window and thus does not matter.
    """
    length = valid.shape[1]
    counts = (valid.double() * window).round().long()
    present = torch.zeros(valid.shape[0], length + window + 1, dtype=torch.long)
    for t in range(length - 2, -1, -1):
        present[:, t + 1] = counts[:, t] - counts[:, t + 1] + present[:, t + 1 + window]
    present[:, 0] = 1
    assert ((present == 0) | (present == 1)).all(), "not the fractions of any mask"
    return present[:, :length] == 0


class Steps:
    """The authors' loop over the recorded batches, with our objective."""

    def __init__(self, folder: Path):
        self.case = read_case(folder)
        self.given = self.case["config"]
        inputs = np.load(folder / "inputs.npz")
        self.inputs = {name: torch.from_numpy(inputs[name]) for name in inputs.files}
        self.model = BAMS(model_config(self.case))
        state = load_torch_file(folder / "checkpoint.pth")
        own = {name: value for name, value in state.items() if ".net." not in name}
        strict_load(self.model, own, folder.name)
        self.model.double().train()
        heads = self.model.byol_predictors.values()
        self.n_tracked = next(int(head[1].num_batches_tracked) for head in heads)
        self.config = LossConfig(
            hoa_window=self.given["hoa_window"], skip_frames=self.given["skip_frames"]
        )

    def draws(self, step: int) -> Draws:
        short, offset, first, second = self.inputs["view_indices"][step]
        near = Pairs(short + 60, (short + 60 + offset).clamp(max=self.given["L"] - 1))
        pairs = {"short_term": near, "long_term": Pairs(first + 100, second + 100)}
        return Draws(pairs, torch.zeros_like(short))

    def batch(self, step: int) -> SimpleNamespace:
        bins = bins_of(self.inputs["target_hist"][step])
        ignored = ignored_of(self.inputs["ignore_weights"][step], self.given["hoa_window"])
        return SimpleNamespace(inputs=self.inputs["input"][step], bins=bins, ignored=ignored)

    def run(self) -> dict[str, np.ndarray]:
        given = self.given
        named = dict(self.model.named_parameters())
        assert list(named) == self.case["param_names"]
        assert [list(p.shape) for p in named.values()] == self.case["param_shapes"]
        groups = [
            {"params": [p for n, p in named.items() if "byol" not in n], "lr": given["lr"]},
            {"params": [p for n, p in named.items() if "byol" in n], "lr": 10 * given["lr"]},
        ]
        optimizer = torch.optim.AdamW(groups, weight_decay=given["weight_decay"])
        schedule = MultiStepLR(optimizer, milestones=[given["milestone"]], gamma=0.1)
        logs: dict[str, list[Any]] = {}

        def log(**values: Any) -> None:
            for name, value in values.items():
                logs.setdefault(name, []).append(value)

        for step in range(given["steps"]):
            log(lrs=[group["lr"] for group in optimizer.param_groups])
            optimizer.zero_grad()
            losses = objective(
                self.model, self.batch(step), self.draws(step), self.config, "upstream"
            )
            losses.total.backward()
            log(grad_norms=[p.grad.norm().item() for p in named.values()])
            log(hoa_loss=losses.hoa.item(), total_loss=losses.total.item())
            log(**{f"byol_loss_{name}": loss.item() for name, loss in losses.latent.items()})
            optimizer.step()
            schedule.step()
            if step == 0:
                first = torch.cat([p.detach().flatten() for p in named.values()])
        found = {name: np.array(values) for name, values in logs.items()}
        found["params_after_step1"] = first.numpy()
        found["params_final"] = torch.cat([p.detach().flatten() for p in named.values()]).numpy()
        norms = [p.detach().norm().item() for p in named.values()]
        found["param_norms_final"] = np.array(norms)
        for name, head in self.model.byol_predictors.items():
            found[f"bn_running_mean_{name}"] = head[1].running_mean.numpy()
            found[f"bn_running_var_{name}"] = head[1].running_var.numpy()
            assert head[1].num_batches_tracked == self.n_tracked + given["steps"]
        return found


@pytest.mark.parametrize("folder", cases("bams_train_steps"))
def test_training_steps(folder):
    steps = Steps(folder)
    tolerances = steps.case["tolerance"]
    expected = np.load(folder / "expected.npz")
    found = steps.run()
    for name in expected.files:
        kind = "params"
        if "loss" in name or name == "lrs":
            kind = "losses"
        elif name == "grad_norms":
            kind = "grad_norms"
        assert found[name].shape == expected[name].shape, name
        np.testing.assert_allclose(found[name], expected[name], **tolerances[kind], err_msg=name)
