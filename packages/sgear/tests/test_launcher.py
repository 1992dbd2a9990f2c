"""`sgear launch`: what it starts, where, what it asks; nothing real is submitted."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import pickle
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import submitit
import torch

from behaviorzoo.errors import UserError
from sgear import experiments, launcher
from sgear.cli import main
from sgear.job import Job
from sgear.launcher import Launch, launch
from sgear.run_folder import read_settings

TSN = "expts/ek100_SGEAR_tsn.txt"


@pytest.fixture(autouse=True)
def there(tmp_path, monkeypatch):
    """A working folder of its own, without GPUs and without somebody to ask."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    return tmp_path


@pytest.fixture(scope="session")
def small():
    path = Path(__file__).with_name("sgear_small_run.py")
    spec = importlib.util.spec_from_file_location("sgear_small_run", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["sgear_small_run"] = module  # jobs of other processes name it
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def data(small, tmp_path_factory):
    return small.write_features(tmp_path_factory.mktemp("features"))


@pytest.fixture
def started(monkeypatch):
    """Jobs are noted, not done."""
    jobs = []
    monkeypatch.setattr(Job, "__call__", lambda self: jobs.append(self) or self.folder)
    return jobs


def program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IEXEC)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Programs by the names of SLURM's that write down how they were called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program(folder, "sbatch", f'cp "$1" {tmp_path}/sbatch.sh; echo Submitted batch job 41')
    program(folder, "scancel", f'echo "$@" > {tmp_path}/scancel.txt')
    program(folder, "srun", "exit 1")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return tmp_path


def experiment(folder: Path, *lines: str) -> str:
    (folder / "expts").mkdir(exist_ok=True)
    (folder / "expts" / "mine.txt").write_text("\n".join(lines) + "\n")
    return "expts/mine.txt"


# ------------------------------------------------------------------ which experiment


def test_own_experiments_come_before_packaged_ones(there):
    assert "train.num_epochs=20" in experiments.overrides(TSN)
    (there / "expts").mkdir()
    (there / TSN).write_text("train.num_epochs=3  # mine\n")
    assert experiments.overrides(TSN) == ["train.num_epochs=3"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ek100_SGEAR_tsn.txt", "write expts/ek100_SGEAR_tsn.txt"),
        ("/tmp/expts/a.txt", "experiments lie in the folder expts/"),
        ("expts/../a.txt", "experiments lie in the folder expts/"),
        ("expts/ek100_SGEAR_tsm.txt", "did you mean 'expts/ek100_SGEAR_tsn.txt'?"),
    ],
)
def test_names_of_experiments(name, message):
    with pytest.raises(UserError) as error:
        experiments.overrides(name)
    assert message in str(error.value)


# ------------------------------------------------------------------ here


def test_local_run(there, started):
    assert launch(Launch(TSN, local=True)) == there / "OUTPUTS" / TSN / "0"
    [job] = started
    assert job.agent == there / "OUTPUTS" / TSN
    assert "+dataset_train.reader_fn.lmdb_path=${cwd}/DATA" in " ".join(job.words)
    assert "hydra.launcher.gpus_per_node=0" in job.words
    assert job.check()["_target_"].endswith("LocalLauncher")


def test_debug_run_has_no_workers_and_a_folder_of_its_own(there, started):
    launch(Launch(TSN, debug=True))
    launch(Launch(TSN, debug=True, test=True))
    first, second = started
    assert first.folder == there / "OUTPUTS" / TSN / "local"
    assert second.folder == there / "OUTPUTS" / TSN / "0"
    config, _ = first._configure()
    assert (config.data_train.workers, config.data_eval.workers) == (0, 0)
    assert config.data_eval.num_frames == 15
    assert not config.settings.test_only
    assert second._configure()[0].settings.test_only


