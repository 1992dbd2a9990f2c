"""Weights into networks: ours and the authors', whose file holds names and shapes only."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bams.author_layout import infer_config, with_aliases, without_aliases
from bams.checkpoints import build_model, load_checkpoint
from bams.cli import main
from bams.convert import convert, to_authors, to_ours
from bams.model import BAMS, EncoderConfig, ModelConfig
from behaviorzoo.checkpoints import save_checkpoint
from behaviorzoo.errors import UserError
from behaviorzoo.schema import to_dict
from behaviorzoo.weights import load_torch_file

ROOT = Path(__file__).resolve().parents[3]
GOLDENS = Path(os.environ.get("BEHAVIORZOO_GOLDENS", ROOT.parent / "shared" / "goldens"))
CONFIG = ModelConfig(
    n_inputs=5,
    n_targets=2,
    encoders={
        "short_term": EncoderConfig(channels=(5, 4), kernel_size=2),
        "long_term": EncoderConfig(
            channels=(6, 3), kernel_size=(3, 2), dilation_base=4, layers_per_block=(1, 2)
        ),
    },
    predictor_hidden=(7, 6),
    hoa_bins=32,
)
BLOCK = "encoders.short_term.network.0."


def network(config=CONFIG):
    return BAMS(config, generator=torch.Generator().manual_seed(0)).eval()


@pytest.fixture
def state():
    """A state dict as the authors' code writes it."""
    return with_aliases(network().state_dict())


def saved(state, path):
    torch.save(state, path)
    return path


def same_weights(a, b):
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


def golden_files():
    found = sorted(GOLDENS.glob("bams_*/checkpoint*.p*")) if GOLDENS.is_dir() else []
    absent = pytest.mark.skip(reason="no folder 'goldens': set $BEHAVIORZOO_GOLDENS")
    return [pytest.param(f, id=f"{f.parent.name}-{f.stem}") for f in found] or [
        pytest.param(None, marks=absent)
    ]


# -- the authors' layout ----------------------------------------------------------------------


def test_names_and_their_order():
    theirs = list(with_aliases(network().state_dict()))
    block = [name.removeprefix(BLOCK) for name in theirs if name.startswith(BLOCK)]
    assert block == [
        "conv1.weight",
        "conv1.bias",
        "relu1.weight",
        "conv2.bias",
        "conv2.weight_g",
        "conv2.weight_v",
        "relu2.weight",
        "net.0.weight",
        "net.0.bias",
        "net.2.weight",
        "net.4.bias",
        "net.4.weight_g",
        "net.4.weight_v",
        "net.6.weight",
        "relu.weight",
    ]
    one_layer = "encoders.long_term.network.0."
    block = [name.removeprefix(one_layer) for name in theirs if name.startswith(one_layer)]
    assert block == [
        "conv1.weight",
        "conv1.bias",
        "relu1.weight",
        "net.0.weight",
        "net.0.bias",
        "net.2.weight",
        "downsample.weight",
        "downsample.bias",
        "relu.weight",
    ]
    groups = list(dict.fromkeys(name.split(".")[0] for name in theirs))
    assert groups == ["encoders", "predictor", "byol_predictors"]
    assert [name for name in theirs if name.startswith("byol_predictors.long_term.1")] == [
        f"byol_predictors.long_term.1.{name}"
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    ]


@pytest.mark.parametrize("path", golden_files())
def test_files_of_the_original_code(path, tmp_path):
    """Read, written as ours, written back: the same names in the same order, the same numbers."""
    options = json.loads((path.parent / "case.json").read_text())["config"]
    encoders = options.get("model", options).get("encoders", {})
    bases = {name: given.get("dilation", 2) for name, given in encoders.items()}
    to_ours(path, tmp_path / "ours", bases)
    to_authors(tmp_path / "ours", tmp_path / "back.pt")
    before, after = load_torch_file(path), load_torch_file(tmp_path / "back.pt")
    assert same_weights(before, after)
    assert type(after) is type(before)
    ours, theirs = build_model(tmp_path / "ours"), build_model(path, dilation_bases=bases)
    x = torch.randn(1, 20, theirs.config.n_inputs)
    assert torch.equal(ours(x).hoa_logits, theirs(x).hoa_logits)


def test_options_from_shapes(state, tmp_path):
    loaded = load_checkpoint(saved(state, tmp_path / "bams-custom.pt"))
    assert loaded.config == CONFIG
    assert (loaded.full_config, loaded.metadata) == (None, {})
    assert same_weights(loaded.state, network().state_dict())


