"""The network and the published key lists, number by number (hbm_model, hbm_state_dicts)."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from behaviorzoo.weights import load_torch_file, strict_load
from hbehavemae.checkpoints import DECODER_KEYS, UNUSED_KEYS, build_encoder, load_checkpoint
from hbehavemae.model import Geometry, HBehaveEncoder, HBehaveMAE, ModelConfig, mask_from_noise
from hbehavemae.model.embedding import position_table
from hbehavemae.model.unroll import units_to_grid, unroll_index
from hbehavemae.training import parameter_groups

ROOT = Path(__file__).resolve().parents[3]
GOLDENS = Path(os.environ.get("BEHAVIORZOO_GOLDENS", ROOT.parent / "shared" / "goldens"))
OPTIONS = {field.name for field in fields(ModelConfig)}


def read_case(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "case.json").read_text())


def cases(kind: str) -> list[Any]:
    folders = sorted(GOLDENS.glob("hbm_*")) if GOLDENS.is_dir() else []
    found = [folder for folder in folders if read_case(folder)["kind"] == kind]
    absent = pytest.mark.skip(reason="no folder 'goldens': set $BEHAVIORZOO_GOLDENS")
    return [pytest.param(f, id=f.name) for f in found] or [pytest.param(None, marks=absent)]


def model_config(case: dict[str, Any]) -> ModelConfig:
    options = {**case["config"], **{k: case[k] for k in ("mask_ratio",) if k in case}}
    return ModelConfig(**{name: value for name, value in options.items() if name in OPTIONS})


def patch_tokens(model: HBehaveMAE, x: torch.Tensor) -> torch.Tensor:
    """Tokens before the first block, in natural order (B, N, E)."""
    geometry, batch = model.geometry, len(x)
    position = position_table(model.pos_embed_temporal, model.pos_embed_spatial, geometry)
    tokens = model.embed(model.cut(x).flatten(0, 1), position.repeat(batch, 1, 1))
    units = tokens.unflatten(0, (batch, -1))
    return units_to_grid(units, geometry.mask_grid, geometry.strides).flatten(1, 3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("folder", cases("hbm_model"))
def test_network(folder, dtype):
    case = read_case(folder)
    tolerance = case["tolerance"][str(dtype).removeprefix("torch.")]
    inputs, expected = np.load(folder / "inputs.npz"), np.load(folder / "expected.npz")
    config = model_config(case)
    state = load_torch_file(folder / "checkpoint.pth")["model"]
    model = HBehaveMAE(config, masked=False)
    strict_load(model, state, folder.name)
    model.to(dtype)
    encoder = HBehaveEncoder(config)
    strict_load(encoder, {k: v for k, v in state.items() if not k.startswith(DECODER_KEYS)}, "")
    encoder.to(dtype)

    x = torch.from_numpy(inputs["x"]).to(dtype)
    mask = torch.from_numpy(inputs["mask"])
    output = model(x, mask=mask)
    output.loss.backward()
    hidden = output.pred[~mask]

    def value(name: str) -> Any:
        if name.startswith("unmasked_level"):
            return encoder(x, levels=[int(name.removeprefix("unmasked_level"))])[0]
        if name.startswith("masked_level"):
            return encoder(x, mask)[int(name.removeprefix("masked_level"))]
        if name.startswith("grad."):
            return model.get_parameter(name.removeprefix("grad.")).grad
        known = {
            "patch_tokens": lambda: patch_tokens(model, x),
            "unroll_index": lambda: unroll_index(model.geometry.tokens, model.geometry.strides),
            "latent": lambda: output.latent[:, :, None, None, None],
            "pred": lambda: output.pred,
            "pred_mask": lambda: output.mask,
            "mask": lambda: output.mask,
            "loss": lambda: output.loss,
            "pred_masked": lambda: hidden,
            "label_masked": lambda: output.target.flatten(0, 1),
        }
        return known[name]()  # a name nobody knows must not pass in silence

    for name in expected.files:
        found = value(name).detach().numpy()
        assert found.shape == expected[name].shape, name
        np.testing.assert_allclose(found, expected[name], **tolerance, err_msg=name)
    for name, norm in case.get("grad_norms", {}).items():
        grad = model.get_parameter(name).grad
        if norm is None:
            assert grad is None, name
        else:
            assert grad is not None, name
            np.testing.assert_allclose(grad.norm().item(), norm, **tolerance, err_msg=name)

    if "noise" in inputs and case.get("mask_rule", "noise").startswith("noise"):
        noise = torch.from_numpy(inputs["noise"])
        assert torch.equal(mask_from_noise(noise, config.mask_ratio), mask)
        by_noise = model(x, noise=noise).loss
        torch.testing.assert_close(by_noise, output.loss)


@pytest.mark.parametrize("folder", cases("hbm_model"))
def test_derived_sizes(folder):
    case = read_case(folder)
    geometry = Geometry(model_config(case), masked=False)
    derived = {
        "tokens": geometry.tokens,
        "mask_unit_size": geometry.mask_unit,
        "mask_grid": geometry.mask_grid,
        "decoder_tokens": geometry.mask_grid,
        "decoder_mask_unit": (1, 1, 1),
        "pred_size": geometry.pred_size,
    }
    for name, value in case["derived"].items():
        assert derived[name] == (tuple(value) if isinstance(value, list) else value), name


@pytest.mark.parametrize("folder", cases("hbm_model"))
def test_checkpoint_into_the_encoder(folder):
    case = read_case(folder)
    loaded = load_checkpoint(folder / "checkpoint.pth")
    config = model_config(case)
    assert all(
        getattr(loaded.config, k) == getattr(config, k) for k in case["config"] if k in OPTIONS
    )
    build_encoder(folder / "checkpoint.pth")
    ignored = [name for name in loaded.state if name.startswith(DECODER_KEYS)]
    assert ignored == case["encoder_load_unexpected"]
    assert all(name.startswith(UNUSED_KEYS) for name in case["encoder_load_missing"])


@pytest.mark.parametrize("folder", cases("hbm_state_dicts"))
def test_published_state_dicts(folder):
    for name, expected in read_case(folder)["models"].items():
        config = model_config(expected)
        model = HBehaveMAE(config)
        geometry = model.geometry
        shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
        assert shapes == expected["state_dict"], name
        assert sum(p.numel() for p in model.parameters()) == expected["parameters"]
        size = sum(p.numel() for p in HBehaveEncoder(config).parameters())
        assert size == expected["encoder_parameters_without_norm_head"]
        assert [block._asdict() for block in geometry.blocks] == expected["blocks"]
        sizes = {
            "tokens": geometry.tokens,
            "mask_unit_size": geometry.mask_unit,
            "mask_grid": geometry.mask_grid,
            "decoder_tokens": geometry.mask_grid,
        }
        assert {key: expected[key] for key in sizes} == {k: list(v) for k, v in sizes.items()}
        assert geometry.n_kept == expected["kept_mask_units"]
        assert geometry.pred_size == expected["pred_size"]
        assert prod(geometry.mask_grid) == geometry.n_units
        names = {id(parameter): key for key, parameter in model.named_parameters()}
        groups = [
            [names[id(parameter)] for parameter in group["params"]]
            for group in parameter_groups(model, 0.05)
        ]
        assert groups == [expected["weight_decay_groups"][key] for key in ("no_decay", "decay")]
        unused = expected["extraction_only_keys_of_gen_hiera"]
        assert all(key.startswith(UNUSED_KEYS) for key in unused)
