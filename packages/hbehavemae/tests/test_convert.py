"""Checkpoints in the authors' layout and in ours hold the same network and the same settings."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from behaviorzoo.checkpoints import save_checkpoint
from behaviorzoo.config import to_dict
from behaviorzoo.errors import UserError
from behaviorzoo.weights import load_torch_file
from hbehavemae.checkpoints import load_checkpoint
from hbehavemae.config import PretrainConfig, configure
from hbehavemae.convert import arguments_of, settings_of, to_authors, to_ours
from hbehavemae.model import HBehaveMAE, ModelConfig

SMALL = ModelConfig(
    input_size=(12, 1, 72),
    patch_kernel=(2, 1, 3),
    stages=(1, 1, 1),
    q_strides=((3, 1, 4), (1, 1, 6)),
    init_embed_dim=4,
    out_embed_dims=(2, 3, 4),
    decoder_embed_dim=4,
    decoding_strategy="multi",
    mask_ratio=0.5,
    norm_loss=True,
)
OPTIONS = {
    "input_size": (12, 1, 72),
    "num_frames": 12,
    "patch_kernel": (2, 1, 3),
    "stages": [1, 1, 1],
    "q_strides": [(3, 1, 4), (1, 1, 6)],
    "mask_unit_attn": [True, False, False],
    "init_embed_dim": 4,
    "init_num_heads": 2,
    "out_embed_dims": [2, 3, 4],
    "non_hierarchical": False,
    "decoding_strategy": "multi",
    "decoder_embed_dim": 4,
    "decoder_depth": 1,
    "decoder_num_heads": 1,
    "mask_ratio": 0.5,
    "norm_loss": True,
    "dataset": "mabe_mice",
    "path_to_data_dir": "data/mice.npy",
    "sliding_window": 17,
    "data_augment": True,
    "fill_holes": True,
    "batch_size": 768,
    "epochs": 199,
    "accum_iter": 2,
    "checkpoint_period": 20,
    "clip_grad": 0.02,
    "blr": 1.6e-4,
    "lr": 9.6e-4,
    "min_lr": 0.0,
    "warmup_epochs": 40,
    "weight_decay": 0.05,
    "beta": None,
    "seed": 3,
    "device": "cuda",
}


@pytest.fixture
def theirs(tmp_path) -> Path:
    """A file as the authors' training writes it."""
    path = tmp_path / "weights.pth"
    state = HBehaveMAE(SMALL, generator=torch.Generator().manual_seed(0)).state_dict()
    content = {
        "model": state,
        "optimizer": {"state": {}, "param_groups": []},
        "epoch": 199,
        "scaler": {},
        "args": Namespace(**OPTIONS),
    }
    torch.save(content, path)
    return path


def test_theirs_to_ours_keeps_weights_and_settings(theirs, tmp_path):
    folder = to_ours(theirs, tmp_path / "ours")
    loaded = load_checkpoint(folder)
    original = load_torch_file(theirs)["model"]
    assert loaded.config == SMALL
    assert set(loaded.state) == set(original)
    assert all(torch.equal(loaded.state[name], original[name]) for name in original)

    config = settings_of(loaded)
    assert (config.data.dataset, config.data.path) == ("mabe22", "data/mice.npy")
    assert (config.data.sliding_window, config.data.data_augment) == (17, True)
    assert config.data.fill_holes is True
    assert (config.optim.batch_size, config.optim.epochs, config.optim.lr) == (768, 199, 9.6e-4)
    assert config.optim.betas == (0.9, 0.95)
    assert (config.trainer.accumulate, config.trainer.clip_norm) == (2, 0.02)
    assert (config.trainer.checkpoint_every_epochs, config.seed) == (20, 3)
    metadata = json.loads((folder / "metadata.json").read_text())
    assert (metadata["epoch"], metadata["converted_from"]) == (199, "weights.pth")
    assert str(tmp_path) not in (folder / "metadata.json").read_text()


def test_back_and_forth_changes_nothing(theirs, tmp_path):
    to_ours(theirs, tmp_path / "ours")
    again = to_authors(tmp_path / "ours", tmp_path / "checkpoint-00199.pth")
    before, after = load_torch_file(theirs), load_torch_file(again)
    assert after["epoch"] == 199
    assert all(torch.equal(after["model"][name], value) for name, value in before["model"].items())
    options = vars(after["args"])
    for name, value in OPTIONS.items():
        assert options[name] == ([0.9, 0.95] if name == "beta" else value), name
        if name != "beta":
            assert type(options[name]) is type(value), name


def test_every_option_that_their_scripts_set_has_a_counterpart():
    """What their training code reads from a checkpoint's options is there."""
    options = arguments_of(configure(["experiment=shot7m2"]))
    needed = {*OPTIONS, "model", "masking_strategy", "sampling_rate", "fp32", "sep_pos_embed"}
    assert needed <= set(options)
    assert (options["dataset"], options["model"]) == ("shot7m2", "hbehavemae")
    assert options["num_frames"] == 400


def test_what_their_code_does_not_know_is_refused(tmp_path):
    model = replace(SMALL, missing=True)
    state = HBehaveMAE(model).state_dict()
    config = PretrainConfig(model=model)
    save_checkpoint(tmp_path / "ours", state, to_dict(config), {})
    with pytest.raises(UserError, match=r"does not know model\.missing=True"):
        to_authors(tmp_path / "ours", tmp_path / "x.pth")
    assert not (tmp_path / "x.pth").exists()


def test_a_file_without_settings_is_refused(theirs, tmp_path):
    content = load_torch_file(theirs)
    torch.save({"model": content["model"]}, theirs)
    with pytest.raises(UserError, match=r"weights\.pth: the file has no settings"):
        to_ours(theirs, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_weights_that_do_not_fit_their_settings_are_refused(theirs, tmp_path):
    content = load_torch_file(theirs)
    content["args"].init_embed_dim = 8
    torch.save(content, theirs)
    with pytest.raises(UserError, match="does not fit the network"):
        to_ours(theirs, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_existing_folders_are_not_overwritten(theirs, tmp_path):
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "mine.txt").write_text("x")
    with pytest.raises(UserError, match="exists already"):
        to_ours(theirs, tmp_path / "ours")
    with pytest.raises(UserError, match="this is a folder"):
        to_authors(theirs, tmp_path / "ours")
    with pytest.raises(UserError, match=r"mine\.txt: exists already"):
        to_authors(theirs, tmp_path / "ours" / "mine.txt")
    assert (tmp_path / "ours" / "mine.txt").read_text() == "x"


def test_ours_to_ours_is_refused(theirs, tmp_path):
    to_ours(theirs, tmp_path / "ours")
    with pytest.raises(UserError, match="is a checkpoint of ours already"):
        to_ours(tmp_path / "ours", tmp_path / "again")


@pytest.mark.parametrize("name", ["hbm_model_shot", "hbm_model_mice", "hbm_model_flat"])
def test_files_of_the_original_code(goldens_dir, tmp_path, name):
    source = goldens_dir / name / "checkpoint.pth"
    to_ours(source, tmp_path / "ours")
    to_authors(tmp_path / "ours", tmp_path / "back.pth")
    before, after = load_torch_file(source), load_torch_file(tmp_path / "back.pth")
    assert list(after["model"]) == list(before["model"])
    assert all(torch.equal(after["model"][key], value) for key, value in before["model"].items())
    geometry = ("input_size", "patch_kernel", "stages", "q_strides", "mask_unit_attn")
    for option in (*geometry, "out_embed_dims", "non_hierarchical", "mask_ratio", "dataset"):
        assert vars(after["args"])[option] == vars(before["args"])[option]
