"""Data set, steps, hook and evaluator in a run of mmengine, as a configuration names them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner

import uas_swin.data.dataset
import uas_swin.data.seeding
import uas_swin.metrics.evaluator  # noqa: F401  (registers it)
from behaviorzoo.video.writing import write_video
from uas_swin.data.dataset import UasVideoDataset

STEPS = [
    {"type": "UasOpenVideo"},
    {"type": "UasSampleFrames", "clip_len": 4},
    {"type": "UasDecode"},
    {"type": "UasRandomResizedCrop"},
    {"type": "UasResize", "scale": (8, 8), "keep_ratio": False},
    {"type": "UasFlip"},
    {"type": "UasFormatShape"},
]


class Brightness(BaseModel):
    """Says class 1 to bright videos; keeps what it was given in training."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[list[torch.Tensor]] = []

    def forward(self, inputs, data_samples=None, mode="tensor"):
        if mode == "loss":
            self.seen.append(list(inputs))
            return {"loss": self.bias**2}
        for clip, sample in zip(inputs, data_samples, strict=True):
            bright = float(clip.float().mean() > 127)
            sample.set_pred_score(torch.tensor([1 - bright, bright]))
        return data_samples


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name, low in (("dark", 0), ("bright", 160), ("bright too", 150)):
        frames = rng.integers(low, low + 90, (12, 16, 16, 3), dtype=np.uint8)
        write_video(tmp_path / f"{name}.mp4", frames, 25)
    (tmp_path / "train.txt").write_text("dark.mp4 0\nbright.mp4 1\nbright too.mp4 1\n")
    (tmp_path / "val.txt").write_text("dark.mp4 dark\nbright.mp4 bright\nbright too.mp4 dark\n")
    return tmp_path


def loader(folder, name, workers):
    return {
        "batch_size": 1,
        "num_workers": workers,
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "dataset": {
            "type": "UasVideoDataset",
            "ann_file": str(folder / name),
            "data_prefix": {"video": str(folder)},
            "classes": ["dark", "bright"],
            "pipeline": [*STEPS, {"type": "PackActionInputs"}],
        },
    }


def test_a_run_of_mmengine(folder):
    model = Brightness()
    runner = Runner(
        model=model,
        work_dir=str(folder / "work"),
        train_dataloader=loader(folder, "train.txt", 2),
        val_dataloader=loader(folder, "val.txt", 0),
        train_cfg={"by_epoch": True, "max_epochs": 2, "val_interval": 2},
        val_cfg={},
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.0}},
        val_evaluator={"type": "UasAccuracy", "topk": (1,), "out_dir": str(folder / "work")},
        custom_hooks=[{"type": "SeedSamples"}],
        randomness={"seed": 5},
        default_scope="mmaction",
        experiment_name=f"run_{folder.name}",
    )
    runner.train()
    metrics = runner.val_evaluator.metrics[0]
    assert metrics.evaluation.scores == pytest.approx({"top1": 2 / 3, "mean1": 0.75})
    assert metrics.evaluation.class_names == ["dark", "bright"]
    assert metrics.evaluation.class_counts.tolist() == [2, 1]
    assert (folder / "work" / "evaluation_confusion.csv").exists()
    # Workers drew what seed, epoch and sample say, in both epochs.
    expected = UasVideoDataset(str(folder / "train.txt"), STEPS, {"video": str(folder)}, seed=5)
    batches = [batch[0].numpy() for batch in model.seen]
    assert len(batches) == 6
    for epoch in range(2):
        expected.begin_epoch(epoch)
        for index in range(3):
            np.testing.assert_array_equal(batches[3 * epoch + index], expected[index]["imgs"])
    assert any((a != b).any() for a, b in zip(batches[:3], batches[3:], strict=True))


def test_screen_shows_the_run_and_the_file_all(capsys, tmp_path):
    from uas_swin.runner import UasRunner

    runner = UasRunner(Brightness(), str(tmp_path), experiment_name="quiet screen")
    runner.logger.info("Epoch(train) loss: 0.5")
    shown = "".join(capsys.readouterr())
    assert "loss: 0.5" in shown
    (log,) = tmp_path.glob("*/*.log")
    for words in ("System environment", "Hooks will be executed"):
        assert words in log.read_text()
        assert words not in shown