def test_one_run_of_a_sweep(there, started, monkeypatch):
    name = experiment(there, "seed=1,2", "model.extracted_features=true", "train.num_epochs=3,4")
    words = ("model/temporal_aggregator=mean",)
    with pytest.raises(UserError, match="4 runs and one can be started here"):
        launch(Launch(name, local=True, rest=words))
    launch(Launch(name, local=True, run_id=2, rest=words))
    assert started[0].folder.name == "2"
    assert started[0].words[0] == "seed=2"
    assert "train.num_epochs=3" in started[0].words
    with pytest.raises(UserError, match="no run 4"):
        launch(Launch(name, local=True, run_id=4, rest=words))
    answers = io.StringIO("3\n")
    answers.isatty = lambda: True
    monkeypatch.setattr("sys.stdin", answers)
    launch(Launch(name, local=True, rest=words))
    assert started[1].folder.name == "3"


def test_mistakes_are_told_before_anything_starts(there, started):
    name = experiment(there, "train.batch_sise=3")
    with pytest.raises(UserError, match=r"did you mean 'train\.batch_size'\?"):
        launch(Launch(name, local=True))
    name = experiment(there, "model/backbone=identity", "model.extracted_features=false")
    with pytest.raises(UserError, match="extracted_features"):
        launch(Launch(name, local=True))
    assert not started
    assert not (there / "OUTPUTS").exists()


def test_old_meeting_points_go_and_first_settings_stay(there, started):
    run = there / "OUTPUTS" / TSN / "0"
    (run / ".hydra").mkdir(parents=True)
    (run / ".hydra" / "config.yaml").write_text("first: 1\n")
    (run / "sync_file_init").touch()
    launch(Launch(TSN, local=True))
    assert not (run / "sync_file_init").exists()
    (run / ".hydra" / "config.yaml").write_text("second: 1\n")
    launch(Launch(TSN, local=True))
    assert (run / ".hydra.orig" / "config.yaml").read_text() == "first: 1\n"


def test_a_run_from_a_txt_file_to_its_results(there, small, data, capsys):
    """As published: through the launcher, stopped and gone on with, then evaluated only."""
    lines = [word for word in small.words(data) if not word.startswith(("device", "train.num"))]
    name = experiment(there, "# two runs", *lines, "train.num_epochs=1,2", "device=cpu")
    assert main(["launch", "-c", name, "-l", "--run_id", "1"]) == 0
    run = there / "OUTPUTS" / name / "1"
    saved = torch.load(run / "checkpoint.pth", weights_only=True)
    assert {"model", "optimizer", "lr_scheduler", "epoch"} <= set(saved)
    assert saved["epoch"] == 2
    assert (run / "results" / "0.h5").exists()
    assert list((run / "logs").glob("events*"))
    assert "train.num_epochs=2" in read_settings(run)[1].overrides
    assert main(["launch", "-c", name, "-l", "--run_id", "1"]) == 0
    assert "all 2 epochs are done, nothing to go on with" in capsys.readouterr().out
    assert main(["launch", "-c", name, "-g", "-t", "--run_id", "1"]) == 0
    assert "dataset_eval after 2 epochs" in capsys.readouterr().out
    assert main(["launch", "-c", name, "-l", "--run_id", "1", "seed=3"]) == 2
    assert "other settings: seed 42 -> 3" in capsys.readouterr().err
    assert main(["launch", "-c", name, "-d"]) == 2
    assert "Add --yes" in capsys.readouterr().err
    assert main(["launch", "-c", name, "-d", "--yes"]) == 0
    assert not any((there / "OUTPUTS" / name).iterdir())


def test_several_processes_here(there, small, data):
    """Two tasks of submitit's local executor: they meet in a file of the run folder."""
    more = ["hydra.launcher.tasks_per_node=2", "hydra.launcher.timeout_min=9", "train.num_epochs=2"]
    # Not GPT-2, which costs every process some seconds to import.
    more += ["model/temporal_aggregator=mean", "model/future_predictor=mlp"]
    more += [
        "train.train_one_epoch_fn.loss_wts.past_cls_action=0",
        "model.classifier_on_past=false",
    ]
    lines = [word for word in small.words(data) if "future_predictor" not in word]
    name = experiment(there, *lines, *more)
    assert main(["launch", "-c", name, "-l"]) == 0
    run = there / "OUTPUTS" / name / "0"
    assert torch.load(run / "checkpoint.pth", weights_only=True)["world_size"] == 2
    assert {file.name for file in (run / "results").glob("*.h5")} == {"0.h5", "1.h5"}
    assert not list(run.glob("sync_file_init*"))
    assert list((run.parent / ".submitit").glob("*/*_log.out"))


