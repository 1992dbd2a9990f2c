"""The network, number by number (cases of kind ``bams_model_forward``)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bams.model import BAMS, EncoderConfig, ModelConfig
from behaviorzoo.weights import load_torch_file, strict_load

ROOT = Path(__file__).resolve().parents[3]
GOLDENS = Path(os.environ.get("BEHAVIORZOO_GOLDENS", ROOT.parent / "shared" / "goldens"))


def read_case(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "case.json").read_text())


def cases(kind: str) -> list[Any]:
    folders = sorted(GOLDENS.glob("bams_*")) if GOLDENS.is_dir() else []
    found = [folder for folder in folders if read_case(folder)["kind"] == kind]
    absent = pytest.mark.skip(reason="no folder 'goldens': set $BEHAVIORZOO_GOLDENS")
    return [pytest.param(f, id=f.name) for f in found] or [pytest.param(None, marks=absent)]


def as_size(value: int | list[int]) -> int | tuple[int, ...]:
    return value if isinstance(value, int) else tuple(value)


def model_config(options: dict[str, Any], dropout: float | None = None) -> ModelConfig:
    """Ours from the keywords of the authors' code, with the defaults of that code."""
    encoders = {
        name: EncoderConfig(
            channels=tuple(given["num_channels"]),
            kernel_size=as_size(given.get("kernel_size", 2)),
            dilation_base=given.get("dilation", 2),
            layers_per_block=as_size(given.get("num_layers_per_block", 2)),
            dropout=given.get("dropout", 0.2) if dropout is None else dropout,
        )
        for name, given in options["encoders"].items()
    }
    *hidden, n_outputs = options["predictor_hidden_layers"][1:]
    divisors = [bins for bins in range(2, 256) if n_outputs % bins == 0]
    bins = options.get("hoa_bins", divisors[-1])
    return ModelConfig(
        n_inputs=options["input_size"],
        n_targets=n_outputs // bins,
        encoders=encoders,
        predictor_hidden=tuple(hidden),
        hoa_bins=bins,
    )


def taps(config: EncoderConfig) -> set[int]:
    """How far back the frames lie that an output depends on, tap by tap."""
    reached = {0}
    for k, dilation, layers in zip(
        config.kernel_sizes, config.dilations, config.layers, strict=True
    ):
        for _ in range(layers):
            reached = {lag + tap * dilation for lag in reached for tap in range(k)}
    return reached


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("folder", cases("bams_model_forward"))
def test_network(folder, dtype):
    case = read_case(folder)
    tolerance = case["tolerance"][str(dtype).removeprefix("torch.")]
    expected = dict(np.load(folder / "expected.npz"))
    x = torch.from_numpy(np.load(folder / "inputs.npz")["x"]).to(dtype)
    model = BAMS(model_config(case["config"], dropout=0.0))
    state = load_torch_file(folder / "checkpoint.pth")
    own = {name: value for name, value in state.items() if ".net." not in name}
    strict_load(model, own, folder.name)
    model.to(dtype)

    found: dict[str, torch.Tensor] = {}
    model.eval()
    hooks = []
    for name, encoder in model.encoders.items():
        for number, block in enumerate(encoder.network):
            key = f"eval_block_{name}_{number}"
            hooks.append(
                block.register_forward_hook(lambda _, __, out, key=key: found.update({key: out}))
            )
    output = model(x)
    for hook in hooks:
        hook.remove()
    found["eval_hoa"] = output.hoa_logits
    for name in model.encoders:
        found[f"eval_emb_{name}"] = output.embeddings[name]
        found[f"eval_byol_{name}"] = output.latent_predictions[name]

    model.train()
    output = model(x)
    for name, head in model.byol_predictors.items():
        found[f"train_byol_{name}"] = output.latent_predictions[name]
        found[f"train_bn_running_mean_{name}"] = head[1].running_mean
        found[f"train_bn_running_var_{name}"] = head[1].running_var
    ramp = torch.linspace(-1, 1, output.hoa_logits.shape[-1], dtype=dtype)
    found["probe_scalar"] = (
        sum(p.square().mean() for p in output.latent_predictions.values())
        + (output.hoa_logits * ramp).mean()
        + sum((e * e.roll(1, dims=1)).mean() for e in output.embeddings.values())
    )
    found["probe_scalar"].backward()
    norms = [model.get_parameter(name).grad.norm() for name in case["grad_norm_names"]]
    found["grad_norms"] = torch.stack(norms)
    assert case["grad_norm_names"] == [name for name, _ in model.named_parameters()]

    fields = np.array(list(model.receptive_fields.values()))
    # The authors' count of sparse taps differs and is informational only.
    dense = [
        len(taps(config)) == field
        for config, field in zip(model.config.encoders.values(), fields, strict=True)
    ]
    np.testing.assert_array_equal(fields[dense], expected.pop("receptive_fields")[dense])

    for name, wanted in expected.items():
        value = found.pop(name).detach().numpy()
        assert value.shape == wanted.shape, name
        np.testing.assert_allclose(value, wanted, **tolerance, err_msg=name)