@settings(max_examples=25, deadline=None)
@given(
    channels=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    k=st.integers(1, 3),
    layers=st.integers(1, 2),
    hidden=st.lists(st.integers(1, 5), max_size=3),
    bias=st.booleans(),
    batchnorm=st.booleans(),
)
def test_options_of_any_network_come_back(channels, k, layers, hidden, bias, batchnorm):
    encoder = EncoderConfig(
        channels=tuple(channels), kernel_size=k, layers_per_block=layers, dilation_base=3
    )
    config = ModelConfig(
        n_inputs=3,
        n_targets=2,
        encoders={"mine": encoder, "short_term": EncoderConfig(channels=(2,))},
        predictor_hidden=tuple(hidden),
        predictor_bias=bias,
        predictor_batchnorm=batchnorm and len(hidden) > 0,
    )
    theirs = with_aliases(network(config).state_dict())
    own = without_aliases(theirs, "x.pt")
    assert infer_config(own, "x.pt", {"mine": 3}) == config
    network(config).load_state_dict(own)


def test_outputs_that_32_does_not_divide():
    state = network(ModelConfig(5, 3, CONFIG.encoders, (4,), hoa_bins=10)).state_dict()
    found = infer_config(state, "x.pt")
    assert found.n_targets * found.hoa_bins == 30
    state = network(ModelConfig(5, 131, CONFIG.encoders, (4,), hoa_bins=2)).state_dict()
    assert infer_config(state, "x.pt").n_targets * infer_config(state, "x.pt").hoa_bins == 262


def test_names_of_newer_pytorch_are_taken(state, tmp_path):
    renamed = OrderedDict(
        (
            name.replace("weight_g", "parametrizations.weight.original0").replace(
                "weight_v", "parametrizations.weight.original1"
            ),
            value,
        )
        for name, value in state.items()
    )
    assert any("original1" in name for name in renamed)
    model = build_model(saved(renamed, tmp_path / "new.pt"))
    assert same_weights(model.state_dict(), network().state_dict())


def test_an_encoder_of_another_name_needs_its_dilation(tmp_path):
    encoders = {"slow": EncoderConfig(channels=(3, 3), dilation_base=5)}
    theirs = with_aliases(network(ModelConfig(2, 1, encoders, (4,))).state_dict())
    path = saved(theirs, tmp_path / "slow.pt")
    with pytest.raises(UserError, match=r"slow\.pt: .* the dilation of slow; pass dilation_bases"):
        load_checkpoint(path)
    assert load_checkpoint(path, dilation_bases={"slow": 5}).config.encoders == encoders
    assert build_model(path, ModelConfig(2, 1, encoders, (4,))).receptive_fields == {"slow": 25}


# -- what is refused --------------------------------------------------------------------------


def test_every_problem_is_in_one_line(state, tmp_path):
    del state[BLOCK + "net.0.bias"], state[BLOCK + "conv2.bias"]
    state[BLOCK + "net.6.weight"] = torch.tensor([0.7])
    state["epoch"] = 3
    path = saved(state, tmp_path / "bad.pt")
    with pytest.raises(UserError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        f"{path}: not a state dict of the authors' BAMS",
        "epoch is int, not a tensor",
        f"{BLOCK}net.0.bias is missing (the same as {BLOCK}conv1.bias)",
        f"{BLOCK}conv2.bias is missing (the same as {BLOCK}net.4.bias)",
        f"{BLOCK}net.6.weight is not the same as {BLOCK}relu2.weight",
    ):
        assert part in message


def test_weights_without_their_second_names_are_not_theirs(tmp_path):
    path = saved(network().state_dict(), tmp_path / "single.pt")
    with pytest.raises(UserError, match=r"net\.0\.weight is missing .* more$"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop(BLOCK + "relu.weight"), "1 missing: .*relu.weight"),
        (lambda s: s.pop("predictor.layers.2.bias"), "missing: predictor.layers.2.bias"),
        (lambda s: s.update(head=torch.ones(1)), "1 unexpected: head"),
        (
            lambda s: s.update({BLOCK + "net.9.weight": torch.ones(1)}),
            r"1 unexpected: .*net\.9\.weight",
        ),
        (
            lambda s: s.update({"predictor.layers.0.weight": torch.ones(7, 3)}),
            r"predictor.layers.0.weight \(7, 3\) instead of \(7, 12\)",
        ),
    ],
    ids=["missing", "missing-bias", "unexpected", "unknown-item", "misshapen"],
)
def test_keys_and_shapes_must_fit(state, tmp_path, change, message):
    change(state)
    with pytest.raises(UserError, match=message):
        build_model(saved(state, tmp_path / "x.pt"))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="there is no encoders"):
        load_checkpoint(saved({"predictor.layers.0.weight": torch.ones(2, 2)}, tmp_path / "a.pt"))
    encoder = saved({"encoders.short_term.network.0.relu.weight": torch.ones(1)}, tmp_path / "b.pt")
    with pytest.raises(UserError, match="there is no predictor"):
        load_checkpoint(encoder)
    (tmp_path / "c.pt").write_bytes(b"not weights")
    with pytest.raises(UserError, match=r"c\.pt: truncated or damaged"):
        load_checkpoint(tmp_path / "c.pt")
    with pytest.raises(UserError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "nothing")


