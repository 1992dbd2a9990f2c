"""The commands of the README and of the recipes' comments are understood, word by word."""

from __future__ import annotations

import re
import shlex
from importlib.resources import files
from pathlib import Path

import pytest

from hysp import config as pretrain_config
from hysp.cli import VERBS
from hysp.evaluate import config as evaluate_config
from hysp.evaluate.command import EXAMPLE

README = Path(__file__).parents[1] / "README.md"
SHELL = re.compile(r"```bash\n(.*?)```", re.DOTALL)
IN_TEXT = re.compile(r"`(hysp [a-z]+ [^`]+)`")
CONFIGURE = {"pretrain": pretrain_config.configure, "evaluate": evaluate_config.configure}


def of_readme() -> list[str]:
    text = README.read_text(encoding="utf-8")
    return [*"\n".join(SHELL.findall(text)).splitlines(), *IN_TEXT.findall(text)]


def of_recipes() -> list[str]:
    """Commands in the comments at the head of the yaml files, lines that go on joined."""
    lines = []
    for package in ("hysp.conf", "hysp.evaluate.conf"):
        for file in files(package).joinpath("experiment").iterdir():
            comment = re.sub(r"^# *", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
            lines += comment.replace("\\\n", " ").splitlines()
    return lines


def commands() -> list[str]:
    lines = [*of_readme(), *of_recipes(), *EXAMPLE.replace("\\\n", " ").splitlines()]
    found = (shlex.join(shlex.split(line, comments=True)) for line in lines if "hysp " in line)
    return sorted({line for line in found if line.startswith("hysp ")})


@pytest.mark.parametrize("line", commands())
def test_a_command_is_understood(line):
    _, verb, *words = shlex.split(line)
    assert verb in VERBS
    settings = [word for word in words if "=" in word]
    if verb in CONFIGURE and settings:
        bare = ["checkpoint=run"] if verb == "evaluate" and "=" not in words[0] else []
        CONFIGURE[verb]([*bare, *settings])


def test_every_recipe_that_the_readme_names_is_there():
    named = set(re.findall(r"experiment=(\w+)", README.read_text(encoding="utf-8")))
    there = {
        file.name.removesuffix(".yaml")
        for package in ("hysp.conf", "hysp.evaluate.conf")
        for file in files(package).joinpath("experiment").iterdir()
    }
    assert named <= there
    assert len(commands()) > 20