def test_what_a_job_here_ended_with_is_told_in_one_line(there, started, monkeypatch, capsys):
    class Refused:
        paths = type("Paths", (), {"stderr": "log.err"})

        def results(self):
            raise submitit.core.utils.FailedJobError(
                "Traceback\n  x\nbehaviorzoo.errors.UserError: too few clips\n---\nlogs"
            )

    made = type("Executor", (), {"submit": lambda self, job: Refused()})
    monkeypatch.setattr(launcher, "executor", lambda *a: made())
    assert main(["launch", "-c", TSN, "-l", "hydra.launcher.tasks_per_node=2"]) == 2
    assert "0: too few clips; logs: log.err" in capsys.readouterr().err


# ------------------------------------------------------------------ on a cluster


def test_runs_are_submitted_as_an_array(there, slurm, capsys):
    name = experiment(there, *experiments.overrides("expts/50salads_SGEAR_vit.txt"))
    words = ["hydra.launcher.gpus_per_node=4", "hydra.launcher.timeout_min=90"]
    assert main(["launch", "-c", name, "-p", "fast", *words]) == 0
    told = capsys.readouterr().out
    agent = there / "OUTPUTS" / name
    for number in range(5):
        assert f"job 41_{number}: {agent / str(number)}" in told
    script = (slurm / "sbatch.sh").read_text()
    for line in (
        "--array=0-4%",
        "--partition=fast",
        "--nodes=2",
        "--gpus-per-node=4",
        "--ntasks-per-node=4",
        "--cpus-per-task=10",
        "--mem=450GB",
        "--time=90",
        "--job-name=S-GEAR",
        "--signal=USR2@120",
    ):
        assert line in script, line
    pickled = sorted((agent / ".submitit").rglob("*_submitted.pkl"))
    assert len(pickled) == 5
    delayed = [submitit.core.utils.DelayedSubmission.load(file) for file in pickled]
    jobs = [entry.function for entry in delayed]
    assert [job.index for job in jobs] == list(range(5))
    assert "dataset.dundee50salads.common.fold=4" in jobs[3].words
    assert {entry._timeout_countdown for entry in delayed} == {3}
    assert all(entry._checkpoint_function() is not None for entry in delayed)


def test_one_run_of_a_sweep_is_submitted_alone(there, slurm, capsys):
    assert main(["launch", "-c", "expts/50salads_SGEAR_vit_AR.txt", "--run_id", "3"]) == 0
    assert capsys.readouterr().out.count("job 41") == 1
    with pytest.raises(UserError, match="-p is a queue of a scheduler"):
        launch(Launch("expts/50salads_SGEAR_vit_AR.txt", local=True, partition="fast", run_id=0))


def test_without_gpus_no_gpu_is_asked_for(there, slurm):
    assert main(["launch", "-c", TSN, "hydra.launcher.gpus_per_node=0"]) == 0
    script = (slurm / "sbatch.sh").read_text()
    assert "--gpus" not in script
    assert "--ntasks-per-node=1" in script


def test_jobs_are_cancelled_after_a_question(there, slurm, capsys):
    assert main(["launch", "-c", TSN]) == 0
    assert main(["launch", "-c", TSN, "-k"]) == 2
    assert "cancel the jobs 41? Add --yes" in capsys.readouterr().err
    assert not (slurm / "scancel.txt").exists()
    assert main(["launch", "-c", TSN, "-k", "--yes"]) == 0
    assert (slurm / "scancel.txt").read_text() == "41\n"


def test_declined_means_nothing_happens(there, slurm, monkeypatch, capsys):
    """The original goes on and trains."""
    assert main(["launch", "-c", TSN]) == 0
    (slurm / "sbatch.sh").unlink()
    for option in ("-k", "-d"):
        answers = io.StringIO("n\n")
        answers.isatty = lambda: True
        monkeypatch.setattr("sys.stdin", answers)
        assert main(["launch", "-c", TSN, option]) == 0
        assert "nothing" in capsys.readouterr().out
    assert not (slurm / "scancel.txt").exists()
    assert not (slurm / "sbatch.sh").exists()
    assert (there / "OUTPUTS" / TSN / ".submitit").exists()


