"""Rates and decays by name, the schedule, gradients over epoch ends, and training by mmengine."""

from __future__ import annotations

from copy import deepcopy
from math import cos, pi
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import DATASETS, OPTIM_WRAPPERS
from mmengine.runner import Runner
from torch import nn

from behaviorzoo.errors import UserError
from uas_swin.checkpoints import build_recognizer, read_checkpoint
from uas_swin.mmlab import ActionDataSample
from uas_swin.model.freeze import freeze_backbone
from uas_swin.optim import (
    CUSTOM_KEYS,
    GroupedOptimWrapperConstructor,
    group_settings,
    optim_wrapper,
)
from uas_swin.runtime import register
from uas_swin.schedule import EpochCosineLR, learning_rate

MODEL: dict[str, Any] = {
    "type": "UASRecognizer3D",
    "backbone": {
        "type": "UASSwinTransformer3D",
        "arch": {"embed_dims": 8, "depths": [1, 1], "num_heads": [1, 2]},
        "window_size": (2, 2, 2),
        "use_lora": True,
        "lora_rank": 2,
    },
    "cls_head": {"type": "I3DHead", "num_classes": 3, "in_channels": 16},
}


def by_name(model: nn.Module, wrapper: Any) -> dict[str, tuple[float, float]]:
    names = {p: n for n, p in model.named_parameters()}
    return {
        names[p]: (group["lr"], group["weight_decay"])
        for group in wrapper.optimizer.param_groups
        for p in group["params"]
    }


@pytest.mark.parametrize("freeze", [False, True], ids=["all", "frozen"])
@pytest.mark.parametrize(
    "keys",
    [
        CUSTOM_KEYS,
        {},
        {"norm": {"decay_mult": 0.0}, "attn": {"lr_mult": 3.0}, "qkv.": {"lr_mult": 0.5}},
    ],
)
def test_values_are_those_of_mmengine(keys, freeze):
    model = build_recognizer(MODEL)
    if freeze:
        freeze_backbone(model)
    config = optim_wrapper()
    config.pop("constructor")
    paramwise = {"custom_keys": keys}
    config.pop("paramwise_cfg")
    theirs = DefaultOptimWrapperConstructor(config, paramwise)(model)
    ours = GroupedOptimWrapperConstructor(config, paramwise)(model)
    assert by_name(model, ours) == by_name(model, theirs)
    assert len(ours.optimizer.param_groups) <= 4


def test_published_rules():
    """Only the longest key counts, so norms of the backbone decay and tables have the full rate."""
    base = (3e-4, 0.05, CUSTOM_KEYS)
    assert group_settings("backbone.norm1.weight", *base) == pytest.approx((3e-5, 0.05))
    table = "backbone.layers.0.blocks.0.attn.relative_position_bias_table"
    assert group_settings(table, *base) == (3e-4, 0.0)
    assert group_settings("cls_head.fc_cls.weight", *base) == (3e-4, 0.05)
    assert group_settings("neck.norm.bias", *base) == (3e-4, 0.0)


def test_rules_of_another_kind_are_refused():
    model = build_recognizer(MODEL)
    config = {"optimizer": {"type": "AdamW", "lr": 1e-3, "weight_decay": 0.1}}
    with pytest.raises(UserError, match="norm_decay_mult is for mmengine's"):
        GroupedOptimWrapperConstructor(config, {"norm_decay_mult": 0.0})(model)
    for parameter in model.parameters():
        parameter.requires_grad = False
    with pytest.raises(UserError, match="no parameter is trained"):
        GroupedOptimWrapperConstructor(config)(model)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_mixed_precision_without_a_gpu():
    config = {"type": "CarriedAmpOptimWrapper", "optimizer": {"type": "AdamW", "lr": 1e-3}}
    constructor = GroupedOptimWrapperConstructor(config)
    with pytest.raises(UserError, match="needs a GPU"):
        constructor(nn.Linear(1, 1))


def rates_by_hooks(base: float, n: int, epochs: int, warm: float, start: float) -> list[float]:
    """The original's hooks: one before each epoch, one before each iteration."""
    length, rates, rate = warm * n, [], base
    for epoch in range(epochs):
        regular = base / 2 * (1 + cos(pi * epoch / epochs))
        rate = regular
        for i in range(n):
            t = epoch * n + i
            if t < length:
                rate = regular * (1 - (1 - t / length) * (1 - start))
            elif t == length:
                rate = regular
            rates.append(rate)
    return rates


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 9),
    epochs=st.integers(1, 6),
    warm=st.sampled_from([0, 0.3, 0.5, 1, 1.25, 2.5, 7.7]),
    start=st.sampled_from([0.1, 0.5, 1.0]),
)
def test_learning_rate_is_that_of_the_hooks(n, epochs, warm, start):
    expected = rates_by_hooks(2.0, n, epochs, warm, start)
    found = [learning_rate(t, 2.0, n, epochs, warm, start) for t in range(n * epochs)]
    assert found == pytest.approx(expected, rel=1e-12)


