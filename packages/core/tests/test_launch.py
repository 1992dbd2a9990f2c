"""Where commands run: words about it, several processes here, sweeps, what SLURM is asked for."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from behaviorzoo import commands
from behaviorzoo.errors import UserError
from behaviorzoo.launch import LaunchConfig, is_main_process, tell
from behaviorzoo.launch import elsewhere as elsewhere_module
from behaviorzoo.launch.elsewhere import runs_elsewhere
from behaviorzoo.launch.follow import last_line, state_of
from behaviorzoo.launch.job import CommandJob, TrainingJob
from behaviorzoo.launch.processes import first_host, run_processes, slurm_place
from behaviorzoo.launch.slurm import submit
from behaviorzoo.launch.sweep import expand, write_table
from behaviorzoo.launch.words import take_apart, trainer_words
from behaviorzoo.training.signals import StopRequest

SLURM_JOB = {
    "SLURM_NTASKS": "4",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_JOB_ID": "1234",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_JOB_NODELIST": "localhost,n2",
}


# ---- words


@pytest.mark.parametrize(
    "words",
    [
        ["train", "launch=slurm", "launch.nodes=2", "a=1"],
        ["train", "--launch", "slurm", "a=1", "launch.nodes=2"],
        ["train", "--launch=slurm", "+launch.nodes=2", "a=1"],
        ["train", "a=1", "launch.launcher=slurm", "launch.nodes=2"],
    ],
)
def test_words_about_where_are_taken_out(words):
    found = take_apart(words)
    assert found.words == ["train", "a=1"]
    assert found.settings == LaunchConfig(launcher="slurm", nodes=2)
    assert runs_elsewhere(found)


@given(st.lists(st.from_regex(r"[a-z.]{1,8}(=[a-z0-9,\[\]]{0,6})?", fullmatch=True), max_size=6))
def test_words_about_what_stay_in_their_order(words):
    words = [word for word in words if not word.startswith("launch")]
    found = take_apart(["verb", *words, "launch=local"])
    assert found.words == ["verb", *words]
    assert not runs_elsewhere(found)


def test_a_file_holds_what_a_group_asks_its_cluster_for(tmp_path):
    file = tmp_path / "cluster.yaml"
    file.write_text("partition: gpu\ngpus_per_node: 4\nextra: {reservation: week12}\n")
    found = take_apart(["train", f"launch={file}", "launch.gpus_per_node=2", "launch.extra.x=1"])
    assert found.settings.launcher == "slurm"
    assert (found.settings.partition, found.settings.tasks) == ("gpu", 2)
    assert found.settings.extra == {"reservation": "week12", "x": 1}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["launch=slrum"], "did you mean 'slurm'"),
        (["launch=slurm", "launch.partiton=x"], "did you mean 'partition'"),
        (["launch=slurm", "launch.nodes=two"], "launch: nodes"),
        (["launch=slurm", "launch.nodes=0"], "must be at least 1"),
        (["launch=slurm", "launch.mem_gb=-1"], "must be positive"),
        (["launch.nodes=2"], "launch.nodes: only a scheduler can give this"),
        (["launch.partition=gpu"], "launch.partition: only a scheduler can give this"),
        (["--wait"], "--wait: only a job can be waited for"),
        (["--launch"], "must follow"),
        (["launch=nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_mistakes_about_where_are_one_line(capsys, words, complaint):
    code = commands.run_verbs("legs", "1", "", {"walk": print}, ["walk", *words])
    said = capsys.readouterr()
    assert (code, said.out) == (2, "")
    assert complaint in said.err
    assert said.err.count("\n") == 1


def test_every_key_is_in_the_help(capsys):
    commands.run_verbs("legs", "1", "", {"walk": print}, ["--help-launch"])
    told = capsys.readouterr().out
    for name in LaunchConfig.__dataclass_fields__:
        assert f"launch.{name} (" in told


def test_words_for_here_do_not_reach_the_verb(capsys):
    assert commands.run_verbs("legs", "1", "", {"walk": print}, ["walk", "a", "launch=local"]) == 0
    assert capsys.readouterr().out == "['a']\n"


# ---- sweeps


@given(
    st.lists(st.integers(-5, 5), min_size=1, max_size=3, unique=True),
    st.lists(st.sampled_from("xyz"), min_size=2, max_size=3, unique=True),
)
def test_a_sweep_is_the_product_with_the_last_word_fastest(numbers, letters):
    words = ["train", f"a={','.join(map(str, numbers))}", "list=[1,2]", f"b={','.join(letters)}"]
    runs = expand([*words, "out=runs"])
    wanted = list(itertools.product(numbers, letters))
    assert [run.index for run in runs] == list(range(len(wanted)))
    for run, (number, letter) in zip(runs, wanted, strict=True):
        assert run.words == [
            "train", f"a={number}", "list=[1,2]", f"b={letter}", f"out=runs/{run.index}",
        ]  # fmt: skip


def test_ranges_are_swept_and_the_table_names_the_runs(tmp_path):
    words = ["train", "seed=range(3)", "path=a b", f"out={tmp_path / 'sweep'}"]
    runs = expand(words)
    assert [run.chosen for run in runs] == [{"seed": "0"}, {"seed": "1"}, {"seed": "2"}]
    assert write_table(runs, words).read_text() == "run,seed\n0,0\n1,1\n2,2\n"


@pytest.mark.parametrize(
    "given", [["--work-dir", "runs/a"], ["--work-dir=runs/a"], ["--out", "runs/a"]]
)
def test_a_folder_can_be_an_option(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["train", "--cfg-options", "lr=1,2", *given]
    runs = expand(words)
    assert [run.words[2] for run in runs] == ["lr=1", "lr=2"]
    assert [run.words[-1] for run in runs] == [given[-1] + "/0", given[-1] + "/1"]
    assert [run.words[:-1] for run in runs] == [
        ["train", "--cfg-options", f"lr={value}", *given[:-1]] for value in (1, 2)
    ]
    assert write_table(runs, words).resolve() == tmp_path / "runs" / "a" / "sweep.csv"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["train", "a=1,2", "--work-dir", "x", "out=y"], "out=FOLDER must be given once"),
        (["train", "a=1", "out=x"], "no word has several values"),
        (["train", "a=1,2"], "out=FOLDER must be given once"),
        (["train", "a=1", "out=x,y"], "out=FOLDER must be given once"),
    ],
)
def test_what_is_no_sweep_is_refused(words, complaint):
    with pytest.raises(UserError, match=complaint):
        expand(words)


def test_only_training_is_swept_and_only_training_takes_several_processes(capsys):
    verbs = {"train": print, "embed": print}
    for words, complaint in [
        (["embed", "a=1,2", "--sweep"], "embed is no training"),
        (["embed", "launch.tasks_per_node=2"], "embed runs in one process"),
    ]:
        assert commands.run_verbs("legs", "1", "", verbs, words, {"train": trainer_words}) == 2
        assert complaint in capsys.readouterr().err


# ---- processes


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("n1", "n1"),
        ("n1,n2", "n1"),
        ("n[1-2]", "n1"),
        ("gpu[03-05,9],cpu1", "gpu03"),
        ("a[7]-ib,b", "a7-ib"),
    ],
)
def test_first_machine_of_a_list(nodes, host):
    assert first_host(nodes) == host


def test_place_in_a_job():
    place = slurm_place(SLURM_JOB)
    assert place is not None
    assert place.environment() == {
        "RANK": "3",
        "LOCAL_RANK": "1",
        "GROUP_RANK": "1",
        "WORLD_SIZE": "4",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": "21234",
        "BEHAVIORZOO_LAUNCHED": "1",
    }
    again = slurm_place({**SLURM_JOB, "SLURM_RESTART_COUNT": "1"})
    assert again is not None
    assert again.port != place.port
    assert slurm_place({**SLURM_JOB, "SLURM_NTASKS": "1"}) is None


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "SLURM_PROCID"])
def test_only_the_first_of_several_processes_speaks(monkeypatch, capsys, name):
    for variable in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(variable, raising=False)
    assert is_main_process()
    monkeypatch.setenv(name, "0")
    assert is_main_process()
    tell("first")
    monkeypatch.setenv(name, "1")
    assert not is_main_process()
    tell("second")
    assert capsys.readouterr().out == "first\n"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_processes_know_their_places(tmp_path):
    code = (
        "import os, pathlib, sys; names = 'RANK LOCAL_RANK WORLD_SIZE MASTER_ADDR'.split();"
        "text = ' '.join(os.environ[name] for name in names);"
        f"pathlib.Path({str(tmp_path)!r}, os.environ['RANK']).write_text(text)"
    )
    assert run_processes(python(code), 3) == 0
    told = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert told == {str(rank): f"{rank} {rank} 3 127.0.0.1" for rank in range(3)}


def test_one_that_fails_ends_the_others(tmp_path):
    code = (
        "import os, pathlib, sys, time\n"
        f"here = pathlib.Path({str(tmp_path)!r})\n"
        "if os.environ['RANK'] == '0':\n"
        "    (here / 'new').write_text(str(os.getpid()))\n"
        "    (here / 'new').rename(here / 'number')\n"
        "    time.sleep(60)\n"
        "while not (here / 'number').exists():\n"
        "    time.sleep(0.05)\n"
        "sys.exit(7)\n"
    )
    start = time.monotonic()
    assert run_processes(python(code), 2) == 7
    assert time.monotonic() - start < 20
    with pytest.raises(ProcessLookupError):  # gone, and nobody's child that waits to be asked for
        os.kill(int((tmp_path / "number").read_text()), 0)


def test_a_signal_reaches_all(tmp_path):
    code = (
        "import os, pathlib, signal, sys, time\n"
        f"here = pathlib.Path({str(tmp_path)!r})\n"
        "rank = os.environ['RANK']\n"
        "signal.signal(signal.SIGTERM, lambda *_: ((here / f'end{rank}').touch(), sys.exit(0)))\n"
        "(here / rank).touch()\n"
        "time.sleep(60)\n"
    )
    runner = (
        "import sys; from behaviorzoo.launch.processes import run_processes;"
        "sys.exit(run_processes([sys.executable, '-c', sys.argv[1]], 2))"
    )
    process = subprocess.Popen([*python(runner), code])
    while not all((tmp_path / str(rank)).exists() for rank in (0, 1)):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert {path.name for path in tmp_path.iterdir()} >= {"end0", "end1"}


# ---- jobs


def test_a_job_runs_the_command_line_again(monkeypatch, tmp_path):
    monkeypatch.delenv("SLURM_NTASKS", raising=False)
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    (tmp_path / "legs_cli.py").write_text(
        "def main(words):\n    print(words)\n    return 2 * ('wrong' in words)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert CommandJob("legs_cli:main", ["walk"])() == 0
    with pytest.raises(SystemExit) as end:
        CommandJob("legs_cli:main", ["wrong"])()
    assert end.value.code == 2


def test_training_goes_on_when_it_starts_again(monkeypatch, tmp_path, capsys):
    for name in ("SLURM_NTASKS", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "arms_cli.py").write_text("def main(words):\n    print(*words)\n    return 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    job = TrainingJob("arms_cli:main", ["train", "a=1"])
    job()
    pytest.importorskip("submitit")
    job.checkpoint().function()
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    job()
    TrainingJob("arms_cli:main", ["train", "--resume"])()
    assert capsys.readouterr().out.splitlines() == [
        "train a=1", "train a=1 --resume", "train a=1 --resume", "train --resume",
    ]  # fmt: skip


def test_a_stretch_too_short_for_training_to_begin_is_not_repeated_for_ever(monkeypatch, capfd):
    pytest.importorskip("submitit")
    clock = [0.0]
    monkeypatch.setattr("behaviorzoo.launch.job.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("behaviorzoo.training.signals._began", False)

    monkeypatch.setattr(CommandJob, "__call__", lambda self: 0)

    def next_job(job, seconds):
        job()
        clock[0] += seconds
        return job.checkpoint().function

    settings = LaunchConfig(timeout_min=10, grace_s=120)
    job = TrainingJob("legs:main", ["train"], settings)
    job = next_job(next_job(job, 470), 470)
    assert job.too_short == 2
    job = next_job(job, 30)  # preempted, with most of its time before it
    assert job.too_short == 0
    job = next_job(next_job(job, 420), 420)
    job()
    clock[0] += 420
    with pytest.raises(SystemExit) as end:
        job.checkpoint()
    assert end.value.code == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert "3 times in a row the time of a stretch was over before the training began" in line
    assert "launch.timeout_min=10 (its warning comes 120 s" in line
    with StopRequest():
        pass
    assert job.checkpoint().function.too_short == 0  # it trains: any number of times


@pytest.fixture
def sbatch(monkeypatch, tmp_path):
    """A scheduler that keeps what it is given, or refuses; all its other tools do nothing."""
    pytest.importorskip("submitit")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("srun", "squeue", "scontrol", "scancel"):
        (tools / name).write_text("#!/bin/sh\nexit 0\n")
    (tools / "sbatch").write_text(
        f'#!/bin/sh\nif [ -e "{tmp_path}/full" ]; then\n'
        'echo "sbatch: error: no room" >&2; exit 1; fi\n'
        f'cp "$1" "{tmp_path}/asked.sh"\necho "Submitted batch job 77"\n'
    )
    for tool in tools.iterdir():
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    return tmp_path


def test_what_a_cluster_is_asked_for(sbatch):
    settings = LaunchConfig(
        launcher="slurm", nodes=2, gpus_per_node=4, cpus_per_task=6, mem_gb=0.5, timeout_min=90,
        partition="gpu", account="lab", grace_s=60, folder=str(sbatch / "logs"),
        setup=("module load cuda",), extra={"reservation": "week12"},
    )  # fmt: skip
    (job,) = submit([TrainingJob("legs:main", ["train"])], settings, "legs-train")
    asked = (sbatch / "asked.sh").read_text()
    wanted = {
        "nodes=2", "ntasks-per-node=4", "gpus-per-node=4", "cpus-per-task=6", "mem=512M",
        "time=90", "partition=gpu", "account=lab", "signal=USR2@60", "reservation=week12",
        "requeue", "job-name=legs-train",
    }  # fmt: skip
    assert wanted <= {line.removeprefix("#SBATCH --") for line in asked.splitlines()}
    assert asked.index("module load cuda") < asked.index("srun ")
    assert "--kill-on-bad-exit=1" in asked
    assert "-le 3 ]" in asked
    assert job.job == "77"
    assert str(job.errors).startswith(str(sbatch / "logs/legs-train/77"))
    assert subprocess.run(["bash", "-n", sbatch / "asked.sh"], check=False).returncode == 0


def test_only_training_starts_again_after_a_crash(sbatch):
    settings = LaunchConfig(launcher="slurm", folder=str(sbatch / "logs"))
    submit([CommandJob("legs:main", ["embed"])], settings, "legs-embed")
    assert "-le 0 ]" in (sbatch / "asked.sh").read_text()


def test_several_jobs_are_an_array(sbatch):
    settings = LaunchConfig(launcher="slurm", array_parallelism=2, folder=str(sbatch / "logs"))
    jobs = submit([TrainingJob("legs:main", [str(i)]) for i in range(5)], settings, "legs-train")
    assert "#SBATCH --array=0-4%2" in (sbatch / "asked.sh").read_text()
    assert [job.job for job in jobs] == [f"77_{i}" for i in range(5)]


def test_a_refusal_is_one_line(sbatch, capsys):
    (sbatch / "full").touch()
    settings = LaunchConfig(launcher="slurm", folder=str(sbatch / "logs"))
    with pytest.raises(UserError, match=r"launch: SLURM refuses the job \(no room\)"):
        submit([CommandJob("legs:main", [])], settings, "legs-walk")
    assert capsys.readouterr().err == ""


def test_without_slurm_the_tools_that_are_missing_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="no sbatch, srun, squeue on this machine"):
        submit([CommandJob("legs:main", [])], LaunchConfig(launcher="slurm"), "legs-walk")


def test_the_mistakes_of_training_are_told_before_anything_waits(sbatch, monkeypatch):
    monkeypatch.setattr(elsewhere_module, "_entry", lambda program: "legs:main")
    seen: list[list[str]] = []

    def train(words: list[str]) -> None:
        seen.append(words)
        if "wrong=1" in words:
            raise UserError("wrong: unknown key")

    def run(*words: str) -> int:
        line = ["train", *words, "launch=slurm", f"launch.folder={sbatch / 'logs'}"]
        return commands.run_verbs("legs", "1", "", {"train": train}, line, {"train": trainer_words})

    assert run("wrong=1") == 2
    assert not (sbatch / "asked.sh").exists()
    assert run("a=1", "launch.nodes=2") == 0
    assert seen[-1] == ["a=1", "trainer.devices=1", "trainer.num_nodes=2", "--dry-run"]
    assert (sbatch / "asked.sh").exists()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\nb\n", "b"),
        ("epoch 1\repoch 2\repoch 3", "epoch 3"),
        ("error: no data\nsrun: error: n1: task 0: Exited\n\n", "error: no data"),
        ("", ""),
    ],
)
def test_last_line_of_a_log_is_that_of_the_work(tmp_path, text, line):
    (tmp_path / "log").write_text(text)
    assert last_line(tmp_path / "log") == line
    assert last_line(tmp_path / "none") == ""


@pytest.mark.parametrize(
    ("told", "state"),
    [
        (
            "JobState=RUNNING Reason=None Restarts=2 ExitCode=0:0 RunTime=00:01:02 NodeList=n1",
            ("RUNNING", 0, "00:01:02 on n1, restart 2"),
        ),
        (
            "JobId=3 JobState=PENDING Reason=Priority Restarts=0 ExitCode=0:0 RunTime=00:00:00",
            ("PENDING", 0, "waiting: Priority"),
        ),
        (
            "JobId=3 JobState=FAILED Restarts=0 ExitCode=2:0 RunTime=00:00:07 NodeList=n2",
            ("FAILED", 2, "00:00:07 on n2"),
        ),
        (
            "JobId=3 JobState=FAILED Restarts=0 ExitCode=0:9 RunTime=00:00:07 NodeList=n2",
            ("FAILED", 137, "00:00:07 on n2"),
        ),
        ("", ("FORGOTTEN", 0, "")),
    ],
)
def test_what_slurm_tells_of_a_job(monkeypatch, tmp_path, told, state):
    (tmp_path / "scontrol").write_text(f"#!/bin/sh\necho '{told}'\n")
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert state_of("3") == state
