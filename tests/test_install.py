"""Each distribution works from its wheel alone, in an environment that has nothing else."""

import json
import os
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
UV = shutil.which("uv") or str(ROOT / ".tools/bin/uv")
needs_uv = pytest.mark.skipif(not Path(UV).exists(), reason="uv is not installed: run `make test`")
TRACK = """\
scorer,a,a,a
bodyparts,nose,nose,nose
coords,x,y,likelihood
0,1,2,1
1,2,3,1
"""


def run(command: str, cwd: Path, code: int = 0) -> str:
    """Run a command as a new user would: none of our variables, none of our paths."""
    ours = ("VIRTUAL_ENV", "PYTHON", "BEHAVIORZOO")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    done = subprocess.run(
        shlex.split(command), cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    run(f"{UV} build --wheel --no-sources --all-packages --out-dir {folder}", ROOT)
    return folder


@pytest.fixture(scope="module")
def core(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment_of(tmp_path_factory.mktemp("core"), wheels, "behaviorzoo-core")


def environment_of(folder: Path, wheels: Path, distribution: str) -> Path:
    """Make an environment with one wheel, at the locked versions of what it asks for."""
    locked = folder / "locked.txt"
    options = "--frozen --no-hashes --no-emit-workspace --all-extras"
    run(f"{UV} export {options} --package {distribution} --output-file {locked}", ROOT)
    run(f"{UV} venv --python 3.11 {folder}/env", folder)
    where = f"--python {folder}/env --find-links {wheels} --constraint {locked}"
    run(f"{UV} pip install {where} {distribution}", folder)
    return folder / "env" / "bin"


@needs_uv
def test_core_alone(core: Path, tmp_path: Path) -> None:
    code = (
        "import sys, json; from behaviorzoo import recordings, labels, embeddings, mabe, metrics,"
        " probes, synthetic; heavy = 'torch matplotlib movement hydra lightning'.split();"
        " print(json.dumps([m for m in heavy if m in sys.modules]))"
    )
    assert json.loads(run(f'{core}/python -c "{code}"', tmp_path)) == []
    zoo = f"{core}/behaviorzoo"
    assert "import" in run(f"{zoo} --help", tmp_path)
    run(f"{zoo} synth --out data --recordings 2 --frames 400", tmp_path)
    run(f"{zoo} features data/recordings --out hand.nc", tmp_path)
    probe = "--embeddings hand.nc --labels data/labels.csv --folds 2 --every 5 --out probe"
    run(f"{zoo} probe {probe}", tmp_path)
    assert (tmp_path / "probe" / "scores.csv").stat().st_size > 0
    view = "--labels data/labels.csv --embeddings hand.nc --out view.html"
    run(f"{zoo} view data/recordings/synthetic_000.nc {view}", tmp_path)
    assert "<canvas" in (tmp_path / "view.html").read_text()


@needs_uv
@pytest.mark.parametrize(
    ("verb", "extra"),
    [
        ("import track.csv --source deeplabcut --fps 30 --out out", "poses"),
        ("view data/recordings/synthetic_000.nc --out page.html --png page.png", "plots"),
    ],
)
def test_core_names_the_extra_that_is_missing(
    core: Path, tmp_path: Path, verb: str, extra: str
) -> None:
    (tmp_path / "track.csv").write_text(TRACK)
    run(f"{core}/behaviorzoo synth --out data --recordings 1 --frames 200", tmp_path)
    said = run(f"{core}/behaviorzoo {verb}", tmp_path, code=2)
    assert f"behaviorzoo-core[{extra}]" in said
    assert "Traceback" not in said


@needs_uv
def test_hbehavemae_alone(wheels: Path, tmp_path: Path) -> None:
    binaries = environment_of(tmp_path, wheels, "behaviorzoo-hbehavemae")
    installed = run(f"{UV} pip list --python {binaries.parent}", tmp_path)
    assert "movement" not in installed
    assert "pretrain" in run(f"{binaries}/hbehavemae --help", tmp_path)
    said = run(f"{binaries}/hbehavemae info experiment=shot7m2", tmp_path)
    assert "11211086" in "".join(c for c in said if c.isdigit())


@needs_uv
def test_bams_alone(wheels: Path, tmp_path: Path) -> None:
    binaries = environment_of(tmp_path, wheels, "behaviorzoo-bams")
    installed = run(f"{UV} pip list --python {binaries.parent}", tmp_path)
    assert "movement" not in installed
    assert "behaviorzoo-h" not in installed
    assert "train" in run(f"{binaries}/bams --help", tmp_path)
    said = run(f"{binaries}/bams info experiment=mouse_triplets", tmp_path)
    assert "761726" in "".join(c for c in said if c.isdigit())


@needs_uv
def test_hysp_alone(wheels: Path, tmp_path: Path) -> None:
    binaries = environment_of(tmp_path, wheels, "behaviorzoo-hysp")
    installed = run(f"{UV} pip list --python {binaries.parent}", tmp_path)
    assert "geoopt" in installed
    assert "movement" not in installed
    assert "behaviorzoo-b" not in installed
    assert "pretrain" in run(f"{binaries}/hysp --help", tmp_path)
    said = run(f"{binaries}/hysp info experiment=ntu60_xview", tmp_path)
    assert "16994452" in "".join(c for c in said if c.isdigit())


@needs_uv
def test_sgear_alone(wheels: Path, tmp_path: Path) -> None:
    """Its experiments and its configuration tree come with the wheel."""
    binaries = environment_of(tmp_path, wheels, "behaviorzoo-sgear")
    installed = run(f"{UV} pip list --python {binaries.parent}", tmp_path)
    assert "transformers" in installed
    assert "mmaction2" not in installed
    assert "behaviorzoo-h" not in installed
    assert "launch" in run(f"{binaries}/sgear --help", tmp_path)
    assert "ek100_SGEAR_vit" in run(f"{binaries}/sgear launch --list", tmp_path)
    wrong = run(f"{binaries}/sgear train opt.optimiser=adam", tmp_path, code=2)
    assert "did you mean 'opt.optimizer" in wrong


@needs_uv
def test_uas_swin_alone(wheels: Path, tmp_path: Path) -> None:
    binaries = environment_of(tmp_path, wheels, "behaviorzoo-uas-swin")
    installed = run(f"{UV} pip list --python {binaries.parent}", tmp_path)
    assert "mmaction2" in installed
    assert "behaviorzoo-s" not in installed
    assert "extract" in run(f"{binaries}/uas-swin --help", tmp_path)
    said = run(f"{binaries}/uas-swin info mammalnet_k600", tmp_path)
    assert "87651284" in "".join(c for c in said if c.isdigit())
    clips = "--motions spin still --clips 3 --frames 20 --size 72"
    run(f"{binaries}/behaviorzoo synth-clips --out videos {clips}", tmp_path)
    run(f"{binaries}/uas-swin prepare folder videos --out lists", tmp_path)
    lists = " ".join(f"lists.{split}=lists/videos_{split}.txt" for split in ("train", "val"))
    own = f"--cfg-options {lists} lists.videos=videos classes=lists/videos_classes.txt"
    train = f"{binaries}/uas-swin train small_videos --work-dir run"
    own = f"{own} train_dataloader.batch_size=2 train_cfg.max_epochs"
    run(f"{train} {own}=1", tmp_path)
    said = run(f"{train} --resume {own}=2", tmp_path)
    assert "going on from" in said
    assert "Epoch(train) [2][2/2]" in said
    test = f"{binaries}/uas-swin test small_videos run/epoch_2.pth --work-dir run"
    assert "top1: " in run(f"{test} --eval top_k_accuracy {own}=2", tmp_path)


@needs_uv
def test_the_evaluator_alone(wheels: Path, core: Path, tmp_path: Path) -> None:
    """It needs no torch, and takes the core's files."""
    binaries = environment_of(tmp_path, wheels, "behaviorzoo-hieras-eval")
    installed = run(f"{UV} pip list --python {binaries.parent}", tmp_path)
    assert "torch" not in installed
    run(f"{core}/behaviorzoo synth --out data --recordings 4 --frames 400", tmp_path)
    run(f"{core}/behaviorzoo features data/recordings --out hand.nc", tmp_path)
    custom = "--task custom --embeddings hand.nc --labels data/labels.csv --folds 2"
    run(f"{binaries}/hieras-eval run {custom} --output-dir results", tmp_path)
    assert "hand" in run(f"{binaries}/hieras-eval report results", tmp_path) + (
        tmp_path / "results" / "report.html"
    ).read_text(encoding="utf-8")


def test_one_version_everywhere() -> None:
    files = [ROOT / "pyproject.toml", *ROOT.glob("packages/*/pyproject.toml")]
    files += ROOT.glob("eval/*/pyproject.toml")
    projects = {path: tomllib.loads(path.read_text())["project"] for path in files}
    (version,) = {project["version"] for project in projects.values()}
    for path, project in projects.items():
        siblings = [d for d in project["dependencies"] if d.startswith("behaviorzoo-")]
        if path.parent != ROOT and project["name"] != "behaviorzoo-core":
            assert siblings, path
            assert all(d.endswith(f"=={version}") for d in siblings), (path, siblings)
