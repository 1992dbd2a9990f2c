"""Parameter groups, optimisers and schedules."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from behaviorzoo.errors import UserError
from sgear.optim import (
    OptimizerConfig,
    build_optimizer,
    load_optimizer,
    parameter_groups,
    read_optimizer,
)
from sgear.schedule import (
    SchedulerConfig,
    WarmupConfig,
    build_scheduler,
    read_scheduler,
    read_warmup,
)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a = torch.nn.Linear(3, 2)
        self.part = torch.nn.Sequential()
        self.part.add_module("bn", torch.nn.BatchNorm1d(2))
        self.head = torch.nn.Linear(2, 2, bias=False)
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.head(self.part(self.a(x))) * self.scale


def names(net, group):
    return {n for n, p in net.named_parameters() if any(p is q for q in group["params"])}


def test_two_groups_for_every_entry():
    net = Net()
    groups = parameter_groups(net, [["__all__", 0.1, 0.01]], 0.5, world_size=2, batch_scale=8)
    assert names(net, groups[0]) == {"scale", "a.weight", "head.weight"}
    assert names(net, groups[1]) == {"a.bias", "part.bn.weight", "part.bn.bias"}
    assert [g["lr"] for g in groups] == pytest.approx([1.6, 1.6])
    assert [g["weight_decay"] for g in groups] == [0.01, 0.005]


def test_entries_by_name_and_frozen_ones():
    net = Net()
    entries = [[["a", "scale"], 0.1, 0.0], ["head", 0.2, 1.0], ["part", 0, 0]]
    groups = parameter_groups(net, entries)
    assert [names(net, g) for g in groups] == [
        {"a.weight", "scale"},
        {"a.bias"},
        {"head.weight"},
        set(),
    ]
    assert not any(p.requires_grad for p in net.part.parameters())
    optimizer = build_optimizer(OptimizerConfig("sgd"), groups)
    assert [len(g["params"]) for g in optimizer.param_groups] == [2, 1, 1, 0]


def test_what_is_frozen_already_has_no_group():
    net = Net()
    net.head.requires_grad_(False)
    groups = parameter_groups(net, [["__all__", 0.1, 0.0]])
    assert "head.weight" not in names(net, groups[0])


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([["hed", 0.1, 0.0]], "no 'hed'; did you mean 'head'"),
        ([["__all__", 0.1]], "expected .names, learning rate, weight decay."),
        ([["__all__", "x", 0]], "got .'__all__', 'x', 0."),
        (
            [["__all__", 0.1, 0.0], ["head", 0.2, 0.0]],
            "head.weight belongs to '__all__' and to 'head'",
        ),
        ([["__all__", 0, 0]], "no parameter is left"),
    ],
)
def test_wrong_entries(entries, message):
    with pytest.raises(UserError, match=message):
        parameter_groups(Net(), entries)


@pytest.mark.parametrize(
    ("kind", "reference"),
    [
        ("sgd", lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01)),
        ("adam", lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.01)),
        ("adamW", lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.01)),
    ],
)
def test_optimisers_step_as_the_plain_ones(kind, reference):
    torch.manual_seed(0)
    ours, theirs = Net().eval(), Net().eval()
    theirs.load_state_dict(ours.state_dict())
    optimizers = [
        build_optimizer(OptimizerConfig(kind), parameter_groups(ours, [["__all__", 0.1, 0.01]])),
        reference(theirs.parameters()),
    ]
    for _ in range(3):
        x = torch.randn(4, 3)
        for net, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            net(x).square().sum().backward()
            optimizer.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_adafactor_steps():
    net = Net()
    before = net.a.weight.clone()
    groups = parameter_groups(net, [["__all__", 0.1, 0.0]])
    optimizer = build_optimizer(OptimizerConfig("adafactor"), groups)
    net(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    assert not torch.equal(net.a.weight, before)


def test_states_of_other_kernels_are_taken_and_ours_stay():
    net = Net()
    groups = parameter_groups(net, [["__all__", 0.1, 0.0]])
    plain = torch.optim.SGD([dict(g) for g in groups], lr=0.0, momentum=0.9, foreach=False)
    net(torch.randn(4, 3)).sum().backward()
    plain.step()
    optimizer = build_optimizer(OptimizerConfig("sgd"), groups)
    load_optimizer(optimizer, plain.state_dict())
    assert all(group["fused"] for group in optimizer.param_groups)
    first = optimizer.param_groups[0]["params"][0]
    kept = optimizer.state[first]["momentum_buffer"]
    assert torch.equal(kept, plain.state[first]["momentum_buffer"])


def test_states_that_do_not_fit_are_refused():
    net = Net()
    optimizer = build_optimizer(
        OptimizerConfig("sgd"), parameter_groups(net, [["__all__", 0.1, 0.0]])
    )
    net(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    one = build_optimizer(OptimizerConfig("sgd"), parameter_groups(net, [["a", 0.1, 0.0]]))
    with pytest.raises(UserError, match=r"groups of \[3, 3\] parameters, this one of \[1, 1\]"):
        load_optimizer(one, state)
    state["state"][1]["momentum_buffer"] = torch.zeros(7)
    with pytest.raises(UserError, match=r"momentum_buffer \(7,\) for parameter 1 of shape"):
        load_optimizer(optimizer, state)


# -- schedules ------------------------------------------------------------------------------------


def optimizer_of(lr=0.1):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def rates(scheduler, optimizer, n):
    found = []
    for _ in range(n):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def closed_form(i, base, ratio, warmup, length, eta_min=0.0):
    """The course in one formula; W iterations of warm-up, C of cosine."""
    ratio = ratio if warmup > 1 else 1.0
    if i < warmup - 1:
        return base * (ratio + (1 - ratio) * i / warmup)
    peak = base * (ratio + (1 - ratio) * (warmup - 1) / warmup)
    step = i - warmup + 1
    if step >= length:
        return 0.0 if step else peak
    return eta_min + (peak - eta_min) * (1 + math.cos(math.pi * step / length)) / 2


@given(
    st.integers(0, 3),
    st.integers(1, 3),
    st.integers(1, 5),
    st.floats(0, 1),
    st.sampled_from([0, 0.01]),
)
@settings(max_examples=40, deadline=None)
def test_warmup_and_cosine(warmup, cosine, iters, ratio, eta_min):
    optimizer = optimizer_of()
    scheduler = build_scheduler(
        SchedulerConfig("cosine", cosine, eta_min), WarmupConfig(ratio, warmup), optimizer, iters, 9
    )
    found = rates(scheduler, optimizer, (warmup + cosine + 1) * iters)
    w, c = max(warmup * iters, 1), cosine * iters
    expected = [closed_form(i, 0.1, ratio, w, c, eta_min) for i in range(len(found))]
    assert found == pytest.approx(expected, abs=1e-9)


def test_cosine_takes_the_epochs_that_are_left():
    optimizer = optimizer_of()
    scheduler = build_scheduler(SchedulerConfig("cosine"), WarmupConfig(0.0, 2), optimizer, 5, 6)
    assert scheduler.base_scheduler.T_max == 20
    with pytest.raises(UserError, match="nothing is left behind the warm-up"):
        build_scheduler(SchedulerConfig("cosine"), WarmupConfig(0.0, 6), optimizer, 5, 6)


def test_eta_min_grows_with_the_processes():
    optimizer = optimizer_of()
    config = SchedulerConfig("cosine", 2, 0.01)
    scheduler = build_scheduler(config, WarmupConfig(), optimizer, 5, 2, world_size=4)
    assert scheduler.base_scheduler.eta_min == pytest.approx(0.04)


@pytest.mark.parametrize("method", ["linear", "constant"])
def test_multi_step(method):
    optimizer = optimizer_of()
    config = SchedulerConfig(
        "warmup_multi_step", milestone_epochs=(4, 2), warmup_epochs=1, warmup_method=method
    )
    scheduler = build_scheduler(config, WarmupConfig(), optimizer, 3, 6)
    found = rates(scheduler, optimizer, 15)
    rise = {"linear": [1 - (1 - 1e-5) * (3 - i) / 3 for i in range(3)], "constant": [1e-5] * 3}
    # The first value is the full rate: the wrapped warm-up of length 0 sets it, as upstream.
    expected = [0.1] + [
        0.1 * (rise[method][i] if i < 3 else 1) * 0.1 ** ((i >= 6) + (i >= 12))
        for i in range(1, 15)
    ]
    assert found == pytest.approx(expected)


def test_plateau_follows_the_metric_once_per_epoch():
    optimizer = optimizer_of()
    config = SchedulerConfig("reduce_lr_on_plateau", patience=1, cooldown=0, threshold=0.0)
    scheduler = build_scheduler(config, WarmupConfig(0.5, 1), optimizer, 2, 9)
    assert scheduler.by_metric
    assert rates(scheduler, optimizer, 5) == pytest.approx([0.05, 0.075, 0.075, 0.075, 0.075])
    for metric in (3.0, 2.0, 2.0):
        scheduler.step_metric(metric)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.0075)
    cosine = build_scheduler(SchedulerConfig("cosine", 2), WarmupConfig(), optimizer_of(), 2, 2)
    before = cosine.state_dict()
    cosine.step_metric(1.0)
    assert cosine.state_dict() == before


@given(st.integers(0, 14))
@settings(max_examples=15, deadline=None)
def test_a_schedule_goes_on_where_it_was(stop):
    def made():
        optimizer = optimizer_of()
        config = SchedulerConfig("cosine", 2)
        return optimizer, build_scheduler(config, WarmupConfig(0.1, 1), optimizer, 5, 3)

    optimizer, scheduler = made()
    expected = rates(scheduler, optimizer, 15)
    optimizer, scheduler = made()
    found = rates(scheduler, optimizer, stop)
    states = optimizer.state_dict(), scheduler.state_dict()
    assert set(states[1]) == {"base_sched_dict", "other_stuff"}
    optimizer, scheduler = made()
    optimizer.load_state_dict(states[0])
    scheduler.load_state_dict(states[1])
    assert found + rates(scheduler, optimizer, 15 - stop) == expected


def test_no_warning_while_gradients_add_up(recwarn):
    optimizer = optimizer_of()
    scheduler = build_scheduler(SchedulerConfig("cosine", 2), WarmupConfig(0.1, 1), optimizer, 5, 3)
    for _ in range(8):
        scheduler.step()
    assert not [w for w in recwarn if "lr_scheduler" in str(w.message)]


# -- the authors' sections ------------------------------------------------------------------------


def test_authors_sections():
    assert read_optimizer({"_target_": "torch.optim.SGD", "momentum": 0.8}).kind == "sgd"
    assert read_optimizer({"_target_": "transformers.Adafactor", "warmup_init": True}).warmup_init
    assert read_optimizer({"kind": "adamW"}) == OptimizerConfig("adamW")
    course = read_scheduler(
        {"_target_": "common.scheduler.WarmupMultiStepLR", "milestones": [1, 2], "last_epoch": -1}
    )
    assert (course.kind, course.milestone_epochs) == ("warmup_multi_step", (1, 2))
    assert read_scheduler({"_target_": "x.CosineLR", "num_epochs": 3}).num_epochs == 3
    warmup = read_warmup({"_target_": "common.scheduler.Warmup", "num_epochs": 2})
    assert warmup == WarmupConfig(0.0, 2)


@pytest.mark.parametrize(
    ("read", "section", "message"),
    [
        (read_optimizer, {"_target_": "torch.optim.SDG"}, "unknown 'SDG'; did you mean 'SGD'"),
        (read_optimizer, {"momentun": 0.9}, "opt.optimizer: momentun: unknown key; did you mean"),
        (read_scheduler, {"_target_": "x.CosinLR"}, "did you mean 'CosineLR'"),
        (read_scheduler, {"gama": 1}, "opt.scheduler: gama"),
        (read_warmup, {"num_epochs": -1}, "must not be negative"),
    ],
)
def test_wrong_sections(read, section, message):
    with pytest.raises(UserError, match=message):
        read(section)
