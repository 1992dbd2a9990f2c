"""The training loop: batches, updates, evaluations, checkpoints, what it refuses."""

from __future__ import annotations

import csv
import importlib.util
import json
import math
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from behaviorzoo.errors import UserError
from sgear.config import configure
from sgear.distributed import Place, Processes, choose_device, find_place
from sgear.loader import BatchPlan, check_plan, load
from sgear.meters import Meter
from sgear.precision import choose_precision
from sgear.stopping import RunStop

CPU = torch.device("cpu")
WEIGHTS = "train.train_one_epoch_fn.loss_wts"


@pytest.fixture(scope="module")
def small():
    path = Path(__file__).with_name("sgear_small_run.py")
    spec = importlib.util.spec_from_file_location("sgear_small_run", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["sgear_small_run"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data(small, tmp_path_factory):
    return small.write_features(tmp_path_factory.mktemp("features"))


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as handle:
        return list(csv.DictReader(handle))


# ------------------------------------------------------------------ batches


@given(st.integers(1, 40), st.integers(1, 7), st.integers(1, 4), st.booleans(), st.integers(0, 3))
@hypothesis_settings(max_examples=60, deadline=None)
def test_processes_share_every_batch_evenly(n_items, batch_size, world_size, shuffle, epoch):
    def plan(rank: int, size: int, world: int) -> list[list[tuple[int, int]]]:
        return BatchPlan(
            n_items, size, seed=3, shuffle=shuffle, rank=rank, world_size=world
        ).batches(epoch)

    shares = [plan(rank, batch_size, world_size) for rank in range(world_size)]
    assert len({len(share) for share in shares}) == 1
    together = [[item for share in shares for item in share[i]] for i in range(len(shares[0]))]
    assert all(len(batch) == len(shares[0][i]) * world_size for i, batch in enumerate(together))
    seen = [index for batch in together for index, _ in batch]
    assert set(seen) == set(range(n_items))
    assert len(seen) - n_items < world_size
    if n_items % world_size == 0:
        # The same batches, item by item and seed by seed, as one process would have.
        assert together == plan(0, batch_size * world_size, 1)
    for share, start in ((shares[0], len(shares[0]) // 2),):
        tail = BatchPlan(
            n_items, batch_size, seed=3, shuffle=shuffle, world_size=world_size
        ).batches(epoch, start)
        assert tail == share[start:]


def test_order_changes_with_the_epoch_and_incomplete_batches_can_be_dropped():
    plan = BatchPlan(10, 4, seed=1)
    assert plan.batches(0) != plan.batches(1)
    assert plan.batches(0) == plan.batches(0)
    assert [len(batch) for batch in plan.batches(0)] == [4, 4, 2]
    dropped = BatchPlan(10, 4, seed=1, drop_last=True)
    assert [len(batch) for batch in dropped.batches(0)] == [4, 4]
    with pytest.raises(UserError, match="3 clips cannot fill one batch of 4 on each of 2"):
        check_plan(BatchPlan(3, 4, drop_last=True, world_size=2), "dataset_train")


class Broken:
    """A data set in which some clips cannot be read."""

    def __init__(self, broken):
        self.broken = set(broken)

    def __len__(self):
        return 6

    def item(self, index, seed):
        from sgear.data.dataset import BrokenClip

        if index in self.broken:
            return BrokenClip(index, f"u{index}", f"v{index}.mp4 is damaged")
        return {"idx": index, "uid": f"u{index}", "target": {"action": index}}


def test_broken_clips_are_replaced_in_training_and_left_out_in_evaluation():
    plan = BatchPlan(6, 3, shuffle=False)
    first, second = load(Broken([1, 5]), plan, 0, replace_broken=True)
    assert first["uid"] == ["u0", "u2", "u2"]
    assert second["uid"] == ["u3", "u4", "u0"]
    assert [clip.uid for clip in first["broken"]] == ["u1"]
    first, second = load(Broken([1, 3, 4, 5]), plan, 0)
    assert first["idx"].tolist() == [0, 2]
    assert second["idx"].tolist() == []
    assert len(second["broken"]) == 3
    for workers in (0, 1):
        with pytest.raises(UserError, match=r"\A6 clips one .* v\d\.mp4 is damaged\Z"):
            next(load(Broken(range(6)), plan, 0, workers=workers, replace_broken=True))


# ------------------------------------------------------------------ updates


def test_updates_are_those_of_a_plain_loop(small, data, tmp_path):
    """Summed gradients, clipping after every batch, rates of the schedule, written out."""
    from sgear.assembly import build_network, open_data
    from sgear.losses import Targets
    from sgear.run import build_criterion
    from sgear.training import Trainer, loss_weights

    words = small.words(data, "model.dropout=0", "opt.accumulate=2", "opt.grad_clip.max_norm=0.5")
    words += [f"model.future_predictor.{name}_pdrop=0" for name in ("attn", "embd", "resid")]
    config, _ = configure([*words, "train.num_epochs=2", "opt.bias_bn_wd_scale=0.5"])
    sets = open_data(config, lambda text: None)
    processes = Processes(Place(), CPU)
    networks = [build_network(config, sets.main) for _ in range(2)]
    criterion = build_criterion(config, sets)
    trainer = Trainer(config, networks[0], criterion, replace(sets, evals={}), processes, tmp_path)
    trainer.fit()

    model, weights = networks[1], loss_weights(config)
    model.train()
    plan = BatchPlan(len(sets.main), 4, seed=42)
    total, warm, base = 2 * len(plan), len(plan), 0.05
    momentum: dict[str, torch.Tensor] = {}
    lr, step = 0.0, 0
    for epoch in range(2):
        for batch in load(sets.main, plan, epoch):
            i = step
            if i < warm:
                lr = base * i / warm
            else:
                height = base * (warm - 1) / warm
                lr = height * (1 + math.cos(math.pi * (i - warm + 1) / warm)) / 2
                lr = lr if i - warm + 1 < warm else 0.0
            outputs, losses = model(batch["video"])
            targets = Targets(batch["target"], batch["past_target"])
            more, _ = criterion(outputs, targets, model.vis_prototypes)
            sum(
                weights[name] * value.mean()
                for name, value in {**losses, **more}.items()
                if weights[name] > 0
            ).backward()
            grads = [p.grad for p in model.parameters() if p.grad is not None]
            norm = torch.sqrt(sum(g.square().sum() for g in grads))
            for grad in grads:
                grad.mul_(min(1.0, 0.5 / (float(norm) + 1e-6)))
            step += 1
            if step % 2 == 0:
                for name, p in model.named_parameters():
                    if p.grad is None:
                        continue
                    decay = 0.0001 * (0.5 if name.endswith("bias") else 1.0)
                    grad = p.grad + decay * p.detach()
                    momentum[name] = 0.9 * momentum[name] + grad if name in momentum else grad
                    p.data -= lr * momentum[name]
                    p.grad = None
    assert step == total
    for name, value in networks[0].named_parameters():
        torch.testing.assert_close(
            value, model.get_parameter(name), rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n} {m}"
        )


def test_the_network_learns_what_comes_next(small, data, tmp_path):
    words = ["train.num_epochs=20", "opt/optimizer=adam", "opt.lr_wd=[[__all__,0.01,0.0]]"]
    words += ["opt.accumulate=1", "train.eval_freq=20", "compat=corrected", "train.store_best=true"]
    words += ["model.prot_attn=false", "model.dropout=0", "dataset_train.is_train=false"]
    words += [f"{WEIGHTS}.target_distance=0", f"{WEIGHTS}.past_cls_action=0"]
    run = small.start(tmp_path / "run", small.words(data, *words))
    table = rows(run)
    last = [row for row in table if row.get("val_final_acc/action/top1")][-1]
    assert float(last["val_final_acc/action/top1"]) > 80  # chance: 20
    losses = [float(row["train_cls_action"]) for row in table if row["train_cls_action"]]
    assert np.mean(losses[-6:]) < 0.5 * np.mean(losses[:6])
    assert (run / "checkpoint_best.pth").exists()


# ------------------------------------------------------------------ what a run leaves


def test_files_tags_and_columns_of_a_run(small, data, tmp_path, capsys):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = ["train.train_one_epoch_fn.save_freq=2", "train.num_epochs=4", "train.batch_size=8"]
    words += ["dataset@dataset_eval_b=own/anticipation_train", "train.store_best=true"]
    words += ["dataset_eval_b.sample_strategy=last_clip", "train.eval_freq=3"]
    words += ["eval.eval_fn.store_embeddings=true"]
    run = small.start(tmp_path / "run", small.words(data, *words))
    names = {file.name for file in run.glob("*.pth")}
    assert names == {
        *("checkpoint.pth", "checkpoint_1.pth", "checkpoint_3.pth", "checkpoint_best.pth"),
        "embeddings.pth",
    }
    assert torch.load(run / "checkpoint_3.pth", weights_only=True)["epoch"] == 3
    board = EventAccumulator(str(run / "logs")).Reload()
    tags = set(board.Tags()["scalars"])
    assert {
        *("train_per_iter/loss", "train_per_iter/lr", "train_per_iter/clips_per_sec"),
        *("train_per_iter/acc1/action", "train_per_iter/acc5/action", "train_per_iter/feat"),
        *("eval_per_epoch/final_acc/action/top1", "eval_per_epoch_b/final_acc/action/AR5"),
    } <= tags
    assert len(board.Scalars("train_per_iter/loss")) == 12
    table = rows(run)
    assert [row["step"] for row in table if row["train_loss"]] == [str(i + 1) for i in range(12)]
    evaluated = [float(row["epoch"]) for row in table if row["val_final_acc/action/top1"]]
    assert evaluated == [1, 4]  # after epochs 0, 3, ... and the last
    told = capsys.readouterr().out
    assert "dataset_eval_b: 24 clips" in told
    assert "epoch 0.33/4  batch 1/3" in told
    for suffix, count in (("", 8), ("_b", 24)):
        from sgear.results import read_results

        results = read_results(run / f"results{suffix}")
        assert len(results.idx) == count
        assert results.losses["past_cls_action"].shape == (count, 4)
    saved = {path.name for path in (run / ".hydra").iterdir()}
    assert saved == {"config.yaml", "hydra.yaml", "overrides.yaml", "resolved.yaml"}


def test_checkpoints_inside_an_epoch(small, data, tmp_path):
    words = ["train.train_one_epoch_fn.save_freq=0.5", "train.num_epochs=2", "train.eval_freq=9"]
    words += ["train.train_one_epoch_fn.save_intermediates=true"]
    run = small.start(tmp_path / "run", small.words(data, *words))
    names = sorted(file.name for file in run.glob("checkpoint_*.pth"))
    assert names == ["checkpoint_ep0.50000000.pth", "checkpoint_ep1.50000000.pth"]
    inside = torch.load(run / names[1], weights_only=True)
    assert inside["epoch"] == 1.5
    assert inside["progress"]["batch"] == 3


def test_only_evaluation(small, data, tmp_path, capsys):
    words = small.words(data, "train.num_epochs=2")
    run = tmp_path / "run"
    with pytest.raises(UserError, match=r"no checkpoint to evaluate; train first"):
        small.start(run, [*words, "test_only=true"])
    small.start(run, words)
    (run / "results" / "0.h5").unlink()
    (run / "results" / "3.h5").write_bytes(b"of more processes")
    small.start(run, [*words, "test_only=true"])
    assert (run / "results" / "0.h5").exists()
    assert not (run / "results" / "3.h5").exists()
    figures = json.loads((run / "figures.json").read_text())
    last = rows(run)[-1]
    top1 = figures["dataset_eval"]["final_acc/action/top1"]
    assert top1 == pytest.approx(float(last["val_final_acc/action/top1"]))
    # Weights of another file, nothing kept
    weights = f"train.init_from_model=[[{run / 'checkpoint.pth'}]]"
    other = tmp_path / "other"
    small.start(other, [*words, "test_only=true", weights, "eval.eval_fn.store=false"])
    assert not (other / "results").exists()
    again = json.loads((other / "figures.json").read_text())
    assert again["dataset_eval"]["final_acc/action/top1"] == pytest.approx(top1)


@pytest.mark.parametrize(
    "words",
    [
        ["train.use_mixup=true", "train.mixup_alpha=0.8", "train.label_smoothing=0.1"],
        ["transductive=true"],
        ["opt.classifier_only=true"],
        ["opt/scheduler=reduce_lr_on_plateau", "opt/optimizer=adamW", "opt.scheduler.patience=0"],
        ["train_eval_op/cls_loss_acc_fn=no", "precision=bf16"],
        ["train_eval_op.cls_loss_acc_fn.balance_classes=true", "opt.scale_lr_by_bs=true"],
        ["model.freeze_prototypes=true", "opt/scheduler=warmup_multi_step"],
    ],
    ids=lambda words: words[0],
)
def test_other_ways_to_train(small, data, tmp_path, words):
    few = [
        "train.num_epochs=2",
        "train.batch_size=8",
        "opt.accumulate=1",
        "opt.warmup.num_epochs=0",
    ]
    given = [
        w
        for w in small.words(data, *few)
        if w != "opt/scheduler=cosine" or "plateau" not in words[0]
    ]
    run = small.start(tmp_path / "run", [*given, *words])
    table = rows(run)
    trained = [row for row in table if row["train_loss"]]
    batches = 3 + ("transductive=true" in words)
    assert len(trained) == 2 * batches
    assert all(math.isfinite(float(row["train_loss"])) for row in trained)
    saved = torch.load(run / "checkpoint.pth", weights_only=True)
    assert math.isfinite(saved["progress"]["best"])
    if "opt.classifier_only=true" in words:
        n_trained = sum(len(group["params"]) for group in saved["optimizer"]["param_groups"])
        assert n_trained == 2


# ------------------------------------------------------------------ what it refuses


def test_a_loss_that_is_no_number_names_the_batch(small, tmp_path):
    broken = small.write_features(tmp_path / "data")
    features = np.load(broken / "features" / "v1.npy")
    features[:, 200:] = np.nan
    np.save(broken / "features" / "v1.npy", features)
    with pytest.raises(UserError) as error:
        small.start(tmp_path / "run", small.words(broken))
    text = str(error.value)
    assert "epoch 1, batch 1 (clips " in text
    assert "the loss is not a number (" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (
            "dataset.own.common.visual_encodings_path=none.pth",
            "no file none.pth; `sgear prototypes",
        ),
        ("dataset.own.common.similarities_path=none.pth", "loss_wts.global_simContrast=0"),
        ("dataset.own.common.folder=/no/where", "/no/where"),
        ("train.init_from_model=[[none.pth]]", "none.pth"),
        ("precision=fp16", "precision=fp16: cpu has no fast half precision"),
        ("device=cuda:77", "device=cuda:77: this machine does not have it"),
        ("device=nonsense", "device=nonsense"),
        ("opt.lr_wd=[[nowhere,0.1,0.1]]", "the network has no 'nowhere'"),
        ("dataset_eval.label_type=verb", "label_type=verb, but the annotations have no verb"),
        ("opt.warmup.num_epochs=4", "nothing is left behind the warm-up"),
        ("train.train_one_epoch_fn.loss_wts.nothing=1", "unknown key"),
    ],
)
def test_mistakes_of_a_run(small, data, tmp_path, word, message):
    with pytest.raises(UserError) as error:
        small.start(tmp_path / "run", small.words(data, word))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_other_classes_in_evaluation_are_refused(small, data, tmp_path):
    words = ["dataset@dataset_eval=kitchen/anticipation_val", "dataset_eval.kind=table"]
    words += [f"dataset_eval.annotation_path={data}/annotations/validation.csv"]
    listed = tmp_path / "classes.csv"
    listed.write_text("label\nact 0\nact 1\n")
    words += [f"dataset_eval.action_labels_fpath={listed}"]
    reader = f"dataset_eval.reader_fn={{kind: npy, path: {data}/features}}"
    run = small.words(data, *words, reader, "train.num_epochs=2")
    config, _ = configure(run)
    from sgear.assembly import open_data

    # Classes of the training set count for a table: its list is not looked at.
    found = open_data(config, lambda text: None)
    assert found.evals[""].num_classes == found.main.num_classes


# ------------------------------------------------------------------ places and formats


def test_places_of_processes(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "SUBMITIT_EXECUTOR", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    assert find_place() == Place()
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    monkeypatch.setenv("SLURM_PROCID", "3")
    monkeypatch.setenv("SLURM_LOCALID", "1")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    assert find_place() == Place(3, 4, 1, "12_2")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert (find_place().rank, find_place().world_size) == (1, 2)
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(UserError, match="WORLD_SIZE is 'two'"):
        find_place()
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    monkeypatch.setenv("SLURM_NTASKS", "8")
    assert find_place() == Place(3, 8, 1, "12_2")


def test_a_scheduler_that_takes_the_machine_away_queues_the_job_again(monkeypatch):
    """Submitit's own handler is called, but after the state has been saved."""
    called = []
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    monkeypatch.setattr("time.sleep", called.append)
    before = signal.signal(signal.SIGUSR2, lambda number, frame: called.append("queued"))
    try:
        stop = RunStop()
        with stop:
            os.kill(os.getpid(), signal.SIGUSR2)
            assert stop.signal == signal.SIGUSR2
            assert called == []
            with pytest.raises(SystemExit) as end:
                stop.leave(signal.SIGUSR2)
        assert called == ["queued", 120.0]  # others than the first wait to be ended
        assert end.value.code == 0  # not a failure: the job is in the queue again
        os.kill(os.getpid(), signal.SIGUSR2)
        assert called[-1] == "queued"  # the handler is submitit's again
    finally:
        signal.signal(signal.SIGUSR2, before)
    with pytest.raises(KeyboardInterrupt):
        RunStop().leave(signal.SIGINT)
    with pytest.raises(SystemExit) as end:
        RunStop().leave(signal.SIGTERM)
    assert end.value.code == 143


def test_number_formats():
    assert choose_precision("auto", CPU) == "fp32"
    assert choose_precision("auto", torch.device("cuda")) == "fp16"
    assert choose_precision("bf16", CPU) == "bf16"
    assert choose_device("cpu") == CPU


def test_means_since_the_last_row():
    meter, alone = Meter(), Processes(Place(), CPU)
    assert meter.means(alone) == {}
    meter.add({"a": torch.tensor(1.0), "b": torch.tensor(4.0)})
    meter.add({"a": torch.tensor(2.0)})
    meter.gather(alone)
    copy = Meter()
    copy.load(meter.state(), alone)
    assert meter.means(alone) == copy.means(alone) == {"a": 1.5, "b": 4.0}
    assert meter.means(alone) == {}
