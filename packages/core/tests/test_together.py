"""Statistics over the batches of several processes equal those of one process with all of it."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import distributed, nn

from behaviorzoo.together import mean_over_processes, n_processes, share_batch_statistics

BATCH, CHANNELS = 6, 3


def network(kind: str) -> nn.Module:
    torch.manual_seed(0)
    norm = {"1d": nn.BatchNorm1d, "2d": nn.BatchNorm2d}[kind](CHANNELS)
    layers = nn.Sequential(norm, nn.ReLU())
    return layers.double()


def sample(kind: str) -> torch.Tensor:
    shape = {"1d": (BATCH, CHANNELS), "2d": (BATCH, CHANNELS, 2, 5)}[kind]
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def step(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    loss = (model(x) ** 3).mean()
    loss.backward()
    return loss


def work(process: str, port: str, kind: str, folder: str) -> None:
    rank = int(process)
    address = f"tcp://127.0.0.1:{port}"
    distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    model = network(kind)
    share_batch_statistics(model)
    x = sample(kind).chunk(2)[rank].clone().requires_grad_()
    step(model, x)
    for parameter in model.parameters():
        distributed.all_reduce(parameter.grad)
        parameter.grad /= 2
    torch.save(
        {
            "state": model.state_dict(),
            "grads": [p.grad for p in model.parameters()],
            "x": x.grad / 2,
            "eval": model.eval()(x),
        },
        Path(folder) / f"{rank}.pt",
    )
    distributed.destroy_process_group()


@pytest.mark.parametrize("kind", ["1d", "2d"])
def test_two_processes_normalise_as_one(tmp_path, kind):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # By path: a test module cannot be imported by its name.
    code = "import runpy, sys; runpy.run_path(sys.argv[1])['work'](*sys.argv[2:])"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, __file__, str(rank), str(port), kind, tmp_path]
        )
        for rank in (0, 1)
    ]
    assert [process.wait(120) for process in started] == [0, 0]
    model, x = network(kind), sample(kind).requires_grad_()
    step(model, x)
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    for part in found:
        assert part["state"].keys() == model.state_dict().keys()
        for name, tensor in model.state_dict().items():
            torch.testing.assert_close(part["state"][name], tensor)
        for grad, parameter in zip(part["grads"], model.parameters(), strict=True):
            torch.testing.assert_close(grad, parameter.grad)
    torch.testing.assert_close(torch.cat([part["x"] for part in found]), x.grad)
    torch.testing.assert_close(torch.cat([part["eval"] for part in found]), model.eval()(x))


def test_one_process_changes_nothing():
    x = sample("2d")
    plain, shared = network("2d"), network("2d")
    share_batch_statistics(shared)
    assert torch.equal(plain(x), shared(x))
    assert torch.equal(plain.eval()(x), shared.eval()(x))
    assert n_processes() == 1
    assert mean_over_processes(x) is x
