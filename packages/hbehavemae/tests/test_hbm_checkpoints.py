"""Weights into networks: ours and the authors', whatever their options look like."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from behaviorzoo.checkpoints import save_checkpoint
from behaviorzoo.errors import UserError
from hbehavemae.author_options import infer_options, read_options
from hbehavemae.checkpoints import build_encoder, build_mae, load_checkpoint
from hbehavemae.model import HBehaveEncoder, HBehaveMAE, ModelConfig

CONFIG = ModelConfig(
    input_size=(24, 3, 8),
    patch_kernel=(2, 1, 4),
    stages=(1, 2, 1),
    q_strides=((2, 1, 2), (1, 3, 1)),
    init_embed_dim=8,
    out_embed_dims=(3, 5, 6),
    decoder_embed_dim=8,
    decoder_num_heads=2,
    decoding_strategy="multi",
    mask_ratio=0.5,
    norm_loss=True,
)
TEXTS = {
    "input_size": "24 3 8",
    "patch_kernel": "(2, 1, 4)",
    "stages": "1 2 1",
    "q_strides": "2,1,2;1,3,1",
    "mask_unit_attn": "True False no",
    "init_embed_dim": "8",
    "out_embed_dims": ["3", "5", "6"],
    "norm_loss": "yes",
    "non_hierarchical": "f",
    "mask_ratio": "0.5",
}


def arguments(config=CONFIG, **changes):
    """Options as the authors' parser leaves them, with some that do not concern the network."""
    values = {k: v for k, v in asdict(config).items() if k not in ("mlp_ratio", "missing")}
    return Namespace(**{**values, "lr": 1e-3, "dataset": "mabe_mice", **changes})


def authors_file(path, state, args=None, key="model"):
    content = {key: state, "optimizer": {}, "epoch": 19, "scaler": {}}
    torch.save(content if args is None else {**content, "args": args}, path)
    return path


@pytest.fixture(scope="module")
def model():
    return HBehaveMAE(CONFIG, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def their_file(tmp_path, model):
    return authors_file(tmp_path / "hBehaveMAE_MABe22.pth", model.state_dict(), arguments())


@pytest.fixture
def our_folder(tmp_path, model):
    config = {"seed": 3, "model": {**asdict(CONFIG)}}
    return save_checkpoint(tmp_path / "ours", model.state_dict(), config, {"step": 7})


def same(a, b):
    return all(torch.equal(a.state_dict()[k], v) for k, v in b.state_dict().items())


def test_both_layouts_give_the_same_networks(their_file, our_folder, model):
    for path in (their_file, our_folder):
        mae, encoder = build_mae(path), build_encoder(path)
        assert mae.config == encoder.config == CONFIG
        assert same(mae, model)
        assert same(mae, encoder)
        assert not mae.training
        assert not encoder.training
        assert type(encoder) is HBehaveEncoder
    theirs, ours = load_checkpoint(their_file), load_checkpoint(our_folder)
    assert ours.full_config is not None
    assert ours.full_config["seed"] == 3
    assert ours.metadata["step"] == 7
    assert theirs.full_config is None
    assert theirs.metadata["epoch"] == 19
    assert theirs.metadata["args"]["dataset"] == "mabe_mice"


def test_loading_leaves_the_global_seed_alone(their_file):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    build_mae(their_file)
    assert torch.equal(torch.rand(3), expected)


def test_options_may_be_texts(tmp_path, model):
    args = arguments(**TEXTS)
    path = authors_file(tmp_path / "x.bin", model.state_dict(), args, key="model_state")
    assert build_mae(path).config == CONFIG


def test_last_checkpoint_of_their_output_folder(tmp_path, model):
    for epoch in (3, 19):
        authors_file(tmp_path / f"checkpoint-{epoch:05d}.pth", model.state_dict(), arguments())
    (tmp_path / "log.txt").write_text("{}")
    assert load_checkpoint(tmp_path).path.name == "checkpoint-00019.pth"


@pytest.mark.parametrize("value", ["2,1;3", "a,b,c", [[1.5, 1, 1]]])
def test_unreadable_option_is_named(tmp_path, model, value):
    path = authors_file(tmp_path / "c.pth", model.state_dict(), arguments(q_strides=value))
    with pytest.raises(UserError, match=r"q_strides"):
        build_mae(path)


def test_unreadable_truth_value_is_named():
    with pytest.raises(UserError, match="norm_loss = 'perhaps' cannot be read"):
        read_options({"norm_loss": "perhaps"}, "file")


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.integers(1, 9)] * 3), min_size=1, max_size=3))
def test_pooling_in_every_spelling(strides):
    text = ";".join(",".join(map(str, s)) for s in strides)
    flat = [n for s in strides for n in s]
    spellings = [text, text + ";", strides, [list(s) for s in strides], flat]
    spellings += [[",".join(map(str, s)) for s in strides]]
    for value in spellings:
        assert read_options({"q_strides": value}, "")["q_strides"] == tuple(strides)


