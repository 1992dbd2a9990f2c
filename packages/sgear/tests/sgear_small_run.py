"""A data set of features in which the next action can be known, and small runs on it.

Not a test: tests import it, also in processes of their own.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import torch

N_ACTIONS, WIDTH, FPS, LENGTH = 5, 6, 30.0, 2.0


def write_features(folder: Path, videos: int = 4, actions: int = 9, seed: int = 0) -> Path:
    """Features of videos in which action k is followed by action k + 1, and their files."""
    rng = np.random.default_rng(seed)
    looks = rng.normal(size=(N_ACTIONS, WIDTH)).astype(np.float32)
    for name in ("annotations", "features", "prototypes"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rows = []
    for video in range(videos):
        kinds = (np.arange(actions) + video) % N_ACTIONS
        frames = np.repeat(looks[kinds], int(FPS * LENGTH), axis=0)
        frames = frames + 0.1 * rng.normal(size=frames.shape)
        np.save(folder / "features" / f"v{video}.npy", frames.T.astype(np.float32))
        rows += [
            f"v{video}.mp4,{number * LENGTH},{(number + 1) * LENGTH},act {kind}"
            for number, kind in enumerate(kinds)
        ]
    cut = (videos - 1) * actions
    for name, part in (("train", rows[:cut]), ("validation", rows[cut:])):
        text = "\n".join(["video,start,stop,label", *part]) + "\n"
        (folder / "annotations" / f"{name}.csv").write_text(text)
    write_prototypes(folder / "prototypes", looks)
    return folder


def write_prototypes(folder: Path, looks: np.ndarray) -> None:
    from sgear.prototypes.files import ClassVectors, write_similarities, write_vectors
    from sgear.similarity import cosines, unit

    vectors = torch.from_numpy(np.tile(looks, (1, 11))[:, :64].copy())
    found = ClassVectors(np.arange(N_ACTIONS), vectors)
    write_vectors(folder / "encodings.safetensors", found)
    write_vectors(folder / "visual_encodings.safetensors", found)
    write_similarities(
        folder / "similarities.safetensors", np.arange(N_ACTIONS), cosines(vectors, unit(vectors))
    )


def words(folder: Path, *more: str) -> list[str]:
    """Overrides of a small run on the features."""
    return [
        "dataset@dataset_train=own/anticipation_train",
        "dataset@dataset_eval=own/anticipation_val",
        f"dataset.own.common.folder={folder}",
        f"dataset.own.common.reader_fn={{kind: npy, path: {folder}/features}}",
        "dataset.own.common.conv_to_anticipate_fn.tau_a=0.5",
        "dataset.own.common.conv_to_anticipate_fn.tau_o=2",
        "dataset_train.is_train=true",
        "data_train.num_frames=4",
        "data_train.frame_rate=2",
        "data_train.subclips={num_frames: 1, stride: 1}",
        "data_train.workers=0",
        "data_eval=${data_train}",
        "model/future_predictor=transformer",
        "model.future_predictor.inter_dim=16",
        "model.future_predictor.n_layer=1",
        "model.future_predictor.n_head=2",
        "model.future_predictor.return_past_too=true",
        "model.future_predictor.avg_last_n=1",
        "model.future_predictor.future_pred_loss={_target_: torch.nn.MSELoss}",
        "model/temporal_aggregator=identity",
        "model.extracted_features=true",
        f"model.backbone_dim={WIDTH}",
        "model.intermediate_featdim=64",
        "model.tmp_frames=4",
        "model.prot_attn=true",
        "model.classifier_on_past=true",
        "model.dropout=0.1",
        "train.train_one_epoch_fn.loss_wts.past_cls_action=1",
        "train.train_one_epoch_fn.loss_wts.target_distance=1",
        "train.train_one_epoch_fn.print_freq=1",
        "opt/optimizer=sgd",
        "opt/scheduler=cosine",
        "opt.warmup.num_epochs=1",
        "opt.lr_wd=[[__all__,0.05,0.0001]]",
        "opt.accumulate=2",
        "opt.grad_clip.max_norm=5",
        "train.batch_size=4",
        "train.num_epochs=4",
        "train.eval_freq=2",
        "device=cpu",
        *more,
    ]


def start(out: Path, given: list[str], resume: bool = False) -> Path:
    """Train here."""
    from sgear.config import configure
    from sgear.run import run

    config, tree = configure(given, run_dir=str(out))
    return run(config, tree, out, resume=resume)


def work(
    out: Path, given: list[str], errors: Path, wait: bool, environment: dict[str, str], resume: bool
) -> None:
    """A run in a process of its own, its output in a file."""
    from behaviorzoo import commands

    os.environ.update(environment)
    handle = os.open(errors, os.O_WRONLY | os.O_CREAT)
    os.dup2(handle, 2)
    os.dup2(handle, 1)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    torch.set_num_threads(1)
    if wait:
        _slow_steps(errors.with_suffix(".go"))
    sys.exit(commands.run(lambda: start(out, given, resume)))


def _slow_steps(go: Path) -> None:
    """Steps that wait until the test is ready to watch them, and are easy to hit."""
    from sgear.training import Trainer

    step = Trainer._step

    def slow(self, batch):
        while not go.exists():
            time.sleep(0.01)
        time.sleep(0.02)
        return step(self, batch)

    Trainer._step = slow  # type: ignore[method-assign]