class Opener:
    def __reduce__(self):
        return open, ("stolen", "w")


def test_code_in_a_file_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = saved({"x": Opener()}, tmp_path / "evil.pt")
    with pytest.raises(UserError, match="refused, the file asks for"):
        load_checkpoint(path)
    assert not (tmp_path / "stolen").exists()


# -- ours, and from one to the other ----------------------------------------------------------


def test_a_folder_of_ours(tmp_path):
    config = {"seed": 4, "model": to_dict(CONFIG)}
    folder = save_checkpoint(tmp_path / "ours", network().state_dict(), config, {"step": 7})
    loaded = load_checkpoint(folder)
    assert loaded.config == CONFIG
    assert loaded.full_config == config
    assert loaded.metadata["step"] == 7
    before = torch.get_rng_state()
    model = build_model(folder / "model.safetensors")
    assert torch.equal(torch.get_rng_state(), before)
    assert not model.training
    x = torch.randn(2, 30, 5)
    assert torch.equal(model(x).hoa_logits, network()(x).hoa_logits)


def test_a_folder_without_a_network_is_refused(tmp_path):
    save_checkpoint(tmp_path / "ours", {"a": torch.ones(1)}, {"seed": 4}, {})
    with pytest.raises(UserError, match=r"config\.yaml: no section 'model'"):
        load_checkpoint(tmp_path / "ours")


def test_conversion_takes_the_published_recipe_of_the_same_network(tmp_path):
    mouse = ModelConfig(
        n_inputs=67,
        n_targets=9,
        encoders={
            "short_term": EncoderConfig(channels=(64, 64, 32, 32)),
            "long_term": EncoderConfig(channels=(64, 64, 64, 32, 32), dilation_base=4),
        },
    )
    theirs = with_aliases(network(mouse).state_dict())
    path = saved(theirs, tmp_path / "bams-mouse-triplet-2024.pt")
    folder = convert(path, tmp_path / "mice", to="ours")
    loaded = load_checkpoint(folder)
    assert loaded.full_config["name"] == "bams-mouse-triplet-2024"
    assert loaded.full_config["compat"] == "upstream"
    assert loaded.full_config["data"]["dataset"] == "mice"
    assert loaded.full_config["loss"]["skip_frames"] == 60
    assert loaded.config == mouse
    metadata = json.loads((folder / "metadata.json").read_text())
    assert metadata["converted_from"] == path.name
    assert str(tmp_path) not in (folder / "metadata.json").read_text()


def test_conversions_that_make_no_sense_are_refused(state, tmp_path):
    source = saved(state, tmp_path / "theirs.pt")
    convert(source, tmp_path / "ours", to="ours")
    with pytest.raises(UserError, match="is a checkpoint of ours already"):
        convert(tmp_path / "ours", tmp_path / "again", to="ours")
    with pytest.raises(UserError, match="exists already"):
        convert(source, tmp_path / "ours", to="ours")
    with pytest.raises(UserError, match="this is a folder"):
        convert(tmp_path / "ours", tmp_path, to="authors")
    before = source.read_bytes()
    with pytest.raises(UserError, match="exists already"):
        convert(tmp_path / "ours", source, to="authors")
    assert source.read_bytes() == before


def test_command_line_there_and_back(state, tmp_path, capsys):
    source = saved(state, tmp_path / "theirs.pt")
    assert main(["convert", str(source), str(tmp_path / "ours"), "--to", "ours"]) == 0
    back = tmp_path / "back.pt"
    assert main(["convert", str(tmp_path / "ours"), str(back), "--to", "authors"]) == 0
    assert same_weights(load_torch_file(back), load_torch_file(source))
    assert capsys.readouterr().out.split() == [str(tmp_path / "ours"), str(back)]
    assert main(["convert", str(tmp_path / "none.pt"), str(tmp_path / "x"), "--to", "ours"]) == 2
    assert "none.pt: no such checkpoint" in capsys.readouterr().err