def test_missing_extra_and_misshapen_keys_are_all_listed(tmp_path, model):
    state = dict(model.state_dict())
    del state["mask_token"]
    state["surprise"] = torch.zeros(2)
    state["decoder_pred.bias"] = torch.zeros(3)
    path = authors_file(tmp_path / "c.pth", state, arguments())
    with pytest.raises(UserError) as caught:
        build_mae(path)
    text = str(caught.value)
    for part in ("c.pth", "missing: mask_token", "unexpected: surprise", "decoder_pred.bias (3,)"):
        assert part in text
    assert "\n" not in text


def test_another_geometry_does_not_fit(tmp_path, model):
    path = authors_file(tmp_path / "c.pth", model.state_dict(), arguments(input_size=(48, 3, 8)))
    with pytest.raises(UserError, match=r"pos_embed_temporal \(1, 12, 8\) instead of \(1, 24, 8\)"):
        build_mae(path)


def test_encoder_ignores_the_decoder_and_the_authors_unused_layers(tmp_path, model):
    extra = {
        "norm.weight": torch.ones(32),
        "norm.bias": torch.zeros(32),
        "head.projection.weight": torch.zeros(100, 32),
        "head.projection.bias": torch.zeros(100),
    }
    path = authors_file(tmp_path / "a.pth", {**model.state_dict(), **extra}, arguments())
    assert same(model, build_encoder(path))
    alone = dict(build_encoder(path).state_dict())
    path = authors_file(tmp_path / "b.pth", {**alone, **extra}, arguments())
    assert same(model, build_encoder(path))
    with pytest.raises(UserError, match="missing: mask_token"):
        build_mae(path)
    path = authors_file(tmp_path / "c.pth", {**alone, "normal": torch.ones(1)}, arguments())
    with pytest.raises(UserError, match="unexpected: normal"):
        build_encoder(path)


def test_weights_alone_do_not_tell_everything(tmp_path, model):
    path = tmp_path / "weights.pth"
    torch.save(model.state_dict(), path)
    with pytest.raises(UserError) as caught:
        load_checkpoint(path)
    text = str(caught.value)
    assert "no settings ('args') and its weights do not tell mask_unit_attn, init_num" in text
    assert "input_size=(24, 3, 8)" in text
    assert same(model, build_mae(path, CONFIG))
    authors_file(path, model.state_dict(), Namespace(init_num_heads=2))
    with pytest.raises(UserError, match=r"incomplete settings .* do not tell mask_unit_attn;"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        ModelConfig(),
        replace(
            CONFIG, stages=(1, 1, 1, 1), mask_unit_attn=(True,) * 4, out_embed_dims=(3, 4, 5, 6)
        ),
        replace(CONFIG, missing=True),
    ],
)
def test_what_the_weights_tell(config):
    found = infer_options(HBehaveMAE(config).state_dict())
    for name, value in found.items():
        assert getattr(config, name) == value, name
    assert set(found) >= {"input_size", "patch_kernel", "stages", "q_strides", "out_embed_dims"}


def test_what_flat_and_foreign_weights_tell():
    flat = infer_options(HBehaveMAE(replace(CONFIG, non_hierarchical=True)).state_dict())
    assert flat["non_hierarchical"]
    assert "stages" not in flat
    assert "q_strides" not in flat
    assert infer_options({"conv1.weight": torch.zeros(3, 3)}) == {}


def test_an_ambiguous_grid_is_left_open():
    config = replace(CONFIG, input_size=(24, 6, 16), q_strides=((2, 1, 1), (1, 1, 1)))
    assert "input_size" not in infer_options(HBehaveMAE(config).state_dict())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {}}, "no state dict under 'model' or 'model_state'"),
        ({"weights": {"a": torch.zeros(1)}}, r"found weights"),
        ({"model": {"a": torch.zeros(1)}, "args": [1]}, "'args' is list, expected the options"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(UserError, match=message):
        load_checkpoint(path)


def test_damaged_absent_and_empty_files(tmp_path, their_file):
    short = tmp_path / "short.pth"
    short.write_bytes(their_file.read_bytes()[:2000])
    with pytest.raises(UserError, match="truncated or damaged"):
        build_mae(short)
    with pytest.raises(UserError, match="no such checkpoint"):
        build_mae(tmp_path / "absent.pth")
    (tmp_path / "empty.pth").touch()
    with pytest.raises(UserError, match="is empty"):
        build_mae(tmp_path / "empty.pth")


def test_folder_of_ours_without_a_network_in_its_configuration(tmp_path, model):
    folder = save_checkpoint(tmp_path / "x", model.state_dict(), {"seed": 1}, {})
    with pytest.raises(UserError, match="no section 'model'"):
        load_checkpoint(folder)
    wrong = {"model": {**asdict(CONFIG), "stagse": [1]}}
    folder = save_checkpoint(tmp_path / "y", model.state_dict(), wrong, {})
    with pytest.raises(UserError, match="stagse"):
        load_checkpoint(folder)


def test_missing_embedding_survives(tmp_path):
    config = replace(CONFIG, missing=True)
    network = HBehaveMAE(config)
    torch.nn.init.normal_(network.missing_embed.weight)
    folder = save_checkpoint(
        tmp_path / "x", network.state_dict(), {"model": asdict(config)}, {"step": 1}
    )
    assert same(network, build_encoder(folder))
