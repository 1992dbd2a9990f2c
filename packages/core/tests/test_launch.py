"""Launching: in this process now, refused in one clear line where it cannot be done."""

from __future__ import annotations

import pytest

from behaviorzoo.errors import UserError
from behaviorzoo.launch import LaunchConfig, is_main_process, launch, tell


def _double(value: int) -> int:
    return 2 * value


def _fail(value: int) -> int:
    raise KeyboardInterrupt


def test_local_runs_here_and_gives_the_result_back():
    assert launch(_double, 21, LaunchConfig()) == 42


def test_what_the_work_raises_comes_through():
    with pytest.raises(KeyboardInterrupt):
        launch(_fail, 1, LaunchConfig())


def test_slurm_is_refused_before_anything_runs():
    with pytest.raises(UserError, match="launch=slurm is not available") as caught:
        launch(_fail, 1, LaunchConfig(launcher="slurm"))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("nodes", 2), ("gpus_per_node", 4), ("timeout_min", 60), ("partition", "gpu")],
)
def test_asking_a_scheduler_for_something_without_one_is_not_ignored(name, value):
    with pytest.raises(UserError, match=rf"launch\.{name}"):
        launch(_fail, 1, LaunchConfig(**{name: value}))


@pytest.mark.parametrize("name", ["LOCAL_RANK", "SLURM_PROCID"])
def test_only_the_first_of_several_processes_speaks(monkeypatch, capsys, name):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.delenv("SLURM_PROCID", raising=False)
    assert is_main_process()
    monkeypatch.setenv(name, "0")
    assert is_main_process()
    tell("first")
    monkeypatch.setenv(name, "1")
    assert not is_main_process()
    tell("second")
    assert capsys.readouterr().out == "first\n"