def test_what_slurm_says_is_told_in_one_line(there, slurm, capsys):
    program(slurm / "bin", "sbatch", "echo 'sbatch: error: invalid partition' >&2; exit 1")
    assert main(["launch", "-c", TSN, "-p", "no"]) == 2
    assert "SLURM refuses the job (invalid partition)" in capsys.readouterr().err


def test_without_slurm(there, monkeypatch, capsys):
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert main(["launch", "-c", TSN]) == 2
    assert "no SLURM on this machine (sbatch is not found); -l" in capsys.readouterr().err
    (there / "OUTPUTS" / TSN / ".submitit" / "12_0").mkdir(parents=True)
    assert main(["launch", "-c", TSN, "-k", "--yes"]) == 2
    assert "scancel is not found" in capsys.readouterr().err


def test_a_job_that_is_taken_away_is_the_same_job_again(there):
    job = Job(("seed=1",), there, there / "0", 0, there)
    again = pickle.loads(pickle.dumps(job)).checkpoint()
    assert again.function == job


# ------------------------------------------------------------------ looking at runs


def test_tensorboard_and_files(there):
    called = []

    def start(command):
        called.append(command)
        return 0

    with pytest.raises(UserError, match="no run there yet"):
        launcher.serve(TSN, "files", start)
    folder = there / "OUTPUTS" / TSN
    folder.mkdir(parents=True)
    launcher.serve(TSN, "tensorboard", start)
    launcher.serve(TSN, "files", start)
    board, files = called
    assert board[1:5] == ["-m", "tensorboard.main", "--logdir", str(folder)]
    assert board[board.index("--window_title") + 1] == TSN
    assert 30303 <= int(board[board.index("--port") + 1]) <= 30398
    assert files[1:3] == ["-m", "http.server"]
    assert str(folder) in files


def test_a_server_that_does_not_run_is_told(there):
    (there / "OUTPUTS" / TSN).mkdir(parents=True)
    with pytest.raises(UserError, match=r"tensorboard\.main ended with exit code 1"):
        launcher.serve(TSN, "tensorboard", lambda _: 1)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_server_ends_with_the_launcher(there, number, code):
    """Else it would keep its port, and nobody would know of it."""
    import socket
    import time

    (there / "OUTPUTS" / TSN).mkdir(parents=True)
    words = [sys.executable, "-m", "sgear.cli", "launch", "-c", TSN, "-f"]
    # Ctrl-C reaches it wherever the tests run: in a background job of a shell it would not.
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, text=True, cwd=there,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as launched, contextlib.ExitStack() as end:  # fmt: skip
        end.callback(launched.kill)
        assert launched.stdout is not None
        port = int(launched.stdout.readline().split()[0].rpartition(":")[2])

        def listening() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        limit = time.monotonic() + 60
        while not listening() and time.monotonic() < limit:
            time.sleep(0.05)
        assert listening()
        launched.send_signal(number)
        assert launched.wait(30) == code
        assert not listening()


def test_free_port():
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match="no free port"):
            launcher.free_port(port, port)
        assert launcher.free_port(port, port + 20) > port


def test_number_of_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2")
    assert launcher.gpu_count() == 2
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert launcher.gpu_count() == 0
    monkeypatch.setattr("shutil.which", lambda name: "nvidia-smi")
    listed = subprocess.CompletedProcess([], 0, "GPU 0: A\nGPU 1: B\n", "")
    monkeypatch.setattr("subprocess.run", lambda *a, **k: listed)
    assert launcher.gpu_count() == 2


def test_order_of_what_is_asked(there, monkeypatch):
    """Kill before TensorBoard before files before deletion before training."""
    called = []
    monkeypatch.setattr(launcher, "kill", lambda *a: called.append("kill") or [])
    monkeypatch.setattr(launcher, "serve", lambda cfg, what: called.append(what))
    monkeypatch.setattr(launcher, "delete", lambda *a: called.append("delete"))
    monkeypatch.setattr(launcher, "launch", lambda *a: called.append("train"))
    options = ["-k", "--tb", "-f", "-d"]
    for number in range(5):
        assert main(["launch", "-c", TSN, *options[number:]]) == 0
    assert called == ["kill", "tensorboard", "files", "delete", "train"]
