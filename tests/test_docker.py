"""The images cannot be built where no Docker runs; what they are made of can be checked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "docker/Dockerfile").read_text()
UV = shutil.which("uv") or str(ROOT / ".tools/bin/uv")


def instructions() -> list[tuple[str, str]]:
    """(instruction, rest) with continued lines joined and comments left out."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    words = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(word, rest.strip()) for word, rest in words]


def stages() -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for word, rest in instructions():
        if word == "FROM":
            name = rest.split(" AS ")[1]
            found[name] = []
        elif name:
            found[name].append((word, rest))
    return found


def projects() -> dict[str, dict]:
    files = [*ROOT.glob("packages/*/pyproject.toml"), *ROOT.glob("eval/*/pyproject.toml")]
    found = [tomllib.loads(path.read_text())["project"] for path in files]
    return {project["name"]: project for project in found}


def test_there_is_an_image_for_each_package_with_its_command():
    made = stages()
    for name, project in projects().items():
        target = name.removeprefix("behaviorzoo-")
        ((command, _),) = [*project["scripts"].items()]
        assert ("ENTRYPOINT", f'["{command}"]') in made[target], target
        (install,) = [rest for word, rest in made[f"build-{target}"] if word == "RUN"]
        assert install.startswith(f'docker/install.sh {name} "$VARIANT" /opt/environment'), target


def test_the_image_with_everything_has_every_package():
    (install,) = [rest for word, rest in stages()["build-all"] if word == "RUN"]
    names = re.search(r"for package in (.*?);", install)
    assert names
    assert {f"behaviorzoo-{name}" for name in names[1].split()} == set(projects())


def test_every_copied_path_and_stage_exists_and_reaches_the_builder():
    known = {*stages()}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for word, rest in instructions():
        if word != "COPY":
            continue
        words = rest.split()
        source = next((w.removeprefix("--from=") for w in words if w.startswith("--from=")), None)
        if source is not None:
            assert source in known
            continue
        for path in [w for w in words if not w.startswith("--")][:-1]:
            assert (ROOT / path).exists(), path
            assert f"!{path}" in ignored, path


def test_nobody_is_root_in_an_image():
    users = [rest for word, rest in stages()["runtime"] if word == "USER"]
    assert users == ["10001"]
    for name, steps in stages().items():
        assert not any(word == "USER" for word, _ in steps) or name == "runtime"


def test_the_compose_file_names_targets_and_commands_that_exist():
    services = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())["services"]
    for service in services.values():
        build = service["build"]
        assert build["target"] in stages()
        assert (ROOT / "docker" / build["context"] / build["dockerfile"]).exists()
    assert services["demo"]["command"] == ["demo"]
    copied = [rest for word, rest in stages()["all"] if word == "COPY"]
    assert "--chown=zoo docker/demo.sh /usr/local/bin/demo" in copied
    assert services["tensorboard"]["command"][:3] == ["tensorboard", "--logdir", "/work/demo"]


def test_the_demo_of_the_image_is_that_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text()
    values = {
        name: value.strip() for name, value in re.findall(r"^(DEMO\w*) :=(.*)$", makefile, re.M)
    }
    body = makefile.split("\ndemo: install\n")[1].split("\n\n")[0]
    body = re.sub(r"\$\((DEMO\w*)\)", lambda match: values[match[1]], body)
    wanted = [line.replace("$(RUN)", "").split() for line in body.splitlines()]
    script = (ROOT / "docker/demo.sh").read_text().split("set -euo pipefail\n")[1]
    script = script.replace("\\\n", " ").replace('"', "").replace("$demo", "demo")
    found = [line.split() for line in script.splitlines()[1:]]
    assert found == wanted


@pytest.mark.skipif(not Path(UV).exists(), reason="uv is not installed: run `make test`")
def test_the_install_commands_work_in_a_clean_environment(tmp_path):
    environment = {**os.environ, "PATH": f"{Path(UV).parent}:{os.environ['PATH']}"}
    environment.pop("VIRTUAL_ENV", None)
    install = ROOT / "docker/install.sh"
    # No torch in the second, so that the variant without CUDA needs no index but the usual one.
    for package, command, variant in [
        ("core", "behaviorzoo", "cuda"),
        ("hieras-eval", "hieras-eval", "cpu"),
    ]:
        folder = tmp_path / package
        words = [install, f"behaviorzoo-{package}", variant, folder]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        shown = subprocess.run(
            [folder / "bin" / command, "--help"],
            cwd=tmp_path, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert command in shown.stdout
    wrong = [install, "behaviorzoo-core", "gpu", tmp_path / "wrong"]
    refused = subprocess.run(wrong, env=environment, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "VARIANT is cpu or cuda" in refused.stderr


def test_the_variant_without_cuda_leaves_out_what_only_cuda_needs():
    """The pattern of the install script means every accelerator package of torch."""
    script = (ROOT / "docker/install.sh").read_text()
    pattern = re.search(r'name = "\\\((.*)\\\)"\$/--no-emit', script)
    assert pattern
    names = re.compile(pattern[1].replace(r"\|", "|"))
    locked = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    left_out = {package["name"] for package in locked if names.fullmatch(package["name"])}
    (torch,) = [package for package in locked if package["name"] == "torch"]
    accelerators = {
        dependency["name"]
        for dependency in torch["dependencies"]
        if "linux" in dependency.get("marker", "")
    }
    assert accelerators
    assert accelerators <= left_out
    assert {"torch", "torchvision"} <= left_out