def test_lowest_rate():
    assert learning_rate(0, 1.0, 2, 4, 0, min_lr=0.2) == 1.0
    assert learning_rate(4, 1.0, 2, 4, 0, min_lr=0.2) == pytest.approx(0.6)


def test_schedule_that_cannot_be():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(UserError, match="0 epochs of 3 iterations"):
        EpochCosineLR(optimizer, 0, 3)
    with pytest.raises(UserError, match="warm-up of -1"):
        EpochCosineLR(optimizer, 2, 3, warmup_epochs=-1)


def wrapped(parameter: nn.Parameter, counts: int) -> Any:
    optimizer = torch.optim.AdamW([parameter], lr=0.1)
    return OPTIM_WRAPPERS.build(
        {"type": "CarriedOptimWrapper", "accumulative_counts": counts, "optimizer": optimizer}
    )


def test_gradients_are_carried_over_ends_and_through_checkpoints():
    """7 losses, a step after every 3: the last one is left over, and no step is made of it."""
    values = torch.arange(1.0, 8.0)
    by_hand = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.AdamW([by_hand], lr=0.1)
    for at in (0, 3):
        optimizer.zero_grad()
        (by_hand.square() * values[at : at + 3].mean()).sum().backward()
        optimizer.step()

    def run(wrapper: Any, parameter: nn.Parameter, part: torch.Tensor) -> None:
        for value in part:
            wrapper.update_params((parameter.square() * value).sum())

    whole = nn.Parameter(torch.ones(1))
    wrapper = wrapped(whole, 3)
    wrapper.initialize_count_status(nn.Linear(1, 1), 0, len(values))
    run(wrapper, whole, values)
    torch.testing.assert_close(whole, by_hand)

    first = nn.Parameter(torch.ones(1))
    before = wrapped(first, 3)
    before.initialize_count_status(nn.Linear(1, 1), 0, len(values))
    run(before, first, values[:5])
    state = deepcopy(before.state_dict())
    assert state["carried_gradients"][0].item() != 0
    second = nn.Parameter(first.detach().clone())
    after = wrapped(second, 3)
    after.load_state_dict(state)
    after.initialize_count_status(nn.Linear(1, 1), 5, len(values))
    run(after, second, values[5:])
    assert torch.equal(second, whole)
    assert "carried_gradients" not in wrapped(whole, 3).state_dict()


@DATASETS.register_module()
class RandomClips(torch.utils.data.Dataset):
    """Five clips."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(index)
        clip = torch.randn(1, 3, 4, 16, 16, generator=generator)
        return {
            "inputs": clip,
            "data_samples": ActionDataSample().set_gt_labels(torch.tensor([index % 3])),
        }


def runner(folder: Path, epochs: int, **options: Any) -> Runner:
    config = {
        "default_scope": "mmaction",
        "model": deepcopy(MODEL),
        "work_dir": str(folder),
        "train_dataloader": {
            "batch_size": 1,
            "num_workers": 0,
            "dataset": {"type": "RandomClips"},
            "sampler": {"type": "DefaultSampler", "shuffle": False},
            "collate_fn": {"type": "pseudo_collate"},
        },
        "train_cfg": {"by_epoch": True, "max_epochs": epochs},
        "optim_wrapper": optim_wrapper(lr=1e-2, accumulate=2),
        "param_scheduler": {"type": "EpochCosineLR", "epochs": 4, "convert_to_iter_based": True},
        "default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": 1}},
        "randomness": {"seed": 1},
        "log_level": "ERROR",
        "experiment_name": f"{folder.name}_{epochs}_{len(options)}",
        **options,
    }
    config["model"]["freeze_backbone"] = True
    config["model"]["backbone"]["drop_path_rate"] = 0.0
    config["model"]["cls_head"]["dropout_ratio"] = 0.0
    return Runner.from_cfg(Config(config))


def test_resumed_training_is_the_uninterrupted_one(tmp_path):
    """Five iterations an epoch, a step after every second: each epoch leaves one over."""
    register()
    runner(tmp_path / "whole", 4).train()
    runner(tmp_path / "parts", 1).train()
    runner(
        tmp_path / "parts", 4, resume=True, load_from=str(tmp_path / "parts" / "epoch_1.pth")
    ).train()
    whole, parts = (read_checkpoint(tmp_path / n / "epoch_4.pth") for n in ("whole", "parts"))
    assert (whole.layout, whole.n_classes) == ("ours", 3)
    assert whole.model["backbone"]["lora_alpha"] is None
    assert whole.notes == []
    for name, value in whole.state.items():
        assert torch.equal(value, parts.state[name]), name
    start = read_checkpoint(tmp_path / "parts" / "epoch_1.pth")
    moved = {n for n in whole.state if not torch.equal(whole.state[n], start.state[n])}
    assert moved
    assert all("lora" in n or "cls_head" in n for n in moved)
